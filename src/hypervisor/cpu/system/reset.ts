import { writeRflags } from '../flags.ts';
import { CS, ES, FLAT, GS, gpr, LDTR, S, SEG, segment, TR } from '../layout.ts';
import { CPU_SIGNATURE } from './cpuid.ts';

const CR0_RESET = 0x6000_0010n;
const MXCSR_RESET = 0x1f80;
const FPU_CONTROL_RESET = 0x40;

function setSegment(
  view: DataView,
  index: number,
  selector: number,
  base: bigint,
  limit: number,
  attributes: number,
  checked: number,
): void {
  const at = segment(index);
  view.setBigUint64(at + SEG.base, base, true);
  view.setUint32(at + SEG.limit, limit, true);
  view.setUint32(at + SEG.selector, selector, true);
  view.setUint32(at + SEG.attributes, attributes, true);
  view.setUint32(at + SEG.checked, checked, true);
  if (index <= GS) view.setUint8(S.oddSegments + index, 1);
}

/**
 * What RESET and INIT have in common (Intel SDM vol. 3, table 10-1): real-address
 * mode, CS:IP F000:FFF0 with base FFFF0000h. `signature` is CPUID.1:EAX, which
 * EDX shows. MSRs, TSC, x87, XMM, and CR0's CD and NW stay.
 */
export function initState(view: DataView, signature: number = CPU_SIGNATURE): void {
  for (let n = 0; n < 16; n++) view.setBigUint64(gpr(n), 0n, true);
  view.setBigUint64(gpr(2), BigInt(signature >>> 0), true);
  view.setBigUint64(S.zero, 0n, true);
  view.setBigUint64(S.rip, 0xfff0n, true);
  writeRflags(view, 2);
  for (let index = ES; index <= GS; index++) setSegment(view, index, 0, 0n, 0xffff, 0x93, 1);
  setSegment(view, CS, 0xf000, 0xffff_0000n, 0xffff, 0x9b, 1);
  setSegment(view, LDTR, 0, 0n, 0xffff, 0x82, 1);
  setSegment(view, TR, 0, 0n, 0xffff, 0x8b, 1);
  setSegment(view, FLAT, 0, 0n, 0xffff_ffff, 0xc093, 0);
  for (const base of [S.gdtrBase, S.idtrBase]) view.setBigUint64(base, 0n, true);
  for (const limit of [S.gdtrLimit, S.idtrLimit]) view.setUint32(limit, 0xffff, true);
  view.setBigUint64(S.cr0, (view.getBigUint64(S.cr0, true) & 0x6000_0000n) | 0x10n, true);
  for (const at of [S.cr2, S.cr3, S.cr4, S.cr8]) view.setBigUint64(at, 0n, true);
  // IA32_EFER is cleared by INIT as well.
  view.setBigUint64(S.efer, 0n, true);
  for (let n = 0; n < 4; n++) {
    view.setBigUint64(S.pdpte + n * 8, 0n, true);
    view.setBigUint64(S.dr + n * 8, 0n, true);
  }
  view.setBigUint64(S.dr + 48, 0xffff_0ff0n, true);
  view.setBigUint64(S.dr + 56, 0x400n, true);
  for (const at of [S.cpl, S.codeMode, S.shadow, S.halted, S.nmiBlocked, S.pendingDebug])
    view.setUint32(at, 0, true);
}

/**
 * The processor at power-on: the architectural part of the block; the engine's
 * own fields stay. The caller clears its MsrStore, and tells the engine that
 * the state changed.
 */
export function resetState(view: DataView, signature: number = CPU_SIGNATURE): void {
  for (let at = S.gpr; at < S.budget; at += 4) view.setUint32(at, 0, true);
  initState(view, signature);
  view.setBigUint64(S.cr0, CR0_RESET, true);
  view.setBigUint64(S.xcr0, 1n, true);
  view.setUint32(S.mxcsr, MXCSR_RESET, true);
  view.setUint32(S.fpuControl, FPU_CONTROL_RESET, true);
}
