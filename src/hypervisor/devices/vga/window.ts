import type { AccessSize, BusDevice } from '../../machine/bus.ts';
import type { VideoMemory } from './pixels.ts';
import type { VgaRegisters } from './registers.ts';

/** Guest-physical addresses of the window through which the processor sees the planes. */
export const VGA_WINDOW = { base: 0xa0000, length: 0x20000 } as const;

/** The part of the window that answers, by graphics register 6 bits 2 and 3: first offset and length. */
const MAPS: readonly (readonly [number, number])[] = [
  [0x00000, 0x20000],
  [0x00000, 0x10000],
  [0x10000, 0x08000],
  [0x18000, 0x08000],
];
const LINEAR_LENGTH = 0x10000;
/** Addresses of a plane of the VGA's own 256 KiB. */
const PLANE_MASK = 0xffff;
/** Each plane's bit of a 4-bit register as a whole byte: plane 0 the lowest. */
const PLANES = Uint32Array.from({ length: 16 }, (_, bits) => {
  let word = 0;
  for (let plane = 0; plane < 4; plane++) if (bits & (1 << plane)) word |= 0xff << (8 * plane);
  return word;
});

const EVEN_PLANES = 0x00ff00ff;
/** How an address of the window finds its plane. */
const CHAIN = { none: 0, oddEven: 1, four: 2, linear: 3 } as const;
const SEQUENCER_SEQUENTIAL = 0x04;
const SEQUENCER_CHAIN4 = 0x08;
const GRAPHICS_ODD_EVEN_READ = 0x10;
const GRAPHICS_READ_MODE = 0x08;

/**
 * The window at A0000h. Video memory has the four planes' bytes of an address
 * side by side, plane 0 first, so the planar logic works on all four at once,
 * as one 32-bit word. Sources: IBM VGA Technical Reference, "Graphics
 * Controller" and "Sequencer"; FreeVGA, "Accessing the Display Memory".
 *
 * In a VBE mode of 8 bits a pixel and more the first 64 KiB are the chosen bank
 * of plain memory.
 *
 * This is the way of every character of a text console and every pixel of a
 * planar mode, hence what the registers say is worked out once, when they change.
 */
export class MemoryWindow implements BusDevice {
  readonly #registers: VgaRegisters;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #pages: Uint8Array;
  /** What the last read left, one byte a plane. */
  #latches = 0;

  #first = 0;
  #length = 0;
  #chain: number = CHAIN.none;
  /** In addresses of a plane, or bytes of linear memory. */
  #bank = 0;
  #addressMask = PLANE_MASK;
  /** Words: which planes may be written, the bits that may, and set/reset with its enable bits. */
  #planes = 0;
  #bits = 0;
  #reset = 0;
  #resetEnable = 0;
  #rotate = 0;
  #operation = 0;
  #writeMode = 0;
  /** Bytes go to their planes as they are. */
  #plain = false;
  /** Four bytes from a multiple of 4 on are a word of the planes. */
  #whole = false;
  #oddEvenRead = false;
  #readMode = 0;
  #readPlane = 0;
  #compare = 0;
  #care = 0;

  /** The size of `memory` is a power of two. */
  constructor(registers: VgaRegisters, memory: VideoMemory) {
    this.#registers = registers;
    this.#bytes = memory.bytes;
    this.#words = memory.words;
    this.#pages = memory.pages;
    this.configure();
  }

  /** Takes over what the registers say now. */
  configure(): void {
    const sequencer = this.#registers.sequencer.values;
    const graphics = this.#registers.graphics.values;
    const { dispi } = this.#registers;
    const depth = dispi.picture?.depth ?? 0;
    this.#bank = dispi.bank;
    if (depth > 4) {
      this.#first = 0;
      this.#length = LINEAR_LENGTH;
      this.#chain = CHAIN.linear;
      this.#whole = true;
      return;
    }
    const [first, length] = MAPS[(graphics[6] >> 2) & 3];
    this.#first = first;
    this.#length = length;
    this.#addressMask = depth === 4 ? this.#words.length - 1 : PLANE_MASK;
    this.#chain =
      sequencer[4] & SEQUENCER_CHAIN4
        ? CHAIN.four
        : sequencer[4] & SEQUENCER_SEQUENTIAL
          ? CHAIN.none
          : CHAIN.oddEven;
    this.#planes = PLANES[sequencer[2]];
    this.#bits = graphics[8] * 0x01010101;
    this.#reset = PLANES[graphics[0]];
    this.#resetEnable = PLANES[graphics[1]];
    this.#rotate = graphics[3] & 7;
    this.#operation = graphics[3] >> 3;
    this.#writeMode = graphics[5] & 3;
    this.#plain = this.#writeMode === 0 && graphics[1] === 0 && graphics[3] === 0 && graphics[8] === 0xff;
    this.#whole = this.#plain && this.#chain === CHAIN.four && sequencer[2] === 15;
    this.#oddEvenRead = (graphics[5] & GRAPHICS_ODD_EVEN_READ) !== 0;
    this.#readMode = graphics[5] & GRAPHICS_READ_MODE;
    this.#readPlane = graphics[4];
    this.#compare = PLANES[graphics[2]];
    this.#care = PLANES[graphics[7]];
  }

  read(offset: number, size: AccessSize): number {
    const at = offset - this.#first;
    let value = 0;
    for (let i = 0; i < size; i++) {
      const address = at + i;
      const byte = address >= 0 && address < this.#length ? this.#readByte(address) : 0xff;
      value |= byte << (8 * i);
    }
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    const at = offset - this.#first;
    if (this.#whole && size === 4 && (at & 3) === 0 && at >= 0 && at < this.#length) {
      this.#writeWord(this.#chain === CHAIN.linear ? (this.#bank + at) >>> 2 : this.#word(at), value);
      return;
    }
    for (let i = 0; i < size; i++) {
      const address = at + i;
      if (address >= 0 && address < this.#length) this.#writeByte(address, (value >>> (8 * i)) & 0xff);
    }
  }

  #writeWord(at: number, value: number): void {
    this.#words[at] = value;
    this.#pages[at >>> 10] = 1;
  }

  #readByte(address: number): number {
    if (this.#chain === CHAIN.linear) return this.#bytes[this.#bank + address] ?? 0xff;
    const latches = this.#words[this.#word(address)];
    this.#latches = latches;
    if (this.#readMode === 0) {
      const plane =
        this.#chain === CHAIN.four
          ? address & 3
          : this.#oddEvenRead
            ? (this.#readPlane & 2) | (address & 1)
            : this.#readPlane;
      return (latches >>> (8 * plane)) & 0xff;
    }
    // One bit a pixel: all planes that matter have the bit of the colour.
    const different = (latches ^ this.#compare) & this.#care;
    return ~(different | (different >>> 8) | (different >>> 16) | (different >>> 24)) & 0xff;
  }

  #writeByte(address: number, byte: number): void {
    if (this.#chain === CHAIN.linear) {
      const at = this.#bank + address;
      // A bank lies inside video memory.
      this.#bytes[at] = byte;
      this.#pages[at >>> 12] = 1;
      return;
    }
    const at = this.#word(address);
    let planes = this.#planes;
    if (this.#chain === CHAIN.oddEven) planes &= address & 1 ? ~EVEN_PLANES : EVEN_PLANES;
    else if (this.#chain === CHAIN.four) planes &= 0xff << (8 * (address & 3));
    const value = this.#plain ? Math.imul(byte, 0x01010101) : this.#combine(byte);
    this.#writeWord(at, (this.#words[at] & ~planes) | (value & planes));
  }

  /** The word that the graphics controller makes of a byte and the latches. */
  #combine(byte: number): number {
    const latches = this.#latches;
    let bits = this.#bits;
    let value: number;
    switch (this.#writeMode) {
      case 0:
        value = Math.imul(this.#rotated(byte), 0x01010101);
        value = (value & ~this.#resetEnable) | (this.#reset & this.#resetEnable);
        break;
      case 1:
        return latches;
      case 2:
        value = PLANES[byte & 15];
        break;
      default:
        bits &= Math.imul(this.#rotated(byte), 0x01010101);
        value = this.#reset;
    }
    if (this.#operation === 1) value &= latches;
    else if (this.#operation === 2) value |= latches;
    else if (this.#operation === 3) value ^= latches;
    return (value & bits) | (latches & ~bits);
  }

  #rotated(byte: number): number {
    return ((byte >>> this.#rotate) | (byte << (8 - this.#rotate))) & 0xff;
  }

  /** The address in the planes of an address of the window. */
  #word(address: number): number {
    switch (this.#chain) {
      case CHAIN.none:
        return (this.#bank + address) & this.#addressMask;
      case CHAIN.oddEven:
        // Where the window is 128 KiB, its upper half fills the odd addresses.
        return (this.#bank + ((address & ~1) | (address >>> 16))) & this.#addressMask;
      default:
        return (this.#bank + (address & ~3)) & this.#addressMask;
    }
  }

  /** What the last read took from the four planes, plane 0 in the lowest byte. */
  get latches(): number {
    return this.#latches >>> 0;
  }

  set latches(latches: number) {
    this.#latches = latches | 0;
  }
}
