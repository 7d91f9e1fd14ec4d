import { IF, IOPL, NT, OF, RF, readRflags, TF, VIF, VIP, VM, writeRflags } from '../flags.ts';
import { CS, DS, ES, FS, GS, SS, TR } from '../layout.ts';
import { type CpuContext, gp, ud, VECTOR } from './context.ts';
import { deliver, redirectSoftwareInterrupt } from './delivery.ts';
import { loadedCache } from './descriptors.ts';
import { AC_ID, ALWAYS_POPPED } from './general.ts';
import type { SystemInstruction, SystemRoutine } from './instruction.ts';
import { type Bytes, checkTarget, GuestStack, readSystem } from './memory.ts';
import {
  ATTR,
  CR4,
  cplOf,
  cr4,
  eflags,
  getGpr,
  iopl,
  is64,
  isLongActive,
  isProtected,
  isV86,
  modeChanged,
  RSP,
  readSegment,
  type SegmentCache,
  setCpl,
  setGpr,
  setRip,
  writeSegment,
} from './registers.ts';
import { commitCode, dropInnerSegments, paragraphCache, v86Cache } from './segments.ts';
import { bitsAfter, returnCode, returnStack } from './stack-switch.ts';
import { switchTask, tssDescriptor } from './task.ts';

/** INT n: operand 0 the vector. */
function int(ctx: CpuContext, insn: SystemInstruction): void {
  const vector = Number(insn.immediate(0) & 0xffn);
  const nextRip = insn.nextRip;
  if (isV86(ctx)) {
    if (redirectSoftwareInterrupt(ctx, vector, nextRip)) return;
    if (iopl(ctx) < 3) throw gp();
  }
  deliver(ctx, { vector, kind: 'software', nextRip });
}

const int3: SystemRoutine = (ctx, insn) =>
  deliver(ctx, { vector: VECTOR.BP, kind: 'software', nextRip: insn.nextRip });
const int1: SystemRoutine = (ctx, insn) =>
  deliver(ctx, { vector: VECTOR.DB, kind: 'int1', nextRip: insn.nextRip });

function into(ctx: CpuContext, insn: SystemInstruction): void {
  if (is64(ctx)) throw ud();
  if ((readRflags(ctx.view) & OF) === 0) setRip(ctx, insn.nextRip);
  else deliver(ctx, { vector: VECTOR.OF, kind: 'software', nextRip: insn.nextRip });
}

function iret(ctx: CpuContext, insn: SystemInstruction): void {
  const bytes = (insn.opsize / 8) as Bytes;
  if (!isProtected(ctx)) iretReal(ctx, bytes);
  else if (isV86(ctx)) iretV86(ctx, bytes);
  else if ((eflags(ctx) & NT) !== 0) iretTask(ctx, insn.nextRip);
  else iretProtected(ctx, bytes);
}

/** VM and the virtual interrupt flags stay as they are. */
function iretReal(ctx: CpuContext, bytes: Bytes): void {
  const stack = GuestStack.current(ctx);
  const ip = stack.pop(bytes);
  const code = paragraphCache(ctx, CS, Number(stack.pop(bytes) & 0xffffn));
  const image = Number(stack.pop(bytes) & 0xffff_ffffn);
  checkTarget(ctx, code, ip);
  const old = readRflags(ctx.view);
  writeRflags(
    ctx.view,
    bytes === 4 ? (image & 0x25_7fd5) | (old & 0x1a_0000) : (image & 0x7fd5) | (old & ~0xffff),
  );
  stack.commit();
  writeSegment(ctx, CS, code);
  setRip(ctx, ip);
  modeChanged(ctx);
}

function iretV86(ctx: CpuContext, bytes: Bytes): void {
  const virtual = iopl(ctx) < 3;
  if (virtual && ((cr4(ctx) & CR4.VME) === 0 || bytes !== 2)) throw gp();
  const stack = GuestStack.current(ctx);
  const ip = stack.pop(bytes);
  const code = v86Cache(Number(stack.pop(bytes) & 0xffffn));
  const image = Number(stack.pop(bytes) & 0xffff_ffffn);
  const old = readRflags(ctx.view);
  const wide = bytes === 4 ? AC_ID | RF : 0;
  checkTarget(ctx, code, ip);
  let mask = ALWAYS_POPPED | wide;
  let next: number;
  if (virtual) {
    if ((image & TF) !== 0 || ((image & IF) !== 0 && (old & VIP) !== 0)) throw gp();
    next = (old & ~(mask | VIF)) | (image & mask) | ((image & IF) !== 0 ? VIF : 0);
  } else {
    mask |= IF;
    next = (old & ~mask) | (image & mask);
  }
  writeRflags(ctx.view, next);
  stack.commit();
  writeSegment(ctx, CS, code);
  setRip(ctx, ip);
  modeChanged(ctx);
}

/** IRET with NT: back to the task that the current TSS names. */
function iretTask(ctx: CpuContext, nextRip: bigint): void {
  if (isLongActive(ctx)) throw gp();
  const link = readSystem(ctx, readSegment(ctx, TR).base, 2);
  switchTask(ctx, tssDescriptor(ctx, link, true, VECTOR.TS, 0), 'iret', nextRip);
}

/** Flags that IRET takes from the stack at the privilege that it runs at (SDM vol. 2, IRET). */
function poppedFlags(ctx: CpuContext, image: number, bytes: Bytes): number {
  const cpl = cplOf(ctx);
  const wide = bytes !== 2;
  let mask = ALWAYS_POPPED | (wide ? RF | AC_ID : 0);
  if (cpl <= iopl(ctx)) mask |= IF;
  if (cpl === 0) mask |= IOPL | (wide ? VIF | VIP : 0);
  return (readRflags(ctx.view) & ~mask) | (image & mask);
}

function iretProtected(ctx: CpuContext, bytes: Bytes): void {
  const cpl = cplOf(ctx);
  const stack = GuestStack.current(ctx);
  const ip = stack.pop(bytes);
  const selector = Number(stack.pop(bytes) & 0xffffn);
  const image = Number(stack.pop(bytes) & 0xffff_ffffn);
  if ((image & VM) !== 0 && cpl === 0 && bytes === 4 && !isLongActive(ctx))
    return iretToV86(ctx, stack, ip, selector, image);
  const code = returnCode(ctx, selector, cpl);
  const rpl = selector & 3;
  const outer = rpl > cpl;
  let newStack: SegmentCache | undefined;
  let pointer = stack.pointer;
  if (outer || is64(ctx)) {
    pointer = stack.pop(bytes);
    const ss = Number(stack.pop(bytes) & 0xffffn);
    newStack = returnStack(ctx, ss, rpl, isLongActive(ctx) && (code.attributes & ATTR.l) !== 0);
  }
  const cache = loadedCache(ctx, code, selector);
  checkTarget(ctx, cache, ip);
  writeRflags(ctx.view, poppedFlags(ctx, image, bytes));
  if (newStack) {
    writeStackPointer(ctx, pointer, bitsAfter(ctx, code.attributes, newStack));
    writeSegment(ctx, SS, newStack);
  } else stack.commit();
  commitCode(ctx, cache, rpl);
  if (outer) dropInnerSegments(ctx, rpl);
  setRip(ctx, ip);
  modeChanged(ctx);
}

/** A 16-bit stack takes SP alone; the upper half of ESP stays, as it was. */
export function writeStackPointer(ctx: CpuContext, pointer: bigint, bits: 16 | 32 | 64): void {
  setGpr(
    ctx,
    RSP,
    bits === 16 ? (getGpr(ctx, RSP) & 0xffff_0000n) | (pointer & 0xffffn) : BigInt.asUintN(bits, pointer),
  );
}

function iretToV86(ctx: CpuContext, stack: GuestStack, ip: bigint, cs: number, image: number): void {
  const pointer = stack.pop(4);
  const popped = [SS, ES, DS, FS, GS].map((index) => [index, Number(stack.pop(4) & 0xffffn)] as const);
  const code = v86Cache(cs);
  checkTarget(ctx, code, ip);
  writeRflags(ctx.view, image);
  for (const [index, selector] of popped) writeSegment(ctx, index, v86Cache(selector));
  writeSegment(ctx, CS, code);
  setCpl(ctx, 3);
  setGpr(ctx, RSP, pointer);
  setRip(ctx, ip & 0xffffn);
  modeChanged(ctx);
}

export const interruptRoutines: Readonly<Record<string, SystemRoutine>> = { int, int3, int1, into, iret };
