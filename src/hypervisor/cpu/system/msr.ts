import { FS, GS, S, SEG, segment } from '../layout.ts';
import { type CpuContext, gp } from './context.ts';
import { PHYSICAL_ADDRESS_BITS } from './cpuid.ts';
import { CR0, cr0, EFER, efer, isCanonical, modeChanged } from './registers.ts';

/** Model-specific registers by number (Intel SDM vol. 4, tables 2-2 and on). */
export const MSR = {
  TSC: 0x10,
  PLATFORM_ID: 0x17,
  FEATURE_CONTROL: 0x3a,
  TSC_ADJUST: 0x3b,
  BIOS_UPDT_TRIG: 0x79,
  BIOS_SIGN_ID: 0x8b,
  MTRRCAP: 0xfe,
  SYSENTER_CS: 0x174,
  SYSENTER_ESP: 0x175,
  SYSENTER_EIP: 0x176,
  MCG_CAP: 0x179,
  MCG_STATUS: 0x17a,
  MISC_ENABLE: 0x1a0,
  DEBUGCTL: 0x1d9,
  MTRR_PHYSBASE0: 0x200,
  MTRR_FIX64K: 0x250,
  MTRR_FIX16K: 0x258,
  MTRR_FIX4K: 0x268,
  PAT: 0x277,
  MTRR_DEF_TYPE: 0x2ff,
  EFER: 0xc000_0080,
  STAR: 0xc000_0081,
  LSTAR: 0xc000_0082,
  CSTAR: 0xc000_0083,
  SFMASK: 0xc000_0084,
  FS_BASE: 0xc000_0100,
  GS_BASE: 0xc000_0101,
  KERNEL_GS_BASE: 0xc000_0102,
  TSC_AUX: 0xc000_0103,
} as const;

interface Register {
  read(ctx: CpuContext): bigint;
  /** Throws GuestFault (#GP(0)) for a value that the register does not take. */
  write(ctx: CpuContext, value: bigint): void;
}

const readOnly = (value: bigint): Register => ({
  read: () => value,
  write: () => {
    throw gp();
  },
});

/** A field of the state block. */
const field = (at: number, check?: (value: bigint) => boolean): Register => ({
  read: (ctx) => ctx.view.getBigUint64(at, true),
  write: (ctx, value) => {
    if (check && !check(value)) throw gp();
    ctx.view.setBigUint64(at, value, true);
  },
});

/** Kept in the context's store. */
const stored = (index: number, reset: bigint, check: (value: bigint) => boolean): Register => ({
  read: (ctx) => ctx.msrs.get(index, reset),
  write: (ctx, value) => {
    if (!check(value)) throw gp();
    ctx.msrs.set(index, value);
  },
});

/** Base of FS or GS. */
const segmentBase = (index: number): Register => ({
  read: (ctx) => ctx.view.getBigUint64(segment(index) + SEG.base, true),
  write: (ctx, value) => {
    if (!isCanonical(value)) throw gp();
    ctx.view.setBigUint64(segment(index) + SEG.base, value, true);
  },
});

const below32 = (value: bigint): boolean => value >> 32n === 0n;

function writeEfer(ctx: CpuContext, value: bigint): void {
  const { cpuid } = ctx.platform;
  const allowed =
    (cpuid.has('SYSCALL') ? EFER.SCE : 0) |
    (cpuid.has('LM') ? EFER.LME | EFER.LMA : 0) |
    (cpuid.has('NX') ? EFER.NXE : 0);
  if ((value & ~BigInt(allowed)) !== 0n) throw gp();
  const old = efer(ctx);
  const next = (Number(value) & ~EFER.LMA) | (old & EFER.LMA);
  if (((old ^ next) & EFER.LME) !== 0 && (cr0(ctx) & CR0.PG) !== 0) throw gp();
  ctx.view.setBigUint64(S.efer, BigInt(next), true);
  if (((old ^ next) & EFER.NXE) !== 0) ctx.flushTlb('all');
  modeChanged(ctx);
}

const tscAdjust = (ctx: CpuContext): bigint => ctx.msrs.get(MSR.TSC_ADJUST);

/** SDM vol. 3, 18.17.3: what either register gains, the other gains too. */
function moveTsc(ctx: CpuContext, tsc: bigint, by: bigint): void {
  ctx.msrs.set(MSR.TSC_ADJUST, BigInt.asUintN(64, tscAdjust(ctx) + by));
  ctx.platform.setTsc(BigInt.asUintN(64, tsc + by));
}

function writeTsc(ctx: CpuContext, value: bigint): void {
  const now = ctx.platform.tsc();
  moveTsc(ctx, now, value - now);
}

function writeTscAdjust(ctx: CpuContext, value: bigint): void {
  moveTsc(ctx, ctx.platform.tsc(), value - tscAdjust(ctx));
}

/** Memory types are 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, in PAT also 7 UC-. */
function memoryTypes(value: bigint, allowed: number): boolean {
  for (let i = 0n; i < 64n; i += 8n) {
    const type = Number((value >> i) & 0xffn);
    if (type > 7 || ((allowed >> type) & 1) === 0) return false;
  }
  return true;
}
const MTRR_TYPES = (1 << 0) | (1 << 1) | (1 << 4) | (1 << 5) | (1 << 6);
const PAT_TYPES = MTRR_TYPES | (1 << 7);
/** SDM vol. 3, 12.12.4. */
const PAT_RESET = 0x0007_0406_0007_0406n;
/** 8 variable ranges, fixed ranges, write combining. */
const MTRR_CAPABILITIES = 0x508n;
const VARIABLE_RANGES = 8;
const aboveWidth = (value: bigint): boolean => value >> BigInt(PHYSICAL_ADDRESS_BITS) !== 0n;

/** MISC_ENABLE: fast strings, branch trace and PEBS unavailable. */
const MISC_ENABLE_RESET = 1n | (1n << 11n) | (1n << 12n);
/**
 * The bits that have a name (SDM vol. 4, table 2-2) are kept as written, also those that processors only
 * show, as KVM and QEMU keep them; limit-CPUID and XD-disable have no effect. The others stay zero.
 */
const MISC_ENABLE_BITS = 0x4_00c5_1889n;

/** Microcode revision, in the upper half of BIOS_SIGN_ID. */
const MICROCODE = 0x219n << 32n;

function table(): ReadonlyMap<number, Register> {
  const registers = new Map<number, Register>([
    [MSR.TSC, { read: (ctx) => ctx.platform.tsc(), write: writeTsc }],
    [MSR.TSC_ADJUST, { read: tscAdjust, write: writeTscAdjust }],
    [MSR.PLATFORM_ID, readOnly(0n)],
    // Locked, nothing enabled: there is no VMX.
    [MSR.FEATURE_CONTROL, readOnly(1n)],
    [
      MSR.BIOS_UPDT_TRIG,
      {
        read: () => {
          throw gp();
        },
        write: () => {},
      },
    ],
    [MSR.BIOS_SIGN_ID, { read: () => MICROCODE, write: () => {} }],
    [MSR.MTRRCAP, readOnly(MTRR_CAPABILITIES)],
    [MSR.SYSENTER_CS, field(S.sysenterCs)],
    [MSR.SYSENTER_ESP, field(S.sysenterEsp, isCanonical)],
    [MSR.SYSENTER_EIP, field(S.sysenterEip, isCanonical)],
    [MSR.MCG_CAP, readOnly(0n)],
    [MSR.MCG_STATUS, stored(MSR.MCG_STATUS, 0n, (value) => value >> 3n === 0n)],
    [
      MSR.MISC_ENABLE,
      {
        read: (ctx) => ctx.msrs.get(MSR.MISC_ENABLE, MISC_ENABLE_RESET),
        write: (ctx, value) => ctx.msrs.set(MSR.MISC_ENABLE, value & MISC_ENABLE_BITS),
      },
    ],
    // LBR and BTF read back; there is no branch record.
    [MSR.DEBUGCTL, stored(MSR.DEBUGCTL, 0n, (value) => value >> 2n === 0n)],
    [MSR.PAT, stored(MSR.PAT, PAT_RESET, (value) => memoryTypes(value, PAT_TYPES))],
    [
      MSR.MTRR_DEF_TYPE,
      stored(
        MSR.MTRR_DEF_TYPE,
        0n,
        (value) =>
          (value & ~0xcffn) === 0n &&
          ((MTRR_TYPES >> Number(value & 0xffn)) & 1) !== 0 &&
          (value & 0xffn) < 8n,
      ),
    ],
    [MSR.EFER, { read: (ctx) => BigInt(efer(ctx)), write: writeEfer }],
    [MSR.STAR, field(S.star)],
    [MSR.LSTAR, field(S.lstar, isCanonical)],
    [MSR.CSTAR, field(S.cstar, isCanonical)],
    [MSR.SFMASK, field(S.sfmask, below32)],
    [MSR.FS_BASE, segmentBase(FS)],
    [MSR.GS_BASE, segmentBase(GS)],
    [MSR.KERNEL_GS_BASE, field(S.kernelGsBase, isCanonical)],
    [MSR.TSC_AUX, field(S.tscAux, below32)],
  ]);
  for (let i = 0; i < VARIABLE_RANGES; i++) {
    const base = MSR.MTRR_PHYSBASE0 + i * 2;
    registers.set(
      base,
      stored(
        base,
        0n,
        (value) =>
          !aboveWidth(value) &&
          (value & 0xf00n) === 0n &&
          (value & 0xffn) < 8n &&
          ((MTRR_TYPES >> Number(value & 7n)) & 1) !== 0,
      ),
    );
    registers.set(
      base + 1,
      stored(base + 1, 0n, (value) => !aboveWidth(value) && (value & 0x7ffn) === 0n),
    );
  }
  const fixed = [
    MSR.MTRR_FIX64K,
    MSR.MTRR_FIX16K,
    MSR.MTRR_FIX16K + 1,
    ...Array.from({ length: 8 }, (_, i) => MSR.MTRR_FIX4K + i),
  ];
  for (const index of fixed)
    registers.set(
      index,
      stored(index, 0n, (value) => memoryTypes(value, MTRR_TYPES)),
    );
  return registers;
}
const REGISTERS = table();

/** Reads an MSR. Throws GuestFault (#GP(0)) where there is none. */
export function readMsr(ctx: CpuContext, index: number): bigint {
  const register = REGISTERS.get(index);
  const value = register ? register.read(ctx) : ctx.platform.msrRead(index);
  if (value === undefined) throw gp();
  return BigInt.asUintN(64, value);
}

/** Writes an MSR. Throws GuestFault (#GP(0)) where there is none, or for a reserved value. */
export function writeMsr(ctx: CpuContext, index: number, value: bigint): void {
  const register = REGISTERS.get(index);
  if (register) register.write(ctx, value);
  else if (!ctx.platform.msrWrite(index, value)) throw gp();
}
