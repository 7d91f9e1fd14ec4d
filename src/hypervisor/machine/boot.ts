import { writeRflags } from '../cpu/flags.ts';
import { CS, DS, ES, FS, GS, gpr, LDTR, S, SS, TR } from '../cpu/layout.ts';
import { writeSegment } from '../cpu/system/registers.ts';
import { resetState } from '../cpu/system/reset.ts';
import type { BootSegment, BootState } from '../firmware/boot-state.ts';
import type { Waking } from '../firmware/waking.ts';

const cache = (s: BootSegment): Parameters<typeof writeSegment>[2] => ({
  selector: s.selector,
  base: BigInt(s.base),
  limit: s.limit,
  // Both follow SDM vol. 3, table 25-2, but for the bit that means unusable: not present here.
  attributes: (s.rights & 0x1_0000) !== 0 ? 0 : s.rights & 0xf0ff,
});

/** Puts the processor where a boot protocol wants it, all else being as after reset. */
export function applyBootState(view: DataView, boot: BootState): void {
  resetState(view);
  const quad = (offset: number, value: number): void => view.setBigUint64(offset, BigInt(value), true);
  for (let n = 0; n < 16; n++) quad(gpr(n), 0);
  quad(gpr(0), boot.rax);
  quad(gpr(3), boot.rbx);
  quad(gpr(4), boot.rsp);
  quad(gpr(6), boot.rsi);
  quad(S.rip, boot.rip);
  quad(S.cr0, boot.cr0);
  quad(S.cr3, boot.cr3);
  quad(S.cr4, boot.cr4);
  quad(S.efer, boot.efer);
  writeRflags(view, boot.rflags);
  quad(S.gdtrBase, boot.gdt.base);
  view.setUint32(S.gdtrLimit, boot.gdt.limit, true);
  quad(S.idtrBase, boot.idt.base);
  view.setUint32(S.idtrLimit, boot.idt.limit, true);
  view.setUint32(S.cpl, 0, true);
  const holder = { view };
  writeSegment(holder, CS, cache(boot.cs));
  for (const index of [DS, ES, SS, FS, GS]) writeSegment(holder, index, cache(boot.ds));
  writeSegment(holder, TR, cache(boot.tr));
  writeSegment(holder, LDTR, cache(boot.ldtr));
}

/** Puts the processor where the guest wants to be woken from a sleep: as after reset, but for where it goes on. */
export function applyWaking(view: DataView, waking: Waking): void {
  if (waking.mode === 'protected') return applyBootState(view, waking.state);
  resetState(view);
  view.setBigUint64(S.rip, BigInt(waking.offset), true);
  writeSegment({ view }, CS, {
    selector: waking.segment,
    base: BigInt(waking.segment * 16),
    limit: 0xffff,
    attributes: 0x9b,
  });
}
