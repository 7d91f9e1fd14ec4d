import { FLAT, RECORD, S, SEG, segment } from '../layout.ts';
import type { CpuContext } from './context.ts';
import { type Bytes, dataLinear } from './memory.ts';
import { cplOf, getRip, is64 } from './registers.ts';

/**
 * One operand of a form. `slot` names the record's field: r1..r3 hold the
 * address of the register in the state block (of segment(n) for a segment
 * register; the number n, or the register's address, for CRn and DRn); an
 * immediate lies in `imm`, a second one in `disp`.
 */
export interface OperandInfo {
  readonly kind: 'reg' | 'mem' | 'imm' | 'rel';
  readonly size: 8 | 16 | 32 | 64;
  readonly slot?: 'r1' | 'r2' | 'r3' | 'imm' | 'disp';
}

/** What of an instruction is fixed for its form, and so is not in the record. */
export interface FormInfo {
  readonly opsize: 16 | 32 | 64;
  readonly operands: readonly OperandInfo[];
}

/** A system routine: does one whole instruction, RIP included; throws GuestFault with nothing changed. */
export type SystemRoutine = (ctx: CpuContext, insn: SystemInstruction) => void;

const SLOTS = { r1: RECORD.r1, r2: RECORD.r2, r3: RECORD.r3, imm: RECORD.imm, disp: RECORD.disp } as const;

/** A pre-decoded instruction at S.rip, over its record. */
export class SystemInstruction {
  readonly opsize: 16 | 32 | 64;
  readonly #ctx: CpuContext;
  readonly #record: number;
  readonly #operands: readonly OperandInfo[];

  constructor(ctx: CpuContext, record: number, form: FormInfo) {
    this.#ctx = ctx;
    this.#record = record;
    this.opsize = form.opsize;
    this.#operands = form.operands;
  }

  get length(): number {
    return this.#ctx.view.getUint8(this.#record + RECORD.length);
  }

  /** Offset in CS of this instruction. */
  get rip(): bigint {
    return getRip(this.#ctx);
  }

  /** Offset in CS of the next one; 32 bits outside 64-bit mode. */
  get nextRip(): bigint {
    return BigInt.asUintN(is64(this.#ctx) ? 64 : 32, this.rip + BigInt(this.length));
  }

  /** Address size in bits. */
  get addressSize(): 16 | 32 | 64 {
    const bits = this.#ctx.view.getUint8(this.#record + RECORD.addressSize);
    return bits === 16 ? 16 : bits === 64 ? 64 : 32;
  }

  /** 0 none, 1 REPNE, 2 REP. */
  get rep(): number {
    return this.#ctx.view.getUint8(this.#record + RECORD.rep);
  }

  /** Segment register of the memory operand (an override, or the default), also for string instructions. */
  get segment(): number {
    return this.#ctx.view.getUint8(this.#record + RECORD.segment);
  }

  size(index: number): 8 | 16 | 32 | 64 {
    return this.#operand(index).size;
  }

  isMemory(index: number): boolean {
    return this.#operand(index).kind === 'mem';
  }

  /** The operand's value, zero-extended from its size. */
  readOperand(index: number): bigint {
    const { kind, size } = this.#operand(index);
    if (kind === 'imm' || kind === 'rel') return BigInt.asUintN(size, this.immediate(index));
    if (kind === 'mem') {
      const bytes = (size / 8) as Bytes;
      return this.#ctx.readLinear(this.memoryLinear(index, bytes, false), bytes, cplOf(this.#ctx) === 3);
    }
    return BigInt.asUintN(size, this.#registerBits(index));
  }

  /** Writes the operand; a 32-bit register write clears the upper half. `size` overrides the operand's own for memory. */
  writeOperand(index: number, value: bigint, size: 8 | 16 | 32 | 64 = this.#operand(index).size): void {
    const bits = BigInt.asUintN(size, value);
    if (this.isMemory(index)) {
      const bytes = (size / 8) as Bytes;
      this.#ctx.writeLinear(this.memoryLinear(index, bytes, true), bytes, bits, cplOf(this.#ctx) === 3);
      return;
    }
    const at = this.#slot(index);
    const { view } = this.#ctx;
    if (size === 8) view.setUint8(at, Number(bits));
    else if (size === 16) view.setUint16(at, Number(bits), true);
    else view.setBigUint64(at, bits, true);
  }

  /** An immediate, sign-extended. */
  immediate(index: number): bigint {
    const first = this.#operands.findIndex((o) => o.kind === 'imm' || o.kind === 'rel');
    const slot = this.#operand(index).slot ?? (index === first ? 'imm' : 'disp');
    const { view } = this.#ctx;
    return slot === 'disp'
      ? BigInt(view.getInt32(this.#record + RECORD.disp, true))
      : view.getBigInt64(this.#record + RECORD.imm, true);
  }

  /** Number of a control, debug, segment or general register operand. */
  registerNumber(index: number): number {
    const at = this.#slot(index);
    if (at < 16) return at;
    if (at >= segment(0) && at <= segment(FLAT)) return Math.trunc((at - segment(0)) / SEG.stride);
    if (at >= S.dr && at < S.dr + 64) return (at - S.dr) / 8;
    const control = [S.cr0, -1, S.cr2, S.cr3, S.cr4, -1, -1, -1, S.cr8].indexOf(at);
    return control >= 0 ? control : Math.trunc((at - S.gpr) / 8);
  }

  /** Effective address of the memory operand, without its segment. */
  memoryOffset(): bigint {
    const { view } = this.#ctx;
    const record = this.#record;
    const baseReg = view.getUint16(record + RECORD.baseReg, true);
    const base = view.getBigUint64(baseReg, true);
    const index = view.getBigUint64(view.getUint16(record + RECORD.indexReg, true), true);
    const shift = BigInt(view.getUint8(record + RECORD.shift));
    const disp = BigInt(view.getInt32(record + RECORD.disp, true));
    return BigInt.asUintN(this.addressSize, base + (index << shift) + disp);
  }

  /** Linear address of the memory operand `add` bytes in, segment checked for `bytes` bytes. Throws GuestFault. */
  memoryLinear(_index: number, bytes: number, write: boolean, add = 0): bigint {
    const offset = BigInt.asUintN(this.addressSize, this.memoryOffset() + BigInt(add));
    return dataLinear(this.#ctx, this.segment, offset, bytes, write);
  }

  /** Reads `bytes` bytes `add` bytes into the memory operand, at the current privilege. */
  readMemory(index: number, bytes: Bytes, add = 0): bigint {
    return this.#ctx.readLinear(this.memoryLinear(index, bytes, false, add), bytes, cplOf(this.#ctx) === 3);
  }

  #registerBits(index: number): bigint {
    const at = this.#slot(index);
    const { view } = this.#ctx;
    switch (this.#operand(index).size) {
      case 8:
        return BigInt(view.getUint8(at));
      case 16:
        return BigInt(view.getUint16(at, true));
      case 32:
        return BigInt(view.getUint32(at, true));
      default:
        return view.getBigUint64(at, true);
    }
  }

  #slot(index: number): number {
    const slot = this.#operand(index).slot ?? (['r1', 'r2', 'r3'] as const)[index] ?? 'r1';
    return this.#ctx.view.getUint16(this.#record + SLOTS[slot], true);
  }

  #operand(index: number): OperandInfo {
    const operand = this.#operands[index];
    if (!operand) throw new RangeError(`no operand ${index}`);
    return operand;
  }
}
