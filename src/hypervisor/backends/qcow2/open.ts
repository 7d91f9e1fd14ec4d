import { type DiskBackend, DiskError } from '../disk.ts';
import type { ImageFile } from '../host-file.ts';
import { canDecompress } from './compressed.ts';
import { Qcow2Core } from './core.ts';
import { Qcow2Disk } from './disk.ts';
import { readL1Entry, readU64 } from './format.ts';
import { type Qcow2Header, readHeader } from './header.ts';
import { Mapping } from './mapping.ts';
import type { Span } from './places.ts';
import { rebuildRefcounts } from './rebuild.ts';
import { REFCOUNT_TABLE, Refcounts } from './refcounts.ts';
import { readSnapshots } from './snapshots.ts';

export interface OpenQcow2Options {
  /** Opens the backing file that the header names; not called when it names none. */
  readonly backing: (header: Qcow2Header) => Promise<DiskBackend>;
  /** Hears of damage that is found while the image is in use, once. */
  readonly log: (message: string) => void;
}

/**
 * Opens a qcow2 image of version 2 or 3. Closing the disk closes the file and
 * the backing file; when this throws, the file is the caller's to close.
 *
 * For reading, entries of the tables are checked when they are used. For
 * writing, the L1 table and the refcount table must be sound, and an image that
 * was left dirty (lazy reference counts) gets its reference counts rebuilt.
 *
 * @throws DiskError with a message for the user
 */
export async function openQcow2(file: ImageFile, options: OpenQcow2Options): Promise<Qcow2Disk> {
  let header = await readHeader(file);
  if (header.size === 0) throw new DiskError('DISK_EMPTY', `disk image ${file.path} is a disk of 0 bytes`);
  if (!canDecompress(header.compression)) {
    const message = `disk image ${file.path} has clusters compressed with ${header.compression}, which this Node cannot read: use Node 24 or newer`;
    throw new DiskError('DISK_UNSUPPORTED', message);
  }
  if (!file.readOnly && header.corrupt) {
    const message = `disk image ${file.path} is marked as damaged: repair it with qemu-img check -r all, or open it read-only`;
    throw new DiskError('DISK_CORRUPT', message);
  }
  if (!file.readOnly && header.dirty) {
    await rebuildRefcounts(file, header);
    header = await readHeader(file);
  }
  const core = new Qcow2Core(file, header, options.log);
  const [l1, refcountTable] = await findPlaces(core);
  const refcounts = refcountTable && new Refcounts(core, refcountTable);
  const mapping = new Mapping(core, refcounts, l1);
  const backing = header.backingName === undefined ? undefined : await options.backing(header);
  return new Qcow2Disk(core, mapping, refcounts, backing);
}

/**
 * Finds out where the metadata lies, and whether it is where it can be.
 *
 * @returns the L1 table and, of an image open for writing, the refcount table
 */
async function findPlaces(core: Qcow2Core): Promise<[Uint8Array, Uint8Array | undefined]> {
  const { file, header, places } = core;
  const writable = !file.readOnly;
  const overlap = places.setFixed(await fixedSpans(file, header));
  if (overlap !== undefined) throw damaged(file, overlap);

  let refcountTable: Uint8Array | undefined;
  if (writable) {
    refcountTable = new Uint8Array(header.refcountTableClusters * header.clusterSize);
    await file.readAt(header.refcountTableOffset, refcountTable);
    const wrong = addRefcountBlocks(core, refcountTable);
    if (wrong !== undefined) throw damaged(file, wrong);
  }
  const l1 = new Uint8Array(header.l1Size * 8);
  await file.readAt(header.l1Offset, l1);
  const wrong = addL2Tables(core, l1);
  if (writable && wrong !== undefined) throw damaged(file, wrong);
  return [l1, refcountTable];
}

function damaged(file: ImageFile, what: string): DiskError {
  const message = `disk image ${file.path} is damaged: ${what}; qemu-img check -r all may repair it`;
  return new DiskError('DISK_CORRUPT', message);
}

/** Header, tables and the snapshots' tables. */
async function fixedSpans(file: ImageFile, header: Qcow2Header): Promise<Span[]> {
  const { clusterSize } = header;
  const span = (what: string, offset: number, bytes: number): Span => ({
    what,
    first: offset / clusterSize,
    end: Math.ceil((offset + bytes) / clusterSize),
  });
  const snapshots = await readSnapshots(file, header);
  const spans = [
    span('the header', 0, clusterSize),
    span('the L1 table', header.l1Offset, header.l1Size * 8),
    span(REFCOUNT_TABLE, header.refcountTableOffset, header.refcountTableClusters * clusterSize),
    span('the snapshot table', header.snapshotsOffset, snapshots.bytes),
    ...snapshots.tables.map(({ l1Offset, l1Size }, i) =>
      span(`the L1 table of snapshot ${i + 1}`, l1Offset, l1Size * 8),
    ),
  ];
  return spans.filter(({ first, end }) => first < end);
}

/** @returns what is wrong with an entry, if anything is */
function addRefcountBlocks({ places, header, inFile }: Qcow2Core, table: Uint8Array): string | undefined {
  const { clusterSize } = header;
  const view = new DataView(table.buffer);
  for (let at = 0; at < table.length; at += 8) {
    const offset = readU64(view, at);
    if (offset === 0) continue;
    const cluster = offset / clusterSize;
    if (!Number.isInteger(cluster) || !inFile(offset, clusterSize))
      return `entry ${at / 8} of the refcount table points to ${offset}`;
    const there = places.at(cluster);
    if (there !== undefined) return `entry ${at / 8} of the refcount table points to ${there}`;
    places.addRefcountBlock(cluster);
  }
  return undefined;
}

/** Adds the tables whose entries are sound. @returns what is wrong with one of the others, if there are any */
function addL2Tables({ places, header, inFile }: Qcow2Core, table: Uint8Array): string | undefined {
  const { clusterSize } = header;
  const view = new DataView(table.buffer);
  let wrong: string | undefined;
  for (let index = 0; index < header.l1Size; index++) {
    const { offset, reserved } = readL1Entry(view, index * 8);
    if (offset === 0 && !reserved) continue;
    const cluster = offset / clusterSize;
    const there = places.at(cluster);
    if (reserved || !Number.isInteger(cluster) || !inFile(offset, clusterSize))
      wrong ??= `entry ${index} of the L1 table points to ${offset}`;
    else if (there !== undefined) wrong ??= `entry ${index} of the L1 table points to ${there}`;
    else places.addL2Table(cluster, index);
  }
  return wrong;
}
