import { CODE16, CODE32, CODE64, type CodeMode } from '../decode/decoder.ts';
import {
  CODE_DIRECTORY,
  CODE_MASK,
  CODE_PAGES,
  FETCH,
  FETCH_VIEW_BYTES,
  RECORD,
  RECORDS,
  S,
} from '../layout.ts';
import { isDevicePage } from './physical-map.ts';

/** A frame with code in one mode, and where the records of its instructions are found. */
interface CodePage {
  /** The frame; odd for a page that is a device's. */
  readonly physical: number;
  readonly mode: CodeMode;
  readonly slots: number;
}

/** A record whose instruction goes on into the next page. */
interface Crossing {
  readonly record: number;
  readonly slot: number;
}

/** The first records are for single steps. */
const FIRST_RECORD = RECORDS.base + 8 * RECORDS.bytes;

const GRANULE_SHIFT = 6;
/** The longest instruction may begin this much before the granule it reaches into. */
const REACH = 14;

function keyOf(page: number, mode: number): number {
  return (page >>> 12) * 8 + (page & 1) * 4 + mode;
}

/**
 * Bookkeeping of pre-decoded code: which physical pages have slot tables,
 * where the next record goes, and what to drop when code is overwritten.
 */
export class CodeCache {
  readonly #view: DataView;
  readonly #staleHandler: number;
  readonly #protect: (frame: number) => void;
  readonly #pages: CodePage[] = [];
  /** See `keyOf`. */
  readonly #byKey = new Map<number, CodePage>();
  /** By the physical page that the instruction's tail lies on. */
  readonly #crossings = new Map<number, Crossing[]>();
  #nextRecord: number = FIRST_RECORD;
  flushes = 0;
  /** Called when everything was dropped. */
  onFlush: () => void = () => {};

  constructor(view: DataView, staleHandler: number, protect: (frame: number) => void) {
    this.#view = view;
    this.#staleHandler = staleHandler;
    this.#protect = protect;
  }

  /** The slot table of a frame (its address, 4 KiB aligned; odd for a device's page) in the current code mode. */
  slots(physical: number): number {
    const mode = this.#view.getInt32(S.codeMode, true) as CodeMode;
    const key = keyOf(physical, mode);
    const known = this.#byKey.get(key);
    if (known) return known.slots;
    if (this.#pages.length === CODE_PAGES.count) this.flush();
    const slots = CODE_PAGES.base + this.#pages.length * CODE_PAGES.bytes;
    const page = { physical, mode, slots };
    this.#pages.push(page);
    this.#byKey.set(key, page);
    if (mode !== CODE16 && !isDevicePage(physical))
      this.#view.setUint32(CODE_DIRECTORY.of(mode) + (physical >>> 12) * 4, slots, true);
    return slots;
  }

  /** The slot table of a frame in the current code mode, if it has one. */
  known(physical: number): number | undefined {
    return this.#byKey.get(keyOf(physical, this.#view.getInt32(S.codeMode, true)))?.slots;
  }

  page(slots: number): CodePage {
    const page = this.#pages[(slots - CODE_PAGES.base) / CODE_PAGES.bytes];
    if (!page) throw new Error('a slot table that belongs to no page');
    return page;
  }

  /** Room for `count` records in a row; drops everything when there is none left. Only between handlers. */
  reserve(count: number): { readonly record: number; readonly flushed: boolean } {
    if (this.#nextRecord + count * RECORDS.bytes <= RECORDS.base + RECORDS.count * RECORDS.bytes) {
      return { record: this.#nextRecord, flushed: false };
    }
    this.flush();
    return { record: this.#nextRecord, flushed: true };
  }

  take(end: number): void {
    this.#nextRecord = end;
  }

  /** Notes that bytes of a RAM page hold decoded code. */
  cover(physical: number, from: number, to: number): void {
    const first = from >> GRANULE_SHIFT;
    const last = (to - 1) >> GRANULE_SHIFT;
    let newLow = 0;
    let newHigh = 0;
    for (let granule = first; granule <= last; granule++) {
      if (granule < 32) newLow |= 1 << granule;
      else newHigh |= 1 << (granule - 32);
    }
    this.coverGranules(physical, newLow, newHigh);
  }

  /** The same for 64-byte granules of a page, bits by number in two words. */
  coverGranules(physical: number, addLow: number, addHigh: number): void {
    const at = CODE_MASK + (physical >>> 12) * 8;
    const low = this.#view.getInt32(at, true);
    const high = this.#view.getInt32(at + 4, true);
    if ((low | addLow) === low && (high | addHigh) === high) return;
    this.#view.setInt32(at, low | addLow, true);
    this.#view.setInt32(at + 4, high | addHigh, true);
    if ((low | high) === 0) this.#protect(physical);
  }

  /** Remembers a record that must go when the page its tail lies on is written. */
  crossing(tail: number, record: number, slot: number): void {
    const list = this.#crossings.get(tail);
    if (list) list.push({ record, slot });
    else this.#crossings.set(tail, [{ record, slot }]);
  }

  /** Bytes of one physical page of RAM were written: drops what was decoded from the granules they touch. */
  invalidate(physical: number, bytes: number): void {
    const page = physical - (physical & 0xfff);
    const offset = physical & 0xfff;
    const first = offset >> GRANULE_SHIFT;
    const last = (Math.min(offset + bytes, 4096) - 1) >> GRANULE_SHIFT;
    const at = CODE_MASK + (page >>> 12) * 8;
    for (let granule = first; granule <= last; granule++) {
      const half = at + (granule >> 5) * 4;
      this.#view.setInt32(half, this.#view.getInt32(half, true) & ~(1 << (granule & 31)), true);
    }
    const from = Math.max(0, (first << GRANULE_SHIFT) - REACH);
    const to = (last + 1) << GRANULE_SHIFT;
    for (const mode of [CODE16, CODE32, CODE64]) {
      const known = this.#byKey.get(keyOf(page, mode));
      if (known) this.#drop(known.slots, from, to);
    }
    if (first === 0) this.#dropCrossings(page);
  }

  #drop(slots: number, from: number, to: number): void {
    for (let offset = from; offset < to; offset++) {
      const slot = slots + offset * 4;
      const record = this.#view.getUint32(slot, true);
      if (record === 0) continue;
      this.#view.setUint16(record + RECORD.handler, this.#staleHandler, true);
      this.#view.setUint32(slot, 0, true);
    }
  }

  #dropCrossings(page: number): void {
    const list = this.#crossings.get(page);
    if (!list) return;
    this.#crossings.delete(page);
    for (const { record, slot } of list) {
      if (this.#view.getUint32(slot, true) !== record) continue;
      this.#view.setUint16(record + RECORD.handler, this.#staleHandler, true);
      this.#view.setUint32(slot, 0, true);
    }
  }

  /** Drops everything. */
  flush(): void {
    const bytes = new Uint8Array(this.#view.buffer);
    for (const page of this.#pages) {
      bytes.fill(0, page.slots, page.slots + CODE_PAGES.bytes);
      this.#view.setBigInt64(CODE_MASK + (page.physical >>> 12) * 8, 0n, true);
      if (page.mode !== CODE16 && !isDevicePage(page.physical))
        this.#view.setUint32(CODE_DIRECTORY.of(page.mode) + (page.physical >>> 12) * 4, 0, true);
    }
    for (const tail of this.#crossings.keys())
      this.#view.setBigInt64(CODE_MASK + (tail >>> 12) * 8, 0n, true);
    bytes.fill(0xff, FETCH.base, FETCH.base + FETCH.views * FETCH_VIEW_BYTES);
    this.#view.setBigInt64(S.pageBase, 1n, true);
    this.#pages.length = 0;
    this.#byKey.clear();
    this.#crossings.clear();
    this.#nextRecord = FIRST_RECORD;
    this.flushes += 1;
    this.onFlush();
  }
}
