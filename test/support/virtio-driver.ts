import assert from 'node:assert/strict';
import type { PciSlot } from '../../src/hypervisor/devices/pci.ts';
import type { VirtioDevice } from '../../src/hypervisor/devices/virtio/device.ts';
import { VirtioPci } from '../../src/hypervisor/devices/virtio/transport.ts';
import type { AccessSize } from '../../src/hypervisor/machine/bus.ts';
import { FlatMemory, KeptLog } from './machine-parts.ts';

const COMMON = 0;
const ISR = 0x1000;
const CONFIG = 0x2000;
const NOTIFY = 0x3000;

/** One buffer of a request: bytes for the device, or room for its answer. */
export type Buffer = Uint8Array | number;

interface RingPlace {
  readonly size: number;
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  lastUsed: number;
  nextDescriptor: number;
}

/** The guest's side of a virtio PCI device, as a driver would be, on a machine of one device. */
export class VirtioDriver {
  readonly memory: FlatMemory;
  readonly log = new KeptLog();
  readonly pci: VirtioPci;
  /** MSI-X vectors sent, in order. */
  readonly vectors: number[] = [];
  intx = false;
  msix = true;
  readonly rings: RingPlace[] = [];
  #heap = 0x100000;

  constructor(device: VirtioDevice, memory = new FlatMemory(8 << 20)) {
    this.memory = memory;
    this.pci = new VirtioPci({ name: 'device0', device, memory, log: this.log });
    const driver = this;
    const slot: PciSlot = {
      get msixEnabled() {
        return driver.msix;
      },
      notify: (vector) => this.vectors.push(vector),
      setIntx: (asserted) => {
        this.intx = asserted;
      },
    };
    this.pci.attach(slot);
  }

  read(offset: number, size: AccessSize): number {
    return this.pci.descriptor.bars[0].device.read(offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.pci.descriptor.bars[0].device.write(offset, size, value);
  }

  common(offset: number, size: AccessSize): number {
    return this.read(COMMON + offset, size);
  }

  setCommon(offset: number, size: AccessSize, value: number): void {
    this.write(COMMON + offset, size, value);
  }

  config(offset: number, size: AccessSize): number {
    return this.read(CONFIG + offset, size);
  }

  setConfig(offset: number, size: AccessSize, value: number): void {
    this.write(CONFIG + offset, size, value);
  }

  get status(): number {
    return this.common(0x14, 1);
  }

  set status(value: number) {
    this.setCommon(0x14, 1, value);
  }

  isr(): number {
    return this.read(ISR, 1);
  }

  offered(): bigint {
    this.setCommon(0, 4, 1);
    const high = BigInt(this.common(4, 4));
    this.setCommon(0, 4, 0);
    return (high << 32n) | BigInt(this.common(4, 4));
  }

  /** Brings the device to DRIVER_OK with these features (VERSION_1 added), every queue enabled. */
  start(features = 0n, size = 16): void {
    this.negotiate(features | (1n << 32n));
    assert.equal(this.status, 0x0b, 'FEATURES_OK');
    const count = this.common(0x12, 2);
    for (let i = 0; i < count; i++) this.enableQueue(i, size);
    this.setCommon(0x10, 2, count);
    this.status = 0x0f;
  }

  negotiate(features: bigint): void {
    this.status = 0;
    this.rings.length = 0;
    this.status = 1;
    this.status = 3;
    for (const half of [0, 1]) {
      this.setCommon(8, 4, half);
      this.setCommon(12, 4, Number((features >> BigInt(32 * half)) & 0xffffffffn));
    }
    this.status = 0x0b;
  }

  enableQueue(index: number, size: number): void {
    const desc = this.alloc(16 * size, 16);
    const avail = this.alloc(6 + 2 * size, 2);
    const used = this.alloc(6 + 8 * size, 4);
    for (const [gpa, length] of [
      [desc, 16 * size],
      [avail, 6 + 2 * size],
      [used, 6 + 8 * size],
    ]) {
      this.memory.bytes.fill(0, gpa, gpa + length);
    }
    this.rings[index] = { size, desc, avail, used, lastUsed: 0, nextDescriptor: 0 };
    this.setCommon(0x16, 2, index);
    this.setCommon(0x18, 2, size);
    this.setCommon(0x1a, 2, index);
    [desc, avail, used].forEach((gpa, i) => {
      this.setCommon(0x20 + 8 * i, 4, gpa);
      this.setCommon(0x24 + 8 * i, 4, 0);
    });
    this.setCommon(0x1c, 2, 1);
  }

  alloc(length: number, alignment = 16): number {
    const at = Math.ceil(this.#heap / alignment) * alignment;
    this.#heap = at + length;
    assert.ok(this.#heap <= this.memory.size, 'the driver ran out of memory');
    return at;
  }

  setDescriptor(table: number, index: number, gpa: number, length: number, flags: number, next = 0): void {
    const at = table + 16 * index;
    this.memory.writeU64(at, BigInt(gpa));
    this.memory.writeU32(at + 8, length);
    this.memory.writeU16(at + 12, flags);
    this.memory.writeU16(at + 14, next);
  }

  /** Puts a chain of buffers into a queue without notifying; returns its head and where the buffers lie. */
  add(index: number, buffers: readonly Buffer[], indirect = false): { head: number; places: number[] } {
    const ring = this.rings[index];
    const places = buffers.map((buffer) => {
      const gpa = this.alloc(typeof buffer === 'number' ? buffer : Math.max(1, buffer.length));
      if (typeof buffer !== 'number') this.memory.bytes.set(buffer, gpa);
      return gpa;
    });
    const table = indirect ? this.alloc(16 * buffers.length) : ring.desc;
    const first = indirect ? 0 : ring.nextDescriptor;
    buffers.forEach((buffer, i) => {
      const last = i === buffers.length - 1;
      const flags = (typeof buffer === 'number' ? 2 : 0) | (last ? 0 : 1);
      const length = typeof buffer === 'number' ? buffer : buffer.length;
      const slot = indirect ? i : (first + i) % ring.size;
      const next = indirect ? i + 1 : (first + i + 1) % ring.size;
      this.setDescriptor(table, slot, places[i], length, flags, last ? 0 : next);
    });
    const head = ring.nextDescriptor;
    if (indirect) this.setDescriptor(ring.desc, head, table, 16 * buffers.length, 4);
    ring.nextDescriptor = (head + (indirect ? 1 : buffers.length)) % ring.size;
    this.offer(index, head);
    return { head, places };
  }

  /** Makes a descriptor available. */
  offer(index: number, head: number): void {
    const { avail, size } = this.rings[index];
    const at = this.memory.readU16(avail + 2);
    this.memory.writeU16(avail + 4 + 2 * (at % size), head);
    this.memory.writeU16(avail + 2, (at + 1) & 0xffff);
  }

  notify(index: number): void {
    this.write(NOTIFY + 4 * index, 2, index);
  }

  /** Used elements since the last call. */
  used(index: number): { head: number; length: number }[] {
    const ring = this.rings[index];
    const out: { head: number; length: number }[] = [];
    while (ring.lastUsed !== this.memory.readU16(ring.used + 2)) {
      const at = ring.used + 4 + 8 * (ring.lastUsed % ring.size);
      out.push({ head: this.memory.readU32(at), length: this.memory.readU32(at + 4) });
      ring.lastUsed = (ring.lastUsed + 1) & 0xffff;
    }
    return out;
  }

  usedIndex(index: number): number {
    return this.memory.readU16(this.rings[index].used + 2);
  }
}
