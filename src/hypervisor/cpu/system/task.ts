import { NT, readRflags, VM, writeRflags } from '../flags.ts';
import { CS, DS, ES, FS, GS, LDTR, S, SS, TR } from '../layout.ts';
import { type CpuContext, GuestFault, VECTOR } from './context.ts';
import { writeCr3 } from './control.ts';
import {
  type Descriptor,
  fetchDescriptor,
  isCode,
  isConforming,
  isNull,
  loadedCache,
  selectorError,
  systemCache,
  TYPE,
} from './descriptors.ts';
import { checkTarget, readSystem, truncateLinear, writeSystem } from './memory.ts';
import {
  CR0,
  cr0,
  getGpr32,
  modeChanged,
  readSegment,
  type SegmentCache,
  setCpl,
  setGpr32,
  setRip,
  writeSegment,
} from './registers.ts';
import { setBusy } from './segment-instructions.ts';
import { nullCache, prepareDataSegment, prepareStackSegment, v86Cache } from './segments.ts';

/** What starts a task switch (SDM vol. 3, 8.3). */
export type TaskSwitchKind = 'jump' | 'call' | 'interrupt' | 'iret';

/** Offsets in a TSS (SDM vol. 3, figures 8-2 and 8-10). */
interface TssLayout {
  readonly size: number;
  readonly word: 2 | 4;
  readonly ip: number;
  readonly flags: number;
  readonly registers: number;
  readonly segments: readonly (readonly [at: number, index: number])[];
  readonly ldt: number;
}
const TSS16: TssLayout = {
  size: 0x2c,
  word: 2,
  ip: 0x0e,
  flags: 0x10,
  registers: 0x12,
  segments: [
    [0x22, ES],
    [0x24, CS],
    [0x26, SS],
    [0x28, DS],
  ],
  ldt: 0x2a,
};
const TSS32: TssLayout = {
  size: 0x68,
  word: 4,
  ip: 0x20,
  flags: 0x24,
  registers: 0x28,
  segments: [
    [0x48, ES],
    [0x4c, CS],
    [0x50, SS],
    [0x54, DS],
    [0x58, FS],
    [0x5c, GS],
  ],
  ldt: 0x60,
};
const TSS32_CR3 = 0x1c;
const TSS32_TRAP = 0x64;
const DR6_BT = 0x8000;

const layoutOf = (attributes: number): TssLayout => ((attributes & 8) !== 0 ? TSS32 : TSS16);

/** A TSS descriptor by selector: in the GDT, available (busy for an IRET), present; else the vector given, or #NP. */
export function tssDescriptor(
  ctx: CpuContext,
  selector: number,
  busy: boolean,
  vector: number,
  ext: number,
): Descriptor {
  const error = selectorError(selector, ext);
  if ((selector & 4) !== 0 || isNull(selector)) throw new GuestFault(vector, error);
  const descriptor = fetchDescriptor(ctx, selector, vector, ext);
  const want = busy ? [TYPE.tss16Busy, TYPE.tss32Busy] : [TYPE.tss16, TYPE.tss32];
  if (descriptor.isSegment || !want.some((type) => type === descriptor.type))
    throw new GuestFault(vector, error);
  if (!descriptor.present) throw new GuestFault(VECTOR.NP, error);
  return descriptor;
}

function saveTask(ctx: CpuContext, tr: SegmentCache, flags: number, ip: bigint): void {
  const layout = layoutOf(tr.attributes);
  const write = (at: number, bytes: 2 | 4, value: number): void =>
    writeSystem(ctx, tr.base + BigInt(at), bytes, value);
  write(layout.ip, layout.word, Number(ip & 0xffff_ffffn));
  write(layout.flags, layout.word, flags);
  for (let i = 0; i < 8; i++) write(layout.registers + i * layout.word, layout.word, getGpr32(ctx, i));
  for (const [at, index] of layout.segments) write(at, 2, readSegment(ctx, index).selector);
}

interface TaskImage {
  readonly cr3: number;
  readonly ip: number;
  readonly flags: number;
  readonly registers: readonly number[];
  readonly selectors: ReadonlyMap<number, number>;
  readonly ldt: number;
  readonly trap: boolean;
}

function readTask(ctx: CpuContext, base: bigint, layout: TssLayout): TaskImage {
  const read = (at: number, bytes: 2 | 4): number => readSystem(ctx, base + BigInt(at), bytes);
  const wide = layout === TSS32;
  return {
    cr3: wide ? read(TSS32_CR3, 4) : 0,
    ip: read(layout.ip, layout.word),
    flags: read(layout.flags, layout.word),
    registers: Array.from({ length: 8 }, (_, i) => read(layout.registers + i * layout.word, layout.word)),
    selectors: new Map(layout.segments.map(([at, index]) => [index, read(at, 2)])),
    ldt: read(layout.ldt, 2),
    trap: wide && (read(TSS32_TRAP, 2) & 1) !== 0,
  };
}

/** Loads LDTR and the segment registers of the new task; faults are reported in its context. */
function loadTaskSegments(ctx: CpuContext, image: TaskImage, ext: number): void {
  const selector = (index: number): number => image.selectors.get(index) ?? 0;
  if (!isNull(image.ldt)) {
    const error = selectorError(image.ldt, ext);
    if ((image.ldt & 4) !== 0) throw new GuestFault(VECTOR.TS, error);
    const descriptor = fetchDescriptor(ctx, image.ldt, VECTOR.TS, ext);
    if (descriptor.isSegment || descriptor.type !== TYPE.ldt || !descriptor.present)
      throw new GuestFault(VECTOR.TS, error);
    writeSegment(ctx, LDTR, systemCache(ctx, descriptor, VECTOR.TS));
  }
  if ((image.flags & VM) !== 0) {
    for (let index = ES; index <= GS; index++) writeSegment(ctx, index, v86Cache(selector(index)));
    return;
  }
  const cs = selector(CS);
  const cpl = cs & 3;
  writeSegment(ctx, SS, prepareStackSegment(ctx, selector(SS), cpl, VECTOR.TS, ext));
  for (const index of [DS, ES, FS, GS]) {
    if (!isNull(selector(index)))
      writeSegment(ctx, index, prepareDataSegment(ctx, selector(index), cpl, VECTOR.TS, ext));
  }
  if (isNull(cs)) throw new GuestFault(VECTOR.TS, ext);
  const error = selectorError(cs, ext);
  const code = fetchDescriptor(ctx, cs, VECTOR.TS, ext);
  if (!isCode(code) || (isConforming(code) ? code.dpl > cpl : code.dpl !== cpl))
    throw new GuestFault(VECTOR.TS, error);
  if (!code.present) throw new GuestFault(VECTOR.NP, error);
  writeSegment(ctx, CS, loadedCache(ctx, code, cs));
}

/**
 * Switches to the task of an already checked TSS descriptor; `returnIp` goes
 * to the old task's EIP. Outside IA-32e mode only. A fault up to the point
 * where the new TSS is read leaves everything as it was; a later one is the
 * new task's.
 */
export function switchTask(
  ctx: CpuContext,
  target: Descriptor,
  kind: TaskSwitchKind,
  returnIp: bigint,
  ext = 0,
): void {
  const layout = layoutOf(target.type);
  const cache = systemCache(ctx, target, VECTOR.TS);
  if (cache.limit < layout.size - 1) throw new GuestFault(VECTOR.TS, selectorError(target.selector, ext));
  const image = readTask(ctx, cache.base, layout);
  const old = readSegment(ctx, TR);
  if (old.limit < layoutOf(old.attributes).size - 1)
    throw new GuestFault(VECTOR.TS, selectorError(old.selector, ext));
  ctx.probeWrite(truncateLinear(false, old.base), layoutOf(old.attributes).size, false);
  if (kind !== 'iret') ctx.probeWrite(truncateLinear(false, target.address), 8, false);
  const nested = kind === 'call' || kind === 'interrupt';
  if (nested) ctx.probeWrite(truncateLinear(false, cache.base), 2, false);

  const flags = readRflags(ctx.view);
  if (kind === 'jump' || kind === 'iret') {
    setBusy(ctx, fetchDescriptor(ctx, old.selector & ~7, VECTOR.TS, ext), false);
  }
  saveTask(ctx, old, kind === 'iret' ? flags & ~NT : flags, returnIp);
  if (nested) writeSystem(ctx, cache.base, 2, old.selector);
  if (kind !== 'iret') setBusy(ctx, target, true);

  writeSegment(ctx, TR, { ...cache, attributes: cache.attributes | 2 });
  ctx.view.setBigUint64(S.cr0, BigInt((cr0(ctx) | CR0.TS) >>> 0), true);
  const dr7 = ctx.view.getBigUint64(S.dr + 56, true);
  ctx.view.setBigUint64(S.dr + 56, dr7 & ~0x155n, true);
  if (layout === TSS32 && (cr0(ctx) & CR0.PG) !== 0) writeCr3(ctx, BigInt(image.cr3));
  writeRflags(ctx.view, nested ? image.flags | NT : image.flags);
  for (const [i, value] of image.registers.entries()) setGpr32(ctx, i, value);
  setRip(ctx, BigInt(image.ip));
  const v86 = (image.flags & VM) !== 0;
  for (let index = ES; index <= GS; index++) {
    const selector = image.selectors.get(index) ?? 0;
    const dpl = index === SS || index === CS ? selector & 3 : 0;
    writeSegment(ctx, index, nullCache(selector, dpl));
  }
  writeSegment(ctx, LDTR, nullCache(image.ldt));
  setCpl(ctx, v86 ? 3 : (image.selectors.get(CS) ?? 0) & 3);
  try {
    loadTaskSegments(ctx, image, ext);
    checkTarget(ctx, readSegment(ctx, CS), BigInt(image.ip), ext);
  } finally {
    modeChanged(ctx);
  }
  if (image.trap) throw new GuestFault(VECTOR.DB, undefined, undefined, DR6_BT);
}
