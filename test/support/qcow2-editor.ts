import { deflateRawSync, zstdCompressSync } from 'node:zlib';
import { readU64, writeU64 } from '../../src/hypervisor/backends/qcow2/format.ts';

const COPIED_MASK = 0x7fff_ffff;
const SNAPSHOT_BYTES = 72;

/**
 * Changes a qcow2 image in memory in ways that our own code never does: internal
 * snapshots, compressed clusters, damage. Written from the specification and on
 * its own, since it is what other tests trust. For images with 16-bit reference
 * counts of which one refcount block covers all.
 */
export class Qcow2Editor {
  #bytes: Uint8Array;
  view: DataView;
  readonly clusterSize: number;
  readonly #clusterBits: number;
  /** Where the next compressed cluster goes, while there is room in that host cluster. */
  #compressedAt = 0;

  constructor(image: Uint8Array) {
    this.#bytes = image.slice();
    this.view = new DataView(this.#bytes.buffer);
    this.#clusterBits = this.view.getUint32(20);
    this.clusterSize = 2 ** this.#clusterBits;
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get l1Offset(): number {
    return readU64(this.view, 40);
  }

  /** Where the entry of a cluster of the disk lies in the file; its L2 table must be there. */
  l2EntryAt(cluster: number): number {
    const perTable = this.clusterSize / 8;
    const l2 = entryOffset(this.view, this.l1Offset + Math.floor(cluster / perTable) * 8);
    if (l2 === 0) throw new Error(`no L2 table for cluster ${cluster}`);
    return l2 + (cluster % perTable) * 8;
  }

  refcount(cluster: number): number {
    return this.view.getUint16(this.#refcountAt(cluster));
  }

  setRefcount(cluster: number, count: number): void {
    this.view.setUint16(this.#refcountAt(cluster), count);
  }

  /** Adds clusters to the file's end, in use once. @returns the first one's number */
  append(count: number): number {
    const first = Math.ceil(this.#bytes.length / this.clusterSize);
    const longer = new Uint8Array((first + count) * this.clusterSize);
    longer.set(this.#bytes);
    this.#bytes = longer;
    this.view = new DataView(longer.buffer);
    for (let cluster = first; cluster < first + count; cluster++) this.setRefcount(cluster, 1);
    return first;
  }

  /** Makes a cluster of the disk a compressed one; several share a host cluster. Its entry must be empty. */
  compress(cluster: number, content: Uint8Array, type: 'deflate' | 'zstd' = 'deflate'): void {
    const data = type === 'zstd' ? zstdCompressSync(content) : deflateRawSync(content);
    const inside = this.#compressedAt % this.clusterSize;
    if (inside === 0 || inside + data.length > this.clusterSize)
      this.#compressedAt = this.append(Math.ceil(data.length / this.clusterSize)) * this.clusterSize;
    else this.#count(Math.floor(this.#compressedAt / this.clusterSize), 1);
    const at = this.#compressedAt;
    this.#bytes.set(data, at);
    const sectors = Math.floor((at + data.length - 1) / 512) - Math.floor(at / 512);
    const entry = this.l2EntryAt(cluster);
    const offsetBits = 62 - (this.#clusterBits - 8);
    const value = (1n << 62n) | (BigInt(sectors) << BigInt(offsetBits)) | BigInt(at);
    this.view.setBigUint64(entry, value);
    // What follows begins in the same sector, as QEMU has it.
    this.#compressedAt += data.length;
    if (this.#compressedAt % this.clusterSize === 0) this.#compressedAt = 0;
    if (type === 'zstd') {
      this.view.setUint32(76, this.view.getUint32(76) | 8);
      this.view.setUint32(100, 112);
      this.view.setUint8(104, 1);
    }
  }

  /** Takes an internal snapshot: a copy of the L1 table, every reference once more, and no entry the only user. */
  snapshot(): void {
    const l1Size = this.view.getUint32(36);
    const l1Copy = this.append(Math.ceil((l1Size * 8) / this.clusterSize)) * this.clusterSize;
    this.#bytes.copyWithin(l1Copy, this.l1Offset, this.l1Offset + l1Size * 8);
    for (let i = 0; i < l1Size; i++) {
      const l2 = entryOffset(this.view, this.l1Offset + i * 8);
      if (l2 === 0) continue;
      this.#count(l2 / this.clusterSize, 1);
      this.#clearCopied(this.l1Offset + i * 8);
      for (let at = l2; at < l2 + this.clusterSize; at += 8) this.#shareEntry(at);
    }
    const table = this.append(1) * this.clusterSize;
    writeU64(this.view, table, l1Copy);
    this.view.setUint32(table + 8, l1Size);
    this.view.setUint16(table + 12, 1);
    this.view.setUint16(table + 14, 1);
    this.view.setUint32(table + 36, 24);
    writeU64(this.view, table + 48, readU64(this.view, 24));
    this.#bytes.set([0x31, 0x73], table + SNAPSHOT_BYTES - 8);
    this.view.setUint32(60, 1);
    writeU64(this.view, 64, table);
  }

  /** The image as it was when the (only) snapshot was taken, for reading. */
  atSnapshot(): Uint8Array {
    const image = this.#bytes.slice();
    const view = new DataView(image.buffer);
    writeU64(view, 40, readU64(view, readU64(view, 64)));
    view.setUint32(60, 0);
    writeU64(view, 64, 0);
    return image;
  }

  #shareEntry(at: number): void {
    const value = this.view.getBigUint64(at);
    if ((value >> 62n) & 1n) {
      const bits = BigInt(62 - (this.#clusterBits - 8));
      const offset = Number(value & ((1n << bits) - 1n));
      const sectors = Number((value & ((1n << 62n) - 1n)) >> bits) + 1;
      const last = Math.floor(offset / 512) * 512 + sectors * 512 - 1;
      for (let c = Math.floor(offset / this.clusterSize); c <= Math.floor(last / this.clusterSize); c++)
        this.#count(c, 1);
      return;
    }
    const offset = entryOffset(this.view, at);
    if (offset === 0) return;
    this.#count(offset / this.clusterSize, 1);
    this.#clearCopied(at);
  }

  #clearCopied(at: number): void {
    this.view.setUint32(at, this.view.getUint32(at) & COPIED_MASK);
  }

  #count(cluster: number, more: number): void {
    this.setRefcount(cluster, this.refcount(cluster) + more);
  }

  #refcountAt(cluster: number): number {
    if (cluster >= this.clusterSize / 2) throw new Error('one refcount block is not enough');
    return readU64(this.view, readU64(this.view, 48)) + cluster * 2;
  }
}

/** Bits 9 to 55 of an entry. */
function entryOffset(view: DataView, at: number): number {
  return Number(view.getBigUint64(at) & 0x00ff_ffff_ffff_fe00n);
}
