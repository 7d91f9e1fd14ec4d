/**
 * A local APIC in xAPIC and x2APIC mode. Source: Intel SDM vol. 3, chapter 11
 * (section numbers below are of that chapter unless said otherwise).
 *
 * Deviations:
 * - After reset the bootstrap processor's LINT0 entry is ExtINT, unmasked:
 *   virtual wire mode, which firmware would have set up and which a kernel
 *   started without firmware expects. `virtualWire: false` gives the manual's.
 * - The remote read message and the arbitration ID do not exist.
 * - SMI, NMI and INIT with a shorthand that includes the sender are delivered;
 *   the manual calls them invalid.
 * - NMI and INIT pins and messages are edges: a second NMI merges with one that waits.
 * - The APIC ID can be written in xAPIC mode.
 *
 * The file is long because this is one state machine: every register write may
 * change what is pending, and all of it shares the same few fields.
 */
import type { AccessSize, Bus, BusDevice, BusRange } from '../machine/bus.ts';
import type { Clock } from '../machine/door.ts';
import type { IrqLine } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';
import type { BusApic, LocalApicBus } from './apicbus.ts';
import { APIC_BROADCAST, DeliveryMode } from './apicbus.ts';
import { allOnes } from './bytewide.ts';
import type { CpuEvent, CpuInterrupts } from './cpu-interrupts.ts';
import { Block, Pending } from './cpu-interrupts.ts';
import {
  BASE_BSP,
  BASE_ENABLE,
  BASE_X2APIC,
  EsrBit,
  LVT_LEVEL,
  LVT_MASKED,
  LVT_READ_ONLY,
  LVT_REMOTE_IRR,
  LVT_WRITABLE,
  Lvt,
  Reg,
  SVR_ENABLE,
  SVR_SUPPRESS_EOI,
  SVR_WRITABLE,
  VERSION,
  X2_ICR_RESERVED,
  X2_SVR_RESERVED,
} from './lapic-registers.ts';
import type { ApicTimerState, TscClock } from './lapic-timer.ts';
import { ApicTimer } from './lapic-timer.ts';
import { VectorSet } from './vectors.ts';

export const LAPIC_BASE = 0xfee00000;

const MSR_APIC_BASE = 0x1b;
const MSR_TSC_DEADLINE = 0x6e0;
const MSR_X2APIC = 0x800;

export type LocalApicState = {
  readonly base: bigint;
  readonly xapicId: number;
  readonly tpr: number;
  readonly ldr: number;
  readonly dfr: number;
  readonly svr: number;
  readonly esr: number;
  readonly errors: number;
  readonly icrLow: number;
  readonly icrHigh: number;
  readonly lvt: readonly number[];
  readonly irr: readonly number[];
  readonly isr: readonly number[];
  readonly tmr: readonly number[];
  readonly lint0: boolean;
  readonly lint1: boolean;
  readonly extInt: boolean;
  readonly nmi: boolean;
  readonly smi: boolean;
  readonly init: boolean;
  readonly sipi: boolean;
  readonly sipiVector: number;
  readonly waitingForSipi: boolean;
  readonly timer: ApicTimerState;
};

export interface LocalApicOptions {
  /** Initial (x2)APIC ID; 0-254 when xAPIC mode is to be used. */
  readonly id: number;
  readonly bootstrap: boolean;
  readonly bus: LocalApicBus;
  readonly clock: Clock;
  readonly tsc: TscClock;
  /** Of the timer before its divider; 1 GHz by default. */
  readonly busHz?: number;
  /** Called when an event appears that was not pending before: wakes a halted processor, stops a running slice. */
  readonly onWake: () => void;
  /** MAXPHYADDR, for the reserved bits of IA32_APIC_BASE; 40 by default. */
  readonly physicalBits?: number;
  /** Whether CPUID offers x2APIC; true by default. */
  readonly x2apic?: boolean;
  /** LINT0 of the bootstrap processor takes ExtINT after reset; true by default. */
  readonly virtualWire?: boolean;
  /** Told where the registers answer now (undefined: nowhere), after each change of IA32_APIC_BASE. */
  readonly onBase?: (base: number | undefined) => void;
}

/** One local APIC. Add it to the interrupt bus with `bus.addLocalApic(apic)`. */
export class LocalApic implements BusApic, CpuInterrupts, Stateful<LocalApicState> {
  readonly stateVersion = 1;
  /** The 4 KiB window at the APIC base. */
  readonly device: BusDevice;
  /** Where the 8259's INTR goes. */
  readonly lint0: IrqLine;
  /** NMI. */
  readonly lint1: IrqLine;
  readonly #options: LocalApicOptions;
  readonly #bus: LocalApicBus;
  readonly #timer: ApicTimer;
  readonly #irr = new VectorSet();
  readonly #isr = new VectorSet();
  readonly #tmr = new VectorSet();
  readonly #lvt = new Uint32Array(7);
  readonly #lint = [false, false];
  #range: BusRange | undefined;
  #base = 0n;
  #xapicId = 0;
  #tpr = 0;
  #ldr = 0;
  #dfr = 0xffffffff;
  #svr = 0xff;
  /** ESR as software sees it, and the errors collected since it was last written. */
  #esr = 0;
  #errors = 0;
  #icrLow = 0;
  #icrHigh = 0;
  #extInt = false;
  #nmi = false;
  #smi = false;
  #init = false;
  #sipi = false;
  #sipiVector = 0;
  #waitingForSipi = false;
  #pending = 0;

  constructor(options: LocalApicOptions) {
    this.#options = options;
    this.#bus = options.bus;
    this.#timer = new ApicTimer({
      clock: options.clock,
      name: `lapic${options.id}`,
      busHz: options.busHz ?? 1e9,
      tsc: options.tsc,
      expired: () => this.#localInterrupt(Lvt.timer),
    });
    this.device = {
      read: (offset, size) => this.#readMmio(offset, size),
      write: (offset, size, value) => this.#writeMmio(offset, size, value),
    };
    this.lint0 = { set: (asserted) => this.#setLint(0, asserted) };
    this.lint1 = { set: (asserted) => this.#setLint(1, asserted) };
    this.#powerUp();
  }

  /** Claims the register window and lets it follow IA32_APIC_BASE. For a machine of one processor. */
  attach(mmio: Bus): void {
    this.#range = mmio.claim('lapic', undefined, 0x1000, this.device);
    this.#place();
  }

  // The processor's side.

  get pending(): number {
    return this.#pending;
  }

  get waitingForSipi(): boolean {
    return this.#waitingForSipi;
  }

  get enabled(): boolean {
    return (this.#base & BASE_ENABLE) !== 0n;
  }

  get x2apicMode(): boolean {
    return (this.#base & BASE_X2APIC) !== 0n;
  }

  get cr8(): number {
    return this.#tpr >> 4;
  }

  set cr8(value: number) {
    this.#tpr = (value & 15) << 4;
    this.#update();
  }

  poll(blocked = 0): CpuEvent {
    const pending = this.#pending;
    if (pending === 0) return 'none';
    if (pending & Pending.init && !(blocked & Block.init)) return 'init';
    if (pending & Pending.sipi) return 'sipi';
    if (pending & Pending.smi && !(blocked & Block.smi)) return 'smi';
    if (pending & Pending.nmi && !(blocked & Block.nmi)) return 'nmi';
    if (blocked & Block.maskable) return 'none';
    if (pending & Pending.extint) return 'extint';
    return pending & Pending.fixed ? 'fixed' : 'none';
  }

  acknowledge(event: CpuEvent = this.poll()): number {
    let result = 0;
    switch (event) {
      case 'fixed':
        result = this.#acknowledgeFixed();
        break;
      case 'extint':
        this.#extInt = false;
        result = this.#bus.acknowledgeExtInt();
        break;
      case 'nmi':
        this.#nmi = false;
        result = 2;
        break;
      case 'smi':
        this.#smi = false;
        break;
      case 'init':
        this.#initReset();
        break;
      case 'sipi':
        this.#sipi = false;
        this.#waitingForSipi = false;
        result = this.#sipiVector;
        break;
      case 'none':
        result = this.#svr & 0xff;
        break;
    }
    this.#update();
    return result;
  }

  readMsr(index: number): bigint | undefined {
    if (index === MSR_APIC_BASE) return this.#base;
    if (index === MSR_TSC_DEADLINE) return this.#timer.deadline;
    const register = index - MSR_X2APIC;
    if (register < 0 || register > 0x3f || !this.x2apicMode) return undefined;
    switch (register) {
      case Reg.apr:
      case Reg.eoi:
      case Reg.rrd:
      case Reg.dfr:
      case Reg.icrHigh:
      case Reg.selfIpi:
        return undefined;
      case Reg.icrLow:
        return (BigInt(this.#icrHigh) << 32n) | BigInt(this.#icrLow);
    }
    const value = this.#readRegister(register);
    return value === undefined ? undefined : BigInt(value >>> 0);
  }

  writeMsr(index: number, value: bigint): boolean {
    if (index === MSR_APIC_BASE) return this.#writeBase(value);
    if (index === MSR_TSC_DEADLINE) {
      this.#timer.deadline = value;
      return true;
    }
    const register = index - MSR_X2APIC;
    if (register < 0 || register > 0x3f || !this.x2apicMode) return false;
    const low = Number(value & 0xffffffffn);
    const high = Number((value >> 32n) & 0xffffffffn);
    if (register === Reg.icrLow) {
      if (low & X2_ICR_RESERVED) return false;
      this.#icrLow = (low & ~0x1000) >>> 0;
      this.#icrHigh = high;
      this.#sendIpi(this.#icrLow, high);
      return true;
    }
    if (high !== 0 || low & this.#x2Reserved(register)) return false;
    if (register === Reg.selfIpi) {
      this.#sendIpi(low | 0x40000, 0);
      return true;
    }
    return this.#writeRegister(register, low);
  }

  /** To be called when the TSC was written, so that a TSC deadline follows it. */
  tscChanged(): void {
    this.#timer.tscChanged();
  }

  // The interrupt bus's side.

  get acceptsFixed(): boolean {
    return this.enabled && (this.#svr & SVR_ENABLE) !== 0;
  }

  /** PPR (11.8.3.1). */
  get processorPriority(): number {
    const inService = this.#isr.highest;
    if (inService < 0 || this.#tpr >> 4 >= inService >> 4) return this.#tpr;
    return inService & 0xf0;
  }

  matches(destination: number, logical: boolean): boolean {
    if (!this.enabled) return false;
    if (destination === APIC_BROADCAST) return true;
    if (this.x2apicMode) {
      if (!logical) return destination === this.#options.id;
      const ldr = this.#x2Ldr();
      return destination >>> 16 === ldr >>> 16 && (destination & ldr & 0xffff) !== 0;
    }
    if (destination > 0xff) return false;
    if (!logical) return destination === this.#xapicId;
    if (destination === 0xff) return true;
    const ldr = this.#ldr >>> 24;
    const model = this.#dfr >>> 28;
    if (model === 0xf) return (ldr & destination) !== 0;
    return model === 0 && ldr >> 4 === destination >> 4 && (ldr & destination & 15) !== 0;
  }

  accept(mode: number, vector: number, level: boolean): boolean {
    switch (mode) {
      case DeliveryMode.fixed:
      case DeliveryMode.lowest:
        if (!this.acceptsFixed) return false;
        return this.#request(vector, level);
      case DeliveryMode.smi:
        this.#smi = true;
        break;
      case DeliveryMode.nmi:
        this.#nmi = true;
        break;
      case DeliveryMode.init:
        this.#init = true;
        this.#sipi = false;
        break;
      case DeliveryMode.startup:
        // A processor that does not wait for it ignores a startup message.
        if (!this.#waitingForSipi && !(this.#init && !this.#isBootstrap())) return true;
        this.#sipi = true;
        this.#sipiVector = vector;
        break;
      case DeliveryMode.extint:
        this.#extInt = true;
        break;
      default:
        return false;
    }
    this.#update();
    return true;
  }

  // Local interrupt sources.

  /** Performance-monitoring interrupt: masks its own LVT entry when delivered (11.5.1). */
  performanceInterrupt(): void {
    if (this.#localInterrupt(Lvt.performance)) this.#lvt[Lvt.performance] |= LVT_MASKED;
  }

  thermalInterrupt(): void {
    this.#localInterrupt(Lvt.thermal);
  }

  correctedMachineCheck(): void {
    this.#localInterrupt(Lvt.cmci);
  }

  /** Power-up state (11.4.7.1); levels of the LINT wires stay, as they belong to their sources. */
  reset(): void {
    this.#powerUp();
    this.#update();
  }

  save(): LocalApicState {
    return {
      base: this.#base,
      xapicId: this.#xapicId,
      tpr: this.#tpr,
      ldr: this.#ldr,
      dfr: this.#dfr,
      svr: this.#svr,
      esr: this.#esr,
      errors: this.#errors,
      icrLow: this.#icrLow,
      icrHigh: this.#icrHigh,
      lvt: [...this.#lvt],
      irr: this.#irr.save(),
      isr: this.#isr.save(),
      tmr: this.#tmr.save(),
      lint0: this.#lint[0],
      lint1: this.#lint[1],
      extInt: this.#extInt,
      nmi: this.#nmi,
      smi: this.#smi,
      init: this.#init,
      sipi: this.#sipi,
      sipiVector: this.#sipiVector,
      waitingForSipi: this.#waitingForSipi,
      timer: this.#timer.save(),
    };
  }

  restore(state: LocalApicState): void {
    this.#base = state.base;
    this.#xapicId = state.xapicId;
    this.#tpr = state.tpr;
    this.#ldr = state.ldr;
    this.#dfr = state.dfr;
    this.#svr = state.svr;
    this.#esr = state.esr;
    this.#errors = state.errors;
    this.#icrLow = state.icrLow;
    this.#icrHigh = state.icrHigh;
    this.#lvt.set(state.lvt.slice(0, this.#lvt.length));
    this.#irr.restore(state.irr);
    this.#isr.restore(state.isr);
    this.#tmr.restore(state.tmr);
    this.#lint[0] = state.lint0;
    this.#lint[1] = state.lint1;
    this.#extInt = state.extInt;
    this.#nmi = state.nmi;
    this.#smi = state.smi;
    this.#init = state.init;
    this.#sipi = state.sipi;
    this.#sipiVector = state.sipiVector;
    this.#waitingForSipi = state.waitingForSipi;
    this.#timer.restore(state.timer);
    this.#place();
    this.#pending = 0;
    this.#update();
  }

  // Reset states.

  #powerUp(): void {
    this.#base = BigInt(LAPIC_BASE) | BASE_ENABLE | (this.#options.bootstrap ? BASE_BSP : 0n);
    this.#xapicId = this.#options.id & 0xff;
    this.#waitingForSipi = !this.#options.bootstrap;
    this.#nmi = false;
    this.#smi = false;
    this.#init = false;
    this.#sipi = false;
    this.#clearRegisters();
    if (this.#options.bootstrap && this.#options.virtualWire !== false) this.#lvt[Lvt.lint0] = 0x700;
    this.#place();
  }

  /** INIT: as power-up but for the IDs and IA32_APIC_BASE (11.4.7.3). Only the bootstrap processor goes on at once. */
  #initReset(): void {
    const startup = this.#sipi;
    this.#clearRegisters();
    this.#init = false;
    this.#sipi = startup;
    this.#waitingForSipi = !this.#isBootstrap();
    if (this.#isBootstrap() && this.#options.virtualWire !== false) this.#lvt[Lvt.lint0] = 0x700;
  }

  #clearRegisters(): void {
    this.#tpr = 0;
    this.#ldr = 0;
    this.#dfr = 0xffffffff;
    this.#svr = 0xff;
    this.#esr = 0;
    this.#errors = 0;
    this.#icrLow = 0;
    this.#icrHigh = 0;
    this.#extInt = false;
    this.#lvt.fill(LVT_MASKED);
    this.#irr.clear();
    this.#isr.clear();
    this.#tmr.clear();
    this.#timer.reset();
  }

  #isBootstrap(): boolean {
    return (this.#base & BASE_BSP) !== 0n;
  }

  /** IA32_APIC_BASE (11.4.3, 11.4.4, 11.12.5): false for reserved bits and transitions that do not exist. */
  #writeBase(value: bigint): boolean {
    const reserved = 0x2ffn | (~0n << BigInt(this.#options.physicalBits ?? 40));
    if (value < 0n || (value & reserved) !== 0n) return false;
    const enable = (value & BASE_ENABLE) !== 0n;
    const extended = (value & BASE_X2APIC) !== 0n;
    if (extended && (this.#options.x2apic === false || !enable)) return false;
    if (extended && !this.enabled) return false;
    if (!extended && enable && this.x2apicMode) return false;
    const wasEnabled = this.enabled;
    this.#base = value;
    if (wasEnabled && !enable) {
      this.#xapicId = this.#options.id & 0xff;
      this.#clearRegisters();
    }
    this.#place();
    this.#update();
    return true;
  }

  #place(): void {
    const answers = this.enabled && !this.x2apicMode;
    const base = answers ? Number(this.#base & ~0xfffn) : undefined;
    if (base === undefined) this.#range?.disable();
    else if (this.#range?.base !== base) this.#range?.move(base);
    this.#options.onBase?.(base);
  }

  // Requests.

  #request(vector: number, level: boolean): boolean {
    if (vector < 16) {
      this.#error(EsrBit.receiveIllegalVector);
      return false;
    }
    this.#irr.add(vector);
    if (level) this.#tmr.add(vector);
    else this.#tmr.remove(vector);
    this.#update();
    return true;
  }

  #acknowledgeFixed(): number {
    const vector = this.#irr.highest;
    if (vector < 0 || vector >> 4 <= this.processorPriority >> 4) return this.#svr & 0xff;
    this.#irr.remove(vector);
    this.#isr.add(vector);
    return vector;
  }

  #endOfInterrupt(): void {
    const vector = this.#isr.highest;
    if (vector < 0) return;
    this.#isr.remove(vector);
    if (this.#tmr.has(vector)) {
      if (!(this.#svr & SVR_SUPPRESS_EOI)) this.#bus.endOfInterrupt(vector);
      this.#endLintLevel(vector);
    }
    this.#update();
  }

  #error(bit: number): void {
    if (this.#errors & bit) return;
    this.#errors |= bit;
    const entry = this.#lvt[Lvt.error];
    // An illegal vector in the error entry itself is recorded and goes no further.
    if ((entry & 0xff) < 16) this.#errors |= entry & LVT_MASKED ? 0 : EsrBit.receiveIllegalVector;
    else this.#localInterrupt(Lvt.error);
  }

  /** Delivers the interrupt of LVT entry `index`; false when it is masked. */
  #localInterrupt(index: number): boolean {
    const entry = this.#lvt[index];
    if (!this.enabled || entry & LVT_MASKED) return false;
    const mode = index === Lvt.timer || index === Lvt.error ? DeliveryMode.fixed : (entry >> 8) & 7;
    if (mode === DeliveryMode.fixed) return this.#request(entry & 0xff, false);
    if (mode === DeliveryMode.lowest || mode === DeliveryMode.startup) return false;
    return this.accept(mode, entry & 0xff, false);
  }

  // LINT0 and LINT1 (11.5.1).

  #setLint(pin: 0 | 1, asserted: boolean): void {
    if (this.#lint[pin] === asserted) return;
    this.#lint[pin] = asserted;
    if (!this.enabled) {
      // With the APIC disabled the pins are INTR and NMI.
      if (pin === 1 && asserted) this.#nmi = true;
    } else if (asserted) {
      const index = Lvt.lint0 + pin;
      const mode = (this.#lvt[index] >> 8) & 7;
      if (mode === DeliveryMode.fixed && this.#lvt[index] & LVT_LEVEL) this.#serviceLintLevel(pin);
      else if (mode !== DeliveryMode.extint) this.#localInterrupt(index);
    }
    this.#update();
  }

  #serviceLintLevel(pin: number): void {
    const index = Lvt.lint0 + pin;
    const entry = this.#lvt[index];
    if (!this.#lint[pin] || (entry & 0x700) !== 0 || !(entry & LVT_LEVEL)) return;
    if (entry & (LVT_MASKED | LVT_REMOTE_IRR)) return;
    if (this.#request(entry & 0xff, true)) this.#lvt[index] |= LVT_REMOTE_IRR;
  }

  #endLintLevel(vector: number): void {
    for (const pin of [0, 1]) {
      const index = Lvt.lint0 + pin;
      const entry = this.#lvt[index];
      if (!(entry & LVT_REMOTE_IRR) || (entry & 0xff) !== vector) continue;
      this.#lvt[index] = entry & ~LVT_REMOTE_IRR;
      this.#serviceLintLevel(pin);
    }
  }

  #extIntAsserted(): boolean {
    if (!this.enabled) return this.#lint[0];
    if (this.#extInt) return true;
    for (const pin of [0, 1]) {
      if (this.#lint[pin] && (this.#lvt[Lvt.lint0 + pin] & (LVT_MASKED | 0x700)) === 0x700) return true;
    }
    return false;
  }

  /** Computes what is pending, and tells the processor when something new is. */
  #update(): void {
    let pending = 0;
    if (this.#waitingForSipi) {
      pending = (this.#init ? Pending.init : 0) | (this.#sipi ? Pending.sipi : 0);
    } else {
      const request = this.#irr.highest;
      if (request >= 0 && request >> 4 > this.processorPriority >> 4) pending |= Pending.fixed;
      if (this.#extIntAsserted()) pending |= Pending.extint;
      if (this.#nmi) pending |= Pending.nmi;
      if (this.#smi) pending |= Pending.smi;
      if (this.#init) pending |= Pending.init;
    }
    const fresh = pending & ~this.#pending;
    this.#pending = pending;
    if (fresh !== 0) this.#options.onWake();
  }

  // Interprocessor interrupts (11.6.1).

  #sendIpi(low: number, destination: number): void {
    const mode = (low >> 8) & 7;
    const vector = low & 0xff;
    const levelTriggered = (low & 0x8000) !== 0;
    // INIT level de-assert only synchronized arbitration IDs, which are gone.
    if (mode === DeliveryMode.init && levelTriggered && !(low & 0x4000)) return;
    if (mode === 3 || mode === DeliveryMode.extint) return;
    if (mode <= DeliveryMode.lowest && vector < 16) {
      this.#error(EsrBit.sendIllegalVector);
      return;
    }
    // The trigger mode is ignored for everything but that de-assert: IPIs are edges.
    switch ((low >> 18) & 3) {
      case 0:
        this.#bus.deliver({ vector, mode, logical: (low & 0x800) !== 0, destination, level: false });
        break;
      case 1:
        this.accept(mode, vector, false);
        break;
      case 2:
        this.#bus.deliverToAll(mode, vector, false);
        break;
      case 3:
        this.#bus.deliverToOthers(this, mode, vector, false);
        break;
    }
  }

  // Registers.

  #readMmio(offset: number, size: AccessSize): number {
    if (!this.enabled || this.x2apicMode) return allOnes(size);
    const within = offset & 15;
    if (within + size > 4) return 0;
    const value = this.#readRegister(offset >> 4);
    if (value === undefined) {
      this.#error(EsrBit.illegalRegister);
      return 0;
    }
    const shifted = value >>> (8 * within);
    return size === 4 ? shifted : shifted & (size === 2 ? 0xffff : 0xff);
  }

  #writeMmio(offset: number, size: AccessSize, value: number): void {
    if (!this.enabled || this.x2apicMode || size !== 4 || offset & 15) return;
    const register = offset >> 4;
    switch (register) {
      case Reg.id:
        this.#xapicId = value >>> 24;
        return;
      case Reg.ldr:
        this.#ldr = (value & 0xff000000) >>> 0;
        return;
      case Reg.dfr:
        this.#dfr = (value | 0x0fffffff) >>> 0;
        return;
      case Reg.icrHigh:
        this.#icrHigh = (value & 0xff000000) >>> 0;
        return;
      case Reg.icrLow: {
        this.#icrLow = (value & 0xccfff) >>> 0;
        const destination = this.#icrHigh >>> 24;
        const toAll = destination === 0xff && !(value & 0x800);
        this.#sendIpi(this.#icrLow, toAll ? APIC_BROADCAST : destination);
        return;
      }
    }
    if (!this.#writeRegister(register, value) && this.#readRegister(register) === undefined) {
      this.#error(EsrBit.illegalRegister);
    }
  }

  /** The registers that can be read; undefined for those that do not exist. */
  #readRegister(register: number): number | undefined {
    if (register >= Reg.isr && register < Reg.esr) {
      const set = register < Reg.tmr ? this.#isr : register < Reg.irr ? this.#tmr : this.#irr;
      return set.word(register & 7);
    }
    if (register >= Reg.lvtTimer && register <= Reg.lvtError) return this.#lvt[register - Reg.lvtTimer];
    switch (register) {
      case Reg.id:
        return this.x2apicMode ? this.#options.id : (this.#xapicId << 24) >>> 0;
      case Reg.version:
        return VERSION;
      case Reg.tpr:
        return this.#tpr;
      case Reg.apr:
        return this.#arbitrationPriority();
      case Reg.ppr:
        return this.processorPriority;
      case Reg.eoi:
      case Reg.rrd:
        return 0;
      case Reg.ldr:
        return this.x2apicMode ? this.#x2Ldr() : this.#ldr;
      case Reg.dfr:
        return this.#dfr;
      case Reg.svr:
        return this.#svr;
      case Reg.esr:
        return this.#esr;
      case Reg.cmci:
        return this.#lvt[Lvt.cmci];
      case Reg.icrLow:
        return this.#icrLow;
      case Reg.icrHigh:
        return this.#icrHigh;
      case Reg.initialCount:
        return this.#timer.initial;
      case Reg.currentCount:
        return this.#timer.current;
      case Reg.divide:
        return this.#timer.divide;
      default:
        return undefined;
    }
  }

  /** The registers that are written alike in both modes; false for any other. */
  #writeRegister(register: number, value: number): boolean {
    if (register >= Reg.lvtTimer && register <= Reg.lvtError) {
      this.#writeLvt(register - Reg.lvtTimer, value);
      return true;
    }
    switch (register) {
      case Reg.tpr:
        this.#tpr = value & 0xff;
        this.#update();
        return true;
      case Reg.eoi:
        this.#endOfInterrupt();
        return true;
      case Reg.svr:
        this.#writeSvr(value);
        return true;
      case Reg.esr:
        this.#esr = this.#errors;
        this.#errors = 0;
        return true;
      case Reg.cmci:
        this.#writeLvt(Lvt.cmci, value);
        return true;
      case Reg.initialCount:
        this.#timer.initial = value;
        return true;
      case Reg.divide:
        this.#timer.divide = value;
        return true;
      default:
        return false;
    }
  }

  #writeSvr(value: number): void {
    this.#svr = value & SVR_WRITABLE;
    if (value & SVR_ENABLE) return;
    // Software-disabled: every LVT entry is masked (11.4.7.2).
    this.#timer.settle();
    for (let index = 0; index < this.#lvt.length; index++) this.#lvt[index] |= LVT_MASKED;
    this.#configureTimer();
    this.#update();
  }

  #writeLvt(index: number, value: number): void {
    if (index === Lvt.timer) this.#timer.settle();
    let entry = (value & LVT_WRITABLE[index]) | (this.#lvt[index] & LVT_REMOTE_IRR);
    if (!(this.#svr & SVR_ENABLE)) entry |= LVT_MASKED;
    if (!(entry & LVT_LEVEL)) entry &= ~LVT_REMOTE_IRR;
    this.#lvt[index] = entry;
    if (index === Lvt.timer) this.#configureTimer();
    else if (index === Lvt.lint0 || index === Lvt.lint1) this.#serviceLintLevel(index - Lvt.lint0);
    this.#update();
  }

  #configureTimer(): void {
    const entry = this.#lvt[Lvt.timer];
    this.#timer.configure((entry >> 17) & 3, (entry & LVT_MASKED) !== 0);
  }

  /** Bits that raise #GP when set by WRMSR in x2APIC mode (table 11-6, 11.12.1.2). */
  #x2Reserved(register: number): number {
    if (register >= Reg.lvtTimer && register <= Reg.lvtError) {
      return ~(LVT_WRITABLE[register - Reg.lvtTimer] | LVT_READ_ONLY);
    }
    switch (register) {
      case Reg.tpr:
      case Reg.selfIpi:
        return ~0xff;
      case Reg.eoi:
      case Reg.esr:
        return ~0;
      case Reg.svr:
        return X2_SVR_RESERVED;
      case Reg.cmci:
        return ~(LVT_WRITABLE[Lvt.cmci] | LVT_READ_ONLY);
      case Reg.divide:
        return ~0x0b;
      default:
        return 0;
    }
  }

  /** Logical ID in x2APIC mode: cluster = ID / 16, one bit for ID mod 16 (11.12.10.2). */
  #x2Ldr(): number {
    const id = this.#options.id;
    return (((id >>> 4) << 16) | (1 << (id & 15))) >>> 0;
  }

  /** APR (11.6.2.4). */
  #arbitrationPriority(): number {
    const task = this.#tpr >> 4;
    const requested = Math.max(this.#irr.highest, 0) >> 4;
    const inService = Math.max(this.#isr.highest, 0) >> 4;
    if (task >= requested && task > inService) return this.#tpr;
    return Math.max(task & inService, requested) << 4;
  }
}
