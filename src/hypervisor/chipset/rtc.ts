/**
 * The MC146818A real-time clock of a PC and its CMOS RAM.
 * Sources: Motorola MC146818A data sheet (ADI1026); PIIX3 data sheet, RTC
 * registers; the byte map of CMOS RAM is the PC/AT's, with the additions that
 * SeaBIOS reads (30h/31h, 34h/35h, 38h, 3Dh, 5Fh).
 *
 * Nothing ticks: the time is the door's wall clock plus an offset, which is
 * what a guest changes when it sets the clock. Flags of register C are brought
 * up to date when it is read; timers run only for interrupts that are enabled.
 *
 * Deviations:
 * - UIP is set during the last millisecond before the second changes (244 µs
 *   plus the update cycle in the data sheet), since wall clocks come in
 *   milliseconds. The time may be read at any moment without tearing.
 * - Fields outside their range carry over into the next (a minute of 75 is 15
 *   past) instead of counting in the undefined ways of the chip.
 * - Daylight saving and the square-wave output do not exist; their bits are kept.
 */
import type { Bus, BusDevice } from '../machine/bus.ts';
import type { Clock, Door, Timer } from '../machine/door.ts';
import type { IrqLine } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';
import { byteWide } from './bytewide.ts';
import { tickScale } from './ticks.ts';

const Reg = {
  seconds: 0x00,
  secondsAlarm: 0x01,
  minutes: 0x02,
  minutesAlarm: 0x03,
  hours: 0x04,
  hoursAlarm: 0x05,
  dayOfWeek: 0x06,
  day: 0x07,
  month: 0x08,
  year: 0x09,
  a: 0x0a,
  b: 0x0b,
  c: 0x0c,
  d: 0x0d,
  century: 0x32,
} as const;

const TIME_REGISTERS: readonly number[] = [
  Reg.seconds,
  Reg.minutes,
  Reg.hours,
  Reg.dayOfWeek,
  Reg.day,
  Reg.month,
  Reg.year,
  Reg.century,
];

/** Register A: update in progress. */
const UIP = 0x80;
/** Register B. */
const SET = 0x80;
const BINARY = 0x04;
const HOURS_24 = 0x02;
/** Interrupts: enable bits of B, flags of C. */
const PERIODIC = 0x40;
const ALARM = 0x20;
const UPDATE = 0x10;
const IRQF = 0x80;

const DAY_SECONDS = 86_400;

export type RtcState = {
  readonly ram: Uint8Array;
  readonly index: number;
  readonly extendedIndex: number;
  readonly nmiMasked: boolean;
  readonly offset: number;
  readonly dayOffset: number;
  readonly flags: number;
  readonly seenSecond: number;
  readonly seenPeriod: number;
  readonly onBattery: boolean;
};

export interface RtcOptions {
  readonly door: Door;
  /** IRQ 8. */
  readonly irq: IrqLine;
  /** Bytes of guest RAM, for the memory size bytes. */
  readonly ramBytes: number;
  /** Boot order in SeaBIOS's codes (1 floppy, 2 hard disk, 3 CD, 4 network), first first, at most three. */
  readonly bootDevices?: readonly number[];
  /** Number of processors, for byte 5Fh; 1 by default. */
  readonly cpus?: number;
  /** Further CMOS bytes, by index 0Eh-FFh. */
  readonly bytes?: Readonly<Record<number, number>>;
  /** Told when bit 7 of port 70h changes: true masks NMI. */
  readonly onNmiMask?: (masked: boolean) => void;
  /** Told of each alarm whose interrupt is enabled: what sets RTC_STS of the ACPI registers. */
  readonly onAlarm?: () => void;
}

/** The clock and 256 bytes of CMOS RAM: 128 behind ports 70h/71h, 128 more behind 72h/73h. */
export class Rtc implements Stateful<RtcState> {
  readonly stateVersion = 2;
  /** Ports 70h-73h. */
  readonly device: BusDevice;
  readonly #door: Door;
  readonly #clock: Clock;
  readonly #irq: IrqLine;
  readonly #onNmiMask: ((masked: boolean) => void) | undefined;
  readonly #onAlarm: (() => void) | undefined;
  readonly #updateTimer: Timer;
  readonly #periodicTimer: Timer;
  readonly #scale = tickScale(32_768);
  readonly #ram = new Uint8Array(256);
  #index = 0;
  #extendedIndex = 0;
  #nmiMasked = false;
  /** Milliseconds between the guest's time and the wall clock. */
  #offset = 0;
  /** Between the day of week that the guest set and the calendar's. */
  #dayOffset = 0;
  /** Register C without IRQF. */
  #flags = 0;
  /** The last second and period whose flags were considered. */
  #seenSecond: number;
  #seenPeriod = 0;
  #onBattery = false;

  constructor(options: RtcOptions) {
    this.#door = options.door;
    this.#clock = options.door.clock;
    this.#irq = options.irq;
    this.#onNmiMask = options.onNmiMask;
    this.#onAlarm = options.onAlarm;
    this.#updateTimer = this.#clock.timer('rtc.update', () => this.#follow());
    this.#periodicTimer = this.#clock.timer('rtc.periodic', () => this.#follow());
    this.device = byteWide(
      4,
      (port) => this.#readPort(port),
      (port, value) => this.#writePort(port, value),
    );
    this.#ram[Reg.a] = 0x26;
    this.#ram[Reg.b] = HOURS_24;
    this.#ram[Reg.d] = 0x80;
    this.#fill(options);
    this.#seenSecond = this.#second();
    this.#seenPeriod = this.#period();
  }

  attach(io: Bus): void {
    io.claim('rtc', 0x70, 4, this.device);
  }

  /** Whether port 70h masks NMI. */
  get nmiMasked(): boolean {
    return this.#nmiMasked;
  }

  /** While the machine sleeps: the clock goes on, its interrupt reaches nobody, and only the alarm is waited for. */
  get onBattery(): boolean {
    return this.#onBattery;
  }

  set onBattery(value: boolean) {
    this.#onBattery = value;
    this.#follow();
  }

  /** Sets a byte of CMOS RAM, 0Eh-FFh, from outside. */
  setByte(index: number, value: number): void {
    if (index > Reg.d && index < this.#ram.length) this.#ram[index] = value & 0xff;
  }

  /** RESET of the data sheet: interrupt enables and flags are cleared, time and RAM stay. */
  reset(): void {
    this.#index = 0;
    this.#extendedIndex = 0;
    this.#maskNmi(false);
    this.#ram[Reg.b] &= SET | BINARY | HOURS_24 | 1;
    this.#flags = 0;
    this.#follow();
  }

  save(): RtcState {
    return {
      ram: this.#ram.slice(),
      index: this.#index,
      extendedIndex: this.#extendedIndex,
      nmiMasked: this.#nmiMasked,
      offset: this.#offset,
      dayOffset: this.#dayOffset,
      flags: this.#flags,
      seenSecond: this.#seenSecond,
      seenPeriod: this.#seenPeriod,
      onBattery: this.#onBattery,
    };
  }

  restore(state: RtcState): void {
    this.#ram.fill(0);
    this.#ram.set(state.ram.subarray(0, this.#ram.length));
    this.#index = state.index & 0x7f;
    this.#extendedIndex = state.extendedIndex & 0x7f;
    this.#maskNmi(state.nmiMasked);
    this.#offset = state.offset;
    this.#dayOffset = state.dayOffset;
    this.#flags = state.flags;
    this.#seenSecond = state.seenSecond;
    this.#seenPeriod = state.seenPeriod;
    this.#onBattery = state.onBattery;
    this.#follow();
  }

  #fill(options: RtcOptions): void {
    const word = (index: number, value: number): void => {
      this.#ram[index] = value & 0xff;
      this.#ram[index + 1] = (value >> 8) & 0xff;
    };
    const extendedKib = Math.min(Math.max(Math.floor(options.ramBytes / 1024) - 1024, 0), 0xffff);
    const above16Mib = Math.max(Math.floor((options.ramBytes - 0x1000000) / 0x10000), 0);
    // Equipment: a coprocessor, a PS/2 pointer, no floppy.
    this.#ram[0x14] = 0x06;
    word(0x15, 640);
    word(0x17, extendedKib);
    word(0x30, extendedKib);
    word(0x34, Math.min(above16Mib, 0xffff));
    const [first = 0, second = 0, third = 0] = options.bootDevices ?? [];
    this.#ram[0x3d] = (first & 15) | ((second & 15) << 4);
    // Bit 0: no check of the floppy's boot signature.
    this.#ram[0x38] = ((third & 15) << 4) | 1;
    this.#ram[0x5f] = ((options.cpus ?? 1) - 1) & 0xff;
    for (const [index, value] of Object.entries(options.bytes ?? {})) {
      if (Number(index) > Reg.d) this.#ram[Number(index) & 0xff] = value;
    }
    let sum = 0;
    for (let index = 0x10; index < 0x2e; index++) sum += this.#ram[index];
    this.#ram[0x2e] = (sum >> 8) & 0xff;
    this.#ram[0x2f] = sum & 0xff;
  }

  // Ports.

  #readPort(port: number): number {
    if (port === 1) return this.#read(this.#index);
    if (port === 3) return this.#ram[0x80 | this.#extendedIndex];
    // The index ports cannot be read back.
    return 0xff;
  }

  #writePort(port: number, value: number): void {
    switch (port) {
      case 0:
        this.#index = value & 0x7f;
        this.#maskNmi((value & 0x80) !== 0);
        break;
      case 1:
        this.#write(this.#index, value);
        break;
      case 2:
        this.#extendedIndex = value & 0x7f;
        break;
      case 3:
        this.#ram[0x80 | this.#extendedIndex] = value;
        break;
    }
  }

  #maskNmi(masked: boolean): void {
    if (masked === this.#nmiMasked) return;
    this.#nmiMasked = masked;
    this.#onNmiMask?.(masked);
  }

  #read(index: number): number {
    switch (index) {
      case Reg.a:
        return (this.#ram[Reg.a] & ~UIP) | (this.#updating() ? UIP : 0);
      case Reg.c: {
        this.#settle();
        const value = this.#flags | (this.#requested() ? IRQF : 0);
        this.#flags = 0;
        // The next period may have begun since: its interrupt is an edge of its own, which a line that stays high has not.
        this.#irq.set(false);
        this.#follow();
        return value;
      }
    }
    if (TIME_REGISTERS.includes(index)) this.#show();
    return this.#ram[index];
  }

  #write(index: number, value: number): void {
    switch (index) {
      case Reg.a:
        this.#writeA(value);
        return;
      case Reg.b:
        this.#writeB(value);
        return;
      case Reg.c:
      case Reg.d:
        return;
    }
    this.#settle();
    if (TIME_REGISTERS.includes(index)) {
      this.#show();
      this.#ram[index] = value;
      if (!this.#stopped()) this.#setFromRegisters();
    } else {
      this.#ram[index] = value;
    }
    if (index <= Reg.year) this.#follow();
  }

  #writeA(value: number): void {
    this.#settle();
    this.#show();
    const held = this.#dividerHeld();
    const stopped = this.#stopped();
    this.#ram[Reg.a] = value & 0x7f;
    if (stopped && !this.#stopped()) {
      this.#setFromRegisters();
      // "The first update cycle begins one-half second later" when the divider is released.
      if (held) this.#offset += 500 - this.#fraction();
    }
    this.#seenSecond = this.#second();
    this.#seenPeriod = this.#period();
    this.#follow();
  }

  #writeB(value: number): void {
    this.#settle();
    this.#show();
    const stopped = this.#stopped();
    // Setting SET clears UIE.
    this.#ram[Reg.b] = value & SET ? value & ~UPDATE : value;
    if (stopped && !this.#stopped()) this.#setFromRegisters();
    this.#seenSecond = this.#second();
    this.#follow();
  }

  // Time.

  #dividerHeld(): boolean {
    return (this.#ram[Reg.a] & 0x60) === 0x60;
  }

  /** Time stands still and the registers hold what was written. */
  #stopped(): boolean {
    return (this.#ram[Reg.b] & SET) !== 0 || this.#dividerHeld();
  }

  /** The guest's time in milliseconds since 1970, were it UTC. */
  #now(): number {
    return this.#door.wallClock() + this.#offset;
  }

  #second(): number {
    return Math.floor(this.#now() / 1000);
  }

  #fraction(): number {
    return this.#now() - this.#second() * 1000;
  }

  #updating(): boolean {
    return !this.#stopped() && this.#fraction() >= 999;
  }

  #encode(value: number): number {
    if (this.#ram[Reg.b] & BINARY) return value;
    return ((Math.floor(value / 10) % 10) << 4) | (value % 10);
  }

  #decode(value: number): number {
    return this.#ram[Reg.b] & BINARY ? value : (value >> 4) * 10 + (value & 15);
  }

  #encodeHour(hour: number): number {
    if (this.#ram[Reg.b] & HOURS_24) return this.#encode(hour);
    return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0);
  }

  #decodeHour(value: number): number {
    if (this.#ram[Reg.b] & HOURS_24) return this.#decode(value);
    const hour = this.#decode(value & 0x7f);
    return (hour === 12 ? 0 : hour) + (value & 0x80 ? 12 : 0);
  }

  /** Brings the time registers up to date, unless time stands still. */
  #show(): void {
    if (this.#stopped()) return;
    const date = new Date(this.#second() * 1000);
    const year = Math.max(date.getUTCFullYear(), 0);
    this.#ram[Reg.seconds] = this.#encode(date.getUTCSeconds());
    this.#ram[Reg.minutes] = this.#encode(date.getUTCMinutes());
    this.#ram[Reg.hours] = this.#encodeHour(date.getUTCHours());
    this.#ram[Reg.dayOfWeek] = this.#encode(((date.getUTCDay() + this.#dayOffset) % 7) + 1);
    this.#ram[Reg.day] = this.#encode(date.getUTCDate());
    this.#ram[Reg.month] = this.#encode(date.getUTCMonth() + 1);
    this.#ram[Reg.year] = this.#encode(year % 100);
    this.#ram[Reg.century] = this.#encode(Math.floor(year / 100) % 100);
  }

  /** Makes the registers the time from now on; the phase within the second stays. */
  #setFromRegisters(): void {
    const field = (index: number): number => this.#decode(this.#ram[index]);
    const date = new Date(0);
    date.setUTCFullYear(field(Reg.century) * 100 + field(Reg.year), field(Reg.month) - 1, field(Reg.day));
    date.setUTCHours(this.#decodeHour(this.#ram[Reg.hours]), field(Reg.minutes), field(Reg.seconds));
    this.#offset += date.getTime() - this.#second() * 1000;
    this.#dayOffset = (((field(Reg.dayOfWeek) - 1 - date.getUTCDay()) % 7) + 7) % 7;
    this.#seenSecond = this.#second();
  }

  // Interrupts.

  /** Ticks of 32.768 kHz between periodic interrupts; 0 for none. Register A bits 3-0. */
  #periodTicks(): number {
    const rate = this.#ram[Reg.a] & 15;
    if (rate === 0 || this.#dividerHeld()) return 0;
    // Rates 1 and 2 are those of 8 and 9 with this time base.
    return 1 << ((rate < 3 ? rate + 7 : rate) - 1);
  }

  #period(): number {
    const ticks = this.#periodTicks();
    return ticks === 0 ? 0 : Math.floor(this.#scale.toTicks(this.#clock.now()) / ticks);
  }

  /** The first second after `after` that matches the alarm registers; undefined when none does. */
  #nextAlarm(after: number): number | undefined {
    const wanted = (index: number, limit: number): number | undefined => {
      const value = this.#ram[index];
      // The two highest bits set: any value matches.
      if (value >= 0xc0) return -1;
      const decoded = index === Reg.hoursAlarm ? this.#decodeHour(value) : this.#decode(value);
      return decoded < limit ? decoded : undefined;
    };
    const hours = wanted(Reg.hoursAlarm, 24);
    const minutes = wanted(Reg.minutesAlarm, 60);
    const seconds = wanted(Reg.secondsAlarm, 60);
    if (hours === undefined || minutes === undefined || seconds === undefined) return undefined;
    let time = after + 1;
    // At most 24 + 60 + 60 steps lead to a match within a day.
    while (time <= after + DAY_SECONDS) {
      const ofDay = ((time % DAY_SECONDS) + DAY_SECONDS) % DAY_SECONDS;
      if (hours >= 0 && Math.floor(ofDay / 3600) !== hours) time += 3600 - (ofDay % 3600);
      else if (minutes >= 0 && Math.floor(ofDay / 60) % 60 !== minutes) time += 60 - (ofDay % 60);
      else if (seconds >= 0 && ofDay % 60 !== seconds) time += 1;
      else return time;
    }
    return undefined;
  }

  /** Sets the flags of what happened since the last look. */
  #settle(): void {
    const period = this.#period();
    if (period !== this.#seenPeriod) this.#flags |= PERIODIC;
    this.#seenPeriod = period;
    const second = this.#second();
    const passed = this.#stopped() ? second : this.#seenSecond;
    this.#seenSecond = second;
    if (second <= passed) return;
    this.#flags |= UPDATE;
    const alarm = this.#nextAlarm(passed);
    if (alarm === undefined || alarm > second) return;
    this.#flags |= ALARM;
    if (this.#ram[Reg.b] & ALARM) this.#onAlarm?.();
  }

  #requested(): boolean {
    return (this.#flags & this.#ram[Reg.b] & (PERIODIC | ALARM | UPDATE)) !== 0;
  }

  /** Drives the line and arms the timers for what is enabled and not yet flagged. */
  #follow(): void {
    this.#settle();
    this.#irq.set(this.#requested() && !this.#onBattery);
    // An alarm wakes the machine even when an earlier one was never acknowledged.
    const waiting = this.#ram[Reg.b] & (this.#onBattery ? ALARM : ~this.#flags);
    const now = this.#clock.now();
    const ticks = this.#periodTicks();
    if (waiting & PERIODIC && ticks !== 0) {
      this.#periodicTimer.arm(this.#scale.toNs((this.#seenPeriod + 1) * ticks));
    } else {
      this.#periodicTimer.cancel();
    }
    let second: number | undefined;
    if (!this.#stopped()) {
      if (waiting & UPDATE) second = this.#seenSecond + 1;
      else if (waiting & ALARM) second = this.#nextAlarm(this.#seenSecond);
    }
    if (second === undefined) {
      this.#updateTimer.cancel();
    } else {
      const wait = Math.ceil((second * 1000 - this.#now()) * 1e6);
      // The wall clock may lag behind the machine's by a rounding: never spin on it.
      this.#updateTimer.arm(now + Math.max(wait, 100_000));
    }
  }
}
