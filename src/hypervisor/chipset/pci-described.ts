/** A PCI function made from a plain description, for devices that do not know PCI's configuration space themselves. */
import type { AccessSize, BusDevice } from '../machine/bus.ts';
import type { MsiSink } from '../machine/irq.ts';
import type { MsixState } from './msix.ts';
import { Msix } from './msix.ts';
import type { PciFunctionState } from './pci-function.ts';
import { PciFunction } from './pci-function.ts';

export interface DescribedCapability {
  readonly id: number;
  /** What follows the ID and the next pointer. */
  readonly body: Uint8Array;
  /** Which bits of `body` a guest may write. */
  readonly writeMask?: Uint8Array;
  /** Before bytes are read: their present value, or undefined where configuration space has it. Offsets count from the ID. */
  read?(offset: number, size: AccessSize): number | undefined;
  /** After a guest wrote bytes. */
  write?(offset: number, size: AccessSize, value: number): void;
}

export interface DescribedBar {
  readonly index: number;
  readonly size: number;
  readonly prefetchable?: boolean;
  readonly device: BusDevice;
  /** Told where the BAR answers now, on each change; undefined: nowhere. */
  readonly onMove?: (base: number | undefined) => void;
}

export interface FunctionDescription {
  readonly name: string;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  readonly classCode: number;
  readonly subsystemVendorId: number;
  readonly subsystemId: number;
  readonly interruptPin?: number;
  /** Memory BARs below 4 GiB. */
  readonly bars: readonly DescribedBar[];
  /** The expansion ROM. */
  readonly rom?: { readonly size: number; readonly device: BusDevice };
  readonly capabilities: readonly DescribedCapability[];
  /** Entries of the MSI-X table and the BAR that holds it; without it the function has no messages. */
  readonly msix?: { readonly vectors: number; readonly bar: number };
}

/** The device's way to its interrupts. */
export interface InterruptSlot {
  /** Whether the guest has turned MSI-X on. */
  readonly msixEnabled: boolean;
  /** Signals an MSI-X vector; nothing happens when there is no such vector. */
  notify(vector: number): void;
  setIntx(asserted: boolean): void;
}

export type DescribedFunctionState = PciFunctionState & { readonly msix: MsixState | null };

interface PlacedCapability {
  readonly offset: number;
  readonly length: number;
  readonly capability: DescribedCapability;
}

export class DescribedFunction extends PciFunction {
  /** Undefined in a function without messages. */
  readonly msix: Msix | undefined;
  readonly slot: InterruptSlot;
  readonly #capabilities: PlacedCapability[] = [];
  readonly #onReset: (() => void) | undefined;

  /** `onReset` is called on a reset of the bus, before configuration space goes back to its reset values. */
  constructor(description: FunctionDescription, sink: MsiSink, onReset?: () => void) {
    super(description);
    this.#onReset = onReset;
    for (const { index, ...bar } of description.bars) this.addBar(index, { kind: 'mem32', ...bar });
    if (description.rom) this.addRom(description.rom.size, description.rom.device);
    for (const capability of description.capabilities) {
      const offset = this.addCapability(capability.id, capability.body, capability.writeMask);
      this.#capabilities.push({ offset, length: capability.body.length + 2, capability });
    }
    const msix = description.msix && new Msix({ fn: this, sink, ...description.msix });
    this.msix = msix;
    this.slot = {
      get msixEnabled() {
        return msix?.enabled ?? false;
      },
      notify: (vector) => {
        msix?.notify(vector);
      },
      setIntx: (asserted) => this.interrupt.set(asserted),
    };
  }

  override configWrite(offset: number, size: AccessSize, value: number): void {
    super.configWrite(offset, size, value);
    const placed = this.#covering(offset, size);
    placed?.capability.write?.(offset - placed.offset, size, value);
  }

  override reset(): void {
    this.#onReset?.();
    super.reset();
    this.msix?.reset();
  }

  override save(): DescribedFunctionState {
    return { ...super.save(), msix: this.msix?.save() ?? null };
  }

  override restore(state: DescribedFunctionState): void {
    super.restore(state);
    if (state.msix) this.msix?.restore(state.msix);
  }

  protected override configReading(offset: number, size: AccessSize): void {
    super.configReading(offset, size);
    const placed = this.#covering(offset, size);
    const value = placed?.capability.read?.(offset - placed.offset, size);
    if (value === undefined) return;
    for (let i = 0; i < size; i++) this.config.setUint8(offset + i, (value >>> (8 * i)) & 0xff);
  }

  #covering(offset: number, size: number): PlacedCapability | undefined {
    return this.#capabilities.find(
      (placed) => offset >= placed.offset && offset + size <= placed.offset + placed.length,
    );
  }
}
