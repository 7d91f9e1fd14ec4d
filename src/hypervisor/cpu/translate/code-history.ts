import { readFileSync } from 'node:fs';
import { keepFile } from '../../../lib/keep-file.ts';
import type { CodeMode } from '../decode/decoder.ts';
import { GRANULE } from '../layout.ts';

/** What translating the code at one place brought, in one machine. */
export interface Worth {
  /** Instructions that ran in its regions, to the length of a slice. */
  readonly instructions: number;
  /** A region of full size was made of it. */
  readonly full: boolean;
}

/** What to do with code that was met before: translate it at once, that in full size, or not soon. */
export type Lesson = 'translate' | 'translate in full' | 'wait';

/** Instructions from which a region was worth making, and up to which it was not: making one of sixty takes the time in which the interpreter runs 200,000. */
const WORTHWHILE = 60_000;
const WASTED = 20_000;
/** From here on the first, smaller region was the waste. */
const LARGE = 5_000_000;

/**
 * The file is a table of fixed size, which is looked at as it is: places are found in one of SETS sets, chosen by a hash,
 * of WAYS entries. Its head is `TCH1` and how often the file was written.
 */
const MAGIC = 0x3148_4354;
const HEAD = { bytes: 16, magic: 0, writes: 4 } as const;
const SETS = 2048;
const WAYS = 8;
/** An entry: place (48 bits), flags (16), thousands of instructions (u32), and the number of the write that it was last met for, 0 in one that is free. */
const ENTRY = { bytes: 16, placeLow: 0, placeHigh: 4, flags: 6, instructions: 8, write: 12 } as const;
const FULL = 1;
const FILE_BYTES = HEAD.bytes + SETS * WAYS * ENTRY.bytes;

/** Bytes of code that tell a place; of them none behind its granule counts, which is what is kept of a region's code. */
const PLACE_BYTES = 3;

/**
 * The place of code, whatever page it lies in: mode, offset in its page, and its first bytes, so that a kernel that puts
 * itself elsewhere at each start is known again. Another place may have the same: the history is advice.
 *
 * @param at of its first byte in `bytes`
 * @param offset of its first byte in its page, or in any block of a multiple of 64 bytes that lies so
 */
export function placeOfCode(mode: CodeMode, offset: number, bytes: Uint8Array, at: number): number {
  let place = mode * 0x1000 + (offset & 0xfff);
  const left = GRANULE - (offset % GRANULE);
  for (let n = 0; n < PLACE_BYTES; n++) place = place * 0x100 + (n < left ? (bytes[at + n] ?? 0) : 0);
  return place;
}

/**
 * What was learned of guests' code in earlier machines, in a file. Half of what is translated while a kernel boots is not
 * run much afterwards, and what is run much waits behind it: the next machine knows which is which. It changes when code
 * is translated, never what code does.
 */
export class CodeHistory {
  readonly #path: string;
  readonly #file: DataView;

  /** A file that is not there, or is not one, is an empty history. */
  constructor(path: string) {
    this.#path = path;
    this.#file = read(path);
  }

  /** What was learned of a place (placeOfCode); undefined when that is nothing. */
  lesson(place: number): Lesson | undefined {
    const worth = worthOf(this.#file, place);
    if (!worth) return undefined;
    if (worth.full && worth.instructions >= LARGE) return 'translate in full';
    if (worth.instructions >= WORTHWHILE) return 'translate';
    return CodeHistory.isWaste(worth.instructions) ? 'wait' : undefined;
  }

  /** Places that a history has room for. */
  static readonly room: number = SETS * WAYS;

  /** Whether so few instructions say that a region was not worth making. */
  static isWaste(instructions: number): boolean {
    return instructions <= WASTED;
  }

  /**
   * Writes what a machine found to the file, beside what other machines wrote there meanwhile. What was known of a place
   * before counts half, so that one short run does not undo it. A file that cannot be written stays as it was.
   */
  keep(found: ReadonlyMap<number, Worth>): void {
    if (found.size === 0) return;
    const file = read(this.#path);
    const writes = file.getUint32(HEAD.writes, true) + 1;
    file.setUint32(HEAD.writes, writes, true);
    for (const [place, { instructions, full }] of found) {
      const before = worthOf(this.#file, place);
      const more = Math.max(instructions, (before?.instructions ?? 0) / 2);
      put(file, place, { instructions: more, full: full || before?.full === true }, writes);
    }
    keepFile(this.#path, file);
  }
}

/** The first of the entries that a place may have. */
function setOf(place: number): number {
  const high = Math.floor(place / 0x1_0000_0000);
  // Multiplicative hashing (Knuth, TAOCP vol. 3, 6.4), of the upper bits.
  const hash =
    Math.imul((place >>> 0) ^ Math.imul(high, 0x85eb_ca6b), 0x9e37_79b1) >>> (32 - Math.log2(SETS));
  return HEAD.bytes + hash * WAYS * ENTRY.bytes;
}

function isOf(file: DataView, at: number, place: number): boolean {
  return (
    file.getUint32(at + ENTRY.placeLow, true) === place >>> 0 &&
    file.getUint16(at + ENTRY.placeHigh, true) === Math.floor(place / 0x1_0000_0000) &&
    file.getUint32(at + ENTRY.write, true) !== 0
  );
}

function worthOf(file: DataView, place: number): Worth | undefined {
  const first = setOf(place);
  for (let at = first; at < first + WAYS * ENTRY.bytes; at += ENTRY.bytes) {
    if (!isOf(file, at, place)) continue;
    const full = (file.getUint16(at + ENTRY.flags, true) & FULL) !== 0;
    return { instructions: file.getUint32(at + ENTRY.instructions, true) * 1000, full };
  }
  return undefined;
}

/** Puts a place into its set, instead of the one that was not met for longest when there is no room. */
function put(file: DataView, place: number, { instructions, full }: Worth, write: number): void {
  const first = setOf(place);
  let chosen = first;
  for (let at = first; at < first + WAYS * ENTRY.bytes; at += ENTRY.bytes) {
    if (isOf(file, at, place)) {
      chosen = at;
      break;
    }
    if (file.getUint32(at + ENTRY.write, true) < file.getUint32(chosen + ENTRY.write, true)) chosen = at;
  }
  file.setUint32(chosen + ENTRY.placeLow, place >>> 0, true);
  file.setUint16(chosen + ENTRY.placeHigh, Math.floor(place / 0x1_0000_0000), true);
  file.setUint16(chosen + ENTRY.flags, full ? FULL : 0, true);
  file.setUint32(chosen + ENTRY.instructions, Math.min(Math.round(instructions / 1000), 0xffff_ffff), true);
  file.setUint32(chosen + ENTRY.write, write, true);
}

function read(path: string): DataView {
  try {
    const { buffer, byteOffset, length } = readFileSync(path);
    const file = new DataView(buffer, byteOffset, length);
    if (length === FILE_BYTES && file.getUint32(HEAD.magic, true) === MAGIC) return file;
  } catch {
    // Not there, or not to be read: nothing is known.
  }
  const file = new DataView(new ArrayBuffer(FILE_BYTES));
  file.setUint32(HEAD.magic, MAGIC, true);
  return file;
}
