/**
 * MSI-X: the capability, the table and the pending bits of one function.
 * Source: PCI Local Bus Specification 3.0, 6.8.2.
 *
 * Deviations:
 * - Messages to addresses above 4 GiB are dropped: no interrupt lives there.
 * - Byte and word accesses to the table, which the specification leaves
 *   undefined, read the part asked for; such writes are ignored.
 */
import type { AccessSize, BusDevice } from '../machine/bus.ts';
import type { MsiSink } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';
import type { PciFunction } from './pci-function.ts';

const CAPABILITY_ID = 0x11;
const ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;
const ENTRY_BYTES = 16;

export interface MsixOptions {
  /** The function it belongs to, not yet in its slot. */
  readonly fn: PciFunction;
  readonly sink: MsiSink;
  /** Number of table entries, 1-2048. */
  readonly vectors: number;
  /** The BAR with table and pending bits. */
  readonly bar: number;
  /** True when the device adds that BAR itself and places `table` and `pba` in it. */
  readonly sharedBar?: boolean;
  /** Offset of the table in the BAR, a multiple of 8; 0 by default. */
  readonly tableOffset?: number;
  /** Offset of the pending bits in the BAR, a multiple of 8; after the table by default. */
  readonly pbaOffset?: number;
}

export type MsixState = { readonly table: readonly number[]; readonly pending: readonly number[] };

export class Msix implements Stateful<MsixState> {
  readonly stateVersion = 1;
  /** The table alone, `vectors * 16` bytes. */
  readonly table: BusDevice;
  /** The pending bit array alone. */
  readonly pba: BusDevice;
  readonly tableBytes: number;
  readonly pbaBytes: number;
  readonly vectors: number;
  readonly #fn: PciFunction;
  readonly #sink: MsiSink;
  readonly #control: number;
  /** Four dwords an entry: address low and high, data, vector control. */
  readonly #entries: Uint32Array;
  readonly #pending: Uint32Array;

  constructor(options: MsixOptions) {
    const { fn, vectors } = options;
    if (!Number.isInteger(vectors) || vectors < 1 || vectors > 2048) {
      throw new RangeError(`${fn.name}: ${vectors} MSI-X vectors`);
    }
    this.#fn = fn;
    this.#sink = options.sink;
    this.vectors = vectors;
    this.tableBytes = vectors * ENTRY_BYTES;
    this.pbaBytes = Math.ceil(vectors / 64) * 8;
    this.#entries = new Uint32Array(vectors * 4);
    this.#pending = new Uint32Array(this.pbaBytes / 4);
    this.table = {
      read: (offset, size) => part(this.#entries, offset, size),
      write: (offset, size, value) => this.#writeTable(offset, size, value),
    };
    this.pba = { read: (offset, size) => part(this.#pending, offset, size), write() {} };
    const tableOffset = options.tableOffset ?? 0;
    const pbaOffset = options.pbaOffset ?? tableOffset + this.tableBytes;
    const body = new DataView(new ArrayBuffer(10));
    body.setUint16(0, vectors - 1, true);
    body.setUint32(2, tableOffset | options.bar, true);
    body.setUint32(6, pbaOffset | options.bar, true);
    const capability = fn.addCapability(CAPABILITY_ID, new Uint8Array(body.buffer), [0, 0xc0], (byGuest) =>
      this.#controlWritten(byGuest),
    );
    this.#control = capability + 2;
    if (!options.sharedBar) this.#addBar(options.bar, tableOffset, pbaOffset);
    this.#maskAll();
  }

  /** Message control bit 15. */
  get enabled(): boolean {
    return (this.#messageControl() & ENABLE) !== 0;
  }

  /**
   * Signals `vector`: sent at once, or noted as pending while it is masked.
   * False, with nothing done, when MSI-X is off or there is no such vector.
   */
  notify(vector: number): boolean {
    if (vector < 0 || vector >= this.vectors || !this.enabled) return false;
    if (this.#masked(vector)) this.#pending[vector >> 5] |= 1 << (vector & 31);
    else this.#send(vector);
    return true;
  }

  /** Takes back a pending message whose reason was dealt with (polled drivers). */
  clearPending(vector: number): void {
    if (vector >= 0 && vector < this.vectors) this.#pending[vector >> 5] &= ~(1 << (vector & 31));
  }

  /** To be called with the function's own reset. */
  reset(): void {
    this.#maskAll();
  }

  save(): MsixState {
    return { table: [...this.#entries], pending: [...this.#pending] };
  }

  /** After the function's own state was restored. */
  restore(state: MsixState): void {
    this.#entries.set(state.table.slice(0, this.#entries.length));
    this.#pending.set(state.pending.slice(0, this.#pending.length));
  }

  #addBar(bar: number, tableOffset: number, pbaOffset: number): void {
    const end = Math.max(tableOffset + this.tableBytes, pbaOffset + this.pbaBytes, 4096);
    const route = (offset: number): [BusDevice, number] | undefined => {
      if (offset >= tableOffset && offset < tableOffset + this.tableBytes) {
        return [this.table, offset - tableOffset];
      }
      if (offset >= pbaOffset && offset < pbaOffset + this.pbaBytes) return [this.pba, offset - pbaOffset];
      return undefined;
    };
    const device: BusDevice = {
      read(offset, size) {
        const target = route(offset);
        return target ? target[0].read(target[1], size) : 0;
      },
      write(offset, size, value) {
        const target = route(offset);
        target?.[0].write(target[1], size, value);
      },
    };
    this.#fn.addBar(bar, { kind: 'mem32', size: 2 ** Math.ceil(Math.log2(end)), device });
  }

  #maskAll(): void {
    this.#entries.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) this.#entries[vector * 4 + 3] = 1;
    this.#pending.fill(0);
  }

  #messageControl(): number {
    return this.#fn.config.getUint16(this.#control, true);
  }

  #masked(vector: number): boolean {
    return (this.#messageControl() & FUNCTION_MASK) !== 0 || (this.#entries[vector * 4 + 3] & 1) !== 0;
  }

  #send(vector: number): void {
    const at = vector * 4;
    if (this.#entries[at + 1] === 0) this.#sink.send(this.#entries[at], this.#entries[at + 2]);
  }

  #controlWritten(byGuest: boolean): void {
    this.#fn.useMessages(this.enabled);
    if (!byGuest || !this.enabled || this.#messageControl() & FUNCTION_MASK) return;
    for (let word = 0; word < this.#pending.length; word++) {
      if (this.#pending[word] === 0) continue;
      for (let bit = 0; bit < 32; bit++) this.#flush(word * 32 + bit);
    }
  }

  /** Sends what is pending for a vector that is no longer masked. */
  #flush(vector: number): void {
    const bit = 1 << (vector & 31);
    if (!(this.#pending[vector >> 5] & bit) || !this.enabled || this.#masked(vector)) return;
    this.#pending[vector >> 5] &= ~bit;
    this.#send(vector);
  }

  #writeTable(offset: number, size: AccessSize, value: number): void {
    const word = offset >> 2;
    if (size !== 4 || offset & 3 || word >= this.#entries.length) return;
    switch (word & 3) {
      case 0:
        this.#entries[word] = value & ~3;
        break;
      case 3:
        this.#entries[word] = value & 1;
        this.#flush(word >> 2);
        break;
      default:
        this.#entries[word] = value;
    }
  }
}

/** Reads `size` bytes at `offset` of an array of dwords; what crosses a dword reads as zero beyond it. */
function part(words: Uint32Array, offset: number, size: AccessSize): number {
  const value = (words[offset >> 2] ?? 0) >>> (8 * (offset & 3));
  return size === 4 ? value : value & (size === 2 ? 0xffff : 0xff);
}
