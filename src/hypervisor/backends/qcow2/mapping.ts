import type { Qcow2Core } from './core.ts';
import { type ClusterKind, L2Entry, readL1Entry, readL2Entry, writeEntry } from './format.ts';
import { Turns } from './locks.ts';
import type { MetadataWrite, Refcounts } from './refcounts.ts';
import { type Table, TableCache } from './tables.ts';

const CACHE_BYTES = 8 << 20;

/** What a stretch of the disk is mapped to, as far as it is in one piece. */
export interface Run {
  readonly kind: ClusterKind;
  /** Where its bytes lie in the file: of `data`, at the stretch's first byte; of `compressed`, its data. */
  readonly host: number;
  /** Bytes. */
  readonly length: number;
  /** `data` may be written in place. */
  readonly copied: boolean;
  readonly compressedBytes: number;
}

/** The L1 table and the L2 tables: where the disk's clusters lie in the file. */
export class Mapping {
  readonly cache: TableCache;
  readonly #core: Qcow2Core;
  /** Not there when the image is read only. */
  readonly #refcounts: Refcounts | undefined;
  readonly #l1: DataView;
  /** L1 entries that the file does not have yet. */
  readonly #changed = new Set<number>();
  /** Makes L2 tables, one after another. */
  readonly #turns = new Turns();
  readonly #entry = new L2Entry();
  /** Bytes of the disk that an L2 table covers. */
  readonly span: number;

  constructor(core: Qcow2Core, refcounts: Refcounts | undefined, l1: Uint8Array) {
    const { clusterSize } = core.header;
    this.#core = core;
    this.#refcounts = refcounts;
    this.#l1 = new DataView(l1.buffer, l1.byteOffset, l1.length);
    this.cache = new TableCache(core.file, clusterSize, CACHE_BYTES);
    this.span = clusterSize * (clusterSize / 8);
  }

  /**
   * Finds what lies at `offset`, up to `length` bytes of it.
   *
   * @returns undefined when its L2 table has to be loaded first: see `load`
   * @throws DiskError `DISK_CORRUPT`
   */
  find(offset: number, length: number): Run | undefined {
    const { clusterSize } = this.#core.header;
    const at = this.#l2Offset(Math.floor(offset / this.span));
    const inTable = offset % this.span;
    const most = Math.min(length, this.span - inTable);
    if (at === 0) return { kind: 'hole', host: 0, length: most, copied: false, compressedBytes: 0 };
    const table = this.cache.peek(at);
    if (!table) return undefined;
    const index = Math.floor(inTable / clusterSize);
    const { kind, offset: host, copied, compressedBytes } = this.entry(table, index);
    const inCluster = inTable % clusterSize;
    let bytes = clusterSize - inCluster;
    if (kind === 'compressed') return { kind, host, length: Math.min(bytes, most), copied, compressedBytes };
    for (let next = 1; bytes < most; next++, bytes += clusterSize) {
      const entry = this.entry(table, index + next);
      if (entry.kind !== kind) break;
      if (kind === 'data' && (entry.offset !== host + next * clusterSize || entry.copied !== copied)) break;
    }
    return { kind, host: host + inCluster, length: Math.min(bytes, most), copied, compressedBytes: 0 };
  }

  /** Brings in the L2 table that `find` needs for this offset. */
  load(offset: number): Promise<void> {
    return this.cache.load(this.#l2Offset(Math.floor(offset / this.span)));
  }

  /**
   * Reads an entry of an L2 table, checked: what it points to is inside the
   * file and no metadata. The object is overwritten by the next call.
   */
  entry(table: Table, index: number): L2Entry {
    const { clusterBits, clusterSize, version } = this.#core.header;
    const entry = readL2Entry(table.view, index * 8, clusterBits, this.#entry);
    const where = () => `entry ${index} of the L2 table at ${table.offset}`;
    if (entry.reserved || (entry.kind === 'zero' && version === 2))
      throw this.#core.damaged(`reserved bits in ${where()}`);
    if (entry.offset === 0) return entry;
    if (entry.kind === 'compressed') {
      if (!this.#core.inFile(entry.offset, entry.compressedBytes))
        throw this.#core.damaged(`${where()} points outside the file`);
      return entry;
    }
    if (entry.offset % clusterSize !== 0) throw this.#core.damaged(`${where()} points into a cluster`);
    if (entry.kind === 'data' && !this.#core.inFile(entry.offset, clusterSize))
      throw this.#core.damaged(`${where()} points outside the file`);
    const metadata = this.#core.places.at(entry.offset / clusterSize);
    if (metadata !== undefined) throw this.#core.damaged(`${where()} points to ${metadata}`);
    return entry;
  }

  /** Whether the L2 table for this offset is in the file or in memory at all. */
  hasTable(offset: number): boolean {
    return this.#l2Offset(Math.floor(offset / this.span)) !== 0;
  }

  /**
   * The L2 table for an offset, to be changed before the next `await`: made when
   * there is none, copied when a snapshot has it too.
   */
  async writable(offset: number): Promise<Table> {
    const index = Math.floor(offset / this.span);
    for (;;) {
      const at = this.#l2Offset(index);
      if (at === 0 || !readL1Entry(this.#l1, index * 8).copied) {
        await this.#turns.run(() => this.#own(index));
        continue;
      }
      const table = this.cache.peek(at);
      if (table) return table;
      await this.cache.load(at);
    }
  }

  /** Changes an entry of a table that `writable` returned. `offset` 0 is nowhere. */
  set(table: Table, index: number, offset: number, zero = false): void {
    writeEntry(table.view, index * 8, offset, offset !== 0, zero);
    this.cache.touch(table, index * 8, index * 8 + 8);
  }

  /** L1 entries on their way into the file, once the L2 tables that they point to are there. */
  takeL1Writes(): { readonly writes: MetadataWrite[]; undo(): void } {
    const changed = [...this.#changed];
    this.#changed.clear();
    const { l1Offset } = this.#core.header;
    const writes = changed.map((index) => ({
      offset: l1Offset + index * 8,
      bytes: new Uint8Array(this.#l1.buffer, this.#l1.byteOffset + index * 8, 8).slice(),
    }));
    const undo = () => {
      for (const index of changed) this.#changed.add(index);
    };
    return { writes, undo };
  }

  /** Gives the L1 entry an L2 table of its own. */
  async #own(index: number): Promise<void> {
    const { clusterSize } = this.#core.header;
    const old = this.#l2Offset(index);
    if (old !== 0 && readL1Entry(this.#l1, index * 8).copied) return;
    const place = await this.#refcounts!.allocate(1);
    try {
      let bytes: Uint8Array | undefined;
      while (old !== 0 && !bytes) {
        bytes = this.cache.peek(old)?.bytes.slice();
        if (!bytes) await this.cache.load(old);
      }
      const offset = place.first * clusterSize;
      this.cache.add(offset, bytes ?? new Uint8Array(clusterSize));
      writeEntry(this.#l1, index * 8, offset, true);
      this.#changed.add(index);
      this.#core.places.addL2Table(place.first, index);
    } catch (error) {
      await this.#refcounts!.free(place);
      throw error;
    }
    if (old === 0) return;
    this.cache.forget(old);
    this.#core.places.removeL2Table(old / clusterSize);
    this.#core.drop(old / clusterSize, 1);
  }

  /** Where the L2 table of an L1 entry lies; 0 for nowhere. */
  #l2Offset(index: number): number {
    const { offset, reserved } = readL1Entry(this.#l1, index * 8);
    if (offset === 0 && !reserved) return 0;
    const { clusterSize } = this.#core.header;
    // The places know the table if its entry was found good, and the first to have it.
    if (reserved || offset % clusterSize !== 0 || this.#core.places.l1IndexOf(offset / clusterSize) !== index)
      throw this.#core.damaged(`entry ${index} of the L1 table points to ${offset}, which is no L2 table`);
    return offset;
  }
}
