/**
 * PCI bus 0 of an i440FX machine: configuration mechanism #1, the host bridge,
 * the PIIX3's ISA bridge with its interrupt router, and the assignment of
 * resources that firmware would do. Sources: PCI Local Bus Specification 3.0,
 * 3.2.2.3.2; Intel 82441FX data sheet (290549); PIIX3 data sheet (290550).
 *
 * Deviations:
 * - There is only bus 0; other buses read as ones.
 * - The ISA bridge's PIRQ routes come up as firmware would leave them (IRQ 10,
 *   10, 11, 11) instead of disabled.
 * - PAM and SMRAM registers are kept and reported; what they do to memory is
 *   up to whoever listens.
 */
import type { AccessSize, Bus, BusDevice } from '../machine/bus.ts';
import type { IrqLine } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';
import { allOnes } from './bytewide.ts';
import { WiredOr } from './lines.ts';
import type { PciBar, PciFunctionState } from './pci-function.ts';
import { Command, PciFunction } from './pci-function.ts';

/** IRQs of PIRQA-D without firmware. */
export const DEFAULT_PIRQ_IRQS: readonly number[] = [10, 10, 11, 11];

/** The PIRQ wire, 0-3 for A-D, of interrupt pin `pin` (1 INTA … 4 INTD) in slot `slot`: as firmware for this machine takes it to be wired. */
export function pirqOf(slot: number, pin: number): number {
  return (slot + pin - 2) & 3;
}

export type PciRootState = { readonly address: number };

export interface PciRootOptions {
  readonly io: Bus;
  readonly memory: Bus;
  /** A new input to PIRQ wire 0-3; the ISA bridge's `pirq`. */
  readonly pirq: (index: number) => IrqLine;
  /** Port CF9h, which lies between the two configuration registers. */
  readonly resetControl?: BusDevice;
}

interface PlacedFunction {
  readonly slot: number;
  readonly index: number;
  readonly fn: PciFunction;
}

/** Bus 0 and the ports CF8h-CFFh. */
export class PciRoot implements Stateful<PciRootState> {
  readonly stateVersion = 1;
  /** Ports CF8h-CFFh. */
  readonly device: BusDevice;
  readonly #options: PciRootOptions;
  readonly #functions = new Map<number, PlacedFunction>();
  #address = 0;

  constructor(options: PciRootOptions) {
    this.#options = options;
    this.device = {
      read: (offset, size) => this.#read(offset, size),
      write: (offset, size, value) => this.#write(offset, size, value),
    };
    options.io.claim('pci-config', 0xcf8, 8, this.device);
  }

  /** Puts a function in slot 0-31 as function 0-7. */
  add(slot: number, index: number, fn: PciFunction): void {
    const key = slot * 8 + index;
    if (slot < 0 || slot > 31 || index < 0 || index > 7 || this.#functions.has(key)) {
      throw new RangeError(`PCI ${slot}.${index} is no free place for ${fn.name}`);
    }
    this.#functions.set(key, { slot, index, fn });
    const pin = fn.interruptPin;
    fn.connect({
      io: this.#options.io,
      memory: this.#options.memory,
      intx: pin === 0 ? { set() {} } : this.#options.pirq(pirqOf(slot, pin)),
    });
  }

  /** All functions, by slot and function number. */
  functions(): readonly PlacedFunction[] {
    return [...this.#functions.entries()].sort(([a], [b]) => a - b).map(([, placed]) => placed);
  }

  /** Resets the bus and every function on it. */
  reset(): void {
    this.#address = 0;
    for (const { fn } of this.#functions.values()) fn.reset();
  }

  save(): PciRootState {
    return { address: this.#address };
  }

  restore(state: PciRootState): void {
    this.#address = state.address;
  }

  /** CONFIG_ADDRESS answers to 32-bit accesses alone; CONFIG_DATA to any size within its four bytes. */
  #read(offset: number, size: AccessSize): number {
    if (offset >= 4) {
      const fn = this.#selected();
      if (!fn) return allOnes(size);
      const bytes = Math.min(size, 8 - offset);
      if (bytes === size) return fn.configRead((this.#address & 0xfc) + offset - 4, size);
      let value = allOnes(size);
      for (let i = 0; i < bytes; i++) {
        const byte = fn.configRead((this.#address & 0xfc) + offset - 4 + i, 1);
        value = ((value & ~(0xff << (8 * i))) | (byte << (8 * i))) >>> 0;
      }
      return value;
    }
    if (offset === 0 && size === 4) return this.#address;
    if (offset === 1 && size === 1 && this.#options.resetControl)
      return this.#options.resetControl.read(0, 1);
    return allOnes(size);
  }

  #write(offset: number, size: AccessSize, value: number): void {
    if (offset >= 4) {
      const fn = this.#selected();
      const register = (this.#address & 0xfc) + offset - 4;
      if (!fn) return;
      if (offset + size <= 8) {
        fn.configWrite(register, size, value);
        return;
      }
      for (let i = 0; offset + i < 8; i++) fn.configWrite(register + i, 1, (value >>> (8 * i)) & 0xff);
    } else if (offset === 0 && size === 4) {
      this.#address = (value & 0x80fffffc) >>> 0;
    } else if (offset === 1 && size === 1) {
      this.#options.resetControl?.write(0, 1, value);
    }
  }

  #selected(): PciFunction | undefined {
    const address = this.#address;
    if (!(address & 0x80000000) || address & 0x00ff0000) return undefined;
    return this.#functions.get((address >>> 8) & 0xff)?.fn;
  }
}

/** How the processor's accesses to a stretch of memory below 1 MiB are routed: to DRAM, or to PCI (false). */
export interface PamSegment {
  readonly start: number;
  readonly length: number;
  readonly readDram: boolean;
  readonly writeDram: boolean;
}

export interface HostBridgeOptions {
  /** Told all thirteen segments after any PAM register was written, on reset and on restore. */
  readonly onPam?: (segments: readonly PamSegment[]) => void;
}

/** By these SeaBIOS knows a machine that has fw_cfg. */
const QEMU_SUBSYSTEM = { subsystemVendorId: 0x1af4, subsystemId: 0x1100 } as const;

/** The i440FX host bridge, 8086:1237. */
export class HostBridge extends PciFunction {
  readonly #onPam: ((segments: readonly PamSegment[]) => void) | undefined;

  constructor(options: HostBridgeOptions = {}) {
    super({
      name: 'host-bridge',
      vendorId: 0x8086,
      deviceId: 0x1237,
      revision: 2,
      classCode: 0x060000,
      ...QEMU_SUBSYSTEM,
    });
    this.#onPam = options.onPam;
    this.setConfigMask(0x50, [0xff, 0xff, 0xff]);
    this.setConfigMask(0x59, [0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33]);
    this.setConfigMask(0x60, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    this.setConfigMask(0x72, [0x7f]);
    this.config.setUint8(0x72, 0x02);
  }

  /** PAM0-PAM6 (59h-5Fh): two segments a register but the first, which has F0000h-FFFFFh alone. */
  get pam(): readonly PamSegment[] {
    const segments: PamSegment[] = [];
    const add = (start: number, length: number, bits: number): void => {
      segments.push({ start, length, readDram: (bits & 1) !== 0, writeDram: (bits & 2) !== 0 });
    };
    for (let i = 1; i <= 6; i++) {
      const value = this.config.getUint8(0x59 + i);
      const start = 0xc0000 + (i - 1) * 0x8000;
      add(start, 0x4000, value);
      add(start + 0x4000, 0x4000, value >> 4);
    }
    add(0xf0000, 0x10000, this.config.getUint8(0x59) >> 4);
    return segments;
  }

  override reset(): void {
    super.reset();
    this.#onPam?.(this.pam);
  }

  override restore(state: PciFunctionState): void {
    super.restore(state);
    this.#onPam?.(this.pam);
  }

  protected override configWritten(offset: number, size: AccessSize): void {
    super.configWritten(offset, size);
    if (offset < 0x60 && offset + size > 0x59) this.#onPam?.(this.pam);
  }
}

export interface IsaBridgeOptions {
  /** The wire of ISA IRQ `irq` at the interrupt controllers; called once for each IRQ that can be a route. */
  readonly isaLine: (irq: number) => IrqLine;
  /** Routes of PIRQA-D after reset: IRQ numbers, 80h for disabled. */
  readonly routes?: readonly number[];
}

/** IRQs that a PIRQ may be routed to: PIIX3, PIRQRC[A:D]. */
const ROUTABLE_IRQS: readonly number[] = [3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15];

/** The PIIX3's ISA bridge, 8086:7000: routes the four PIRQ wires to ISA IRQs, level-triggered and shared. */
export class IsaBridge extends PciFunction {
  readonly #lines = new Map<number, IrqLine>();
  readonly #wires: readonly WiredOr[];
  readonly #levels = [false, false, false, false];
  #driven = 0;

  constructor(options: IsaBridgeOptions) {
    super({
      name: 'isa-bridge',
      vendorId: 0x8086,
      deviceId: 0x7000,
      classCode: 0x060100,
      multifunction: true,
    });
    for (const irq of ROUTABLE_IRQS) this.#lines.set(irq, options.isaLine(irq));
    this.#wires = this.#levels.map(
      (_level, index) =>
        new WiredOr({
          set: (asserted) => {
            this.#levels[index] = asserted;
            this.#drive();
          },
        }),
    );
    this.config.setUint16(0x04, 0x0007, true);
    this.config.setUint16(0x06, 0x0200, true);
    this.setConfigMask(0x04, [0x00, 0x01]);
    this.setConfigMask(0x4c, [0xff]);
    this.setConfigMask(0x4e, [0xff, 0xff]);
    this.setConfigMask(0x60, [0x8f, 0x8f, 0x8f, 0x8f]);
    this.setConfigMask(0x69, [0xfe]);
    this.setConfigMask(0x82, [0xff]);
    this.config.setUint8(0x4c, 0x4d);
    this.config.setUint8(0x4e, 0x03);
    for (const [index, irq] of (options.routes ?? DEFAULT_PIRQ_IRQS).entries()) {
      this.config.setUint8(0x60 + index, irq);
    }
  }

  /** A new source on PIRQ wire `index`, 0-3 for A-D. */
  pirq(index: number): IrqLine {
    return this.#wires[index & 3].input();
  }

  /** The ISA IRQ that PIRQ wire `index` is routed to, or undefined. */
  route(index: number): number | undefined {
    const value = this.config.getUint8(0x60 + (index & 3));
    const irq = value & 15;
    return value & 0x80 || !this.#lines.has(irq) ? undefined : irq;
  }

  override reset(): void {
    super.reset();
    this.#drive();
  }

  override restore(state: PciFunctionState): void {
    super.restore(state);
    this.#drive();
  }

  protected override configWritten(offset: number, size: AccessSize): void {
    super.configWritten(offset, size);
    if (offset < 0x64 && offset + size > 0x60) this.#drive();
  }

  #drive(): void {
    let asserted = 0;
    for (let index = 0; index < 4; index++) {
      const irq = this.#levels[index] ? this.route(index) : undefined;
      if (irq !== undefined) asserted |= 1 << irq;
    }
    const changed = asserted ^ this.#driven;
    this.#driven = asserted;
    for (const [irq, line] of this.#lines) {
      if (changed & (1 << irq)) line.set((asserted & (1 << irq)) !== 0);
    }
  }
}

/** An address window, `limit` exclusive. */
export interface PciWindow {
  readonly base: number;
  readonly limit: number;
}

export interface PciWindows {
  readonly io: PciWindow;
  readonly memory: PciWindow;
}

/**
 * Does firmware's part: gives every BAR an address inside the windows, largest
 * first, turns decoding and bus mastering on and writes the interrupt line
 * registers. `irqOf` gives the IRQ of a PIRQ wire (an ISA bridge's `route`).
 * Throws RangeError when a window is too small.
 */
export function assignResources(
  root: PciRoot,
  windows: PciWindows,
  irqOf: (pirq: number) => number | undefined = (pirq) => DEFAULT_PIRQ_IRQS[pirq],
): void {
  const wanted: { fn: PciFunction; bar: PciBar }[] = [];
  for (const { fn } of root.functions()) for (const bar of fn.bars) wanted.push({ fn, bar });
  wanted.sort((a, b) => b.bar.size - a.bar.size);
  const next = { io: windows.io.base, memory: windows.memory.base };
  for (const { fn, bar } of wanted) {
    const space = bar.kind === 'io' ? 'io' : 'memory';
    const base = Math.ceil(next[space] / bar.size) * bar.size;
    if (base + bar.size > windows[space].limit) {
      throw new RangeError(`no PCI ${space} space is left for BAR ${bar.index} of ${fn.name}`);
    }
    next[space] = base + bar.size;
    const offset = 0x10 + 4 * bar.index;
    fn.configWrite(offset, 4, base % 2 ** 32);
    if (bar.kind === 'mem64') fn.configWrite(offset + 4, 4, Math.floor(base / 2 ** 32));
  }
  for (const { slot, fn } of root.functions()) {
    let command = fn.configRead(0x04, 2);
    for (const bar of fn.bars) command |= bar.kind === 'io' ? Command.io : Command.memory;
    if (fn.bars.length > 0) command |= Command.master;
    fn.configWrite(0x04, 2, command);
    if (fn.interruptPin === 0 || fn.configRead(0x3c, 1) !== 0) continue;
    fn.configWrite(0x3c, 1, irqOf(pirqOf(slot, fn.interruptPin)) ?? 0xff);
  }
}
