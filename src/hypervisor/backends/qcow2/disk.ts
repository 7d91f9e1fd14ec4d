import { checkRange, type DiskBackend, DiskError } from '../disk.ts';
import { Committer } from './commit.ts';
import { CompressedClusters } from './compressed.ts';
import type { Qcow2Core } from './core.ts';
import type { L2Entry } from './format.ts';
import { HEADER_AUTOCLEAR } from './header.ts';
import { InFlight, RangeLocks, Together } from './locks.ts';
import type { Mapping, Run } from './mapping.ts';
import type { Refcounts } from './refcounts.ts';
import type { Table } from './tables.ts';

const SECTOR = 512;
/** Clusters that one write allocates at once are no more bytes than these. */
const MOST_NEW_BYTES = 4 << 20;

/** Clusters that are discarded or zeroed as one request. */
const EMPTIED_AT_ONCE = 8192;

/** How a range of whole clusters is emptied: see `discard` and `writeZeroes` of `DiskBackend`. */
type Emptying = 'discard' | 'unmap' | 'keep';

/**
 * An open qcow2 image. Where data lies is decided in memory and written by
 * `Committer`; requests on different clusters run side by side, those that
 * change where one cluster lies go one after another.
 */
export class Qcow2Disk implements DiskBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly #core: Qcow2Core;
  readonly #mapping: Mapping;
  /** Not there when the image is read only. */
  readonly #refcounts: Refcounts | undefined;
  readonly #backing: DiskBackend | undefined;
  readonly #compressed: CompressedClusters;
  readonly #committer: Committer | undefined;
  readonly #inFlight = new InFlight();
  readonly #locks = new RangeLocks();
  #cleared: Promise<void> | undefined;
  #closed = false;

  constructor(
    core: Qcow2Core,
    mapping: Mapping,
    refcounts: Refcounts | undefined,
    backing: DiskBackend | undefined,
  ) {
    this.#core = core;
    this.#mapping = mapping;
    this.#refcounts = refcounts;
    this.#backing = backing;
    this.#compressed = new CompressedClusters(core.file, core.header);
    this.#committer = refcounts && new Committer(core, refcounts, mapping, this.#inFlight);
    this.size = Math.ceil(core.header.size / SECTOR) * SECTOR;
    this.readOnly = core.file.readOnly;
  }

  async readAt(offset: number, target: Uint8Array): Promise<void> {
    checkRange(this.size, offset, target.length);
    await this.#during(() => this.#read(offset, target));
  }

  async writeAt(offset: number, source: Uint8Array): Promise<void> {
    await this.#changing(offset, source.length, () => this.#write(offset, source));
  }

  async flush(): Promise<void> {
    await this.#committer?.commit();
  }

  async discard(offset: number, length: number): Promise<void> {
    await this.#emptyAll(offset, length, 'discard');
  }

  async writeZeroes(offset: number, length: number, mayUnmap: boolean): Promise<void> {
    await this.#emptyAll(offset, length, mayUnmap ? 'unmap' : 'keep');
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#committer?.finish();
      await this.#core.marked();
    } finally {
      try {
        await this.#core.file.close();
      } finally {
        await this.#backing?.close();
      }
    }
  }

  /** Runs a request; what it may be reading or writing is not given to others meanwhile. */
  async #during(request: () => Promise<void>): Promise<void> {
    const epoch = this.#inFlight.begin();
    try {
      await request();
    } finally {
      this.#inFlight.end(epoch);
      this.#committer?.requestEnded();
    }
  }

  async #changing(offset: number, length: number, request: () => Promise<void>): Promise<void> {
    checkRange(this.size, offset, length);
    if (this.readOnly)
      throw new DiskError('DISK_READ_ONLY', `disk image ${this.#core.file.path} is read-only`);
    this.#core.checkSound();
    if (this.#core.header.autoclear) await this.#clearAutoclear();
    await this.#during(request);
    if (this.#committer?.due) await this.#committer.commit();
  }

  /** Before the first write: features that we do not keep up to date, such as bitmaps, stop counting. */
  #clearAutoclear(): Promise<void> {
    const clear = async () => {
      await this.#core.file.writeAt(HEADER_AUTOCLEAR, new Uint8Array(8));
      await this.#core.file.flush();
    };
    this.#cleared ??= clear().catch((error) => {
      this.#cleared = undefined;
      throw error;
    });
    return this.#cleared;
  }

  /** Also behind the disk's end, up to the end of its last cluster. */
  async #read(offset: number, target: Uint8Array): Promise<void> {
    const together = new Together();
    try {
      for (let at = 0; at < target.length; ) {
        const run = this.#mapping.find(offset + at, target.length - at);
        if (!run) {
          await this.#mapping.load(offset + at);
          continue;
        }
        const work = this.#readRun(run, offset + at, target.subarray(at, at + run.length));
        if (run.length === target.length) return await work;
        if (work) await together.add(work);
        at += run.length;
      }
    } finally {
      await together.end();
    }
  }

  #readRun(run: Run, offset: number, target: Uint8Array): Promise<void> | undefined {
    if (run.kind === 'data') return this.#core.file.readAt(run.host, target);
    if (run.kind === 'compressed')
      return this.#readCompressed(run, offset % this.#core.header.clusterSize, target);
    if (run.kind === 'hole' && this.#backing) return readBacking(this.#backing, offset, target);
    target.fill(0);
    return undefined;
  }

  async #readCompressed(run: Run, start: number, target: Uint8Array): Promise<void> {
    try {
      const cluster = await this.#compressed.read(run.host, run.compressedBytes);
      target.set(cluster.subarray(start, start + target.length));
    } catch (error) {
      const message = `disk image ${this.#core.file.path} has a compressed cluster at ${run.host} that cannot be read: ${(error as Error).message}`;
      throw new DiskError('DISK_CORRUPT', message, { cause: error });
    }
  }

  async #write(offset: number, source: Uint8Array): Promise<void> {
    const together = new Together();
    try {
      for (let at = 0; at < source.length; ) {
        const run = this.#mapping.find(offset + at, source.length - at);
        if (!run) await this.#mapping.load(offset + at);
        else if (run.kind === 'data' && run.copied) {
          const work = this.#core.file.writeAt(run.host, source.subarray(at, at + run.length));
          if (run.length === source.length) return await work;
          await together.add(work);
          at += run.length;
        } else at += await this.#writeNew(offset + at, source.subarray(at));
      }
    } finally {
      await together.end();
    }
  }

  /**
   * Writes to clusters that have no place of their own yet, as many as get one
   * in one piece.
   *
   * @returns bytes written; 0 when there is a place by now
   */
  async #writeNew(offset: number, source: Uint8Array): Promise<number> {
    const { clusterSize } = this.#core.header;
    const first = Math.floor(offset / clusterSize);
    const perTable = clusterSize / 8;
    const index = first % perTable;
    const wanted = Math.min(
      Math.ceil((offset + source.length) / clusterSize) - first,
      perTable - index,
      Math.max(1, Math.floor(MOST_NEW_BYTES / clusterSize)),
    );
    const unlock = await this.#locks.acquire(first, first + wanted);
    try {
      const table = await this.#mapping.writable(first * clusterSize);
      let count = 0;
      while (count < wanted && needsPlace(this.#mapping.entry(table, index + count))) count += 1;
      if (count === 0) return 0;
      const kept = this.#keptFor(this.#mapping.entry(table, index));
      if (kept !== undefined) {
        const length = Math.min(source.length, (first + 1) * clusterSize - offset);
        await this.#fill(offset, source.subarray(0, length), kept, 1, false);
        await this.#publish(first, kept, 1);
        return length;
      }
      const place = await this.#refcounts!.allocate(count);
      const host = place.first * clusterSize;
      const length = Math.min(source.length, (first + place.count) * clusterSize - offset);
      try {
        await this.#fill(offset, source.subarray(0, length), host, place.count, place.virgin);
        await this.#publish(first, host, place.count);
      } catch (error) {
        await this.#refcounts!.free(place);
        throw error;
      }
      return length;
    } finally {
      unlock();
    }
  }

  /**
   * Writes `source` to new clusters at `host`, and around it what its clusters
   * held before.
   */
  async #fill(
    offset: number,
    source: Uint8Array,
    host: number,
    count: number,
    virgin: boolean,
  ): Promise<void> {
    const { clusterSize } = this.#core.header;
    const begin = Math.floor(offset / clusterSize) * clusterSize;
    const head = offset - begin;
    const tail = count * clusterSize - head - source.length;
    if (head === 0 && tail === 0) return this.#core.file.writeAt(host, source);
    const end = offset + source.length;
    if (virgin && (await this.#empties(begin, head)) && (await this.#empties(end, tail)))
      return this.#core.file.writeAt(host + head, source);
    const whole = new Uint8Array(count * clusterSize);
    whole.set(source, head);
    await this.#read(begin, whole.subarray(0, head));
    await this.#read(end, whole.subarray(head + source.length));
    await this.#core.file.writeAt(host, whole);
  }

  /** The host cluster that a zero cluster keeps for its next write. */
  #keptFor(entry: L2Entry): number | undefined {
    if (entry.kind !== 'zero' || !entry.copied || entry.offset === 0) return undefined;
    return this.#core.inFile(entry.offset, this.#core.header.clusterSize) ? entry.offset : undefined;
  }

  /** Whether a part of one cluster reads as zero without looking at any data. */
  async #empties(offset: number, length: number): Promise<boolean> {
    if (length === 0) return true;
    for (;;) {
      const run = this.#mapping.find(offset, length);
      if (!run) await this.#mapping.load(offset);
      else return run.kind === 'zero' || (run.kind === 'hole' && offset >= (this.#backing?.size ?? 0));
    }
  }

  /** Lets the clusters' entries point to their new place, and drops what they had. */
  async #publish(first: number, host: number, count: number): Promise<void> {
    const { clusterSize } = this.#core.header;
    const index = first % (clusterSize / 8);
    const table = await this.#mapping.writable(first * clusterSize);
    // All old entries are looked at before the first is changed: a wrong one must not leave half of it done.
    const before = Array.from({ length: count }, (_, i) => ({ ...this.#mapping.entry(table, index + i) }));
    for (const [i, entry] of before.entries()) {
      const place = host + i * clusterSize;
      this.#dropHost(entry, place);
      this.#mapping.set(table, index + i, place);
    }
  }

  /** Gives up what an entry points to, unless that is `except`. */
  #dropHost(entry: Pick<L2Entry, 'kind' | 'offset' | 'compressedBytes'>, except = -1): void {
    const { clusterSize } = this.#core.header;
    if (entry.offset === 0 || entry.offset === except) return;
    const first = Math.floor(entry.offset / clusterSize);
    if (entry.kind !== 'compressed') return this.#core.drop(first, 1);
    this.#compressed.forget(entry.offset);
    const last = Math.floor((entry.offset + entry.compressedBytes - 1) / clusterSize);
    this.#core.drop(first, last - first + 1);
  }

  /** In pieces of so many clusters, so that what is dropped can be written and freed on the way. */
  async #emptyAll(offset: number, length: number, how: Emptying): Promise<void> {
    checkRange(this.size, offset, length);
    const piece = EMPTIED_AT_ONCE * this.#core.header.clusterSize;
    for (let at = offset; at < offset + length; ) {
      const part = Math.min(piece - (at % piece), offset + length - at);
      const from = at;
      await this.#changing(from, part, () => this.#empty(from, part, how));
      at += part;
    }
  }

  async #empty(offset: number, length: number, how: Emptying): Promise<void> {
    const { clusterSize } = this.#core.header;
    const end = offset + length;
    const from = Math.ceil(offset / clusterSize) * clusterSize;
    // What lies behind the disk's end in its last cluster may go too.
    const to =
      end === this.size
        ? Math.ceil(end / clusterSize) * clusterSize
        : Math.floor(end / clusterSize) * clusterSize;
    if (from >= to) {
      if (how !== 'discard') await this.#zeroParts(offset, length);
      return;
    }
    if (how !== 'discard') await this.#zeroParts(offset, from - offset);
    for (let at = from; at < to; ) at += await this.#emptyClusters(at, to - at, how);
    if (how !== 'discard' && end > to) await this.#zeroParts(to, end - to);
  }

  /** Writes zeroes, except to what reads as zero as it is. */
  async #zeroParts(offset: number, length: number): Promise<void> {
    const { clusterSize } = this.#core.header;
    for (let at = offset; at < offset + length; ) {
      const part = Math.min(clusterSize - (at % clusterSize), offset + length - at);
      if (!(await this.#empties(at, part))) await this.#write(at, new Uint8Array(part));
      at += part;
    }
  }

  /** Empties whole clusters within one L2 table. @returns bytes that are done */
  async #emptyClusters(offset: number, length: number, how: Emptying): Promise<number> {
    const { clusterSize, version } = this.#core.header;
    const most = Math.min(length, this.#mapping.span - (offset % this.#mapping.span));
    const emptyHoles = offset >= (this.#backing?.size ?? 0);
    // An image of version 2 has no zero clusters: over a backing file only data can hide what is there.
    if (version === 2 && this.#backing) {
      if (how !== 'discard') await this.#zeroParts(offset, Math.min(most, this.size - offset));
      return most;
    }
    if (!this.#mapping.hasTable(offset) && (emptyHoles || how === 'discard')) return most;
    const first = offset / clusterSize;
    const count = most / clusterSize;
    const unlock = await this.#locks.acquire(first, first + count);
    const overwrite: number[] = [];
    try {
      const table = await this.#mapping.writable(offset);
      for (let i = 0; i < count; i++) {
        if (this.#emptyEntry(table, (first + i) % (clusterSize / 8), how, emptyHoles))
          overwrite.push(first + i);
      }
    } finally {
      unlock();
    }
    for (const cluster of overwrite) {
      const at = cluster * clusterSize;
      await this.#zeroParts(at, Math.min(clusterSize, this.size - at));
    }
    return most;
  }

  /** @returns true when the cluster has to be overwritten instead */
  #emptyEntry(table: Table, index: number, how: Emptying, emptyHoles: boolean): boolean {
    const { version } = this.#core.header;
    const entry = this.#mapping.entry(table, index);
    if (entry.kind === 'hole') {
      if (how !== 'discard' && !emptyHoles) this.#mapping.set(table, index, 0, true);
      return false;
    }
    if (how === 'keep' && entry.kind !== 'compressed' && (entry.copied || entry.offset === 0)) {
      if (version === 2) return entry.kind === 'data';
      if (entry.kind === 'data') this.#mapping.set(table, index, entry.offset, true);
      return false;
    }
    if (entry.kind === 'zero' && entry.offset === 0) return false;
    this.#dropHost(entry);
    this.#mapping.set(table, index, 0, version === 3);
    return false;
  }
}

/** Whether a write to a cluster with this entry cannot go to where it lies. */
function needsPlace(entry: L2Entry): boolean {
  return entry.kind !== 'data' || !entry.copied;
}

/** A backing file may be shorter than the disk: zeroes follow. */
async function readBacking(backing: DiskBackend, offset: number, target: Uint8Array): Promise<void> {
  const there = Math.max(0, Math.min(target.length, backing.size - offset));
  if (there > 0) await backing.readAt(offset, target.subarray(0, there));
  if (there < target.length) target.fill(0, there);
}
