import { S, WATCH } from '../layout.ts';
import type { FunctionRef } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { i32, i64, select } from '../wasm/value.ts';
import { recordFault } from './core-parts.ts';
import { ACCESS } from './paging.ts';

const AC_VECTOR = 17;

/**
 * What the slow path of memory accesses looks at while S.watch asks for it.
 *
 * `watch(linear: i64, bytes: i32, write: i32) → i32`, after the access was
 * translated: 1 when #AC was recorded (SDM vol. 3, 7.15, interrupt 17: level 3,
 * operands of 2, 4 and 8 bytes), else 0. Data breakpoints that the access meets
 * are noted in S.pendingDebug; the trap comes behind the instruction
 * (SDM vol. 3, 19.2.5 and 19.3.1.2).
 */
export function addWatch(m: ModuleBuilder): FunctionRef {
  return m.fn('watch', [I64, I32, I32], [I32], (f, linear, bytes, write) => {
    const kinds = f.let(f.load('i32.load', S.watch));
    const user = f.load('i32.load', S.accessBits).and(ACCESS.user).ne(0);
    f.if(kinds.and(WATCH.alignment).ne(0).and(user), () => {
      const powerOfTwo = bytes.and(bytes.sub(1)).eqz().and(bytes.leU(8));
      const misaligned = linear.wrap().and(bytes.sub(1)).ne(0);
      f.if(powerOfTwo.and(misaligned), () => {
        recordFault(f, AC_VECTOR, 0);
        f.return(1);
      });
    });
    f.if(kinds.and(WATCH.data).eqz(), () => f.return(0));
    const dr7 = f.let(f.load('i32.load', S.dr + 56));
    const last = f.let(linear.add(bytes.sub(1).extendU()));
    for (let n = 0; n < 4; n++) {
      const control = f.let(dr7.shrU(16 + n * 4));
      const enabled = dr7
        .shrU(n * 2)
        .and(3)
        .ne(0);
      // 01: writes; 11: reads and writes.
      const kind = control
        .and(3)
        .eq(3)
        .or(write.ne(0).and(control.and(3).eq(1)));
      f.if(enabled.and(kind), () => {
        // Lengths 00, 01, 11 are 1, 2, 4 bytes, 10 is 8.
        const length = control.shrU(2).and(3);
        const mask = f.let(select(length.eq(2), i64(7), length.extendU()));
        const first = f.let(f.load('i64.load', S.dr + n * 8).and(mask.not()));
        f.if(linear.leU(first.or(mask)).and(last.geU(first)), () => {
          f.store('i32.store', S.pendingDebug, f.load('i32.load', S.pendingDebug).or(i32(1 << n)));
        });
      });
    }
    f.return(0);
  });
}
