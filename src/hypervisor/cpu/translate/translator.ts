import { CODE16, CODE64, type CodeMode } from '../decode/decoder.ts';
import { lateName } from '../interpret/generate.ts';
import { isDevicePage } from '../interpret/physical-map.ts';
import { RUN_LENGTH } from '../interpret/run-decoder.ts';
import type { Tier, TierHost } from '../interpret/tier.ts';
import { FETCH, RECORD, RECORDS, REGION_COUNTERS, S } from '../layout.ts';
import type { FunctionRef } from '../wasm/function.ts';
import { I32 } from '../wasm/opcodes.ts';
import { Untranslatable } from './builder.ts';
import { type CodePageInfo, type GuestInstruction, RegionCode } from './code.ts';
import { emitRegion } from './emit.ts';
import { RegionModule } from './module.ts';
import { findRegion, type Region } from './region.ts';

export interface TranslatorOptions {
  /** Samples of one branch target that make it hot. */
  readonly threshold: number;
  /** Compile at once, on this thread: for tests that must not depend on time. */
  readonly immediate: boolean;
  /** Count in the regions what they do, for statistics. */
  readonly count: boolean;
  /** Instructions of a slice at first: how often samples are taken. */
  readonly sliceInstructions: number;
  /** Regions at most: when there is no room for another one, all are dropped. Up to 32768. */
  readonly regions: number;
}

/** What is right for guests, by measurement. */
export const TRANSLATION: TranslatorOptions = {
  threshold: 4,
  immediate: false,
  count: false,
  sliceInstructions: 20_000,
  regions: 0x8000,
};

/** Elements of the interpreter's table from here on are regions; a record has 16 bits for them. */
const FIRST_SLOT = 0x8000;
export const LIMITS = { instructions: 200, callDepth: 3 } as const;
/** How far on the interpreter's instructions are followed from a hot region. */
const CONTINUATIONS = 2;
/** Regions compiled together. */
const BATCH = 16;
/** Samples in a row in regions after which slices become longer, and how much longer than the first at most. */
const SETTLED_SAMPLES = 8;
const LONGEST_SLICE = 32;
/** Slices after which what is there is compiled. */
const PATIENCE = 8;

/** Code of a region: where it lies, and what stands in its place. */
interface Installed {
  readonly record: number;
  readonly entryHandler: number;
  readonly region: Region;
  /** Physical pages and, in each, the 64-byte granules that the code lies in: bits by number, two words. */
  readonly granules: ReadonlyMap<number, readonly [number, number]>;
  /** Element of the table; 0 while it is compiled. */
  slot: number;
  valid: boolean;
}

/**
 * Binary translation: what the samples show to be hot becomes regions of
 * WebAssembly, which take the place of the interpreter's handlers.
 */
export class Translator implements Tier {
  /** Every way round a loop looks at the budget, and so does every way out; a region may begin at the end of a run. */
  readonly overrun = RUN_LENGTH + LIMITS.instructions;
  readonly #host: TierHost;
  readonly #options: TranslatorOptions;
  readonly #bytes: Uint8Array;
  readonly #table: WebAssembly.Table;
  readonly #samples = new Map<number, number>();
  readonly #byPage = new Map<number, Set<Installed>>();
  readonly #bySlot = new Map<number, Installed>();
  readonly #byRecord = new Map<number, Installed>();
  readonly #free: number[] = [];
  /** Records whose regions could not be made. */
  readonly #refused = new Set<number>();
  #nextSlot = FIRST_SLOT;
  #pending: Pending[] = [];
  #waited = 0;
  /** Samples in a row that were in regions. */
  #settled = 0;
  #slice: number;
  /** What slices are longer by. */
  #shift = 0;
  readonly #counters = {
    regions: 0,
    regionsDropped: 0,
    instructionsTranslated: 0,
    bytesCompiled: 0,
    translateMicroseconds: 0,
    compileMicroseconds: 0,
    samplesInRegions: 0,
    samplesInterpreted: 0,
    refused: 0,
    compilationsFailed: 0,
  };

  constructor(host: TierHost, options: TranslatorOptions) {
    this.#host = host;
    this.#options = options;
    this.#bytes = new Uint8Array(host.memory.buffer);
    this.#table = host.exports.table;
    this.#slice = options.sliceInstructions;
    const missing = FIRST_SLOT + options.regions - this.#table.length;
    if (missing > 0) this.#table.grow(missing);
  }

  sliceLimit(): number {
    return this.#slice + this.#shift;
  }

  instructions(): number | undefined {
    if (!this.#options.count) return undefined;
    return Number(this.#host.view.getBigUint64(S.regionCounters + REGION_COUNTERS.instructions, true));
  }

  counters(): Readonly<Record<string, number>> {
    const { view } = this.#host;
    const counted = this.#options.count
      ? Object.entries(REGION_COUNTERS).map(([name, offset]) => [
          `region${name[0]?.toUpperCase()}${name.slice(1)}`,
          Number(view.getBigUint64(S.regionCounters + offset, true)),
        ])
      : [];
    return { ...this.#counters, ...Object.fromEntries(counted) };
  }

  handlerBehind(handler: number): number {
    return this.#bySlot.get(handler)?.entryHandler ?? handler;
  }

  // Samples

  sliceEnded(): void {
    const record = this.#recordAtRip();
    if (record !== 0) this.#sample(record);
    if (this.#pending.length === 0) return;
    this.#waited += 1;
    if (this.#pending.length >= BATCH || this.#waited >= PATIENCE || this.#options.immediate) this.#compile();
  }

  /** The record that S.rip is at, 0 when there is none or its page is not known. */
  #recordAtRip(): number {
    const { view } = this.#host;
    if (view.getInt32(S.codeMode, true) === CODE16) return 0;
    const linear = view.getBigInt64(S.rip, true);
    const page = this.#fetchEntry(linear & ~0xfffn);
    return page ? view.getUint32(page.slots + Number(linear & 0xfffn) * 4, true) : 0;
  }

  /** A linear page of code, if anything on it was decoded. */
  #fetchEntry(page: bigint): CodePageInfo | undefined {
    const { view, cache, codeAddress } = this.#host;
    const index = Number(BigInt.asUintN(64, page) >> 12n) & (FETCH.entries - 1);
    const entry = view.getUint32(S.fetchView, true) + index * FETCH.stride;
    const tag = page | view.getBigInt64(S.fetchGeneration, true);
    const known = view.getBigInt64(entry, true) === BigInt.asIntN(64, tag);
    const physical = known ? view.getUint32(entry + 12, true) : codeAddress(page);
    if (physical === undefined || isDevicePage(physical)) return undefined;
    const slots = cache.known(physical);
    return slots === undefined ? undefined : { physical, slots };
  }

  #sample(record: number): void {
    const { view } = this.#host;
    const handler = view.getUint16(record + RECORD.handler, true);
    const { sliceInstructions } = this.#options;
    if (handler >= FIRST_SLOT) {
      this.#counters.samplesInRegions += 1;
      // Where all is translated, samples tell nothing new.
      this.#settled += 1;
      if (this.#settled >= SETTLED_SAMPLES)
        this.#slice = Math.min(this.#slice * 2, sliceInstructions * LONGEST_SLICE);
      return;
    }
    this.#counters.samplesInterpreted += 1;
    this.#settled = 0;
    this.#slice = Math.max(sliceInstructions, this.#slice >> 1);
    if (this.#refused.has(record)) {
      // A loop whose slices end at the same place each time is sampled at another one.
      this.#shift = (this.#shift * 5 + 3) & 63;
      return;
    }
    if (this.#byRecord.has(record)) return;
    const count = (this.#samples.get(record) ?? 0) + 1;
    if (count < this.#options.threshold) {
      this.#samples.set(record, count);
      return;
    }
    this.#samples.delete(record);
    if (this.#byRecord.size >= this.#options.regions) this.flush();
    this.#translate(view.getBigInt64(S.rip, true), record, CONTINUATIONS);
  }

  // Regions

  /** Finds the region at an offset in CS, whose record this is, and those that `further` times over come behind what leaves it. */
  #translate(rip: bigint, record: number, further: number): void {
    const start = performance.now();
    const { view, interpreter, cache } = this.#host;
    const entryHandler = view.getUint16(record + RECORD.handler, true);
    const mode = view.getInt32(S.codeMode, true) as CodeMode;
    const base = rip & ~0xfffn;
    const pages = new Map<number, CodePageInfo | undefined>();
    const pageAt = (index: number): CodePageInfo | undefined => {
      if (!pages.has(index)) pages.set(index, this.#fetchEntry(base + BigInt(index) * 4096n));
      return pages.get(index);
    };
    const code = new RegionCode(interpreter.table, this.#bytes, mode, pageAt, this.#host.handlerOf);
    const region = findRegion(code, Number(rip & 0xfffn), {
      ...LIMITS,
      seen: (at) => {
        const page = pageAt(at >> 12);
        return page !== undefined && view.getUint32(page.slots + (at & 0xfff) * 4, true) !== 0;
      },
    });
    if (region && this.#byRecord.size >= this.#options.regions) return;
    if (!region) {
      this.#refused.add(record);
      this.#counters.refused += 1;
      const first = code.instruction(Number(rip & 0xfffn));
      if (first) this.#continue(base, [first.at + first.length], pageAt, further);
      return;
    }
    const granules = granulesOf(region, (index) => pageAt(index)?.physical ?? 0);
    const installed: Installed = { record, entryHandler, region, granules, slot: 0, valid: true };
    for (const [physical, [low, high]] of granules) {
      cache.coverGranules(physical, low, high);
      const set = this.#byPage.get(physical) ?? new Set();
      set.add(installed);
      this.#byPage.set(physical, set);
    }
    this.#byRecord.set(record, installed);
    const candidate: Candidate = { code, mode, pageAt };
    this.#pending.push({ candidate, installed });
    this.#counters.translateMicroseconds += (performance.now() - start) * 1000;
    this.#continue(base, region.continuations, pageAt, further);
  }

  /** Translates where the interpreter will come back to translated code. */
  #continue(
    base: bigint,
    offsets: readonly number[],
    pageAt: (index: number) => CodePageInfo | undefined,
    further: number,
  ): void {
    if (further === 0) return;
    for (const at of offsets) {
      const page = pageAt(at >> 12);
      const next = page ? this.#host.view.getUint32(page.slots + (at & 0xfff) * 4, true) : 0;
      if (next !== 0 && !this.#byRecord.has(next) && !this.#refused.has(next))
        this.#translate(base + BigInt(at), next, further - 1);
    }
  }

  /** Compiles what is pending as one module. */
  #compile(): void {
    const start = performance.now();
    this.#waited = 0;
    const pending = this.#pending.filter(({ installed }) => installed.valid);
    this.#pending = [];
    const { cache } = this.#host;
    const { flushes } = cache;
    const made = this.#emit(pending);
    // Making room for records may have dropped everything, these regions too.
    if (!made || cache.flushes !== flushes) return;
    const { bytes, members, calls } = made;
    this.#counters.bytesCompiled += bytes.length;
    const imports = { env: this.#imports(calls) };
    this.#counters.translateMicroseconds += (performance.now() - start) * 1000;
    const compiling = performance.now();
    const install = (compiled: WebAssembly.Module): void => {
      this.#counters.compileMicroseconds += (performance.now() - compiling) * 1000;
      const { exports } = new WebAssembly.Instance(compiled, imports);
      members.forEach((member, n) => {
        this.#install(member, exports[`r${n}`]);
      });
    };
    if (this.#options.immediate) install(new WebAssembly.Module(bytes));
    else
      void WebAssembly.compile(bytes).then(install, () => {
        // Out of memory, say: the guest goes on interpreted, and the statistics tell.
        this.#counters.compilationsFailed += 1;
        for (const member of members) this.#refuse(member);
      });
  }

  /** Emits a module of all regions that can be; those that cannot are refused from then on. */
  #emit(pending: readonly Pending[]): Emitted | undefined {
    if (pending.length === 0) return undefined;
    const calls = new Set<string>();
    for (const { installed } of pending)
      for (const block of installed.region.blocks)
        for (const i of block.instructions) for (const name of i.effects.calls) calls.add(name);
    const module = new RegionModule(calls, (name) => this.#signatureOf(name));
    for (const [n, { candidate, installed }] of pending.entries()) {
      try {
        const ref = module.m.fn(`region ${n}`, [I32], [I32], (f) =>
          emitRegion(f, module, installed.region, {
            long: candidate.mode === CODE64,
            entryHandler: installed.entryHandler,
            count: this.#options.count,
            physical: (index) => candidate.pageAt(index)?.physical ?? 0,
            record: (i) => this.#ownRecord(candidate.code, i),
          }),
        );
        module.m.export(ref, `r${n}`);
      } catch (error) {
        if (!(error instanceof Untranslatable)) throw error;
        this.#refuse(installed);
        return this.#emit(pending.filter((other) => other.installed !== installed));
      }
    }
    return { bytes: module.m.finish(), members: pending.map(({ installed }) => installed), calls };
  }

  #refuse(member: Installed): void {
    if (!member.valid) return;
    this.#refused.add(member.record);
    this.#counters.refused += 1;
    this.#drop(member);
  }

  #signatureOf(name: string): FunctionRef {
    const ref = this.#host.interpreter.runtime.get(name);
    if (!ref) throw new RangeError(`no runtime function ${name}`);
    return ref;
  }

  #imports(calls: ReadonlySet<string>): Record<string, WebAssembly.ImportValue> {
    const { exports, memory } = this.#host;
    const all = exports as unknown as Record<string, WebAssembly.ImportValue>; // exports by any name
    const imports: Record<string, WebAssembly.ImportValue> = { memory, table: this.#table };
    for (const name of ['regionRead', 'regionWrite', 'jump64', 'jump32', 'resume', 'invoke'])
      imports[name] = all[name] as WebAssembly.ImportValue;
    for (const name of calls) imports[name] = all[lateName({ name })] as WebAssembly.ImportValue;
    return imports;
  }

  /** A record of an instruction with one behind it that comes back to the region. */
  #ownRecord(code: RegionCode, i: GuestInstruction): number {
    const { view, cache, interpreter } = this.#host;
    const { record } = cache.reserve(2);
    code.writeRecord(i, view, record);
    const behind = record + RECORDS.bytes;
    for (let at = 0; at < RECORDS.bytes; at += 4) view.setUint32(behind + at, 0, true);
    view.setUint16(behind + RECORD.handler, interpreter.slots.resume, true);
    view.setUint8(behind + RECORD.ordinal, 1);
    view.setUint16(behind + RECORD.offset, i.at + i.length, true);
    cache.take(behind + RECORDS.bytes);
    return record;
  }

  #install(member: Installed, code: WebAssembly.ExportValue | undefined): void {
    if (!member.valid || typeof code !== 'function') return;
    const slot = this.#free.pop() ?? this.#nextSlot++;
    this.#table.set(slot, code);
    member.slot = slot;
    this.#bySlot.set(slot, member);
    this.#host.view.setUint16(member.record + RECORD.handler, slot, true);
    this.#counters.regions += 1;
    this.#counters.instructionsTranslated += member.region.instructions;
  }

  // What makes regions invalid

  invalidate(physical: number, bytes: number): void {
    const page = physical & ~0xfff;
    const set = this.#byPage.get(page);
    if (!set) return;
    const first = (physical & 0xfff) >> 6;
    const last = (Math.min((physical & 0xfff) + bytes, 4096) - 1) >> 6;
    for (const member of set) {
      const words = member.granules.get(page);
      if (words && touches(words, first, last)) this.#drop(member);
    }
  }

  flush(): void {
    for (const member of [...this.#byRecord.values()]) this.#drop(member);
    this.#samples.clear();
    this.#refused.clear();
    // Samples have to find everything again.
    this.#settled = 0;
    this.#shift = 0;
    this.#slice = this.#options.sliceInstructions;
  }

  #drop(member: Installed): void {
    member.valid = false;
    this.#byRecord.delete(member.record);
    for (const physical of member.granules.keys()) this.#byPage.get(physical)?.delete(member);
    const { slot, record, entryHandler } = member;
    if (slot === 0) return;
    this.#counters.regionsDropped += 1;
    const { view } = this.#host;
    if (view.getUint16(record + RECORD.handler, true) === slot)
      view.setUint16(record + RECORD.handler, entryHandler, true);
    // The record may be one that is to stop behind the instruction under way.
    if (view.getUint32(S.patchedRecord, true) === record && view.getUint32(S.patchedHandler, true) === slot)
      view.setUint32(S.patchedHandler, entryHandler, true);
    this.#bySlot.delete(slot);
    this.#free.push(slot);
  }
}

interface Pending {
  readonly candidate: Candidate;
  readonly installed: Installed;
}

interface Emitted {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly members: readonly Installed[];
  readonly calls: ReadonlySet<string>;
}

interface Candidate {
  readonly code: RegionCode;
  readonly mode: CodeMode;
  readonly pageAt: (index: number) => CodePageInfo | undefined;
}

/** Which granules of which physical pages a region's code lies in. */
function granulesOf(
  region: Region,
  physical: (index: number) => number,
): Map<number, readonly [number, number]> {
  const words = new Map<number, [number, number]>();
  for (const block of region.blocks) {
    for (const i of block.instructions) {
      const page = physical(i.at >> 12);
      const known = words.get(page) ?? [0, 0];
      const first = (i.at & 0xfff) >> 6;
      const last = ((i.at & 0xfff) + i.length - 1) >> 6;
      for (let n = first; n <= last; n++) known[n >> 5] = (known[n >> 5] ?? 0) | (1 << (n & 31));
      words.set(page, known);
    }
  }
  return words;
}

function touches(words: readonly [number, number], first: number, last: number): boolean {
  for (let n = first; n <= last; n++) if (((words[n >> 5 === 0 ? 0 : 1] ?? 0) >> (n & 31)) & 1) return true;
  return false;
}
