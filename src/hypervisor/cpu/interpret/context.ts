import { CODE_MASK, RAM, S } from '../layout.ts';
import type { CpuContext, CpuPlatform } from '../system/context.ts';
import { MsrStore } from '../system/msr-store.ts';
import { type InterpreterExports, recordedFault } from './exports.ts';
import { setView, supervisorView } from './mode.ts';
import { ACCESS } from './paging.ts';

export interface ContextParts {
  readonly view: DataView;
  readonly wasm: InterpreterExports;
  readonly platform: CpuPlatform;
  readonly ramBytes: number;
  readonly modeChanged: () => void;
}

/** What the routines of cpu/system stand on, over the interpreter's memory access. */
export function makeContext(parts: ContextParts): CpuContext {
  const { view, wasm, ramBytes } = parts;

  /** Runs `access` in the view of the given privilege. */
  const asUser = <T>(user: boolean, access: () => T): T => {
    const wasUser = (view.getInt32(S.accessBits, true) & ACCESS.user) !== 0;
    if (wasUser === user) return access();
    const tlbView = view.getUint32(S.tlbView, true);
    const accessBits = view.getInt32(S.accessBits, true);
    // What the processor itself does for user code (tables, stacks) is never let through by EFLAGS.AC.
    setView(view, user ? 2 : supervisorView(view));
    try {
      return access();
    } finally {
      view.setUint32(S.tlbView, tlbView, true);
      view.setInt32(S.accessBits, accessBits, true);
    }
  };
  const writable = (linear: bigint, bytes: number): number => {
    const at = wasm.writable(BigInt.asIntN(64, linear), bytes, 0);
    if (at === 0) throw recordedFault(view);
    return at;
  };

  return {
    view,
    platform: parts.platform,
    msrs: new MsrStore(),
    readLinear: (linear, bytes, user) =>
      asUser(user, () => {
        const at = wasm.readable(BigInt.asIntN(64, linear), bytes);
        if (at === 0) throw recordedFault(view);
        switch (bytes) {
          case 1:
            return BigInt(view.getUint8(at));
          case 2:
            return BigInt(view.getUint16(at, true));
          case 4:
            return BigInt(view.getUint32(at, true));
          default:
            return view.getBigUint64(at, true);
        }
      }),
    writeLinear: (linear, bytes, value, user) =>
      asUser(user, () => {
        const at = writable(linear, bytes);
        switch (bytes) {
          case 1:
            view.setUint8(at, Number(value & 0xffn));
            break;
          case 2:
            view.setUint16(at, Number(value & 0xffffn), true);
            break;
          case 4:
            view.setUint32(at, Number(value & 0xffff_ffffn), true);
            break;
          default:
            view.setBigUint64(at, BigInt.asUintN(64, value), true);
        }
        wasm.commit();
      }),
    probeWrite: (linear, bytes, user) =>
      asUser(user, () => {
        writable(linear, 1);
        if (bytes > 1) writable(linear + BigInt(bytes - 1), 1);
      }),
    span: (linear, write, user) =>
      asUser(user, () => {
        const address = BigInt.asIntN(64, linear);
        const at = write ? wasm.regionWrite(address, 1) : wasm.regionRead(address, 1);
        if (at === 0) return undefined;
        const start = at >>> 0;
        const mask = CODE_MASK + (((start - RAM) >>> 12) & 0xf_ffff) * 8;
        const code = write && (view.getUint32(mask, true) | view.getUint32(mask + 4, true)) !== 0;
        return code ? undefined : start;
      }),
    readPhysical64: (gpa) => (gpa + 8n <= BigInt(ramBytes) ? view.getBigUint64(RAM + Number(gpa), true) : 0n),
    flushTlb: (kind) => {
      if (kind === 'all') wasm.flush(0);
      else if (kind === 'non-global') wasm.flush(1);
      else wasm.flushPage(BigInt.asIntN(64, kind.linear));
    },
    modeChanged: parts.modeChanged,
  };
}
