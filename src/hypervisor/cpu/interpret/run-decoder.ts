import { CODE64, type CodeMode, Decoder, MAX_INSTRUCTION_BYTES } from '../decode/decoder.ts';
import { CS, FETCH, RAM, RECORD, RECORDS, S, SEG, segment } from '../layout.ts';
import type { CodeCache } from './code-cache.ts';
import { bump, type InterpreterExports, recordedFault } from './exports.ts';
import type { Handlers } from './extensions.ts';
import type { GeneratedInterpreter } from './generate.ts';
import { ACCESS } from './paging.ts';
import { DEVICE_CODE, DEVICE_PAGE, isDevicePage } from './physical-map.ts';

/** Instructions decoded in one go at most, and so between two looks at the budget. */
export const RUN_LENGTH = 48;

/** What became of a run that was to be decoded at S.rip. */
export type RunResult =
  /** The next look-up finds it, or asks again. */
  | 'done'
  /** Fetching its second page faulted: the exception is in the state block. */
  | 'fault'
  /** It lies in a device; what a device answers is never kept. */
  | 'uncached';

export interface RunDecoderParts {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly interpreter: GeneratedInterpreter;
  readonly wasm: InterpreterExports;
  readonly handlers: Handlers;
  readonly cache: CodeCache;
  /** Where the byte at a guest-physical address is read from: see PhysicalMap. */
  readonly codeAddress: (physical: number) => number;
  /** A byte of a device, by guest-physical address. */
  readonly deviceByte: (physical: number) => number;
}

/** Linear address of the next instruction. */
export function linearRip(view: DataView): bigint {
  const rip = view.getBigUint64(S.rip, true);
  if (view.getInt32(S.codeMode, true) === CODE64) return rip;
  return BigInt.asUintN(32, view.getBigUint64(segment(CS) + SEG.base, true) + rip);
}

/** Turns guest code into records: runs for the code cache, single instructions for steps. */
export class RunDecoder {
  readonly #view: DataView;
  readonly #parts: RunDecoderParts;
  readonly #decoder: Decoder;
  readonly #slots: GeneratedInterpreter['slots'];
  readonly #fetched = new Uint8Array(2 * MAX_INSTRUCTION_BYTES);

  constructor(parts: RunDecoderParts) {
    this.#parts = parts;
    this.#view = parts.view;
    this.#decoder = new Decoder(parts.interpreter.table);
    this.#slots = parts.interpreter.slots;
  }

  /** Decodes a run from S.rip on into the cache. Its page is in the fetch TLB. */
  run(): RunResult {
    const view = this.#view;
    const { cache } = this.#parts;
    const { record: first } = cache.reserve(RUN_LENGTH + 4);
    const linear = linearRip(view);
    // Making room may have dropped the page's slot table; then it is fetched anew.
    if (view.getBigInt64(S.pageBase, true) !== BigInt.asIntN(64, linear & ~0xfffn)) return 'done';
    const slots = view.getUint32(S.pageSlots, true);
    const page = cache.page(slots);
    if (isDevicePage(page.physical)) return 'uncached';
    const base = (RAM + page.physical) >>> 0;
    const start = Number(linear & 0xfffn);
    let offset = start;
    let record = first;
    let ordinal = 0;
    let next = 0;
    while (ordinal < RUN_LENGTH) {
      // What stands where a run begins is an instruction on two pages whose second page is not known any more.
      next = offset < 4096 && ordinal > 0 ? view.getUint32(slots + offset * 4, true) : 0;
      if (offset >= 4096 || next !== 0) break;
      const result = this.#decoder.decode(this.#parts.bytes, base + offset, base + 4096, page.mode);
      if (result === 'short') {
        // The first instruction of a run may go over the page's end; a later one starts a run of its own.
        if (ordinal === 0) return this.#crossing(linear, page.physical, slots, record);
        break;
      }
      view.setUint32(slots + offset * 4, record, true);
      const handler = this.#write(result, record, offset, ordinal, page.mode);
      record += RECORDS.bytes;
      ordinal += 1;
      offset += Math.max(1, this.#decoder.length);
      if (this.#parts.interpreter.handlers[handler]?.ends ?? true) break;
    }
    this.plain(record, this.#slots.goto, offset, ordinal);
    view.setUint32(record + RECORD.link, next, true);
    cache.cover(page.physical, start, Math.min(offset, 4096));
    cache.take(record + RECORDS.bytes);
    bump(view, S.decodedInstructions, ordinal);
    return 'done';
  }

  /** Decodes one instruction into a record outside the cache, with a stop behind it. Throws GuestFault. */
  step(linear: bigint, record: number): void {
    const mode = this.#view.getInt32(S.codeMode, true) as CodeMode;
    const offset = Number(linear & 0xfffn);
    const head = Math.min(4096 - offset, MAX_INSTRUCTION_BYTES);
    this.#fetch(this.#translate(linear) + offset, 0, head);
    let result = this.#decoder.decode(this.#fetched, 0, head, mode);
    if (result === 'short') {
      this.#fetch(this.#translate((linear & ~0xfffn) + 4096n), head, MAX_INSTRUCTION_BYTES);
      result = this.#decoder.decode(this.#fetched, 0, MAX_INSTRUCTION_BYTES, mode);
    }
    this.#write(result === 'short' ? 'too-long' : result, record, offset, 0, mode);
    this.plain(record + RECORDS.bytes, this.#slots.stop, offset + this.#decoder.length, 1);
  }

  /** Writes a record that is no instruction. */
  plain(record: number, handler: number, offset: number, ordinal: number): void {
    const view = this.#view;
    view.setUint16(record + RECORD.handler, handler, true);
    view.setUint8(record + RECORD.length, 0);
    view.setUint8(record + RECORD.ordinal, ordinal);
    view.setUint16(record + RECORD.offset, offset, true);
    view.setUint32(record + RECORD.link, 0, true);
  }

  /** Writes what was decoded, or the exception that it stands for. Gives the handler. */
  #write(
    result: 'ok' | 'invalid' | 'too-long',
    record: number,
    offset: number,
    ordinal: number,
    mode: CodeMode,
  ): number {
    if (result === 'ok') {
      const handler = this.#parts.handlers.of(this.#decoder, mode);
      this.#decoder.write(this.#view, record, offset, ordinal);
      this.#view.setUint16(record + RECORD.handler, handler, true);
      return handler;
    }
    const handler = result === 'invalid' ? this.#slots.invalid : this.#slots.tooLong;
    this.plain(record, handler, offset, ordinal);
    this.#decoder.length = 1;
    return handler;
  }

  /** An instruction on two pages: three records, of which the first checks that the second page is still the same. */
  #crossing(linear: bigint, physical: number, slots: number, record: number): RunResult {
    const view = this.#view;
    const { bytes, cache } = this.#parts;
    const offset = Number(linear & 0xfffn);
    const slot = slots + offset * 4;
    const { flushes } = cache;
    const tail = this.#fetchPage(BigInt.asIntN(64, (linear & ~0xfffn) + 4096n));
    if (tail === undefined) return 'fault';
    // Bringing in the page may have emptied the cache; then all starts again.
    if (cache.flushes !== flushes) return 'done';
    if (this.#stillCrosses(view.getUint32(slot, true), tail)) return 'done';
    const head = 4096 - offset;
    const base = (RAM + physical) >>> 0;
    this.#fetched.set(bytes.subarray(base + offset, base + 4096));
    const from = isDevicePage(tail) ? tail - DEVICE_PAGE + DEVICE_CODE : tail;
    this.#fetch(from, head, head + MAX_INSTRUCTION_BYTES);
    const mode = view.getInt32(S.codeMode, true) as CodeMode;
    const result = this.#decoder.decode(this.#fetched, 0, head + MAX_INSTRUCTION_BYTES, mode);
    const second = record + RECORDS.bytes;
    this.plain(record, this.#slots.cross, offset, 0);
    view.setUint32(record + RECORD.imm, tail, true);
    this.#write(result === 'short' ? 'too-long' : result, second, offset, 0, mode);
    this.plain(second + RECORDS.bytes, this.#slots.goto, offset + this.#decoder.length, 1);
    view.setUint32(slot, record, true);
    cache.cover(physical, offset, 4096);
    if (!isDevicePage(tail)) cache.cover(tail, 0, 1);
    cache.crossing(tail, record, slot);
    cache.take(second + 2 * RECORDS.bytes);
    bump(view, S.decodedInstructions);
    return 'done';
  }

  /** Whether a slot's record stands for an instruction that ends on this page: it had only left the fetch TLB. */
  #stillCrosses(record: number, tail: number): boolean {
    if (record === 0 || this.#view.getUint16(record + RECORD.handler, true) !== this.#slots.cross)
      return false;
    return this.#view.getUint32(record + RECORD.imm, true) === tail;
  }

  /** The frame of a page of code, or a device's page, with an entry in the fetch TLB; undefined after a fault was recorded. */
  #fetchPage(linear: bigint): number | undefined {
    if (this.#parts.wasm.fetch(linear) !== 0) return undefined;
    const index = Number((BigInt.asUintN(64, linear) >> 12n) & BigInt(FETCH.entries - 1));
    return this.#view.getUint32(this.#view.getUint32(S.fetchView, true) + index * FETCH.stride + 12, true);
  }

  /** Bytes of one page, from an address as PhysicalMap gives it, into `#fetched[from, to)`. */
  #fetch(address: number, from: number, to: number): void {
    const { bytes, deviceByte } = this.#parts;
    for (let i = from; i < to; i++) {
      const at = address + i - from;
      this.#fetched[i] =
        at < DEVICE_CODE ? (bytes[(RAM + at) >>> 0] ?? 0) : deviceByte((at - DEVICE_CODE) >>> 0);
    }
  }

  #translate(linear: bigint): number {
    const access = (this.#view.getInt32(S.accessBits, true) & ACCESS.user) | ACCESS.fetch;
    const physical = this.#parts.wasm.translate(BigInt.asIntN(64, linear), access);
    if (physical < 0n) throw recordedFault(this.#view);
    return this.#parts.codeAddress(Number(physical));
  }
}
