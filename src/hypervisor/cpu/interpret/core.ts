import { S, SEG } from '../layout.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { i32, i64, select } from '../wasm/value.ts';
import { addFlow } from './core-flow.ts';
import { addMemory } from './core-memory.ts';
import { type Core, type CoreImports, state } from './core-parts.ts';
import { addRun } from './core-run.ts';
import { addFlush } from './core-tlb.ts';
import { ACCESS } from './paging.ts';

/** Emits the core: memory access, flushes, control flow and the loop. */
export function addCore(m: ModuleBuilder, imports: CoreImports): Core {
  const memory = addMemory(m, imports);
  const flushes = addFlush(m);
  const flow = addFlow(m);
  addRun(m, imports, memory.translate);
  const checkSegment = m.fn(
    'checkSegment',
    [I32, I64, I32, I32],
    [I32],
    (f, index, offset, bytes, access) => {
      const at = f.let(i32(S.segments).add(index.mul(SEG.stride)));
      const attributes = f.let(f.load('i32.load', at, SEG.attributes));
      const limit = f.let(f.load('i64.load32_u', at, SEG.limit));
      const vector = f.let(select(index.eq(2), i32(12), i32(13)));
      const fail = (): void => {
        f.store('i32.store', S.faultVector, vector);
        f.store('i32.store', S.faultHasCode, i32(1));
        f.store('i32.store', S.faultCode, i32(0));
        f.return(1);
      };
      const protectedMode = f.let(state(f, S.cr0).and(1).and(state(f, S.eflags).shrU(17).and(1).eqz()));
      f.if(protectedMode, () => {
        // Not present in the cache: a null selector.
        f.if(attributes.and(0x80).eqz(), fail);
        const code = f.let(attributes.and(8));
        const allowsWrite = code.eqz().and(attributes.shrU(1).and(1));
        f.if(access.and(ACCESS.write).ne(0).and(allowsWrite.eqz()), fail);
        f.if(access.and(ACCESS.write).eqz().and(code.ne(0)).and(attributes.and(2).eqz()), fail);
      });
      const last = f.let(offset.add(bytes.sub(1).extendU()));
      const down = f.let(attributes.and(0xc).eq(4).and(protectedMode));
      f.if(
        down,
        () => {
          const top = select(attributes.and(0x4000).ne(0), i64(0xffff_ffff), i64(0xffff));
          f.if(offset.leU(limit).or(last.gtU(top)), fail);
        },
        () => f.if(last.gtU(limit), fail),
      );
      f.return(0);
    },
  );
  return { ...memory, ...flow, ...flushes, checkSegment };
}
