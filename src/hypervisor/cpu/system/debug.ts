import { S, WATCH } from '../layout.ts';
import type { StateHolder } from './registers.ts';

/** R/W field of a breakpoint in DR7 (SDM vol. 3, 19.2.4). */
const EXECUTION = 0,
  IO = 2;

/** LEN field to bytes; 10 is 8 bytes. */
const LENGTHS = [1, 2, 8, 4] as const;

/** Breakpoints enabled in DR7, locally or globally, whose R/W field is `kind`: their numbers. */
function enabled(dr7: number, kind: number): number[] {
  return [0, 1, 2, 3].filter((n) => ((dr7 >>> (n * 2)) & 3) !== 0 && ((dr7 >>> (16 + n * 4)) & 3) === kind);
}

const address = ({ view }: StateHolder, n: number): bigint => view.getBigUint64(S.dr + n * 8, true);

/** DR6's B bits of the instruction breakpoints at a linear address; 0 when there is none. */
export function codeBreakpoints(ctx: StateHolder, linear: bigint): number {
  const dr7 = ctx.view.getUint32(S.dr + 56, true);
  let hits = 0;
  for (const n of enabled(dr7, EXECUTION)) if (address(ctx, n) === linear) hits |= 1 << n;
  return hits;
}

/** Whether there are I/O breakpoints. */
export const watchesIo = ({ view }: StateHolder): boolean => (view.getUint32(S.watch, true) & WATCH.io) !== 0;

/** Notes the I/O breakpoints that an access to `size` ports from `port` on meets; the trap comes behind the instruction. */
export function noteIoBreakpoints(ctx: StateHolder, port: number, size: number): void {
  const { view } = ctx;
  if (!watchesIo(ctx)) return;
  const dr7 = view.getUint32(S.dr + 56, true);
  let hits = view.getUint32(S.pendingDebug, true);
  for (const n of enabled(dr7, IO)) {
    const length = LENGTHS[((dr7 >>> (18 + n * 4)) & 3) as 0 | 1 | 2 | 3];
    const first = address(ctx, n) & ~BigInt(length - 1);
    if (BigInt(port) < first + BigInt(length) && BigInt(port + size) > first) hits |= 1 << n;
  }
  view.setUint32(S.pendingDebug, hits, true);
}
