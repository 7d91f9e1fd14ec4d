/** What a guest does to a video adapter, as a list: for our device and for a kernel that QEMU runs. */
export type Operation =
  | { readonly kind: 'out8' | 'out16'; readonly port: number; readonly value: number }
  | { readonly kind: 'in8'; readonly port: number }
  /** Bytes written one by one to guest-physical memory. */
  | { readonly kind: 'store'; readonly address: number; readonly bytes: Uint8Array }
  | { readonly kind: 'load8'; readonly address: number }
  /** Bytes written to the linear framebuffer. */
  | { readonly kind: 'frame'; readonly offset: number; readonly bytes: Uint8Array };

/** Values of a mode's registers, each file from its first register on, as the tables of the IBM manual give them. */
export interface ModeTable {
  readonly misc: number;
  readonly sequencer: readonly number[];
  readonly crtc: readonly number[];
  readonly graphics: readonly number[];
  readonly attribute: readonly number[];
}

const hex = (text: string): number[] => text.split(' ').map((byte) => Number.parseInt(byte, 16));

function table(
  misc: string,
  sequencer: string,
  crtc: string,
  graphics: string,
  attribute: string,
): ModeTable {
  return {
    misc: Number.parseInt(misc, 16),
    sequencer: hex(sequencer),
    crtc: hex(crtc),
    graphics: hex(graphics),
    attribute: hex(attribute),
  };
}

const EGA_PALETTE = '00 01 02 03 04 05 14 07 38 39 3a 3b 3c 3d 3e 3f';

/** The BIOS's modes by number (IBM PS/2 Hardware Interface Technical Reference, "BIOS mode registers"). */
export const MODES = {
  text40: table(
    '67',
    '03 08 03 00 02',
    '2d 27 28 90 2b a0 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 14 1f 96 b9 a3 ff',
    '00 00 00 00 00 10 0e 00 ff',
    `${EGA_PALETTE} 0c 00 0f 08 00`,
  ),
  text80: table(
    '67',
    '03 00 03 00 02',
    '5f 4f 50 82 55 81 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 28 1f 96 b9 a3 ff',
    '00 00 00 00 00 10 0e 00 ff',
    `${EGA_PALETTE} 0c 00 0f 08 00`,
  ),
  mode4: table(
    '63',
    '03 09 03 00 02',
    '2d 27 28 90 2b 80 bf 1f 00 c1 00 00 00 00 00 00 9c 8e 8f 14 00 96 b9 a2 ff',
    '00 00 00 00 00 30 0f 00 ff',
    '00 13 15 17 02 04 06 07 10 11 12 13 14 15 16 17 01 00 03 00 00',
  ),
  mode6: table(
    '63',
    '03 01 01 00 06',
    '5f 4f 50 82 54 80 bf 1f 00 c1 00 00 00 00 00 00 9c 8e 8f 28 00 96 b9 c2 ff',
    '00 00 00 00 00 00 0d 00 ff',
    '00 17 17 17 17 17 17 17 17 17 17 17 17 17 17 17 01 00 01 00 00',
  ),
  mode0D: table(
    '63',
    '03 09 0f 00 06',
    '2d 27 28 90 2b 80 bf 1f 00 c0 00 00 00 00 00 00 9c 8e 8f 14 00 96 b9 e3 ff',
    '00 00 00 00 00 00 05 0f ff',
    '00 01 02 03 04 05 06 07 10 11 12 13 14 15 16 17 01 00 0f 00 00',
  ),
  mode12: table(
    'e3',
    '03 01 0f 00 06',
    '5f 4f 50 82 54 80 0b 3e 00 40 00 00 00 00 00 00 ea 8c df 28 00 e7 04 e3 ff',
    '00 00 00 00 00 00 05 0f ff',
    `${EGA_PALETTE} 01 00 0f 00 00`,
  ),
  mode13: table(
    '63',
    '03 01 0f 00 0e',
    '5f 4f 50 82 54 80 bf 1f 00 41 00 00 00 00 00 00 9c 8e 8f 28 40 96 b9 a3 ff',
    '00 00 00 00 00 40 05 0f ff',
    '00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 41 00 0f 00 00',
  ),
  /** 320 by 240, unchained: four pixels an address, square pixels. */
  modeX: table(
    'e3',
    '03 01 0f 00 06',
    '5f 4f 50 82 54 80 0d 3e 00 41 00 00 00 00 00 00 ea ac df 28 00 e7 06 e3 ff',
    '00 00 00 00 00 40 05 0f ff',
    '00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 41 00 0f 00 00',
  ),
} as const;

/** Collects operations; the methods are named for what a driver does. */
export class Program {
  readonly operations: Operation[] = [];

  out8(port: number, value: number): this {
    this.operations.push({ kind: 'out8', port, value });
    return this;
  }

  out16(port: number, value: number): this {
    this.operations.push({ kind: 'out16', port, value });
    return this;
  }

  in8(port: number): this {
    this.operations.push({ kind: 'in8', port });
    return this;
  }

  store(address: number, bytes: ArrayLike<number>): this {
    this.operations.push({ kind: 'store', address, bytes: Uint8Array.from(bytes) });
    return this;
  }

  load8(address: number): this {
    this.operations.push({ kind: 'load8', address });
    return this;
  }

  frame(offset: number, bytes: Uint8Array): this {
    this.operations.push({ kind: 'frame', offset, bytes });
    return this;
  }

  sequencer(index: number, value: number): this {
    return this.out16(0x3c4, (value << 8) | index);
  }

  graphics(index: number, value: number): this {
    return this.out16(0x3ce, (value << 8) | index);
  }

  crtc(index: number, value: number): this {
    return this.out16(0x3d4, (value << 8) | index);
  }

  attribute(index: number, value: number): this {
    return this.in8(0x3da).out8(0x3c0, index).out8(0x3c0, value).out8(0x3c0, 0x20);
  }

  dispi(index: number, value: number): this {
    return this.out16(0x1ce, index).out16(0x1cf, value);
  }

  mode(mode: ModeTable): this {
    this.dispi(4, 0).out8(0x3c2, mode.misc);
    mode.sequencer.forEach((value, i) => this.sequencer(i, value));
    this.crtc(0x11, 0);
    mode.crtc.forEach((value, i) => this.crtc(i, value));
    mode.graphics.forEach((value, i) => this.graphics(i, value));
    this.in8(0x3da);
    mode.attribute.forEach((value, i) => this.out8(0x3c0, i).out8(0x3c0, value));
    return this.out8(0x3c0, 0x20).out8(0x3c6, 0xff);
  }

  /** A VBE mode without VGA registers but for the screen being on. */
  vbe(width: number, height: number, depth: number, flags = 0x41): this {
    return this.out8(0x3c2, 0x67)
      .in8(0x3da)
      .dispi(4, 0)
      .dispi(3, depth)
      .dispi(1, width)
      .dispi(2, height)
      .dispi(4, flags)
      .out8(0x3c0, 0x20);
  }

  /** The colours from `first` on; each three bytes. */
  colours(first: number, bytes: ArrayLike<number>): this {
    this.out8(0x3c8, first);
    for (const byte of Array.from(bytes)) this.out8(0x3c9, byte);
    return this;
  }

  /** The 64 colours of an EGA: bits 5 to 3 add a third of red, green and blue, bits 2 to 0 two thirds. */
  egaColours(): this {
    const bytes: number[] = [];
    for (let i = 0; i < 64; i++) {
      for (const bit of [2, 1, 0]) bytes.push(42 * ((i >> bit) & 1) + 21 * ((i >> (bit + 3)) & 1));
    }
    return this.colours(0, bytes);
  }

  /** 256 colours that can be told apart by eye: red and green by position, blue falling. */
  rampColours(): this {
    const bytes: number[] = [];
    for (let i = 0; i < 256; i++) bytes.push((i & 15) * 4, (i >> 4) * 4, 63 - (i >> 2));
    return this.colours(0, bytes);
  }

  /** Puts a font of 256 glyphs of `lines` lines at `address` of plane 2, and leaves the planes as text modes have them. */
  font(address: number, glyph: (character: number, line: number) => number, lines = 16): this {
    this.sequencer(2, 4).sequencer(4, 6).graphics(4, 2).graphics(5, 0).graphics(6, 4);
    const bytes = new Uint8Array(256 * 32);
    for (let c = 0; c < 256; c++) for (let l = 0; l < lines; l++) bytes[c * 32 + l] = glyph(c, l);
    this.store(0xa0000 + address, bytes);
    return this.sequencer(2, 3).sequencer(4, 2).graphics(4, 0).graphics(5, 0x10).graphics(6, 0x0e);
  }

  /** Characters with their attributes at row and column of an 80-column page at B8000h. */
  print(row: number, column: number, text: string, attribute: number, columns = 80): this {
    const bytes = [...text].flatMap((c) => [c.charCodeAt(0) & 0xff, attribute]);
    return this.store(0xb8000 + 2 * (row * columns + column), bytes);
  }
}
