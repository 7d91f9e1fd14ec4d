import { DF, VM } from '../flags.ts';
import { ES, S, TR } from '../layout.ts';
import { type CpuContext, GuestFault, gp } from './context.ts';
import { noteIoBreakpoints } from './debug.ts';
import type { SystemInstruction, SystemRoutine } from './instruction.ts';
import { type Bytes, dataLinear, readSystem } from './memory.ts';
import {
  cplOf,
  eflags,
  getGpr,
  getGpr32,
  iopl,
  isProtected,
  RCX,
  RDI,
  RDX,
  RSI,
  readSegment,
  setGpr,
  setRip,
} from './registers.ts';

/** Iterations of a repeated INS or OUTS in one call; then the run looks at interrupts and comes back. */
const ITERATIONS = 1024;

/**
 * May this port be used? At CPL > IOPL, and always in virtual-8086 mode, the
 * TSS's I/O permission bitmap decides (SDM vol. 1, 19.5.2). Throws #GP(0).
 */
export function checkPort(ctx: CpuContext, port: number, size: number): void {
  if (!isProtected(ctx) || (cplOf(ctx) <= iopl(ctx) && (eflags(ctx) & VM) === 0)) return;
  const tr = readSegment(ctx, TR);
  if ((tr.attributes & 0x88) !== 0x88 || tr.limit < 0x67) throw gp();
  const at = readSystem(ctx, tr.base + 0x66n, 2) + (port >> 3);
  // Two bytes are read always: the bitmap has one of all ones behind it.
  if (at + 1 > tr.limit) throw gp();
  const bits = readSystem(ctx, tr.base + BigInt(at), 2) >> (port & 7);
  if ((bits & ((1 << size) - 1)) !== 0) throw gp();
}

/** 1, 2 or 4 bytes: a 64-bit operand size means 32. */
const ioSize = (bits: number): 1 | 2 | 4 => (bits === 8 ? 1 : bits === 16 ? 2 : 4);

/** Port operand: an 8-bit immediate or DX. */
const portOf = (insn: SystemInstruction, index: number): number =>
  Number(insn.size(index) === 8 ? insn.immediate(index) & 0xffn : insn.readOperand(index) & 0xffffn);

/** IN: operand 0 AL, AX or EAX, operand 1 the port. */
function input(ctx: CpuContext, insn: SystemInstruction): void {
  const size = ioSize(insn.size(0));
  const port = portOf(insn, 1);
  checkPort(ctx, port, size);
  const next = insn.nextRip;
  noteIoBreakpoints(ctx, port, size);
  insn.writeOperand(0, BigInt(ctx.platform.ioRead(port, size) >>> 0), (size * 8) as 8 | 16 | 32);
  setRip(ctx, next);
}

/** OUT: operand 0 the port, operand 1 AL, AX or EAX. */
function output(ctx: CpuContext, insn: SystemInstruction): void {
  const size = ioSize(insn.size(1));
  const port = portOf(insn, 0);
  checkPort(ctx, port, size);
  const value = Number(BigInt.asUintN(size * 8, insn.readOperand(1)));
  // RIP first: a write may reset the machine.
  setRip(ctx, insn.nextRip);
  noteIoBreakpoints(ctx, port, size);
  ctx.platform.ioWrite(port, size, value);
}

const masked = (bits: number, value: bigint): bigint => BigInt.asUintN(bits, value);

/** Writes an index or count register by address size: 16 bits leave the rest, 32 clear the upper half. */
function setAddressRegister(ctx: CpuContext, n: number, bits: number, value: bigint): void {
  setGpr(ctx, n, bits === 16 ? (getGpr(ctx, n) & ~0xffffn) | masked(16, value) : masked(bits, value));
}

interface PageMove {
  readonly port: number;
  readonly size: 1 | 2 | 4;
  /** Segment register of the memory operand, and the offset in it. */
  readonly source: number;
  readonly offset: bigint;
  /** Address size. */
  readonly bits: number;
  /** To the port. */
  readonly write: boolean;
  readonly user: boolean;
  /** Elements at most. */
  readonly most: number;
}

/** Moves elements between a port and one page of memory, upwards; gives how many. 0: it is not that simple, or not worth it. */
function moveInPage(
  ctx: CpuContext,
  { port, size, source, offset, bits, write, user, most }: PageMove,
): number {
  let linear: bigint;
  let elements: number;
  try {
    linear = dataLinear(ctx, source, offset, size, !write);
    const toPageEnd = (0x1000 - Number(linear & 0xfffn)) / size;
    const toWrap = Number((1n << BigInt(bits)) - offset) / size;
    elements = Math.floor(Math.min(most, toPageEnd, toWrap));
    if (elements < 2) return 0;
    dataLinear(ctx, source, offset + BigInt((elements - 1) * size), size, !write);
  } catch (error) {
    // The element that faults is to be found one by one.
    if (error instanceof GuestFault) return 0;
    throw error;
  }
  const at = ctx.span(linear, !write, user);
  if (at === undefined) return 0;
  const { platform, view } = ctx;
  for (let i = 0, to = at; i < elements; i++, to += size) {
    if (write) {
      const value =
        size === 1 ? view.getUint8(to) : size === 2 ? view.getUint16(to, true) : view.getUint32(to, true);
      platform.ioWrite(port, size, value);
    } else {
      const value = platform.ioRead(port, size);
      if (size === 1) view.setUint8(to, value);
      else if (size === 2) view.setUint16(to, value, true);
      else view.setUint32(to, value, true);
    }
  }
  return elements;
}

/**
 * INS and OUTS, with or without REP. Registers are up to date after every
 * iteration, so that a fault or an interrupt finds a restartable instruction;
 * RIP stays on it while there is more to do.
 */
const stringIo =
  (write: boolean, byte: boolean): SystemRoutine =>
  (ctx, insn) => {
    const next = insn.nextRip;
    const bits = insn.addressSize;
    const size = byte ? 1 : ioSize(insn.opsize);
    const port = getGpr32(ctx, RDX) & 0xffff;
    const repeated = insn.rep !== 0;
    const index = write ? RSI : RDI;
    const source = write ? insn.segment : ES;
    let count = repeated ? masked(bits, getGpr(ctx, RCX)) : 1n;
    if (count === 0n) return setRip(ctx, next);
    checkPort(ctx, port, size);
    const step = BigInt((ctx.view.getUint32(S.eflags, true) & DF) !== 0 ? -size : size);
    const user = cplOf(ctx) === 3;
    const iterations = ctx.view.getUint32(S.stepping, true) !== 0 ? 1 : ITERATIONS;
    for (let i = 0; i < iterations && count > 0n; i++) {
      const offset = masked(bits, getGpr(ctx, index));
      if (repeated && step > 0n) {
        const most = Math.min(iterations - i, Number(count));
        const moved = moveInPage(ctx, { port, size, source, offset, bits, write, user, most });
        if (moved > 0) {
          i += moved - 1;
          count -= BigInt(moved);
          setAddressRegister(ctx, index, bits, offset + BigInt(moved * size));
          setAddressRegister(ctx, RCX, bits, count);
          noteIoBreakpoints(ctx, port, size);
          continue;
        }
      }
      const linear = dataLinear(ctx, source, offset, size, !write);
      if (write) ctx.platform.ioWrite(port, size, Number(ctx.readLinear(linear, size as Bytes, user)));
      else {
        ctx.probeWrite(linear, size, user);
        ctx.writeLinear(linear, size as Bytes, BigInt(ctx.platform.ioRead(port, size) >>> 0), user);
      }
      noteIoBreakpoints(ctx, port, size);
      count--;
      setAddressRegister(ctx, index, bits, offset + step);
      if (repeated) setAddressRegister(ctx, RCX, bits, count);
    }
    if (count === 0n) setRip(ctx, next);
  };

export const ioRoutines: Readonly<Record<string, SystemRoutine>> = {
  in: input,
  out: output,
  insb: stringIo(false, true),
  ins: stringIo(false, false),
  outsb: stringIo(true, true),
  outs: stringIo(true, false),
};
