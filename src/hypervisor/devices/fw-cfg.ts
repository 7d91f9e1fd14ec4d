import type { AccessSize, Bus } from '../machine/bus.ts';
import type { GuestMemory } from '../machine/memory.ts';
import type { Stateful } from '../machine/state.ts';

/** Ports of the device on a PC: selector and data, then the address of a DMA request. */
export const FW_CFG_BASE = 0x510;
const REGISTERS = 2;
const DMA_BASE = 0x514;
const DMA_LENGTH = 8;

/** Keys of the items that have a number of their own; files come after them. */
const KEY = {
  signature: 0x00,
  id: 0x01,
  uuid: 0x02,
  ramSize: 0x03,
  noGraphic: 0x04,
  vcpus: 0x05,
  bootMenu: 0x0e,
  maxVcpus: 0x0f,
  directory: 0x19,
  firstFile: 0x20,
  /** Of the architecture: the 8254 is at I/O APIC input 2. */
  irq0Override: 0x8002,
} as const;
/** The bit of a selector that does not name an item: write access. */
const KEY_WRITE = 0x4000;
/** What the id item tells: the port interface and the DMA interface. */
const FEATURES = 0b11;
/** What the DMA register reads as. */
const DMA_SIGNATURE = new TextEncoder().encode('QEMU CFG');
const DMA_REQUEST_LENGTH = 16;
const DMA_ERROR = 0x01;
const DMA_READ = 0x02;
const DMA_SKIP = 0x04;
const DMA_SELECT = 0x08;
const DMA_WRITE = 0x10;
const FILE_ENTRY_LENGTH = 64;
/** Longest name of a file, without its terminating zero. */
const FILE_NAME_LIMIT = 55;
/** Bytes that one DMA request moves at a time. */
const DMA_PIECE = 65536;

export interface FwCfgFile {
  /** At most 55 characters of ASCII, as `etc/e820`. */
  readonly name: string;
  readonly data: Uint8Array;
}

export interface FwCfgOptions {
  readonly memory: GuestMemory;
  readonly vcpus: number;
  /** Most vCPUs that could be plugged in; as many as there are by default. */
  readonly maxVcpus?: number;
  /** Whether firmware offers its boot menu; false by default. */
  readonly bootMenu?: boolean;
  /** Whether the screen is what the user looks at; false by default, and then firmware uses the serial line too. */
  readonly graphic?: boolean;
  /** 16 bytes; zeroes by default, which is what a machine without one shows. */
  readonly uuid?: Uint8Array;
  /** Named items, in the order of the directory. */
  readonly files?: readonly FwCfgFile[];
}

export type FwCfgState = {
  readonly selector: number;
  readonly offset: number;
  /** Upper half of a DMA address whose lower half is still to come. */
  readonly dmaHigh: number;
};

/**
 * QEMU's firmware configuration device, by which firmware and test kernels
 * learn what the machine is made of (QEMU, docs/specs/fw_cfg.rst):
 *
 * - a 16-bit write to port 0x510 selects an item and goes back to its start;
 * - each byte read from port 0x511 is the item's next one; past its end, and
 *   of an item that there is not, reads are zero. Items are read-only here;
 * - the DMA interface takes the big-endian address of a request at port 0x514,
 *   and runs it when the lower half is written.
 *
 * Numbers in items are little-endian, those of the directory and of DMA
 * requests big-endian.
 */
export class FwCfg implements Stateful<FwCfgState> {
  readonly stateVersion = 1;
  readonly #memory: GuestMemory;
  readonly #items = new Map<number, Uint8Array>();
  #selector: number = KEY.signature;
  #offset = 0;
  #dmaHigh = 0;

  /** Throws RangeError for a file whose name does not fit the directory. */
  constructor(options: FwCfgOptions) {
    this.#memory = options.memory;
    const { vcpus, maxVcpus = vcpus, uuid = new Uint8Array(16), files = [] } = options;
    const items = this.#items;
    items.set(KEY.signature, new TextEncoder().encode('QEMU'));
    items.set(KEY.id, littleEndian(4, FEATURES));
    items.set(KEY.uuid, uuid);
    items.set(KEY.ramSize, littleEndian(8, options.memory.size));
    items.set(KEY.noGraphic, littleEndian(2, options.graphic ? 0 : 1));
    items.set(KEY.vcpus, littleEndian(2, vcpus));
    items.set(KEY.maxVcpus, littleEndian(2, maxVcpus));
    items.set(KEY.bootMenu, littleEndian(2, options.bootMenu ? 1 : 0));
    items.set(KEY.irq0Override, littleEndian(1, 1));
    items.set(KEY.directory, directory(files));
    files.forEach((file, i) => items.set(KEY.firstFile + i, file.data));
  }

  attach(pio: Bus): void {
    pio.claim('fw-cfg', FW_CFG_BASE, REGISTERS, {
      read: (_offset, size) => (size === 1 ? this.#next() : 0),
      write: (offset, size, value) => {
        if (offset === 0 && size === 2) this.#select(value);
      },
    });
    pio.claim('fw-cfg dma', DMA_BASE, DMA_LENGTH, {
      read: signatureBytes,
      write: (offset, size, value) => {
        if (size === 4) this.#writeDma(offset, byteSwap(value));
      },
    });
  }

  save(): FwCfgState {
    return { selector: this.#selector, offset: this.#offset, dmaHigh: this.#dmaHigh };
  }

  restore(state: FwCfgState): void {
    this.#selector = state.selector;
    this.#offset = state.offset;
    this.#dmaHigh = state.dmaHigh;
  }

  #item(): Uint8Array | undefined {
    return this.#items.get(this.#selector & ~KEY_WRITE);
  }

  #select(key: number): void {
    this.#selector = key;
    this.#offset = 0;
  }

  #next(): number {
    const byte = this.#item()?.[this.#offset];
    if (byte === undefined) return 0;
    this.#offset += 1;
    return byte;
  }

  #writeDma(offset: number, value: number): void {
    if (offset === 0) {
      this.#dmaHigh = value;
    } else if (offset === 4) {
      // Beyond 2^53 there is no RAM either, so a rounded address answers alike.
      const at = this.#dmaHigh * 2 ** 32 + value;
      this.#dmaHigh = 0;
      this.#runDma(at);
    }
  }

  /** A request: control, length, address; control is overwritten by the outcome, zero when all went well. */
  #runDma(at: number): void {
    const block = new Uint8Array(DMA_REQUEST_LENGTH);
    const known = this.#memory.readBytes(at, block);
    const request = new DataView(block.buffer);
    const control = request.getUint32(0);
    if ((control & DMA_SELECT) !== 0) this.#select(control >>> 16);
    const length = request.getUint32(4);
    const target = Number(request.getBigUint64(8));
    let done = known;
    if (known && (control & DMA_READ) !== 0) done = this.#copy(target, length);
    else if (known && (control & DMA_WRITE) !== 0) done = false;
    else if (known && (control & DMA_SKIP) !== 0) this.#skip(length);
    const outcome = new Uint8Array(4);
    if (!done) outcome[3] = DMA_ERROR;
    this.#put(at, outcome);
  }

  /** What the item does not have is zeroes. False when memory ends before the copy does. */
  #copy(target: number, length: number): boolean {
    if (this.#memory.view(target, length) === undefined) return false;
    for (let done = 0; done < length; done += DMA_PIECE) {
      const piece = new Uint8Array(Math.min(DMA_PIECE, length - done));
      const source = this.#item()?.subarray(this.#offset, this.#offset + piece.length);
      if (source) {
        piece.set(source);
        this.#offset += source.length;
      }
      this.#put(target + done, piece);
    }
    return true;
  }

  #skip(length: number): void {
    this.#offset = Math.min(this.#offset + length, this.#item()?.length ?? 0);
  }

  #put(gpa: number, bytes: Uint8Array): void {
    if (this.#memory.writeBytes(gpa, bytes)) this.#memory.written(gpa, bytes.length);
  }
}

/** The number of files; of each its size, key and name. */
function directory(files: readonly FwCfgFile[]): Uint8Array {
  const bytes = new Uint8Array(4 + FILE_ENTRY_LENGTH * files.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, files.length);
  files.forEach((file, i) => {
    const name = new TextEncoder().encode(file.name);
    if (name.length > FILE_NAME_LIMIT) throw new RangeError(`the name ${file.name} is too long for fw_cfg`);
    const at = 4 + FILE_ENTRY_LENGTH * i;
    view.setUint32(at, file.data.length);
    view.setUint16(at + 4, KEY.firstFile + i);
    bytes.set(name, at + 8);
  });
  return bytes;
}

function littleEndian(length: number, value: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);
}

function byteSwap(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value);
  return view.getUint32(0, true);
}

function signatureBytes(offset: number, size: AccessSize): number {
  let value = 0;
  for (let i = 0; i < size; i++) value += (DMA_SIGNATURE[offset + i] ?? 0) * 2 ** (8 * i);
  return value;
}
