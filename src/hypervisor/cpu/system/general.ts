import { CF, IF, RF, readRflags, VIF, VIP, VM, writeRflags } from '../flags.ts';
import { S, SS } from '../layout.ts';
import { type CpuContext, gp, ud } from './context.ts';
import type { SystemInstruction, SystemRoutine } from './instruction.ts';
import { type Bytes, GuestStack } from './memory.ts';
import { readMsr, writeMsr } from './msr.ts';
import {
  CR4,
  cplOf,
  cr4,
  EFER,
  efer,
  eflags,
  getGpr,
  getGpr32,
  iopl,
  is64,
  isCanonical,
  isLongActive,
  isProtected,
  isV86,
  modeChanged,
  RAX,
  RBX,
  RCX,
  RDX,
  RSP,
  setEflags,
  setGpr,
  setGpr32,
  setRip,
  writeSegment,
} from './registers.ts';
import { requireCpl0 } from './segment-instructions.ts';
import { commitCode, flatCode, flatData } from './segments.ts';

/** IA32_APIC_BASE, which the local APIC keeps, and its global enable. */
const APIC_BASE = 0x1b;
const APIC_ENABLE = 1n << 11n;

/** Where there is no local APIC to ask, its CPUID bit stands as the profile has it. */
function apicEnabled(ctx: CpuContext): boolean {
  const base = ctx.platform.msrRead(APIC_BASE);
  return base === undefined || (base & APIC_ENABLE) !== 0n;
}

function cpuid(ctx: CpuContext, insn: SystemInstruction): void {
  const found = ctx.platform.cpuid.query(getGpr32(ctx, RAX), getGpr32(ctx, RCX), {
    osxsave: (cr4(ctx) & CR4.OSXSAVE) !== 0,
    xcr0: ctx.view.getBigUint64(S.xcr0, true),
    apic: apicEnabled(ctx),
  });
  setGpr32(ctx, RAX, found.eax);
  setGpr32(ctx, RBX, found.ebx);
  setGpr32(ctx, RCX, found.ecx);
  setGpr32(ctx, RDX, found.edx);
  setRip(ctx, insn.nextRip);
}

/** Answers of KVM's hypercalls. */
const HYPERCALL = { notPermitted: -1n, unknown: -1000n } as const;

/**
 * A call of the hypervisor whose signature CPUID shows (Linux Documentation/virt/kvm/x86/hypercalls.rst): number and
 * answer in RAX. Those that CPUID does not offer are unknown, and it offers none. #UD where CPUID shows no hypervisor,
 * as by a processor without VMX.
 */
function vmcall(ctx: CpuContext, insn: SystemInstruction): void {
  if (!ctx.platform.cpuid.has('HYPERVISOR')) throw ud();
  const answer = cplOf(ctx) === 0 ? HYPERCALL.unknown : HYPERCALL.notPermitted;
  if (is64(ctx)) setGpr(ctx, RAX, BigInt.asUintN(64, answer));
  else setGpr32(ctx, RAX, Number(BigInt.asUintN(32, answer)));
  setRip(ctx, insn.nextRip);
}

function setEdxEax(ctx: CpuContext, value: bigint): void {
  setGpr(ctx, RAX, value & 0xffff_ffffn);
  setGpr(ctx, RDX, (value >> 32n) & 0xffff_ffffn);
}

function rdmsr(ctx: CpuContext, insn: SystemInstruction): void {
  requireCpl0(ctx);
  setEdxEax(ctx, readMsr(ctx, getGpr32(ctx, RCX)));
  setRip(ctx, insn.nextRip);
}

function wrmsr(ctx: CpuContext, insn: SystemInstruction): void {
  requireCpl0(ctx);
  const next = insn.nextRip;
  writeMsr(
    ctx,
    getGpr32(ctx, RCX),
    ((getGpr(ctx, RDX) & 0xffff_ffffn) << 32n) | (getGpr(ctx, RAX) & 0xffff_ffffn),
  );
  setRip(ctx, next);
}

function requireTimeStamp(ctx: CpuContext): void {
  if ((cr4(ctx) & CR4.TSD) !== 0 && cplOf(ctx) !== 0) throw gp();
}

function rdtsc(ctx: CpuContext, insn: SystemInstruction): void {
  requireTimeStamp(ctx);
  setEdxEax(ctx, ctx.platform.tsc());
  setRip(ctx, insn.nextRip);
}

function rdtscp(ctx: CpuContext, insn: SystemInstruction): void {
  requireTimeStamp(ctx);
  setEdxEax(ctx, ctx.platform.tsc());
  setGpr(ctx, RCX, ctx.view.getBigUint64(S.tscAux, true) & 0xffff_ffffn);
  setRip(ctx, insn.nextRip);
}

function hlt(ctx: CpuContext, insn: SystemInstruction): void {
  requireCpl0(ctx);
  ctx.view.setUint32(S.halted, 1, true);
  // HLT is the instruction that STI's shadow was for.
  ctx.view.setUint32(S.shadow, 0, true);
  setRip(ctx, insn.nextRip);
}

/** RDRAND, RDSEED: CF set, the other arithmetic flags clear. */
function random(ctx: CpuContext, insn: SystemInstruction): void {
  insn.writeOperand(0, ctx.platform.random64(), insn.opsize);
  writeRflags(ctx.view, (eflags(ctx) & ~0x8d5) | CF);
  setRip(ctx, insn.nextRip);
}

/**
 * SYSCALL. In compatibility mode it enters at CSTAR, as on AMD's processors, once CSTAR has been given an
 * entry; while it is zero that is #UD, as on Intel's, where guests that see the vendor leave it alone
 * (SDM vol. 2; AMD64 manual vol. 2, 6.1.1).
 */
function syscall(ctx: CpuContext, insn: SystemInstruction): void {
  const entry = ctx.view.getBigUint64(is64(ctx) ? S.lstar : S.cstar, true);
  if (!isLongActive(ctx) || (efer(ctx) & EFER.SCE) === 0 || (!is64(ctx) && entry === 0n)) throw ud();
  const flags = readRflags(ctx.view);
  const star = ctx.view.getBigUint64(S.star, true);
  const selector = Number((star >> 32n) & 0xfffcn);
  const mask = ctx.view.getUint32(S.sfmask, true);
  setGpr(ctx, RCX, insn.nextRip);
  setGpr(ctx, 11, BigInt(flags));
  writeRflags(ctx.view, flags & ~mask & ~RF);
  commitCode(ctx, flatCode(selector, 0, true), 0);
  writeSegment(ctx, SS, flatData((selector + 8) & 0xffff, 0));
  setRip(ctx, entry);
  modeChanged(ctx);
}

function sysret(ctx: CpuContext, insn: SystemInstruction): void {
  if (!is64(ctx) || (efer(ctx) & EFER.SCE) === 0) throw ud();
  requireCpl0(ctx);
  const target = getGpr(ctx, RCX);
  const long = insn.opsize === 64;
  if (long && !isCanonical(target)) throw gp();
  const base = Number((ctx.view.getBigUint64(S.star, true) >> 48n) & 0xffffn);
  writeRflags(ctx.view, (getGpr32(ctx, 11) & 0x3c_7fd7) | 2);
  commitCode(ctx, flatCode((base + (long ? 16 : 0)) & 0xffff, 3, long), 3);
  writeSegment(ctx, SS, flatData(((base + 8) & 0xfffc) | 3, 3));
  setRip(ctx, long ? target : target & 0xffff_ffffn);
  modeChanged(ctx);
}

function sysenter(ctx: CpuContext): void {
  const selector = Number(ctx.view.getBigUint64(S.sysenterCs, true) & 0xfffcn);
  if (!isProtected(ctx) || selector === 0) throw gp();
  const long = isLongActive(ctx);
  const mask = long ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn;
  writeRflags(ctx.view, readRflags(ctx.view) & ~(VM | IF | RF));
  commitCode(ctx, flatCode(selector, 0, long), 0);
  writeSegment(ctx, SS, flatData((selector + 8) & 0xffff, 0));
  setGpr(ctx, RSP, ctx.view.getBigUint64(S.sysenterEsp, true) & mask);
  setRip(ctx, ctx.view.getBigUint64(S.sysenterEip, true) & mask);
  modeChanged(ctx);
}

function sysexit(ctx: CpuContext, insn: SystemInstruction): void {
  const selector = Number(ctx.view.getBigUint64(S.sysenterCs, true) & 0xfffcn);
  if (!isProtected(ctx) || selector === 0) throw gp();
  requireCpl0(ctx);
  const long = insn.opsize === 64;
  const rsp = getGpr(ctx, RCX);
  const rip = getGpr(ctx, RDX);
  if (long && (!isCanonical(rsp) || !isCanonical(rip))) throw gp();
  const code = selector + (long ? 32 : 16);
  commitCode(ctx, flatCode(code & 0xffff, 3, long), 3);
  writeSegment(ctx, SS, flatData(((code + 8) & 0xfffc) | 3, 3));
  setGpr(ctx, RSP, long ? rsp : rsp & 0xffff_ffffn);
  setRip(ctx, long ? rip : rip & 0xffff_ffffn);
  modeChanged(ctx);
}

/** Is the virtual interrupt flag in use for CLI and STI: VME in virtual-8086 mode, PVI at CPL 3? */
function virtualInterrupts(ctx: CpuContext): boolean {
  if (isV86(ctx)) return (cr4(ctx) & CR4.VME) !== 0;
  return (cr4(ctx) & CR4.PVI) !== 0 && cplOf(ctx) === 3;
}

function cli(ctx: CpuContext, insn: SystemInstruction): void {
  if (iopl(ctx) >= cplOf(ctx)) setEflags(ctx, eflags(ctx) & ~IF);
  else if (virtualInterrupts(ctx)) setEflags(ctx, eflags(ctx) & ~VIF);
  else throw gp();
  setRip(ctx, insn.nextRip);
}

function sti(ctx: CpuContext, insn: SystemInstruction): void {
  const flags = eflags(ctx);
  if (iopl(ctx) >= cplOf(ctx)) {
    if ((flags & IF) === 0) ctx.view.setUint32(S.shadow, 1, true);
    setEflags(ctx, flags | IF);
  } else if (virtualInterrupts(ctx) && (flags & VIP) === 0) setEflags(ctx, flags | VIF);
  else throw gp();
  setRip(ctx, insn.nextRip);
}

function pushf(ctx: CpuContext, insn: SystemInstruction): void {
  let image = readRflags(ctx.view) & ~(VM | RF);
  if (isV86(ctx) && iopl(ctx) < 3) {
    if ((cr4(ctx) & CR4.VME) === 0 || insn.opsize !== 16) throw gp();
    image = virtualImage(image);
  }
  const stack = GuestStack.current(ctx);
  stack.push([BigInt(image)], (insn.opsize / 8) as Bytes);
  stack.commit();
  setRip(ctx, insn.nextRip);
}

/** FLAGS as virtual-8086 code sees them under VME: IF is VIF, IOPL is 3. */
export const virtualImage = (flags: number): number =>
  (flags & ~IF) | ((flags & VIF) !== 0 ? IF : 0) | 0x3000;

/** Flags that POPF and IRET change at any privilege. */
export const ALWAYS_POPPED = 0x4dd5;
export const AC_ID = 0x24_0000;

function popf(ctx: CpuContext, insn: SystemInstruction): void {
  const stack = GuestStack.current(ctx);
  const image = Number(stack.pop((insn.opsize / 8) as Bytes) & 0xffff_ffffn);
  const old = readRflags(ctx.view);
  const wide = insn.opsize !== 16;
  let mask = ALWAYS_POPPED | (wide ? AC_ID : 0);
  let next: number;
  if (isV86(ctx) && iopl(ctx) < 3) {
    if ((cr4(ctx) & CR4.VME) === 0 || wide) throw gp();
    if (((image & IF) !== 0 && (old & VIP) !== 0) || (image & 0x100) !== 0) throw gp();
    next = (old & ~(mask | VIF)) | (image & mask) | ((image & IF) !== 0 ? VIF : 0);
  } else {
    if (cplOf(ctx) <= iopl(ctx)) mask |= IF;
    if (cplOf(ctx) === 0) mask |= 0x3000;
    next = (old & ~mask) | (image & mask);
  }
  writeRflags(ctx.view, wide ? next & ~RF : next);
  stack.commit();
  setRip(ctx, insn.nextRip);
  if (((old ^ next) & AC_ID) !== 0) ctx.modeChanged();
}

export const generalRoutines: Readonly<Record<string, SystemRoutine>> = {
  cpuid,
  vmcall,
  rdmsr,
  wrmsr,
  rdtsc,
  rdtscp,
  hlt,
  rdrand: random,
  rdseed: random,
  syscall,
  sysret,
  sysenter,
  sysexit,
  cli,
  sti,
  pushf,
  popf,
};
