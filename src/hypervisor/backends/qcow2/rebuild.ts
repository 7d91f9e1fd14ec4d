import { DiskError } from '../disk.ts';
import type { ImageFile } from '../host-file.ts';
import { MOST_REFCOUNT_TABLE_BYTES, writeU64 } from './format.ts';
import {
  HEADER_INCOMPATIBLE,
  HEADER_REFCOUNT_TABLE,
  INCOMPATIBLE_DIRTY,
  type Qcow2Header,
} from './header.ts';
import { setRefcount } from './refcount-bits.ts';
import { CLAIM_ONE, countReferences, type ReferenceCounts, STRETCH } from './references.ts';

/**
 * Gives an image new reference counts, found by following its tables: for one
 * that was left with its dirty bit set. The new table and blocks are written
 * behind all that is in use, then one write of a sector makes them known and
 * clears the bit, so a power cut leaves either the old state or the new.
 *
 * @throws DiskError `DISK_CORRUPT` when the tables are damaged in other ways too
 */
export async function rebuildRefcounts(file: ImageFile, header: Qcow2Header): Promise<void> {
  const damaged = (what: string) => {
    const message = `disk image ${file.path} was not closed properly and is damaged: ${what}; qemu-img check -r all may repair it`;
    return new DiskError('DISK_CORRUPT', message);
  };
  // The old blocks are no longer in use; only what they are for is.
  const references = await countReferences(file, { ...header, refcountTableClusters: 0 }, (what) => {
    throw damaged(what);
  });
  for (const start of references.stretches()) {
    for (let cluster = start; cluster < start + STRETCH; cluster++) {
      if ((references.claims(cluster) & CLAIM_ONE) !== 0 && references.get(cluster) !== 1)
        throw damaged(`cluster ${cluster} is in use twice and may be written in place`);
    }
  }
  const plan = layOut(file, header, references);
  if (!plan) throw damaged('its new refcount table would be too large');
  await write(file, header, references, plan);
}

interface Plan {
  /** Numbers of the refcount blocks that are needed. */
  readonly blocks: readonly number[];
  /** Where the blocks begin; the table follows them. In clusters. */
  readonly first: number;
  readonly tableClusters: number;
}

/** Finds which blocks are needed, those for the new blocks and the new table among them. */
function layOut(file: ImageFile, header: Qcow2Header, references: ReferenceCounts): Plan | undefined {
  const { clusterSize, refcountOrder } = header;
  const perBlock = (clusterSize * 8) >>> refcountOrder;
  const first = Math.ceil(file.length / clusterSize);
  const used = new Set<number>();
  for (const start of references.stretches()) {
    for (let cluster = start; cluster < start + STRETCH; cluster++) {
      if (references.get(cluster) > 0) used.add(Math.floor(cluster / perBlock));
    }
  }
  for (let own = 1; ; ) {
    const end = first + own;
    const blocks = new Set(used);
    for (let number = Math.floor(first / perBlock); number <= Math.floor((end - 1) / perBlock); number++)
      blocks.add(number);
    const tableClusters = Math.ceil(((Math.floor((end - 1) / perBlock) + 1) * 8) / clusterSize);
    if (tableClusters * clusterSize > MOST_REFCOUNT_TABLE_BYTES) return undefined;
    if (blocks.size + tableClusters <= own)
      return { blocks: [...blocks].sort((a, b) => a - b), first, tableClusters: own - blocks.size };
    own = blocks.size + tableClusters;
  }
}

async function write(
  file: ImageFile,
  header: Qcow2Header,
  references: ReferenceCounts,
  plan: Plan,
): Promise<void> {
  const { clusterSize, refcountOrder } = header;
  const perBlock = (clusterSize * 8) >>> refcountOrder;
  const most = 2 ** Math.min(2 ** refcountOrder, 53) - 1;
  const table = new Uint8Array(plan.tableClusters * clusterSize);
  const entries = new DataView(table.buffer);
  const end = plan.first + plan.blocks.length + plan.tableClusters;
  for (const [i, number] of plan.blocks.entries()) {
    const block = new Uint8Array(clusterSize);
    const view = new DataView(block.buffer);
    for (let index = 0; index < perBlock; index++) {
      const cluster = number * perBlock + index;
      const count = cluster >= plan.first && cluster < end ? 1 : references.get(cluster);
      if (count > 0) setRefcount(view, index, refcountOrder, Math.min(count, most));
    }
    await file.writeAt((plan.first + i) * clusterSize, block);
    writeU64(entries, number * 8, (plan.first + i) * clusterSize);
  }
  await file.writeAt((plan.first + plan.blocks.length) * clusterSize, table);
  await file.flush();
  await makeKnown(file, plan, clusterSize);
}

/** Changes the table's place and the dirty bit in one write of the header's first sector. */
async function makeKnown(file: ImageFile, plan: Plan, clusterSize: number): Promise<void> {
  const sector = new Uint8Array(112);
  await file.readAt(0, sector);
  const head = new DataView(sector.buffer);
  writeU64(head, HEADER_REFCOUNT_TABLE, (plan.first + plan.blocks.length) * clusterSize);
  head.setUint32(HEADER_REFCOUNT_TABLE + 8, plan.tableClusters);
  const features = head.getUint32(HEADER_INCOMPATIBLE + 4);
  head.setUint32(HEADER_INCOMPATIBLE + 4, features & ~INCOMPATIBLE_DIRTY);
  await file.writeAt(0, sector);
  await file.flush();
}
