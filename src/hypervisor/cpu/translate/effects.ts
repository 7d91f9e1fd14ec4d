import {
  type Encoding,
  FORM,
  type FormKind,
  handlerKey,
  type OperandSpec,
  operandBits,
} from '../decode/encoding.ts';
import type { Builder, Condition, Shift, Size, Val } from '../isa/builder.ts';
import { FS, GS, gpr, S, segment, xmm } from '../layout.ts';
import { type Label, Local } from '../wasm/function.ts';
import {
  F32,
  F64,
  I32,
  I64,
  LOADS,
  type LoadName,
  type StoreName,
  V128,
  type ValType,
} from '../wasm/opcodes.ts';
import { i32 } from '../wasm/value.ts';

/** How a form goes into a region. */
export type Treatment =
  /** Its semantics are translated. */
  | 'native'
  /** The interpreter's handler is called for it: loops, and runtime functions that look at registers in the state block. */
  | 'handler'
  /** The region ends in front of it: TypeScript does it, or it changes what a region relies on. */
  | 'leave';

/** Where a form goes on. */
export type Flow = 'next' | 'conditional' | 'jump' | 'indirect' | 'ends';

/** What a form does, whatever its operands: found by running its semantics once. */
export interface Effects {
  readonly treatment: Treatment;
  readonly flow: Flow;
  /** General and vector registers beside the operands: bits by number. */
  readonly gprReads: number;
  readonly gprWrites: number;
  readonly xmmReads: number;
  readonly xmmWrites: number;
  readonly flagsRead: boolean;
  readonly flagsWritten: 'none' | 'some' | 'but carry' | 'all';
  /** Names of the runtime functions that it calls. */
  readonly calls: readonly string[];
  /** Whether it has a quick way for a settled MXCSR: see Builder.settledMxcsr. */
  readonly settles: boolean;
  /** Written inside of an `if`: registers by number, operands by index, flags. */
  readonly conditional: {
    readonly gprs: number;
    readonly xmms: number;
    readonly operands: readonly number[];
    readonly flags: boolean;
  };
}

const TYPES: Readonly<Record<Size, ValType>> = { 8: I32, 16: I32, 32: I32, 64: I64, 128: V128, 256: V128 };

/** The wasm type in which an operand is read. */
export function operandType(spec: OperandSpec, bits: Size): ValType {
  return spec.width === 'ss' ? F32 : spec.width === 'sd' ? F64 : TYPES[bits];
}

/**
 * Runtime functions that leave the general and vector registers, the flags and
 * guest memory alone; what they take and give are arguments, results, MXCSR,
 * the x87 state and scratch.
 */
const PURE =
  /^(mulHighS|selectorOf|controlRegister|divide[US]|probeWrite|unitFault|mmxMark|traced|pdep.*|pext.*|sha\w+|sse(Scalar|Packed|ToInt|Round|FromInt|Dot|Narrow|Extend|FromPacked|Crc|Aes|Carryless|Min|Multiple|Compare|Rcp|Rsqrt)\w*|x87_\w+)$/;
/** Those of them that reach guest memory through the slow path. */
const IMPURE = /^(x87_(fldenv|fnstenv|fnsave|frstor|write80|fstp_m80|fbstp))$/;

export function isPure(name: string): boolean {
  return PURE.test(name) && !IMPURE.test(name);
}

class Unsupported extends Error {}

/** Runs semantics to see what they do. Values are dummies of the right type. */
class EffectsBuilder implements Builder {
  readonly opsize: 16 | 32 | 64;
  readonly long: boolean;
  readonly #encoding: Encoding;
  readonly #form: FormKind;
  readonly #repeats: boolean;
  #depth = 0;
  #ended = false;
  treatment: Treatment = 'native';
  flow: Flow = 'next';
  gprReads = 0;
  gprWrites = 0;
  xmmReads = 0;
  xmmWrites = 0;
  flagsRead = false;
  flagsWritten: Effects['flagsWritten'] = 'none';
  conditionalGprs = 0;
  conditionalXmms = 0;
  readonly conditionalOperands = new Set<number>();
  conditionalFlags = false;
  readonly calls = new Set<string>();
  settles = false;

  constructor(encoding: Encoding, long: boolean, opsize: 16 | 32 | 64, form: FormKind, repeats: boolean) {
    this.#encoding = encoding;
    this.#form = form;
    this.#repeats = repeats;
    this.long = long;
    this.opsize = opsize;
  }

  get operandCount(): number {
    return this.#encoding.operands.length;
  }
  #spec(index: number): OperandSpec {
    const spec = this.#encoding.operands[index];
    if (!spec) throw new RangeError(`${this.#encoding.text} has no operand ${index}`);
    return spec;
  }
  operandSize(index: number): Size {
    return operandBits(this.#spec(index), this.opsize);
  }
  get flat(): boolean {
    return this.#form === FORM.base || this.#form === FORM.indexed;
  }
  isMemory(index: number): boolean {
    const { kind } = this.#spec(index).what;
    return kind === 'moffs' || (kind === 'modrm-rm' && this.#form !== FORM.register);
  }

  #dummy(type: ValType): Local {
    return new Local(type, 0);
  }
  #atMost(treatment: Treatment): void {
    if (treatment === 'leave' || this.treatment === 'native') this.treatment = treatment;
  }

  read(index: number): Val {
    const spec = this.#spec(index);
    const { kind } = spec.what;
    // Where an immediate count is 0 after all, the flags before it are found the long way.
    if (SHIFTS.has(this.#encoding.instruction.name) && (kind === 'immediate' || kind === 'constant'))
      return i32(1);
    if (!this.isMemory(index) && !(spec.file === 'gpr' || spec.file === 'xmm' || spec.file === 'mmx'))
      return this.registerAddress(index);
    return this.#dummy(operandType(spec, this.operandSize(index)));
  }
  readSigned(index: number): Val {
    return this.read(index);
  }
  write(index: number, _value: Val): void {
    if (!this.isMemory(index) && this.#depth > 0) this.conditionalOperands.add(index);
  }
  readPair(_index: number): readonly [Val, Val] {
    throw new Unsupported();
  }
  writePair(_index: number, _low: Val, _high: Val): void {
    throw new Unsupported();
  }
  vsib(_index: number, _element: Val, _bytes: number): Val {
    throw new Unsupported();
  }
  offset(_index: number): Val {
    return this.#dummy(I64);
  }
  linear(_index: number, _bytes: number, _access: 'r' | 'w' | 'rw'): Val {
    return this.#dummy(I64);
  }
  further(_linear: Val, _bytes: number): Val {
    return this.#dummy(I64);
  }
  bitString(_index: number, _delta: Val, _bytes: number, _access: 'r' | 'w'): Val {
    return this.#dummy(I64);
  }
  immediate(_index: number, type: ValType = I64): Val {
    return this.#dummy(type);
  }
  load(name: LoadName, _linear: Val): Val {
    return this.#dummy(LOADS[name][1]);
  }
  store(_name: StoreName, _linear: Val, _value: Val): void {}
  checkAligned(_linear: Val, _bytes: number): void {}
  stack(_delta: number | Val, _bytes: number, _access: 'r' | 'w'): Val {
    this.gprReads |= 1 << 4;
    return this.#dummy(I64);
  }
  adjustStack(_delta: number | Val): void {
    this.#writesGpr(4);
  }
  push(_size: Size, _value: Val): void {
    this.gprReads |= 1 << 4;
    this.#writesGpr(4);
  }
  top(size: Size): Val {
    this.gprReads |= 1 << 4;
    return this.#dummy(TYPES[size]);
  }
  repPrefix(): Val {
    return this.#repeats ? this.#dummy(I32) : i32(0);
  }
  addressSize(): Val {
    return this.#dummy(I32);
  }
  segmented(_which: 'record' | 'es', _offset: Val, _bytes: number, _access: 'r' | 'w'): Val {
    return this.#dummy(I64);
  }

  #writesGpr(n: number): void {
    this.gprReads |= 1 << n;
    this.gprWrites |= 1 << n;
    if (this.#depth > 0) this.conditionalGprs |= 1 << n;
  }
  gpr(n: number, size: Size): Val {
    this.gprReads |= 1 << n;
    return this.#dummy(TYPES[size]);
  }
  setGpr(n: number, _size: Size, _value: Val): void {
    this.#writesGpr(n);
  }
  state(name: LoadName, offset: number): Val {
    const register = registerAt(offset);
    if (register?.file === 'gpr') this.gprReads |= 1 << register.number;
    if (register?.file === 'xmm') this.xmmReads |= 1 << register.number;
    return this.#dummy(LOADS[name][1]);
  }
  setState(_name: StoreName, offset: number, _value: Val): void {
    const register = registerAt(offset);
    if (register?.file === 'gpr') this.#writesGpr(register.number);
    if (register?.file === 'xmm') {
      this.xmmReads |= 1 << register.number;
      this.xmmWrites |= 1 << register.number;
      if (this.#depth > 0) this.conditionalXmms |= 1 << register.number;
    }
    if (register === undefined && DERIVED.has(offset)) this.#atMost('leave');
  }
  registerAddress(index: number): Val {
    const { file } = this.#spec(index);
    if (file === 'gpr' || file === 'xmm') this.#atMost('handler');
    return this.#dummy(I32);
  }

  #setsFlags(all: boolean): void {
    if (this.#depth > 0) {
      this.conditionalFlags = true;
      this.flagsRead = true;
      if (this.flagsWritten === 'none') this.flagsWritten = 'some';
    } else if (all) this.flagsWritten = 'all';
    else {
      this.flagsRead = this.flagsWritten === 'all' ? this.flagsRead : true;
      if (this.flagsWritten === 'none') this.flagsWritten = 'some';
    }
  }
  #readsFlags(): void {
    if (this.flagsWritten !== 'all') this.flagsRead = true;
  }
  flagsAdd(_size: Size, _r: Val, _x: Val, _y: Val, _carry?: Val): void {
    this.#setsFlags(true);
  }
  flagsSub(_size: Size, _r: Val, _x: Val, _y: Val, _carry?: Val): void {
    this.#setsFlags(true);
  }
  flagsLogic(_size: Size, _r: Val): void {
    this.#setsFlags(true);
  }
  flagsResult(_size: Size, _r: Val, _flags: { cf: Val; of: Val; af?: Val }): void {
    this.#setsFlags(true);
  }
  flagsShift(_shift: Shift, _size: Size, _r: Val, _x: Val, _count: Val): void {
    this.#setsFlags(true);
  }
  flagsStep(_size: Size, _r: Val, _delta: 1 | -1): void {
    if (this.#depth > 0 || this.flagsWritten !== 'none') return this.#setsFlags(false);
    this.flagsWritten = 'but carry';
  }
  flagsAll(_flags: { cf: Val; pf: Val; af: Val; zf: Val; sf: Val; of: Val }): void {
    this.#setsFlags(true);
  }
  setCf(_value: Val): void {
    this.#setsFlags(false);
  }
  setCfOf(_cf: Val, _of: Val): void {
    this.#setsFlags(false);
  }
  setZf(_value: Val): void {
    this.#setsFlags(false);
  }
  cf(): Val {
    this.#readsFlags();
    return this.#dummy(I32);
  }
  of(): Val {
    return this.cf();
  }
  af(): Val {
    return this.cf();
  }
  condition(_cc: Condition | Val): Val {
    return this.cf();
  }
  rflags(): Val {
    return this.cf();
  }
  setArithmeticFlags(_rflags: Val): void {
    this.#setsFlags(true);
  }

  let(value: Val): Local {
    return value.known === undefined ? this.#dummy(value.type) : (value as Local); // as the translator's builder does
  }
  local(type: ValType): Local {
    return this.#dummy(type);
  }
  set(): void {}
  if(condition: Val, then: (label: Label) => void, otherwise?: (label: Label) => void): void {
    const label = { depth: 0 };
    if (condition.known !== undefined) return (condition.known === 0 ? otherwise : then)?.(label);
    this.#depth += 1;
    then(label);
    otherwise?.(label);
    this.#depth -= 1;
  }
  unlikely(condition: Val, then: (label: Label) => void): void {
    this.if(condition, then);
  }
  leaveIf(_condition: Val, _then: () => void, otherwise: () => void): void {
    otherwise();
  }
  loop(_body: (label: Label) => void): void {
    throw new Unsupported();
  }
  block(_body: (label: Label) => void): void {
    throw new Unsupported();
  }
  br(_label: Label): void {
    throw new Unsupported();
  }
  brIf(_label: Label, _condition: Val): void {
    throw new Unsupported();
  }
  select(_condition: Val, whenTrue: Val, _whenFalse: Val): Val {
    return this.#dummy(whenTrue.type);
  }

  #flows(flow: Flow): void {
    if (this.#depth === 0) {
      if (!this.#ended) this.flow = flow;
      this.#ended = true;
    } else if (flow !== 'ends') this.flow = flow === 'jump' ? 'conditional' : 'indirect';
  }
  raise(_vector: number, _errorCode?: Val | number): void {
    this.#flows('ends');
  }
  again(): void {
    this.#flows('indirect');
  }
  jump(_target: Val): void {
    this.#flows('indirect');
  }
  jumpRelative(_index: number): void {
    this.#flows('jump');
  }
  nextRip(): Val {
    return this.#dummy(I64);
  }
  thisRip(): Val {
    return this.#dummy(I64);
  }

  outside(): void {
    this.#atMost('handler');
  }
  #calls(name: string): void {
    this.calls.add(name);
    if (!isPure(name)) this.#atMost('handler');
  }
  call(name: string, ...[first]: Val[]): Val {
    this.#calls(name);
    // Outside of 64-bit mode a region takes its segments to be flat, but for FS and GS.
    if (name === 'loadData' && !this.long && !BASED.has(first?.known)) this.#atMost('leave');
    return this.#dummy(RESULTS.get(name) ?? (name.startsWith('sse') || name.startsWith('sha') ? V128 : I32));
  }
  run(name: string): void {
    this.#calls(name);
  }
  expression(name: string): Val {
    return this.call(name);
  }
  callFaulting(name: string): void {
    this.#calls(name);
  }
  settledMxcsr(): Val {
    return this.#dummy(I32);
  }
  wentExactly(): void {
    this.settles = true;
  }
  holdsNumbers(): boolean {
    return false;
  }
  nowNumbers(): void {}
  system(_name: string): void {
    if (this.#depth === 0) this.#atMost('leave');
    this.#flows('ends');
  }
}

/** Runtime functions whose result is not of the type that their name suggests. */
const RESULTS = new Map<string, ValType>([
  ['mulHighS', I64],
  ['x87_result', I64],
  ['x87_significand', I64],
  ['x87_quick_m32', I64],
  ['x87_quick_m64', I64],
  ['sseCrc32c', I32],
  ['sseRcp', I32],
  ['sseRsqrt', I32],
  ['sseCompareStrings', I32],
  ['sseImageGet64', I64],
  ['pdep', I64],
  ['pext', I64],
  ['tscNow', I64],
  ['controlRegister', I64],
]);

/** Segment registers of which a region asks the base at each access. */
const BASED = new Set<bigint | number | undefined>([segment(FS), segment(GS)]);

/** Instructions that leave the flags alone when their count is 0. */
const SHIFTS: ReadonlySet<string> = new Set([
  'rol',
  'ror',
  'rcl',
  'rcr',
  'shl',
  'shr',
  'sar',
  'shld',
  'shrd',
]);
/** Fields from which the engine derives how code runs. */
const DERIVED = new Set<number>([S.cr0, S.cr3, S.cr4, S.efer, S.cpl, S.rip, S.codeMode]);

/** The register that a byte of the state block belongs to. */
export function registerAt(
  offset: number,
): { readonly file: 'gpr' | 'xmm'; readonly number: number; readonly byte: number } | undefined {
  if (offset >= S.gpr && offset < gpr(16))
    return { file: 'gpr', number: (offset - S.gpr) >> 3, byte: (offset - S.gpr) & 7 };
  if (offset >= S.xmm && offset < xmm(16))
    return { file: 'xmm', number: (offset - S.xmm) >> 6, byte: (offset - S.xmm) & 63 };
  return undefined;
}

const cache = new WeakMap<Encoding, (Effects | undefined)[]>();

/** What a form does, with or without a REP prefix; found once. */
export function effectsOf(
  encoding: Encoding,
  long: boolean,
  opsize: 16 | 32 | 64,
  form: FormKind,
  rep: boolean,
): Effects {
  const repeats = rep && isString(encoding);
  let forms = cache.get(encoding);
  if (!forms) {
    forms = [];
    cache.set(encoding, forms);
  }
  const key = handlerKey(long, opsize, form) * 2 + Number(repeats);
  const known = forms[key];
  if (known) return known;
  const effects = find(encoding, long, opsize, form, repeats);
  forms[key] = effects;
  return effects;
}

function find(
  encoding: Encoding,
  long: boolean,
  opsize: 16 | 32 | 64,
  form: FormKind,
  repeats: boolean,
): Effects {
  const b = new EffectsBuilder(encoding, long, opsize, form, repeats);
  let { treatment } = b;
  const vector = encoding.operands.some((o) => o.file === 'xmm');
  try {
    encoding.instruction.semantics(b);
    treatment = b.treatment;
    // VEX-encoded vector rows clear the upper halves, which regions do not hold; outside of 64-bit mode what they may depends on more.
    if (encoding.vex !== undefined && (vector || !long) && treatment === 'native') treatment = 'handler';
  } catch (error) {
    if (!(error instanceof Unsupported)) throw error;
    treatment = 'handler';
  }
  const flow = treatment === 'leave' ? 'ends' : b.flow;
  // A handler that jumps goes where the interpreter goes on.
  if (treatment === 'handler' && flow !== 'next' && !isString(encoding)) treatment = 'leave';
  return {
    treatment,
    flow: treatment === 'leave' ? 'ends' : treatment === 'handler' ? 'next' : flow,
    gprReads: b.gprReads,
    gprWrites: b.gprWrites,
    xmmReads: b.xmmReads,
    xmmWrites: b.xmmWrites,
    flagsRead: treatment !== 'native' || b.flagsRead,
    flagsWritten: treatment === 'native' ? b.flagsWritten : 'some',
    calls: treatment === 'native' ? [...b.calls] : [],
    settles: treatment === 'native' && b.settles,
    conditional: {
      gprs: b.conditionalGprs,
      xmms: b.conditionalXmms,
      operands: [...b.conditionalOperands],
      flags: b.conditionalFlags,
    },
  };
}

/** Opcodes A4-A7 and AA-AF: they jump only to themselves, to give way. */
function isString(encoding: Encoding): boolean {
  return encoding.map === 0 && encoding.opcode >= 0xa4 && encoding.opcode <= 0xaf && !encoding.hasModrm;
}
