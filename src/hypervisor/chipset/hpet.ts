/**
 * The high precision event timer: a 64-bit counter of 100 MHz and three
 * comparators. Source: IA-PC HPET specification 1.0a (section numbers below
 * are its own).
 *
 * Nothing ticks: the counter is computed when somebody looks, and one timer of
 * the clock stands for the next match that may interrupt.
 *
 * Deviations:
 * - A comparator written less than 2^31 ticks behind the counter matches at
 *   once instead of a whole turn later: a host may stall the guest between its
 *   reading the counter and its writing the comparator.
 * - Two accesses of 32 bits to the two halves of one register, low half first
 *   and nothing between them, count as one access of 64 bits.
 * - Periods missed while the guest did not run become one interrupt; the phase
 *   is kept. Interrupts of one timer come at most every MIN_PERIOD_NS.
 * - No message-signalled delivery (2.3.8): Tn_FSB_INT_DEL_CAP is clear.
 * - Accesses of 8 and 16 bits, which 2.3.2 forbids, read their part of the
 *   register; such writes are ignored.
 */
import type { AccessSize, Bus, BusDevice } from '../machine/bus.ts';
import type { Clock, Timer } from '../machine/door.ts';
import type { IrqLine } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';
import { MIN_PERIOD_NS } from './ticks.ts';

export const HPET_BASE = 0xfed00000;
export const HPET_LENGTH = 0x400;
/** Nanoseconds of a tick. */
const TICK_NS = 10;
const TIMERS = 3;
/** Low half of GCAP_ID: vendor 8086h, legacy routes, 64-bit counter, three timers, revision 1. Also the ACPI table's. */
export const HPET_BLOCK_ID = 0x8086_a201;
/** High half: femtoseconds of a tick. */
const PERIOD_FS = TICK_NS * 1e6;

const Reg = { id: 0x00, config: 0x10, status: 0x20, counter: 0xf0, timers: 0x100 } as const;
const ENABLE = 1;
const LEGACY = 2;

/** Timer configuration, 2.3.8. */
const Tn = {
  level: 1 << 1,
  interrupt: 1 << 2,
  periodic: 1 << 3,
  canPeriodic: 1 << 4,
  wide: 1 << 5,
  set: 1 << 6,
  narrow: 1 << 8,
} as const;
const ROUTE_SHIFT = 9;
const ROUTE = 0x1f << ROUTE_SHIFT;
const WRITABLE = Tn.level | Tn.interrupt | Tn.periodic | Tn.set | Tn.narrow;

const ONES64 = 0xffff_ffff_ffff_ffffn;
const ONES32 = 0xffff_ffffn;
/** How far behind the counter a comparator still matches at once, in ticks. */
const JUST_PASSED = 1n << 31n;
/** Ticks beyond which a match is further away than any machine runs: a hundred days. */
const NEVER = 1n << 50n;

export type HpetTimerState = {
  readonly config: number;
  readonly comparator: bigint;
  readonly period: bigint;
  /** Nanosecond of machine time of the next match, which may be past; null for none. */
  readonly matchAt: number | null;
};

export type HpetState = {
  readonly config: number;
  readonly status: number;
  /** The counter at `since`, or where it stands while halted. */
  readonly counter: bigint;
  readonly since: number;
  readonly timers: readonly HpetTimerState[];
  /** The high half that the next read, or write, may complete: its offset; -1 for none. */
  readonly readPartner: number;
  readonly writePartner: number;
  readonly latched: number;
};

export interface HpetOptions {
  readonly clock: Clock;
  /** Wires of the I/O APIC inputs that timers may be routed to, by number (0-31). */
  readonly routes: ReadonlyMap<number, IrqLine>;
  /** Where timers 0 and 1 go with legacy replacement: IRQ 0 and IRQ 8. */
  readonly legacy: readonly [IrqLine, IrqLine];
  /** Told when legacy replacement begins and ends: the 8254 and the RTC interrupt nobody meanwhile. */
  readonly onLegacy: (active: boolean) => void;
}

/** One comparator. */
class Comparator {
  config = Tn.canPeriodic | Tn.wide;
  value = ONES64;
  /** What is added on a match in periodic mode; 0 when none was written. */
  period = 0n;
  matchAt: number | null = null;
  /** Machine time before which no further interrupt of a periodic timer comes. */
  notBefore = 0;
  /** The wire that it asserts. */
  driven: IrqLine | undefined;
  /** Of the clock, armed while a match may interrupt. */
  readonly timer: Timer;

  constructor(timer: Timer) {
    this.timer = timer;
  }

  get mask(): bigint {
    return this.config & Tn.narrow ? ONES32 : ONES64;
  }

  get periodic(): boolean {
    return (this.config & Tn.periodic) !== 0;
  }

  /** Finds the next match of a counter that shows `counter` at nanosecond `at`; `late` takes one just passed as well. */
  aim(counter: bigint, at: number, late: boolean): void {
    const { mask } = this;
    const ahead = (this.value - counter) & mask;
    const behind = (counter - this.value) & mask;
    if (late && behind < JUST_PASSED) this.matchAt = at - Number(behind) * TICK_NS;
    else this.matchAt = ahead < NEVER ? at + Number(ahead) * TICK_NS : null;
  }

  /** Goes past matches up to `now`; true when there was one. */
  settle(now: number): boolean {
    if (this.matchAt === null || this.matchAt > now) return false;
    const repeats = this.periodic && this.period !== 0n;
    // A single match comes again when the counter has gone round.
    const step = repeats ? this.period : this.mask + 1n;
    const span = Number(step) * TICK_NS;
    const times = Math.floor((now - this.matchAt) / span) + 1;
    if (repeats) this.value = (this.value + BigInt(times) * step) & this.mask;
    this.matchAt = step < NEVER ? this.matchAt + times * span : null;
    this.notBefore = repeats ? now + MIN_PERIOD_NS : 0;
    return true;
  }

  reset(): void {
    this.config = Tn.canPeriodic | Tn.wide;
    this.value = ONES64;
    this.period = 0n;
    this.matchAt = null;
  }
}

export class Hpet implements Stateful<HpetState> {
  readonly stateVersion = 1;
  /** The 1 KiB block at FED00000h. */
  readonly device: BusDevice;
  readonly #clock: Clock;
  readonly #options: HpetOptions;
  readonly #timers: readonly Comparator[];
  /** Tn_INT_ROUTE_CAP. */
  readonly #routes: number;
  #config = 0;
  #status = 0;
  #counter = 0n;
  #since = 0;
  #readPartner = -1;
  #writePartner = -1;
  /** The high half of what was read last. */
  #latched = 0;

  constructor(options: HpetOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#timers = Array.from(
      { length: TIMERS },
      (_, n) => new Comparator(options.clock.timer(`hpet${n}`, () => this.#fire(n))),
    );
    let routes = 0;
    for (const route of options.routes.keys()) routes |= 1 << route;
    this.#routes = routes >>> 0;
    this.device = {
      read: (offset, size) => this.#read(offset, size),
      write: (offset, size, value) => this.#write(offset, size, value),
    };
  }

  attach(mmio: Bus): void {
    mmio.claim('hpet', HPET_BASE, HPET_LENGTH, this.device);
  }

  reset(): void {
    this.#setConfig(0);
    this.#status = 0;
    this.#counter = 0n;
    this.#readPartner = -1;
    this.#writePartner = -1;
    for (const [n, timer] of this.#timers.entries()) {
      timer.reset();
      this.#drive(n);
    }
  }

  save(): HpetState {
    this.#settle();
    return {
      config: this.#config,
      status: this.#status,
      counter: this.#counter,
      since: this.#since,
      timers: this.#timers.map(({ config, value, period, matchAt }) => ({
        config,
        comparator: value,
        period,
        matchAt,
      })),
      readPartner: this.#readPartner,
      writePartner: this.#writePartner,
      latched: this.#latched,
    };
  }

  restore(state: HpetState): void {
    this.#config = state.config & (ENABLE | LEGACY);
    this.#status = state.status & 7;
    this.#counter = BigInt.asUintN(64, state.counter);
    this.#since = state.since;
    this.#readPartner = state.readPartner;
    this.#writePartner = state.writePartner;
    this.#latched = state.latched >>> 0;
    for (const [n, timer] of this.#timers.entries()) {
      const saved = state.timers[n];
      if (!saved) continue;
      timer.config = (saved.config & (WRITABLE | ROUTE)) | Tn.canPeriodic | Tn.wide;
      timer.value = BigInt.asUintN(64, saved.comparator);
      timer.period = BigInt.asUintN(64, saved.period);
      timer.matchAt = saved.matchAt;
    }
    this.#options.onLegacy(this.#replacing);
    this.#follow();
  }

  get #running(): boolean {
    return (this.#config & ENABLE) !== 0;
  }

  /** 2.3.5: legacy replacement needs both bits. */
  get #replacing(): boolean {
    return this.#config === (ENABLE | LEGACY);
  }

  #count(now: number): bigint {
    if (!this.#running) return this.#counter;
    return BigInt.asUintN(64, this.#counter + BigInt(Math.floor((now - this.#since) / TICK_NS)));
  }

  // Matches and interrupts.

  /** Takes note of matches up to now. */
  #settle(): void {
    if (!this.#running) return;
    const now = this.#clock.now();
    for (const [n, timer] of this.#timers.entries()) {
      if (!timer.settle(now)) continue;
      if (timer.config & Tn.level) this.#status |= 1 << n;
      else if (timer.config & Tn.interrupt) this.#pulse(n);
      this.#drive(n);
    }
  }

  #fire(n: number): void {
    this.#settle();
    this.#drive(n);
  }

  #follow(): void {
    this.#settle();
    for (let n = 0; n < TIMERS; n++) this.#drive(n);
  }

  #line(n: number): IrqLine | undefined {
    if (this.#replacing && n < 2) return this.#options.legacy[n];
    return this.#options.routes.get((this.#timers[n].config & ROUTE) >> ROUTE_SHIFT);
  }

  #pulse(n: number): void {
    const line = this.#line(n);
    line?.set(false);
    line?.set(true);
    line?.set(false);
  }

  /** Drives the wire of a level-triggered timer, and arms the clock for the next match that interrupts. */
  #drive(n: number): void {
    const timer = this.#timers[n];
    const enabled = this.#running && (timer.config & Tn.interrupt) !== 0;
    const line = enabled && this.#status & (1 << n) ? this.#line(n) : undefined;
    if (timer.driven !== line) timer.driven?.set(false);
    timer.driven = line;
    line?.set(true);
    if (enabled && timer.matchAt !== null) timer.timer.arm(Math.max(timer.matchAt, timer.notBefore));
    else timer.timer.cancel();
  }

  #aim(n: number, late: boolean): void {
    if (!this.#running) return;
    const now = this.#clock.now();
    this.#timers[n].aim(this.#count(now), now - ((now - this.#since) % TICK_NS), late);
  }

  #setConfig(value: number): void {
    const was = this.#replacing;
    const now = this.#clock.now();
    if (this.#running && !(value & ENABLE)) {
      this.#counter = this.#count(now);
      for (const timer of this.#timers) timer.matchAt = null;
    }
    const starts = !this.#running && (value & ENABLE) !== 0;
    this.#config = value & (ENABLE | LEGACY);
    if (this.#replacing !== was) this.#options.onLegacy(this.#replacing);
    if (!starts) return;
    this.#since = now;
    for (let n = 0; n < TIMERS; n++) this.#aim(n, false);
  }

  // Registers.

  #read(offset: number, size: AccessSize): number {
    this.#writePartner = -1;
    this.#settle();
    const value = this.#readWord(offset & ~3);
    const shifted = value >>> (8 * (offset & 3));
    return size === 4 ? value : shifted & (size === 2 ? 0xffff : 0xff);
  }

  #readWord(word: number): number {
    const completes = this.#readPartner === word;
    this.#readPartner = -1;
    if (completes) return this.#latched;
    const value = this.#register(word & ~7);
    if (word & 4) return Number(value >> 32n);
    this.#readPartner = word + 4;
    this.#latched = Number(value >> 32n);
    return Number(value & ONES32);
  }

  /** A register of 64 bits; what does not exist is 0. */
  #register(offset: number): bigint {
    switch (offset) {
      case Reg.id:
        return (BigInt(PERIOD_FS) << 32n) | BigInt(HPET_BLOCK_ID);
      case Reg.config:
        return BigInt(this.#config);
      case Reg.status:
        return BigInt(this.#status);
      case Reg.counter:
        return this.#count(this.#clock.now());
    }
    const timer = this.#timers[(offset - Reg.timers) >> 5];
    if (offset < Reg.timers || !timer) return 0n;
    switch (offset & 0x1f) {
      case 0x00:
        return (BigInt(this.#routes) << 32n) | BigInt(timer.config);
      case 0x08:
        return timer.value & timer.mask;
      default:
        return 0n;
    }
  }

  #write(offset: number, size: AccessSize, value: number): void {
    const completes = this.#writePartner === offset;
    this.#readPartner = -1;
    this.#writePartner = -1;
    if (size !== 4 || offset & 3) return;
    this.#settle();
    switch (offset) {
      case Reg.config:
        this.#setConfig(value);
        break;
      case Reg.status:
        this.#status &= ~value;
        break;
      case Reg.counter:
      case Reg.counter + 4:
        this.#writeCounter(offset, value);
        break;
      default:
        if (offset >= Reg.timers) this.#writeTimer((offset - Reg.timers) >> 5, offset, value, completes);
    }
    this.#follow();
  }

  #writeCounter(offset: number, value: number): void {
    const now = this.#clock.now();
    this.#counter = replaceHalf(this.#count(now), offset, value);
    this.#since = now;
    for (let n = 0; n < TIMERS; n++) this.#aim(n, false);
  }

  #writeTimer(n: number, offset: number, value: number, completes: boolean): void {
    const timer = this.#timers[n];
    if (!timer) return;
    const register = offset & 0x1f;
    if (register === 0) this.#writeTimerConfig(timer, n, value);
    else if ((register & ~4) === 8) this.#writeComparator(timer, n, offset, value, completes);
  }

  #writeTimerConfig(timer: Comparator, n: number, value: number): void {
    const narrowed = ((timer.config ^ value) & Tn.narrow) !== 0;
    const route = (value & ROUTE) >> ROUTE_SHIFT;
    // A route that does not exist is not taken: software reads back to find out (2.3.8, Tn_INT_ROUTE_CNF).
    const kept = (this.#routes >>> route) & 1 ? value & ROUTE : timer.config & ROUTE;
    timer.config = (value & WRITABLE) | kept | Tn.canPeriodic | Tn.wide;
    if (!(value & Tn.level)) this.#status &= ~(1 << n);
    if (narrowed) {
      timer.value &= timer.mask;
      timer.period &= timer.mask;
      this.#aim(n, false);
    }
  }

  /** 2.3.9.2.2: in periodic mode the value is the period, and the comparator too when Tn_VAL_SET_CNF was set before. */
  #writeComparator(timer: Comparator, n: number, offset: number, value: number, completes: boolean): void {
    const high = (offset & 4) !== 0;
    if (high && timer.mask === ONES32) return;
    const sets = !timer.periodic || (timer.config & Tn.set) !== 0 || completes;
    if (timer.periodic) timer.period = replaceHalf(timer.period, offset, value);
    if (sets) {
      timer.value = replaceHalf(timer.value, offset, value) & timer.mask;
      this.#aim(n, true);
      if (!high) this.#writePartner = offset + 4;
    }
    timer.config &= ~Tn.set;
  }
}

function replaceHalf(value: bigint, offset: number, half: number): bigint {
  return offset & 4
    ? (value & ONES32) | (BigInt(half >>> 0) << 32n)
    : (value & ~ONES32 & ONES64) | BigInt(half >>> 0);
}
