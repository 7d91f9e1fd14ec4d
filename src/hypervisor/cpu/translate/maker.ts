import { CODE64, type CodeMode } from '../decode/decoder.ts';
import type { GeneratedInterpreter } from '../interpret/generate.ts';
import { isGeneratedLate } from '../interpret/generate.ts';
import { codeAt, DEVICE_CODE } from '../interpret/physical-map.ts';
import type { Val } from '../isa/builder.ts';
import { CODE_DIRECTORY, GRANULE, RECORD, RECORDS } from '../layout.ts';
import type { FunctionRef } from '../wasm/function.ts';
import { I32 } from '../wasm/opcodes.ts';
import type { Region } from './blocks.ts';
import { Untranslatable } from './builder.ts';
import { type CodePageInfo, type GuestInstruction, RegionCode } from './code.ts';
import { emitRegion, OBSERVED } from './emit.ts';
import type { ReachOfLooks } from './environment.ts';
import { RegionModule } from './module.ts';
import { guessPage, type PagingState } from './page-walk.ts';
import type { Anatomy } from './profile/anatomy.ts';
import { describeRegion } from './profile/describe-region.ts';
import { ModuleCounters, type SiteCounters } from './profile/site-counters.ts';
import { findRegion } from './region.ts';

/**
 * How large regions are, and whether what the TLB does not have is found within them (RegionContext.resolves): at first,
 * for most code that is hot is not hot for long; and where much time goes.
 */
export const LEVELS = [
  { instructions: 100, callDepth: 1, recursion: false, resolves: false },
  { instructions: 300, callDepth: 3, recursion: true, resolves: true },
] as const;
/** Of the largest. */
export const LIMITS = LEVELS[1];
/** How far on the interpreter's instructions are followed from a hot region. */
const CONTINUATIONS = 2;
export const NOTHING_OBSERVED: Observed = new Map();

/** Offsets from the page of a region's beginning: targets by the indirect branch. */
export type Observed = ReadonlyMap<number, readonly number[]>;

/** Code that is hot. */
export interface RegionRequest {
  /** Linear address of its first instruction; CS is flat. */
  readonly linear: bigint;
  /** The interpreter's record of it. */
  readonly record: number;
  readonly mode: CodeMode;
  readonly paging: PagingState;
  /** How large it may be: see LEVELS. */
  readonly level: 0 | 1;
  /** Of its looks at the TLB: not far where that failed often. */
  readonly reach: ReachOfLooks;
  /** Where its indirect jumps and calls were seen to go. */
  readonly observed: Observed;
}

/** A region that was made, as plain data: it goes from thread to thread. */
export interface MadeRegion {
  readonly linear: bigint;
  readonly record: number;
  readonly mode: CodeMode;
  readonly level: 0 | 1;
  readonly reach: ReachOfLooks;
  /** The handler that the record had, and that the region leaves to. */
  readonly entryHandler: number;
  readonly instructions: number;
  readonly observed: Observed;
  /** Indirect jumps and calls that tell where they go: their offsets, and those of their cells in the module's records. */
  readonly observers: readonly { readonly at: number; readonly cells: number }[];
  /** The code as it was translated, by granules of 64 bytes, that of its beginning first: frames' addresses, and their bytes one behind the other. */
  readonly granules: readonly number[];
  readonly code: Uint8Array;
  /** For a profile. */
  readonly anatomy?: Anatomy | undefined;
}

/** A module of regions, exported as r0, r1 and so on. */
export interface MadeModule {
  readonly module: WebAssembly.Module;
  readonly bytes: number;
  /** What of the time went into compiling, without what V8 does later. */
  readonly compileMicroseconds: number;
  /** The module as it was compiled, for a profile. */
  readonly wasm?: Uint8Array | undefined;
  readonly regions: readonly MadeRegion[];
  /** Runtime functions that it imports. */
  readonly calls: readonly string[];
  /** Records that its regions hand to the interpreter's handlers, one behind the other; it imports their address as `records`. */
  readonly records: Uint8Array;
}

export interface Made {
  /** Undefined when nothing could be translated. */
  readonly made: MadeModule | undefined;
  /** Records of which no region can be made. */
  readonly refused: readonly number[];
  /** Numbers in the instruction table of encodings whose handlers are generated late and must be there. */
  readonly late: readonly number[];
  /** The records that were asked for. */
  readonly asked: readonly number[];
  readonly microseconds: number;
  /** Why nothing was made, if that is a fault of the translator's. */
  readonly failure?: string;
}

export interface RegionMakerOptions {
  /** The machine's linear memory, which the processor goes on changing. */
  readonly memory: WebAssembly.Memory;
  readonly ramBytes: number;
  readonly interpreter: GeneratedInterpreter;
  /** Count in the regions what they do. */
  readonly count: boolean;
  /** Count by place, keep what was made, and name the functions, for a profile. */
  readonly profile: boolean;
}

interface Found {
  readonly linear: bigint;
  readonly record: number;
  readonly reach: ReachOfLooks;
  readonly level: 0 | 1;
  readonly entryHandler: number;
  readonly region: Region;
  readonly code: RegionCode;
  readonly observed: Observed;
  readonly observers: { at: number; cells: number }[];
  readonly mode: CodeMode;
  readonly physical: (index: number) => number;
  readonly seen: (at: number) => boolean;
}

/**
 * Makes regions of hot code. Reads the machine's memory and writes nothing
 * there, so that it may run beside the processor: what it read has to be
 * compared with what is there when a region is put in place.
 */
export class RegionMaker {
  readonly #options: RegionMakerOptions;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #numbers: ReadonlyMap<object, number>;
  /** Encodings that were generated late in this thread. */
  readonly #late = new Set<number>();

  constructor(options: RegionMakerOptions) {
    this.#options = options;
    this.#view = new DataView(options.memory.buffer);
    this.#bytes = new Uint8Array(options.memory.buffer);
    this.#numbers = new Map(options.interpreter.table.encodings.map((encoding, n) => [encoding, n]));
  }

  /** Makes one module of all that is asked for. `known` tells of records that have a region, or will. */
  make(requests: readonly RegionRequest[], known: (record: number) => boolean): Made {
    const start = performance.now();
    const refused: number[] = [];
    const late = new Set<number>();
    const found: Found[] = [];
    const taken = new Set<number>();
    const into = { found, taken, refused, late, known };
    for (const request of requests) {
      if (taken.has(request.record)) continue;
      let near = this.#find(request, into);
      for (let further = CONTINUATIONS; further > 0; further--) {
        const next: RegionRequest[] = [];
        for (const other of near)
          if (!taken.has(other.record) && !known(other.record)) next.push(...this.#find(other, into));
        near = next;
      }
    }
    const asked = requests.map(({ record }) => record);
    const done = (made: MadeModule | undefined, failure?: string): Made => ({
      made,
      asked,
      refused,
      late: [...late],
      microseconds: (performance.now() - start) * 1000,
      ...(failure !== undefined && { failure }),
    });
    try {
      return done(this.#emit(found, refused));
    } catch (error) {
      // Out of memory, say: the guest goes on interpreted, and the statistics tell.
      refused.push(...found.map(({ record }) => record));
      return done(undefined, error instanceof Error ? error.message : String(error));
    }
  }

  /** Finds the region of a request; gives where code goes on that leaves it, as far as it has been run. */
  #find(request: RegionRequest, into: Finding): RegionRequest[] {
    const { linear, record, mode, level, reach, observed } = request;
    into.taken.add(record);
    const pageAt = this.#pages(request);
    const { table } = this.#options.interpreter;
    const code = new RegionCode(table, this.#bytes, mode, pageAt, (decoder) => {
      const { encoding } = decoder;
      if (encoding && isGeneratedLate(encoding)) this.#extend(encoding, into.late);
      return decoder.handler(mode);
    });
    const seen = (at: number): boolean => this.#recordAt(pageAt, at) !== 0;
    const first = Number(linear & 0xfffn);
    const targets = (at: number): readonly number[] => observed.get(at) ?? [];
    const region = findRegion(code, first, { ...LEVELS[level], seen, observed: targets });
    const instruction = code.instruction(first);
    // Racing with the processor the page may be another one by now: then it is asked for again.
    if (this.#recordAt(pageAt, first) !== record) return [];
    if (region && instruction) {
      const physical = (index: number): number => pageAt(index)?.physical ?? 0;
      into.found.push({
        linear,
        record,
        reach,
        level,
        entryHandler: instruction.handler,
        region,
        code,
        observed,
        observers: [],
        mode,
        physical,
        seen,
      });
    } else into.refused.push(record);
    const behind = region?.continuations ?? (instruction ? [instruction.at + instruction.length] : []);
    const base = linear & ~0xfffn;
    return behind
      .map((at) => ({
        linear: base + BigInt(at),
        record: this.#recordAt(pageAt, at),
        mode,
        paging: request.paging,
        level,
        reach,
        observed: NOTHING_OBSERVED,
      }))
      .filter((next) => next.record !== 0);
  }

  /** The pages around a request's, by their distance from it. */
  #pages({ linear, mode, paging }: RegionRequest): (index: number) => CodePageInfo | undefined {
    const base = linear & ~0xfffn;
    const pages = new Map<number, CodePageInfo | undefined>();
    const look = (index: number): CodePageInfo | undefined => {
      const at = base + BigInt(index) * 4096n;
      const gpa = guessPage(this.#view, this.#options.ramBytes, paging, at);
      if (gpa === undefined) return undefined;
      const physical = codeAt(this.#view, gpa);
      if (physical >= DEVICE_CODE) return undefined;
      const slots = this.#view.getUint32(CODE_DIRECTORY.of(mode) + (physical >>> 12) * 4, true);
      return slots === 0 ? undefined : { physical, slots };
    };
    return (index) => {
      if (!pages.has(index)) pages.set(index, look(index));
      return pages.get(index);
    };
  }

  #recordAt(pageAt: (index: number) => CodePageInfo | undefined, at: number): number {
    const page = pageAt(at >> 12);
    return page ? this.#view.getUint32(page.slots + (at & 0xfff) * 4, true) : 0;
  }

  #extend(encoding: GeneratedInterpreter['table']['encodings'][number], late: Set<number>): void {
    const number = this.#numbers.get(encoding);
    if (number === undefined) return;
    late.add(number);
    if (this.#late.has(number)) return;
    this.#late.add(number);
    // For the numbers of its handlers; the machine's thread makes them.
    if (encoding.handlers.every((handler) => handler === 0)) this.#options.interpreter.extend(encoding);
  }

  /** Emits a module of all regions that can be; those that cannot are refused. */
  #emit(found: readonly Found[], refused: number[]): MadeModule | undefined {
    if (found.length === 0) return undefined;
    const calls = new Set<string>();
    for (const { region } of found)
      for (const block of region.blocks)
        for (const i of block.instructions) for (const name of i.effects.calls) calls.add(name);
    const module = new RegionModule(calls, (name) => this.#signatureOf(name));
    const records: Uint8Array[] = [];
    const counters = this.#options.profile ? new ModuleCounters(module.m) : undefined;
    const sites: (SiteCounters | undefined)[] = [];
    for (const [n, one] of found.entries()) {
      sites[n] = counters?.region();
      try {
        const ref = module.m.fn(nameOf(one), [I32], [I32], (f) =>
          emitRegion(f, module, one.region, {
            long: one.mode === CODE64,
            entryHandler: one.entryHandler,
            reach: one.reach,
            resolves: LEVELS[one.level].resolves,
            count: this.#options.count,
            sites: sites[n],
            physical: one.physical,
            seen: one.seen,
            record: (i) => {
              records.push(this.#ownRecords(one.code, i));
              return module.records.add((records.length - 1) * 2 * RECORDS.bytes);
            },
            observe: (i) => this.#observe(one, i, module, records),
          }),
        );
        module.m.export(ref, `r${n}`);
      } catch (error) {
        if (!(error instanceof Untranslatable)) throw error;
        refused.push(one.record);
        return this.#emit(
          found.filter((other) => other !== one),
          refused,
        );
      }
    }
    counters?.finish();
    const bytes = module.m.finish({ names: this.#options.profile });
    const start = performance.now();
    const compiled = new WebAssembly.Module(bytes);
    return {
      module: compiled,
      bytes: bytes.length,
      compileMicroseconds: (performance.now() - start) * 1000,
      wasm: this.#options.profile ? bytes : undefined,
      regions: found.map((one, n) => this.#describe(one, sites[n])),
      calls: [...calls],
      records: concatenated(records),
    };
  }

  #signatureOf(name: string): FunctionRef {
    const ref = this.#options.interpreter.runtime.get(name);
    if (!ref) throw new RangeError(`no runtime function ${name}`);
    return ref;
  }

  /** A record of an instruction with one behind it that comes back to the region. */
  #ownRecords(code: RegionCode, i: GuestInstruction): Uint8Array {
    const pair = new Uint8Array(2 * RECORDS.bytes);
    const view = new DataView(pair.buffer);
    code.writeRecord(i, view, 0);
    const behind = RECORDS.bytes;
    view.setUint16(behind + RECORD.handler, this.#options.interpreter.slots.resume, true);
    view.setUint8(behind + RECORD.ordinal, 1);
    view.setUint16(behind + RECORD.offset, i.at + i.length, true);
    return pair;
  }

  /** Cells for an indirect branch, one set for all places in the region that it was taken into. */
  #observe(one: Found, { at }: GuestInstruction, module: RegionModule, records: Uint8Array[]): Val {
    let cells = one.observers.find((other) => other.at === at)?.cells;
    if (cells === undefined) {
      cells = records.length * OBSERVED.bytes;
      records.push(new Uint8Array(OBSERVED.bytes));
      one.observers.push({ at, cells });
    }
    return module.records.add(cells);
  }

  #describe(found: Found, sites: SiteCounters | undefined): MadeRegion {
    const { linear, record, mode, level, reach, entryHandler, region, observed, observers, code, physical } =
      found;
    const granules = granulesOf(region, physical);
    const bytes = new Uint8Array(granules.length * GRANULE);
    granules.forEach((at, n) => {
      bytes.set(code.granule(at), n * GRANULE);
    });
    return {
      linear,
      record,
      mode,
      level,
      reach,
      entryHandler,
      instructions: region.instructions,
      observed,
      observers,
      granules,
      code: bytes,
      anatomy: sites && describeRegion({ ...found, name: nameOf(found), sites }),
    };
  }
}

/** What profilers of the host show. */
function nameOf({ linear }: Found): string {
  return `region_${BigInt.asUintN(64, linear).toString(16)}`;
}

interface Finding {
  readonly found: Found[];
  readonly taken: Set<number>;
  readonly refused: number[];
  readonly late: Set<number>;
  readonly known: (record: number) => boolean;
}

/** Physical addresses of the granules that a region's code lies in. */
function granulesOf(region: Region, physical: (index: number) => number): number[] {
  const granules = new Set<number>();
  for (const block of region.blocks) {
    for (const i of block.instructions) {
      const first = physical(i.at >> 12) + (i.at & 0xfff);
      for (let at = first - (first % GRANULE); at < first + i.length; at += GRANULE) granules.add(at);
    }
  }
  return [...granules];
}

function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
