import { CODE_DIRECTORY, CS, FETCH, MAP, S, SEG, segment } from '../layout.ts';
import type { FunctionBuilder, FunctionRef } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { i32, select, type Value } from '../wasm/value.ts';
import { type CoreImports, LEAVE, mapped, recordFault, state, state64 } from './core-parts.ts';
import { ACCESS } from './paging.ts';
import { DEVICE_PAGE } from './physical-map.ts';

/** The loop around the handlers: runs until something needs JavaScript to decide. */
export function addRun(m: ModuleBuilder, imports: CoreImports, translate: FunctionRef): void {
  /** (linear) → 0, or 1 after a fault: brings a page's entry into the fetch TLB. */
  const fetch = m.fn('fetch', [I64], [I32], (f, linear) => {
    const user = state(f, S.accessBits).and(ACCESS.user);
    const page = f.let(f.call(translate, linear, user.or(ACCESS.fetch)));
    f.if(page.ltS(0n), () => f.return(1));
    const physical = f.let(page.wrap());
    const map = mapped(f, physical);
    f.set(map, select(map.and(MAP.read), map.and(-4096), physical.or(DEVICE_PAGE)));
    const slots = f.local(I32, i32(0));
    const mode = f.let(state(f, S.codeMode));
    f.if(mode.ne(0).and(map.and(DEVICE_PAGE).eqz()), () => {
      const directory = select(mode.eq(2), i32(CODE_DIRECTORY.of(2)), i32(CODE_DIRECTORY.of(1)));
      f.set(slots, f.load('i32.load', directory.add(map.shrU(12).shl(2))));
    });
    f.if(slots.eqz(), () => f.set(slots, f.call(imports.codePage, map)));
    const index = linear
      .shrU(12)
      .wrap()
      .and(FETCH.entries - 1);
    const entry = f.let(state(f, S.fetchView).add(index.mul(FETCH.stride)));
    f.store('i64.store', entry, linear.and(-4096n).or(state64(f, S.fetchGeneration)));
    f.store('i32.store', entry, slots, 8);
    f.store('i32.store', entry, map, 12);
    f.run(m.named('noteLarge'), linear);
    f.return(0);
  });
  m.export(fetch);
  const linearRip = (f: FunctionBuilder): Value => {
    const rip = state64(f, S.rip);
    const linear = f
      .load('i64.load', segment(CS) + SEG.base)
      .add(rip)
      .and(0xffff_ffffn);
    return select(state(f, S.codeMode).eq(2), rip, linear);
  };
  const enter = m.declare('reenter', [], [I32]);
  m.define(enter, (f) => {
    f.if(state(f, S.codeMode).eq(2), () => f.returnCall(m.named('jump64'), state64(f, S.rip)));
    f.if(state64(f, S.rip).gtU(f.load('i64.load32_u', segment(CS) + SEG.limit)), () => {
      recordFault(f, 13, 0);
      f.store('i32.store', S.record, i32(0));
      f.return(LEAVE.fault);
    });
    f.returnCall(m.named('jump32'), state64(f, S.rip));
  });
  const run = m.fn('run', [], [I32], (f) => {
    const code = f.local(I32);
    const result = f.local(I32);
    f.loop((again) => {
      f.if(state(f, S.budget).leS(0), () => f.return(LEAVE.next));
      f.set(code, f.call(enter));
      f.switch(
        code,
        [
          () => f.br(again),
          () => {
            f.set(result, f.call(imports.fault));
            f.brIf(again, result.eqz());
            f.return(result);
          },
          () => {
            f.set(result, f.call(imports.system));
            f.brIf(again, result.eqz());
            f.return(result);
          },
          () => {
            f.set(result, f.call(imports.decode));
            f.brIf(again, result.eqz());
            f.return(result);
          },
          () => {
            f.set(result, f.call(fetch, linearRip(f)));
            f.brIf(again, result.eqz());
            f.store('i32.store', S.record, i32(0));
            f.set(result, f.call(imports.fault));
            f.brIf(again, result.eqz());
            f.return(result);
          },
        ],
        () => f.return(code),
      );
      f.br(again);
    });
  });
  m.export(run);
}
