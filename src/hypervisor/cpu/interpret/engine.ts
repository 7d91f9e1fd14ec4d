import type { Bus } from '../../machine/bus.ts';
import type { MappedRange, MemoryMapping } from '../../machine/mapping.ts';
import { CODE64 } from '../decode/decoder.ts';
import type { CpuEngine, InterruptSource, SliceEnd } from '../engine.ts';
import {
  CODE_MASK,
  CS,
  FETCH,
  FETCH_VIEW_BYTES,
  RECORD,
  RECORDS,
  S,
  SCRATCH,
  SEG,
  segment,
  TLB,
  TLB_VIEW_BYTES,
  WATCH_VIEW,
} from '../layout.ts';
import type { CpuContext, CpuPlatform } from '../system/context.ts';
import { systemRoutines } from '../system/index.ts';
import { SystemInstruction, type SystemRoutine } from '../system/instruction.ts';
import { CodeCache } from './code-cache.ts';
import { makeContext } from './context.ts';
import { LEAVE, WRITE_SCRATCH } from './core-parts.ts';
import { Events } from './events.ts';
import { bump, type InterpreterExports } from './exports.ts';
import { Handlers } from './extensions.ts';
import type { GeneratedInterpreter, Handler } from './generate.ts';
import { keptInterpreter } from './kept.ts';
import { applyMode } from './mode.ts';
import { ACCESS } from './paging.ts';
import { DEVICE_CODE, PhysicalMap } from './physical-map.ts';
import { linearRip, RUN_LENGTH, RunDecoder } from './run-decoder.ts';
import type { Tier, TierHost } from './tier.ts';

/** Codes by which an import ends `run`; those below are LEAVE's. */
const END = { events: 16, triple: 17 } as const;

/** So often code may be overwritten in a run of the module: each time costs as much as hundreds of instructions, and timers wait. */
const REWRITES = 512;

let generated:
  | { readonly interpreter: GeneratedInterpreter; readonly module: WebAssembly.Module }
  | undefined;

/** The interpreter is the same for every machine of a process. */
function interpreterModule(folder: string | undefined): NonNullable<typeof generated> {
  if (!generated) {
    const interpreter = keptInterpreter(folder);
    const module = new WebAssembly.Module(interpreter.bytes);
    // V8 has a copy of its own of the bytes.
    generated = { interpreter: { ...interpreter, bytes: new Uint8Array() }, module };
  }
  return generated;
}

export interface InterpreterOptions {
  /** The machine's linear memory: state block first, RAM at layout's RAM. */
  readonly memory: WebAssembly.Memory;
  readonly ramBytes: number;
  readonly mmio: Bus;
  readonly platform: CpuPlatform;
  readonly interrupts: InterruptSource;
  /** Where what takes long to generate is kept for the next process; without it nothing is. */
  readonly cacheFolder?: string | undefined;
  /** Makes the tier that runs hot code faster, if there is to be one. */
  readonly tier?: (host: TierHost) => Tier;
}

/**
 * The interpreter as an engine: slices, steps, and the module's imports,
 * which share the counts and flags of the slice that is under way.
 */
export class Interpreter implements CpuEngine, MemoryMapping {
  readonly name: 'interpret' | 'translate';
  readonly view: DataView;
  readonly context: CpuContext;
  readonly #bytes: Uint8Array;
  readonly #options: InterpreterOptions;
  readonly #wasm: InterpreterExports;
  readonly #handlers: readonly (Handler | undefined)[];
  readonly #routines: readonly SystemRoutine[];
  readonly #slots: GeneratedInterpreter['slots'];
  readonly #decoder: RunDecoder;
  readonly #cache: CodeCache;
  readonly #map: PhysicalMap;
  readonly #tier: Tier | undefined;
  readonly #events: Events;
  /** A record and the stop behind it, for single steps. */
  readonly #stepRecord: number = RECORDS.base + RECORDS.bytes;
  #retired = 0;
  /** Ticks that no instruction was retired in: of exceptions, and of string instructions that gave way. */
  #otherTicks = 0;
  /** Budget of the run of the module that is under way. */
  #given = 0;
  /** The module is running, and so `#retired` is behind. */
  #inModule = false;
  /** What runs is JavaScript that the module called behind an instruction's count. */
  #counted = false;
  #stopRequested = false;
  #running = false;
  /** Routines of cpu/system that handlers asked for. */
  #routineCalls = 0;
  /** How often code was overwritten since the module was entered. */
  #rewrites = 0;
  /** That was too often for one slice. */
  #slow = false;
  #stolen = 0;
  /** Exceptions of the current run of the module: each costs one of the budget, though it is no instruction. */
  #charged = 0;
  /** Exceptions since the slice's end was last brought forward for them. */
  #spent = 0;
  #stepNext = false;
  /** Instructions until the tier looks where the processor is. */
  #untilSample = 0;
  /** Instructions retired when it did last. */
  #sampledAt = 0;

  constructor(options: InterpreterOptions) {
    this.#options = options;
    this.name = options.tier ? 'translate' : 'interpret';
    const { interpreter, module } = interpreterModule(options.cacheFolder);
    this.view = new DataView(options.memory.buffer);
    this.#bytes = new Uint8Array(options.memory.buffer);
    this.#handlers = interpreter.handlers;
    this.#slots = interpreter.slots;
    this.#routines = interpreter.routines.map((name) => {
      const routine = systemRoutines[name];
      if (!routine) throw new Error(`no system routine ${name}`);
      return routine;
    });
    const instance = new WebAssembly.Instance(module, {
      env: {
        memory: options.memory,
        mmioRead: (physical: number, bytes: number) => this.#mmioRead(physical >>> 0, bytes),
        mmioWrite: (physical: number, bytes: number) => this.#mmioWrite(physical >>> 0, bytes),
        invalidate: (physical: number, bytes: number) => this.#invalidate(physical >>> 0, bytes),
        codePage: (physical: number) => this.#cache.slots(physical >>> 0),
        elapsed: () => this.#options.platform.elapsed?.() ?? 0,
        decode: () => this.#afterCount(this.#decode()),
        fault: () => this.#afterCount(this.#fault()),
        system: () => this.#afterCount(this.#system()),
      },
    });
    this.#wasm = instance.exports as unknown as InterpreterExports; // the module's exports have no types of their own
    this.#cache = new CodeCache(this.view, this.#slots.stale, (frame) => this.#wasm.protect(frame, 4096));
    this.#map = new PhysicalMap(this.view, options.ramBytes);
    const handlers = new Handlers(interpreter, instance.exports, options.memory);
    this.#tier = options.tier?.({
      view: this.view,
      memory: options.memory,
      interpreter,
      exports: this.#wasm,
      cache: this.#cache,
      ramBytes: options.ramBytes,
      haveHandlers: (encoding) => handlers.have(interpreter.table.encodings[encoding]),
      codeAddress: (linear) => {
        const access = (this.view.getInt32(S.accessBits, true) & ACCESS.user) | ACCESS.fetch | ACCESS.peek;
        const physical = this.#wasm.translate(BigInt.asIntN(64, linear), access);
        this.view.setInt32(S.faultCanonical, 0, true);
        const address = physical < 0n ? DEVICE_CODE : this.#map.code(Number(physical));
        return address < DEVICE_CODE ? address : undefined;
      },
    });
    this.#cache.onFlush = () => {
      this.#untilSample = 0;
      this.#tier?.flush();
    };
    this.#bytes.fill(0xff, TLB.base, TLB.base + TLB.views * TLB_VIEW_BYTES + FETCH.views * FETCH_VIEW_BYTES);
    this.#bytes.fill(0xff, WATCH_VIEW, WATCH_VIEW + TLB_VIEW_BYTES);
    this.view.setBigInt64(S.a20Mask, -1n, true);
    this.view.setUint32(S.tlbFilled, 0, true);
    this.view.setUint32(S.tlbGlobal, 0, true);
    this.view.setInt32(S.tscFast, options.platform.elapsed ? 1 : 0, true);
    this.view.setBigInt64(S.pageBase, 1n, true);
    this.context = makeContext({
      view: this.view,
      wasm: this.#wasm,
      platform: options.platform,
      ramBytes: options.ramBytes,
      modeChanged: () => this.#modeChanged(),
    });
    this.#events = new Events({
      context: this.context,
      wasm: this.#wasm,
      interrupts: options.interrupts,
      initialized: () => {
        this.#stepNext = false;
        this.stateChanged();
      },
    });
    this.#decoder = new RunDecoder({
      view: this.view,
      bytes: this.#bytes,
      interpreter,
      wasm: this.#wasm,
      handlers,
      cache: this.#cache,
      codeAddress: (physical) => this.#map.code(physical),
      deviceByte: (physical) => options.mmio.read(physical, 1),
    });
  }

  get instructions(): number {
    return this.#retired;
  }

  get ticks(): number {
    const settled = this.#retired + this.#otherTicks;
    if (!this.#inModule) return settled;
    const { view } = this;
    const left = view.getInt32(S.budget, true) + this.#stolen;
    const record = this.#counted ? 0 : view.getUint32(S.record, true);
    const ordinal = record === 0 ? 0 : view.getUint8(record + RECORD.ordinal);
    return settled + this.#given - left + ordinal;
  }

  tiers(): Readonly<Record<string, number>> {
    const translated = this.#tier?.instructions();
    if (translated === undefined) return { [this.name]: this.#retired };
    return { interpret: this.#retired - translated, translate: translated };
  }

  counters(): Readonly<Record<string, number>> {
    const count = (offset: number): number => Number(this.view.getBigUint64(offset, true));
    return {
      tlbMisses: count(S.tlbMisses),
      mmio: count(S.mmioExits),
      decoded: count(S.decodedInstructions),
      codeInvalidations: count(S.codeInvalidations),
      codeCacheFlushes: this.#cache.flushes,
      systemRoutines: this.#routineCalls,
      ...this.#tier?.counters(),
    };
  }

  // Slices

  run(instructions: number): SliceEnd {
    return this.#run(instructions, (left) => this.#slice(left));
  }

  runExactly(ticks: number): SliceEnd {
    const end = this.ticks + ticks;
    const margin = Math.max(RUN_LENGTH, this.#tier?.overrun ?? 0);
    // Behind the last look at the budget that leaves room for what may come before the next one, instructions are steps.
    const turn = (left: number): number => {
      const remaining = Math.min(left, end - this.ticks);
      return remaining > margin ? this.#slice(remaining - margin) : this.#stepWhole();
    };
    return this.#run(ticks, turn, end);
  }

  /** Runs by `turn`, which gets what is left, until so much is used up, or exactly at `end`. */
  #run(instructions: number, turn: (left: number) => number, end = Number.POSITIVE_INFINITY): SliceEnd {
    let last = this.#retired + instructions;
    this.#stopRequested = false;
    this.#slow = false;
    // Of exceptions in a run that ended otherwise.
    this.#spent = 0;
    this.#running = true;
    try {
      while (this.#retired < last && this.ticks < end) {
        const before = this.#retired;
        if (this.view.getInt32(S.interruptPending, true) !== 0 && !this.#events.takeInterrupt())
          return 'triple-fault';
        if (this.view.getInt32(S.halted, true) !== 0) return 'halted';
        const code = this.#mustStep() ? this.#step() : turn(last - this.#retired);
        if (code === END.triple) return 'triple-fault';
        if (this.#stopRequested) return 'stopped';
        // A slice that takes far longer than its instructions let expect ends, but where it ends at an instruction.
        if (this.#slow && end === Number.POSITIVE_INFINITY) return 'budget';
        // Exceptions whose handlers raise the next one come to an end of the slice too.
        last -= this.#retired === before ? Math.max(1, this.#spent) : this.#spent;
        this.#spent = 0;
      }
      return 'budget';
    } finally {
      this.#running = false;
    }
  }

  #mustStep(): boolean {
    return this.#stepNext || this.#events.stepwise;
  }

  #slice(limit: number): number {
    const tier = this.#tier;
    this.#events.repeating = false;
    if (!tier) return this.#runModule(limit);
    if (this.#untilSample <= 0) this.#untilSample = tier.sliceLimit();
    const before = this.#retired;
    const code = this.#runModule(Math.min(limit, this.#untilSample));
    if (code === LEAVE.next) {
      tier.sliceEnded(this.#retired - this.#sampledAt);
      this.#sampledAt = this.#retired;
      this.#untilSample = 0;
    }
    // What a device ends early counts too: else a guest that is busy with those is never sampled.
    else this.#untilSample = Math.max(1, this.#untilSample - (this.#retired - before));
    return code;
  }

  /** The module, until it is left or the budget used up; a run may go on behind that by RUN_LENGTH, a tier by its overrun. */
  #runModule(budget: number): number {
    this.view.setInt32(S.budget, budget, true);
    this.#given = budget;
    this.#rewrites = 0;
    this.#inModule = true;
    const code = this.#wasm.run();
    this.#inModule = false;
    this.#settle(budget);
    return code;
  }

  /** After the module was left: the count is brought up to date and a patched record put right. */
  #settle(budget: number): void {
    this.#unpatch();
    const left = this.view.getInt32(S.budget, true) + this.#stolen;
    this.#stolen = 0;
    const charged = this.#charged + this.view.getInt32(S.charge, true);
    this.view.setInt32(S.charge, 0, true);
    this.#retired += budget - left - charged;
    this.#otherTicks += charged;
    this.#spent += charged;
    this.#charged = 0;
  }

  /** One instruction, for the trap flag, breakpoints and the interrupt shadow. */
  #step(): number {
    const events = this.#events;
    const instead = events.debugBefore();
    if (instead) {
      this.#otherTicks += 1;
      return events.deliver(instead) ? 0 : END.triple;
    }
    const before = this.#retired;
    this.#stepNext = false;
    events.stepBegins();
    const code = this.#stepOne(true);
    events.stepEnds();
    if (code === END.triple) return code;
    const repeats = this.view.getUint8(this.#stepRecord + RECORD.rep) !== 0;
    return events.trapBehind(this.#retired !== before, repeats) ? code : END.triple;
  }

  /** One instruction as in a slice: string instructions go on until they give way. */
  #stepWhole(): number {
    this.#events.repeating = false;
    return this.#stepOne(false);
  }

  /** Runs exactly one instruction from a record of its own, or one repetition of it; gives `run`'s code. */
  #stepOne(repetition: boolean): number {
    const { view } = this;
    const linear = linearRip(this.view);
    const record = this.#stepRecord;
    view.setBigInt64(S.pageBase, BigInt.asIntN(64, linear & ~0xfffn), true);
    try {
      this.#decoder.step(linear, record);
    } catch (error) {
      this.#otherTicks += 1;
      this.#spent += 1;
      return this.#events.thrown(error) ? 0 : END.triple;
    }
    const offset = Number(linear & 0xfffn);
    // A slot table of one entry: whatever the instruction branches to is not run any more, for the budget is used up.
    view.setUint32(S.pageSlots, record - offset * 4 - 4, true);
    view.setUint32(record - 4, record, true);
    view.setInt32(S.stepping, repetition ? 1 : 0, true);
    const code = this.#runModule(1);
    view.setInt32(S.stepping, 0, true);
    view.setBigInt64(S.pageBase, 1n, true);
    return code;
  }

  async dispose(): Promise<void> {
    await this.#tier?.dispose();
  }

  // What others ask for while it runs

  requestStop(): void {
    this.#stopRequested = true;
    this.#leaveSoon();
  }

  interruptsChanged(): void {
    this.view.setInt32(S.interruptPending, 1, true);
    if (this.#running) this.#leaveSoon();
  }

  /** Makes the instruction that is under way the last of its run: the next record stops, and so does a branch. */
  #leaveSoon(): void {
    if (!this.#running || this.#stolen !== 0) return;
    const { view } = this;
    const left = view.getInt32(S.budget, true);
    this.#stolen = left + 0x1000;
    view.setInt32(S.budget, -0x1000, true);
    const record = view.getUint32(S.record, true);
    if (record === 0) return;
    const next = record + RECORDS.bytes;
    const handler = view.getUint16(next + RECORD.handler, true);
    if (handler === this.#slots.stop) return;
    view.setUint32(S.patchedRecord, next, true);
    view.setUint32(S.patchedHandler, handler, true);
    view.setUint16(next + RECORD.handler, this.#slots.stop, true);
  }

  #unpatch(): void {
    const { view } = this;
    const patched = view.getUint32(S.patchedRecord, true);
    if (patched === 0) return;
    view.setUint32(S.patchedRecord, 0, true);
    // An invalidation may have come between.
    if (view.getUint16(patched + RECORD.handler, true) === this.#slots.stop) {
      view.setUint16(patched + RECORD.handler, view.getUint32(S.patchedHandler, true), true);
    }
  }

  // Imports of the module

  /** Back into the module, whose instructions the budget does not count before their run ends. */
  #afterCount(code: number): number {
    this.#counted = false;
    return code;
  }

  #mmioRead(physical: number, bytes: number): void {
    const { mmio } = this.#options;
    for (let at = 0; at < bytes; ) {
      const size = bytes - at >= 4 ? 4 : bytes - at >= 2 ? 2 : 1;
      const value = mmio.read(physical + at, size);
      if (size === 4) this.view.setUint32(SCRATCH + at, value, true);
      else if (size === 2) this.view.setUint16(SCRATCH + at, value, true);
      else this.view.setUint8(SCRATCH + at, value);
      at += size;
    }
  }

  #mmioWrite(physical: number, bytes: number): void {
    const { mmio } = this.#options;
    for (let at = 0; at < bytes; ) {
      const size = bytes - at >= 4 ? 4 : bytes - at >= 2 ? 2 : 1;
      const from = WRITE_SCRATCH + at;
      const value =
        size === 4
          ? this.view.getUint32(from, true)
          : size === 2
            ? this.view.getUint16(from, true)
            : this.view.getUint8(from);
      mmio.write(physical + at, size, value);
      at += size;
    }
  }

  #invalidate(physical: number, bytes: number): void {
    bump(this.view, S.codeInvalidations);
    const inPage = Math.min(bytes, 4096 - (physical & 0xfff));
    this.#cache.invalidate(physical, inPage);
    this.#tier?.invalidate(physical, inPage);
    this.#rewrites += 1;
    if (this.#rewrites === REWRITES && this.#inModule) {
      this.#slow = true;
      this.#leaveSoon();
    }
  }

  /** A handler recorded an exception. */
  #fault(): number {
    const { view } = this;
    this.#counted = true;
    const record = view.getUint32(S.record, true);
    let used = 1;
    if (record !== 0) {
      this.#setRip(record);
      used += view.getUint8(record + RECORD.ordinal);
    }
    view.setInt32(S.budget, view.getInt32(S.budget, true) - used, true);
    this.#charged += 1;
    this.#unpatch();
    return this.#events.recorded(record) ? this.#afterEvent() : END.triple;
  }

  /** Whether the module may go on: not when an interrupt can be taken, the processor halts or must be stepped. */
  #afterEvent(): number {
    const { view } = this;
    // A step ends here too: the handler's first instruction is not part of it.
    if (view.getInt32(S.stepping, true) !== 0) return END.events;
    if (this.#stopRequested || view.getInt32(S.halted, true) !== 0 || this.#mustStep()) return END.events;
    if (view.getInt32(S.interruptPending, true) !== 0) return END.events;
    return 0;
  }

  #setRip(record: number): void {
    const { view } = this;
    const linear = view.getBigInt64(S.pageBase, true) + BigInt(view.getUint16(record + RECORD.offset, true));
    view.setBigInt64(S.rip, this.#ripOfLinear(linear), true);
  }

  #ripOfLinear(linear: bigint): bigint {
    if (this.view.getInt32(S.codeMode, true) === CODE64) return BigInt.asIntN(64, linear);
    return BigInt.asUintN(32, linear - this.view.getBigInt64(segment(CS) + SEG.base, true));
  }

  /** A handler asked for a routine of cpu/system. */
  #system(): number {
    const { view } = this;
    this.#counted = true;
    this.#routineCalls += 1;
    const record = view.getUint32(S.record, true);
    const patched =
      view.getUint32(S.patchedRecord, true) === record ? view.getUint32(S.patchedHandler, true) : 0;
    const inRecord = patched || view.getUint16(record + RECORD.handler, true);
    const handler = this.#handlers[this.#tier?.handlerBehind(inRecord) ?? inRecord];
    const routine = this.#routines[view.getInt32(S.systemRoutine, true)];
    if (!handler || !routine) throw new Error('a system routine without its instruction');
    this.#setRip(record);
    const ordinal = view.getUint8(record + RECORD.ordinal);
    view.setInt32(S.budget, view.getInt32(S.budget, true) - ordinal - 1, true);
    this.#events.routineBegins(routine);
    try {
      routine(this.context, new SystemInstruction(this.context, record, handler.info));
      if (!this.#events.routineEnded(routine)) return END.triple;
    } catch (error) {
      this.#charged += 1;
      return this.#events.thrown(error) ? this.#afterEvent() : END.triple;
    }
    return this.#afterEvent();
  }

  /** Decodes from S.rip on. */
  #decode(): number {
    this.#counted = true;
    this.#unpatch();
    const result = this.#decoder.run();
    if (result === 'done') return 0;
    if (result === 'uncached') {
      this.#stepNext = true;
      return END.events;
    }
    this.view.setUint32(S.record, 0, true);
    return this.#fault();
  }

  // What is outside of instructions

  memoryWritten(gpa: number, length: number): void {
    for (let at = gpa; at < gpa + length; ) {
      const bytes = Math.min(gpa + length - at, 4096 - (at & 0xfff));
      const mask = CODE_MASK + (at >>> 12) * 8;
      if ((this.view.getUint32(mask, true) | this.view.getUint32(mask + 4, true)) !== 0)
        this.#invalidate(at, bytes);
      at += bytes;
    }
  }

  stateChanged(): void {
    this.#map.setRam(this.#options.ramBytes);
    this.#cache.flush();
    this.#wasm.flush(0);
    this.#modeChanged();
  }

  /** The A20 gate: closed, bit 20 of every physical address of the processor's is 0. Open at power-on. */
  setA20(open: boolean): void {
    this.view.setBigInt64(S.a20Mask, open ? -1n : ~0x10_0000n, true);
    this.#wasm.flush(0);
  }

  // What is behind guest-physical addresses

  mapMemory(range: MappedRange): void {
    this.#map.map(range);
    this.#wasm.flush(0);
  }

  unmapMemory(base: number, length: number): void {
    this.#map.unmap(base, length);
    this.#wasm.flush(0);
  }

  writtenPages(range: MappedRange): readonly number[] {
    const written = this.#map.clean(range.base, range.length);
    if (written.length > 0) this.#wasm.protect(range.frame, range.length);
    return written;
  }

  forgetWrites(range: MappedRange): void {
    this.#map.forget(range.base, range.length);
  }

  #modeChanged(): void {
    this.#events.breakpoints = applyMode(this.view, this.#wasm);
  }
}
