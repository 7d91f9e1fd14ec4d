import type { GuestMemory } from '../../machine/memory.ts';

/** Feature bits of the ring itself, virtio 1.2 § 6. */
export const RING_INDIRECT_DESC = 1n << 28n;
export const RING_EVENT_IDX = 1n << 29n;

/** Most descriptors a device of ours offers to a queue, and most that an indirect table may have. */
export const QUEUE_SIZE_LIMIT = 1024;

const DESC_NEXT = 1;
const DESC_WRITE = 2;
const DESC_INDIRECT = 4;
const DESC_BYTES = 16;
const AVAIL_NO_INTERRUPT = 1;
/** § 2.7.4.2: a chain's buffers are at most 2^32 bytes in all. */
const CHAIN_BYTES_LIMIT = 2 ** 32;

interface Span {
  readonly gpa: number;
  readonly length: number;
}

/**
 * One request of the driver: the buffers of a descriptor chain, those the
 * device reads first, then those it writes. Positions count bytes from the
 * start of the readable or the writable part.
 */
export class DescriptorChain {
  /** Index of the first descriptor: what goes back to the driver. */
  readonly head: number;
  readonly readableLength: number;
  readonly writableLength: number;
  readonly #memory: GuestMemory;
  readonly #readable: readonly Span[];
  readonly #writable: readonly Span[];

  constructor(memory: GuestMemory, head: number, readable: readonly Span[], writable: readonly Span[]) {
    this.#memory = memory;
    this.head = head;
    this.#readable = readable;
    this.#writable = writable;
    this.readableLength = total(readable);
    this.writableLength = total(writable);
  }

  /** Live views of the buffers that the device reads. */
  readableSpans(): Uint8Array[] {
    return this.#readable.map((span) => this.#view(span));
  }

  /** Live views of the buffers that the device writes; call `written` after using them. */
  writableSpans(): Uint8Array[] {
    return this.#writable.map((span) => this.#view(span));
  }

  /** Tells the processor that every writable buffer may have changed. */
  written(): void {
    for (const span of this.#writable) this.#memory.written(span.gpa, span.length);
  }

  /** A copy of up to `length` readable bytes from `position`; shorter at the end of the chain. */
  read(position: number, length: number): Uint8Array {
    const target = new Uint8Array(Math.max(0, Math.min(length, this.readableLength - position)));
    let done = 0;
    for (const part of cut(this.#readable, position, target.length)) {
      target.set(this.#view(part), done);
      done += part.length;
    }
    return target;
  }

  /** Copies `source` into the writable part at `position`; returns the bytes that found room. */
  write(position: number, source: Uint8Array): number {
    let done = 0;
    for (const part of cut(this.#writable, position, source.length)) {
      this.#view(part).set(source.subarray(done, done + part.length));
      this.#memory.written(part.gpa, part.length);
      done += part.length;
    }
    return done;
  }

  #view(span: Span): Uint8Array {
    // RAM neither moves nor shrinks, so what the walk found is still there.
    return this.#memory.view(span.gpa, span.length) ?? new Uint8Array(span.length);
  }
}

function total(spans: readonly Span[]): number {
  return spans.reduce((sum, span) => sum + span.length, 0);
}

/** The parts of `spans` that cover `[position, position + length)`. */
function* cut(spans: readonly Span[], position: number, length: number): Generator<Span> {
  let start = 0;
  let left = length;
  for (const span of spans) {
    if (left <= 0) return;
    const skip = Math.max(0, position - start);
    start += span.length;
    if (skip >= span.length) continue;
    const part = Math.min(span.length - skip, left);
    yield { gpa: span.gpa + skip, length: part };
    left -= part;
    position += part;
  }
}

/** A 64-bit register that the driver writes as two halves. */
export interface Register64 {
  low: number;
  high: number;
}

export type VirtqueueState = {
  readonly size: number;
  readonly enabled: boolean;
  readonly stopped: boolean;
  readonly vector: number;
  readonly desc: readonly [number, number];
  readonly driver: readonly [number, number];
  readonly device: readonly [number, number];
  readonly lastAvail: number;
  readonly usedIndex: number;
  readonly signalled: number | null;
};

/**
 * A split virtqueue (virtio 1.2 § 2.7) as the device sees it. The driver's
 * half lies in guest memory and may hold anything: whatever breaks the rules
 * calls `broken` once and stops the queue; nothing throws or runs on.
 */
export class Virtqueue {
  readonly maxSize: number;
  /** What the driver programmed; the transport owns these. */
  size: number;
  vector = 0xffff;
  readonly desc: Register64 = { low: 0, high: 0 };
  readonly driver: Register64 = { low: 0, high: 0 };
  readonly device: Register64 = { low: 0, high: 0 };

  readonly #memory: GuestMemory;
  readonly #broken: (reason: string) => void;
  #enabled = false;
  #stopped = false;
  #indirect = false;
  #eventIdx = false;
  #descGpa = 0;
  #availGpa = 0;
  #usedGpa = 0;
  #lastAvail = 0;
  #usedIndex = 0;
  /** Used index at the last decision about an interrupt; undefined before the first. */
  #signalled: number | undefined;

  /** @param maxSize a power of two, at most 1024 */
  constructor(memory: GuestMemory, maxSize: number, broken: (reason: string) => void) {
    this.#memory = memory;
    this.maxSize = maxSize;
    this.size = maxSize;
    this.#broken = broken;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  setFeatures(features: bigint): void {
    this.#indirect = (features & RING_INDIRECT_DESC) !== 0n;
    this.#eventIdx = (features & RING_EVENT_IDX) !== 0n;
  }

  /** Starts the queue where the driver put it; a place that cannot be is broken. */
  enable(): void {
    if (this.#enabled) return;
    const size = this.size;
    this.#descGpa = address(this.desc);
    this.#availGpa = address(this.driver);
    this.#usedGpa = address(this.device);
    this.#enabled = true;
    if (size < 1 || size > this.maxSize || (size & (size - 1)) !== 0) return this.#fail(`queue size ${size}`);
    this.#place('descriptor table', this.#descGpa, DESC_BYTES * size, 16);
    this.#place('available ring', this.#availGpa, 6 + 2 * size, 2);
    this.#place('used ring', this.#usedGpa, 6 + 8 * size, 4);
  }

  reset(): void {
    this.size = this.maxSize;
    this.vector = 0xffff;
    for (const register of [this.desc, this.driver, this.device]) {
      register.low = 0;
      register.high = 0;
    }
    this.#enabled = false;
    this.#stopped = false;
    this.#lastAvail = 0;
    this.#usedIndex = 0;
    this.#signalled = undefined;
  }

  /** Hands out and takes back nothing more, until a reset. */
  stop(): void {
    this.#stopped = true;
  }

  /** The next request, or undefined when there is none (or the queue is stopped). */
  pop(): DescriptorChain | undefined {
    if (!this.#running()) return undefined;
    const waiting = (this.#memory.readU16(this.#availGpa + 2) - this.#lastAvail) & 0xffff;
    if (waiting > this.size) return this.#fail(`available index is ${waiting} ahead`);
    if (waiting === 0 && !this.#askToBeNotified()) return undefined;
    const slot = this.#lastAvail & (this.size - 1);
    const head = this.#memory.readU16(this.#availGpa + 4 + 2 * slot);
    const chain = this.open(head);
    if (chain !== undefined) {
      this.#lastAvail = (this.#lastAvail + 1) & 0xffff;
      this.#setAvailEvent();
    }
    return chain;
  }

  /** Leaves the last popped request in the queue for later. */
  unpop(): void {
    this.#lastAvail = (this.#lastAvail - 1) & 0xffff;
    this.#setAvailEvent();
  }

  /** The chain that starts at a descriptor: for a request popped earlier, whose chain was not kept. */
  open(head: number): DescriptorChain | undefined {
    if (!this.#running()) return undefined;
    if (head >= this.size) return this.#fail(`descriptor index ${head} of ${this.size}`);
    return this.#walk(head);
  }

  /**
   * Gives a request back with the count of bytes written into it (§ 2.7.8).
   * Returns whether the driver is to be interrupted.
   */
  push(head: number, written: number): boolean {
    if (!this.#running()) return false;
    const element = this.#usedGpa + 4 + 8 * (this.#usedIndex & (this.size - 1));
    this.#memory.writeU32(element, head);
    this.#memory.writeU32(element + 4, written >>> 0);
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    this.#memory.writeU16(this.#usedGpa + 2, this.#usedIndex);
    this.#memory.written(element, 8);
    this.#memory.written(this.#usedGpa, 4);
    return this.#wantsInterrupt();
  }

  save(): VirtqueueState {
    return {
      size: this.size,
      enabled: this.#enabled,
      stopped: this.#stopped,
      vector: this.vector,
      desc: [this.desc.low, this.desc.high],
      driver: [this.driver.low, this.driver.high],
      device: [this.device.low, this.device.high],
      lastAvail: this.#lastAvail,
      usedIndex: this.#usedIndex,
      signalled: this.#signalled ?? null,
    };
  }

  restore(state: VirtqueueState): void {
    this.reset();
    this.size = state.size;
    this.vector = state.vector;
    for (const name of ['desc', 'driver', 'device'] as const) {
      this[name].low = state[name][0];
      this[name].high = state[name][1];
    }
    this.#lastAvail = state.lastAvail & 0xffff;
    this.#usedIndex = state.usedIndex & 0xffff;
    this.#signalled = state.signalled ?? undefined;
    if (state.enabled) this.enable();
    if (state.stopped) this.stop();
  }

  #running(): boolean {
    return this.#enabled && !this.#stopped;
  }

  #fail(reason: string): undefined {
    if (this.#stopped) return undefined;
    this.#stopped = true;
    this.#broken(reason);
    return undefined;
  }

  #place(what: string, gpa: number, length: number, alignment: number): void {
    if (gpa % alignment !== 0) this.#fail(`${what} is not aligned to ${alignment}`);
    else if (this.#memory.view(gpa, length) === undefined) this.#fail(`${what} is not in RAM`);
  }

  /** Collects a chain; follows `next` through the table and at most one indirect table. */
  #walk(head: number): DescriptorChain | undefined {
    const readable: Span[] = [];
    const writable: Span[] = [];
    let table = this.#descGpa;
    let entries = this.size;
    let inIndirect = false;
    let index = head;
    let visited = 0;
    let bytes = 0;
    for (;;) {
      // Each descriptor of a table belongs to a chain once: more means a loop.
      if (++visited > entries) return this.#fail('descriptor chain loops');
      const at = table + DESC_BYTES * index;
      const gpa = this.#memory.readU32(at) + this.#memory.readU32(at + 4) * 2 ** 32;
      const length = this.#memory.readU32(at + 8);
      const flags = this.#memory.readU16(at + 12);
      if (flags & DESC_INDIRECT) {
        if (!this.#indirect) return this.#fail('indirect descriptor without the feature');
        if (inIndirect) return this.#fail('indirect descriptor inside an indirect table');
        if (flags & DESC_NEXT) return this.#fail('indirect descriptor with a next one');
        if (length === 0 || length % DESC_BYTES !== 0 || length > DESC_BYTES * QUEUE_SIZE_LIMIT) {
          return this.#fail(`indirect table of ${length} bytes`);
        }
        if (this.#memory.view(gpa, length) === undefined) return this.#fail('indirect table is not in RAM');
        inIndirect = true;
        table = gpa;
        entries = length / DESC_BYTES;
        index = 0;
        visited = 0;
        continue;
      }
      if (length === 0) return this.#fail('descriptor of zero length');
      bytes += length;
      if (bytes > CHAIN_BYTES_LIMIT) return this.#fail('descriptor chain of more than 4 GiB');
      if (this.#memory.view(gpa, length) === undefined) return this.#fail('buffer is not in RAM');
      if (flags & DESC_WRITE) writable.push({ gpa, length });
      else if (writable.length > 0) return this.#fail('readable buffer after a writable one');
      else readable.push({ gpa, length });
      if ((flags & DESC_NEXT) === 0) break;
      index = this.#memory.readU16(at + 14);
      if (index >= entries) return this.#fail(`next descriptor ${index} of ${entries}`);
    }
    return new DescriptorChain(this.#memory, head, readable, writable);
  }

  /** § 2.7.10: says up to where the driver need not notify. True when requests came in meanwhile. */
  #askToBeNotified(): boolean {
    if (!this.#eventIdx) return false;
    this.#setAvailEvent();
    return this.#memory.readU16(this.#availGpa + 2) !== this.#lastAvail;
  }

  #setAvailEvent(): void {
    if (!this.#eventIdx) return;
    const gpa = this.#usedGpa + 4 + 8 * this.size;
    this.#memory.writeU16(gpa, this.#lastAvail);
    this.#memory.written(gpa, 2);
  }

  /** § 2.7.7. */
  #wantsInterrupt(): boolean {
    if (!this.#eventIdx) return (this.#memory.readU16(this.#availGpa) & AVAIL_NO_INTERRUPT) === 0;
    const before = this.#signalled;
    this.#signalled = this.#usedIndex;
    if (before === undefined) return true;
    const event = this.#memory.readU16(this.#availGpa + 4 + 2 * this.size);
    return ((this.#usedIndex - event - 1) & 0xffff) < ((this.#usedIndex - before) & 0xffff);
  }
}

/** A guest-physical address; above 2^53 it loses low bits, but there is no RAM either. */
function address(register: Register64): number {
  return register.low + register.high * 2 ** 32;
}
