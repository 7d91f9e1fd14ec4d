import { DiskError } from '../disk.ts';
import type { Clusters, Qcow2Core } from './core.ts';
import { MOST_REFCOUNT_TABLE_BYTES, readU64, writeU64 } from './format.ts';
import { HEADER_REFCOUNT_TABLE } from './header.ts';
import { Turns } from './locks.ts';
import { getRefcount, setRefcount } from './refcount-bits.ts';
import { type Table, TableCache } from './tables.ts';

const CACHE_BYTES = 2 << 20;

/** A piece of metadata on its way into the file. */
export interface MetadataWrite {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Clusters that were free and are the caller's now. */
export interface Allocation extends Clusters {
  /** The file has never reached this far: the clusters read as zero. */
  readonly virgin: boolean;
}

/** The name of the refcount table among the places of metadata. */
export const REFCOUNT_TABLE = 'the refcount table';

/**
 * The reference counts: which clusters of the file are in use. Changes are made
 * in memory and written by the committer (`commit.ts`): counts that grow before
 * anything refers to their clusters, counts that shrink after nothing does.
 */
export class Refcounts {
  readonly cache: TableCache;
  readonly #core: Qcow2Core;
  /** Offsets of the refcount blocks; 0 where there is none. The table may have room that is not in use. */
  #table: Float64Array;
  #tableOffset: number;
  /** Entries of the table that the file does not have yet. */
  readonly #changed = new Set<number>();
  /** The table has a new place that the file does not know yet. */
  #moved = false;
  readonly #turns = new Turns();
  readonly #perBlock: number;
  /** No cluster before this one is free. */
  #hint = 0;
  /** The file never reached this cluster or any behind it. */
  #virgin: number;

  /** @param table the refcount table's bytes; `open.ts` has checked its entries */
  constructor(core: Qcow2Core, table: Uint8Array) {
    const { clusterSize, refcountOrder, refcountTableOffset } = core.header;
    this.#core = core;
    this.#perBlock = (clusterSize * 8) >>> refcountOrder;
    this.cache = new TableCache(core.file, clusterSize, CACHE_BYTES);
    const view = new DataView(table.buffer, table.byteOffset, table.length);
    this.#table = Float64Array.from({ length: table.length / 8 }, (_, i) => readU64(view, i * 8));
    this.#tableOffset = refcountTableOffset;
    this.#virgin = core.file.grows
      ? Math.ceil(core.file.length / clusterSize)
      : Math.floor(Number.MAX_SAFE_INTEGER / clusterSize);
  }

  /**
   * Takes free clusters, one after another in the file.
   *
   * @param most at most so many; at least one
   * @throws DiskError `DISK_CORRUPT`, or `DISK_FULL` when the format's tables have come to their end
   */
  allocate(most: number): Promise<Allocation> {
    return this.#turns.run(async () => {
      this.#core.checkSound();
      for (;;) {
        const block = Math.floor(this.#hint / this.#perBlock);
        const table = await this.#block(block, true);
        const found = table && this.#take(table, block, most);
        if (found) return found;
        this.#hint = (block + 1) * this.#perBlock;
      }
    });
  }

  /** Takes the first free clusters of a block from the hint on. */
  #take(table: Table, block: number, most: number): Allocation | undefined {
    const { refcountOrder } = this.#core.header;
    const from = block * this.#perBlock;
    let first = this.#hint - from;
    while (first < this.#perBlock && getRefcount(table.view, first, refcountOrder) !== 0) first += 1;
    let end = first;
    while (end < this.#perBlock && end - first < most && getRefcount(table.view, end, refcountOrder) === 0) {
      // Clusters that were used and those that never were do not mix: only the latter read as zero.
      if (end > first && from + end === this.#virgin) break;
      const taken = this.#core.places.at(from + end);
      if (taken !== undefined) throw this.#core.damaged(`${taken} lies in a cluster that counts as free`);
      end += 1;
    }
    if (end === first) return undefined;
    for (let i = first; i < end; i++) this.#set(table, i, 1);
    const virgin = from + first >= this.#virgin;
    this.#hint = from + end;
    this.#virgin = Math.max(this.#virgin, this.#hint);
    this.#checkRoom();
    return { first: from + first, count: end - first, virgin };
  }

  /** A device does not grow. */
  #checkRoom(): void {
    const { file, header } = this.#core;
    if (file.grows || this.#hint * header.clusterSize <= file.length) return;
    throw new DiskError('DISK_FULL', `the device of disk image ${file.path} is full`);
  }

  /** Gives clusters back that nothing ever referred to. */
  free(clusters: Clusters): Promise<void> {
    return this.drop([clusters]);
  }

  /** Takes one reference from each cluster; space that is free then goes back to the host. */
  drop(runs: readonly Clusters[]): Promise<void> {
    return this.#turns.run(async () => {
      const { clusterSize } = this.#core.header;
      // First find out what becomes free: no one may have it before its space is given back.
      for (const run of await this.#lastReferences(runs))
        await this.#core.file.punch(run.first * clusterSize, run.count * clusterSize);
      for (const run of runs) {
        for (const { first, count } of this.#byBlock(run)) {
          const table = await this.#block(Math.floor(first / this.#perBlock), false);
          for (let cluster = first; cluster < first + count; cluster++) this.#decrement(table, cluster);
        }
      }
    });
  }

  #decrement(table: Table | undefined, cluster: number): void {
    const count = table ? this.#get(table, cluster) : 0;
    if (!table || count === 0) throw this.#core.damaged(`cluster ${cluster} is in use and counts as free`);
    this.#set(table, cluster % this.#perBlock, count - 1);
    if (count === 1) this.#hint = Math.min(this.#hint, cluster);
  }

  /** Those of the clusters that have one reference, in runs. */
  async #lastReferences(runs: readonly Clusters[]): Promise<Clusters[]> {
    const last: Clusters[] = [];
    for (const run of runs) {
      let start = run.first;
      for (const { first, count } of this.#byBlock(run)) {
        const table = await this.#block(Math.floor(first / this.#perBlock), false);
        for (let cluster = first; cluster < first + count; cluster++) {
          const metadata = this.#core.places.at(cluster);
          if (metadata !== undefined) throw this.#core.damaged(`data lies where ${metadata} is`);
          if (table && this.#get(table, cluster) === 1) continue;
          if (cluster > start) last.push({ first: start, count: cluster - start });
          start = cluster + 1;
        }
      }
      const end = run.first + run.count;
      if (end > start) last.push({ first: start, count: end - start });
    }
    return last;
  }

  /** Parts of a run, each counted by one block. */
  *#byBlock({ first, count }: Clusters): Generator<Clusters> {
    for (let from = first; from < first + count; ) {
      const to = Math.min(first + count, (Math.floor(from / this.#perBlock) + 1) * this.#perBlock);
      yield { first: from, count: to - from };
      from = to;
    }
  }

  #get(table: Table, cluster: number): number {
    return getRefcount(table.view, cluster % this.#perBlock, this.#core.header.refcountOrder);
  }

  #set(table: Table, index: number, count: number): void {
    const [from, to] = setRefcount(table.view, index, this.#core.header.refcountOrder, count);
    this.cache.touch(table, from, to);
  }

  /** The refcount block of this number, made if `make` says so. */
  async #block(number: number, make: boolean): Promise<Table | undefined> {
    for (;;) {
      const offset = number < this.#table.length ? this.#table[number] : 0;
      if (offset === 0) {
        if (!make) return undefined;
        if (number >= this.#table.length) this.#growTable(number);
        else this.#addBlock(number, number * this.#perBlock);
        continue;
      }
      const table = this.cache.peek(offset);
      if (table) return table;
      await this.cache.load(offset);
    }
  }

  /** Makes a block in a cluster that it may count itself. */
  #addBlock(number: number, cluster: number): Table {
    const taken = this.#core.places.at(cluster);
    if (taken !== undefined) throw this.#core.damaged(`no reference counts for ${taken}`);
    const { clusterSize } = this.#core.header;
    const table = this.cache.add(cluster * clusterSize, new Uint8Array(clusterSize));
    this.#table[number] = cluster * clusterSize;
    this.#changed.add(number);
    this.#core.places.addRefcountBlock(cluster);
    this.#virgin = Math.max(this.#virgin, cluster + 1);
    if (Math.floor(cluster / this.#perBlock) === number) this.#set(table, cluster % this.#perBlock, 1);
    return table;
  }

  /**
   * Moves the table to where it has room for the block of this number. What
   * lies there has no reference counts yet, so all of it is free: the new blocks
   * come first, the table behind them.
   */
  #growTable(number: number): void {
    const { clusterSize } = this.#core.header;
    const perCluster = clusterSize / 8;
    const first = number * this.#perBlock;
    const most = MOST_REFCOUNT_TABLE_BYTES / 8;
    const full = () =>
      new DiskError('DISK_FULL', `disk image ${this.#core.file.path} has grown as far as its format allows`);
    let blocks = 0;
    let clusters = 0;
    do {
      blocks += 1;
      if (number + blocks > most) throw full();
      const entries = Math.max(number + blocks, Math.min(this.#table.length * 1.5, most));
      clusters = Math.ceil(entries / perCluster);
    } while (blocks + clusters > blocks * this.#perBlock);

    const old = { first: this.#tableOffset / clusterSize, count: (this.#table.length * 8) / clusterSize };
    const table = new Float64Array(clusters * perCluster);
    table.set(this.#table);
    this.#table = table;
    const made = Array.from({ length: blocks }, (_, i) => this.#addBlock(number + i, first + i));
    for (let cluster = first; cluster < first + blocks + clusters; cluster++)
      this.#set(made[Math.floor(cluster / this.#perBlock) - number], cluster % this.#perBlock, 1);
    this.#tableOffset = (first + blocks) * clusterSize;
    this.#moved = true;
    this.#virgin = Math.max(this.#virgin, first + blocks + clusters);
    this.#core.places.moveFixed({
      what: REFCOUNT_TABLE,
      first: first + blocks,
      end: first + blocks + clusters,
    });
    this.#core.drop(old.first, old.count);
  }

  /**
   * What has to be written so that the file knows the blocks that are in the
   * cache: `table` together with the blocks, `header` once all of them are
   * there. If that fails, `undo` has it come again.
   */
  takeTableWrites(): { readonly table: MetadataWrite[]; readonly header: MetadataWrite[]; undo(): void } {
    const moved = this.#moved;
    const changed = [...this.#changed];
    this.#moved = false;
    this.#changed.clear();
    const undo = () => {
      this.#moved ||= moved;
      for (const index of changed) this.#changed.add(index);
    };
    if (!moved) {
      const table = changed.map((index) => ({
        offset: this.#tableOffset + index * 8,
        bytes: encode(this.#table.subarray(index, index + 1)),
      }));
      return { table: [], header: table, undo };
    }
    const field = new Uint8Array(12);
    const view = new DataView(field.buffer);
    writeU64(view, 0, this.#tableOffset);
    view.setUint32(8, (this.#table.length * 8) / this.#core.header.clusterSize);
    return {
      table: [{ offset: this.#tableOffset, bytes: encode(this.#table) }],
      header: [{ offset: HEADER_REFCOUNT_TABLE, bytes: field }],
      undo,
    };
  }
}

function encode(offsets: Float64Array): Uint8Array {
  const bytes = new Uint8Array(offsets.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [i, offset] of offsets.entries()) writeU64(view, i * 8, offset);
  return bytes;
}
