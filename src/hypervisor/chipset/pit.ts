/**
 * The 8254 programmable interval timer of a PC and port 61h.
 * Sources: Intel 82C54 data sheet (231244-006); PIIX3 data sheet, "NMI status
 * and control register" (port 61h).
 *
 * Nothing ticks: counts and outputs are computed from the clock when somebody
 * looks, and one timer stands for the next rising edge of OUT 0.
 *
 * Deviations:
 * - IRQ 0 is driven with rising edges (fall, then rise, at the same instant);
 *   the low part of a square wave is visible in the status byte and at port
 *   61h, not on the wire. Both interrupt controllers look at the edge only.
 * - Periods missed while the guest did not run become one edge; the phase is
 *   kept. Edges come at most every MIN_PERIOD_NS.
 * - A count of 1 in modes 2 and 3, which the data sheet forbids, counts as 2.
 * - A count read before one was ever loaded, which the data sheet leaves open, is 0.
 */
import type { Bus, BusDevice } from '../machine/bus.ts';
import type { Clock, Timer } from '../machine/door.ts';
import type { IrqLine } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';
import { byteWide } from './bytewide.ts';
import { MIN_PERIOD_NS, tickScale } from './ticks.ts';

/** Frequency of CLK 0-2 in a PC. */
export const PIT_HZ = 1_193_182;

type ChannelState = {
  readonly control: number;
  readonly gate: boolean;
  /** The count last written, 1-65536; 0 when none since the control word. */
  readonly written: number;
  /** The count in the counting element, 1-65536; 0 when it never was loaded. */
  readonly count: number;
  /** Tick at which the counting element was loaded. */
  readonly start: number;
  /** Ticks counted when the gate stopped it; -1 while it runs. */
  readonly held: number;
  /** Tick at which `written` replaces `count` (modes 2 and 3); -1 for none. */
  readonly switchAt: number;
  readonly nullCount: boolean;
  readonly lowByte: number;
  readonly writeHigh: boolean;
  readonly readHigh: boolean;
  /** -1 when nothing is latched. */
  readonly latchedCount: number;
  readonly latchedStatus: number;
};

/** One of the three counters. Times are ticks of CLK since power-on. */
class Counter {
  /** Bits 5-0 of the control word: RW, mode, BCD. */
  #control = 0x30;
  #gate: boolean;
  #written = 0;
  #count = 0;
  #start = 0;
  #held = -1;
  #switchAt = -1;
  #nullCount = true;
  #lowByte = 0;
  #writeHigh = false;
  #readHigh = false;
  #latchedCount = -1;
  #latchedStatus = -1;

  constructor(gate: boolean) {
    this.#gate = gate;
  }

  get gate(): boolean {
    return this.#gate;
  }

  get #mode(): number {
    const mode = (this.#control >> 1) & 7;
    return mode > 5 ? mode - 4 : mode;
  }

  get #access(): number {
    return (this.#control >> 4) & 3;
  }

  get #modulus(): number {
    return this.#control & 1 ? 10_000 : 65_536;
  }

  /** Control word with a counter selected: stops counting, sets OUT to the mode's first level. */
  program(control: number): void {
    this.#control = control & 0x3f;
    this.#written = 0;
    this.#count = 0;
    this.#held = -1;
    this.#switchAt = -1;
    this.#nullCount = true;
    this.#writeHigh = false;
    this.#readHigh = false;
    this.#latchedCount = -1;
    this.#latchedStatus = -1;
  }

  setGate(gate: boolean, now: number): void {
    if (gate === this.#gate) return;
    this.#settle(now);
    this.#gate = gate;
    const mode = this.#mode;
    if (mode === 1 || mode === 5) {
      // A rising edge is the trigger; the level does not matter.
      if (gate && this.#written !== 0) this.#load(now);
    } else if (mode === 2 || mode === 3) {
      if (gate && this.#written !== 0) this.#load(now);
      else if (!gate && this.#count !== 0) this.#hold(now);
    } else if (this.#count !== 0) {
      if (gate) this.#resume(now);
      else this.#hold(now);
    }
  }

  writeByte(value: number, now: number): void {
    this.#settle(now);
    switch (this.#access) {
      case 1:
        this.#writeCount(value, now);
        break;
      case 2:
        this.#writeCount(value << 8, now);
        break;
      default:
        if (this.#writeHigh) {
          this.#writeHigh = false;
          this.#writeCount(this.#lowByte | (value << 8), now);
        } else {
          this.#writeHigh = true;
          this.#lowByte = value;
          // Mode 0: "Writing the first byte disables counting. OUT is set low immediately."
          if (this.#mode === 0) this.#count = 0;
        }
    }
  }

  readByte(now: number): number {
    this.#settle(now);
    if (this.#latchedStatus >= 0) {
      const status = this.#latchedStatus;
      this.#latchedStatus = -1;
      return status;
    }
    const count = this.#latchedCount >= 0 ? this.#latchedCount : this.#visibleCount(now);
    const access = this.#access;
    const high = access === 2 || (access === 3 && this.#readHigh);
    if (access === 3) this.#readHigh = !this.#readHigh;
    // A latched count holds until it was read in the programmed way.
    if (access !== 3 || high) this.#latchedCount = -1;
    return high ? count >> 8 : count & 0xff;
  }

  latchCount(now: number): void {
    this.#settle(now);
    if (this.#latchedCount < 0) this.#latchedCount = this.#visibleCount(now);
  }

  latchStatus(now: number): void {
    this.#settle(now);
    if (this.#latchedStatus >= 0) return;
    // The count is moved to the counting element one CLK after it was written.
    const pending = this.#nullCount || (this.#held < 0 && this.#count !== 0 && now < this.#start);
    this.#latchedStatus = (this.output(now) ? 0x80 : 0) | (pending ? 0x40 : 0) | this.#control;
  }

  /** Level of OUT at tick `now`. */
  output(now: number): boolean {
    this.#settle(now);
    const mode = this.#mode;
    if (this.#count === 0) return mode !== 0;
    const elapsed = this.#elapsed(now);
    switch (mode) {
      case 0:
        return elapsed >= this.#count;
      case 1:
        return now < this.#start || elapsed >= this.#count;
      case 2:
        return !this.#gate || elapsed % this.#count !== this.#count - 1;
      case 3:
        return !this.#gate || elapsed % this.#count < this.#highTicks();
      default:
        return elapsed !== this.#count;
    }
  }

  /** The first tick after `now` at which OUT rises, or undefined when it will not without the guest's doing. */
  nextRise(now: number): number | undefined {
    this.#settle(now);
    if (this.#count === 0 || this.#held >= 0) return undefined;
    const end = this.#start + this.#count;
    switch (this.#mode) {
      case 0:
      case 1:
        return end > now ? end : undefined;
      case 2:
      case 3: {
        if (now < this.#start) return end;
        if (this.#switchAt > now) return this.#riseAfterSwitch(now);
        return this.#start + (Math.floor((now - this.#start) / this.#count) + 1) * this.#count;
      }
      default:
        // The strobe is low for one CLK and ends with a rising edge.
        return end + 1 > now ? end + 1 : undefined;
    }
  }

  reset(gate: boolean): void {
    this.program(0x30);
    this.#gate = gate;
  }

  save(): ChannelState {
    return {
      control: this.#control,
      gate: this.#gate,
      written: this.#written,
      count: this.#count,
      start: this.#start,
      held: this.#held,
      switchAt: this.#switchAt,
      nullCount: this.#nullCount,
      lowByte: this.#lowByte,
      writeHigh: this.#writeHigh,
      readHigh: this.#readHigh,
      latchedCount: this.#latchedCount,
      latchedStatus: this.#latchedStatus,
    };
  }

  restore(state: ChannelState): void {
    this.#control = state.control;
    this.#gate = state.gate;
    this.#written = state.written;
    this.#count = state.count;
    this.#start = state.start;
    this.#held = state.held;
    this.#switchAt = state.switchAt;
    this.#nullCount = state.nullCount;
    this.#lowByte = state.lowByte;
    this.#writeHigh = state.writeHigh;
    this.#readHigh = state.readHigh;
    this.#latchedCount = state.latchedCount;
    this.#latchedStatus = state.latchedStatus;
  }

  #highTicks(): number {
    return (this.#count + 1) >> 1;
  }

  #elapsed(now: number): number {
    return this.#held >= 0 ? this.#held : Math.max(0, now - this.#start);
  }

  /** Moves the count register to the counting element, on the next CLK. */
  #load(now: number): void {
    this.#count = this.#written;
    this.#start = now + 1;
    this.#held = -1;
    this.#switchAt = -1;
    this.#nullCount = false;
  }

  #hold(now: number): void {
    if (this.#held < 0) this.#held = this.#elapsed(now);
  }

  #resume(now: number): void {
    if (this.#held < 0) return;
    this.#start = now - this.#held;
    this.#held = -1;
  }

  /** Modes 2 and 3: a count written while counting takes effect at the end of the period or half period. */
  #settle(now: number): void {
    if (this.#switchAt < 0 || now < this.#switchAt) return;
    const at = this.#switchAt;
    const afterHigh = this.#mode === 3 && (at - this.#start) % this.#count !== 0;
    this.#count = this.#written;
    this.#start = afterHigh ? at - this.#highTicks() : at;
    this.#switchAt = -1;
    this.#nullCount = false;
  }

  #riseAfterSwitch(now: number): number {
    const at = this.#switchAt;
    const afterHigh = this.#mode === 3 && (at - this.#start) % this.#count !== 0;
    if (!afterHigh) return at > now ? at : now + 1;
    // OUT falls at the switch; it rises when the new count's low half is over.
    return at + (this.#written >> 1);
  }

  #writeCount(raw: number, now: number): void {
    this.#written = this.#decode(raw);
    this.#nullCount = true;
    switch (this.#mode) {
      case 1:
      case 5:
        break;
      case 2:
      case 3:
        if (this.#count === 0 || now < this.#start) this.#load(now);
        else if (this.#gate) this.#scheduleSwitch(now);
        if (!this.#gate) this.#hold(now);
        break;
      default:
        this.#load(now);
        if (!this.#gate) this.#held = 0;
    }
  }

  #scheduleSwitch(now: number): void {
    const elapsed = now - this.#start;
    const period = elapsed - (elapsed % this.#count);
    const high = this.#highTicks();
    const inHigh = this.#mode === 3 && elapsed - period < high;
    this.#switchAt = this.#start + period + (inHigh ? high : this.#count);
  }

  #decode(raw: number): number {
    let count = raw;
    if (this.#control & 1) {
      count = (raw & 15) + 10 * ((raw >> 4) & 15) + 100 * ((raw >> 8) & 15) + 1000 * ((raw >> 12) & 15);
      count %= 10_000;
    }
    if (count === 0) count = this.#modulus;
    const mode = this.#mode;
    return count === 1 && (mode === 2 || mode === 3) ? 2 : count;
  }

  /** The counting element at tick `now` in the programmed notation, 16 bits. */
  #visibleCount(now: number): number {
    const count = this.#counting(now) % this.#modulus;
    if (!(this.#control & 1)) return count;
    const digit = (unit: number): number => Math.floor(count / unit) % 10;
    return digit(1) | (digit(10) << 4) | (digit(100) << 8) | (digit(1000) << 12);
  }

  #counting(now: number): number {
    if (this.#count === 0) return 0;
    const elapsed = this.#elapsed(now);
    switch (this.#mode) {
      case 2:
        return this.#count - (elapsed % this.#count);
      case 3: {
        // Counts down by two in each half; an odd count starts one lower and has a high half one CLK longer.
        const high = this.#highTicks();
        const phase = elapsed % this.#count;
        return (this.#count & ~1) - 2 * (phase < high ? phase : phase - high);
      }
      default: {
        const modulus = this.#modulus;
        return (((this.#count - elapsed) % modulus) + modulus) % modulus;
      }
    }
  }
}

export type PitState = {
  readonly channels: readonly ChannelState[];
  readonly speaker: number;
};

export interface PitOptions {
  readonly clock: Clock;
  /** OUT 0. */
  readonly irq0: IrqLine;
}

/** The 8254 at ports 40h-43h and the system control port 61h. */
export class Pit implements Stateful<PitState> {
  readonly stateVersion = 1;
  /** Ports 40h-43h. */
  readonly device: BusDevice;
  /** Port 61h: gate of counter 2, speaker, refresh toggle (bit 4), OUT 2 (bit 5). */
  readonly port61: BusDevice;
  readonly #clock: Clock;
  readonly #irq0: IrqLine;
  readonly #timer: Timer;
  readonly #scale = tickScale(PIT_HZ);
  readonly #counters = [new Counter(true), new Counter(true), new Counter(false)] as const;
  /** Bits 3-0 of port 61h as written. */
  #speaker = 0;

  constructor(options: PitOptions) {
    this.#clock = options.clock;
    this.#irq0 = options.irq0;
    this.#timer = options.clock.timer('pit', () => this.#rise());
    this.device = byteWide(
      4,
      (port) => (port === 3 ? 0xff : this.#counters[port].readByte(this.#now())),
      (port, value) => this.#write(port, value),
    );
    this.port61 = byteWide(
      1,
      () => this.#readPort61(),
      (_port, value) => {
        this.#speaker = value & 0x0f;
        this.#counters[2].setGate((value & 1) !== 0, this.#now());
      },
    );
  }

  /** Claims the standard ports. */
  attach(io: Bus): void {
    io.claim('pit', 0x40, 4, this.device);
    io.claim('port61', 0x61, 1, this.port61);
  }

  reset(): void {
    for (const [index, counter] of this.#counters.entries()) counter.reset(index !== 2);
    this.#speaker = 0;
    this.#follow();
  }

  save(): PitState {
    return { channels: this.#counters.map((counter) => counter.save()), speaker: this.#speaker };
  }

  restore(state: PitState): void {
    for (const [index, counter] of this.#counters.entries()) {
      const saved = state.channels[index];
      if (saved) counter.restore(saved);
    }
    this.#speaker = state.speaker;
    this.#follow();
  }

  #now(): number {
    return this.#scale.toTicks(this.#clock.now());
  }

  #write(port: number, value: number): void {
    const now = this.#now();
    if (port < 3) {
      this.#counters[port].writeByte(value, now);
      if (port === 0) this.#follow();
      return;
    }
    const select = value >> 6;
    if (select === 3) {
      this.#readBack(value, now);
    } else if ((value & 0x30) === 0) {
      this.#counters[select].latchCount(now);
    } else {
      this.#counters[select].program(value);
      if (select === 0) this.#follow();
    }
  }

  /** Read-back command: bit 5 clear latches counts, bit 4 clear latches status, bits 3-1 select counters. */
  #readBack(value: number, now: number): void {
    for (const [index, counter] of this.#counters.entries()) {
      if (!(value & (2 << index))) continue;
      if (!(value & 0x20)) counter.latchCount(now);
      if (!(value & 0x10)) counter.latchStatus(now);
    }
  }

  #readPort61(): number {
    const ns = this.#clock.now();
    // Counter 1 asks for a DRAM refresh every 15.085 µs; each flips bit 4.
    const refresh = Math.floor(ns / 15_085) % 2;
    const out2 = this.#counters[2].output(this.#scale.toTicks(ns));
    return this.#speaker | (refresh << 4) | (out2 ? 0x20 : 0);
  }

  #rise(): void {
    this.#irq0.set(false);
    this.#irq0.set(true);
    this.#arm(this.#clock.now() + MIN_PERIOD_NS);
  }

  /** Brings IRQ 0 and the timer in line with counter 0 after it changed. */
  #follow(): void {
    this.#irq0.set(this.#counters[0].output(this.#now()));
    this.#arm(0);
  }

  #arm(notBefore: number): void {
    const next = this.#counters[0].nextRise(this.#now());
    if (next === undefined) this.#timer.cancel();
    else this.#timer.arm(Math.max(this.#scale.toNs(next), notBefore));
  }
}
