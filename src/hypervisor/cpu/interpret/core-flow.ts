import { CS, FETCH, RECORD, S, SEG, segment } from '../layout.ts';
import type { FunctionBuilder, FunctionRef } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { select, type Value } from '../wasm/value.ts';
import { type Core, dispatch, HANDLER, LEAVE, recordFault, state, state64 } from './core-parts.ts';

/** Emits the ways from one record to another. */
export function addFlow(
  m: ModuleBuilder,
): Pick<Core, 'jump64' | 'jump32' | 'branch64' | 'branch32' | 'slots'> {
  /** (linear): dispatches at a linear address; S.rip is set. */
  const enter = m.fn('enter', [I64], [I32], (f, linear) => {
    f.unlikely(state(f, S.budget).leS(0), () => f.return(LEAVE.next));
    const page = f.let(linear.and(-4096n));
    f.if(page.ne(state64(f, S.pageBase)), () => {
      const index = linear
        .shrU(12)
        .wrap()
        .and(FETCH.entries - 1);
      const entry = f.let(state(f, S.fetchView).add(index.mul(FETCH.stride)));
      const tag = page.or(state64(f, S.fetchGeneration));
      f.unlikely(f.load('i64.load', entry).ne(tag), () => f.return(LEAVE.fetch));
      f.store('i64.store', S.pageBase, page);
      f.store('i32.store', S.pageSlots, f.load('i32.load', entry, 8));
    });
    const slot = state(f, S.pageSlots).add(linear.wrap().and(0xfff).shl(2));
    const record = f.let(f.load('i32.load', slot));
    f.unlikely(record.eqz(), () => f.return(LEAVE.decode));
    f.store('i32.store', S.budget, state(f, S.budget).add(f.load('i32.load8_u', record, RECORD.ordinal)));
    dispatch(f, record);
  });
  m.export(enter);
  const jump64 = m.fn('jump64', [I64], [I32], (f, rip) => {
    f.store('i64.store', S.rip, rip);
    f.returnCall(enter, rip);
  });
  const csLinear = (f: FunctionBuilder, eip: Value): Value =>
    f
      .load('i64.load', segment(CS) + SEG.base)
      .add(eip)
      .and(0xffff_ffffn);
  const jump32 = m.fn('jump32', [I64], [I32], (f, eip) => {
    f.store('i64.store', S.rip, eip);
    f.returnCall(enter, csLinear(f, eip));
  });
  /** (record): leaves the run behind the last instruction. */
  const retire = (f: FunctionBuilder, record: Value): void => {
    const ordinal = f.load('i32.load8_u', record, RECORD.ordinal);
    f.store('i32.store', S.budget, state(f, S.budget).sub(ordinal).sub(1));
  };
  const here = (f: FunctionBuilder, record: Value): Value =>
    state64(f, S.pageBase).add(f.load('i64.load16_u', record, RECORD.offset));
  const after = (f: FunctionBuilder, record: Value): Value =>
    here(f, record).add(f.load('i64.load8_u', record, RECORD.length));
  /** Remembers the target's record in the branch when both lie on one page. */
  const link = (f: FunctionBuilder, record: Value, linear: Value): void => {
    f.if(linear.and(-4096n).eq(state64(f, S.pageBase)), () => {
      const slot = state(f, S.pageSlots).add(linear.wrap().and(0xfff).shl(2));
      f.store('i32.store', record, f.load('i32.load', slot), RECORD.link);
    });
  };
  const branch64 = m.fn('branch64', [I32], [I32], (f, record) => {
    const target = f.let(after(f, record).add(f.load('i64.load', record, RECORD.imm)));
    f.unlikely(target.shl(16n).shrS(16n).ne(target), () => {
      recordFault(f, 13, 0);
      f.store('i32.store', S.record, record);
      f.return(LEAVE.fault);
    });
    retire(f, record);
    link(f, record, target);
    f.returnCall(jump64, target);
  });
  /** The target wraps at the operand size, which is noted in RECORD.r1 as a mask selector: 16 or 32. */
  const branch32 = m.fn('branch32', [I32, I64], [I32], (f, record, mask) => {
    const base = f.load('i64.load', segment(CS) + SEG.base);
    const eip = f.let(
      after(f, record)
        .sub(base)
        .add(f.load('i64.load', record, RECORD.imm))
        .and(mask),
    );
    const linear = f.let(csLinear(f, eip));
    f.unlikely(eip.gtU(f.load('i64.load32_u', segment(CS) + SEG.limit)), () => {
      recordFault(f, 13, 0);
      f.store('i32.store', S.record, record);
      f.return(LEAVE.fault);
    });
    retire(f, record);
    link(f, record, linear);
    f.store('i64.store', S.rip, eip);
    f.returnCall(enter, linear);
  });

  const setRipFromLinear = (f: FunctionBuilder, linear: Value): void => {
    const base = f.load('i64.load', segment(CS) + SEG.base);
    const eip = linear.sub(base).and(0xffff_ffffn);
    f.store('i64.store', S.rip, select(state(f, S.codeMode).eq(2), linear, eip));
  };
  /** End of a decoded run: goes on at its offset (which may be 4096: the next page). */
  const gotoFn = m.fn('goto', HANDLER.params, HANDLER.results, (f, record) => {
    const next = f.let(f.load('i32.load', record, RECORD.link));
    const budget = f.let(state(f, S.budget).sub(f.load('i32.load8_u', record, RECORD.ordinal)));
    f.store('i32.store', S.budget, budget);
    f.if(next.ne(0).and(budget.gtS(0)), () => {
      f.store('i32.store', S.budget, budget.add(f.load('i32.load8_u', next, RECORD.ordinal)));
      dispatch(f, next);
    });
    const linear = f.let(here(f, record));
    setRipFromLinear(f, linear);
    f.returnCall(enter, linear);
  });
  /** A record whose bytes were overwritten: looked up anew. */
  const stale = m.fn('stale', HANDLER.params, HANDLER.results, (f, record) => {
    f.store('i32.store', S.budget, state(f, S.budget).sub(f.load('i32.load8_u', record, RECORD.ordinal)));
    const linear = f.let(here(f, record));
    setRipFromLinear(f, linear);
    f.returnCall(enter, linear);
  });
  /** Stands in for a record's handler, or ends a single step. */
  const stop = m.fn('stop', HANDLER.params, HANDLER.results, (f, record) => {
    f.store('i32.store', S.budget, state(f, S.budget).sub(f.load('i32.load8_u', record, RECORD.ordinal)));
    setRipFromLinear(f, here(f, record));
    f.return(LEAVE.stop);
  });
  /** Before an instruction that lies on two pages: the second must still be the one it was decoded from. */
  const cross = m.fn('cross', HANDLER.params, HANDLER.results, (f, record) => {
    const next = f.let(state64(f, S.pageBase).add(4096n));
    const index = next
      .shrU(12)
      .wrap()
      .and(FETCH.entries - 1);
    const entry = f.let(state(f, S.fetchView).add(index.mul(FETCH.stride)));
    const same = f
      .load('i64.load', entry)
      .eq(next.or(state64(f, S.fetchGeneration)))
      .and(f.load('i32.load', entry, 12).eq(f.load('i32.load', record, RECORD.imm)));
    f.if(same, () => dispatch(f, record.add(32)));
    f.store('i32.store', S.budget, state(f, S.budget).sub(f.load('i32.load8_u', record, RECORD.ordinal)));
    setRipFromLinear(f, here(f, record));
    f.return(LEAVE.decode);
  });
  /** Behind the instruction that a region asked for. */
  const resumeRegion = m.fn('resumeRegion', HANDLER.params, HANDLER.results, (f) => f.return(LEAVE.resume));
  /** (record) → code: runs the instruction of a record for a region. */
  const invoke = m.fn('invoke', [I32], [I32], (f, record) => {
    f.return(f.callIndirect(HANDLER, 0, f.load('i32.load16_u', record, RECORD.handler), record));
  });
  /** (record, handler) → code: goes on with a record whose handler a region has taken the place of. */
  const resume = m.fn('resume', [I32, I32], [I32], (f, record, handler) => {
    f.returnCallIndirect(HANDLER, 0, handler, record);
  });
  for (const ref of [jump64, jump32, invoke, resume]) m.export(ref);
  const raiser = (name: string, vector: number, code: number | undefined): FunctionRef =>
    m.fn(name, HANDLER.params, HANDLER.results, (f) => {
      recordFault(f, vector, code);
      f.store('i32.store', S.record, f.params[0] as Value);
      f.return(LEAVE.fault);
    });
  const invalid = raiser('invalid', 6, undefined);
  const tooLong = raiser('tooLong', 13, 0);
  // Element 0 is what an unset handler means.
  const slots = {
    invalid: m.element(invalid),
    goto: m.element(gotoFn),
    stale: m.element(stale),
    stop: m.element(stop),
    cross: m.element(cross),
    tooLong: m.element(tooLong),
    resume: m.element(resumeRegion),
  };
  return { jump64, jump32, branch64, branch32, slots };
}
