/**
 * Numbers of the qcow2 format and how its entries are read. Source: "Qcow2
 * Image File Format", docs/interop/qcow2.rst of QEMU's documentation, called
 * "the specification" in this folder. All numbers in a file are big-endian.
 */

/** "QFI\xfb". */
export const MAGIC = 0x514649fb;

/** The specification sets the least, QEMU the most: images beyond it cannot be opened anywhere. */
export const CLUSTER_BITS = { least: 9, most: 21 } as const;

/** QEMU's limits, in bytes; the specification names them. */
export const MOST_L1_BYTES = 32 << 20;
export const MOST_REFCOUNT_TABLE_BYTES = 8 << 20;

const TWO_32 = 2 ** 32;
/** Bits 9 to 55 are an offset, in L1, L2 and standard cluster descriptors. */
const OFFSET_HIGH = 0x00ff_ffff;
const OFFSET_LOW = 0xffff_fe00;

/** Bit 63 of an L1 or L2 entry, in its upper word: the reference count of what it points to is exactly one. */
export const COPIED = 0x8000_0000;
/** Bit 62 of an L2 entry, in its upper word. */
const COMPRESSED = 0x4000_0000;

/** A 64-bit number; beyond 2^53 it is rounded, and larger than any limit that it is compared with. */
export function readU64(view: DataView, at: number): number {
  return view.getUint32(at) * TWO_32 + view.getUint32(at + 4);
}

export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / TWO_32));
  view.setUint32(at + 4, value >>> 0);
}

/** Writes an L1 entry, or an L2 entry of a standard cluster. */
export function writeEntry(view: DataView, at: number, offset: number, copied: boolean, zero = false): void {
  view.setUint32(at, Math.floor(offset / TWO_32) + (copied ? COPIED : 0));
  view.setUint32(at + 4, (offset >>> 0) + (zero ? 1 : 0));
}

/** An entry of an L1 table: where an L2 table lies, 0 for nowhere. */
export interface L1Entry {
  readonly offset: number;
  readonly copied: boolean;
  /** Reserved bits are set. */
  readonly reserved: boolean;
}

export function readL1Entry(view: DataView, at: number): L1Entry {
  const high = view.getUint32(at);
  const low = view.getUint32(at + 4);
  return {
    offset: (high & OFFSET_HIGH) * TWO_32 + ((low & OFFSET_LOW) >>> 0),
    copied: high >>> 31 === 1,
    reserved: (high & 0x7f00_0000) !== 0 || (low & 0x1ff) !== 0,
  };
}

/**
 * What an L2 entry says about a cluster: `hole` is unallocated and reads as the
 * backing file, `zero` reads as zero (a host cluster may be kept for it).
 */
export type ClusterKind = 'hole' | 'data' | 'zero' | 'compressed';

/** An L2 entry. The fields are filled anew by each `readL2Entry` into the same object. */
export class L2Entry {
  kind: ClusterKind = 'hole';
  /** Of the host cluster, or of compressed data; 0 for none. */
  offset = 0;
  copied = false;
  /** Bytes of compressed data at most, from `offset` on to the end of its last sector. */
  compressedBytes = 0;
  /** Reserved bits are set. */
  reserved = false;
}

/** Decodes one L2 entry, in the version 3 sense: a zero flag in an image of version 2 is for the caller to refuse. */
export function readL2Entry(view: DataView, at: number, clusterBits: number, into: L2Entry): L2Entry {
  const high = view.getUint32(at);
  const low = view.getUint32(at + 4);
  into.compressedBytes = 0;
  into.copied = high >>> 31 === 1;
  if ((high & COMPRESSED) !== 0) {
    // x = 62 - (cluster_bits - 8): below it the offset, above it the number of further sectors. x is 49 to 61.
    const offsetBits = 62 - (clusterBits - 8) - 32;
    const offsetHigh = high & (2 ** offsetBits - 1);
    const sectors = (high & 0x3fff_ffff) >>> offsetBits;
    into.kind = 'compressed';
    into.offset = offsetHigh * TWO_32 + low;
    into.compressedBytes = (sectors + 1) * 512 - (low & 511);
    into.reserved = into.copied || offsetHigh >= 2 ** 24;
    return into;
  }
  into.offset = (high & OFFSET_HIGH) * TWO_32 + ((low & OFFSET_LOW) >>> 0);
  into.reserved = (high & 0x3f00_0000) !== 0 || (low & 0x1fe) !== 0;
  into.kind = (low & 1) === 1 ? 'zero' : into.offset === 0 ? 'hole' : 'data';
  return into;
}
