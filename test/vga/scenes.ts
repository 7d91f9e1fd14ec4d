import { noisyGlyph, plainGlyph, turnedGlyph } from './font.ts';
import { MODES, Program } from './program.ts';

/** A mode with something drawn in it. */
export interface Scene {
  readonly name: string;
  readonly program: Program;
  /** Why QEMU shows something else, where it does. */
  readonly unlikeQemu?: string;
}

const CURSOR_OFF = 0x20;
/** The mode register of text modes with bright backgrounds in place of blinking. */
const NO_BLINKING = 0x04;

/** `bytes` made by position. */
function pattern(length: number, at: (i: number) => number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => at(i));
}

/** Something of every attribute and character: letters above, below all attributes and all characters. */
function printed(program: Program, columns: number): Program {
  program.store(
    0xb8000,
    pattern(columns * 25 * 2, (i) => (i & 1 ? 0x07 : 0x20)),
  );
  program.print(0, 2, 'TEREMOK IS A PC THAT YOU CAN SEE', 0x1f, columns);
  program.print(1, 2, '0123456789 \u00cd\u00cd\u00cd\u00db\u00db\u00fe\u00fe', 0x4e, columns);
  for (let attribute = 0; attribute < 256; attribute++) {
    const place = 0xb8000 + 2 * (columns * (3 + (attribute >> 4)) + 2 * (attribute & 15));
    program.store(place, [0x41 + (attribute % 26), attribute, 0xdb, attribute]);
  }
  for (let c = 0; c < 2 * columns; c++) program.store(0xb8000 + 2 * (columns * 20 + c), [c, 0x0f]);
  return program;
}

function text(mode: 'text40' | 'text80', glyph = plainGlyph): Program {
  const columns = mode === 'text40' ? 40 : 80;
  const program = new Program().mode(MODES[mode]).egaColours().crtc(0x0a, CURSOR_OFF);
  return printed(program.font(0, glyph).attribute(0x10, NO_BLINKING), columns);
}

/** Text of 8 dots a character. */
function text8(): Program {
  return text('text80', noisyGlyph).sequencer(1, 1);
}

/** Attribute bit 3 takes the second font. */
function twoFonts(): Program {
  const program = text('text80');
  return program.font(0x4000, turnedGlyph).sequencer(3, 0x04);
}

function cga4(): Program {
  const program = new Program().mode(MODES.mode4).egaColours();
  // Even rows at B8000h, odd ones 8 KiB above.
  for (let row = 0; row < 200; row++) {
    const at = 0xb8000 + (row & 1) * 0x2000 + (row >> 1) * 80;
    program.store(
      at,
      pattern(80, (i) => (row < 100 ? [0x00, 0x55, 0xaa, 0xff][(i >> 2) & 3] : (i * 7 + row) & 0xff)),
    );
  }
  return program;
}

function cga6(): Program {
  const program = new Program().mode(MODES.mode6).egaColours();
  for (let row = 0; row < 200; row++) {
    const at = 0xb8000 + (row & 1) * 0x2000 + (row >> 1) * 80;
    program.store(
      at,
      pattern(80, (i) => (row < 100 ? 0xf0 : (i * row) & 0xff)),
    );
  }
  return program;
}

/** Sixteen vertical bars by the map mask, then what each write mode makes. */
function planes(mode: 'mode0D' | 'mode12'): Program {
  const width = mode === 'mode12' ? 80 : 40;
  const rows = mode === 'mode12' ? 480 : 200;
  const program = new Program().mode(MODES[mode]).egaColours();
  program.store(0xa0000, new Uint8Array(0x10000));
  for (let plane = 0; plane < 4; plane++) {
    program.sequencer(2, 1 << plane);
    program.store(
      0xa0000,
      pattern(width * (rows / 2), (i) => ((Math.floor(((i % width) * 16) / width) >> plane) & 1 ? 0xff : 0)),
    );
  }
  program.sequencer(2, 15);
  const line = (row: number): number => 0xa0000 + row * width;
  const first = rows / 2 + 8;
  // Write mode 0: set/reset of planes 0 and 2, the others from the rotated byte.
  program.graphics(0, 0x04).graphics(1, 0x05).graphics(3, 0x03);
  for (let y = 0; y < 8; y++)
    program.store(
      line(first + y),
      pattern(width, (i) => i * 5 + y),
    );
  program.graphics(1, 0).graphics(3, 0);
  // Write mode 2 through the bit mask: the latches of what is there already.
  program.graphics(5, 2).graphics(8, 0x3c);
  for (let i = 0; i < width; i++) program.load8(line(first + 2) + i).store(line(first + 2) + i, [i & 15]);
  program.graphics(8, 0xff);
  for (let y = 12; y < 20; y++)
    program.store(
      line(first + y),
      pattern(width, (i) => i + y),
    );
  // Write mode 3: a colour where the byte has ones.
  program.graphics(5, 3).graphics(0, 0x0e);
  for (let y = 0; y < 4; y++) {
    for (let i = 0; i < width; i++)
      program.load8(line(first + 14 + y) + i).store(line(first + 14 + y) + i, [0x18]);
  }
  // Write mode 0 with XOR, AND and OR.
  program.graphics(5, 0);
  for (const [operation, y] of [
    [0x18, 24],
    [0x08, 28],
    [0x10, 32],
  ]) {
    program.graphics(3, 0).store(
      line(first + y),
      pattern(width, (i) => i * 11),
    );
    program.graphics(3, operation);
    for (let i = 0; i < width; i++) program.load8(line(first + y) + i).store(line(first + y) + i, [0x0f]);
  }
  program.graphics(3, 0);
  // Write mode 1: bars copied by the latches.
  program.graphics(5, 1);
  for (let i = 0; i < width; i++) program.load8(line(4) + i).store(line(first + 40) + i, [0]);
  return program.graphics(5, 0);
}

/** The lower part of the screen comes from the start of memory, the upper one from further on. */
function split(): Program {
  const program = planes('mode12');
  const compare = 300;
  return program
    .crtc(0x18, compare & 0xff)
    .crtc(0x07, 0x2e | (compare & 0x100 ? 0x10 : 0))
    .crtc(0x09, 0x00)
    .crtc(0x0c, 0x25)
    .crtc(0x0d, 0x80);
}

function chained(): Program {
  const program = new Program().mode(MODES.mode13).rampColours();
  return program.store(
    0xa0000,
    pattern(64000, (i) => {
      const x = i % 320;
      const y = Math.floor(i / 320);
      return y < 100 ? (x >> 1) + y : x ^ y;
    }),
  );
}

function unchained(): Program {
  const program = new Program().mode(MODES.modeX).rampColours();
  for (let plane = 0; plane < 4; plane++) {
    program.sequencer(2, 1 << plane);
    program.store(
      0xa0000,
      pattern(80 * 240, (i) => {
        const x = (i % 80) * 4 + plane;
        const y = Math.floor(i / 80);
        return (x - 160) ** 2 + (y - 120) ** 2 < 10000 ? x + y : (x >> 2) ^ y;
      }),
    );
  }
  return program;
}

/** A pixel of the test card of linear modes: red to the right, green downwards, blue in a ring. */
function card(x: number, y: number): readonly [number, number, number] {
  const ring = Math.abs(Math.hypot(x - 160, y - 120) - 80) < 12;
  return [(x * 255) / 319, (y * 255) / 239, ring ? 255 : 40];
}

const WIDTH = 320;
const HEIGHT = 240;

function cardBytes(depth: number, stride = WIDTH): Uint8Array {
  const bytes = (depth + 1) >> 3;
  const frame = new Uint8Array(stride * HEIGHT * bytes);
  for (let y = 0; y < HEIGHT; y++) {
    for (let x = 0; x < stride; x++) {
      const [red, green, blue] = card(x % WIDTH, y);
      const pixel =
        depth === 8
          ? (x + y) & 0xff
          : depth === 15
            ? ((red >> 3) << 10) | ((green >> 3) << 5) | (blue >> 3)
            : depth === 16
              ? ((red >> 3) << 11) | ((green >> 2) << 5) | (blue >> 3)
              : (red << 16) | (green << 8) | blue;
      for (let b = 0; b < bytes; b++) frame[(y * stride + x) * bytes + b] = pixel >> (8 * b);
    }
  }
  return frame;
}

function linear(depth: number): Program {
  return new Program().vbe(WIDTH, HEIGHT, depth).rampColours().frame(0, cardBytes(depth));
}

/** A picture wider than the screen, seen from further on. */
function panned(): Program {
  return new Program()
    .vbe(WIDTH - 64, HEIGHT - 40, 32)
    .dispi(6, WIDTH)
    .dispi(8, 24)
    .dispi(9, 36)
    .frame(0, cardBytes(32));
}

/** Written through the banks at A0000h. */
function banked(): Program {
  const program = new Program().vbe(WIDTH, HEIGHT, 16).graphics(6, 5).sequencer(4, 0x0e).sequencer(2, 15);
  const bytes = cardBytes(16);
  for (let bank = 0; bank * 65536 < bytes.length; bank++)
    program.dispi(5, bank).store(0xa0000, bytes.subarray(bank * 65536, (bank + 1) * 65536));
  return program;
}

/** Sixteen colours in planes of a VBE mode. */
function planarVbe(): Program {
  const program = new Program().mode(MODES.mode12).egaColours().vbe(640, 200, 4).graphics(6, 5);
  for (let plane = 0; plane < 4; plane++) {
    program.sequencer(2, 1 << plane);
    program.store(
      0xa0000,
      pattern(80 * 200, (i) => (((((i % 80) * 16) / 80 + Math.floor(i / 1600)) >> plane) & 1 ? 0xff : 0)),
    );
  }
  return program.sequencer(2, 15);
}

export const SCENES: readonly Scene[] = [
  { name: 'text80', program: text('text80') },
  {
    name: 'text40',
    program: text('text40'),
    unlikeQemu: 'it draws characters of nine doubled dots 16 wide; they are 18',
  },
  { name: 'text8', program: text8() },
  { name: 'two-fonts', program: twoFonts() },
  { name: 'cga4', program: cga4() },
  { name: 'cga6', program: cga6() },
  { name: 'planes-0d', program: planes('mode0D') },
  { name: 'planes-12', program: planes('mode12') },
  { name: 'split', program: split() },
  { name: 'chained', program: chained() },
  { name: 'unchained', program: unchained() },
  ...[8, 15, 16, 24, 32].map((depth) => ({ name: `vbe-${depth}`, program: linear(depth) })),
  { name: 'vbe-panned', program: panned() },
  { name: 'vbe-banked', program: banked() },
  {
    name: 'vbe-4',
    program: planarVbe(),
    unlikeQemu: 'its window has no planes in VBE modes',
  },
];
