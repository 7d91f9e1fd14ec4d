import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DiskError } from '../disk.ts';
import { type ImageFile, openHostFile } from '../host-file.ts';
import { CLUSTER_BITS, MAGIC, MOST_L1_BYTES, writeU64 } from './format.ts';
import { l1EntriesFor } from './header.ts';
import { setRefcount } from './refcount-bits.ts';

const HEADER_BYTES = 104;
const BACKING_FORMAT = 0xe2792aca;

export interface Qcow2Layout {
  /** Of the disk, in bytes: a multiple of 512, at least 512. */
  readonly size: number;
  /** The name is stored as it is given: relative ones are found from where the image lies. */
  readonly backing?: { readonly name: string; readonly format: 'raw' | 'qcow2' };
  /** 9 to 21; 16 (64 KiB) by default. */
  readonly clusterBits?: number;
  /** log2 of the bits of a reference count, 0 to 6; 4 by default. Version 2 always has 4. */
  readonly refcountOrder?: number;
  readonly version?: 2 | 3;
}

/**
 * Makes a file with an empty qcow2 image, on the disk when this resolves. All of
 * the disk reads as the backing file or, without one, as zero.
 *
 * @throws DiskError `DISK_EXISTS` when there is such a file, `DISK_FORMAT` for a
 *   size that the format does not have, `DISK_ACCESS`
 */
export async function createQcow2(path: string, layout: Qcow2Layout): Promise<void> {
  // So that a wrong size makes no file.
  planImage(path, layout);
  try {
    await (await open(path, 'wx', 0o600)).close();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EEXIST')
      throw new DiskError('DISK_EXISTS', `there is a file ${path} already`, { cause: error });
    throw new DiskError('DISK_ACCESS', `disk image ${path} cannot be made (${code})`, { cause: error });
  }
  const file = await openHostFile(path);
  try {
    await writeQcow2(file, layout);
  } finally {
    await file.close();
  }
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Writes an empty image to an empty file; the header last, so that half of it is no image. */
export async function writeQcow2(file: ImageFile, layout: Qcow2Layout): Promise<void> {
  const { header, tables } = planImage(file.path, layout);
  for (const { offset, bytes } of tables) await file.writeAt(offset, bytes);
  await file.flush();
  await file.writeAt(0, header);
  await file.flush();
}

interface Plan {
  readonly header: Uint8Array;
  readonly tables: { readonly offset: number; readonly bytes: Uint8Array }[];
}

/** Header, refcount table, refcount blocks, L1 table, in this order. */
function planImage(path: string, layout: Qcow2Layout): Plan {
  const { size, clusterBits = 16, refcountOrder = 4 } = layout;
  const wrong = (what: string) => new DiskError('DISK_FORMAT', `disk image ${path} cannot be made: ${what}`);
  if (!Number.isSafeInteger(size) || size < 512 || size % 512 !== 0)
    throw wrong(`the size must be a multiple of 512 bytes, not ${size}`);
  if (clusterBits < CLUSTER_BITS.least || clusterBits > CLUSTER_BITS.most)
    throw wrong(`clusters of 2^${clusterBits} bytes`);
  const clusterSize = 2 ** clusterBits;
  const l1Size = l1EntriesFor(size, clusterSize);
  if (l1Size * 8 > MOST_L1_BYTES)
    throw wrong(`${size} bytes are too many for clusters of ${clusterSize} bytes`);

  const perBlock = (clusterSize * 8) >>> refcountOrder;
  const l1Clusters = Math.ceil((l1Size * 8) / clusterSize);
  let blocks = 1;
  let tableClusters = 1;
  const total = () => 1 + tableClusters + blocks + l1Clusters;
  while (blocks * perBlock < total() || tableClusters * (clusterSize / 8) < blocks) {
    blocks = Math.ceil(total() / perBlock);
    tableClusters = Math.ceil((blocks * 8) / clusterSize);
  }
  const firstBlock = 1 + tableClusters;
  const table = new Uint8Array(tableClusters * clusterSize);
  const counts = new Uint8Array(blocks * clusterSize);
  for (let i = 0; i < blocks; i++)
    writeU64(new DataView(table.buffer), i * 8, (firstBlock + i) * clusterSize);
  for (let cluster = 0; cluster < total(); cluster++)
    setRefcount(new DataView(counts.buffer), cluster, refcountOrder, 1);
  const l1Offset = (firstBlock + blocks) * clusterSize;
  const header = encodeHeader(layout, {
    clusterBits,
    refcountOrder,
    l1Size,
    l1Offset,
    refcountTableOffset: clusterSize,
    refcountTableClusters: tableClusters,
  });
  if (header.length > clusterSize) throw wrong('the name of the backing file is too long');
  return {
    header,
    tables: [
      { offset: clusterSize, bytes: table },
      { offset: firstBlock * clusterSize, bytes: counts },
      { offset: l1Offset, bytes: new Uint8Array(l1Clusters * clusterSize) },
    ],
  };
}

interface Places {
  readonly clusterBits: number;
  readonly refcountOrder: number;
  readonly l1Size: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
}

/** The header with its extensions and the backing file's name. */
function encodeHeader({ size, backing, version = 3 }: Qcow2Layout, places: Places): Uint8Array {
  const name = Buffer.from(backing?.name ?? '');
  const format = Buffer.from(backing?.format ?? '');
  const headerBytes = version === 3 ? HEADER_BYTES : 72;
  const formatBytes = backing ? 8 + Math.ceil(format.length / 8) * 8 : 0;
  // The end of the extensions takes eight bytes of zeroes.
  const nameAt = headerBytes + formatBytes + 8;
  const bytes = new Uint8Array(nameAt + name.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(4, version);
  view.setUint32(20, places.clusterBits);
  writeU64(view, 24, size);
  view.setUint32(36, places.l1Size);
  writeU64(view, 40, places.l1Offset);
  writeU64(view, 48, places.refcountTableOffset);
  view.setUint32(56, places.refcountTableClusters);
  if (version === 3) {
    view.setUint32(96, places.refcountOrder);
    view.setUint32(100, HEADER_BYTES);
  }
  if (!backing) return bytes;
  writeU64(view, 8, nameAt);
  view.setUint32(16, name.length);
  view.setUint32(headerBytes, BACKING_FORMAT);
  view.setUint32(headerBytes + 4, format.length);
  bytes.set(format, headerBytes + 8);
  bytes.set(name, nameAt);
  return bytes;
}
