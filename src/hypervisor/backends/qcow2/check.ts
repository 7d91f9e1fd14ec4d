import type { ImageFile } from '../host-file.ts';
import { readU64 } from './format.ts';
import { type Qcow2Header, readHeader } from './header.ts';
import { getRefcount } from './refcount-bits.ts';
import { CLAIM_MORE, CLAIM_ONE, countReferences, type ReferenceCounts, STRETCH } from './references.ts';

/** Messages that a report has at most. */
const MOST_MESSAGES = 20;

export interface Qcow2Report {
  /** Things that may lose data: references outside the file, clusters in use that count as free, wrong flags. */
  readonly corruptions: number;
  /** Clusters that count as used more often than they are: lost space, and no harm. */
  readonly leaks: number;
  /** What the first of both are. */
  readonly messages: readonly string[];
}

/**
 * Checks the tables of a qcow2 image: nothing is changed, the backing file not
 * looked at. Memory and time are bounded, whatever the file holds.
 *
 * @throws DiskError when the header cannot be understood or the image is too large to be checked
 */
export async function checkQcow2(file: ImageFile): Promise<Qcow2Report> {
  const header = await readHeader(file);
  const report = new Report();
  const references = await countReferences(file, header, (what) => report.corruption(what));
  const counts = await StoredCounts.read(file, header, report);
  await compare(references, counts, report);
  return report;
}

class Report implements Qcow2Report {
  corruptions = 0;
  leaks = 0;
  readonly messages: string[] = [];

  corruption(what: string): void {
    this.corruptions += 1;
    this.#say(what);
  }

  leak(what: string): void {
    this.leaks += 1;
    this.#say(what);
  }

  #say(what: string): void {
    if (this.messages.length < MOST_MESSAGES) this.messages.push(what);
  }
}

async function compare(references: ReferenceCounts, counts: StoredCounts, report: Report): Promise<void> {
  for (const first of references.stretches()) {
    for (let cluster = first; cluster < first + STRETCH; cluster++) {
      const used = references.get(cluster);
      if (used === 0) continue;
      const stored = Math.min(await counts.get(cluster), 0xffff);
      if (stored < used) report.corruption(`cluster ${cluster} has ${used} users, reference count ${stored}`);
      else if (stored > used) report.leak(`cluster ${cluster} has ${used} users, reference count ${stored}`);
      const claims = references.claims(cluster);
      if ((claims & CLAIM_ONE) !== 0 && stored !== 1)
        report.corruption(`cluster ${cluster} may be written in place, reference count ${stored}`);
      if ((claims & CLAIM_MORE) !== 0 && stored === 1)
        report.corruption(`cluster ${cluster} may not be written in place, reference count 1`);
    }
  }
  for await (const cluster of counts.used()) {
    if (references.get(cluster) === 0) report.leak(`cluster ${cluster} has no user and a reference count`);
  }
}

/** The reference counts in the file, a block at a time. */
class StoredCounts {
  readonly #file: ImageFile;
  readonly #header: Qcow2Header;
  readonly #blocks: readonly number[];
  readonly #perBlock: number;
  #current = -1;
  #view = new DataView(new ArrayBuffer(0));

  constructor(file: ImageFile, header: Qcow2Header, blocks: readonly number[]) {
    this.#file = file;
    this.#header = header;
    this.#blocks = blocks;
    this.#perBlock = (header.clusterSize * 8) >>> header.refcountOrder;
  }

  static async read(file: ImageFile, header: Qcow2Header, report: Report): Promise<StoredCounts> {
    const { clusterSize, refcountTableOffset, refcountTableClusters } = header;
    const table = new Uint8Array(refcountTableClusters * clusterSize);
    await file.readAt(refcountTableOffset, table);
    const view = new DataView(table.buffer);
    const blocks = Array.from({ length: table.length / 8 }, (_, i) => readU64(view, i * 8));
    const seen = new Set<number>();
    for (const [i, offset] of blocks.entries()) {
      if (offset === 0) continue;
      if (seen.has(offset)) report.corruption(`the refcount block at ${offset} is in use twice`);
      // Said by the count of references.
      if (seen.has(offset) || offset % clusterSize !== 0 || offset >= file.length) blocks[i] = 0;
      seen.add(offset);
    }
    return new StoredCounts(file, header, blocks);
  }

  async get(cluster: number): Promise<number> {
    const number = Math.floor(cluster / this.#perBlock);
    if ((this.#blocks[number] ?? 0) === 0) return 0;
    if (number !== this.#current) await this.#load(number);
    return getRefcount(this.#view, cluster % this.#perBlock, this.#header.refcountOrder);
  }

  /** All clusters with a count, in order. */
  async *used(): AsyncGenerator<number> {
    for (const [number, offset] of this.#blocks.entries()) {
      if (offset === 0) continue;
      await this.#load(number);
      const view = this.#view;
      for (let index = 0; index < this.#perBlock; index++) {
        if (getRefcount(view, index, this.#header.refcountOrder) !== 0) yield number * this.#perBlock + index;
      }
    }
  }

  async #load(number: number): Promise<void> {
    const bytes = new Uint8Array(this.#header.clusterSize);
    await this.#file.readAt(this.#blocks[number], bytes);
    this.#view = new DataView(bytes.buffer);
    this.#current = number;
  }
}
