import type { AccessSize, Bus, BusDevice } from '../machine/bus.ts';
import type { IrqLine } from '../machine/irq.ts';
import type { GuestMemory } from '../machine/memory.ts';
import type { Stateful } from '../machine/state.ts';

/** Bytes of scratch memory-mapped I/O. */
const MMIO_LENGTH = 0x10000;
const IRQ_LINES = 24;
const PAGE = 4096;

export interface TestDeviceOptions {
  readonly pio: Bus;
  readonly mmio: Bus;
  readonly memory: GuestMemory;
  /** The 24 interrupt inputs of the machine (ISA numbering below 16). */
  readonly lines: readonly IrqLine[];
}

export type TestDeviceState = {
  readonly data: number;
  readonly scratch: Uint8Array;
  readonly asserted: readonly boolean[];
};

/**
 * The device that hypervisor test kernels expect under QEMU's name
 * `pc-testdev`. Its address ranges are those `info mtree` shows there:
 *
 * - ports 0xE0–0xE3: four bytes that keep what is written, any width;
 * - port 0xE4: a 32-bit guest-physical address, whose page is flushed from
 *   whatever the hypervisor cached of it;
 * - ports 0xE8–0xEB: the same four bytes, as one byte at a time;
 * - ports 0x2000–0x2017: a byte each, drives interrupt line n (0 lowers);
 * - memory 0xFF000000, 64 KiB: keeps what is written, any width.
 */
export class TestDevice implements Stateful<TestDeviceState> {
  readonly stateVersion = 1;
  readonly #data = new Uint8Array(4);
  readonly #scratch = new Uint8Array(MMIO_LENGTH);
  readonly #lines: readonly IrqLine[];
  readonly #asserted: boolean[] = new Array<boolean>(IRQ_LINES).fill(false);

  constructor(options: TestDeviceOptions) {
    this.#lines = options.lines;
    const { pio, mmio, memory } = options;
    pio.claim('test-device data', 0xe0, 4, bytes(this.#data));
    pio.claim('test-device flush', 0xe4, 4, {
      read: (_offset, size) => ones(size),
      write: (_offset, size, value) => {
        if (size === 4) memory.written(Math.floor(value / PAGE) * PAGE, PAGE);
      },
    });
    pio.claim('test-device bytes', 0xe8, 4, bytes(this.#data));
    pio.claim('test-device irq', 0x2000, IRQ_LINES, {
      read: (_offset, size) => ones(size),
      write: (offset, size, value) => {
        if (size === 1) this.#drive(offset, value !== 0);
      },
    });
    mmio.claim('test-device memory', 0xff000000, MMIO_LENGTH, bytes(this.#scratch));
  }

  save(): TestDeviceState {
    return { data: this.#word(), scratch: this.#scratch.slice(), asserted: this.#asserted.slice() };
  }

  restore(state: TestDeviceState): void {
    new DataView(this.#data.buffer).setUint32(0, state.data, true);
    this.#scratch.set(state.scratch.subarray(0, MMIO_LENGTH));
    for (let i = 0; i < IRQ_LINES; i++) this.#drive(i, state.asserted[i] ?? false);
  }

  #word(): number {
    return new DataView(this.#data.buffer).getUint32(0, true);
  }

  #drive(line: number, asserted: boolean): void {
    if (line >= IRQ_LINES) return;
    this.#asserted[line] = asserted;
    this.#lines[line]?.set(asserted);
  }
}

/** Plain storage on a bus; what lies past its end reads as ones. */
function bytes(store: Uint8Array): BusDevice {
  return {
    read(offset, size) {
      let value = 0;
      for (let i = 0; i < size; i++) value += (store[offset + i] ?? 0xff) * 2 ** (8 * i);
      return value;
    },
    write(offset, size, value) {
      for (let i = 0; i < size && offset + i < store.length; i++)
        store[offset + i] = (value >>> (8 * i)) & 0xff;
    },
  };
}

function ones(size: AccessSize): number {
  return 2 ** (8 * size) - 1;
}
