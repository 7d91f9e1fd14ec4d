import type { Bus } from '../../machine/bus.ts';
import { CODE64, type CodeMode, Decoder, MAX_INSTRUCTION_BYTES } from '../decode/decoder.ts';
import { AC, IF, RF, TF } from '../flags.ts';
import { BLOCKED, type CpuEngine, type InterruptSource, type SliceEnd } from '../engine.ts';
import { CODE_MASK, CS, FETCH, FETCH_VIEW_BYTES, RAM, RECORD, RECORDS, S, SCRATCH, SEG, segment, SS, TLB, TLB_VIEW_BYTES, WATCH, WATCH_VIEW } from '../layout.ts';
import { GuestFault, type CpuContext, type CpuPlatform, TripleFault, VECTOR } from '../system/context.ts';
import { enabledBreakpoints } from '../system/control.ts';
import { codeBreakpoints } from '../system/debug.ts';
import { deliver, faultEvent } from '../system/delivery.ts';
import { SystemInstruction, type SystemRoutine } from '../system/instruction.ts';
import { MsrStore } from '../system/msr-store.ts';
import { systemRoutines } from '../system/index.ts';
import { initState } from '../system/reset.ts';
import { CodeCache } from './code-cache.ts';
import { WRITE_SCRATCH } from './core.ts';
import { type GeneratedInterpreter, generateInterpreter, type Handler } from './generate.ts';
import { ACCESS } from './paging.ts';

/** What the module offers to JavaScript. */
interface Exports {
  run(): number;
  readable(linear: bigint, bytes: number): number;
  writable(linear: bigint, bytes: number, keep: number): number;
  commit(): void;
  translate(linear: bigint, access: number): bigint;
  fetch(linear: bigint): number;
  flush(keepGlobal: number): void;
  flushPage(linear: bigint): void;
  flushFetch(): void;
  protect(physical: number): void;
  enterHandler(vector: number, code: number, hasCode: number, setFlags: number): number;
}

/** Codes by which an import ends `run`; those below are LEAVE's. */
const END = { events: 16, triple: 17 } as const;

/** Instructions decoded in one go at most. */
const RUN_LENGTH = 48;

const CR4_SMAP = 1 << 21, CR4_OSFXSR = 1 << 9;
const CR0_EM = 4, CR0_TS = 8, CR0_AM = 1 << 18;
const DR6_BS = 0x4000;
const EFER_LMA = 1 << 10;
const ATTRIBUTE_L = 0x2000, ATTRIBUTE_D = 0x4000;

const routinesOf = (...names: string[]): ReadonlySet<SystemRoutine | undefined> =>
  new Set(names.map((name) => systemRoutines[name]));
/** Routines behind which no single-step trap follows (SDM vol. 3, 19.3.1.4). */
const ENTERS = routinesOf('int', 'int3', 'int1', 'into');
/** Routines behind which TF as they leave it decides: user code is trapped as if its SYSCALL had just ended. */
const CROSSES = routinesOf('syscall', 'sysret');

let generated: { readonly interpreter: GeneratedInterpreter; readonly module: WebAssembly.Module } | undefined;

/** The interpreter is the same for every machine of a process. */
function interpreterModule(): { readonly interpreter: GeneratedInterpreter; readonly module: WebAssembly.Module } {
  if (!generated) {
    const interpreter = generateInterpreter();
    generated = { interpreter, module: new WebAssembly.Module(interpreter.bytes) };
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
}

/** The interpreter as an engine. */
export class Interpreter implements CpuEngine {
  readonly name = 'interpret';
  readonly view: DataView;
  readonly context: CpuContext;
  readonly #bytes: Uint8Array;
  readonly #options: InterpreterOptions;
  readonly #wasm: Exports;
  readonly #handlers: readonly (Handler | undefined)[];
  readonly #routines: readonly SystemRoutine[];
  readonly #slots: GeneratedInterpreter['slots'];
  readonly #decoder: Decoder;
  readonly #cache: CodeCache;
  /** A record and the stop behind it, for single steps. */
  readonly #stepRecord: number = RECORDS.base + RECORDS.bytes;
  readonly #fetched = new Uint8Array(2 * MAX_INSTRUCTION_BYTES);
  #retired = 0;
  #stopRequested = false;
  #running = false;
  #stolen = 0;
  /** Exceptions of the current run of the module: each costs one of the budget, though it is no instruction. */
  #charged = 0;
  /** Exceptions since the slice's end was last brought forward for them. */
  #spent = 0;
  #stepNext = false;
  /** Which TF decides whether a trap follows the instruction stepped: of before, of after, or none does. */
  #trapRule: 'before' | 'after' | 'none' = 'before';
  /** DR7 enables a breakpoint: every instruction is a step. */
  #breakpoints = false;
  /** The last step was an iteration of a string instruction that goes on. */
  #repeating = false;
  /** S.pendingDebug as it was before the instruction. */
  #heldDebug = 0;

  constructor(options: InterpreterOptions) {
    this.#options = options;
    const { interpreter, module } = interpreterModule();
    this.view = new DataView(options.memory.buffer);
    this.#bytes = new Uint8Array(options.memory.buffer);
    this.#handlers = interpreter.handlers;
    this.#slots = interpreter.slots;
    this.#decoder = new Decoder(interpreter.table);
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
        decode: () => this.#decode(),
        fault: () => this.#fault(),
        system: () => this.#system(),
      },
    });
    this.#wasm = instance.exports as unknown as Exports; // the module's exports have no types of their own
    this.#cache = new CodeCache(this.view, this.#slots.stale, (physical) => this.#wasm.protect(physical));
    this.view.setUint32(S.ramSize, options.ramBytes, true);
    this.#bytes.fill(0xff, TLB.base, TLB.base + TLB.views * TLB_VIEW_BYTES + FETCH.views * FETCH_VIEW_BYTES);
    this.#bytes.fill(0xff, WATCH_VIEW, WATCH_VIEW + TLB_VIEW_BYTES);
    this.view.setBigInt64(S.a20Mask, -1n, true);
    this.view.setUint32(S.tlbFilled, 0, true);
    this.view.setBigInt64(S.pageBase, 1n, true);
    this.context = this.#makeContext();
  }

  get instructions(): number {
    return this.#retired;
  }

  counters(): Readonly<Record<string, number>> {
    const count = (offset: number): number => Number(this.view.getBigUint64(offset, true));
    return {
      tlbMisses: count(S.tlbMisses),
      mmio: count(S.mmioExits),
      decoded: count(S.decodedInstructions),
      codeInvalidations: count(S.codeInvalidations),
      codeCacheFlushes: this.#cache.flushes,
    };
  }

  // Slices

  run(instructions: number): SliceEnd {
    let end = this.#retired + instructions;
    this.#stopRequested = false;
    this.#running = true;
    try {
      while (this.#retired < end) {
        const before = this.#retired;
        if (this.view.getInt32(S.interruptPending, true) !== 0 && !this.#takeInterrupt()) return 'triple-fault';
        if (this.view.getInt32(S.halted, true) !== 0) return 'halted';
        const code = this.#mustStep() ? this.#step() : this.#slice(end - this.#retired);
        if (code === END.triple) return 'triple-fault';
        if (this.#stopRequested) return 'stopped';
        // Exceptions whose handlers raise the next one come to an end of the slice too.
        end -= this.#retired === before ? Math.max(1, this.#spent) : this.#spent;
        this.#spent = 0;
      }
      return 'budget';
    } finally {
      this.#running = false;
    }
  }

  #mustStep(): boolean {
    return this.#breakpoints || this.#stepNext || this.view.getInt32(S.shadow, true) !== 0 || (this.view.getUint32(S.eflags, true) & TF) !== 0;
  }

  #slice(budget: number): number {
    this.#repeating = false;
    this.view.setInt32(S.budget, budget, true);
    const code = this.#wasm.run();
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
    this.#spent += charged;
    this.#charged = 0;
  }

  /** One instruction, for the trap flag, breakpoints and the interrupt shadow. */
  #step(): number {
    const { view } = this;
    const flags = view.getUint32(S.eflags, true);
    const shadow = view.getInt32(S.shadow, true);
    const before = this.#retired;
    const rip = view.getBigInt64(S.rip, true);
    // Breakpoints that the frame of an interrupt met.
    if (shadow !== 2 && view.getInt32(S.pendingDebug, true) !== 0) return this.#debugTrap(false) ? 0 : END.triple;
    if (this.#breakpoints && (flags & RF) === 0 && shadow !== 2 && !this.#repeating) {
      const hits = codeBreakpoints(this, this.#linearRip());
      if (hits !== 0) return this.#deliver({ vector: VECTOR.DB, kind: 'fault', dr6: hits }) ? 0 : END.triple;
    }
    if ((flags & RF) !== 0) view.setUint32(S.eflags, (flags & ~RF) >>> 0, true);
    this.#stepNext = false;
    this.#trapRule = 'before';
    this.#heldDebug = view.getInt32(S.pendingDebug, true);
    const code = this.#stepOne();
    this.#heldDebug = 0;
    // A shadow lasts for one instruction, unless that one casts the other kind.
    if (shadow !== 0 && view.getInt32(S.shadow, true) === shadow) view.setInt32(S.shadow, 0, true);
    if (code === END.triple) return code;
    const executed = this.#retired !== before;
    const repeats = view.getUint8(this.#stepRecord + RECORD.rep) !== 0;
    this.#repeating = executed && repeats && view.getBigInt64(S.rip, true) === rip;
    const trapFlags = this.#trapRule === 'before' ? flags : this.#trapRule === 'after' ? view.getUint32(S.eflags, true) : 0;
    return this.#debugTrap(executed && (trapFlags & TF) !== 0) ? code : END.triple;
  }

  /** Delivers the #DB that an instruction leaves behind, if it does; false after a triple fault. */
  #debugTrap(single: boolean): boolean {
    const { view } = this;
    // Behind MOV SS debug exceptions wait for the next instruction, and single-stepping is not done.
    if (view.getInt32(S.shadow, true) === 2) return true;
    const dr6 = view.getInt32(S.pendingDebug, true) | (single ? DR6_BS : 0);
    if (dr6 === 0) return true;
    view.setInt32(S.pendingDebug, 0, true);
    return this.#deliver({ vector: VECTOR.DB, kind: 'trap', dr6, repeating: this.#repeating });
  }

  /** Runs exactly one instruction from a record of its own; gives `run`'s code. */
  #stepOne(): number {
    const { view } = this;
    const linear = this.#linearRip();
    const record = this.#stepRecord;
    view.setBigInt64(S.pageBase, BigInt.asIntN(64, linear & ~0xfffn), true);
    let handler: number;
    try {
      handler = this.#decodeAt(linear, record);
    } catch (error) {
      return this.#raise(error);
    }
    view.setUint16(record + RECORD.handler, handler, true);
    const offset = Number(linear & 0xfffn);
    this.#plain(record + RECORDS.bytes, this.#slots.stop, offset + this.#decoder.length, 1);
    // A slot table of one entry: whatever the instruction branches to is not run any more, for the budget is used up.
    view.setUint32(S.pageSlots, record - offset * 4 - 4, true);
    view.setUint32(record - 4, record, true);
    view.setInt32(S.budget, 1, true);
    view.setInt32(S.stepping, 1, true);
    const code = this.#wasm.run();
    view.setInt32(S.stepping, 0, true);
    this.#settle(1);
    view.setBigInt64(S.pageBase, 1n, true);
    return code;
  }

  // Events

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

  /** Delivers the most urgent interrupt if it may be; false after a triple fault. */
  #takeInterrupt(): boolean {
    const { view } = this;
    const { interrupts } = this.#options;
    const shadow = view.getInt32(S.shadow, true) !== 0;
    const maskable = !shadow && (view.getUint32(S.eflags, true) & IF) !== 0;
    const nmi = !shadow && view.getInt32(S.nmiBlocked, true) === 0;
    const kind = interrupts.poll((maskable ? 0 : BLOCKED.maskable) | (nmi ? 0 : BLOCKED.nmi));
    if (kind === 'none') {
      if (interrupts.poll() === 'none') view.setInt32(S.interruptPending, 0, true);
      return true;
    }
    const vector = interrupts.acknowledge(kind);
    if (kind === 'init' || kind === 'sipi' || kind === 'smi') {
      // The one processor is the bootstrap processor: INIT starts it at the reset vector, a SIPI means nothing to it.
      // There is no system management mode to enter.
      if (kind === 'init') this.#init();
      return true;
    }
    if (kind === 'nmi') view.setInt32(S.nmiBlocked, 1, true);
    return this.#deliver({ vector: kind === 'nmi' ? VECTOR.NMI : vector, kind: 'external', repeating: this.#repeating });
  }

  /** INIT (SDM vol. 3, 10.1.1): MSRs, the TSC, x87 and XMM registers stay. */
  #init(): void {
    initState(this.view);
    this.#stepNext = false;
    this.#repeating = false;
    this.stateChanged();
  }

  #deliver(event: Parameters<typeof deliver>[1]): boolean {
    if (this.#enterHandler(event)) return true;
    try {
      this.view.setInt32(S.halted, 0, true);
      // What the processor pushes is not checked for alignment; delivery ends with a mode change, which sets this anew.
      this.view.setInt32(S.watch, this.view.getInt32(S.watch, true) & ~WATCH.alignment, true);
      deliver(this.context, event);
      return true;
    } catch (error) {
      if (error instanceof TripleFault) return false;
      throw error;
    }
  }

  /** The short way into the handler of an interrupt or a fault; false when it is not that simple, and nothing is changed. */
  #enterHandler(event: Parameters<typeof deliver>[1]): boolean {
    const { vector, kind, errorCode, cr2 } = event;
    if (event.nextRip !== undefined || vector === VECTOR.DB || (kind !== 'external' && kind !== 'fault')) return false;
    if (cr2 !== undefined) this.view.setBigUint64(S.cr2, BigInt.asUintN(64, cr2), true);
    const setFlags = kind === 'fault' || event.repeating === true ? RF : 0;
    return this.#wasm.enterHandler(vector, errorCode ?? 0, errorCode === undefined ? 0 : 1, setFlags) !== 0;
  }

  /** After a system routine threw: delivers its fault. Gives the code for `run`. */
  #raise(error: unknown): number {
    if (error instanceof TripleFault) return END.triple;
    if (!(error instanceof GuestFault)) throw error;
    // Of an instruction that did not complete no breakpoint is told.
    this.view.setInt32(S.pendingDebug, this.#heldDebug, true);
    return this.#deliver(faultEvent(error)) ? 0 : END.triple;
  }

  // Imports of the module

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
        size === 4 ? this.view.getUint32(from, true) : size === 2 ? this.view.getUint16(from, true) : this.view.getUint8(from);
      mmio.write(physical + at, size, value);
      at += size;
    }
  }

  #invalidate(physical: number, bytes: number): void {
    this.#bump(S.codeInvalidations);
    const inPage = Math.min(bytes, 4096 - (physical & 0xfff));
    this.#cache.invalidate(physical, inPage);
  }

  #bump(counter: number, by = 1): void {
    this.view.setBigUint64(counter, this.view.getBigUint64(counter, true) + BigInt(by), true);
  }

  /** A handler recorded an exception. */
  #fault(): number {
    const { view } = this;
    const record = view.getUint32(S.record, true);
    let vector = view.getInt32(S.faultVector, true);
    if (record !== 0) {
      this.#setRip(record);
      view.setInt32(S.budget, view.getInt32(S.budget, true) - view.getUint8(record + RECORD.ordinal), true);
      if (vector === VECTOR.GP && view.getInt32(S.faultCanonical, true) !== 0) {
        view.setInt32(S.faultCanonical, 0, true);
        if (view.getUint8(record + RECORD.segment) === SS) vector = VECTOR.SS;
      }
    }
    view.setInt32(S.budget, view.getInt32(S.budget, true) - 1, true);
    this.#charged += 1;
    this.#unpatch();
    view.setInt32(S.pendingDebug, this.#heldDebug, true);
    const errorCode = view.getInt32(S.faultHasCode, true) !== 0 ? view.getInt32(S.faultCode, true) : undefined;
    const cr2 = vector === VECTOR.PF ? view.getBigUint64(S.faultAddress, true) : undefined;
    const delivered = this.#deliver({ vector, errorCode, kind: 'fault', cr2 });
    return delivered ? this.#afterEvent() : END.triple;
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
    const record = view.getUint32(S.record, true);
    const patched = view.getUint32(S.patchedRecord, true) === record ? view.getUint32(S.patchedHandler, true) : 0;
    const handler = this.#handlers[patched || view.getUint16(record + RECORD.handler, true)];
    const routine = this.#routines[view.getInt32(S.systemRoutine, true)];
    if (!handler || !routine) throw new Error('a system routine without its instruction');
    this.#setRip(record);
    const ordinal = view.getUint8(record + RECORD.ordinal);
    view.setInt32(S.budget, view.getInt32(S.budget, true) - ordinal - 1, true);
    if (ENTERS.has(routine)) this.#trapRule = 'none';
    else if (CROSSES.has(routine)) this.#trapRule = 'after';
    if (routine === systemRoutines['iret']) view.setInt32(S.nmiBlocked, 0, true);
    if (routine === systemRoutines['int1']) this.#tellHeldBreakpoints();
    try {
      routine(this.context, new SystemInstruction(this.context, record, handler.info));
      if (!this.#afterRoutine(routine)) return END.triple;
    } catch (error) {
      this.#charged += 1;
      const code = this.#raise(error);
      return code === 0 ? this.#afterEvent() : code;
    }
    return this.#afterEvent();
  }

  /** #DB by INT1 tells of the breakpoints that MOV SS held back as well. */
  #tellHeldBreakpoints(): void {
    const { view } = this;
    const held = view.getInt32(S.pendingDebug, true);
    if (held === 0) return;
    const at = S.dr + 48;
    view.setUint32(at, ((view.getUint32(at, true) & ~0xf) | held) >>> 0, true);
    view.setInt32(S.pendingDebug, 0, true);
  }

  /** What a change of TF or RF asks for; false after a triple fault. */
  #afterRoutine(routine: SystemRoutine): boolean {
    const { view } = this;
    const flags = view.getUint32(S.eflags, true);
    // RF matters to instruction breakpoints alone, and would else have to be cleared behind the next instruction.
    if ((flags & RF) !== 0 && !this.#breakpoints) view.setUint32(S.eflags, (flags & ~RF) >>> 0, true);
    const traps = (flags & TF) !== 0 && CROSSES.has(routine) && view.getInt32(S.stepping, true) === 0;
    return !traps || this.#deliver({ vector: VECTOR.DB, kind: 'trap', dr6: DR6_BS });
  }

  // Decoding

  #linearRip(): bigint {
    const rip = this.view.getBigUint64(S.rip, true);
    if (this.view.getInt32(S.codeMode, true) === CODE64) return rip;
    return BigInt.asUintN(32, this.view.getBigUint64(segment(CS) + SEG.base, true) + rip);
  }

  #plain(record: number, handler: number, offset: number, ordinal: number): void {
    const { view } = this;
    view.setUint16(record + RECORD.handler, handler, true);
    view.setUint8(record + RECORD.length, 0);
    view.setUint8(record + RECORD.ordinal, ordinal);
    view.setUint16(record + RECORD.offset, offset, true);
    view.setUint32(record + RECORD.link, 0, true);
  }

  /** Decodes a run from S.rip on into the cache. The page is in the fetch TLB. */
  #decode(): number {
    const { view } = this;
    this.#unpatch();
    const { record: first } = this.#cache.reserve(RUN_LENGTH + 4);
    const linear = this.#linearRip();
    if (view.getBigInt64(S.pageBase, true) !== BigInt.asIntN(64, linear & ~0xfffn)) return 0;
    const slots = view.getUint32(S.pageSlots, true);
    const page = this.#cache.page(slots);
    if (!this.#isRam(page.physical)) {
      // What a device answers is never kept.
      this.#stepNext = true;
      return END.events;
    }
    const base = RAM + page.physical;
    const start = Number(linear & 0xfffn);
    let offset = start;
    let record = first;
    let ordinal = 0;
    let next = 0;
    while (ordinal < RUN_LENGTH) {
      // What stands where a run begins is an instruction on two pages whose second page changed: decoded anew.
      next = offset < 4096 && ordinal > 0 ? view.getUint32(slots + offset * 4, true) : 0;
      if (offset >= 4096 || next !== 0) break;
      const result = this.#decoder.decode(this.#bytes, base + offset, base + 4096, page.mode);
      if (result === 'short') {
        // The first instruction of a run may go over the page's end; a later one starts a run of its own.
        if (ordinal === 0) return this.#decodeCrossing(linear, page.physical, slots, record);
        break;
      }
      view.setUint32(slots + offset * 4, record, true);
      const handler = this.#write(result, record, offset, ordinal, page.mode);
      record += RECORDS.bytes;
      ordinal += 1;
      offset += Math.max(1, this.#decoder.length);
      if (this.#handlers[handler]?.ends ?? true) break;
    }
    if (ordinal > 0) {
      this.#plain(record, this.#slots.goto, offset, ordinal);
      view.setUint32(record + RECORD.link, next, true);
      record += RECORDS.bytes;
      this.#cache.cover(page.physical, start, Math.min(offset, 4096));
    }
    this.#cache.take(record);
    this.#bump(S.decodedInstructions, ordinal);
    return 0;
  }

  /** Writes what was decoded, or the exception that it stands for. Gives the handler. */
  #write(result: 'ok' | 'invalid' | 'too-long', record: number, offset: number, ordinal: number, mode: CodeMode): number {
    if (result === 'ok') {
      const handler = this.#decoder.handler(mode);
      this.#decoder.write(this.view, record, offset, ordinal);
      this.view.setUint16(record + RECORD.handler, handler, true);
      return handler;
    }
    const handler = result === 'invalid' ? this.#slots.invalid : this.#slots.tooLong;
    this.#plain(record, handler, offset, ordinal);
    this.#decoder.length = 1;
    return handler;
  }

  /** An instruction on two pages: three records, of which the first checks that the second page is still the same. */
  #decodeCrossing(linear: bigint, physical: number, slots: number, record: number): number {
    const { view } = this;
    const offset = Number(linear & 0xfffn);
    const nextPage = BigInt.asIntN(64, (linear & ~0xfffn) + 4096n);
    const { flushes } = this.#cache;
    const tail = this.#fetchPage(nextPage);
    if (tail === undefined) {
      view.setUint32(S.record, 0, true);
      return this.#fault();
    }
    // Bringing in the page may have emptied the cache; then all starts again.
    if (this.#cache.flushes !== flushes) return 0;
    const head = 4096 - offset;
    this.#fetched.set(this.#bytes.subarray(RAM + physical + offset, RAM + physical + 4096));
    for (let i = 0; i < MAX_INSTRUCTION_BYTES; i++) this.#fetched[head + i] = this.#physicalByte(tail + i);
    const mode = view.getInt32(S.codeMode, true) as CodeMode;
    const result = this.#decoder.decode(this.#fetched, 0, head + MAX_INSTRUCTION_BYTES, mode);
    const second = record + RECORDS.bytes;
    this.#plain(record, this.#slots.cross, offset, 0);
    view.setUint32(record + RECORD.imm, tail, true);
    this.#write(result === 'short' ? 'too-long' : result, second, offset, 0, mode);
    this.#plain(second + RECORDS.bytes, this.#slots.goto, offset + this.#decoder.length, 1);
    const slot = slots + offset * 4;
    view.setUint32(slot, record, true);
    this.#cache.cover(physical, offset, 4096);
    if (this.#isRam(tail)) this.#cache.cover(tail, 0, 1);
    this.#cache.crossing(tail, record, slot);
    this.#cache.take(second + 2 * RECORDS.bytes);
    this.#bump(S.decodedInstructions);
    return 0;
  }

  /** Physical address of a page of code, with an entry in the fetch TLB; undefined after a fault was recorded. */
  #fetchPage(linear: bigint): number | undefined {
    if (this.#wasm.fetch(linear) !== 0) return undefined;
    const index = Number((BigInt.asUintN(64, linear) >> 12n) & BigInt(FETCH.entries - 1));
    return this.view.getUint32(this.view.getUint32(S.fetchView, true) + index * FETCH.stride + 12, true);
  }

  /** Decodes one instruction into a record outside the cache; throws GuestFault. Gives its handler. */
  #decodeAt(linear: bigint, record: number): number {
    const { view } = this;
    const mode = view.getInt32(S.codeMode, true) as CodeMode;
    const offset = Number(linear & 0xfffn);
    const head = Math.min(4096 - offset, MAX_INSTRUCTION_BYTES);
    const physical = this.#translateFetch(linear) + offset;
    for (let i = 0; i < head; i++) this.#fetched[i] = this.#physicalByte(physical + i);
    let result = this.#decoder.decode(this.#fetched, 0, head, mode);
    if (result === 'short') {
      const tail = this.#translateFetch((linear & ~0xfffn) + 4096n);
      for (let i = head; i < MAX_INSTRUCTION_BYTES; i++) this.#fetched[i] = this.#physicalByte(tail + i - head);
      result = this.#decoder.decode(this.#fetched, 0, MAX_INSTRUCTION_BYTES, mode);
    }
    return this.#write(result === 'short' ? 'too-long' : result, record, offset, 0, mode);
  }

  #translateFetch(linear: bigint): number {
    const access = (this.view.getInt32(S.accessBits, true) & ACCESS.user) | ACCESS.fetch;
    const physical = this.#wasm.translate(BigInt.asIntN(64, linear), access);
    if (physical < 0n) throw this.#recordedFault();
    return Number(physical);
  }

  /** The fault that the module noted in the state block. */
  #recordedFault(): GuestFault {
    const { view } = this;
    const vector = view.getInt32(S.faultVector, true);
    const code = view.getInt32(S.faultHasCode, true) !== 0 ? view.getInt32(S.faultCode, true) : undefined;
    return new GuestFault(vector, code, vector === VECTOR.PF ? view.getBigUint64(S.faultAddress, true) : undefined);
  }

  // What is outside of instructions

  memoryWritten(gpa: number, length: number): void {
    for (let at = gpa; at < gpa + length; ) {
      const bytes = Math.min(gpa + length - at, 4096 - (at & 0xfff));
      const mask = CODE_MASK + (at >>> 12) * 8;
      if ((this.view.getUint32(mask, true) | this.view.getUint32(mask + 4, true)) !== 0) this.#invalidate(at, bytes);
      at += bytes;
    }
  }

  stateChanged(): void {
    this.view.setUint32(S.ramSize, this.#options.ramBytes, true);
    this.#cache.flush();
    this.#wasm.flush(0);
    this.#modeChanged();
  }

  /** The A20 gate: closed, bit 20 of every physical address of the processor's is 0. Open at power-on. */
  setA20(open: boolean): void {
    this.view.setBigInt64(S.a20Mask, open ? -1n : ~0x10_0000n, true);
    this.#wasm.flush(0);
  }

  #modeChanged(): void {
    const { view } = this;
    const cr0 = view.getUint32(S.cr0, true);
    const cr4 = view.getUint32(S.cr4, true);
    const attributes = view.getUint32(segment(CS) + SEG.attributes, true);
    const long = (view.getUint32(S.efer, true) & EFER_LMA) !== 0 && (attributes & ATTRIBUTE_L) !== 0;
    const mode = long ? CODE64 : (attributes & ATTRIBUTE_D) !== 0 ? 1 : 0;
    if (mode !== view.getInt32(S.codeMode, true)) {
      view.setInt32(S.codeMode, mode, true);
      this.#wasm.flushFetch();
    }
    const user = view.getInt32(S.cpl, true) === 3;
    const smap = !user && (cr4 & CR4_SMAP) !== 0 && (view.getUint32(S.eflags, true) & AC) === 0;
    const breakpoints = (view.getUint32(S.dr + 56, true) & 0xff) === 0 ? undefined : enabledBreakpoints(view);
    this.#breakpoints = breakpoints !== undefined && (breakpoints.code || breakpoints.data || breakpoints.io);
    const aligned = user && (cr0 & CR0_AM) !== 0 && (view.getUint32(S.eflags, true) & AC) !== 0;
    const watch = (aligned ? WATCH.alignment : 0) | (breakpoints?.data ? WATCH.data : 0) | (breakpoints?.io ? WATCH.io : 0);
    view.setInt32(S.watch, watch, true);
    this.#setView(user ? 2 : smap ? 0 : 1);
    view.setUint32(S.fetchView, FETCH.base + (user ? FETCH_VIEW_BYTES : 0), true);
    let traps = 0;
    if ((cr0 & (CR0_EM | CR0_TS)) !== 0) traps = 7;
    if ((cr4 & CR4_OSFXSR) === 0) traps |= 4;
    view.setInt32(S.unitTrap, traps, true);
    view.setBigInt64(S.pageBase, 1n, true);
  }

  #setView(index: 0 | 1 | 2): void {
    const watch = this.view.getInt32(S.watch, true);
    const watched = (watch & WATCH.data) !== 0 || (index === 2 && (watch & WATCH.alignment) !== 0);
    this.view.setUint32(S.tlbView, watched ? WATCH_VIEW : TLB.base + index * TLB_VIEW_BYTES, true);
    this.view.setInt32(S.accessBits, index === 2 ? ACCESS.user : index === 0 ? ACCESS.smap : 0, true);
  }

  /** Runs `access` in the view of the given privilege. */
  #asUser<T>(user: boolean, access: () => T): T {
    const { view } = this;
    const wasUser = (view.getInt32(S.accessBits, true) & ACCESS.user) !== 0;
    if (wasUser === user) return access();
    const tlbView = view.getUint32(S.tlbView, true);
    const accessBits = view.getInt32(S.accessBits, true);
    // What the processor itself does for user code (tables, stacks) is never let through by EFLAGS.AC.
    this.#setView(user ? 2 : (view.getUint32(S.cr4, true) & CR4_SMAP) !== 0 ? 0 : 1);
    try {
      return access();
    } finally {
      view.setUint32(S.tlbView, tlbView, true);
      view.setInt32(S.accessBits, accessBits, true);
    }
  }

  #makeContext(): CpuContext {
    const { view } = this;
    const wasm = this.#wasm;
    return {
      view,
      platform: this.#options.platform,
      msrs: new MsrStore(),
      readLinear: (linear, bytes, user) =>
        this.#asUser(user, () => {
          const at = wasm.readable(BigInt.asIntN(64, linear), bytes);
          if (at === 0) throw this.#recordedFault();
          switch (bytes) {
            case 1: return BigInt(view.getUint8(at));
            case 2: return BigInt(view.getUint16(at, true));
            case 4: return BigInt(view.getUint32(at, true));
            default: return view.getBigUint64(at, true);
          }
        }),
      writeLinear: (linear, bytes, value, user) =>
        this.#asUser(user, () => {
          const at = wasm.writable(BigInt.asIntN(64, linear), bytes, 0);
          if (at === 0) throw this.#recordedFault();
          switch (bytes) {
            case 1: view.setUint8(at, Number(value & 0xffn)); break;
            case 2: view.setUint16(at, Number(value & 0xffffn), true); break;
            case 4: view.setUint32(at, Number(value & 0xffff_ffffn), true); break;
            default: view.setBigUint64(at, BigInt.asUintN(64, value), true);
          }
          wasm.commit();
        }),
      probeWrite: (linear, bytes, user) =>
        this.#asUser(user, () => {
          if (wasm.writable(BigInt.asIntN(64, linear), 1, 0) === 0) throw this.#recordedFault();
          if (bytes > 1 && wasm.writable(BigInt.asIntN(64, linear + BigInt(bytes - 1)), 1, 0) === 0) throw this.#recordedFault();
        }),
      readPhysical64: (gpa) => (gpa + 8n <= BigInt(this.#options.ramBytes) ? view.getBigUint64(RAM + Number(gpa), true) : 0n),
      flushTlb: (kind) => {
        if (kind === 'all') wasm.flush(0);
        else if (kind === 'non-global') wasm.flush(1);
        else wasm.flushPage(BigInt.asIntN(64, kind.linear));
      },
      modeChanged: () => this.#modeChanged(),
    };
  }

  #isRam(physical: number): boolean {
    return physical < this.#options.ramBytes && !(physical >= 0xa0000 && physical < 0xc0000);
  }

  #physicalByte(physical: number): number {
    return this.#isRam(physical) ? (this.#bytes[RAM + physical] ?? 0) : this.#options.mmio.read(physical, 1);
  }
}
