/** The largest picture of a VBE mode, in pixels. */
export const VBE_MOST = { width: 2560, height: 1600 } as const;

/** Registers of the interface, by index. */
export const DISPI = {
  id: 0,
  width: 1,
  height: 2,
  depth: 3,
  enable: 4,
  bank: 5,
  virtualWidth: 6,
  virtualHeight: 7,
  xOffset: 8,
  yOffset: 9,
  memory64K: 10,
} as const;

/** Bits of the enable register. */
export const DISPI_ENABLE = {
  enabled: 0x01,
  /** Width, height and depth read as the largest there are. */
  capabilities: 0x02,
  wideDac: 0x20,
  linear: 0x40,
  keepMemory: 0x80,
} as const;
const ENABLE_BITS = 0xe3;

const FIRST_ID = 0xb0c0;
const LAST_ID = 0xb0c5;
const DEPTHS: readonly number[] = [4, 8, 15, 16, 24, 32];
const MOST_DEPTH = 32;
/** In pixels; bounds the length of a row. */
const MOST_VIRTUAL_WIDTH = 16384;
const BANK_BYTES = 65536;

/** Where the picture of a VBE mode lies in video memory. */
export interface DispiPicture {
  readonly width: number;
  readonly height: number;
  /** Bits a pixel: 4 in four planes, else 8, 15, 16, 24 or 32. */
  readonly depth: number;
  /** In bytes, of each plane with 4 bits a pixel; all of the picture is inside video memory. */
  readonly offset: number;
  readonly stride: number;
}

export type DispiState = { readonly index: number; readonly values: readonly number[] };

/**
 * The VBE extensions of Bochs ("DISPI"): a picture of its own size and depth
 * beside the VGA's modes. Sources: Bochs, "VBE display interface" (vbe_display_api.txt);
 * QEMU, docs/specs/standard-vga.rst.
 *
 * Values that make no picture are brought into range when the mode is on: the
 * width is rounded down to 8 pixels, an unknown depth is 8, and an offset past
 * the end of memory is 0.
 */
export class Dispi {
  index = 0;
  readonly #values = new Uint16Array(DISPI.yOffset + 1);
  readonly #memory: number;
  #picture: DispiPicture | undefined;

  /** `memory`: bytes of video memory, a multiple of 64 KiB, at least what the largest picture takes at 32 bits. */
  constructor(memory: number) {
    this.#memory = memory;
    this.reset();
  }

  /** Undefined while the VGA's own registers say what is seen. */
  get picture(): DispiPicture | undefined {
    return this.#picture;
  }

  /** The DAC has 8 bits a component. */
  get wideDac(): boolean {
    return (this.#values[DISPI.enable] & DISPI_ENABLE.wideDac) !== 0;
  }

  /** The part of video memory in the window at A0000h, in bytes (of each plane with 4 bits a pixel). */
  get bank(): number {
    return this.#picture ? this.#values[DISPI.bank] * BANK_BYTES : 0;
  }

  read(index: number): number {
    if (index === DISPI.memory64K) return this.#memory / BANK_BYTES;
    if (this.#values[DISPI.enable] & DISPI_ENABLE.capabilities) {
      if (index === DISPI.width) return VBE_MOST.width;
      if (index === DISPI.height) return VBE_MOST.height;
      if (index === DISPI.depth) return MOST_DEPTH;
    }
    return this.#values[index] ?? 0;
  }

  /** Bytes from the start of video memory that are to be zeroed: the guest turned a mode on with a clear screen. */
  write(index: number, value: number): number {
    switch (index) {
      case DISPI.id:
        if (value >= FIRST_ID && value <= LAST_ID) this.#values[DISPI.id] = value;
        return 0;
      case DISPI.enable:
        return this.#writeEnable(value & ENABLE_BITS);
      case DISPI.bank:
        this.#values[DISPI.bank] = this.#inBanks(value);
        return 0;
      case DISPI.width:
      case DISPI.height:
      case DISPI.depth:
      case DISPI.virtualWidth:
      case DISPI.xOffset:
      case DISPI.yOffset:
        this.#values[index] = value;
        this.#settle();
        return 0;
      default:
        return 0;
    }
  }

  #writeEnable(value: number): number {
    const before = this.#picture;
    this.#values[DISPI.enable] = value;
    if (!before) {
      this.#values[DISPI.virtualWidth] = 0;
      this.#values[DISPI.xOffset] = 0;
      this.#values[DISPI.yOffset] = 0;
    }
    this.#settle();
    const picture = this.#picture;
    if (!before || !picture) this.#values[DISPI.bank] = 0;
    if (before || !picture || value & DISPI_ENABLE.keepMemory) return 0;
    return picture.stride * picture.height * (picture.depth === 4 ? 4 : 1);
  }

  #inBanks(value: number): number {
    const banks = this.#memory / BANK_BYTES / (this.#values[DISPI.depth] === 4 ? 4 : 1);
    return value % banks;
  }

  /** Brings what was written into range and finds the picture. */
  #settle(): void {
    const values = this.#values;
    if (!(values[DISPI.enable] & DISPI_ENABLE.enabled)) {
      this.#picture = undefined;
      return;
    }
    if (!DEPTHS.includes(values[DISPI.depth])) values[DISPI.depth] = 8;
    const depth = values[DISPI.depth];
    const width = Math.min(Math.max(values[DISPI.width] & ~7, 8), VBE_MOST.width);
    const virtualWidth = Math.min(Math.max(values[DISPI.virtualWidth] & ~7, width), MOST_VIRTUAL_WIDTH);
    const bits = depth === 15 ? 16 : depth === 4 ? 1 : depth;
    const room = depth === 4 ? this.#memory / 4 : this.#memory;
    const stride = (virtualWidth * bits) / 8;
    const rows = Math.floor(room / stride);
    const height = Math.min(Math.max(values[DISPI.height], 1), VBE_MOST.height, rows);
    const fits = (x: number, y: number): boolean =>
      (x * bits) / 8 + (y + height - 1) * stride + (width * bits) / 8 <= room;
    if (!fits(values[DISPI.xOffset], values[DISPI.yOffset])) values[DISPI.yOffset] = 0;
    if (!fits(values[DISPI.xOffset], values[DISPI.yOffset])) values[DISPI.xOffset] = 0;
    values[DISPI.width] = width;
    values[DISPI.height] = height;
    values[DISPI.virtualWidth] = virtualWidth;
    values[DISPI.virtualHeight] = Math.min(rows, 0xffff);
    values[DISPI.bank] = this.#inBanks(values[DISPI.bank]);
    const offset = Math.floor((values[DISPI.xOffset] * bits) / 8) + values[DISPI.yOffset] * stride;
    this.#picture = { width, height, depth, offset, stride };
  }

  reset(): void {
    this.index = 0;
    this.#values.fill(0);
    this.#values[DISPI.id] = LAST_ID;
    this.#picture = undefined;
  }

  save(): DispiState {
    return { index: this.index, values: [...this.#values] };
  }

  restore(state: DispiState): void {
    this.reset();
    this.index = state.index & 0xffff;
    this.#values.set(state.values.slice(0, this.#values.length));
    this.#values[DISPI.enable] &= ENABLE_BITS;
    this.#settle();
  }
}
