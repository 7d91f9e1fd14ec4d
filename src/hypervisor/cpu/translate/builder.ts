import { FORM, type OperandSpec, operandBits } from '../decode/encoding.ts';
import { AF, ARITHMETIC, CF, OF, PF, SF, ZF } from '../flags.ts';
import { UNIT_BIT } from '../interpret/builder.ts';
import { isQuick } from '../interpret/runtime/x87-quick.ts';
import { accessBytes, loadFor, storeFor } from '../isa/accesses.ts';
import type { Builder, Condition, FloatLanes, Shift, Size, Val } from '../isa/builder.ts';
import { isSettled } from '../isa/sse-arith.ts';
import { CS, ES, FLAT, FS, S, SEG, segment } from '../layout.ts';
import { type FunctionBuilder, type Label, Local } from '../wasm/function.ts';
import { F32, F64, I32, I64, type LoadName, type StoreName, V128, type ValType } from '../wasm/opcodes.ts';
import { extractLane, i32, i64, replaceLane, select, vconst } from '../wasm/value.ts';
import type { Place } from './addresses.ts';
import type { Block } from './blocks.ts';
import type { GuestInstruction } from './code.ts';
import { operandType, registerAt } from './effects.ts';
import { Environment } from './environment.ts';
import {
  adjustFlag,
  allParts,
  carryFlag,
  conditionValue,
  type Flags,
  lazyForm,
  overflowFlag,
  parityFlag,
  type ReadableFlags,
  readsCarry,
  signFlag,
  type UnreadableFlags,
  zeroFlag,
} from './flags.ts';
import type { HostPlace, RegionMemory } from './memory.ts';
import type { RegionModule } from './module.ts';
import type { FailedAccess } from './profile/site-counters.ts';
import { RegionX87 } from './x87.ts';

/** A form that cannot be translated where it stands. */
export class Untranslatable extends Error {}

/** The locals that hold a region's registers, by number; they are up to date between instructions. */
export interface RegisterHomes {
  readonly gprs: (Local | undefined)[];
  readonly xmms: (Local | undefined)[];
}

/** Where the builder sends control: the region's emitter. */
export interface RegionFlow {
  /** Along the direct branch of the instruction. */
  taken(): void;
  /** To an offset in CS that is known at run time only. */
  indirect(to: Val): void;
  /** Out of the region in front of the instruction, for the interpreter to do it: `why`, or because of the access. */
  bail(why: string, access?: FailedAccess): void;
}

/**
 * The translator's side of the instruction table: operands are constants of
 * the region, registers are values that the environment holds, flags are
 * computed where they are read. One class, for it is one interface.
 */
export class RegionBuilder implements Builder {
  readonly long: boolean;
  environment: Environment;
  readonly #f: FunctionBuilder;
  readonly #module: RegionModule;
  readonly #flow: RegionFlow;
  /** An i32 outside of 64-bit mode, as the homes of general registers are. */
  readonly #pageBase: Local;
  readonly #registers: RegisterHomes;
  #i!: GuestInstruction; // set by `begin` before any semantics run
  /** Locals of the current instruction: they may be handed out without a copy. */
  readonly #fresh = new Set<Val>();
  readonly #linears = new Map<number, Val>();
  readonly #targets = new Map<number, HostPlace>();
  /** What is known of the addresses that the current instruction computed. */
  readonly #places = new Map<Val, Place>();
  /** General registers that it has written so far: bits by number. */
  #written = 0;
  /** The block of the current instruction, and which it is there. */
  #block!: Block; // set with #i
  #index = 0;
  readonly #memory: RegionMemory;
  readonly #x87: RegionX87;
  /** What `settledMxcsr` gives, in regions that ask often. */
  readonly #settledLocal: Local | undefined;
  /** Registers that are mutable locals while an `if` is open. */
  #mutableGprs = 0;
  #mutableXmms = 0;
  #mutableFlags: { result: Local; aux: Local } | undefined;
  #depth = 0;

  constructor(
    f: FunctionBuilder,
    module: RegionModule,
    flow: RegionFlow,
    memory: RegionMemory,
    locals: { pageBase: Local; registers: RegisterHomes; settled: Local | undefined },
    long: boolean,
  ) {
    this.#f = f;
    this.#module = module;
    this.#flow = flow;
    this.#pageBase = locals.pageBase;
    this.#registers = locals.registers;
    this.#settledLocal = locals.settled;
    this.long = long;
    this.#memory = memory;
    this.#x87 = new RegionX87(f, module);
    this.environment = new Environment();
  }

  /** Looks whether MXCSR is settled, where nothing is known of numbers in registers. */
  lookAtMxcsr(): void {
    if (this.#settledLocal) this.#f.set(this.#settledLocal, isSettled(this.#f.load('i32.load', S.mxcsr)));
  }

  /** Emits one instruction of native treatment: the `index`th of a block. */
  instruction(i: GuestInstruction, block: Block, index: number): void {
    this.#i = i;
    this.#block = block;
    this.#index = index;
    // Another block that comes behind the same one goes on with what was known there.
    if (index === 0) this.environment.x87 = this.environment.x87?.copy();
    this.#written = 0;
    this.#fresh.clear();
    this.#linears.clear();
    this.#targets.clear();
    this.#places.clear();
    const { instruction, vex } = i.encoding;
    if (vex !== undefined && !this.long) throw new Untranslatable('VEX outside of 64-bit mode');
    if (instruction.privilege === 0)
      this.if(this.#f.load('i32.load', S.cpl), () => this.#bail('a privileged instruction'));
    if (instruction.unit) this.#requireUnit(UNIT_BIT[instruction.unit]);
    instruction.semantics(this);
    const to = this.#vectorNumber(0);
    const from = this.#vectorNumber(1);
    if (to !== undefined && from !== undefined) this.environment.numbers.moved(instruction.name, to, from);
  }

  #requireUnit(bit: number): void {
    if ((this.environment.units & bit) !== 0) return;
    this.if(this.#f.load('i32.load', S.unitTrap).and(bit), () => this.#bail('a unit that traps'));
    this.environment.units |= bit;
  }

  /** Runs `emit` in the middle of an instruction: other instructions may come in it. */
  nested(emit: () => void): void {
    const saved = {
      i: this.#i,
      environment: this.environment,
      fresh: [...this.#fresh],
      linears: [...this.#linears],
      targets: [...this.#targets],
      places: [...this.#places],
      written: this.#written,
      block: this.#block,
      index: this.#index,
      gprs: this.#mutableGprs,
      xmms: this.#mutableXmms,
      flags: this.#mutableFlags,
      depth: this.#depth,
    };
    this.#closeConditional();
    this.#depth = 0;
    emit();
    this.#i = saved.i;
    this.environment = saved.environment;
    this.#restore(this.#fresh, saved.fresh);
    this.#linears.clear();
    for (const [index, linear] of saved.linears) this.#linears.set(index, linear);
    this.#targets.clear();
    for (const [index, target] of saved.targets) this.#targets.set(index, target);
    this.#places.clear();
    for (const [value, place] of saved.places) this.#places.set(value, place);
    this.#written = saved.written;
    this.#block = saved.block;
    this.#index = saved.index;
    this.#mutableGprs = saved.gprs;
    this.#mutableXmms = saved.xmms;
    this.#mutableFlags = saved.flags;
    this.#depth = saved.depth;
  }
  #restore<T>(set: Set<T>, items: readonly T[]): void {
    set.clear();
    for (const item of items) set.add(item);
  }

  /** Leaves in front of the instruction. */
  #bail(why: string): void {
    if (this.#depth > 0) this.#f.rare();
    this.#flow.bail(why);
    this.environment.ended = true;
  }

  // What the instruction is

  get opsize(): 16 | 32 | 64 {
    return this.#i.opsize;
  }
  get operandCount(): number {
    return this.#i.encoding.operands.length;
  }
  #spec(index: number): OperandSpec {
    const spec = this.#i.encoding.operands[index];
    if (!spec) throw new RangeError(`${this.#i.encoding.text} has no operand ${index}`);
    return spec;
  }
  operandSize(index: number): Size {
    return operandBits(this.#spec(index), this.#i.opsize);
  }
  get flat(): boolean {
    return this.#i.form === FORM.base || this.#i.form === FORM.indexed;
  }
  isMemory(index: number): boolean {
    const { kind } = this.#spec(index).what;
    return kind === 'moffs' || (kind === 'modrm-rm' && this.#i.form !== FORM.register);
  }

  // Registers

  /** A register's value now: the local that holds it may change later, so its value is copied where it is read first. */
  #gpr(n: number): Val {
    return this.#register(this.environment.gprs, this.#registers.gprs, n, this.#mutableGprs);
  }
  #xmm(n: number): Val {
    return this.#register(this.environment.xmms, this.#registers.xmms, n, this.#mutableXmms);
  }
  #register(
    values: (Val | undefined)[],
    homes: readonly (Local | undefined)[],
    n: number,
    mutable: number,
  ): Val {
    const known = values[n];
    if (known !== undefined) return known;
    const home = homes[n];
    if (!home) throw new Untranslatable('a register that the region does not hold');
    const value = this.#settled(home);
    // What is read inside of an `if` is not there behind it, nor what is written there.
    if (this.#depth === 0 && !((mutable >> n) & 1)) values[n] = value;
    return value;
  }
  #setGpr(n: number, value: Val): void {
    const { environment } = this;
    this.#setRegister(environment.gprs, this.#registers.gprs, n, this.#mutableGprs, value);
    this.#written |= 1 << n;
    environment.dirtyGprs |= 1 << n;
  }
  #setXmm(n: number, value: Val): void {
    const { environment } = this;
    this.#setRegister(environment.xmms, this.#registers.xmms, n, this.#mutableXmms, value);
    environment.dirtyXmms |= 1 << n;
    environment.numbers.forget(n);
  }
  #setRegister(
    values: (Val | undefined)[],
    homes: readonly (Local | undefined)[],
    n: number,
    mutable: number,
    value: Val,
  ): void {
    const home = homes[n];
    if (!home) throw new Untranslatable('a register that the region does not hold');
    if (this.#depth > 0 && !((mutable >> n) & 1)) throw new Untranslatable('a register written in an if');
    this.#f.set(home, value);
    values[n] = this.#depth === 0 && value.known !== undefined ? value : undefined;
  }
  /** A value that will not change: a constant, or a local of its own. */
  #settled(value: Val): Val {
    if (value.known !== undefined) return value;
    const local = this.#f.local(value.type);
    this.#f.set(local, value);
    return local;
  }
  #copy(value: Val): Local {
    const local = this.#f.local(value.type);
    this.#f.set(local, value);
    this.#fresh.add(local);
    return local;
  }

  /** Reads `size` bits of a general register from a byte on (1: AH to BH). */
  #readGpr(n: number, byte: number, size: Size): Val {
    const value = this.#gpr(n);
    if (size === 64) return value.extendU();
    const low = value.wrap();
    if (size === 32) return low;
    return byte === 1 ? low.shrU(8).and(0xff) : low.and(size === 8 ? 0xff : 0xffff);
  }
  #writeGpr(n: number, byte: number, size: Size, value: Val): void {
    if (size >= 32) return this.#setGpr(n, this.long ? value.extendU() : value.wrap());
    const mask = size === 8 ? 0xff : 0xffff;
    const part = value.and(mask);
    const old = this.#gpr(n);
    if (!this.long) return this.#setGpr(n, old.and(~(mask << (byte * 8))).or(part.shl(byte * 8)));
    const hole = ~(BigInt(mask) << BigInt(byte * 8));
    this.#setGpr(n, old.and(hole).or(part.extendU().shl(BigInt(byte * 8))));
  }
  #readXmm(n: number, type: ValType, size: Size): Val {
    const value = this.#xmm(n);
    if (type === F32) return extractLane('f32x4.extract_lane', value, 0);
    if (type === F64) return extractLane('f64x2.extract_lane', value, 0);
    if (type === V128) return value;
    if (size === 64) return extractLane('i64x2.extract_lane', value, 0);
    if (size === 32) return extractLane('i32x4.extract_lane', value, 0);
    if (size === 16) return extractLane('i16x8.extract_lane_u', value, 0);
    return extractLane('i8x16.extract_lane_u', value, 0);
  }
  #writeXmm(n: number, size: Size, value: Val): void {
    if (value.type === V128) return this.#setXmm(n, value);
    const old = this.#xmm(n);
    if (value.type === F32) return this.#setXmm(n, replaceLane('f32x4.replace_lane', old, 0, value));
    if (value.type === F64) return this.#setXmm(n, replaceLane('f64x2.replace_lane', old, 0, value));
    const lane =
      size === 64
        ? replaceLane('i64x2.replace_lane', old, 0, value)
        : size === 32
          ? replaceLane('i32x4.replace_lane', old, 0, value)
          : size === 16
            ? replaceLane('i16x8.replace_lane', old, 0, value)
            : replaceLane('i8x16.replace_lane', old, 0, value);
    this.#setXmm(n, lane);
  }

  registerAddress(index: number): Val {
    const { file } = this.#spec(index);
    const address = this.#i.registers[index];
    if (address === undefined || file === 'gpr' || file === 'xmm')
      throw new Untranslatable('the address of a register that regions hold');
    return i32(address);
  }

  gpr(n: number, size: Size): Val {
    return this.#readGpr(n, 0, size);
  }
  setGpr(n: number, size: Size, value: Val): void {
    this.#writeGpr(n, 0, size, value);
  }

  state(name: LoadName, offset: number): Val {
    const register = registerAt(offset);
    if (!register) {
      const known = this.#assumed(offset);
      return known ?? this.let(this.#f.load(name, offset));
    }
    const bytes = accessBytes(name);
    if (register.file === 'gpr') {
      const value = this.#readGpr(register.number, register.byte, (bytes * 8) as Size);
      if (name.startsWith('i64') && bytes < 8) return value.extendU();
      return value;
    }
    if (name !== 'v128.load' || register.byte !== 0) throw new Untranslatable('part of a vector register');
    return this.#xmm(register.number);
  }
  setState(name: StoreName, offset: number, value: Val): void {
    const register = registerAt(offset);
    if (!register) {
      this.#f.store(name, offset, value);
      if (offset === S.fpuTop || offset === S.fpuEmpty) this.#forgetX87();
      if (offset === S.mxcsr) {
        this.environment.numbers.forgetAll();
        this.lookAtMxcsr();
      }
      return;
    }
    const bytes = accessBytes(name);
    if (register.file === 'gpr') {
      const narrow = bytes < 8 ? value.wrap() : value;
      if (bytes === 4) throw new Untranslatable('half of a general register');
      return this.#writeGpr(register.number, register.byte, (bytes * 8) as Size, narrow);
    }
    if (name !== 'v128.store' || register.byte !== 0) throw new Untranslatable('part of a vector register');
    this.#setXmm(register.number, value);
  }
  /** What the guard at the entry of a region of 32-bit code has found out. */
  #assumed(offset: number): Val | undefined {
    if (!this.long && offset === segment(CS) + SEG.limit) return i64(0xffff_ffff);
    return undefined;
  }

  // Operands

  read(index: number): Val {
    const spec = this.#spec(index);
    const bits = this.operandSize(index);
    switch (spec.what.kind) {
      case 'constant':
        return i32(spec.what.value);
      case 'immediate':
      case 'relative':
        if (bits === 64) return this.immediate(index);
        return this.#zeroExtended(this.immediate(index, I32), bits);
      default:
    }
    if (!this.isMemory(index)) return this.#readRegister(index, spec, bits);
    const name = loadFor(spec, bits);
    const linear = this.#operandLinear(index, spec, bits);
    if (spec.access === 'r') return this.load(name, linear);
    const host = this.#translate(linear, bits / 8, true);
    this.#targets.set(index, host);
    return this.let(this.#f.load(name, host.at, host.offset));
  }
  #readRegister(index: number, spec: OperandSpec, bits: Size): Val {
    const address = this.#i.registers[index];
    if (address === undefined) throw new Untranslatable('an operand that is no register');
    const register = registerAt(address);
    if (spec.file === 'mmx') return this.let(this.#f.load(loadFor(spec, bits), i32(address)));
    if (!register) return i32(address);
    if (register.file === 'gpr') return this.#readGpr(register.number, register.byte, bits);
    return this.#readXmm(register.number, operandType(spec, bits), bits);
  }
  readSigned(index: number): Val {
    const value = this.read(index);
    const bits = this.operandSize(index);
    return bits === 8 ? value.ext8() : bits === 16 ? value.ext16() : value;
  }
  readPair(_index: number): readonly [Val, Val] {
    throw new Untranslatable('256 bits');
  }
  writePair(_index: number, _low: Val, _high: Val): void {
    throw new Untranslatable('256 bits');
  }
  vsib(_index: number, _element: Val, _bytes: number): Val {
    throw new Untranslatable('a vector of indices');
  }

  write(index: number, value: Val): void {
    const spec = this.#spec(index);
    const bits = this.operandSize(index);
    if (this.isMemory(index)) {
      const host = this.#targets.get(index);
      if (host) this.#f.store(storeFor(spec, bits), host.at, value, host.offset);
      else this.store(storeFor(spec, bits), this.#operandLinear(index, spec, bits), value);
      return;
    }
    const address = this.#i.registers[index];
    if (address === undefined) throw new Untranslatable('an operand that is no register');
    const register = registerAt(address);
    if (spec.file === 'mmx') return this.#f.store(storeFor(spec, bits), i32(address), value);
    if (!register) throw new Untranslatable(`a ${spec.file} register`);
    if (register.file === 'gpr') this.#writeGpr(register.number, register.byte, bits, value);
    else this.#writeXmm(register.number, bits, value);
  }

  #operandLinear(index: number, spec: OperandSpec, bits: Size): Val {
    const linear = this.linear(index, bits / 8, spec.access);
    if (spec.aligned) this.checkAligned(linear, bits / 8);
    return linear;
  }

  offset(index: number): Val {
    if (this.#spec(index).what.kind === 'moffs') return this.immediate(index);
    const i = this.#i;
    let sum: Val;
    if (i.ripRelative) sum = this.#pageBase.add(BigInt(i.at + i.displacement));
    else {
      const parts: Val[] = [];
      if (i.base >= 0) parts.push(this.#gpr(i.base));
      if (i.index >= 0) parts.push(this.#gpr(i.index).shl(this.#address(i.shift)));
      sum = parts.reduce<Val | undefined>((a, b) => (a ? a.add(b) : b), undefined) ?? this.#address(0);
      sum = sum.add(this.#address(i.displacement));
    }
    return this.#wrapped(sum);
  }
  /** A number to reckon with addresses: an i32 outside of 64-bit mode. */
  #address(number: number): Val {
    return this.long ? i64(BigInt(number)) : i32(number);
  }
  /** An offset at the instruction's address size. */
  #wrapped(offset: Val): Val {
    const { form, addressSize } = this.#i;
    if (!this.long) {
      const low = offset.wrap();
      return (addressSize === 16 ? low.and(0xffff) : low).extendU();
    }
    if (form !== FORM.general || addressSize === 64) return offset;
    return offset.and(addressSize === 32 ? 0xffff_ffffn : 0xffffn);
  }
  linear(index: number, _bytes: number, _access: 'r' | 'w' | 'rw'): Val {
    const known = this.#linears.get(index);
    if (known) return known;
    const linear = this.#inSegment(this.offset(index), this.#i.segment);
    this.#linears.set(index, linear);
    const { base } = this.#i;
    const moved = base >= 0 && ((this.#written >> base) & 1) !== 0;
    const isOperand = this.#spec(index).what.kind === 'modrm-rm';
    const place = moved || !isOperand ? undefined : this.environment.addresses.operand(this.#i);
    if (place) this.#places.set(linear, place);
    return linear;
  }
  further(linear: Val, bytes: number): Val {
    const further = this.long ? linear.add(BigInt(bytes)) : linear.wrap().add(bytes).extendU();
    const place = this.#places.get(linear);
    if (place) this.#places.set(further, { ...place, offset: place.offset + bytes });
    return further;
  }
  bitString(index: number, delta: Val, _bytes: number, _access: 'r' | 'w'): Val {
    const offset = this.#wrapped(this.offset(index).add(delta));
    return this.#inSegment(offset, this.#i.segment);
  }
  /** Adds a segment's base. Outside of 64-bit mode ES, SS and DS are flat, or the region was not entered. */
  #inSegment(offset: Val, index: number): Val {
    if (index === FLAT || index < FS) return offset;
    const base = this.#f.load('i64.load', segment(index));
    if (this.long) return offset.add(base);
    this.if(this.#f.load('i32.load', segment(index) + SEG.checked), () =>
      this.#bail('a segment that is checked'),
    );
    return offset.wrap().add(base.wrap()).extendU();
  }
  segmented(which: 'record' | 'es', offset: Val, _bytes: number, _access: 'r' | 'w'): Val {
    return this.#inSegment(offset, which === 'es' ? ES : this.#i.segment);
  }

  immediate(index: number, type: ValType = I64): Val {
    const [first, second] = this.#i.immediates;
    const value = this.#i.encoding.immediates.indexOf(index) === 0 ? first : BigInt(second);
    return type === I32 ? i32(Number(BigInt.asIntN(32, value))) : i64(value);
  }
  #zeroExtended(value: Val, bits: Size): Val {
    return bits === 8 ? value.and(0xff) : bits === 16 ? value.and(0xffff) : value;
  }

  // Memory

  load(name: LoadName, linear: Val): Val {
    const { at, offset } = this.#translate(linear, accessBytes(name), false);
    return this.let(this.#f.load(name, at, offset));
  }
  store(name: StoreName, linear: Val, value: Val): void {
    const shared = this.#depth === 0 || value instanceof Local ? value : this.let(value);
    const { at, offset } = this.#translate(linear, accessBytes(name), true);
    this.#f.store(name, at, shared, offset);
  }

  /** Where bytes lie in linear memory. */
  #translate(linear: Val, bytes: number, write: boolean): HostPlace {
    const { environment } = this;
    const place = this.#places.get(linear);
    const site = { environment, block: this.#block, index: this.#index };
    return this.#memory.at(this.long ? linear : linear.wrap(), place, bytes, write, site);
  }

  checkAligned(linear: Val, bytes: number): void {
    this.if(linear.wrap().and(bytes - 1), () => this.#bail('an operand that is not aligned'));
  }

  // Stack: flat outside of 64-bit mode, and 32 bits wide

  stack(delta: number | Val, _bytes: number, _access: 'r' | 'w'): Val {
    const linear = this.#stackPointer(delta).extendU();
    const moved = ((this.#written >> 4) & 1) !== 0;
    if (typeof delta === 'number' && !moved)
      this.#places.set(linear, this.environment.addresses.stack(delta));
    return linear;
  }
  adjustStack(delta: number | Val): void {
    this.#setGpr(4, this.#stackPointer(delta));
  }
  #stackPointer(delta: number | Val): Val {
    if (typeof delta === 'number') return this.#gpr(4).add(this.#address(delta));
    return this.#gpr(4).add(this.long ? delta : delta.wrap());
  }
  push(size: Size, value: Val): void {
    const bytes = size / 8;
    const name = size === 64 ? 'i64.store' : size === 32 ? 'i32.store' : 'i32.store16';
    this.store(name, this.stack(-bytes, bytes, 'w'), value);
    this.adjustStack(-bytes);
  }
  top(size: Size): Val {
    const name = size === 64 ? 'i64.load' : size === 32 ? 'i32.load' : 'i32.load16_u';
    return this.load(name, this.stack(0, size / 8, 'r'));
  }

  repPrefix(): Val {
    return i32(this.#i.rep);
  }
  addressSize(): Val {
    return i32(this.#i.addressSize);
  }

  // Flags

  /** The flags with their parts in reach. */
  #readable(): ReadableFlags {
    const { environment } = this;
    const { flags } = environment;
    if (flags.kind === 'step-over') {
      const cf = this.let(carryFlag(this.#broughtToMemory(flags.before)));
      const step = { ...flags, kind: 'step' as const, cf };
      if (this.#depth === 0) environment.flags = step;
      return step;
    }
    if (flags.kind === 'memory' || flags.kind === 'deferred') {
      const lazy = this.#broughtToMemory(flags);
      if (this.#depth === 0) environment.flags = { kind: 'memory' };
      return lazy;
    }
    if (this.#mutableFlags) {
      const { result, aux } = this.#mutableFlags;
      return { kind: 'lazy', result: this.#copy(result), aux: this.#copy(aux) };
    }
    return flags;
  }
  /** Flags as the state block has them then. */
  #broughtToMemory(flags: UnreadableFlags): ReadableFlags {
    const f = this.#f;
    if (flags.kind === 'deferred') {
      const { code, x, y } = flags;
      f.run(this.#module.storeFlags('deferred'), code, x.extendU(), y.extendU());
    }
    return {
      kind: 'lazy',
      result: f.let(f.load('i64.load', S.flagResult)),
      aux: f.let(f.load('i32.load', S.flagAux)),
    };
  }
  #setFlags(flags: Flags): void {
    if (this.#depth === 0) {
      this.environment.flags = flags;
      return;
    }
    const mutable = this.#mutableFlags;
    if (!mutable || flags.kind === 'memory' || flags.kind === 'deferred' || flags.kind === 'step-over')
      throw new Untranslatable('flags written in an if');
    const { result, aux } = lazyForm(flags, (value) => this.#f.let(value));
    const shared = this.#f.let(aux);
    this.#f.set(mutable.result, result);
    this.#f.set(mutable.aux, shared);
  }
  flagsAdd(size: Size, r: Val, x: Val, y: Val, carry?: Val): void {
    this.#setFlags({ kind: 'add', size, r, x, y, carry: carry !== undefined });
  }
  flagsSub(size: Size, r: Val, x: Val, y: Val, carry?: Val): void {
    const compares = COMPARES.has(this.#i.encoding.instruction.name);
    this.#setFlags({ kind: 'sub', size, r, x, y, carry: carry !== undefined, compares });
  }
  flagsLogic(size: Size, r: Val): void {
    this.#setFlags({ kind: 'logic', size, r });
  }
  flagsResult(size: Size, r: Val, flags: { cf: Val; of: Val; af?: Val }): void {
    this.#setFlags({ kind: 'parts', size, r, cf: flags.cf, of: flags.of, af: flags.af ?? i32(0) });
  }
  flagsShift(shift: Shift, size: Size, r: Val, x: Val, count: Val): void {
    this.#setFlags({ kind: 'shift', shift, size, r, x, count });
  }
  flagsStep(size: Size, r: Val, delta: 1 | -1): void {
    const { flags } = this.environment;
    const step = { size, r, delta } as const;
    const before = this.#depth > 0 || this.#mutableFlags ? undefined : carryIn(flags);
    if (before) this.#setFlags({ kind: 'step-over', ...step, before });
    else this.#setFlags({ kind: 'step', ...step, cf: carryFlag(this.#readable()) });
  }
  flagsAll(flags: { cf: Val; pf: Val; af: Val; zf: Val; sf: Val; of: Val }): void {
    this.#setFlags({ kind: 'all', ...flags });
  }
  setCf(value: Val): void {
    this.#setFlags({ ...allParts(this.#readable()), cf: value });
  }
  setCfOf(cf: Val, of: Val): void {
    this.#setFlags({ ...allParts(this.#readable()), cf, of });
  }
  setZf(value: Val): void {
    this.#setFlags({ ...allParts(this.#readable()), zf: value });
  }
  cf(): Val {
    return this.let(carryFlag(this.#readable()));
  }
  of(): Val {
    return this.let(overflowFlag(this.#readable()));
  }
  af(): Val {
    return this.let(adjustFlag(this.#readable()));
  }
  condition(cc: Condition | Val): Val {
    if (typeof cc !== 'number') throw new TypeError('a condition is chosen by the row');
    const { flags } = this.environment;
    if (flags.kind === 'step-over' && !readsCarry(cc))
      return conditionValue({ ...flags, kind: 'step', cf: i32(0) }, cc);
    return conditionValue(this.#readable(), cc);
  }
  rflags(): Val {
    const flags = this.#readable();
    const rest = this.#f.load('i32.load', S.eflags).and(~ARITHMETIC).or(2);
    return this.let(
      rest
        .or(carryFlag(flags))
        .or(parityFlag(flags).shl(2))
        .or(adjustFlag(flags).shl(4))
        .or(zeroFlag(flags).shl(6))
        .or(signFlag(flags).shl(7))
        .or(overflowFlag(flags).shl(11)),
    );
  }
  setArithmeticFlags(rflags: Val): void {
    const flags = this.let(rflags);
    const bit = (mask: number): Val => flags.shrU(Math.log2(mask)).and(1);
    this.flagsAll({ cf: bit(CF), pf: bit(PF), af: bit(AF), zf: bit(ZF), sf: bit(SF), of: bit(OF) });
  }

  // Plumbing

  let(value: Val): Local {
    // Constants stay what they are, so that what follows from them is one too; nothing sets a `let` of those.
    if (value.known !== undefined || this.#fresh.has(value)) return value as Local;
    return this.#copy(value);
  }
  local(type: ValType, initial?: Val | number | bigint): Local {
    const local = this.#f.local(type, initial ?? zero(type));
    this.#fresh.add(local);
    return local;
  }
  set(local: Local, value: Val | number | bigint): void {
    if (!(local instanceof Local)) throw new Untranslatable('a constant is set');
    this.#f.set(local, value);
  }

  if(condition: Val, then: (label: Label) => void, otherwise?: (label: Label) => void): void {
    if (condition.known !== undefined) {
      if (condition.known !== 0) then(NOWHERE);
      else otherwise?.(NOWHERE);
      return;
    }
    if (this.#depth === 0) this.#openConditional();
    this.#depth += 1;
    const before = this.environment;
    const arms: Environment[] = [];
    const arm =
      (body: (label: Label) => void) =>
      (label: Label): void => {
        this.environment = new Environment(before);
        body(label);
        arms.push(this.environment);
      };
    this.#f.if(condition, arm(then), otherwise ? arm(otherwise) : undefined);
    if (!otherwise) arms.push(new Environment(before));
    this.#depth -= 1;
    this.environment = this.#join(before, arms);
    if (this.#depth === 0) this.#closeConditional();
  }

  unlikely(condition: Val, then: (label: Label) => void): void {
    this.if(condition, (label) => {
      if (label !== NOWHERE) this.#f.rare();
      then(label);
    });
  }

  leaveIf(condition: Val, _then: () => void, otherwise: () => void): void {
    this.if(condition, () => this.#bail('what the interpreter does'));
    otherwise();
  }

  #join(before: Environment, arms: readonly Environment[]): Environment {
    const alive = arms.filter((arm) => !arm.ended);
    const joined = new Environment(before);
    if (alive.length === 0) joined.ended = true;
    for (const arm of alive) {
      joined.dirtyGprs |= arm.dirtyGprs;
      joined.dirtyXmms |= arm.dirtyXmms;
      joined.numbers.keepCommon(arm.numbers);
      if (arm.flags !== before.flags) throw new Untranslatable('flags changed in an if');
    }
    return joined;
  }

  /** Registers and flags that the instruction may write in an `if` are read from the locals that both ways share. */
  #openConditional(): void {
    const { conditional } = this.#i.effects;
    let { gprs, xmms } = conditional;
    for (const index of conditional.operands) {
      const address = this.#i.registers[index];
      const register = address === undefined ? undefined : registerAt(address);
      if (register?.file === 'gpr') gprs |= 1 << register.number;
      if (register?.file === 'xmm') xmms |= 1 << register.number;
    }
    const { environment } = this;
    for (let n = 0; n < 16; n++) {
      if ((gprs >> n) & 1) environment.gprs[n] = undefined;
      if ((xmms >> n) & 1) environment.xmms[n] = undefined;
    }
    if (conditional.flags) {
      const { result, aux } = lazyForm(this.#readable(), (value) => this.#f.let(value));
      const mutable = { result: this.#f.local(I64, result), aux: this.#f.local(I32, aux) };
      environment.flags = { kind: 'lazy', ...mutable };
      this.#mutableFlags = mutable;
    }
    this.#mutableGprs = gprs;
    this.#mutableXmms = xmms;
  }
  #closeConditional(): void {
    this.#mutableGprs = 0;
    this.#mutableXmms = 0;
    this.#mutableFlags = undefined;
  }

  loop(_body: (label: Label) => void): void {
    throw new Untranslatable('a loop');
  }
  block(_body: (label: Label) => void): void {
    throw new Untranslatable('a block');
  }
  br(_label: Label): void {
    throw new Untranslatable('a branch');
  }
  brIf(_label: Label, _condition: Val): void {
    throw new Untranslatable('a branch');
  }
  select(condition: Val, whenTrue: Val, whenFalse: Val): Val {
    return select(condition, whenTrue, whenFalse);
  }

  // Leaving

  raise(vector: number, _errorCode?: Val | number): void {
    // The interpreter meets the same condition, and raises it with everything that goes with it.
    this.#bail(`exception ${vector}`);
  }
  again(): void {
    throw new Untranslatable('an instruction that begins anew');
  }
  jump(target: Val): void {
    this.#flow.indirect(target);
    this.environment.ended = true;
  }
  jumpRelative(_index: number): void {
    this.#flow.taken();
    this.environment.ended = true;
  }
  thisRip(): Val {
    return this.rip(this.#i.at);
  }
  nextRip(): Val {
    return this.rip(this.#i.at + this.#i.length);
  }
  /** The offset in CS of an offset from the page: CS is flat outside of 64-bit mode. */
  rip(at: number): Val {
    return this.#pageBase.add(this.#address(at)).extendU();
  }

  outside(): void {
    throw new Untranslatable('a call to the outside');
  }
  call(name: string, ...args: Val[]): Val {
    const done = this.#runX87(name, args);
    if (done) return done;
    return this.let(this.#f.call(this.#module.runtime(name), ...args));
  }
  run(name: string, ...args: Val[]): void {
    if (this.#runX87(name, args) !== false) return;
    this.#f.run(this.#module.runtime(name), ...args);
  }
  /** A runtime function of the x87 by what is known of its registers; false when it is to be called. */
  #runX87(name: string, args: readonly Val[]): Local | undefined | false {
    if (!name.startsWith('x87_')) return false;
    const { environment } = this;
    if (isQuick(name) && this.#depth === 0) environment.x87 ??= this.#x87.look();
    const done = environment.x87 && this.#x87.emit(environment.x87, name, args);
    if (environment.x87 === undefined || done === false) {
      if (!READS_X87.has(name)) this.#forgetX87();
      return false;
    }
    return done;
  }
  /** The x87 state has changed in a way that what is known of it does not tell. */
  #forgetX87(): void {
    if (!this.environment.x87) return;
    if (this.#depth > 0) this.#x87.forget();
    else this.environment.x87 = undefined;
  }
  expression(name: string, ...args: Val[]): Val {
    return this.#f.call(this.#module.runtime(name), ...args);
  }
  callFaulting(name: string, ...args: Val[]): void {
    this.#f.unlikely(this.#f.call(this.#module.runtime(name), ...args), () => this.#flow.bail(name));
  }
  settledMxcsr(): Val {
    return this.#settledLocal ?? isSettled(this.#f.load('i32.load', S.mxcsr));
  }
  wentExactly(): void {
    // Until the next look: what is known of registers is so of numbers that came the quick way.
    if (this.#settledLocal) this.#f.set(this.#settledLocal, 0);
  }
  holdsNumbers(index: number, lanes: FloatLanes): boolean {
    const n = this.#vectorNumber(index);
    return n !== undefined && this.#settledLocal !== undefined && this.environment.numbers.holds(n, lanes);
  }
  nowNumbers(index: number, lanes: FloatLanes): void {
    const n = this.#vectorNumber(index);
    if (n !== undefined) this.environment.numbers.add(n, lanes);
  }
  /** The vector register that an operand is. */
  #vectorNumber(index: number): number | undefined {
    const address = this.#i.registers[index];
    const register = address === undefined ? undefined : registerAt(address);
    return register?.file === 'xmm' ? register.number : undefined;
  }
  system(name: string): void {
    this.#bail(name);
  }
}

/** Runtime functions of the x87 that leave its state alone. */
const READS_X87: ReadonlySet<string> = new Set(['x87_result', 'x87_resultHigh', 'x87_statusWord']);

/** The flags that CF is to be had from, if it cannot be read as it is. */
function carryIn(flags: Flags): UnreadableFlags | undefined {
  if (flags.kind === 'step-over') return flags.before;
  return flags.kind === 'memory' || flags.kind === 'deferred' ? flags : undefined;
}

/** Instructions that subtract for the flags alone. */
const COMPARES: ReadonlySet<string> = new Set(['cmp', 'cmpxchg', 'cmps', 'scas']);

/** The label of an `if` that is not there. */
const NOWHERE: Label = { depth: -1 };

function zero(type: ValType): Val | number {
  return type === V128 ? vconst(new Array<number>(16).fill(0)) : 0;
}
