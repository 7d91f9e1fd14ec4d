import type { AccessSize, BusDevice } from '../machine/bus.ts';

/** What the wiring gives a PCI function of ours: the way to its interrupts. */
export interface PciSlot {
  /** Whether the guest has turned MSI-X on in this function. */
  readonly msixEnabled: boolean;
  /** Sends the message of an MSI-X table entry (or marks it pending while masked). */
  notify(vector: number): void;
  /** Drives the function's INTx pin. */
  setIntx(asserted: boolean): void;
}

/** A capability of configuration space. Offsets count from its first byte (the id). */
export interface PciCapability {
  readonly id: number;
  /** What follows the id and the next pointer. */
  readonly body: Uint8Array;
  /** Which bits of `body` a guest may write. */
  readonly writeMask?: Uint8Array;
  /** Before bytes are read: their present value, or undefined where `body` has it. */
  read?(offset: number, size: AccessSize): number | undefined;
  /** After bytes were written. */
  write?(offset: number, size: AccessSize, value: number): void;
}

/** A base address register: memory space, below 4 GiB. */
export interface PciBar {
  readonly index: number;
  /** In bytes, a power of two ≥ 16. */
  readonly size: number;
  readonly prefetchable?: boolean;
  readonly device: BusDevice;
  /** Told where the range answers now, on each change; undefined: nowhere. */
  readonly onMove?: (base: number | undefined) => void;
}

/** Everything the machine needs to make a PCI function of a device. */
export interface PciDescriptor {
  readonly name: string;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  /** Class, subclass and programming interface: 24 bits. */
  readonly classCode: number;
  readonly subsystemVendorId: number;
  readonly subsystemId: number;
  /** 1 is INTA; without one it has no interrupt. */
  readonly interruptPin?: number;
  readonly bars: readonly PciBar[];
  /** The expansion ROM, in memory space; `size` in bytes, a power of two ≥ 2048. */
  readonly rom?: { readonly size: number; readonly device: BusDevice };
  readonly capabilities: readonly PciCapability[];
  /** Entries of the MSI-X table, and the memory BAR that is left to it; without it the function has no messages. */
  readonly msix?: { readonly vectors: number; readonly bar: number };
}
