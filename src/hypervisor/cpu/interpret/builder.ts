import { REGISTER_SLOTS } from '../decode/decoder.ts';
import { type Encoding, FORM, type FormKind, type OperandSpec, operandBits } from '../decode/encoding.ts';
import { AF, ARITHMETIC, AUX, CF, OF, PF, SF, VM, ZF } from '../flags.ts';
import { accessBytes, INT_LOADS, INT_STORES, loadFor, storeFor } from '../isa/accesses.ts';
import type { Builder, Condition, Shift, Size, Val } from '../isa/builder.ts';
import { shiftFlags, signed64, stepFlags } from '../isa/integer/flag-parts.ts';
import { isSettled } from '../isa/sse-arith.ts';
import { CS, ES, gpr, RECORD, S, SEG, SS, segment, TLB } from '../layout.ts';
import type { FunctionBuilder, FunctionRef, Label, Local } from '../wasm/function.ts';
import { I32, I64, type LoadName, type StoreName, type ValType } from '../wasm/opcodes.ts';
import { i32, i64, select, type Value, vconst } from '../wasm/value.ts';
import { type Core, dispatch, LEAVE, recordFault } from './core-parts.ts';
import { ACCESS } from './paging.ts';

/** What a form of an instruction is generated for. */
export interface Form {
  readonly encoding: Encoding;
  readonly long: boolean;
  readonly opsize: 16 | 32 | 64;
  readonly form: FormKind;
}

/** A store that has been translated: where it goes, and whether it took the slow path. */
interface Target {
  readonly host: Local;
  readonly slow: Local;
}

/** Bits of S.unitTrap. */
export const UNIT_BIT = { x87: 1, mmx: 2, sse: 4, avx: 8 } as const;

const ZEROES: readonly number[] = new Array(16).fill(0);
/** Bytes of an operand of 256 bits. */
const PAIR_BYTES = 32;

/** Which names a form's semantics asked for that depend on more than its operands. */
export interface Traits {
  readsLong: boolean;
  readsOpsize: boolean;
  /** The instruction never goes on to the next record. */
  ends: boolean;
}

/**
 * One class, for it is one interface: every method of `Builder` as wasm.
 *
 * The interpreter's side of the instruction table: emits one function for a
 * form, with operands taken from the record at run time.
 */
export class InterpreterBuilder implements Builder {
  readonly traits: Traits = { readsLong: false, readsOpsize: false, ends: false };
  readonly #f: FunctionBuilder;
  readonly #record: Local;
  readonly #form: Form;
  readonly #core: Core;
  readonly #runtime: ReadonlyMap<string, FunctionRef>;
  readonly #routine: (name: string) => number;
  readonly #slots: readonly (number | undefined)[];
  readonly #linears = new Map<number, Local>();
  readonly #targets = new Map<number, Target>();
  /** Addresses that `stack` gave: a non-canonical one raises #SS. */
  readonly #stackAddresses = new Set<Val>();
  #depth = 0;

  constructor(
    f: FunctionBuilder,
    form: Form,
    core: Core,
    runtime: ReadonlyMap<string, FunctionRef>,
    routine: (name: string) => number,
  ) {
    this.#f = f;
    this.#record = f.params[0] as Local;
    this.#form = form;
    this.#core = core;
    this.#runtime = runtime;
    this.#routine = routine;
    let slot = 0;
    this.#slots = form.encoding.operands.map((spec) => {
      const register =
        spec.what.kind === 'modrm-reg' ||
        spec.what.kind === 'opcode-reg' ||
        spec.what.kind === 'vex-reg' ||
        spec.what.kind === 'is4-reg' ||
        spec.what.kind === 'vsib-index' ||
        spec.what.kind === 'fixed-reg' ||
        (spec.what.kind === 'modrm-rm' && form.form === FORM.register);
      return register ? REGISTER_SLOTS[slot++] : undefined;
    });
  }

  /** Emits the whole handler. */
  emit(): void {
    const { instruction, vex } = this.#form.encoding;
    // AVX's own check knows of the modes.
    if (vex !== undefined && instruction.unit !== 'avx' && !this.long) {
      // No VEX prefixes in real-address and virtual-8086 mode (SDM vol. 2, 2.3).
      const recognized = this.#word(S.cr0).and(1).and(this.#word(S.eflags).and(VM).eqz());
      this.if(recognized.eqz(), () => this.raise(6));
    }
    if (instruction.privilege === 0) {
      this.if(this.#word(S.cpl).ne(0), () => this.raise(13, 0));
    }
    if (instruction.unit) {
      const bit = UNIT_BIT[instruction.unit];
      this.if(this.#word(S.unitTrap).and(bit), () => this.callFaulting('unitFault', i32(bit)));
    }
    instruction.semantics(this);
    if (!this.traits.ends) dispatch(this.#f, this.#record.add(32));
  }

  get opsize(): 16 | 32 | 64 {
    this.traits.readsOpsize = true;
    return this.#form.opsize;
  }
  get long(): boolean {
    this.traits.readsLong = true;
    return this.#form.long;
  }
  get operandCount(): number {
    return this.#form.encoding.operands.length;
  }

  #spec(index: number): OperandSpec {
    const spec = this.#form.encoding.operands[index];
    if (!spec) throw new RangeError(`${this.#form.encoding.text} has no operand ${index}`);
    return spec;
  }
  operandSize(index: number): Size {
    const spec = this.#spec(index);
    if (spec.width === 'v' || spec.width === 'z' || spec.width === 'y' || spec.width === 'none')
      this.traits.readsOpsize = true;
    return operandBits(spec, this.#form.opsize);
  }
  get flat(): boolean {
    const { form } = this.#form;
    return form === FORM.base || form === FORM.indexed;
  }
  isMemory(index: number): boolean {
    const { kind } = this.#spec(index).what;
    return kind === 'moffs' || (kind === 'modrm-rm' && this.#form.form !== FORM.register);
  }

  #word(offset: number): Value {
    return this.#f.load('i32.load', offset);
  }
  #field16(offset: number): Value {
    return this.#f.load('i32.load16_u', this.#record, offset);
  }

  // Operands

  registerAddress(index: number): Val {
    const spec = this.#spec(index);
    if (spec.what.kind === 'fixed-reg') return i32(gpr(spec.what.number));
    const slot = this.#slots[index];
    if (slot === undefined)
      throw new TypeError(`operand ${index} of ${this.#form.encoding.text} is no register`);
    return this.#f.let(this.#field16(slot));
  }

  read(index: number): Val {
    const spec = this.#spec(index);
    const bits = this.operandSize(index);
    switch (spec.what.kind) {
      case 'constant':
        return i32(spec.what.value);
      case 'immediate':
      case 'relative':
        return bits === 64 ? this.immediate(index) : this.#zeroExtended(this.immediate(index, I32), bits);
      default:
    }
    if (!this.isMemory(index)) {
      if (
        spec.file === 'segment' ||
        spec.file === 'control' ||
        spec.file === 'debug' ||
        spec.file === 'x87'
      ) {
        return this.registerAddress(index);
      }
      return this.#f.let(this.#f.load(loadFor(spec, bits), this.registerAddress(index)));
    }
    const name = loadFor(spec, bits);
    const linear = this.#operandLinear(index, spec, bits);
    if (spec.access === 'r') return this.load(name, linear);
    const target = this.#target(linear, bits / 8, true);
    this.#targets.set(index, target);
    return this.#f.let(this.#f.load(name, target.host));
  }

  readSigned(index: number): Val {
    const value = this.read(index);
    const bits = this.operandSize(index);
    return bits === 8 ? value.ext8() : bits === 16 ? value.ext16() : value;
  }

  write(index: number, value: Val): void {
    const spec = this.#spec(index);
    const bits = this.operandSize(index);
    if (!this.isMemory(index)) {
      const address = this.registerAddress(index);
      if (spec.file === 'gpr' && bits === 32) this.#f.store('i64.store', address, value.extendU());
      else this.#f.store(storeFor(spec, bits), address, value);
      if (spec.file === 'xmm' && this.#form.encoding.vex !== undefined)
        this.#f.store('v128.store', address, vconst(ZEROES), 16);
      return;
    }
    const target = this.#targets.get(index);
    if (target) this.#finishStore(storeFor(spec, bits), target, value);
    else this.store(storeFor(spec, bits), this.#operandLinear(index, spec, bits), value);
  }

  #operandLinear(index: number, spec: OperandSpec, bits: Size): Local {
    const linear = this.linear(index, bits / 8, spec.access) as Local;
    if (spec.aligned) this.checkAligned(linear, bits / 8);
    return linear;
  }

  readPair(index: number): readonly [Val, Val] {
    const f = this.#f;
    const at = this.isMemory(index)
      ? this.#readable(this.#operandLinear(index, this.#spec(index), 256), PAIR_BYTES)
      : this.registerAddress(index);
    return [f.let(f.load('v128.load', at)), f.let(f.load('v128.load', at, 16))];
  }

  writePair(index: number, low: Val, high: Val): void {
    const f = this.#f;
    const halves = [f.let(low), f.let(high)] as const;
    const target = this.isMemory(index)
      ? this.#target(this.#operandLinear(index, this.#spec(index), 256), PAIR_BYTES, false)
      : undefined;
    const at = target?.host ?? this.registerAddress(index);
    f.store('v128.store', at, halves[0]);
    f.store('v128.store', at, halves[1], 16);
    if (target) f.unlikely(target.slow, () => f.run(this.#core.commit));
  }

  vsib(index: number, element: Val, bytes: number): Val {
    const scale = this.#f.load('i64.load8_u', this.#record, RECORD.shift);
    return this.bitString(index, element.shl(scale), bytes, 'r');
  }

  offset(index: number): Val {
    const f = this.#f;
    if (this.#spec(index).what.kind === 'moffs') return this.immediate(index);
    const baseAddress = this.#field16(RECORD.baseReg);
    if (!this.long && this.#form.form !== FORM.general) return this.#offset32(baseAddress);
    const base = f.load('i64.load', baseAddress);
    const disp = f.load('i64.load32_s', this.#record, RECORD.disp);
    if (this.#form.form === FORM.base) return f.let(base.add(disp));
    const scaled = f
      .load('i64.load', this.#field16(RECORD.indexReg))
      .shl(f.load('i64.load8_u', this.#record, RECORD.shift));
    const sum = base.add(scaled).add(disp);
    if (this.#form.form === FORM.indexed) return f.let(sum);
    const unused = i64(64).sub(f.load('i64.load8_u', this.#record, RECORD.addressSize));
    return f.let(f.let(sum).shl(f.let(unused)).shrU(f.let(unused)));
  }

  /** The same where addresses have 32 bits. */
  #offset32(baseAddress: Val): Local {
    const f = this.#f;
    const base = f.load('i32.load', baseAddress).add(f.load('i32.load', this.#record, RECORD.disp));
    if (this.#form.form === FORM.base) return f.let(base.extendU());
    const index = f.load('i32.load', this.#field16(RECORD.indexReg));
    return f.let(base.add(index.shl(f.load('i32.load8_u', this.#record, RECORD.shift))).extendU());
  }

  linear(index: number, bytes: number, access: 'r' | 'w' | 'rw'): Val {
    const known = this.#linears.get(index);
    if (known) return known;
    const offset = this.offset(index);
    const linear = this.#inOperandSegment(offset, bytes, access !== 'r');
    this.#linears.set(index, linear);
    return linear;
  }
  /** Adds the base of the memory operand's segment. */
  #inOperandSegment(offset: Val, bytes: number, write: boolean): Local {
    const segmented = (): Local =>
      this.#segmentLinear(offset, this.#f.load('i32.load8_u', this.#record, RECORD.segment), bytes, write);
    if (!this.flat) return segmented();
    return this.long ? this.#f.let(offset) : this.#unlessFlat(this.#word(S.oddSegments), offset, segmented);
  }
  /** An offset in a segment that is flat, as most are outside of 64-bit mode; else what `segmented` makes of it. */
  #unlessFlat(odd: Val, offset: Val, segmented: () => Val): Local {
    const f = this.#f;
    const linear = f.local(I64, offset);
    f.unlikely(odd, () => f.set(linear, segmented()));
    return linear;
  }

  further(linear: Val, bytes: number): Val {
    return this.let(linear.add(bytes));
  }
  bitString(index: number, delta: Val, bytes: number, access: 'r' | 'w'): Val {
    const f = this.#f;
    const moved = f.let(this.offset(index).add(delta));
    let offset = moved;
    if (this.flat) {
      if (!this.long) offset = f.let(moved.and(0xffff_ffffn));
    } else {
      const unused = i64(64).sub(f.load('i64.load8_u', this.#record, RECORD.addressSize));
      offset = f.let(moved.shl(f.let(unused)).shrU(f.let(unused)));
    }
    return this.#inOperandSegment(offset, bytes, access === 'w');
  }

  /** Adds a segment's base; outside 64-bit mode checks its limit and wraps at 4 GiB. */
  #segmentLinear(offset: Val, index: Val, bytes: number, write: boolean): Local {
    const f = this.#f;
    const at = f.let(i32(S.segments).add(index.mul(SEG.stride)));
    const base = f.load('i64.load', at);
    if (this.long) return f.let(base.add(offset));
    const shared = f.let(offset);
    f.unlikely(f.load('i32.load', at, SEG.checked), () => {
      f.if(f.call(this.#core.checkSegment, index, shared, i32(bytes), i32(write ? ACCESS.write : 0)), () =>
        this.#leave(LEAVE.fault),
      );
    });
    return f.let(base.add(shared).and(0xffff_ffffn));
  }

  segmented(which: 'record' | 'es', offset: Val, bytes: number, access: 'r' | 'w'): Val {
    if (which === 'es' && this.long) return this.#f.let(offset);
    const index = which === 'es' ? i32(ES) : this.#f.load('i32.load8_u', this.#record, RECORD.segment);
    if (which === 'record' && this.long) {
      // Only FS and GS have a base in 64-bit mode.
      const base = this.#f.load('i64.load', i32(S.segments).add(index.mul(SEG.stride)));
      return this.#f.let(select(index.geU(4), base, i64(0)).add(offset));
    }
    return this.#segmentLinear(offset, index, bytes, access === 'w');
  }

  immediate(index: number, type: ValType = I64): Val {
    const f = this.#f;
    const { immediates } = this.#form.encoding;
    if (immediates.indexOf(index) === 0) {
      return type === I32
        ? f.load('i32.load', this.#record, RECORD.imm)
        : f.load('i64.load', this.#record, RECORD.imm);
    }
    return type === I32
      ? f.load('i32.load', this.#record, RECORD.disp)
      : f.load('i64.load32_s', this.#record, RECORD.disp);
  }

  #zeroExtended(value: Val, bits: Size): Val {
    return bits === 8 ? value.and(0xff) : bits === 16 ? value.and(0xffff) : value;
  }

  // Memory

  load(name: LoadName, linear: Val): Val {
    const f = this.#f;
    return f.let(f.load(name, this.#readable(linear, accessBytes(name))));
  }

  /** Where bytes at a linear address can be read. Leaves when they cannot. */
  #readable(linear: Val, bytes: number): Local {
    const f = this.#f;
    const address = f.let(linear);
    const entry = f.let(this.#tlbEntry(address));
    const host = f.local(I32, address.wrap().add(f.load('i32.load', entry, TLB.addend)));
    f.unlikely(f.load('i64.load', entry, TLB.readTag).ne(lastPage(address, bytes)), () => {
      f.store('i32.store', S.record, this.#record);
      f.set(host, f.call(this.#core.readable, address, i32(bytes)));
      f.unlikely(host.eqz(), () => this.#leaveAccess(linear));
    });
    return host;
  }

  store(name: StoreName, linear: Val, value: Val): void {
    const shared = this.#f.let(value);
    this.#finishStore(name, this.#target(linear, accessBytes(name), false), shared);
  }

  /** Leaves after an access faulted. */
  #leaveAccess(linear: Val): void {
    if (this.#stackAddresses.has(linear)) {
      this.#f.if(this.#word(S.faultCanonical), () => this.#f.store('i32.store', S.faultVector, i32(12)));
    }
    this.#leave(LEAVE.fault);
  }

  #tlbEntry(address: Val): Val {
    return this.#word(S.tlbView).add(
      address
        .wrap()
        .shrU(12)
        .and(TLB.entries - 1)
        .shl(5),
    );
  }

  #target(linear: Val, bytes: number, keep: boolean): Target {
    const f = this.#f;
    const address = f.let(linear);
    const slow = f.local(I32, 0);
    const entry = f.let(this.#tlbEntry(address));
    const host = f.local(I32, address.wrap().add(f.load('i32.load', entry, TLB.addend)));
    f.unlikely(f.load('i64.load', entry, TLB.writeTag).ne(lastPage(address, bytes)), () => {
      f.store('i32.store', S.record, this.#record);
      f.set(host, f.call(this.#core.writable, address, i32(bytes), i32(keep ? 1 : 0)));
      f.unlikely(host.eqz(), () => this.#leaveAccess(linear));
      f.set(slow, i32(1));
    });
    return { host, slow };
  }

  #finishStore(name: StoreName, target: Target, value: Val): void {
    this.#f.store(name, target.host, value);
    this.#f.unlikely(target.slow, () => this.#f.run(this.#core.commit));
  }

  checkAligned(linear: Val, bytes: number): void {
    this.if(linear.wrap().and(bytes - 1), () => this.raise(13, 0));
  }

  // Stack

  #stackMask(): Val {
    const big = this.#f.load('i32.load', segment(SS) + SEG.attributes).and(0x4000);
    return select(big, i64(0xffff_ffff), i64(0xffff));
  }
  stack(delta: number | Val, bytes: number, access: 'r' | 'w'): Val {
    const f = this.#f;
    const sp = f.let(f.load('i64.load', gpr(4)).add(delta));
    if (this.long) {
      this.#stackAddresses.add(sp);
      return sp;
    }
    return this.#unlessFlat(this.#oddStack(), sp.and(0xffff_ffffn), () =>
      this.#segmentLinear(f.let(sp.and(this.#stackMask())), i32(SS), bytes, access === 'w'),
    );
  }
  #oddStack(): Val {
    return this.#f.load('i32.load8_u', S.oddSegments + SS);
  }
  adjustStack(delta: number | Val): void {
    const f = this.#f;
    const rsp = f.load('i64.load', gpr(4));
    if (this.long) {
      f.store('i64.store', gpr(4), rsp.add(delta));
      return;
    }
    const sum = f.let(rsp.add(delta));
    const wide = (): void => f.store('i64.store', gpr(4), sum.and(0xffff_ffffn));
    f.if(
      this.#oddStack(),
      () => f.if(this.#stackMask().eq(0xffffn), () => f.store('i64.store16', gpr(4), sum), wide),
      wide,
    );
  }
  push(size: Size, value: Val): void {
    const bytes = size / 8;
    const shared = this.#f.let(value);
    this.store(
      size === 64 ? 'i64.store' : size === 32 ? 'i32.store' : 'i32.store16',
      this.stack(-bytes, bytes, 'w'),
      shared,
    );
    this.adjustStack(-bytes);
  }
  top(size: Size): Val {
    return this.load(
      size === 64 ? 'i64.load' : size === 32 ? 'i32.load' : 'i32.load16_u',
      this.stack(0, size / 8, 'r'),
    );
  }

  repPrefix(): Val {
    return this.#f.load('i32.load8_u', this.#record, RECORD.rep);
  }
  addressSize(): Val {
    return this.#f.load('i32.load8_u', this.#record, RECORD.addressSize);
  }

  // Registers and state

  gpr(n: number, size: Size): Val {
    return this.#f.let(this.#f.load(INT_LOADS[size] ?? 'i64.load', gpr(n)));
  }
  setGpr(n: number, size: Size, value: Val): void {
    if (size === 32) this.#f.store('i64.store', gpr(n), value.extendU());
    else this.#f.store(INT_STORES[size] ?? 'i64.store', gpr(n), value);
  }
  state(name: LoadName, offset: number): Val {
    return this.#f.let(this.#f.load(name, offset));
  }
  setState(name: StoreName, offset: number, value: Val): void {
    this.#f.store(name, offset, value);
  }

  // Flags

  #setLazy(result: Val, aux: Val): void {
    this.#f.store('i64.store', S.flagResult, result);
    this.#f.store('i32.store', S.flagAux, aux);
  }
  #carryAux(size: Size, carries: Val): Val {
    const low = AUX.carry | AUX.overflow | AUX.adjust;
    if (size === 64) {
      const shared = this.#f.let(carries);
      return shared
        .shrU(32n)
        .wrap()
        .and(AUX.carry | AUX.overflow)
        .or(shared.wrap().and(AUX.adjust));
    }
    if (size === 32) return carries.and(low);
    const shared = this.#f.let(carries);
    return shared
      .shl(32 - size)
      .and(AUX.carry | AUX.overflow)
      .or(shared.and(AUX.adjust));
  }
  flagsAdd(size: Size, r: Val, x: Val, y: Val): void {
    this.#setLazy(signed64(size, r), this.#carryAux(size, x.and(y).or(x.or(y).and(r.not()))));
  }
  flagsSub(size: Size, r: Val, x: Val, y: Val): void {
    this.#setLazy(signed64(size, r), this.#carryAux(size, x.not().and(y).or(x.xor(y).not().and(r))));
  }
  flagsLogic(size: Size, r: Val): void {
    this.#setLazy(signed64(size, r), i32(0));
  }
  flagsResult(size: Size, r: Val, flags: { cf: Val; of: Val; af?: Val }): void {
    const cf = this.#f.let(flags.cf);
    let aux = cf.shl(31);
    if (flags.of !== flags.cf) aux = aux.or(cf.xor(flags.of).shl(30));
    if (flags.af) aux = aux.or(flags.af.shl(3));
    this.#setLazy(signed64(size, r), aux);
  }
  flagsShift(shift: Shift, size: Size, r: Val, x: Val, count: Val): void {
    this.flagsResult(size, r, shiftFlags(shift, size, r, x, count));
  }
  flagsStep(size: Size, r: Val, delta: 1 | -1): void {
    this.flagsResult(size, r, { cf: this.cf(), ...stepFlags(size, r, delta) });
  }
  flagsAll(flags: { cf: Val; pf: Val; af: Val; zf: Val; sf: Val; of: Val }): void {
    const f = this.#f;
    const zf = f.let(flags.zf);
    const cf = f.let(flags.cf);
    const aux = cf
      .shl(31)
      .or(cf.xor(flags.of).shl(30))
      .or(flags.af.shl(3))
      .or(flags.sf)
      .or(flags.pf.xor(zf).shl(8));
    this.#setLazy(zf.eqz().extendU(), aux);
  }
  setCf(value: Val): void {
    const aux = this.#f.let(this.#word(S.flagAux));
    const flip = aux.shrU(31).xor(value);
    this.#f.store('i32.store', S.flagAux, aux.xor(flip.mul(AUX.carry | AUX.overflow)));
  }
  setCfOf(cf: Val, of: Val): void {
    const f = this.#f;
    const carry = f.let(cf);
    const kept = this.#word(S.flagAux).and(~(AUX.carry | AUX.overflow));
    f.store('i32.store', S.flagAux, kept.or(carry.shl(31)).or(carry.xor(of).shl(30)));
  }
  setZf(value: Val): void {
    const f = this.#f;
    const zf = f.let(value);
    const keep = f.let(this.#word(S.flagAux).and(AUX.carry | AUX.overflow | AUX.adjust));
    const aux = keep.or(this.#sf()).or(this.#pf().xor(zf).shl(8));
    const shared = f.let(aux);
    this.#setLazy(zf.eqz().extendU(), shared);
  }
  cf(): Val {
    return this.#f.let(this.#word(S.flagAux).shrU(31));
  }
  of(): Val {
    return this.#f.let(this.#of());
  }
  af(): Val {
    return this.#f.let(this.#word(S.flagAux).shrU(3).and(1));
  }
  #of(): Val {
    const aux = this.#word(S.flagAux);
    return aux.xor(aux.shl(1)).shrU(31);
  }
  #zf(): Val {
    return this.#f.load('i64.load', S.flagResult).eqz();
  }
  #sf(): Val {
    return this.#f.load('i64.load', S.flagResult).shrU(63n).wrap().xor(this.#word(S.flagAux)).and(1);
  }
  #pf(): Val {
    const odd = this.#f.load('i32.load8_u', S.flagResult).popcnt();
    return odd.xor(this.#word(S.flagAux).shrU(8)).xor(1).and(1);
  }
  condition(cc: Condition | Val): Val {
    if (typeof cc !== 'number') throw new TypeError('a condition is chosen by the row');
    const inverted = (cc & 1) === 1;
    const value = this.#condition(cc >> 1);
    return this.#f.let(inverted ? value.eqz() : value);
  }
  #condition(pair: number): Val {
    switch (pair) {
      case 0:
        return this.#of();
      case 1:
        return this.#word(S.flagAux).shrU(31);
      case 2:
        return this.#zf();
      case 3:
        return this.#zf().or(this.#word(S.flagAux).shrU(31));
      case 4:
        return this.#sf();
      case 5:
        return this.#pf();
      case 6:
        return this.#sf().xor(this.#of());
      default:
        return this.#zf().or(this.#sf().xor(this.#of()));
    }
  }
  rflags(): Val {
    const rest = this.#word(S.eflags).and(~ARITHMETIC);
    return this.#f.let(
      rest
        .or(2)
        .or(this.#word(S.flagAux).shrU(31))
        .or(this.#pf().shl(2))
        .or(this.#word(S.flagAux).shrU(3).and(1).shl(4))
        .or(this.#zf().shl(6))
        .or(this.#sf().shl(7))
        .or(this.#of().shl(11)),
    );
  }
  setArithmeticFlags(rflags: Val): void {
    const flags = this.#f.let(rflags);
    const bit = (mask: number): Val => flags.shrU(Math.log2(mask)).and(1);
    this.flagsAll({ cf: bit(CF), pf: bit(PF), af: bit(AF), zf: bit(ZF), sf: bit(SF), of: bit(OF) });
  }

  // Plumbing

  let(value: Val): Local {
    return this.#f.let(value);
  }
  local(type: ValType, initial?: Val | number | bigint): Local {
    return this.#f.local(type, initial);
  }
  set(local: Local, value: Val | number | bigint): void {
    this.#f.set(local, value);
  }
  if(condition: Val, then: (label: Label) => void, otherwise?: (label: Label) => void): void {
    this.#depth += 1;
    this.#f.if(condition, then, otherwise);
    this.#depth -= 1;
  }
  leaveIf(condition: Val, then: () => void, otherwise: () => void): void {
    this.if(condition, then, otherwise);
  }
  unlikely(condition: Val, then: (label: Label) => void): void {
    this.if(condition, (label) => {
      this.#f.rare();
      then(label);
    });
  }
  loop(body: (label: Label) => void): void {
    this.#depth += 1;
    this.#f.loop(body);
    this.#depth -= 1;
  }
  block(body: (label: Label) => void): void {
    this.#depth += 1;
    this.#f.block(body);
    this.#depth -= 1;
  }
  br(label: Label): void {
    this.#f.br(label);
  }
  brIf(label: Label, condition: Val): void {
    this.#f.brIf(label, condition);
  }
  select(condition: Val, whenTrue: Val, whenFalse: Val): Val {
    return select(condition, whenTrue, whenFalse);
  }

  // Leaving

  #ended(): void {
    if (this.#depth === 0) this.traits.ends = true;
  }
  #leave(code: number): void {
    if (this.#depth > 0) this.#f.rare();
    this.#f.store('i32.store', S.record, this.#record);
    this.#f.return(code);
  }
  raise(vector: number, errorCode?: Val | number): void {
    recordFault(this.#f, vector, errorCode);
    this.#leave(LEAVE.fault);
    this.#ended();
  }
  #retire(): void {
    const ordinal = this.#f.load('i32.load8_u', this.#record, RECORD.ordinal);
    this.#f.store('i32.store', S.budget, this.#word(S.budget).sub(ordinal).sub(1));
  }
  jump(target: Val): void {
    const shared = this.#f.let(target);
    if (!this.long) {
      this.if(shared.gtU(this.#f.load('i64.load32_u', segment(CS) + SEG.limit)), () => this.raise(13, 0));
    }
    this.#retire();
    this.#f.returnCall(this.long ? this.#core.jump64 : this.#core.jump32, shared);
    this.#ended();
  }
  again(): void {
    this.#f.store('i64.store', S.rip, this.thisRip());
    this.#retire();
    this.#f.return(LEAVE.next);
    this.#ended();
  }
  jumpRelative(_index: number): void {
    const f = this.#f;
    const link = f.let(f.load('i32.load', this.#record, RECORD.link));
    const ordinal = f.load('i32.load8_u', this.#record, RECORD.ordinal);
    const left = f.let(this.#word(S.budget).sub(ordinal).sub(1));
    f.unlikely(link.eqz().or(left.leS(0)), () => {
      if (this.long) f.returnCall(this.#core.branch64, this.#record);
      else f.returnCall(this.#core.branch32, this.#record, i64(this.opsize === 16 ? 0xffff : 0xffff_ffff));
    });
    f.store('i32.store', S.budget, left.add(f.load('i32.load8_u', link, RECORD.ordinal)));
    dispatch(f, link);
    this.#ended();
  }
  #linearHere(): Val {
    return this.#f
      .load('i64.load', S.pageBase)
      .add(this.#f.load('i64.load16_u', this.#record, RECORD.offset));
  }
  thisRip(): Val {
    const linear = this.#linearHere();
    if (this.long) return this.#f.let(linear);
    return this.#f.let(linear.sub(this.#f.load('i64.load', segment(CS) + SEG.base)).and(0xffff_ffffn));
  }
  nextRip(): Val {
    const linear = this.#linearHere().add(this.#f.load('i64.load8_u', this.#record, RECORD.length));
    if (this.long) return this.#f.let(linear);
    return this.#f.let(linear.sub(this.#f.load('i64.load', segment(CS) + SEG.base)).and(0xffff_ffffn));
  }

  #function(name: string): FunctionRef {
    const ref = this.#runtime.get(name);
    if (!ref) throw new RangeError(`${this.#form.encoding.instruction.name}: no runtime function ${name}`);
    return ref;
  }
  outside(): void {
    this.#f.store('i32.store', S.record, this.#record);
  }
  call(name: string, ...args: Val[]): Val {
    return this.#f.let(this.#f.call(this.#function(name), ...args));
  }
  run(name: string, ...args: Val[]): void {
    this.#f.run(this.#function(name), ...args);
  }
  expression(name: string, ...args: Val[]): Val {
    return this.#f.call(this.#function(name), ...args);
  }
  callFaulting(name: string, ...args: Val[]): void {
    this.#f.unlikely(this.#f.call(this.#function(name), ...args), () => this.#leave(LEAVE.fault));
  }
  settledMxcsr(): Val {
    return isSettled(this.#word(S.mxcsr));
  }
  wentExactly(): void {}
  holdsNumbers(): boolean {
    return false;
  }
  nowNumbers(): void {}
  system(name: string): void {
    // The routine looks at the form's operand size.
    this.traits.readsOpsize = true;
    this.#f.store('i32.store', S.systemRoutine, i32(this.#routine(name)));
    this.#leave(LEAVE.system);
    this.#ended();
  }
}

/** The page that the last byte of an access lies on: equal to the entry's tag when all of it is on that page. */
function lastPage(address: Val, bytes: number): Val {
  return (bytes === 1 ? address : address.add(BigInt(bytes - 1))).and(-4096n);
}
