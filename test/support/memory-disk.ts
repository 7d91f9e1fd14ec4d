import type { DiskBackend } from '../../src/hypervisor/backends/disk.ts';

/** A disk in memory that writes down what it was asked and can fail or wait. */
export class MemoryDisk implements DiskBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly bytes: Uint8Array;
  readonly calls: string[] = [];
  closed = false;
  /** Calls fail while this is true of their offset; a flush asks for -1. */
  failing: (offset: number) => boolean = () => false;
  gate: Promise<void> = Promise.resolve();

  constructor(size = 1 << 20, readOnly = false) {
    this.size = size;
    this.readOnly = readOnly;
    this.bytes = new Uint8Array(size);
  }

  /** A disk whose every sector says which it is. */
  static numbered(size: number, readOnly = false): MemoryDisk {
    const disk = new MemoryDisk(size, readOnly);
    const view = new DataView(disk.bytes.buffer);
    for (let at = 0; at + 4 <= size; at += 4) view.setUint32(at, Math.imul(at + 1, 2654435761), true);
    return disk;
  }

  async readAt(offset: number, target: Uint8Array): Promise<void> {
    await this.#call(`read ${offset} ${target.length}`, offset, target.length);
    target.set(this.bytes.subarray(offset, offset + target.length));
  }

  async writeAt(offset: number, source: Uint8Array): Promise<void> {
    await this.#call(`write ${offset} ${source.length}`, offset, source.length);
    this.bytes.set(source, offset);
  }

  flush(): Promise<void> {
    return this.#call('flush', -1, 0);
  }

  discard(offset: number, length: number): Promise<void> {
    return this.#call(`discard ${offset} ${length}`, offset, length);
  }

  async writeZeroes(offset: number, length: number, mayUnmap: boolean): Promise<void> {
    await this.#call(`zero ${offset} ${length} ${mayUnmap}`, offset, length);
    this.bytes.fill(0, offset, offset + length);
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  async #call(what: string, offset: number, length: number): Promise<void> {
    this.calls.push(what);
    await this.gate;
    if (this.failing(offset)) throw new Error('the disk is on fire');
    if (offset + length > this.size) throw new Error(`${what} reaches beyond the disk`);
  }
}
