/**
 * A PCI function with a type 0 header: what PCI devices are built on.
 * Source: PCI Local Bus Specification 3.0, chapter 6 and section 2.2.6.
 *
 * Deviations:
 * - A BAR whose address is 0, or whose range reaches the end of its address
 *   space, answers nowhere: both are seen while a guest sizes a BAR with
 *   decoding left on.
 * - No BIST, no power management unless a capability adds it.
 */
import type { AccessSize, Bus, BusDevice, BusRange } from '../machine/bus.ts';
import type { IrqLine } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';
import { allOnes } from './bytewide.ts';

/** Command register bits. */
export const Command = { io: 1, memory: 2, master: 4, serr: 0x100, intxDisable: 0x400 } as const;
/** Status register bits. */
const STATUS_INTERRUPT = 0x08;
const STATUS_CAPABILITIES = 0x10;
/** Error bits of the status register, cleared by writing ones. */
const STATUS_W1C_HIGH = 0xf9;

/** The expansion ROM's base address register; its lowest bit turns decoding on. */
const ROM_BASE = 0x30;
const ROM_ENABLE = 1;

const HEADER_SIZE = 0x40;
const CONFIG_SIZE = 0x100;

export interface PciFunctionSpec {
  /** For the names of its bus ranges; unique in a machine. */
  readonly name: string;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision?: number;
  /** 24 bits: base class, subclass, programming interface. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** 0 none (default), 1 INTA … 4 INTD. */
  readonly interruptPin?: number;
  /** Of function 0 of a device with several functions. */
  readonly multifunction?: boolean;
  /** Called before configuration bytes are read; may change `config`. */
  readonly onConfigReading?: (offset: number, size: AccessSize) => void;
  /** Called after configuration bytes were written. */
  readonly onConfigWritten?: (offset: number, size: AccessSize) => void;
}

export interface PciBarSpec {
  readonly kind: 'io' | 'mem32' | 'mem64';
  /** In bytes: a power of two, at least 4 (I/O) or 16 (memory). */
  readonly size: number;
  readonly prefetchable?: boolean;
  readonly device: BusDevice;
  /** Told where the BAR answers now, on each change; undefined: nowhere. */
  readonly onMove?: ((base: number | undefined) => void) | undefined;
}

/** A BAR as resource assignment sees it. */
export interface PciBar {
  readonly index: number;
  readonly kind: 'io' | 'mem32' | 'mem64';
  readonly size: number;
}

/** What a slot gives to the function in it. */
export interface PciSlotWires {
  readonly io: Bus;
  readonly memory: Bus;
  readonly intx: IrqLine;
}

export type PciFunctionState = {
  readonly config: Uint8Array;
  readonly asserted: boolean;
};

interface PlacedBar extends PciBar {
  readonly device: BusDevice;
  readonly onMove: ((base: number | undefined) => void) | undefined;
  range: BusRange | undefined;
}

export class PciFunction implements Stateful<PciFunctionState> {
  readonly stateVersion: number = 1;
  readonly name: string;
  /** Configuration space as read, little-endian; writing here passes by the write masks. */
  readonly config: DataView;
  /** The function's interrupt wire: gated by command bit 10 and by MSI-X, shown in status bit 3. */
  readonly interrupt: IrqLine;
  readonly #spec: PciFunctionSpec;
  readonly #bytes = new Uint8Array(CONFIG_SIZE);
  readonly #writable = new Uint8Array(CONFIG_SIZE);
  readonly #clearable = new Uint8Array(CONFIG_SIZE);
  readonly #bars: PlacedBar[] = [];
  #rom: { readonly size: number; readonly device: BusDevice; range: BusRange | undefined } | undefined;
  readonly #watchers: { offset: number; length: number; written: (byGuest: boolean) => void }[] = [];
  #resetBytes: Uint8Array | undefined;
  #wires: PciSlotWires | undefined;
  #nextCapability = HEADER_SIZE;
  #lastCapability = 0x34;
  #asserted = false;
  #messages = false;

  constructor(spec: PciFunctionSpec) {
    this.#spec = spec;
    this.name = spec.name;
    this.config = new DataView(this.#bytes.buffer);
    this.interrupt = {
      set: (asserted) => {
        if (asserted === this.#asserted) return;
        this.#asserted = asserted;
        this.#driveInterrupt();
      },
    };
    const { config } = this;
    config.setUint16(0x00, spec.vendorId, true);
    config.setUint16(0x02, spec.deviceId, true);
    config.setUint8(0x08, spec.revision ?? 0);
    config.setUint8(0x09, spec.classCode & 0xff);
    config.setUint16(0x0a, spec.classCode >> 8, true);
    config.setUint8(0x0e, spec.multifunction ? 0x80 : 0);
    config.setUint16(0x2c, spec.subsystemVendorId ?? 0, true);
    config.setUint16(0x2e, spec.subsystemId ?? 0, true);
    config.setUint8(0x3d, spec.interruptPin ?? 0);
    this.setConfigMask(0x04, [0x07, 0x05]);
    this.setConfigMask(0x0c, [0xff, 0xff]);
    this.setConfigMask(0x3c, [0xff]);
    this.#clearable[0x07] = STATUS_W1C_HIGH;
  }

  // Construction.

  /** Makes bits of configuration space writable; one mask byte for each byte from `offset`. */
  setConfigMask(offset: number, mask: readonly number[]): void {
    this.#writable.set(mask, offset);
  }

  /** Adds BAR `index`, 0-5; a 64-bit one takes the next register too. Before the function is put in its slot. */
  addBar(index: number, spec: PciBarSpec): void {
    const least = spec.kind === 'io' ? 4 : 16;
    if (spec.size < least || !Number.isInteger(Math.log2(spec.size)) || spec.size > 0x80000000) {
      throw new RangeError(`${this.name}: ${spec.size} is no size for an ${spec.kind} BAR`);
    }
    const registers = spec.kind === 'mem64' ? 2 : 1;
    if (index < 0 || index + registers > 6) throw new RangeError(`${this.name}: no such BAR: ${index}`);
    const offset = 0x10 + 4 * index;
    const type = spec.kind === 'io' ? 1 : (spec.kind === 'mem64' ? 4 : 0) | (spec.prefetchable ? 8 : 0);
    this.config.setUint32(offset, type, true);
    const mask = new DataView(this.#writable.buffer);
    mask.setUint32(offset, -spec.size >>> 0, true);
    if (spec.kind === 'mem64') mask.setUint32(offset + 4, 0xffffffff, true);
    const { kind, size, device, onMove } = spec;
    this.#bars.push({ index, kind, size, device, onMove, range: undefined });
  }

  /** Adds the expansion ROM: `size` in bytes, a power of two from 2 KiB to 16 MiB. Before the function is put in its slot. */
  addRom(size: number, device: BusDevice): void {
    if (size < 0x800 || size > 0x1000000 || !Number.isInteger(Math.log2(size))) {
      throw new RangeError(`${this.name}: ${size} is no size for an expansion ROM`);
    }
    new DataView(this.#writable.buffer).setUint32(ROM_BASE, (-size | ROM_ENABLE) >>> 0, true);
    this.#rom = { size, device, range: undefined };
  }

  /**
   * Appends a capability: `bytes` follow its ID and next pointer. `writeMask`
   * says which of their bits a guest may write; `written` is called after it
   * wrote any of them, and, with `byGuest` false, after a reset or restore.
   * Returns the offset of the ID.
   */
  addCapability(
    id: number,
    bytes: Uint8Array | readonly number[],
    writeMask: Uint8Array | readonly number[] = [],
    written?: (byGuest: boolean) => void,
  ): number {
    const offset = this.#nextCapability;
    const length = bytes.length + 2;
    if (offset + length > CONFIG_SIZE || writeMask.length > bytes.length) {
      throw new RangeError(`${this.name}: no room for capability ${id}`);
    }
    this.#bytes[offset] = id;
    this.#bytes.set(bytes, offset + 2);
    this.#writable.set(writeMask, offset + 2);
    this.#bytes[this.#lastCapability] = offset;
    this.#lastCapability = offset + 1;
    this.#nextCapability = (offset + length + 3) & ~3;
    this.#bytes[0x06] |= STATUS_CAPABILITIES;
    if (written) this.#watchers.push({ offset, length, written });
    return offset;
  }

  /** Puts the function in its slot; called by the bus, once. */
  connect(wires: PciSlotWires): void {
    this.#wires = wires;
    for (const bar of this.#bars) {
      const space = bar.kind === 'io' ? wires.io : wires.memory;
      bar.range = space.claim(`${this.name}.bar${bar.index}`, undefined, bar.size, bar.device);
    }
    const rom = this.#rom;
    if (rom) rom.range = wires.memory.claim(`${this.name}.rom`, undefined, rom.size, rom.device);
    this.#resetBytes = this.#bytes.slice();
    this.#placeBars();
  }

  // Use by devices.

  get bars(): readonly PciBar[] {
    return this.#bars;
  }

  /** 0 none, 1 INTA … 4 INTD. */
  get interruptPin(): number {
    return this.#bytes[0x3d];
  }

  get busMaster(): boolean {
    return (this.#bytes[0x04] & Command.master) !== 0;
  }

  /** Where BAR `index` answers now; undefined when its decoding is off. */
  barBase(index: number): number | undefined {
    return this.#bars.find((bar) => bar.index === index)?.range?.base;
  }

  /** While message-signalled interrupts are enabled the wire is not used. */
  useMessages(enabled: boolean): void {
    this.#messages = enabled;
    this.#driveInterrupt();
  }

  // Configuration accesses.

  /** Offset 0-255; bytes beyond the end read as ones. */
  configRead(offset: number, size: AccessSize): number {
    if (offset < 0 || offset + size > CONFIG_SIZE) return allOnes(size);
    this.configReading(offset, size);
    if (size === 4) return this.config.getUint32(offset, true);
    return size === 2 ? this.config.getUint16(offset, true) : this.#bytes[offset];
  }

  configWrite(offset: number, size: AccessSize, value: number): void {
    if (offset < 0 || offset + size > CONFIG_SIZE) return;
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      const byte = (value >>> (8 * i)) & 0xff;
      const mask = this.#writable[at];
      this.#bytes[at] = ((this.#bytes[at] & ~mask) | (byte & mask)) & ~(byte & this.#clearable[at]);
    }
    if (offset < ROM_BASE + 4 && offset + size > 0x04) {
      this.#placeBars();
      this.#driveInterrupt();
    }
    for (const watcher of this.#watchers) {
      if (offset < watcher.offset + watcher.length && offset + size > watcher.offset) watcher.written(true);
    }
    this.configWritten(offset, size);
  }

  protected configReading(offset: number, size: AccessSize): void {
    this.#spec.onConfigReading?.(offset, size);
  }

  protected configWritten(offset: number, size: AccessSize): void {
    this.#spec.onConfigWritten?.(offset, size);
  }

  /** RST#: decoding off, configuration space as it was when the function was put in its slot. */
  reset(): void {
    if (this.#resetBytes) this.#bytes.set(this.#resetBytes);
    this.#asserted = false;
    this.#applyConfig();
  }

  save(): PciFunctionState {
    return { config: this.#bytes.slice(), asserted: this.#asserted };
  }

  restore(state: PciFunctionState): void {
    this.#bytes.set(state.config.subarray(0, CONFIG_SIZE));
    this.#asserted = state.asserted;
    this.#applyConfig();
  }

  #applyConfig(): void {
    this.#placeBars();
    for (const watcher of this.#watchers) watcher.written(false);
    this.#driveInterrupt();
  }

  #driveInterrupt(): void {
    const status = this.#bytes[0x06] & ~STATUS_INTERRUPT;
    this.#bytes[0x06] = status | (this.#asserted ? STATUS_INTERRUPT : 0);
    const disabled = (this.#bytes[0x05] & (Command.intxDisable >> 8)) !== 0;
    this.#wires?.intx.set(this.#asserted && !disabled && !this.#messages);
  }

  #placeBars(): void {
    for (const bar of this.#bars) {
      if (!bar.range) continue;
      const base = this.#decodedBase(bar);
      if (place(bar.range, base)) bar.onMove?.(base);
    }
    if (this.#rom?.range) place(this.#rom.range, this.#romBase(this.#rom.size));
  }

  /** Where the expansion ROM answers: it needs both enable bits (6.2.5.2). */
  #romBase(size: number): number | undefined {
    const value = this.config.getUint32(ROM_BASE, true);
    if (!(value & ROM_ENABLE) || !(this.#bytes[0x04] & Command.memory)) return undefined;
    const base = (value & -size) >>> 0;
    return base === 0 || base + size >= 2 ** 32 ? undefined : base;
  }

  #decodedBase(bar: PciBar): number | undefined {
    const enable = bar.kind === 'io' ? Command.io : Command.memory;
    if (!(this.#bytes[0x04] & enable)) return undefined;
    const offset = 0x10 + 4 * bar.index;
    const low = (this.config.getUint32(offset, true) & -bar.size) >>> 0;
    const high = bar.kind === 'mem64' ? this.config.getUint32(offset + 4, true) : 0;
    const base = high * 2 ** 32 + low;
    const end = base + bar.size;
    const limit = bar.kind === 'io' ? 0x10001 : bar.kind === 'mem32' ? 2 ** 32 : 2 ** 52;
    const wraps = bar.kind === 'mem64' && end === 2 ** 32;
    return base === 0 || end >= limit || wraps ? undefined : base;
  }
}

/** Moves a range, or turns it off; whether it was somewhere else. */
function place(range: BusRange, base: number | undefined): boolean {
  if (base === range.base) return false;
  if (base === undefined) range.disable();
  else range.move(base);
  return true;
}
