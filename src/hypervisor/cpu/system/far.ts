import { CS, SS } from '../layout.ts';
import { type CpuContext, GuestFault, gp, ud, VECTOR } from './context.ts';
import {
  type Descriptor,
  fetchDescriptor,
  type Gate,
  gateFields,
  isCode,
  isConforming,
  isNull,
  loadedCache,
  longCallGate,
  selectorError,
  TYPE,
} from './descriptors.ts';
import type { SystemInstruction, SystemRoutine } from './instruction.ts';
import { writeStackPointer } from './interrupts.ts';
import { type Bytes, checkTarget, GuestStack } from './memory.ts';
import {
  ATTR,
  cplOf,
  getGpr,
  hasParagraphs,
  isLongActive,
  modeChanged,
  RSP,
  readSegment,
  type SegmentCache,
  setRip,
  writeSegment,
} from './registers.ts';
import { commitCode, dropInnerSegments, paragraphCache } from './segments.ts';
import {
  bitsAfter,
  legacyInnerStack,
  longInnerStack,
  returnCode,
  returnStack,
  stackParameters,
} from './stack-switch.ts';
import { switchTask, tssDescriptor } from './task.ts';

interface FarPointer {
  readonly selector: number;
  readonly offset: bigint;
}

/** A far pointer: operands offset and selector in the instruction, or one memory operand. */
function farPointer(insn: SystemInstruction): FarPointer {
  const bytes = (insn.opsize / 8) as Bytes;
  if (insn.isMemory(0)) {
    const offset = insn.readMemory(0, bytes);
    return { offset, selector: Number(insn.readMemory(0, 2, bytes)) };
  }
  return {
    offset: BigInt.asUintN(insn.opsize, insn.immediate(0)),
    selector: Number(insn.immediate(1) & 0xffffn),
  };
}

/** A code segment with L and D both set does not exist. */
function checkLongCode(ctx: CpuContext, descriptor: Descriptor): void {
  const both = ATTR.l | ATTR.db;
  if (isLongActive(ctx) && (descriptor.attributes & both) === both)
    throw gp(selectorError(descriptor.selector));
}

/** A code segment reached directly: its privilege is kept. */
function directCode(ctx: CpuContext, descriptor: Descriptor, selector: number): SegmentCache {
  const error = selectorError(selector);
  const cpl = cplOf(ctx);
  if (!isCode(descriptor)) throw gp(error);
  if (isConforming(descriptor) ? descriptor.dpl > cpl : (selector & 3) > cpl || descriptor.dpl !== cpl)
    throw gp(error);
  checkLongCode(ctx, descriptor);
  if (!descriptor.present) throw new GuestFault(VECTOR.NP, error);
  return loadedCache(ctx, descriptor, selector);
}

function checkGateAccess(ctx: CpuContext, descriptor: Descriptor, selector: number): void {
  if (descriptor.dpl < Math.max(cplOf(ctx), selector & 3)) throw gp(selectorError(selector));
  if (!descriptor.present) throw new GuestFault(VECTOR.NP, selectorError(selector));
}

/** Task gates and TSS selectors, which IA-32e mode has not. */
function transferToTask(
  ctx: CpuContext,
  descriptor: Descriptor,
  kind: 'jump' | 'call',
  nextRip: bigint,
): void {
  const { selector } = descriptor;
  const error = selectorError(selector);
  if (isLongActive(ctx)) throw gp(error);
  let target = descriptor;
  if (descriptor.type === TYPE.taskGate) {
    checkGateAccess(ctx, descriptor, selector);
    target = tssDescriptor(ctx, descriptor.low >>> 16, false, VECTOR.GP, 0);
  } else {
    if (descriptor.type !== TYPE.tss16 && descriptor.type !== TYPE.tss32) throw gp(error);
    if (descriptor.dpl < Math.max(cplOf(ctx), selector & 3)) throw gp(error);
    target = tssDescriptor(ctx, selector, false, VECTOR.GP, 0);
  }
  switchTask(ctx, target, kind, nextRip);
}

const isCallGate = (ctx: CpuContext, descriptor: Descriptor): boolean =>
  descriptor.type === TYPE.callGate32 || (descriptor.type === TYPE.callGate16 && !isLongActive(ctx));

interface GateTarget {
  readonly gate: Gate;
  readonly descriptor: Descriptor;
}

/** Where a call gate leads; its code segment is checked as far as JMP and CALL agree. */
function gateTarget(ctx: CpuContext, gateDescriptor: Descriptor, selector: number): GateTarget {
  checkGateAccess(ctx, gateDescriptor, selector);
  const long = isLongActive(ctx);
  const gate = long
    ? longCallGate(ctx, gateDescriptor)
    : gateFields(gateDescriptor.low, gateDescriptor.high, gateDescriptor.type === TYPE.callGate32);
  if (isNull(gate.selector)) throw gp();
  const descriptor = fetchDescriptor(ctx, gate.selector);
  const error = selectorError(gate.selector);
  if (!isCode(descriptor) || descriptor.dpl > cplOf(ctx)) throw gp(error);
  if (long && (descriptor.attributes & (ATTR.l | ATTR.db)) !== ATTR.l) throw gp(error);
  return { gate, descriptor };
}

function jumpFar(ctx: CpuContext, insn: SystemInstruction): void {
  const { selector, offset } = farPointer(insn);
  const cpl = cplOf(ctx);
  if (hasParagraphs(ctx)) return enterParagraph(ctx, selector, offset);
  if (isNull(selector)) throw gp();
  const descriptor = fetchDescriptor(ctx, selector);
  if (descriptor.isSegment) return enterCode(ctx, directCode(ctx, descriptor, selector), offset, cpl);
  if (!isCallGate(ctx, descriptor)) return transferToTask(ctx, descriptor, 'jump', insn.nextRip);
  const { gate, descriptor: target } = gateTarget(ctx, descriptor, selector);
  if (!isConforming(target) && target.dpl !== cpl) throw gp(selectorError(gate.selector));
  if (!target.present) throw new GuestFault(VECTOR.NP, selectorError(gate.selector));
  enterCode(ctx, loadedCache(ctx, target, gate.selector), gate.offset, cpl);
}

function enterParagraph(ctx: CpuContext, selector: number, offset: bigint): void {
  const code = paragraphCache(ctx, CS, selector);
  checkTarget(ctx, code, offset);
  writeSegment(ctx, CS, code);
  setRip(ctx, offset);
  modeChanged(ctx);
}

function enterCode(ctx: CpuContext, code: SegmentCache, offset: bigint, level: number): void {
  checkTarget(ctx, code, offset);
  commitCode(ctx, code, level);
  setRip(ctx, offset);
  modeChanged(ctx);
}

function callFar(ctx: CpuContext, insn: SystemInstruction): void {
  const { selector, offset } = farPointer(insn);
  const bytes = (insn.opsize / 8) as Bytes;
  const nextRip = insn.nextRip;
  const frame = [BigInt(readSegment(ctx, CS).selector), nextRip];
  if (hasParagraphs(ctx)) {
    checkTarget(ctx, paragraphCache(ctx, CS, selector), offset);
    const stack = GuestStack.current(ctx);
    stack.push(frame, bytes);
    stack.commit();
    return enterParagraph(ctx, selector, offset);
  }
  if (isNull(selector)) throw gp();
  const descriptor = fetchDescriptor(ctx, selector);
  if (descriptor.isSegment) {
    const code = directCode(ctx, descriptor, selector);
    checkTarget(ctx, code, offset);
    const stack = GuestStack.current(ctx);
    stack.push(frame, bytes);
    stack.commit();
    return enterCode(ctx, code, offset, cplOf(ctx));
  }
  if (!isCallGate(ctx, descriptor)) return transferToTask(ctx, descriptor, 'call', nextRip);
  callGate(ctx, descriptor, selector, nextRip);
}

/** CALL through a gate: at the same level, or to an inner one on the TSS's stack with the parameters copied. */
function callGate(ctx: CpuContext, gateDescriptor: Descriptor, selector: number, nextRip: bigint): void {
  const { gate, descriptor: target } = gateTarget(ctx, gateDescriptor, selector);
  if (!target.present) throw new GuestFault(VECTOR.NP, selectorError(gate.selector));
  const long = isLongActive(ctx);
  const bytes: Bytes = long ? 8 : gateDescriptor.type === TYPE.callGate32 ? 4 : 2;
  const cpl = cplOf(ctx);
  const inward = !isConforming(target) && target.dpl < cpl;
  const code = loadedCache(ctx, target, gate.selector);
  checkTarget(ctx, code, gate.offset);
  const frame: bigint[] = [];
  let inner: SegmentCache | undefined;
  let stack: GuestStack;
  if (inward) {
    const found = long ? longInnerStack(ctx, target.dpl) : legacyInnerStack(ctx, target.dpl, 0);
    ({ cache: inner, stack } = found);
    frame.push(BigInt(readSegment(ctx, SS).selector), getGpr(ctx, RSP));
    if (!long) frame.push(...stackParameters(ctx, gate.parameters, bytes));
  } else {
    // A call from compatibility mode lands in 64-bit code, whose stack is flat.
    const cache = readSegment(ctx, SS);
    stack = long ? new GuestStack(ctx, cache, getGpr(ctx, RSP), 64, cpl === 3) : GuestStack.current(ctx);
  }
  frame.push(BigInt(readSegment(ctx, CS).selector), nextRip);
  stack.push(frame, bytes);
  stack.commit();
  if (inner) writeSegment(ctx, SS, inner);
  enterCode(ctx, code, gate.offset, inward ? target.dpl : cpl);
}

/** RETF, with operand 0 the bytes to release when there is one. */
const returnFar =
  (hasImmediate: boolean): SystemRoutine =>
  (ctx, insn) => {
    const bytes = (insn.opsize / 8) as Bytes;
    const release = hasImmediate ? Number(insn.immediate(0) & 0xffffn) : 0;
    const stack = GuestStack.current(ctx);
    const ip = stack.pop(bytes);
    const selector = Number(stack.pop(bytes) & 0xffffn);
    if (hasParagraphs(ctx)) {
      checkTarget(ctx, paragraphCache(ctx, CS, selector), ip);
      stack.release(release);
      stack.commit();
      return enterParagraph(ctx, selector, ip);
    }
    const cpl = cplOf(ctx);
    const code = returnCode(ctx, selector, cpl);
    const rpl = selector & 3;
    stack.release(release);
    if (rpl === cpl) {
      const cache = loadedCache(ctx, code, selector);
      checkTarget(ctx, cache, ip);
      stack.commit();
      return enterCode(ctx, cache, ip, rpl);
    }
    const pointer = stack.pop(bytes);
    const ss = Number(stack.pop(bytes) & 0xffffn);
    const long = isLongActive(ctx) && (code.attributes & ATTR.l) !== 0;
    const newStack = returnStack(ctx, ss, rpl, long);
    const cache = loadedCache(ctx, code, selector);
    checkTarget(ctx, cache, ip);
    writeStackPointer(ctx, pointer + BigInt(release), bitsAfter(ctx, code.attributes, newStack));
    writeSegment(ctx, SS, newStack);
    commitCode(ctx, cache, rpl);
    dropInnerSegments(ctx, rpl);
    setRip(ctx, ip);
    modeChanged(ctx);
  };

/** A far JMP or CALL with a register operand is no instruction. */
const memoryOnly =
  (routine: SystemRoutine): SystemRoutine =>
  (ctx, insn) => {
    if (!insn.isMemory(0)) throw ud();
    routine(ctx, insn);
  };

export const farRoutines: Readonly<Record<string, SystemRoutine>> = {
  jmp_far: jumpFar,
  call_far: callFar,
  jmp_far_indirect: memoryOnly(jumpFar),
  call_far_indirect: memoryOnly(callFar),
  retf: returnFar(false),
  retf_imm: returnFar(true),
};
