import { BLOCKED, type InterruptSource } from '../engine.ts';
import { IF, RF, TF } from '../flags.ts';
import { RECORD, S, SS, WATCH } from '../layout.ts';
import { type CpuContext, GuestFault, TripleFault, VECTOR } from '../system/context.ts';
import { codeBreakpoints } from '../system/debug.ts';
import { type DeliveredEvent, deliver, faultEvent } from '../system/delivery.ts';
import { systemRoutines } from '../system/index.ts';
import type { SystemRoutine } from '../system/instruction.ts';
import { initState } from '../system/reset.ts';
import type { InterpreterExports } from './exports.ts';
import { linearRip } from './run-decoder.ts';

/** DR6, and its bit for single steps (SDM vol. 3, 19.2.3). */
const DR6 = S.dr + 48;
const DR6_BS = 0x4000;
/** `S.shadow` behind a load of SS, which holds debug exceptions off as well (SDM vol. 3, 6.8.3). */
const SHADOW_SS = 2;

const routinesOf = (...names: string[]): ReadonlySet<SystemRoutine | undefined> =>
  new Set(names.map((name) => systemRoutines[name]));
/** Routines behind which no single-step trap follows (SDM vol. 3, 19.3.1.4). */
const ENTERS = routinesOf('int', 'int3', 'int1', 'into');
/** Routines behind which TF as they leave it decides: user code is trapped as if its SYSCALL had just ended. */
const CROSSES = routinesOf('syscall', 'sysret');

export interface EventParts {
  readonly context: CpuContext;
  readonly wasm: InterpreterExports;
  readonly interrupts: InterruptSource;
  /** INIT has set the state block anew. */
  readonly initialized: () => void;
}

/**
 * What comes between instructions: interrupts, NMI, INIT, exceptions, and the
 * traps of breakpoints and single steps. Whoever runs instructions asks at
 * their borders; what is delivered goes to the guest's handler, whose first
 * instruction is then the next one. Where a method gives false, the processor
 * is shut down by a triple fault.
 *
 * Around a step: `debugBefore`, `stepBegins`, the instruction, `stepEnds`, and
 * `trapBehind` unless it ended in a triple fault.
 */
export class Events {
  /** DR7 enables a breakpoint: every instruction is to be a step. */
  breakpoints = false;
  /** The last step was an iteration of a string instruction that goes on. */
  repeating = false;
  readonly #view: DataView;
  readonly #parts: EventParts;
  /** Which TF decides whether a trap follows the instruction stepped: of before, of after, or none does. */
  #trapRule: 'before' | 'after' | 'none' = 'before';
  /** S.pendingDebug as it was before the instruction. */
  #heldDebug = 0;
  /** EFLAGS, S.shadow and RIP as they were before the step. */
  #flagsBefore = 0;
  #shadowBefore = 0;
  #ripBefore = 0n;

  constructor(parts: EventParts) {
    this.#parts = parts;
    this.#view = parts.context.view;
  }

  /** Whether instructions must be steps now: for the trap flag, breakpoints and the interrupt shadow. */
  get stepwise(): boolean {
    const view = this.#view;
    return (
      this.breakpoints || view.getInt32(S.shadow, true) !== 0 || (view.getUint32(S.eflags, true) & TF) !== 0
    );
  }

  // Interrupts

  /** Delivers the most urgent interrupt if it may be. */
  takeInterrupt(): boolean {
    const view = this.#view;
    const { interrupts } = this.#parts;
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
    return this.deliver({
      vector: kind === 'nmi' ? VECTOR.NMI : vector,
      kind: 'external',
      repeating: this.repeating,
    });
  }

  /** INIT (SDM vol. 3, 10.1.1): MSRs, the TSC, x87 and XMM registers stay. */
  #init(): void {
    initState(this.#view);
    this.repeating = false;
    this.#parts.initialized();
  }

  // Exceptions

  /** Delivers the exception that a handler recorded in the state block; `record` is its instruction's, or 0. */
  recorded(record: number): boolean {
    const view = this.#view;
    let vector = view.getInt32(S.faultVector, true);
    if (record !== 0 && vector === VECTOR.GP && view.getInt32(S.faultCanonical, true) !== 0) {
      view.setInt32(S.faultCanonical, 0, true);
      if (view.getUint8(record + RECORD.segment) === SS) vector = VECTOR.SS;
    }
    const errorCode =
      view.getInt32(S.faultHasCode, true) !== 0 ? view.getInt32(S.faultCode, true) : undefined;
    const cr2 = vector === VECTOR.PF ? view.getBigUint64(S.faultAddress, true) : undefined;
    this.#forgetBreakpointsMet();
    return this.deliver({ vector, errorCode, kind: 'fault', cr2 });
  }

  /** Delivers the fault that a system routine, or fetching, threw; throws what is no fault of the guest's again. */
  thrown(error: unknown): boolean {
    if (error instanceof TripleFault) return false;
    if (!(error instanceof GuestFault)) throw error;
    this.#forgetBreakpointsMet();
    return this.deliver(faultEvent(error));
  }

  /** Of an instruction that did not complete no breakpoint is told. */
  #forgetBreakpointsMet(): void {
    this.#view.setInt32(S.pendingDebug, this.#heldDebug, true);
  }

  // Steps

  /** The #DB that comes before the instruction at S.rip, if one does: it is to be delivered instead of a step. */
  debugBefore(): DeliveredEvent | undefined {
    const view = this.#view;
    if (view.getInt32(S.shadow, true) === SHADOW_SS) return undefined;
    // Breakpoints that the frame of an interrupt met.
    const pending = this.#pendingTrap(0);
    if (pending) return pending;
    const resumes = (view.getUint32(S.eflags, true) & RF) !== 0;
    if (!this.breakpoints || resumes || this.repeating) return undefined;
    const hits = codeBreakpoints(this.#parts.context, linearRip(view));
    return hits === 0 ? undefined : { vector: VECTOR.DB, kind: 'fault', dr6: hits };
  }

  stepBegins(): void {
    const view = this.#view;
    const flags = view.getUint32(S.eflags, true);
    this.#flagsBefore = flags;
    this.#shadowBefore = view.getInt32(S.shadow, true);
    this.#ripBefore = view.getBigInt64(S.rip, true);
    if ((flags & RF) !== 0) view.setUint32(S.eflags, (flags & ~RF) >>> 0, true);
    this.#trapRule = 'before';
    this.#heldDebug = view.getInt32(S.pendingDebug, true);
  }

  stepEnds(): void {
    const view = this.#view;
    const shadow = this.#shadowBefore;
    this.#heldDebug = 0;
    // A shadow lasts for one instruction, unless that one casts the other kind.
    if (shadow !== 0 && view.getInt32(S.shadow, true) === shadow) view.setInt32(S.shadow, 0, true);
  }

  /** Delivers the #DB that a step leaves behind, if it does: one that `executed`, of an instruction that `repeats`. */
  trapBehind(executed: boolean, repeats: boolean): boolean {
    const view = this.#view;
    this.repeating = executed && repeats && view.getBigInt64(S.rip, true) === this.#ripBefore;
    // Behind MOV SS debug exceptions wait for the next instruction, and single-stepping is not done.
    if (view.getInt32(S.shadow, true) === SHADOW_SS) return true;
    const trap = this.#pendingTrap(executed && this.#trapFlag() ? DR6_BS : 0);
    return trap === undefined || this.deliver(trap);
  }

  /** TF as it counts for the instruction stepped. */
  #trapFlag(): boolean {
    if (this.#trapRule === 'none') return false;
    const flags = this.#trapRule === 'before' ? this.#flagsBefore : this.#view.getUint32(S.eflags, true);
    return (flags & TF) !== 0;
  }

  /** Takes the breakpoints met so far, to be told with `reason` (bits of DR6). */
  #pendingTrap(reason: number): DeliveredEvent | undefined {
    const dr6 = this.#view.getInt32(S.pendingDebug, true) | reason;
    if (dr6 === 0) return undefined;
    this.#view.setInt32(S.pendingDebug, 0, true);
    return { vector: VECTOR.DB, kind: 'trap', dr6, repeating: this.repeating };
  }

  // System routines

  /** Before a routine of cpu/system runs: what it means to traps, NMI and breakpoints that are held back. */
  routineBegins(routine: SystemRoutine): void {
    if (ENTERS.has(routine)) this.#trapRule = 'none';
    else if (CROSSES.has(routine)) this.#trapRule = 'after';
    if (routine === systemRoutines['iret']) this.#view.setInt32(S.nmiBlocked, 0, true);
    if (routine === systemRoutines['int1']) this.#tellHeldBreakpoints();
  }

  /** #DB by INT1 tells of the breakpoints that MOV SS held back as well. */
  #tellHeldBreakpoints(): void {
    const view = this.#view;
    const held = view.getInt32(S.pendingDebug, true);
    if (held === 0) return;
    view.setUint32(DR6, ((view.getUint32(DR6, true) & ~0xf) | held) >>> 0, true);
    view.setInt32(S.pendingDebug, 0, true);
  }

  /** Behind a routine that completed: what a change of TF or RF asks for. */
  routineEnded(routine: SystemRoutine): boolean {
    const view = this.#view;
    const flags = view.getUint32(S.eflags, true);
    // RF matters to instruction breakpoints alone, and would else have to be cleared behind the next instruction.
    if ((flags & RF) !== 0 && !this.breakpoints) view.setUint32(S.eflags, (flags & ~RF) >>> 0, true);
    const traps = (flags & TF) !== 0 && CROSSES.has(routine) && view.getInt32(S.stepping, true) === 0;
    return !traps || this.deliver({ vector: VECTOR.DB, kind: 'trap', dr6: DR6_BS });
  }

  // Delivery

  /** Goes into the handler of an event. */
  deliver(event: DeliveredEvent): boolean {
    if (this.#enterHandler(event)) return true;
    const view = this.#view;
    try {
      view.setInt32(S.halted, 0, true);
      // What the processor pushes is not checked for alignment; delivery ends with a mode change, which sets this anew.
      view.setInt32(S.watch, view.getInt32(S.watch, true) & ~WATCH.alignment, true);
      deliver(this.#parts.context, event);
      return true;
    } catch (error) {
      if (error instanceof TripleFault) return false;
      throw error;
    }
  }

  /** The short way into the handler of an interrupt or a fault; false when it is not that simple, and nothing is changed. */
  #enterHandler(event: DeliveredEvent): boolean {
    const { vector, kind, errorCode, cr2 } = event;
    if (event.nextRip !== undefined || vector === VECTOR.DB || (kind !== 'external' && kind !== 'fault'))
      return false;
    if (cr2 !== undefined) this.#view.setBigUint64(S.cr2, BigInt.asUintN(64, cr2), true);
    const setFlags = kind === 'fault' || event.repeating === true ? RF : 0;
    const { wasm } = this.#parts;
    return wasm.enterHandler(vector, errorCode ?? 0, errorCode === undefined ? 0 : 1, setFlags) !== 0;
  }
}
