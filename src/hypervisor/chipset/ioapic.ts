/**
 * The 82093AA I/O APIC, with the EOI register of its successors (version 20h).
 * Sources: Intel 82093AA data sheet (290566-001); ICH data sheets for the EOI
 * register at offset 40h.
 *
 * Deviations:
 * - Lines carry "asserted", not a voltage, so the polarity bit is stored and
 *   has no effect.
 * - An edge on a masked pin is lost, as the data sheet says (section 3.2.4,
 *   "Interrupt Mask"). A level that is asserted while masked is delivered on unmask.
 * - Writing an entry with edge trigger clears its remote IRR: Linux relies on
 *   that to get rid of a stuck one.
 * - Delivery status always reads idle: messages arrive at once.
 */
import type { AccessSize, Bus, BusDevice } from '../machine/bus.ts';
import type { IrqLine } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';
import type { ApicBus } from './apicbus.ts';
import { APIC_BROADCAST, DeliveryMode } from './apicbus.ts';

export const IOAPIC_BASE = 0xfec00000;
const PINS = 24;
const VERSION = 0x20;

const REMOTE_IRR = 1 << 14;
const LEVEL = 1 << 15;
const MASKED = 1 << 16;
/** Vector, delivery mode, destination mode, polarity, trigger, mask. */
const WRITABLE_LOW = 0x1afff;
const WRITABLE_HIGH = 0xff000000;

export type IoApicState = {
  readonly id: number;
  readonly select: number;
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly lines: number;
  readonly requests: number;
};

export interface IoApicOptions {
  readonly bus: ApicBus;
  /** APIC ID in bits 27-24 of register 0 at reset. */
  readonly id?: number;
}

/** One I/O APIC of 24 pins. Add it to the interrupt bus with `bus.addIoApic(ioapic)` so that it sees EOI messages. */
export class IoApic implements Stateful<IoApicState> {
  readonly stateVersion = 1;
  /** The 4 KiB window at FEC00000h. */
  readonly device: BusDevice;
  readonly #bus: ApicBus;
  readonly #resetId: number;
  #id: number;
  #select = 0;
  readonly #low = new Uint32Array(PINS).fill(MASKED);
  readonly #high = new Uint32Array(PINS);
  /** Level of each input. */
  #lines = 0;
  /** Requests not yet sent: level pins that are asserted. */
  #requests = 0;

  constructor(options: IoApicOptions) {
    this.#bus = options.bus;
    this.#resetId = (options.id ?? 0) & 15;
    this.#id = this.#resetId;
    this.device = {
      read: (offset, size) => this.#read(offset, size),
      write: (offset, size, value) => this.#write(offset, size, value),
    };
  }

  attach(mmio: Bus): void {
    mmio.claim('ioapic', IOAPIC_BASE, 0x1000, this.device);
  }

  /** The wire of input `pin`, 0-23. */
  line(pin: number): IrqLine {
    if (!Number.isInteger(pin) || pin < 0 || pin >= PINS)
      throw new RangeError(`no such I/O APIC pin: ${pin}`);
    return { set: (asserted) => this.#setLine(pin, asserted) };
  }

  /** EOI of `vector`, broadcast by a local APIC or written to the EOI register. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < PINS; pin++) {
      const entry = this.#low[pin];
      if ((entry & 0xff) !== vector || !(entry & LEVEL) || !(entry & REMOTE_IRR)) continue;
      this.#low[pin] = entry & ~REMOTE_IRR;
      this.#service(pin);
    }
  }

  reset(): void {
    this.#id = this.#resetId;
    this.#select = 0;
    this.#low.fill(MASKED);
    this.#high.fill(0);
    this.#requests = 0;
  }

  save(): IoApicState {
    return {
      id: this.#id,
      select: this.#select,
      low: [...this.#low],
      high: [...this.#high],
      lines: this.#lines,
      requests: this.#requests,
    };
  }

  restore(state: IoApicState): void {
    this.#id = state.id;
    this.#select = state.select;
    this.#low.set(state.low.slice(0, PINS));
    this.#high.set(state.high.slice(0, PINS));
    this.#lines = state.lines;
    this.#requests = state.requests;
  }

  #setLine(pin: number, asserted: boolean): void {
    const bit = 1 << pin;
    if (((this.#lines & bit) !== 0) === asserted) return;
    this.#lines ^= bit;
    const entry = this.#low[pin];
    if (entry & LEVEL) {
      if (asserted) {
        this.#requests |= bit;
        this.#service(pin);
      } else {
        this.#requests &= ~bit;
      }
    } else if (asserted && !(entry & MASKED)) {
      this.#send(pin);
    }
  }

  /** Sends the message of a level pin when it is asserted, unmasked and not already in service. */
  #service(pin: number): void {
    const entry = this.#low[pin];
    if (!(this.#requests & (1 << pin)) || entry & (MASKED | REMOTE_IRR)) return;
    const mode = (entry >> 8) & 7;
    const waitsForEoi = mode === DeliveryMode.fixed || mode === DeliveryMode.lowest;
    // Set before sending: the EOI may come while the message is being delivered.
    if (waitsForEoi) this.#low[pin] = entry | REMOTE_IRR;
    const accepted = this.#send(pin);
    if (!accepted && waitsForEoi) this.#low[pin] &= ~REMOTE_IRR;
    // SMI, NMI, INIT and ExtINT are edges whatever the trigger bit says.
    if (!waitsForEoi) this.#requests &= ~(1 << pin);
  }

  #send(pin: number): boolean {
    const entry = this.#low[pin];
    const logical = (entry & 0x800) !== 0;
    const destination = this.#high[pin] >>> 24;
    return this.#bus.deliver({
      vector: entry & 0xff,
      mode: (entry >> 8) & 7,
      logical,
      destination: !logical && destination === 0xff ? APIC_BROADCAST : destination,
      level: (entry & LEVEL) !== 0,
    });
  }

  #read(offset: number, size: AccessSize): number {
    const word = offset & ~3;
    let value = 0;
    if (word === 0x00) value = this.#select;
    else if (word === 0x10) value = this.#readRegister(this.#select);
    const shifted = value >>> (8 * (offset & 3));
    return size === 4 ? shifted >>> 0 : shifted & (size === 2 ? 0xffff : 0xff);
  }

  #write(offset: number, size: AccessSize, value: number): void {
    if (offset === 0x00) this.#select = value & 0xff;
    else if (size !== 4) return;
    else if (offset === 0x10) this.#writeRegister(this.#select, value);
    else if (offset === 0x40) this.endOfInterrupt(value & 0xff);
  }

  #readRegister(index: number): number {
    switch (index) {
      case 0:
      case 2:
        return this.#id << 24;
      case 1:
        return ((PINS - 1) << 16) | VERSION;
    }
    const pin = (index - 0x10) >> 1;
    if (pin < 0 || pin >= PINS) return 0;
    return index & 1 ? this.#high[pin] : this.#low[pin];
  }

  #writeRegister(index: number, value: number): void {
    if (index === 0) {
      this.#id = (value >>> 24) & 15;
      return;
    }
    const pin = (index - 0x10) >> 1;
    if (index < 0x10 || pin >= PINS) return;
    if (index & 1) this.#high[pin] = value & WRITABLE_HIGH;
    else this.#writeLow(pin, value);
  }

  #writeLow(pin: number, value: number): void {
    const bit = 1 << pin;
    let entry = (value & WRITABLE_LOW) | (this.#low[pin] & REMOTE_IRR);
    if (entry & LEVEL) {
      if (this.#lines & bit) this.#requests |= bit;
    } else {
      entry &= ~REMOTE_IRR;
      this.#requests &= ~bit;
    }
    this.#low[pin] = entry;
    this.#service(pin);
  }
}
