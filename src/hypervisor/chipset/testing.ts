/** What the chipset's unit tests stand on: a clock driven by hand, a small bus, and lines that remember. */
import type { AccessSize, Bus, BusDevice, BusRange } from '../machine/bus.ts';
import type { Clock, Door, DoorPayload, DoorPort, Timer } from '../machine/door.ts';
import type { IrqLine } from '../machine/irq.ts';
import { allOnes } from './bytewide.ts';

class HandTimer implements Timer {
  deadline: number | undefined;
  readonly name: string;
  readonly fire: () => void;

  constructor(name: string, fire: () => void) {
    this.name = name;
    this.fire = fire;
  }

  arm(deadline: number): void {
    if (!Number.isFinite(deadline)) throw new Error(`${this.name} armed for ${deadline}`);
    this.deadline = deadline;
  }

  cancel(): void {
    this.deadline = undefined;
  }
}

export class HandClock implements Clock {
  readonly timers: HandTimer[] = [];
  #now = 0;

  now(): number {
    return this.#now;
  }

  timer(name: string, fire: () => void): Timer {
    const timer = new HandTimer(name, fire);
    this.timers.push(timer);
    return timer;
  }

  /** Moves time on, firing timers at their own instants. */
  advance(ns: number): void {
    const end = this.#now + Math.floor(ns);
    for (;;) {
      let first: HandTimer | undefined;
      for (const timer of this.timers) {
        if (timer.deadline === undefined || timer.deadline > end) continue;
        if (first?.deadline === undefined || timer.deadline < first.deadline) first = timer;
      }
      if (first?.deadline === undefined) break;
      this.#now = Math.max(this.#now, first.deadline);
      first.deadline = undefined;
      first.fire();
    }
    this.#now = end;
  }

  /** Moves time on as if the machine had not run: what is due fires late, once each. */
  stall(ns: number): void {
    this.#now += Math.floor(ns);
    for (const timer of this.timers) {
      if (timer.deadline === undefined || timer.deadline > this.#now) continue;
      timer.deadline = undefined;
      timer.fire();
    }
  }
}

export class HandDoor implements Door {
  readonly clock: HandClock;
  readonly #epoch: number;

  constructor(clock: HandClock, epoch: number) {
    this.clock = clock;
    this.#epoch = epoch;
  }

  wallClock(): number {
    return this.#epoch + Math.floor(this.clock.now() / 1e6);
  }

  random(target: Uint8Array): void {
    target.fill(0x5a);
  }

  port<T extends DoorPayload>(_name: string, deliver: (payload: T) => void): DoorPort<T> {
    return { post: deliver };
  }
}

export class ListBus implements Bus {
  readonly ranges: { name: string; base: number | undefined; length: number; device: BusDevice }[] = [];

  claim(name: string, base: number | undefined, length: number, device: BusDevice): BusRange {
    const range = { name, base, length, device };
    this.ranges.unshift(range);
    return {
      name,
      length,
      get base() {
        return range.base;
      },
      move: (to: number) => {
        range.base = to;
      },
      disable: () => {
        range.base = undefined;
      },
    };
  }

  read(address: number, size: AccessSize): number {
    const range = this.#find(address);
    return range?.base === undefined ? allOnes(size) : range.device.read(address - range.base, size);
  }

  write(address: number, size: AccessSize, value: number): void {
    const range = this.#find(address);
    if (range?.base !== undefined) range.device.write(address - range.base, size, value);
  }

  #find(address: number): { base: number | undefined; device: BusDevice } | undefined {
    return this.ranges.find(
      (range) => range.base !== undefined && address >= range.base && address < range.base + range.length,
    );
  }
}

export class Probe implements IrqLine {
  level = false;
  /** Number of rising edges. */
  edges = 0;

  set(asserted: boolean): void {
    if (asserted && !this.level) this.edges++;
    this.level = asserted;
  }
}
