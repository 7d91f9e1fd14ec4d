import { CODE16, CODE32, CODE64 } from '../decode/decoder.ts';
import { AC, VM } from '../flags.ts';
import {
  CS,
  FETCH,
  FETCH_VIEW_BYTES,
  gpr,
  S,
  SEG,
  segment,
  TLB,
  TLB_VIEW_BYTES,
  WATCH,
  WATCH_VIEW,
} from '../layout.ts';
import { enabledBreakpoints } from '../system/control.ts';
import type { InterpreterExports } from './exports.ts';
import { ACCESS } from './paging.ts';

const CR0_PE = 1,
  CR0_EM = 4,
  CR0_TS = 8,
  CR0_AM = 1 << 18;
const CR4_OSFXSR = 1 << 9,
  CR4_OSXSAVE = 1 << 18,
  CR4_SMAP = 1 << 21;
/** State components of SSE and AVX. */
const XCR0_AVX = 6;
const EFER_LMA = 1 << 10;
const ATTRIBUTE_L = 0x2000,
  ATTRIBUTE_D = 0x4000;
/** Bits of `S.unitTrap`; the last says that AVX instructions are undefined, not only unavailable. */
const LEGACY_UNITS = 7,
  SSE_UNIT = 4,
  AVX_UNIT = 8,
  AVX_UNDEFINED = 16;

/** Whether VEX prefixes and the YMM registers are enabled: protected mode, CR4.OSXSAVE, XCR0 (SDM vol. 2, 2.4). */
function avxEnabled(view: DataView): boolean {
  const mode = (view.getUint32(S.cr0, true) & CR0_PE) !== 0 && (view.getUint32(S.eflags, true) & VM) === 0;
  const saved = (view.getUint32(S.cr4, true) & CR4_OSXSAVE) !== 0;
  return mode && saved && (view.getUint32(S.xcr0, true) & XCR0_AVX) === XCR0_AVX;
}

/** The TLB view of supervisor code: user pages are closed to it under SMAP. */
export function supervisorView(view: DataView): 0 | 1 {
  return (view.getUint32(S.cr4, true) & CR4_SMAP) !== 0 ? 0 : 1;
}

/** Chooses the TLB view for data: 0 and 1 supervisor, 2 user; while accesses are watched, one that never hits. */
export function setView(view: DataView, index: 0 | 1 | 2): void {
  const watch = view.getInt32(S.watch, true);
  const watched = (watch & WATCH.data) !== 0 || (index === 2 && (watch & WATCH.alignment) !== 0);
  view.setUint32(S.tlbView, watched ? WATCH_VIEW : TLB.base + index * TLB_VIEW_BYTES, true);
  view.setInt32(S.accessBits, index === 2 ? ACCESS.user : index === 0 ? ACCESS.smap : 0, true);
}

/**
 * Outside of 64-bit mode the high halves of RAX to RDI are 0: they are not preserved when it is left (SDM vol. 1,
 * 3.4.1.1), and translated 32-bit code reckons with the low ones only.
 */
function clearHighHalves(view: DataView): void {
  for (let n = 0; n < 8; n++) view.setUint32(gpr(n) + 4, 0, true);
}

/**
 * Derives from the architectural state what the engine keeps of it: the mode
 * of code, the TLB views, which units trap, what is watched. Gives whether a
 * breakpoint is enabled.
 */
export function applyMode(view: DataView, wasm: InterpreterExports): boolean {
  const cr0 = view.getUint32(S.cr0, true);
  const attributes = view.getUint32(segment(CS) + SEG.attributes, true);
  const long = (view.getUint32(S.efer, true) & EFER_LMA) !== 0 && (attributes & ATTRIBUTE_L) !== 0;
  const mode = long ? CODE64 : (attributes & ATTRIBUTE_D) !== 0 ? CODE32 : CODE16;
  if (mode !== view.getInt32(S.codeMode, true)) {
    view.setInt32(S.codeMode, mode, true);
    wasm.flushFetch();
  }
  if (!long) clearHighHalves(view);
  const user = view.getInt32(S.cpl, true) === 3;
  const ac = (view.getUint32(S.eflags, true) & AC) !== 0;
  const breakpoints = (view.getUint32(S.dr + 56, true) & 0xff) === 0 ? undefined : enabledBreakpoints(view);
  const aligned = user && (cr0 & CR0_AM) !== 0 && ac;
  const watch =
    (aligned ? WATCH.alignment : 0) | (breakpoints?.data ? WATCH.data : 0) | (breakpoints?.io ? WATCH.io : 0);
  view.setInt32(S.watch, watch, true);
  setView(view, user ? 2 : ac ? 1 : supervisorView(view));
  view.setUint32(S.fetchView, FETCH.base + (user ? FETCH_VIEW_BYTES : 0), true);
  let traps = (cr0 & (CR0_EM | CR0_TS)) !== 0 ? LEGACY_UNITS : 0;
  if ((view.getUint32(S.cr4, true) & CR4_OSFXSR) === 0) traps |= SSE_UNIT;
  if ((cr0 & CR0_TS) !== 0) traps |= AVX_UNIT;
  if (!avxEnabled(view)) traps |= AVX_UNIT | AVX_UNDEFINED;
  view.setInt32(S.unitTrap, traps, true);
  // No page has this base: the next branch looks its page up anew.
  view.setBigInt64(S.pageBase, 1n, true);
  return breakpoints !== undefined && (breakpoints.code || breakpoints.data || breakpoints.io);
}
