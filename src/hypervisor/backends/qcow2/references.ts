import { DiskError } from '../disk.ts';
import type { ImageFile } from '../host-file.ts';
import { L2Entry, readL1Entry, readL2Entry, readU64 } from './format.ts';
import type { Qcow2Header } from './header.ts';
import { readSnapshots, type Snapshots } from './snapshots.ts';

/** Clusters of a chunk of counts. */
const CHUNK = 4096;
/** Memory for counts, 384 MiB: 8 TiB of an image with clusters of 64 KiB. */
const MOST_CHUNKS = 32768;
/** Bytes of L1 tables and of L2 tables that are read, 4 GiB of each: they map 32 TiB with clusters of 64 KiB. */
const MOST_TABLE_BYTES = 2 ** 32;
const MOST_COUNT = 0xffff;

/** What entries of the active tables say about a cluster: that it has one user, or that it may have more. */
export const CLAIM_ONE = 1;
export const CLAIM_MORE = 2;

interface Chunk {
  readonly counts: Uint16Array;
  readonly claims: Uint8Array;
}

/** How often each cluster of an image is referred to; what goes beyond 65,535 counts as that. */
export class ReferenceCounts {
  readonly #path: string;
  readonly #chunks = new Map<number, Chunk>();

  constructor(path: string) {
    this.#path = path;
  }

  get(cluster: number): number {
    return this.#chunks.get(Math.floor(cluster / CHUNK))?.counts[cluster % CHUNK] ?? 0;
  }

  /** `CLAIM_ONE`, `CLAIM_MORE`, both or none. */
  claims(cluster: number): number {
    return this.#chunks.get(Math.floor(cluster / CHUNK))?.claims[cluster % CHUNK] ?? 0;
  }

  /** @throws DiskError `DISK_UNSUPPORTED` when the counts would take too much memory */
  add(cluster: number, times = 1): void {
    const { counts } = this.#chunk(cluster);
    counts[cluster % CHUNK] = Math.min(MOST_COUNT, counts[cluster % CHUNK] + times);
  }

  claim(cluster: number, one: boolean): void {
    this.#chunk(cluster).claims[cluster % CHUNK] |= one ? CLAIM_ONE : CLAIM_MORE;
  }

  /** First clusters of the stretches of `CHUNK` clusters in which anything is referred to, in order. */
  stretches(): number[] {
    return [...this.#chunks.keys()].sort((a, b) => a - b).map((number) => number * CHUNK);
  }

  #chunk(cluster: number): Chunk {
    const number = Math.floor(cluster / CHUNK);
    let chunk = this.#chunks.get(number);
    if (!chunk) {
      if (this.#chunks.size === MOST_CHUNKS) throw tooLarge(this.#path);
      chunk = { counts: new Uint16Array(CHUNK), claims: new Uint8Array(CHUNK) };
      this.#chunks.set(number, chunk);
    }
    return chunk;
  }
}

export const STRETCH = CHUNK;

function tooLarge(path: string): DiskError {
  return new DiskError(
    'DISK_UNSUPPORTED',
    `disk image ${path} is too large to be checked here: use qemu-img check`,
  );
}

/**
 * Counts all references to clusters by the header, the tables, snapshots and
 * bitmaps that are up to date.
 *
 * @param wrong hears of what points where it cannot
 * @throws DiskError when the image is too large or its snapshot table damaged, or the host's error
 */
export async function countReferences(
  file: ImageFile,
  header: Qcow2Header,
  wrong: (what: string) => void,
): Promise<ReferenceCounts> {
  const walk = new Walk(file, header, wrong);
  const snapshots = await readSnapshots(file, header);
  walk.span('the header', 0, header.clusterSize);
  walk.span(
    'the refcount table',
    header.refcountTableOffset,
    header.refcountTableClusters * header.clusterSize,
  );
  walk.span('the snapshot table', header.snapshotsOffset, snapshots.bytes);
  await walk.mapping(snapshots);
  await walk.refcountBlocks();
  if (header.bitmaps) await walk.bitmaps(header.bitmaps);
  return walk.counts;
}

class Walk {
  readonly counts: ReferenceCounts;
  readonly #file: ImageFile;
  readonly #header: Qcow2Header;
  readonly #wrong: (what: string) => void;
  readonly #end: number;

  constructor(file: ImageFile, header: Qcow2Header, wrong: (what: string) => void) {
    this.counts = new ReferenceCounts(file.path);
    this.#file = file;
    this.#header = header;
    this.#wrong = wrong;
    this.#end = Math.ceil(file.length / header.clusterSize);
  }

  /** Counts clusters that a span of bytes touches. @returns whether all of them are in the file */
  span(what: string, offset: number, bytes: number, times = 1): boolean {
    if (bytes === 0) return true;
    const { clusterSize } = this.#header;
    const last = Math.floor((offset + bytes - 1) / clusterSize);
    if (last >= this.#end) {
      this.#wrong(`${what} at ${offset} lies outside the file`);
      return false;
    }
    for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster++)
      this.counts.add(cluster, times);
    return true;
  }

  /** One cluster. */
  #cluster(what: string, offset: number, times = 1): boolean {
    if (offset % this.#header.clusterSize === 0)
      return this.span(what, offset, this.#header.clusterSize, times);
    this.#wrong(`${what} at ${offset} does not begin at a cluster`);
    return false;
  }

  /** The active L1 table, those of the snapshots, and every L2 table once, however many have it. */
  async mapping(snapshots: Snapshots): Promise<void> {
    const { l1Offset, l1Size } = this.#header;
    const l1Entries = snapshots.tables.reduce((sum, table) => sum + table.l1Size, l1Size);
    if (l1Entries * 8 > MOST_TABLE_BYTES) throw tooLarge(this.#file.path);
    const l2 = new Map<number, { times: number; active: boolean }>();
    await this.#l1Table(l1Offset, l1Size, true, l2);
    for (const snapshot of snapshots.tables)
      await this.#l1Table(snapshot.l1Offset, snapshot.l1Size, false, l2);
    if (l2.size * this.#header.clusterSize > MOST_TABLE_BYTES) throw tooLarge(this.#file.path);
    for (const [offset, { times, active }] of l2) {
      const table = await this.#bytes(offset, this.#header.clusterSize);
      this.#l2Table(new DataView(table.buffer), offset, times, active);
    }
  }

  async #l1Table(
    offset: number,
    size: number,
    active: boolean,
    l2: Map<number, { times: number; active: boolean }>,
  ): Promise<void> {
    if (!this.span('an L1 table', offset, size * 8)) return;
    const table = await this.#bytes(offset, size * 8);
    const view = new DataView(table.buffer);
    for (let index = 0; index < size; index++) {
      const entry = readL1Entry(view, index * 8);
      if (entry.reserved) this.#wrong(`reserved bits in entry ${index} of the L1 table at ${offset}`);
      if (entry.offset === 0) continue;
      if (!this.#cluster('an L2 table', entry.offset)) continue;
      const known = l2.get(entry.offset);
      if (known?.active && active) this.#wrong(`the L2 table at ${entry.offset} is in use twice`);
      if (known) known.times += 1;
      else l2.set(entry.offset, { times: 1, active });
      if (active) this.counts.claim(entry.offset / this.#header.clusterSize, entry.copied);
    }
  }

  #l2Table(view: DataView, offset: number, times: number, active: boolean): void {
    const { clusterBits, clusterSize, version } = this.#header;
    const entry = new L2Entry();
    for (let at = 0; at < view.byteLength; at += 8) {
      // Most of most tables is empty.
      if (view.getUint32(at) === 0 && view.getUint32(at + 4) === 0) continue;
      readL2Entry(view, at, clusterBits, entry);
      const what = `entry ${at / 8} of the L2 table at ${offset}`;
      if (entry.reserved || (entry.kind === 'zero' && version === 2)) this.#wrong(`reserved bits in ${what}`);
      if (entry.offset === 0) continue;
      if (entry.kind === 'compressed') this.span(what, entry.offset, entry.compressedBytes, times);
      else if (this.#cluster(what, entry.offset, times) && active)
        this.counts.claim(entry.offset / clusterSize, entry.copied);
    }
  }

  async refcountBlocks(): Promise<void> {
    const { clusterSize, refcountTableOffset, refcountTableClusters } = this.#header;
    const table = await this.#bytes(refcountTableOffset, refcountTableClusters * clusterSize);
    const view = new DataView(table.buffer);
    for (let at = 0; at < table.length; at += 8) {
      const offset = readU64(view, at);
      if (offset !== 0) this.#cluster('a refcount block', offset);
    }
  }

  /** The specification, "Bitmaps": directory, tables, data. */
  async bitmaps(directory: {
    readonly count: number;
    readonly offset: number;
    readonly bytes: number;
  }): Promise<void> {
    const { count, offset, bytes } = directory;
    if (bytes > 1 << 20 || !this.span('the bitmap directory', offset, bytes)) {
      this.#wrong('the bitmap directory cannot be read');
      return;
    }
    const view = new DataView((await this.#bytes(offset, bytes)).buffer);
    let at = 0;
    for (let i = 0; i < count && at + 24 <= bytes; i++) {
      const size = view.getUint32(at + 8);
      if (size * 8 <= 1 << 20) await this.#bitmapTable(readU64(view, at), size);
      else this.#wrong(`a bitmap table of ${size} entries`);
      at += Math.ceil((24 + view.getUint16(at + 18) + view.getUint32(at + 20)) / 8) * 8;
    }
  }

  async #bitmapTable(offset: number, size: number): Promise<void> {
    if (!this.span('a bitmap table', offset, size * 8)) return;
    const view = new DataView((await this.#bytes(offset, size * 8)).buffer);
    for (let at = 0; at < size * 8; at += 8) {
      const data = readL1Entry(view, at).offset;
      if (data !== 0) this.#cluster('a bitmap', data);
    }
  }

  async #bytes(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(length);
    await this.#file.readAt(offset, bytes);
    return bytes;
  }
}
