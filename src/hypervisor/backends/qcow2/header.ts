import { DiskError } from '../disk.ts';
import type { ImageFile } from '../host-file.ts';
import { CLUSTER_BITS, MAGIC, MOST_L1_BYTES, MOST_REFCOUNT_TABLE_BYTES, readU64 } from './format.ts';

/** Offsets of header fields that are written again while an image is open. */
export const HEADER_REFCOUNT_TABLE = 48;
export const HEADER_INCOMPATIBLE = 72;
export const HEADER_AUTOCLEAR = 88;

export const INCOMPATIBLE_DIRTY = 1;
export const INCOMPATIBLE_CORRUPT = 2;
const INCOMPATIBLE_COMPRESSION = 8;
const AUTOCLEAR_BITMAPS = 1;

const V2_BYTES = 72;
const V3_BYTES = 104;
const COMPRESSION_TYPE = 104;

const EXTENSION_END = 0;
const EXTENSION_BACKING_FORMAT = 0xe2792aca;
const EXTENSION_FEATURE_NAMES = 0x6803f857;
const EXTENSION_BITMAPS = 0x23852875;
const FEATURE_NAME_BYTES = 48;

const MOST_NAME_BYTES = 1023;
/** QEMU's. */
const MOST_SNAPSHOTS = 65536;

/** Names of incompatible features by bit; an image may name more. */
const FEATURES = new Map([
  [0, 'dirty bit'],
  [1, 'corrupt bit'],
  [2, 'external data file'],
  [3, 'compression type'],
  [4, 'extended L2 entries'],
]);
const SUPPORTED = new Set([0, 1, 3]);

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterSize: number;
  /** Of the virtual disk, in bytes, as the header has it. */
  readonly size: number;
  readonly l1Offset: number;
  /** Entries. */
  readonly l1Size: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  /** log2 of a reference count's bits. */
  readonly refcountOrder: number;
  readonly snapshotCount: number;
  readonly snapshotsOffset: number;
  readonly compression: 'deflate' | 'zstd';
  readonly lazyRefcounts: boolean;
  readonly dirty: boolean;
  readonly corrupt: boolean;
  /** Some bit of autoclear_features is set. */
  readonly autoclear: boolean;
  /** Where the bitmap directory lies, if the bitmaps of the image are up to date. */
  readonly bitmaps?: { readonly count: number; readonly offset: number; readonly bytes: number };
  /** As it stands in the file. */
  readonly backingName?: string;
  /** As it stands in the file; undefined when the image does not say. */
  readonly backingFormat?: string;
}

/** Whether bytes from a file's beginning are those of a qcow2 image (or of qcow, its predecessor). */
export function looksLikeQcow2(start: Uint8Array): boolean {
  return start.length >= 4 && new DataView(start.buffer, start.byteOffset).getUint32(0) === MAGIC;
}

/**
 * Reads and checks the header with its extensions: at most a cluster, 2 MiB.
 *
 * @throws DiskError `DISK_FORMAT` for what is no qcow2 image or contradicts
 *   itself, `DISK_UNSUPPORTED` with the names of features that are missing here.
 */
export async function readHeader(file: ImageFile): Promise<Qcow2Header> {
  const wrong = (what: string) =>
    new DiskError('DISK_FORMAT', `disk image ${file.path} is no valid qcow2 image: ${what}`);
  const start = new Uint8Array(Math.min(file.length, 112));
  await file.readAt(0, start);
  if (!looksLikeQcow2(start))
    throw new DiskError('DISK_FORMAT', `disk image ${file.path} is not a qcow2 image; is it raw?`);
  if (start.length < V2_BYTES) throw wrong('it ends inside its header');
  const view = new DataView(start.buffer);
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) {
    const message = `disk image ${file.path} is of qcow version ${version}; versions 2 and 3 can be opened (qemu-img convert -O qcow2 makes one)`;
    throw new DiskError('DISK_UNSUPPORTED', message);
  }
  if (version === 3 && start.length < V3_BYTES) throw wrong('it ends inside its header');
  const clusterBits = view.getUint32(20);
  if (clusterBits < CLUSTER_BITS.least || clusterBits > CLUSTER_BITS.most)
    throw wrong(`clusters of 2^${clusterBits} bytes (2^9 to 2^21 are allowed)`);
  const clusterSize = 2 ** clusterBits;
  const headerLength = version === 3 ? view.getUint32(100) : V2_BYTES;
  if (version === 3 && (headerLength < V3_BYTES || headerLength % 8 !== 0 || headerLength > clusterSize))
    throw wrong(`a header of ${headerLength} bytes`);

  const cluster = new Uint8Array(Math.min(file.length, clusterSize));
  await file.readAt(0, cluster);
  if (cluster.length < headerLength) throw wrong('it ends inside its header');
  const head = new DataView(cluster.buffer);
  const backing = readBackingName(head, clusterSize, wrong);
  const extensions = readExtensions(head, headerLength, backing?.offset ?? cluster.length, wrong);
  checkFeatures(file, head, version, extensions.featureNames);
  checkEncryption(file, head);

  const features = version === 3 ? head.getUint32(HEADER_INCOMPATIBLE + 4) : 0;
  const autoclear = version === 3 && readU64(head, HEADER_AUTOCLEAR) !== 0;
  const header: Qcow2Header = {
    version,
    clusterBits,
    clusterSize,
    size: readU64(head, 24),
    l1Offset: readU64(head, 40),
    l1Size: head.getUint32(36),
    refcountTableOffset: readU64(head, HEADER_REFCOUNT_TABLE),
    refcountTableClusters: head.getUint32(HEADER_REFCOUNT_TABLE + 8),
    refcountOrder: version === 3 ? head.getUint32(96) : 4,
    snapshotCount: head.getUint32(60),
    snapshotsOffset: readU64(head, 64),
    compression: readCompression(head, headerLength, features, wrong),
    lazyRefcounts: version === 3 && (head.getUint32(84) & 1) === 1,
    dirty: (features & INCOMPATIBLE_DIRTY) !== 0,
    corrupt: (features & INCOMPATIBLE_CORRUPT) !== 0,
    autoclear,
    ...readBitmaps(
      extensions.bitmaps,
      autoclear && (head.getUint32(HEADER_AUTOCLEAR + 4) & AUTOCLEAR_BITMAPS) !== 0,
    ),
    ...(backing && { backingName: backing.name }),
    ...(extensions.backingFormat !== undefined && { backingFormat: extensions.backingFormat }),
  };
  checkLayout(file, header, wrong);
  return header;
}

type Wrong = (what: string) => DiskError;

function readBackingName(
  head: DataView,
  clusterSize: number,
  wrong: Wrong,
): { readonly name: string; readonly offset: number } | undefined {
  const offset = readU64(head, 8);
  if (offset === 0) return undefined;
  const length = head.getUint32(16);
  if (length === 0) return undefined;
  if (
    length > MOST_NAME_BYTES ||
    offset < V2_BYTES ||
    offset + length > Math.min(clusterSize, head.byteLength)
  )
    throw wrong('the name of its backing file is not inside its first cluster');
  const bytes = new Uint8Array(head.buffer, offset, length);
  return { name: text(bytes, 'the name of its backing file', wrong), offset };
}

interface Extensions {
  readonly backingFormat?: string;
  readonly featureNames: Map<number, string>;
  readonly bitmaps?: DataView;
}

/** The header extensions, from the header's end up to the backing file's name or the cluster's end. */
function readExtensions(head: DataView, from: number, to: number, wrong: Wrong): Extensions {
  let backingFormat: string | undefined;
  let bitmaps: DataView | undefined;
  const featureNames = new Map<number, string>();
  for (let at = from; at + 8 <= to; ) {
    const type = head.getUint32(at);
    const length = head.getUint32(at + 4);
    if (type === EXTENSION_END) break;
    at += 8;
    if (at + length > to) throw wrong(`a header extension of ${length} bytes`);
    const data = new Uint8Array(head.buffer, at, length);
    if (type === EXTENSION_BACKING_FORMAT)
      backingFormat = text(data.subarray(0, 64), 'the format of its backing file', wrong);
    else if (type === EXTENSION_FEATURE_NAMES) readFeatureNames(data, featureNames);
    else if (type === EXTENSION_BITMAPS) {
      if (length < 24) throw wrong(`a bitmaps extension of ${length} bytes`);
      bitmaps = new DataView(head.buffer, at, length);
    }
    at += Math.ceil(length / 8) * 8;
  }
  return {
    featureNames,
    ...(backingFormat !== undefined && { backingFormat }),
    ...(bitmaps && { bitmaps }),
  };
}

/** Names that the image gives to incompatible features: shown to users, so nothing but printable ASCII. */
function readFeatureNames(data: Uint8Array, into: Map<number, string>): void {
  for (let at = 0; at + FEATURE_NAME_BYTES <= data.length; at += FEATURE_NAME_BYTES) {
    if (data[at] !== 0 || data[at + 1] > 63) continue;
    const name = Buffer.from(data.subarray(at + 2, at + FEATURE_NAME_BYTES)).toString('latin1');
    const shown = name.replace(/\0.*$/s, '').replace(/[^ -~]/g, '?');
    if (shown !== '') into.set(data[at + 1], shown);
  }
}

function checkFeatures(file: ImageFile, head: DataView, version: number, names: Map<number, string>): void {
  if (version === 2) return;
  const missing: string[] = [];
  for (let bit = 0; bit < 64; bit++) {
    const word = head.getUint32(bit < 32 ? HEADER_INCOMPATIBLE + 4 : HEADER_INCOMPATIBLE);
    if (((word >>> (bit % 32)) & 1) === 0 || SUPPORTED.has(bit)) continue;
    missing.push(FEATURES.get(bit) ?? names.get(bit) ?? `incompatible feature ${bit}`);
  }
  if (missing.length === 0) return;
  const message = `disk image ${file.path} uses what is not supported: ${missing.join(', ')} (qemu-img convert -O qcow2 makes an image without)`;
  throw new DiskError('DISK_UNSUPPORTED', message);
}

function checkEncryption(file: ImageFile, head: DataView): void {
  const method = head.getUint32(32);
  if (method === 0) return;
  const name = { 1: 'AES', 2: 'LUKS' }[method] ?? `method ${method}`;
  const message = `disk image ${file.path} is encrypted (${name}), which is not supported; qemu-img convert makes an image without encryption`;
  throw new DiskError('DISK_UNSUPPORTED', message);
}

function readCompression(
  head: DataView,
  headerLength: number,
  features: number,
  wrong: Wrong,
): 'deflate' | 'zstd' {
  const type = headerLength > COMPRESSION_TYPE ? head.getUint8(COMPRESSION_TYPE) : 0;
  const named = (features & INCOMPATIBLE_COMPRESSION) !== 0;
  if (named !== (type !== 0)) throw wrong('its compression type contradicts its feature bits');
  if (type > 1) throw wrong(`the unknown compression type ${type}`);
  return type === 1 ? 'zstd' : 'deflate';
}

function readBitmaps(extension: DataView | undefined, current: boolean): Pick<Qcow2Header, 'bitmaps'> {
  if (!extension || !current) return {};
  const [count, bytes, offset] = [extension.getUint32(0), readU64(extension, 8), readU64(extension, 16)];
  return { bitmaps: { count, bytes, offset } };
}

/** Sizes and places of the tables: all of them inside the file and of a size that the disk's size explains. */
function checkLayout(file: ImageFile, header: Qcow2Header, wrong: Wrong): void {
  const { clusterSize, size, l1Size } = header;
  const end = Math.ceil(file.length / clusterSize) * clusterSize;
  const place = (what: string, offset: number, bytes: number) => {
    if (offset % clusterSize !== 0) throw wrong(`${what} does not begin at a cluster`);
    if (offset < clusterSize || offset + bytes > end) throw wrong(`${what} lies outside the file`);
  };
  if (size > Number.MAX_SAFE_INTEGER - clusterSize) throw wrong('a disk of more than 2^53 bytes');
  if (header.refcountOrder > 6) throw wrong(`reference counts of 2^${header.refcountOrder} bits`);
  if (l1Size * 8 > MOST_L1_BYTES) throw wrong(`an L1 table of ${l1Size} entries`);
  if (l1Size < l1EntriesFor(size, clusterSize))
    throw wrong(`an L1 table of ${l1Size} entries is too small for a disk of ${size} bytes`);
  if (l1Size > 0) place('its L1 table', header.l1Offset, l1Size * 8);
  const tableBytes = header.refcountTableClusters * clusterSize;
  if (tableBytes === 0 || tableBytes > MOST_REFCOUNT_TABLE_BYTES)
    throw wrong(`a refcount table of ${header.refcountTableClusters} clusters`);
  place('its refcount table', header.refcountTableOffset, tableBytes);
  if (header.snapshotCount > MOST_SNAPSHOTS) throw wrong(`${header.snapshotCount} snapshots`);
  if (header.snapshotCount > 0) place('its snapshot table', header.snapshotsOffset, 40);
}

/** How many L1 entries a disk of `size` bytes needs. */
export function l1EntriesFor(size: number, clusterSize: number): number {
  return Math.ceil(size / (clusterSize * (clusterSize / 8)));
}

function text(bytes: Uint8Array, what: string, wrong: Wrong): string {
  try {
    const value = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    if (!value.includes('\0')) return value;
  } catch {
    // Said below.
  }
  throw wrong(`${what} is no text`);
}
