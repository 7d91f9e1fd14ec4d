import { CODE16, CODE64, type CodeMode } from '../decode/decoder.ts';
import { lateName } from '../interpret/generate.ts';
import { isDevicePage } from '../interpret/physical-map.ts';
import { RUN_LENGTH } from '../interpret/run-decoder.ts';
import type { Tier, TierHost } from '../interpret/tier.ts';
import { CS, FETCH, GRANULE, RAM, RECORD, REGION_COUNTERS, S, SEG, segment } from '../layout.ts';
import { BranchTargets, countTargets } from './branch-targets.ts';
import { CodeHistory, type Lesson, placeOfCode, type Worth } from './code-history.ts';
import { REACHES } from './environment.ts';
import {
  LIMITS,
  type Made,
  type MadeModule,
  type MadeRegion,
  NOTHING_OBSERVED,
  RegionMaker,
  type RegionMakerOptions,
  type RegionRequest,
} from './maker.ts';
import { type MakerThread, startMakerThread } from './maker-thread.ts';
import type { ProfiledRegion, TranslationProfile } from './profile/translation-profile.ts';
import { FIRST_SLOT } from './slots.ts';

export { LIMITS };

export interface TranslatorOptions {
  /** Samples of one branch target that make it hot. */
  readonly threshold: number;
  /** Translate at once, on this thread: for tests that must not depend on time. */
  readonly immediate: boolean;
  /** Regions have their full size from the start: for tests. */
  readonly full: boolean;
  /** Count in the regions what they do, for statistics. */
  readonly count: boolean;
  /** Instructions of a slice at first: how often samples are taken. */
  readonly sliceInstructions: number;
  /** Regions at most: when there is no room for another one, all are dropped. Up to 32768. */
  readonly regions: number;
  /** Told where slices end; regions then count what they do, by place. */
  readonly profile?: TranslationProfile | undefined;
  /** What was learned in earlier machines, and keeps what is in this one. */
  readonly history?: CodeHistory | undefined;
}

/** What is right for guests, by measurement. */
export const TRANSLATION: TranslatorOptions = {
  threshold: 4,
  immediate: false,
  full: false,
  count: false,
  sliceInstructions: 20_000,
  regions: 0x8000,
};

/** Failures after which no thread is started any more. */
const MOST_FAILURES = 5;
/**
 * Requests under way at most. What is hot beyond that is sampled again, so that what is asked for when there is room is
 * what is hot then: with 64 of them a boot took 4 to 6 % longer, and the threads together 4 to 7 % more.
 */
const MOST_ASKED = 10;
/** A region is made larger when so many slices, of the first length, ended in it, and one in so many of all since it is there. */
const MUCH = { slices: 64, share: 25 } as const;
/** The same share for one of full size. */
const VERY_MUCH = 8;
/** Samples in a row in regions after which slices become longer, and how much longer than the first at most. */
const SETTLED_SAMPLES = 8;
const LONGEST_SLICE = 32;
/** Instructions that run for each such crossing, where they are few. */
const FEW_CROSSINGS = 20_000;
/** The same for misses of the TLB that a region was left for. */
const FEW_MISSES = 1000;
/** Samples, of the threshold, that make code hot that was translated for nothing in an earlier machine. */
const LATE = 4;
/** A guest that is sampled less often than this is at rest, and what it runs then need not be translated soon. Milliseconds. */
const AT_REST = 100;
/** Instructions of slices in regions after which one that hardly ran has shown that it will not. */
const LONG_ENOUGH = 10_000_000;
/** The history is kept when the guest has started, for it may run for months, and at the end. Milliseconds. */
const KEPT_AFTER = 30_000;
/** What slices differ by while a profile is taken, one less than a power of two: or they would end at the same places of a loop. */
const PROFILE_SPREAD = 4095;
/** Bytes of interpreted code that a profile keeps. */
const PROFILE_BYTES = 64;

/** Code of a region: where it lies, and what stands in its place. */
interface Installed {
  readonly made: MadeRegion;
  /** Physical pages that its code lies in and, in each, the granules: bits by number, two words. */
  readonly granules: ReadonlyMap<number, readonly [number, number]>;
  /** Element of the table. */
  readonly slot: number;
  /** Address of its module's records. */
  readonly records: number;
  readonly profiled: ProfiledRegion | undefined;
  /** Instructions of the slices that ended there, and of all slices in regions when it was put in place. */
  weight: number;
  since: number;
  /** Instructions of the slices that ended there or in those it replaced, and of all slices in regions when the first was put in place. */
  ran: number;
  readonly from: number;
}

/**
 * Binary translation: what the samples show to be hot becomes regions of
 * WebAssembly, which take the place of the interpreter's handlers. They are
 * made on a thread of their own while the guest goes on.
 */
export class Translator implements Tier {
  /** Every way round a loop looks at the budget, and so does every way out; a region may begin at the end of a run. */
  readonly overrun = RUN_LENGTH + LIMITS.instructions;
  readonly #host: TierHost;
  readonly #options: TranslatorOptions;
  readonly #bytes: Uint8Array;
  readonly #table: WebAssembly.Table;
  readonly #samples = new Map<number, number>();
  readonly #targets: BranchTargets;
  readonly #byPage = new Map<number, Set<Installed>>();
  readonly #bySlot = new Map<number, Installed>();
  readonly #byRecord = new Map<number, Installed>();
  readonly #free: number[] = [];
  /** Records whose regions could not be made. */
  readonly #refused = new Set<number>();
  /** Records whose regions are being made. */
  readonly #asked = new Set<number>();
  readonly #makes: RegionMakerOptions;
  #maker: RegionMaker | undefined;
  #thread: MakerThread | undefined;
  #nextSlot = FIRST_SLOT;
  /** Counts how often all records were dropped: what was asked for before is not put in place. */
  #epoch = 0;
  /** When the interpreter was found running last, by performance.now(). */
  #interpretedAt = Number.POSITIVE_INFINITY;
  /** What regions that are gone were worth, by place. */
  readonly #worth = new Map<number, Worth>();
  readonly #keeping: NodeJS.Timeout | undefined;
  /** Samples in a row that were in regions. */
  #settled = 0;
  #slice: number;
  /** Instructions of the slices that ended in regions. */
  #ran = 0;
  /** What slices are longer by. */
  #shift = 0;
  readonly #counters = {
    regions: 0,
    regionsDropped: 0,
    regionsEnlarged: 0,
    regionsNarrowed: 0,
    instructionsTranslated: 0,
    modules: 0,
    bytesCompiled: 0,
    translateMicroseconds: 0,
    compileMicroseconds: 0,
    installMicroseconds: 0,
    samplesInRegions: 0,
    samplesInterpreted: 0,
    refused: 0,
    outdated: 0,
    translationsFailed: 0,
  };

  constructor(host: TierHost, options: TranslatorOptions) {
    this.#host = host;
    const profile = options.profile !== undefined;
    this.#options = { ...options, count: options.count || profile };
    this.#bytes = new Uint8Array(host.memory.buffer);
    this.#table = host.exports.table;
    this.#targets = new BranchTargets(host.view);
    this.#slice = options.sliceInstructions;
    const { memory, interpreter, ramBytes } = host;
    this.#makes = { memory, ramBytes, interpreter, count: this.#options.count, profile };
    if (options.immediate) this.#maker = new RegionMaker(this.#makes);
    else this.#thread = startMakerThread(this.#makes);
    if (options.history) this.#keeping = setTimeout(() => this.#keepHistory(), KEPT_AFTER).unref();
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
    return { ...this.#counters, beingTranslated: this.#asked.size, ...Object.fromEntries(counted) };
  }

  handlerBehind(handler: number): number {
    return this.#bySlot.get(handler)?.made.entryHandler ?? handler;
  }

  async dispose(): Promise<void> {
    clearTimeout(this.#keeping);
    this.#keepHistory();
    await this.#thread?.end();
    this.#thread = undefined;
  }

  // Samples

  sliceEnded(instructions: number): void {
    if (this.#thread && this.#asked.size > 0) this.#listen(this.#thread);
    this.#lookAtCrossings();
    this.#lookAtMisses();
    const page = this.#pageAtRip();
    const record = page === undefined ? 0 : this.#recordAtRip(page);
    const { profile } = this.#options;
    if (profile) this.#tell(profile, record, instructions);
    if (page !== undefined && record !== 0) this.#sample(page, record, this.#spender(record));
  }

  /** The region that the slice ended in: the one that used the budget up, or that of the record where the guest goes on. */
  #spender(record: number): Installed | undefined {
    const { view } = this.#host;
    const spending = view.getUint32(S.spendingRecord, true);
    view.setUint32(S.spendingRecord, 0, true);
    return this.#byRecord.get(spending) ?? this.#bySlot.get(view.getUint16(record + RECORD.handler, true));
  }

  /** A region whose looks at the TLB often found two pages where each of its accesses lies on one is made with looks that reach less far. */
  #lookAtCrossings(): void {
    const { view } = this.#host;
    const crossings = view.getInt32(S.crossings, true);
    if (crossings === 0) return;
    view.setInt32(S.crossings, 0, true);
    const member = this.#byRecord.get(view.getUint32(S.crossedRecord, true));
    if (crossings * FEW_CROSSINGS < this.#slice || !member) return;
    const { record, level, observed } = member.made;
    const reach = REACHES[REACHES.indexOf(member.made.reach) + 1];
    if (!reach || this.#asked.has(record)) return;
    this.#counters.regionsNarrowed += 1;
    this.#ask({ ...placeOf(member.made), level, reach, observed });
  }

  /** A region of the first size that was often left for want of an entry in the TLB is made anew in full size, which has none of that. */
  #lookAtMisses(): void {
    const { view } = this.#host;
    const misses = view.getInt32(S.misses, true);
    if (misses === 0) return;
    view.setInt32(S.misses, 0, true);
    const member = this.#byRecord.get(view.getUint32(S.missedRecord, true));
    if (misses * FEW_MISSES < this.#slice || member?.made.level !== 0 || this.#asked.size >= MOST_ASKED)
      return;
    const { record, reach } = member.made;
    if (this.#asked.has(record)) return;
    const observed = this.#targets.of(member.made, member.records);
    this.#ask({ ...placeOf(member.made), level: 1, reach, observed });
  }

  /** Takes what the thread has made; one that died is replaced. */
  #listen(thread: MakerThread): void {
    for (let answer = thread.take(); answer; answer = thread.take()) this.#arrived(answer.epoch, answer.made);
    if (!thread.dead) return;
    this.#counters.translationsFailed += 1;
    this.#asked.clear();
    const again = this.#counters.translationsFailed <= MOST_FAILURES;
    // The guest goes on, interpreted where it is not translated already.
    this.#thread = again ? startMakerThread(this.#makes) : undefined;
  }

  /** The page of RAM that S.rip is in, by its physical address; undefined when it is not known. */
  #pageAtRip(): number | undefined {
    const { view, codeAddress } = this.#host;
    if (view.getInt32(S.codeMode, true) === CODE16) return undefined;
    // Halves of 64 bits: this runs at the end of each slice.
    const low = view.getInt32(S.rip, true);
    const high = view.getInt32(S.rip + 4, true);
    const entry = view.getUint32(S.fetchView, true) + ((low >>> 12) & (FETCH.entries - 1)) * FETCH.stride;
    const known =
      view.getInt32(entry, true) === ((low & ~0xfff) | view.getInt32(S.fetchGeneration, true)) &&
      view.getInt32(entry + 4, true) === (high | view.getInt32(S.fetchGeneration + 4, true));
    const physical = known
      ? view.getUint32(entry + 12, true)
      : codeAddress(view.getBigInt64(S.rip, true) & ~0xfffn);
    return physical === undefined || isDevicePage(physical) ? undefined : physical;
  }

  /** The record that S.rip is at, 0 when there is none. */
  #recordAtRip(page: number): number {
    const { view, cache } = this.#host;
    const slots = cache.known(page);
    return slots === undefined ? 0 : view.getUint32(slots + (view.getInt32(S.rip, true) & 0xfff) * 4, true);
  }

  #sample(page: number, record: number, spender: Installed | undefined): void {
    const { view } = this.#host;
    const handler = view.getUint16(record + RECORD.handler, true);
    const { sliceInstructions } = this.#options;
    if (handler >= FIRST_SLOT) {
      this.#counters.samplesInRegions += 1;
      this.#weigh(spender);
      // Where all is translated, samples tell nothing new.
      this.#settled += 1;
      if (this.#settled >= SETTLED_SAMPLES && !this.#options.profile)
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
    if (this.#asked.has(record) || !(this.#maker ?? this.#thread)) return;
    const lesson = this.#rests() ? undefined : this.#lesson(page);
    const count = (this.#samples.get(record) ?? 0) + 1;
    if (count < this.#enough(lesson) || this.#asked.size >= MOST_ASKED) {
      this.#samples.set(record, count);
      return;
    }
    this.#samples.delete(record);
    if (this.#byRecord.size >= this.#options.regions) this.flush();
    this.#ask({
      linear: view.getBigInt64(S.rip, true),
      record,
      mode: view.getInt32(S.codeMode, true) as CodeMode,
      level: this.#options.full || lesson === 'translate in full' ? 1 : 0,
      reach: REACHES[0],
      observed: NOTHING_OBSERVED,
    });
  }

  /** Whether the interpreter was not found running for long: asked at each sample of it. */
  #rests(): boolean {
    const now = performance.now();
    const rests = now - this.#interpretedAt > AT_REST;
    this.#interpretedAt = now;
    return rests;
  }
  /** What was learned of the code at S.rip. */
  #lesson(page: number): Lesson | undefined {
    const { history } = this.#options;
    if (!history) return undefined;
    const { view } = this.#host;
    const offset = view.getInt32(S.rip, true) & 0xfff;
    const mode = view.getInt32(S.codeMode, true) as CodeMode;
    return history.lesson(placeOfCode(mode, offset, this.#bytes, ((RAM + page) >>> 0) + offset));
  }
  /** Samples that make code hot. */
  #enough(lesson: Lesson | undefined): number {
    const { threshold } = this.#options;
    if (lesson === undefined) return threshold;
    return lesson === 'wait' ? threshold * LATE : 1;
  }

  /** Tells a profile where the slice ended; the next one has another length. */
  #tell(profile: TranslationProfile, record: number, instructions: number): void {
    const { view } = this.#host;
    this.#shift = (this.#shift * 5 + 3) & PROFILE_SPREAD;
    const cpl = view.getInt32(S.cpl, true);
    const region = this.#bySlot.get(record === 0 ? 0 : view.getUint16(record + RECORD.handler, true));
    if (region?.profiled) return profile.inRegion(region.profiled, instructions, cpl);
    const mode = view.getInt32(S.codeMode, true) as CodeMode;
    const offset = view.getBigUint64(S.rip, true);
    const linear = mode === CODE64 ? offset : offset + view.getBigUint64(segment(CS) + SEG.base, true);
    profile.interpreted(
      { linear, mode, cpl, why: this.#whyInterpreted(record, mode), code: () => this.#codeAt(linear) },
      instructions,
    );
  }
  #whyInterpreted(record: number, mode: CodeMode): string {
    if (mode === CODE16) return '16-bit code';
    if (record === 0) return 'not decoded yet, or not in RAM';
    if (this.#refused.has(record)) return 'its first instruction is the interpreter’s';
    if (this.#asked.has(record)) return 'being made';
    if (!(this.#maker ?? this.#thread)) return 'no thread makes regions any more';
    return this.#asked.size >= MOST_ASKED ? 'too many regions are being made' : 'not hot yet';
  }
  #codeAt(linear: bigint): Uint8Array {
    const frame = this.#host.codeAddress(linear & ~0xfffn);
    if (frame === undefined || isDevicePage(frame)) return new Uint8Array();
    const at = Number(linear & 0xfffn);
    const start = ((RAM + frame) >>> 0) + at;
    return this.#bytes.slice(start, start + Math.min(PROFILE_BYTES, 4096 - at));
  }

  /** A region in which much time goes is made anew, larger. */
  #weigh(member: Installed | undefined): void {
    this.#ran += this.#slice;
    if (!member) return;
    member.weight += this.#slice;
    member.ran += this.#slice;
    const much = member.weight >= this.#options.sliceInstructions * MUCH.slices;
    const share = member.weight * MUCH.share >= this.#ran - member.since;
    if (!much || !share || this.#asked.size >= MOST_ASKED) return;
    const { record, level, reach } = member.made;
    if (!(this.#maker ?? this.#thread) || this.#asked.has(record) || this.#refused.has(record)) return;
    const observed = this.#targets.of(member.made, member.records);
    // One of full size only for more targets of its branches, and where very much time goes: compiling it again costs much.
    const more = countTargets(observed) > countTargets(member.made.observed);
    if (level === 1 && !(more && member.weight * VERY_MUCH >= this.#ran - member.since)) {
      member.weight = 0;
      member.since = this.#ran;
      return;
    }
    this.#ask({ ...placeOf(member.made), level: 1, reach, observed });
  }

  // Regions

  #ask(what: Omit<RegionRequest, 'paging'>): void {
    const { view } = this.#host;
    const { record } = what;
    const request: RegionRequest = {
      ...what,
      // Where it is another guest process's by now, the record is not found there: then it is asked for again.
      paging: {
        cr0: view.getUint32(S.cr0, true),
        cr3: view.getBigUint64(S.cr3, true),
        cr4: view.getUint32(S.cr4, true),
        efer: view.getUint32(S.efer, true),
        pdptes: [0, 8, 16, 24].map((at) => view.getBigUint64(S.pdpte + at, true)),
        a20Mask: view.getBigInt64(S.a20Mask, true),
      },
    };
    this.#asked.add(record);
    if (this.#maker)
      this.#arrived(
        this.#epoch,
        this.#maker.make([request], (other) => this.#byRecord.has(other)),
      );
    else this.#thread?.ask(this.#epoch, request);
  }

  /** Regions have been made. */
  #arrived(epoch: number, { made, asked, refused, late, microseconds, failure }: Made): void {
    const start = performance.now();
    this.#counters.translateMicroseconds += microseconds;
    this.#counters.compileMicroseconds += made?.compileMicroseconds ?? 0;
    if (failure !== undefined) this.#counters.translationsFailed += 1;
    if (epoch !== this.#epoch) return;
    for (const record of asked) this.#asked.delete(record);
    for (const record of refused) {
      this.#refused.add(record);
      this.#counters.refused += 1;
    }
    if (made) {
      for (const encoding of late) this.#host.haveHandlers(encoding);
      this.#put(made);
    }
    this.#counters.installMicroseconds += (performance.now() - start) * 1000;
  }

  /** Puts regions in place whose code is still what was translated. */
  #put({ module, bytes, regions, calls, records, wasm }: MadeModule): void {
    const { cache } = this.#host;
    const current = regions.map((region) => this.#isCurrent(region));
    this.#counters.outdated += current.filter((is) => !is).length;
    if (!current.includes(true) || this.#byRecord.size + regions.length > this.#options.regions) return;
    this.#counters.modules += 1;
    this.#counters.bytesCompiled += bytes;
    let at = 0;
    if (records.length > 0) {
      const { flushes } = cache;
      const room = cache.reserve(records.length / 32);
      // Making room may have dropped everything, what the regions stand for too.
      if (cache.flushes !== flushes) return;
      at = room.record;
      this.#bytes.set(records, at);
      cache.take(at + records.length);
    }
    const { exports } = new WebAssembly.Instance(module, { env: this.#imports(calls, at) });
    regions.forEach((region, n) => {
      const code = exports[`r${n}`];
      if (!current[n] || typeof code !== 'function') return;
      const read = exports['counter'] as ((counter: number) => bigint) | undefined; // ModuleCounters
      const { anatomy } = region;
      const profiled = wasm &&
        anatomy &&
        read && { made: region, anatomy, wasm, ordinal: n, read, dropped: false };
      this.#install(region, code, at, profiled);
    });
  }

  /** Whether a region's record and code are as they were when it was translated. */
  #isCurrent({ record, level, reach, observed, entryHandler, granules, code }: MadeRegion): boolean {
    const before = this.#byRecord.get(record);
    const more = before && countTargets(observed) > countTargets(before.made.observed);
    if (before && !more && before.made.level >= level && before.made.reach === reach) return false;
    if (this.#host.view.getUint16(record + RECORD.handler, true) !== (before?.slot ?? entryHandler))
      return false;
    return granules.every((at, n) => {
      for (let i = 0; i < GRANULE; i++)
        if (this.#bytes[((RAM + at) >>> 0) + i] !== code[n * GRANULE + i]) return false;
      return true;
    });
  }

  #imports(calls: readonly string[], records: number): Record<string, WebAssembly.ImportValue> {
    const { exports, memory } = this.#host;
    const all = exports as unknown as Record<string, WebAssembly.ImportValue>; // exports by any name
    const imports: Record<string, WebAssembly.ImportValue> = { memory, table: this.#table, records };
    for (const name of ['regionRead', 'regionWrite', 'jump64', 'jump32', 'resume', 'invoke'])
      imports[name] = all[name] as WebAssembly.ImportValue;
    for (const name of calls) imports[name] = all[lateName({ name })] as WebAssembly.ImportValue;
    return imports;
  }

  #install(
    made: MadeRegion,
    code: WebAssembly.ExportValue,
    records: number,
    profiled: ProfiledRegion | undefined,
  ): void {
    const before = this.#byRecord.get(made.record);
    const ran = before?.ran ?? 0;
    const from = before?.from ?? this.#ran;
    if (before) {
      // It counts with the one that comes.
      before.ran = 0;
      this.#counters.regionsEnlarged += 1;
      this.#drop(before);
    }
    const slot = this.#free.pop() ?? this.#nextSlot++;
    this.#table.set(slot, code);
    const granules = byPage(made.granules);
    const since = this.#ran;
    const member: Installed = { made, granules, slot, records, profiled, weight: 0, since, ran, from };
    for (const [physical, [low, high]] of granules) {
      this.#host.cache.coverGranules(physical, low, high);
      const set = this.#byPage.get(physical) ?? new Set();
      set.add(member);
      this.#byPage.set(physical, set);
    }
    this.#byRecord.set(made.record, member);
    this.#bySlot.set(slot, member);
    this.#host.view.setUint16(made.record + RECORD.handler, slot, true);
    if (profiled) this.#options.profile?.installed(profiled);
    this.#counters.regions += 1;
    this.#counters.instructionsTranslated += made.instructions;
  }

  // What the next machine is to know

  #keepHistory(): void {
    const { history } = this.#options;
    if (!history) return;
    const worth = new Map(this.#worth);
    for (const member of this.#byRecord.values()) this.#assess(member, worth);
    history.keep(worth);
  }

  /** Adds what a region was worth to that of its place; one that has not had the time to show it says nothing. */
  #assess({ made, ran, from }: Installed, worth: Map<number, Worth>): void {
    if (CodeHistory.isWaste(ran) && this.#ran - from < LONG_ENOUGH) return;
    const { linear, mode, level, code } = made;
    // The code of its first granule comes first.
    const offset = Number(linear & 0xfffn);
    const place = placeOfCode(mode, offset, code, offset % GRANULE);
    const before = worth.get(place);
    // A guest that makes code all the time has new places without end.
    if (!before && worth.size >= CodeHistory.room) return;
    worth.set(place, {
      instructions: ran + (before?.instructions ?? 0),
      full: level === 1 || (before?.full ?? false),
    });
  }

  // What makes regions invalid

  invalidate(physical: number, bytes: number): void {
    const page = physical - (physical & 0xfff);
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
    this.#targets.clear();
    this.#refused.clear();
    this.#asked.clear();
    this.#epoch += 1;
    // Samples have to find everything again.
    this.#settled = 0;
    this.#shift = 0;
    this.#slice = this.#options.sliceInstructions;
  }

  #drop(member: Installed): void {
    const { slot, granules } = member;
    const { record, entryHandler } = member.made;
    this.#byRecord.delete(record);
    if (this.#options.history) this.#assess(member, this.#worth);
    if (member.profiled) member.profiled.dropped = true;
    for (const physical of granules.keys()) this.#byPage.get(physical)?.delete(member);
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

/** A region's place and mode, to make it anew: the guest may be in another mode by now. */
function placeOf({ linear, record, mode }: MadeRegion): Pick<RegionRequest, 'linear' | 'record' | 'mode'> {
  return { linear, record, mode };
}

/** Granules by physical page: bits by number, two words. */
function byPage(granules: readonly number[]): Map<number, readonly [number, number]> {
  const pages = new Map<number, [number, number]>();
  for (const at of granules) {
    const page = at - (at & 0xfff);
    const words = pages.get(page) ?? [0, 0];
    const n = (at & 0xfff) >> 6;
    words[n >> 5] = (words[n >> 5] ?? 0) | (1 << (n & 31));
    pages.set(page, words);
  }
  return pages;
}

function touches(words: readonly [number, number], first: number, last: number): boolean {
  for (let n = first; n <= last; n++) if (((words[n >> 5 === 0 ? 0 : 1] ?? 0) >> (n & 31)) & 1) return true;
  return false;
}
