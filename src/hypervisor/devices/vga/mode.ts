/**
 * What the registers make of video memory. Sources: IBM VGA Technical
 * Reference, "CRT Controller" and "Attribute Controller"; FreeVGA, "Manipulating
 * the Display Timings" and "Alphanumeric Attributes".
 *
 * A picture has one pixel for each dot of a displayed line and one row for each
 * displayed line, as a monitor shows them: 640 by 400 for mode 13h, with its
 * pixels twice as wide and its rows drawn twice.
 *
 * Deviations: the address counter advances at each character clock (count by
 * two or four, CR17 bit 3 and CR14 bit 5, are not followed); every line is
 * counted (CR17 bit 2); graphics have 8 dots a character clock; colours of 8
 * bits bypass the attribute controller's palette.
 */
import type { VgaRegisters } from './registers.ts';

/** How the CRT controller's address counter becomes an address of the planes. */
export interface Addressing {
  /** Positions that the counter is rotated left by: 0 byte, 1 word, 2 doubleword mode. */
  readonly shift: 0 | 1 | 2;
  /** In word mode: the bit of the counter that becomes the lowest of the address. */
  readonly wrapBit: 13 | 15;
  readonly mask: number;
  /** Bits 13 and 14 of the address come from the row scan counter. */
  readonly rowScanBits: number;
}

/** The rows from `top` on: those of a split screen come from elsewhere. */
export interface Part {
  readonly top: number;
  /** Exclusive. */
  readonly bottom: number;
  /** The address counter's value at its first character. */
  readonly start: number;
  /** The scan line of the character row at which it begins. */
  readonly rowScan: number;
  /** Pixels that it is shifted to the left. */
  readonly pan: number;
}

interface Scanned {
  readonly width: number;
  readonly height: number;
  /** Characters in a row, or character clocks. */
  readonly columns: number;
  /** Dots of the screen a dot of the picture takes, and lines. */
  readonly dotRepeat: number;
  readonly lineRepeat: number;
  /** Scan lines of a character row. */
  readonly rowLines: number;
  /** What the address counter advances from one row to the next. */
  readonly rowStep: number;
  readonly addressing: Addressing;
  readonly parts: readonly Part[];
}

export interface TextMode extends Scanned {
  readonly kind: 'text';
  readonly cellWidth: 8 | 9;
  /** Addresses in plane 2 of the fonts for attribute bit 3 clear and set. */
  readonly fonts: readonly [number, number];
  /** Attribute bit 7 blinks; otherwise it brightens the background. */
  readonly blink: boolean;
  /** Line graphics characters continue into the ninth dot. */
  readonly joinNinth: boolean;
  /** The scan line of underlined characters. */
  readonly underline: number;
  /** Scan lines of the cursor and where it stands; undefined while it is off. */
  readonly cursor: { readonly at: number; readonly first: number; readonly last: number } | undefined;
}

export interface GraphicsMode extends Scanned {
  readonly kind: 'graphics';
  /** 16 colours from four planes, 4 (or 16) from pairs of bits, or 256 from whole bytes. */
  readonly pixels: 'planes' | 'pairs' | 'bytes';
}

export interface LinearMode {
  readonly kind: 'linear';
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly offset: number;
  readonly stride: number;
  readonly bigEndian: boolean;
}

/** `dark` has the size of whatever was shown before. */
export type Mode = TextMode | GraphicsMode | LinearMode | { readonly kind: 'dark' };

const SCREEN_OFF = 0x20;
const GRAPHICS = 0x01;
const FONT_BYTES = 0x2000;

/** `words`: addresses of the planes, a power of two. `bigEndian`: the byte order of linear pixels. */
export function modeOf(registers: VgaRegisters, words: number, bigEndian: boolean): Mode {
  const { picture } = registers.dispi;
  if (!registers.displaying) return { kind: 'dark' };
  if (picture && picture.depth > 4) return { kind: 'linear', ...picture, bigEndian };
  if (picture) return { kind: 'graphics', ...planarPicture(picture, words), pixels: 'planes' };
  if (registers.sequencer.values[1] & SCREEN_OFF) return { kind: 'dark' };
  return registers.graphics.values[6] & GRAPHICS ? graphicsMode(registers) : textMode(registers);
}

function planarPicture(
  picture: { width: number; height: number; offset: number; stride: number },
  words: number,
): Scanned {
  const { width, height, offset, stride } = picture;
  return {
    width,
    height,
    columns: width / 8,
    dotRepeat: 1,
    lineRepeat: 1,
    rowLines: 1,
    rowStep: stride,
    addressing: { shift: 0, wrapBit: 15, mask: words - 1, rowScanBits: 0 },
    parts: [{ top: 0, bottom: height, start: offset, rowScan: 0, pan: 0 }],
  };
}

function graphicsMode(registers: VgaRegisters): GraphicsMode {
  const shifting = (registers.graphics.values[5] >> 5) & 3;
  const pixels = shifting === 0 ? 'planes' : shifting === 1 ? 'pairs' : 'bytes';
  const { crtc, sequencer, attribute } = registers;
  const panning = attribute.values[0x13] & 7;
  const dots = sequencer.values[1] & 8 ? 2 : 1;
  return {
    kind: 'graphics',
    ...scanned(registers, 8, pixels === 'bytes' ? panning >> 1 : panning),
    dotRepeat: pixels === 'bytes' ? 2 * dots : dots,
    addressing: addressingOf(crtc.values, ~crtc.values[0x17] & 3),
    pixels,
  };
}

function textMode(registers: VgaRegisters): TextMode {
  const crtc = registers.crtc.values;
  const attribute = registers.attribute.values;
  const cellWidth = registers.sequencer.values[1] & 1 ? 8 : 9;
  const panning = attribute[0x13];
  const pan = cellWidth === 8 ? panning & 7 : panning >= 8 ? 0 : panning + 1;
  const map = registers.sequencer.values[3];
  const first = crtc[0x0a] & 0x1f;
  const on = !(crtc[0x0a] & 0x20) && first <= (crtc[0x0b] & 0x1f);
  const skew = (crtc[0x0b] >> 5) & 3;
  return {
    kind: 'text',
    ...scanned(registers, cellWidth, pan),
    cellWidth,
    // Character map select: the map for bit 3 clear is B.
    fonts: [fontAt((map & 3) | ((map >> 2) & 4)), fontAt(((map >> 2) & 3) | ((map >> 3) & 4))],
    blink: (attribute[0x10] & 0x08) !== 0,
    joinNinth: (attribute[0x10] & 0x04) !== 0,
    underline: crtc[0x14] & 0x1f,
    cursor: on
      ? { at: (((crtc[0x0e] << 8) | crtc[0x0f]) + skew) & 0xffff, first, last: crtc[0x0b] & 0x1f }
      : undefined,
  };
}

/** Maps 0 to 3 are 16 KiB apart, 4 to 7 lie between them. */
function fontAt(map: number): number {
  return ((map & 3) * 2 + (map >> 2)) * FONT_BYTES;
}

/** What text and graphics have in common. */
function scanned(registers: VgaRegisters, dots: number, pan: number): Scanned {
  const crtc = registers.crtc.values;
  const overflow = crtc[0x07];
  const bits = (value: number, bit: number, to: number): number => ((value >> bit) & 1) << to;
  const columns = crtc[0x01] + 1;
  const dotRepeat = registers.sequencer.values[1] & 8 ? 2 : 1;
  const height = (crtc[0x12] | bits(overflow, 1, 8) | bits(overflow, 6, 9)) + 1;
  const compare = crtc[0x18] | bits(overflow, 4, 8) | bits(crtc[0x09], 6, 9);
  const split = Math.min(compare + 1, height);
  const start = ((crtc[0x0c] << 8) | crtc[0x0d]) + ((crtc[0x08] >> 5) & 3);
  const parts: Part[] = [{ top: 0, bottom: split, start, rowScan: crtc[0x08] & 0x1f, pan }];
  if (split < height) {
    const still = (registers.attribute.values[0x10] & 0x20) !== 0;
    parts.push({ top: split, bottom: height, start: 0, rowScan: 0, pan: still ? 0 : pan });
  }
  return {
    width: columns * dots * dotRepeat,
    height,
    columns,
    dotRepeat,
    lineRepeat: crtc[0x09] & 0x80 ? 2 : 1,
    rowLines: (crtc[0x09] & 0x1f) + 1,
    rowStep: crtc[0x13] * 2,
    addressing: addressingOf(crtc, 0),
    parts,
  };
}

function addressingOf(crtc: Uint8Array, rowScanBits: number): Addressing {
  return {
    shift: crtc[0x14] & 0x40 ? 2 : crtc[0x17] & 0x40 ? 0 : 1,
    wrapBit: crtc[0x17] & 0x20 ? 15 : 13,
    mask: 0xffff,
    rowScanBits,
  };
}

/** The address in the planes for a value of the address counter, in scan line `rowScan` of a row. */
export function planeAddress(addressing: Addressing, counter: number, rowScan: number): number {
  const { shift, mask, rowScanBits } = addressing;
  let address = counter & mask;
  if (shift === 1) address = (address << 1) | ((address >> addressing.wrapBit) & 1);
  else if (shift === 2) address = (address << 2) | ((address >> 14) & 3);
  if (rowScanBits & 1) address = (address & ~0x2000) | ((rowScan & 1) << 13);
  if (rowScanBits & 2) address = (address & ~0x4000) | ((rowScan & 2) << 13);
  return address & mask;
}

/** Whether two descriptions of a mode, or of a part of one, are the same in every field. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => same(Reflect.get(a, key), Reflect.get(b, key)));
}
