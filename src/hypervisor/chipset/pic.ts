/**
 * The 8259A pair of a PC, with the edge/level registers of the PIIX3.
 * Sources: Intel 8259A data sheet (231468-003); Intel 82371FB/SB (PIIX/PIIX3)
 * data sheet, "Interrupt Controller Registers" and ELCR 4D0h/4D1h.
 *
 * Deviations:
 * - An edge stays latched in the IRR when its line falls before the
 *   acknowledge (QEMU and KVM do the same); the data sheet would answer with
 *   the spurious vector. Pulses of late timers must not get lost. Level inputs
 *   follow their line, so they can give the spurious vector.
 * - ICW1's LTIM and ICW3 are accepted and ignored: the PIIX3 takes the trigger
 *   mode from ELCR and has its cascade wired to IR2.
 * - 8080/8085 mode (ICW4 bit 0 clear) is not modelled: vectors are always 8086's.
 * - Before its first ICW1, where the data sheet leaves the state open, every
 *   input is masked.
 * - IR2 of the first controller follows the second one's INT as a level, which
 *   stands for the pulse that the second one gives on each acknowledge.
 */
import type { Bus, BusDevice } from '../machine/bus.ts';
import type { IrqLine } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';
import { byteWide } from './bytewide.ts';

type ChipState = {
  readonly irr: number;
  readonly isr: number;
  readonly imr: number;
  readonly lines: number;
  readonly elcr: number;
  readonly base: number;
  readonly top: number;
  readonly initStep: number;
  readonly needsIcw4: boolean;
  readonly single: boolean;
  readonly readIsr: boolean;
  readonly poll: boolean;
  readonly specialMask: boolean;
  readonly specialFullyNested: boolean;
  readonly autoEoi: boolean;
  readonly rotateOnAutoEoi: boolean;
};

export type PicState = { readonly first: ChipState; readonly second: ChipState };

/** One 8259A. `changed` is called after anything that may change its INT output. */
class Pic8259 {
  readonly #isFirst: boolean;
  readonly #elcrMask: number;
  readonly #resetElcr: number;
  readonly #changed: () => void;
  #irr = 0;
  #isr = 0;
  #imr = 0xff;
  /** Levels of the inputs, for edge detection and level mode. */
  #lines = 0;
  #elcr = 0;
  #base = 0;
  /** The input of highest priority; rotation moves it. */
  #top = 0;
  /** 0 when initialized, else the number of the ICW that port 1 expects next, less one. */
  #initStep = 0;
  #needsIcw4 = false;
  #single = false;
  #readIsr = false;
  #poll = false;
  #specialMask = false;
  #specialFullyNested = false;
  #autoEoi = false;
  #rotateOnAutoEoi = false;

  constructor(isFirst: boolean, elcrMask: number, resetElcr: number, changed: () => void) {
    this.#isFirst = isFirst;
    this.#elcrMask = elcrMask;
    this.#resetElcr = resetElcr & elcrMask;
    this.#elcr = this.#resetElcr;
    this.#changed = changed;
  }

  /** Power-on and bus reset. Input lines keep their levels: those belong to the sources. */
  reset(): void {
    this.#initialize();
    this.#imr = 0xff;
    this.#base = 0;
    this.#initStep = 0;
    this.#needsIcw4 = false;
    this.#single = false;
    this.#elcr = this.#resetElcr;
    this.#irr = this.#lines & this.#levelMask();
    this.#changed();
  }

  get vectorBase(): number {
    return this.#base;
  }

  get elcr(): number {
    return this.#elcr;
  }

  set elcr(value: number) {
    this.#elcr = value & this.#elcrMask;
    // A pin turned to level follows its line from now on.
    this.#irr = (this.#irr & ~this.#elcr) | (this.#lines & this.#elcr);
    this.#changed();
  }

  setLine(pin: number, asserted: boolean): void {
    const bit = 1 << pin;
    const was = (this.#lines & bit) !== 0;
    if (asserted === was) return;
    this.#lines ^= bit;
    if (asserted) this.#irr |= bit;
    else if (this.#levelMask() & bit) this.#irr &= ~bit;
    else return;
    this.#changed();
  }

  /** The input to be served next, or -1: 8259A, "Priority Resolver". */
  pendingPin(): number {
    const requests = this.#irr & ~this.#imr;
    if (requests === 0) return -1;
    let inService = this.#isr;
    // In special mask mode a masked level in service blocks nobody.
    if (this.#specialMask) inService &= ~this.#imr;
    // In special fully nested mode IR2 in service does not block the second controller's next request.
    if (this.#specialFullyNested && this.#isFirst) inService &= ~4;
    const rank = this.#rankOf(requests);
    return rank < this.#rankOf(inService) ? (rank + this.#top) & 7 : -1;
  }

  /** First INTA pulse for `pin`. */
  accept(pin: number): void {
    const bit = 1 << pin;
    if (this.#autoEoi) {
      if (this.#rotateOnAutoEoi) this.#top = (pin + 1) & 7;
    } else {
      this.#isr |= bit;
    }
    if (!(this.#levelMask() & bit)) this.#irr &= ~bit;
    this.#changed();
  }

  read(port: number): number {
    if (this.#poll) {
      this.#poll = false;
      const pin = this.pendingPin();
      if (pin < 0) return 0;
      this.accept(pin);
      return 0x80 | pin;
    }
    if (port === 1) return this.#imr;
    return this.#readIsr ? this.#isr : this.#irr;
  }

  write(port: number, value: number): void {
    if (port === 1) this.#writeData(value);
    else if (value & 0x10) this.#writeIcw1(value);
    else if (value & 0x08) this.#writeOcw3(value);
    else this.#writeOcw2(value);
    this.#changed();
  }

  save(): ChipState {
    return {
      irr: this.#irr,
      isr: this.#isr,
      imr: this.#imr,
      lines: this.#lines,
      elcr: this.#elcr,
      base: this.#base,
      top: this.#top,
      initStep: this.#initStep,
      needsIcw4: this.#needsIcw4,
      single: this.#single,
      readIsr: this.#readIsr,
      poll: this.#poll,
      specialMask: this.#specialMask,
      specialFullyNested: this.#specialFullyNested,
      autoEoi: this.#autoEoi,
      rotateOnAutoEoi: this.#rotateOnAutoEoi,
    };
  }

  restore(state: ChipState): void {
    this.#irr = state.irr;
    this.#isr = state.isr;
    this.#imr = state.imr;
    this.#lines = state.lines;
    this.#elcr = state.elcr;
    this.#base = state.base;
    this.#top = state.top;
    this.#initStep = state.initStep;
    this.#needsIcw4 = state.needsIcw4;
    this.#single = state.single;
    this.#readIsr = state.readIsr;
    this.#poll = state.poll;
    this.#specialMask = state.specialMask;
    this.#specialFullyNested = state.specialFullyNested;
    this.#autoEoi = state.autoEoi;
    this.#rotateOnAutoEoi = state.rotateOnAutoEoi;
  }

  #levelMask(): number {
    return this.#isFirst ? this.#elcr | 4 : this.#elcr;
  }

  /** Distance of the best input in `mask` from the top priority; 8 for none. */
  #rankOf(mask: number): number {
    if (mask === 0) return 8;
    let rank = 0;
    while (!(mask & (1 << ((rank + this.#top) & 7)))) rank++;
    return rank;
  }

  #initialize(): void {
    // The edge sense circuit is reset: an input must go low and high again to make a request.
    this.#irr &= this.#levelMask();
    this.#isr = 0;
    this.#imr = 0;
    this.#top = 0;
    this.#readIsr = false;
    this.#poll = false;
    this.#specialMask = false;
    this.#specialFullyNested = false;
    this.#autoEoi = false;
    this.#rotateOnAutoEoi = false;
  }

  #writeIcw1(value: number): void {
    this.#initialize();
    this.#initStep = 1;
    this.#needsIcw4 = (value & 1) !== 0;
    this.#single = (value & 2) !== 0;
  }

  #writeData(value: number): void {
    switch (this.#initStep) {
      case 1:
        this.#base = value & 0xf8;
        this.#initStep = this.#single ? this.#stepAfterIcw3() : 2;
        break;
      case 2:
        this.#initStep = this.#stepAfterIcw3();
        break;
      case 3:
        this.#specialFullyNested = (value & 0x10) !== 0;
        this.#autoEoi = (value & 2) !== 0;
        this.#initStep = 0;
        break;
      default:
        this.#imr = value;
    }
  }

  #stepAfterIcw3(): number {
    return this.#needsIcw4 ? 3 : 0;
  }

  #writeOcw2(value: number): void {
    const pin = value & 7;
    switch (value >> 5) {
      case 0:
        this.#rotateOnAutoEoi = false;
        break;
      case 4:
        this.#rotateOnAutoEoi = true;
        break;
      case 1:
        this.#endHighest(false);
        break;
      case 5:
        this.#endHighest(true);
        break;
      case 3:
        this.#isr &= ~(1 << pin);
        break;
      case 6:
        this.#top = (pin + 1) & 7;
        break;
      case 7:
        this.#isr &= ~(1 << pin);
        this.#top = (pin + 1) & 7;
        break;
    }
  }

  /** Non-specific EOI; in special mask mode it does not see levels that are masked. */
  #endHighest(rotate: boolean): void {
    const rank = this.#rankOf(this.#specialMask ? this.#isr & ~this.#imr : this.#isr);
    if (rank === 8) return;
    const pin = (rank + this.#top) & 7;
    this.#isr &= ~(1 << pin);
    if (rotate) this.#top = (pin + 1) & 7;
  }

  #writeOcw3(value: number): void {
    if (value & 0x40) this.#specialMask = (value & 0x20) !== 0;
    if (value & 0x04) this.#poll = true;
    else if (value & 0x02) this.#readIsr = (value & 1) !== 0;
  }
}

export interface PicOptions {
  /** INTR: asserted while a vector waits to be acknowledged. */
  readonly output: IrqLine;
  /** IRQs that are level-triggered at reset, as firmware would have set ELCR; for a machine without firmware. */
  readonly levelIrqs?: readonly number[];
}

/** The two 8259A of a PC: IRQ 0-7 at ports 20h/21h, IRQ 8-15 at A0h/A1h, cascaded through IRQ 2. */
export class PicPair implements Stateful<PicState> {
  readonly stateVersion = 1;
  /** Ports 20h and 21h. */
  readonly first: BusDevice;
  /** Ports A0h and A1h. */
  readonly second: BusDevice;
  /** Ports 4D0h and 4D1h: one bit an IRQ, 1 = level-triggered. IRQ 0, 1, 2, 8 and 13 are edge-triggered for good. */
  readonly elcr: BusDevice;
  readonly #output: IrqLine;
  readonly #one: Pic8259;
  readonly #two: Pic8259;
  #intr = false;

  constructor(options: PicOptions) {
    this.#output = options.output;
    let level = 0;
    for (const irq of options.levelIrqs ?? []) level |= 1 << irq;
    this.#one = new Pic8259(true, 0xf8, level & 0xff, () => this.#drive());
    this.#two = new Pic8259(false, 0xde, (level >> 8) & 0xff, () => this.#cascade());
    const chipPorts = (chip: Pic8259): BusDevice =>
      byteWide(
        2,
        (port) => chip.read(port),
        (port, value) => chip.write(port, value),
      );
    this.first = chipPorts(this.#one);
    this.second = chipPorts(this.#two);
    this.elcr = byteWide(
      2,
      (port) => (port === 0 ? this.#one : this.#two).elcr,
      (port, value) => {
        (port === 0 ? this.#one : this.#two).elcr = value;
      },
    );
  }

  /** Claims the standard ports. */
  attach(io: Bus): void {
    io.claim('pic1', 0x20, 2, this.first);
    io.claim('pic2', 0xa0, 2, this.second);
    io.claim('elcr', 0x4d0, 2, this.elcr);
  }

  /** The wire of ISA IRQ `irq`, 0-15. IRQ 2 is the cascade: its wire leads nowhere. */
  line(irq: number): IrqLine {
    if (!Number.isInteger(irq) || irq < 0 || irq > 15) throw new RangeError(`no such ISA IRQ: ${irq}`);
    if (irq === 2) return { set() {} };
    const chip = irq < 8 ? this.#one : this.#two;
    return { set: (asserted) => chip.setLine(irq & 7, asserted) };
  }

  /**
   * The two INTA pulses: takes the waiting interrupt and returns its vector,
   * 0-255. With nothing waiting, the vector of the spurious IRQ 7 (or 15),
   * without an in-service bit there.
   */
  acknowledge(): number {
    const pin = this.#one.pendingPin();
    if (pin < 0) return this.#one.vectorBase | 7;
    if (pin !== 2) {
      this.#one.accept(pin);
      return this.#one.vectorBase | pin;
    }
    const second = this.#two.pendingPin();
    this.#one.accept(2);
    if (second < 0) return this.#two.vectorBase | 7;
    this.#two.accept(second);
    return this.#two.vectorBase | second;
  }

  reset(): void {
    this.#two.reset();
    this.#one.reset();
  }

  save(): PicState {
    return { first: this.#one.save(), second: this.#two.save() };
  }

  restore(state: PicState): void {
    this.#one.restore(state.first);
    this.#two.restore(state.second);
    this.#intr = this.#one.pendingPin() >= 0;
    this.#output.set(this.#intr);
  }

  #cascade(): void {
    this.#one.setLine(2, this.#two.pendingPin() >= 0);
  }

  #drive(): void {
    const intr = this.#one.pendingPin() >= 0;
    if (intr === this.#intr) return;
    this.#intr = intr;
    this.#output.set(intr);
  }
}
