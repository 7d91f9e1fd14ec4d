import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { CodeMode } from '../decode/decoder.ts';

/** What translating the code at one place brought, in one machine. */
export interface Worth {
  /** Instructions that ran in its regions, to the length of a slice. */
  readonly instructions: number;
  /** A region of full size was made of it. */
  readonly full: boolean;
}

/** What to do with code that was met before: translate it at once, that in full size, or not soon. */
export type Lesson = 'translate' | 'translate in full' | 'wait';

interface Entry extends Worth {
  /** How often the file was written since the place was last met. */
  readonly age: number;
}

/** Instructions from which a region was worth making, and up to which it was not: making one of sixty takes the time in which the interpreter runs 200,000. */
const WORTHWHILE = 60_000;
const WASTED = 20_000;
/** From here on the first, smaller region was the waste. */
const LARGE = 5_000_000;

/** Places that are kept: 384 KiB. */
const MOST_PLACES = 0x8000;

/** `TCH1`, then for each place its key (48 bits), its age (8 bits), whether it was of full size (8 bits) and its thousands of instructions (32 bits). */
const MAGIC = 0x3148_4354;
const HEAD = 4;
const STRIDE = 12;
const OLDEST = 0xff;

/** Bytes of code in a key. */
const KEY_BYTES = 3;
/** A key looks at no byte behind its granule, which is what is kept of a region's code. */
const GRANULE = 64;

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
  for (let n = 0; n < KEY_BYTES; n++) place = place * 0x100 + (n < left ? (bytes[at + n] ?? 0) : 0);
  return place;
}

/**
 * What was learned of guests' code in earlier machines, in a file. Half of what is translated while a kernel boots is not
 * run much afterwards, and what is run much waits behind it: the next machine knows which is which. It changes when code
 * is translated, never what code does.
 */
export class CodeHistory {
  readonly #path: string;
  readonly #entries: ReadonlyMap<number, Entry>;

  /** A file that is not there, or is not one, is an empty history. */
  constructor(path: string) {
    this.#path = path;
    this.#entries = read(path);
  }

  /** What was learned of a place (placeOfCode); undefined when that is nothing. */
  lesson(place: number): Lesson | undefined {
    const entry = this.#entries.get(place);
    if (!entry) return undefined;
    if (entry.full && entry.instructions >= LARGE) return 'translate in full';
    if (entry.instructions >= WORTHWHILE) return 'translate';
    return entry.instructions <= WASTED ? 'wait' : undefined;
  }

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
    const entries = new Map<number, Entry>();
    for (const [place, entry] of read(this.#path))
      entries.set(place, { ...entry, age: Math.min(entry.age + 1, OLDEST) });
    for (const [place, { instructions, full }] of found) {
      const before = this.#entries.get(place);
      entries.set(place, {
        instructions: Math.max(instructions, (before?.instructions ?? 0) / 2),
        full: full || (before?.full ?? false),
        age: 0,
      });
    }
    write(this.#path, entries);
  }
}

function read(path: string): Map<number, Entry> {
  const entries = new Map<number, Entry>();
  let file: Buffer;
  try {
    file = readFileSync(path);
  } catch {
    return entries;
  }
  const whole = file.length >= HEAD && (file.length - HEAD) % STRIDE === 0;
  if (!whole || file.length > HEAD + MOST_PLACES * STRIDE || file.readUInt32LE(0) !== MAGIC) return entries;
  for (let at = HEAD; at < file.length; at += STRIDE) {
    entries.set(file.readUIntLE(at, 6), {
      age: file.readUInt8(at + 6),
      full: file.readUInt8(at + 7) !== 0,
      instructions: file.readUInt32LE(at + 8) * 1000,
    });
  }
  return entries;
}

function write(path: string, entries: ReadonlyMap<number, Entry>): void {
  // What was not met for longest goes first, and of that what brought least.
  const kept = [...entries]
    .sort(([, a], [, b]) => a.age - b.age || b.instructions - a.instructions)
    .slice(0, MOST_PLACES);
  const file = Buffer.alloc(HEAD + kept.length * STRIDE);
  file.writeUInt32LE(MAGIC, 0);
  kept.forEach(([place, { age, full, instructions }], n) => {
    const at = HEAD + n * STRIDE;
    file.writeUIntLE(place, at, 6);
    file.writeUInt8(age, at + 6);
    file.writeUInt8(full ? 1 : 0, at + 7);
    file.writeUInt32LE(Math.min(Math.round(instructions / 1000), 0xffff_ffff), at + 8);
  });
  const work = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(work, file);
    renameSync(work, path);
  } catch {
    // A full disk, say. What was begun is not left behind.
    if (existsSync(work)) rmSync(work, { force: true });
  }
}
