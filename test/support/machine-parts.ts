import type { Clock, Door, DoorPayload, DoorPort, Timer } from '../../src/hypervisor/machine/door.ts';
import type { IrqLine } from '../../src/hypervisor/machine/irq.ts';
import type { GuestLog } from '../../src/hypervisor/machine/log.ts';
import type { GuestMemory } from '../../src/hypervisor/machine/memory.ts';

/** RAM of its own for tests of single devices, with a record of what `written` was told. */
export class FlatMemory implements GuestMemory {
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly told: { gpa: number; length: number }[] = [];
  readonly #view: DataView;

  constructor(size: number) {
    this.size = size;
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  view(gpa: number, length: number): Uint8Array | undefined {
    const inside = gpa >= 0 && length >= 0 && gpa + length <= this.size;
    return inside ? this.bytes.subarray(gpa, gpa + length) : undefined;
  }

  written(gpa: number, length: number): void {
    this.told.push({ gpa, length });
  }

  readU8(gpa: number): number {
    return this.view(gpa, 1) ? this.#view.getUint8(gpa) : 0;
  }

  readU16(gpa: number): number {
    return this.view(gpa, 2) ? this.#view.getUint16(gpa, true) : 0;
  }

  readU32(gpa: number): number {
    return this.view(gpa, 4) ? this.#view.getUint32(gpa, true) : 0;
  }

  readU64(gpa: number): bigint {
    return this.view(gpa, 8) ? this.#view.getBigUint64(gpa, true) : 0n;
  }

  writeU8(gpa: number, value: number): void {
    if (this.view(gpa, 1)) this.#view.setUint8(gpa, value);
  }

  writeU16(gpa: number, value: number): void {
    if (this.view(gpa, 2)) this.#view.setUint16(gpa, value, true);
  }

  writeU32(gpa: number, value: number): void {
    if (this.view(gpa, 4)) this.#view.setUint32(gpa, value, true);
  }

  writeU64(gpa: number, value: bigint): void {
    if (this.view(gpa, 8)) this.#view.setBigUint64(gpa, value, true);
  }

  readBytes(gpa: number, target: Uint8Array): boolean {
    target.fill(0);
    const from = this.view(gpa, target.length);
    if (from) target.set(from);
    return from !== undefined;
  }

  writeBytes(gpa: number, source: Uint8Array): boolean {
    const into = this.view(gpa, source.length);
    into?.set(source);
    return into !== undefined;
  }
}

/**
 * A door whose time moves only when told: `advance` fires timers in order,
 * `pump` delivers what was posted, `settle` also waits for back ends.
 */
export class HandDoor implements Door {
  readonly clock: Clock;
  #now = 0;
  readonly #timers = new Set<{ deadline: number | undefined; fire: () => void }>();
  readonly #posted: (() => void)[] = [];
  #wake: (() => void) | undefined;
  #seed = 1;

  constructor() {
    this.clock = { now: () => this.#now, timer: (_name, fire) => this.#timer(fire) };
  }

  wallClock(): number {
    return Math.floor(this.#now / 1e6);
  }

  /** A known sequence, so that tests can tell where bytes came from. */
  random(target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) {
      this.#seed = (Math.imul(this.#seed, 1103515245) + 12345) >>> 0;
      target[i] = this.#seed >>> 16;
    }
  }

  port<T extends DoorPayload>(_name: string, deliver: (payload: T) => void): DoorPort<T> {
    return {
      post: (payload) => {
        this.#posted.push(() => deliver(payload));
        this.#wake?.();
      },
    };
  }

  /** Delivers everything posted so far, and what that posts; returns how many. */
  pump(): number {
    let count = 0;
    for (let next = this.#posted.shift(); next !== undefined; next = this.#posted.shift()) {
      next();
      count += 1;
    }
    return count;
  }

  /** Pumps until `done`, waiting for posts in between. */
  async settle(done: () => boolean): Promise<void> {
    for (;;) {
      this.pump();
      if (done()) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (this.#posted.length > 0) resolve();
      });
      this.#wake = undefined;
    }
  }

  advance(nanoseconds: number): void {
    const end = this.#now + nanoseconds;
    for (;;) {
      const due = [...this.#timers]
        .filter((t) => t.deadline !== undefined && t.deadline <= end)
        .sort((a, b) => (a.deadline ?? 0) - (b.deadline ?? 0))[0];
      if (due === undefined) break;
      this.#now = Math.max(this.#now, due.deadline ?? 0);
      due.deadline = undefined;
      due.fire();
    }
    this.#now = end;
  }

  #timer(fire: () => void): Timer {
    const entry: { deadline: number | undefined; fire: () => void } = { deadline: undefined, fire };
    this.#timers.add(entry);
    return {
      arm: (deadline) => {
        entry.deadline = deadline;
      },
      cancel: () => {
        entry.deadline = undefined;
      },
      get deadline() {
        return entry.deadline;
      },
    };
  }
}

/** A wire that remembers its level and its rising edges. */
export class ProbeLine implements IrqLine {
  level = false;
  edges = 0;

  set(asserted: boolean): void {
    if (asserted && !this.level) this.edges += 1;
    this.level = asserted;
  }
}

/** A log that keeps its lines. */
export class KeptLog implements GuestLog {
  readonly lines: string[] = [];

  guest(message: string, details?: Record<string, unknown>): void {
    this.lines.push(`guest: ${message} ${JSON.stringify(details ?? {})}`);
  }

  host(message: string, details?: Record<string, unknown>): void {
    this.lines.push(`host: ${message} ${JSON.stringify(details ?? {})}`);
  }
}
