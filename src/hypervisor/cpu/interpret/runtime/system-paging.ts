import { RAM, S } from '../../layout.ts';
import { PHYSICAL_ADDRESS_BITS } from '../../system/cpuid.ts';
import type { FunctionRef } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select } from '../../wasm/value.ts';
import type { FlushEnv } from './env.ts';
import { word } from './system-state.ts';

/**
 * What a kernel does to its paging at each change of process and each page
 * fault: like the rest of the short ways it is done whole, or nothing is
 * changed and the routine of cpu/system does it.
 */

const CR0_PG = 0x8000_0000;
const CR4_PAE = 1 << 5,
  CR4_PCIDE = 1 << 17;
const EFER_LME = 1 << 8,
  EFER_LMA = 1 << 10;
const BEYOND = -1n << BigInt(PHYSICAL_ADDRESS_BITS);
/** See PDPTE_RESERVED in cpu/system/control.ts. */
const PDPTE_RESERVED = 0x1e6n | BEYOND;
/** Bit 63 of what is loaded while there are process contexts: nothing need be dropped. */
const NO_FLUSH = 1n << 63n;

export function addPagingRuntime(
  m: ModuleBuilder,
  env: FlushEnv & { readonly traced: FunctionRef },
): Record<string, FunctionRef> {
  /** (0, 2, 3 or 4) → the control register. */
  const controlRegister = m.fn('controlRegister', [I32], [I64], (f, number) =>
    f.return(f.load('i64.load', number.sub(number.ne(0)).shl(3), S.cr0)),
  );

  /** (CR3) → 1 done: the four PDPTEs that it points at are in place; of RAM alone. */
  const loadPdptes = m.fn('loadPdptes', [I64], [I32], (f, cr3) => {
    const base = f.let(cr3.wrap().and(~31));
    f.if(base.gtU(word(f, S.ramSize).sub(32)), () => f.return(0));
    const entries = [0, 8, 16, 24].map((at) => f.let(f.load('i64.load', base.add(RAM), at)));
    for (const entry of entries)
      f.if(entry.wrap().and(1).and(entry.and(PDPTE_RESERVED).ne(0n)), () => f.return(0));
    for (const [n, entry] of entries.entries()) f.store('i64.store', S.pdpte + n * 8, entry);
    f.return(1);
  });

  /** (value) → 1 done: MOV to CR3. */
  const loadCr3 = m.fn('loadCr3', [I64], [I32], (f, value) => {
    f.if(f.call(env.traced), () => f.return(0));
    const next = f.local(I64, value);
    const efer = f.let(word(f, S.efer));
    f.if(
      efer.and(EFER_LMA),
      () => {
        const contexts = word(f, S.cr4).and(CR4_PCIDE);
        f.set(next, select(contexts, value.and(~NO_FLUSH), value));
        f.if(next.and(BEYOND).ne(0n), () => f.return(0));
      },
      () => {
        f.set(next, value.and(0xffff_ffffn));
        const pae = word(f, S.cr0).and(CR0_PG).ne(0).and(word(f, S.cr4).and(CR4_PAE).ne(0));
        f.if(pae, () => {
          f.if(efer.and(EFER_LME), () => f.return(0));
          f.if(f.call(loadPdptes, next).eqz(), () => f.return(0));
        });
      },
    );
    f.store('i64.store', S.cr3, next);
    f.run(env.flush, i32(1));
    f.return(1);
  });

  /** (linear) → 1 done: INVLPG. */
  const dropPage = m.fn('dropPage', [I64], [I32], (f, linear) => {
    f.if(f.call(env.traced), () => f.return(0));
    const canonical = linear.shl(16n).shrS(16n).eq(linear);
    f.if(canonical, () => f.run(env.flushPage, linear));
    // The code's own translation may be the one that goes: the next branch looks its page up anew.
    f.store('i64.store', S.pageBase, i64(1));
    f.return(1);
  });

  return { controlRegister, loadCr3, dropPage };
}
