import { setImmediate } from 'node:timers/promises';
import type { ImageFile } from '../../src/hypervisor/backends/host-file.ts';

const SECTOR = 512;

/** Whole numbers from a seed: `next(n)` is at least 0 and less than `n`. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** Mulberry32. */
  next(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  }
}

interface Change {
  readonly offset: number;
  readonly bytes: Uint8Array;
  done: boolean;
}

/**
 * An image file in memory that knows what of it is on the disk for certain:
 * what had been written when a `flush` that has ended began. A power cut keeps
 * that and any of the sectors written since. Calls take a random while, so that
 * they overlap and end in any order.
 */
export class MemoryFile implements ImageFile {
  readonly path: string;
  readonly readOnly: boolean;
  readonly grows = true;
  /** One write in so many fails, as if the host's disk were full; 0 for none. */
  failing = 0;
  flushes = 0;
  writes = 0;
  reads = 0;
  #bytes: Uint8Array<ArrayBuffer>;
  #length: number;
  #durable: Uint8Array<ArrayBuffer>;
  #durableLength: number;
  /** In the order in which they ended; those under way last. */
  readonly #changes = new Set<Change>();
  readonly #random: Random | undefined;

  /** @param random gives delays; without it, calls take none */
  constructor(bytes: Uint8Array, options: { random?: Random; readOnly?: boolean; path?: string } = {}) {
    this.path = options.path ?? 'image';
    this.readOnly = options.readOnly ?? false;
    this.#bytes = Uint8Array.from(bytes);
    this.#durable = Uint8Array.from(bytes);
    this.#length = bytes.length;
    this.#durableLength = bytes.length;
    this.#random = options.random;
  }

  get length(): number {
    return this.#length;
  }

  /** A copy of all that was written. */
  get bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  async readAt(offset: number, target: Uint8Array): Promise<void> {
    this.reads += 1;
    await this.#wait();
    target.fill(0);
    target.set(
      this.#bytes.subarray(Math.min(offset, this.#length), Math.min(offset + target.length, this.#length)),
    );
  }

  writeAt(offset: number, source: Uint8Array): Promise<void> {
    return this.#change(offset, Uint8Array.from(source));
  }

  async punch(offset: number, length: number): Promise<boolean> {
    const within = Math.min(length, this.#length - offset);
    if (within > 0) await this.#change(offset, new Uint8Array(within));
    return true;
  }

  async flush(): Promise<void> {
    this.flushes += 1;
    const written = [...this.#changes].filter(({ done }) => done);
    await this.#wait();
    for (const change of written) {
      // Another flush may have come first, and with it what was written there since.
      if (!this.#changes.delete(change)) continue;
      this.#durable = place(this.#durable, change.offset, change.bytes);
      this.#durableLength = Math.max(this.#durableLength, change.offset + change.bytes.length);
    }
  }

  async close(): Promise<void> {}

  /** What a power cut leaves. */
  cut(random: Random): Uint8Array {
    let bytes = this.#durable.slice();
    let length = this.#durableLength;
    const odds = 1 + random.next(4);
    for (const change of this.#changes) {
      for (let at = 0; at < change.bytes.length; ) {
        const piece = Math.min(SECTOR - ((change.offset + at) % SECTOR), change.bytes.length - at);
        if (random.next(4) < odds) {
          bytes = place(bytes, change.offset + at, change.bytes.subarray(at, at + piece));
          length = Math.max(length, change.offset + at + piece);
        }
        at += piece;
      }
    }
    return bytes.slice(0, length);
  }

  async #change(offset: number, bytes: Uint8Array): Promise<void> {
    this.writes += 1;
    if (this.failing > 0 && this.writes % this.failing === 0)
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    const change: Change = { offset, bytes, done: false };
    this.#changes.add(change);
    await this.#wait();
    // Behind those that ended before.
    this.#changes.delete(change);
    this.#changes.add(change);
    change.done = true;
    this.#bytes = place(this.#bytes, offset, bytes);
    this.#length = Math.max(this.#length, offset + bytes.length);
  }

  async #wait(): Promise<void> {
    for (let turns = this.#random?.next(4) ?? 0; turns > 0; turns--) await setImmediate();
  }
}

/** Puts bytes into an array that is made longer where it must be. */
function place(into: Uint8Array<ArrayBuffer>, offset: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  let room = into;
  if (offset + bytes.length > room.length) {
    room = new Uint8Array(Math.max(offset + bytes.length, room.length * 2));
    room.set(into);
  }
  room.set(bytes, offset);
  return room;
}
