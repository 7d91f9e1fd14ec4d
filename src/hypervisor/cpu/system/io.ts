import { DF, VM } from '../flags.ts';
import { ES, S, TR } from '../layout.ts';
import { type CpuContext, GuestFault, gp } from './context.ts';
import { noteIoBreakpoints, watchesIo } from './debug.ts';
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
/** Bytes that pass at once where a port takes that: a sector of a disk. */
const SPAN_BYTES = 512;
const span = new DataView(new ArrayBuffer(SPAN_BYTES));
const spanBytes = new Uint8Array(span.buffer);

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

/** A repeated INS or OUTS at one of its iterations. */
interface StringAccess {
  readonly write: boolean;
  readonly size: 1 | 2 | 4;
  readonly port: number;
  /** Segment register, offset within it, and bits of an address. */
  readonly segment: number;
  readonly offset: bigint;
  readonly bits: number;
  /** Iterations left. */
  readonly count: number;
  readonly user: boolean;
}

/**
 * Does as many iterations at once as the port takes and as lie on one page
 * and in the segment, upwards. Throws the fault of the first one.
 * @returns how many; 0 when the next one goes alone
 */
function moveSpan(ctx: CpuContext, access: StringAccess): number {
  const { write, size, port, segment, offset, bits, user } = access;
  const { strings } = ctx.platform;
  if (strings?.takes(port) !== true) return 0;
  const linear = dataLinear(ctx, segment, offset, size, !write);
  const onPage = 0x1000 - Number(linear & 0xfffn);
  const most = Math.min(access.count * size, SPAN_BYTES, onPage - (onPage % size));
  if (most < 2 * size || offset + BigInt(most) > 1n << BigInt(bits)) return 0;
  if (segmentEnds(ctx, segment, offset + BigInt(most - size), size, !write)) return 0;
  if (!write) {
    ctx.probeWrite(linear, most, user);
    const moved = strings.read(port, size, spanBytes.subarray(0, most));
    let at = 0;
    for (; at + 8 <= moved; at += 8)
      ctx.writeLinear(linear + BigInt(at), 8, span.getBigUint64(at, true), user);
    for (; at < moved; at++) ctx.writeLinear(linear + BigInt(at), 1, BigInt(spanBytes[at] ?? 0), user);
    return moved / size;
  }
  let at = 0;
  for (; at + 8 <= most; at += 8) span.setBigUint64(at, ctx.readLinear(linear + BigInt(at), 8, user), true);
  for (; at < most; at++) spanBytes[at] = Number(ctx.readLinear(linear + BigInt(at), 1, user));
  return strings.write(port, size, spanBytes.subarray(0, most)) / size;
}

/** Whether an access would fault by its segment. */
function segmentEnds(ctx: CpuContext, index: number, offset: bigint, size: number, write: boolean): boolean {
  try {
    dataLinear(ctx, index, offset, size, write);
    return false;
  } catch (error) {
    if (error instanceof GuestFault) return true;
    throw error;
  }
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
    // Breakpoints on ports are looked at for each access, and so is a step.
    const atOnce = repeated && step > 0n && iterations > 1 && !watchesIo(ctx);
    for (let i = 0; i < iterations && count > 0n; i++) {
      const offset = masked(bits, getGpr(ctx, index));
      if (atOnce && count > 1n) {
        const left = count < BigInt(iterations - i) ? Number(count) : iterations - i;
        const access = { write, size, port, segment: source, offset, bits, count: left, user };
        const moved = moveSpan(ctx, access);
        if (moved > 0) {
          i += moved - 1;
          count -= BigInt(moved);
          setAddressRegister(ctx, index, bits, offset + step * BigInt(moved));
          setAddressRegister(ctx, RCX, bits, count);
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
