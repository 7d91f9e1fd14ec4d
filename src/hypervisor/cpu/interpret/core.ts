import { CODE_MASK, FETCH, FETCH_VIEW_BYTES, RAM, RECORD, S, SCRATCH, segment, SEG, CS, TLB, TLB_FILLED, TLB_VIEW_BYTES, WATCH_VIEW } from '../layout.ts';
import type { FunctionBuilder, FunctionRef, Signature } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../wasm/value.ts';
import { addPaging, ACCESS } from './paging.ts';
import { addWatch } from './watch.ts';

/** What a handler returns to the loop that called it. */
export const LEAVE = {
  /** Look up S.rip again; the budget may be used up. */
  next: 0,
  /** An exception is recorded; S.record is the instruction, or 0 when it was the fetch at S.rip. */
  fault: 1,
  /** S.systemRoutine is to be run for S.record. */
  system: 2,
  /** Nothing is decoded at S.rip; S.pageBase and S.pageSlots are right. */
  decode: 3,
  /** The page of S.rip has no entry in the fetch TLB. */
  fetch: 4,
  /** Asked to stop behind an instruction; S.rip is right. */
  stop: 5,
} as const;

export const HANDLER: Signature = { params: [I32], results: [I32] };

/** Functions of the core that handlers call. */
export interface Core {
  readonly readable: FunctionRef;
  readonly writable: FunctionRef;
  readonly commit: FunctionRef;
  /** (rip: i64) → code: continue at an offset in CS; the two differ in the width of addresses. */
  readonly jump64: FunctionRef;
  readonly jump32: FunctionRef;
  /** (record) → code: a relative branch whose target is not linked yet. */
  readonly branch64: FunctionRef;
  readonly branch32: FunctionRef;
  /** (segment index, offset, bytes, access bits) → 1 when a fault was recorded. */
  readonly checkSegment: FunctionRef;
  /** Table slots of the handlers that are not instructions. */
  readonly slots: { readonly goto: number; readonly stale: number; readonly stop: number; readonly cross: number; readonly invalid: number; readonly tooLong: number };
}

/** The imports from JavaScript. */
export interface CoreImports {
  /** (physical, bytes): reads a device into SCRATCH. */
  readonly mmioRead: FunctionRef;
  /** (physical, bytes): writes SCRATCH + 64 to a device. */
  readonly mmioWrite: FunctionRef;
  /** (physical, bytes): code was overwritten. */
  readonly invalidate: FunctionRef;
  /** (physical page) → its slot table for the current code mode. */
  readonly codePage: FunctionRef;
  /** () → 0 to go on, else leave: decode at S.rip. */
  readonly decode: FunctionRef;
  readonly fault: FunctionRef;
  readonly system: FunctionRef;
}

export const WRITE_SCRATCH = SCRATCH + 64;

/** Kinds of a pending commit. */
const COMMIT = { none: 0, code: 1, mmio: 2, split: 3 } as const;

const state = (f: FunctionBuilder, offset: number): Value => f.load('i32.load', offset);
const state64 = (f: FunctionBuilder, offset: number): Value => f.load('i64.load', offset);

/** Notes an exception in the state block. */
export function recordFault(f: FunctionBuilder, vector: number, code: Value | number | undefined): void {
  f.store('i32.store', S.faultVector, i32(vector));
  f.store('i32.store', S.faultHasCode, i32(code === undefined ? 0 : 1));
  if (code !== undefined) f.store('i32.store', S.faultCode, typeof code === 'number' ? i32(code) : code);
}

/** Emits `isRam`: whether a physical address below 4 GiB is RAM (the hole of the video card is not). */
function isRam(f: FunctionBuilder, physical: Value): Value {
  const hole = physical.sub(0xa0000).ltU(0x20000);
  return physical.ltU(state(f, S.ramSize)).and(hole.eqz());
}

export function dispatch(f: FunctionBuilder, record: Value): void {
  f.returnCallIndirect(HANDLER, 0, f.load('i32.load16_u', record, RECORD.handler), record);
}

function addMemory(m: ModuleBuilder, imports: CoreImports): Pick<Core, 'readable' | 'writable' | 'commit'> & { translate: FunctionRef } {
  const paging = addPaging(m);
  const { translate } = paging;
  const watch = addWatch(m);

  /** Puts a RAM page into the TLB for the current view. */
  const fill = m.fn('fill', [I64, I32, I32], [], (f, linear, physical, write) => {
    const index = f.let(linear.shrU(12).wrap().and(TLB.entries - 1));
    const entry = f.let(state(f, S.tlbView).add(index.mul(TLB.stride)));
    const tag = f.let(linear.and(-4096n));
    const pageMask = f.let(f.load('i64.load', physical.shrU(12).shl(3), CODE_MASK));
    const mayWrite = f.let(write.or(f.load('i32.load', S.walkFlags).shrU(1).and(1)).and(pageMask.eqz()));
    const known = f.let(f.load('i64.load', entry, TLB.readTag).eq(tag));
    f.if(known.eqz(), () => f.store('i64.store', entry, i64(-1), TLB.writeTag));
    f.store('i64.store', entry, tag, TLB.readTag);
    f.if(mayWrite, () => f.store('i64.store', entry, tag, TLB.writeTag));
    f.store('i32.store', entry, i32(RAM).add(physical).sub(tag.wrap()), TLB.addend);
    f.store('i32.store', entry, physical, TLB.physical);
    f.if(known, () => f.return());
    const count = f.let(state(f, S.tlbFilled));
    f.if(count.ltU(TLB_FILLED.capacity), () => {
      const flags = f.load('i32.load', S.walkFlags);
      const item = entry.sub(TLB.base).shrU(5).or(flags.and(1).shl(31)).or(flags.and(4).shl(28));
      f.store('i32.store', i32(TLB_FILLED.base).add(count.shl(2)), item);
    });
    f.store('i32.store', S.tlbFilled, count.add(1));
  });

  const tick = (f: FunctionBuilder, counter: number): void => f.store('i64.store', counter, state64(f, counter).add(1n));

  /** Physical address of a byte for the current view, from the TLB or by a walk that fills it; -1 after a fault. i64, for 32 bits do not hold both. */
  const resolve = m.fn('resolve', [I64, I32], [I64], (f, linear, write) => {
    const index = linear.shrU(12).wrap().and(TLB.entries - 1);
    const entry = f.let(state(f, S.tlbView).add(index.mul(TLB.stride)));
    const tag = select(write, f.load('i64.load', entry, TLB.writeTag), f.load('i64.load', entry, TLB.readTag));
    f.if(tag.eq(linear.and(-4096n)), () => {
      f.return(f.load('i64.load32_u', entry, TLB.physical).or(linear.and(0xfffn)));
    });
    tick(f, S.tlbMisses);
    const page = f.let(f.call(translate, linear, state(f, S.accessBits).or(write)));
    f.if(page.ltS(0n), () => f.return(i64(-1)));
    const physical = f.let(page.wrap());
    f.if(isRam(f, physical).and(state(f, S.tlbView).ne(WATCH_VIEW)), () => f.run(fill, linear, physical, write));
    f.return(page.or(linear.and(0xfffn)));
  });

  /** Leaves with 0 when a watched access raises #AC. */
  const watched = (f: FunctionBuilder, linear: Value, bytes: Value, write: number): void => {
    f.if(state(f, S.watch), () => f.if(f.call(watch, linear, bytes, i32(write)), () => f.return(0)));
  };
  /** The address `bytes` on: linear addresses have 32 bits outside 64-bit mode. */
  const further = (f: FunctionBuilder, linear: Value, bytes: Value): Value => {
    const sum = f.let(linear.add(bytes.extendU()));
    return select(state(f, S.codeMode).eq(2), sum, sum.and(0xffff_ffffn));
  };

  const crosses = (linear: Value, bytes: Value): Value => linear.wrap().and(0xfff).add(bytes).gtU(4096);

  /** One byte at a physical address, through a device if need be. */
  const physByte = m.fn('physByte', [I32], [I32], (f, physical) => {
    f.if(isRam(f, physical), () => f.return(f.load('i32.load8_u', physical, RAM)));
    f.run(imports.mmioRead, physical, 1);
    f.return(f.load('i32.load8_u', SCRATCH));
  });

  const readable = m.fn('readable', [I64, I32], [I32], (f, linear, bytes) => {
    const first = f.let(f.call(resolve, linear, 0));
    f.if(first.eq(-1n), () => f.return(0));
    const physical = f.let(first.wrap());
    f.if(crosses(linear, bytes), () => {
      const head = f.let(i32(4096).sub(linear.wrap().and(0xfff)));
      const second = f.let(f.call(resolve, further(f, linear, head), 0));
      f.if(second.eq(-1n), () => f.return(0));
      watched(f, linear, bytes, 0);
      const at = f.local(I32);
      const value = f.local(I32);
      f.loop((again) => {
        const inHead = at.ltU(head);
        const address = select(inHead, physical.add(at), second.wrap().add(at.sub(head)));
        f.set(value, f.call(physByte, address));
        f.store('i32.store8', i32(SCRATCH + 16).add(at), value);
        f.set(at, at.add(1));
        f.brIf(again, at.ltU(bytes));
      });
      f.return(SCRATCH + 16);
    });
    watched(f, linear, bytes, 0);
    f.if(isRam(f, physical), () => f.return(physical.add(RAM)));
    tick(f, S.mmioExits);
    f.run(imports.mmioRead, physical, bytes);
    f.return(SCRATCH);
  });

  const writable = m.fn('writable', [I64, I32, I32], [I32], (f, linear, bytes, keep) => {
    const first = f.let(f.call(resolve, linear, ACCESS.write));
    f.if(first.eq(-1n), () => f.return(0));
    const physical = f.let(first.wrap());
    f.store('i32.store', S.commitPhysical, physical);
    f.store('i32.store', S.commitSize, bytes);
    f.if(crosses(linear, bytes), () => {
      const head = f.let(i32(4096).sub(linear.wrap().and(0xfff)));
      const second = f.let(f.call(resolve, further(f, linear, head), ACCESS.write));
      f.if(second.eq(-1n), () => f.return(0));
      watched(f, linear, bytes, 1);
      f.store('i32.store', S.commitPhysical2, second.wrap());
      f.store('i32.store', S.commitKind, i32(COMMIT.split));
      f.if(keep, () => {
        const from = f.let(f.call(readable, linear, bytes));
        f.if(from.eqz(), () => f.return(0));
        f.memoryCopy(WRITE_SCRATCH, from, bytes);
      });
      f.return(WRITE_SCRATCH);
    });
    watched(f, linear, bytes, 1);
    f.if(isRam(f, physical), () => {
      const mask = f.load('i64.load', physical.shrU(12).shl(3), CODE_MASK);
      f.store('i32.store', S.commitKind, select(mask.eqz(), i32(COMMIT.none), i32(COMMIT.code)));
      f.return(physical.add(RAM));
    });
    tick(f, S.mmioExits);
    f.if(keep, () => {
      f.run(imports.mmioRead, physical, bytes);
      f.memoryCopy(WRITE_SCRATCH, SCRATCH, bytes);
    });
    f.store('i32.store', S.commitKind, i32(COMMIT.mmio));
    f.return(WRITE_SCRATCH);
  });

  /** Tells JavaScript when bytes that hold decoded code were written. */
  const noteWrite = m.fn('noteWrite', [I32, I32], [], (f, physical, bytes) => {
    const mask = f.let(f.load('i64.load', physical.shrU(12).shl(3), CODE_MASK));
    const granule = (address: Value): Value => i64(1).shl(address.shrU(6).and(63).extendU());
    const touched = granule(physical).or(granule(physical.add(bytes).sub(1)));
    f.if(mask.and(touched).ne(0n), () => f.run(imports.invalidate, physical, bytes));
  });

  const physStore = m.fn('physStore', [I32, I32], [], (f, physical, byte) => {
    f.if(
      isRam(f, physical),
      () => {
        f.store('i32.store8', physical, byte, RAM);
        f.run(noteWrite, physical, 1);
      },
      () => {
        // The bytes that are still to be written lie in the same place.
        const saved = f.let(f.load('i32.load8_u', WRITE_SCRATCH));
        f.store('i32.store8', WRITE_SCRATCH, byte);
        f.run(imports.mmioWrite, physical, 1);
        f.store('i32.store8', WRITE_SCRATCH, saved);
      },
    );
  });

  const commit = m.fn('commit', [], [], (f) => {
    const kind = f.let(state(f, S.commitKind));
    const physical = f.let(state(f, S.commitPhysical));
    const bytes = f.let(state(f, S.commitSize));
    f.if(kind.eq(COMMIT.code), () => f.run(noteWrite, physical, bytes));
    f.if(kind.eq(COMMIT.mmio), () => f.run(imports.mmioWrite, physical, bytes));
    f.if(kind.eq(COMMIT.split), () => {
      const second = f.let(state(f, S.commitPhysical2));
      const head = f.let(i32(4096).sub(physical.and(0xfff)));
      const at = f.local(I32);
      f.loop((again) => {
        const address = select(at.ltU(head), physical.add(at), second.add(at.sub(head)));
        f.run(physStore, address, f.load('i32.load8_u', i32(WRITE_SCRATCH).add(at)));
        f.set(at, at.add(1));
        f.brIf(again, at.ltU(bytes));
      });
    });
  });
  for (const ref of [readable, writable, commit]) m.export(ref);
  return { readable, writable, commit, translate };
}

function addFlush(m: ModuleBuilder): void {
  const clearFetch = (f: FunctionBuilder): void => {
    f.memoryFill(FETCH.base, 0xff, FETCH.views * FETCH_VIEW_BYTES);
    // No page has this base, so the next branch looks its page up again.
    f.store('i64.store', S.pageBase, i64(1));
  };
  const flushFetch = m.fn('flushFetch', [], [], clearFetch);
  /** (keepGlobal) */
  const flush = m.fn('flush', [I32], [], (f, keepGlobal) => {
    clearFetch(f);
    const count = f.let(state(f, S.tlbFilled));
    f.store('i32.store', S.tlbFilled, i32(0));
    f.if(count.gtU(TLB_FILLED.capacity), () => {
      f.memoryFill(TLB.base, 0xff, TLB.views * TLB_VIEW_BYTES);
      f.return();
    });
    f.if(count.eqz(), () => f.return());
    const at = f.local(I32, i32(TLB_FILLED.base));
    const keep = f.local(I32, i32(TLB_FILLED.base));
    const end = f.let(i32(TLB_FILLED.base).add(count.shl(2)));
    f.loop((again) => {
      const item = f.let(f.load('i32.load', at));
      f.if(
        keepGlobal.and(item.shrU(31)),
        () => {
          f.store('i32.store', keep, item);
          f.set(keep, keep.add(4));
        },
        () => {
          const entry = f.let(i32(TLB.base).add(item.and(0xffff).shl(5)));
          f.store('i64.store', entry, i64(-1), TLB.readTag);
          f.store('i64.store', entry, i64(-1), TLB.writeTag);
        },
      );
      f.set(at, at.add(4));
      f.brIf(again, at.ltU(end));
    });
    f.store('i32.store', S.tlbFilled, keep.sub(TLB_FILLED.base).shrU(2));
  });
  /** (linear): INVLPG, in every view; a large page goes whole. */
  const flushPage = m.fn('flushPage', [I64], [], (f, linear) => {
    clearFetch(f);
    const tag = f.let(linear.and(-4096n));
    for (let view = 0; view < TLB.views; view++) {
      const index = linear.shrU(12).wrap().and(TLB.entries - 1);
      const entry = f.let(i32(TLB.base + view * TLB_VIEW_BYTES).add(index.mul(TLB.stride)));
      f.if(f.load('i64.load', entry, TLB.readTag).eq(tag), () => {
        f.store('i64.store', entry, i64(-1), TLB.readTag);
        f.store('i64.store', entry, i64(-1), TLB.writeTag);
      });
    }
    const count = f.let(state(f, S.tlbFilled));
    f.if(count.gtU(TLB_FILLED.capacity), () => {
      f.run(flush, 0);
      f.return();
    });
    const at = f.local(I32, i32(TLB_FILLED.base));
    const end = f.let(i32(TLB_FILLED.base).add(count.shl(2)));
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, at.geU(end));
        const item = f.let(f.load('i32.load', at));
        f.if(item.shrU(30).and(1), () => {
          const entry = f.let(i32(TLB.base).add(item.and(0xffff).shl(5)));
          // A large page is at most 1 GiB; its fragments may all go.
          f.if(f.load('i64.load', entry, TLB.readTag).xor(tag).shrU(30).eqz(), () => {
            f.store('i64.store', entry, i64(-1), TLB.readTag);
            f.store('i64.store', entry, i64(-1), TLB.writeTag);
          });
        });
        f.set(at, at.add(4));
        f.br(again);
      });
    });
  });
  /** (physical page): no view may write to it unnoticed any more, for it holds code now. */
  const protect = m.fn('protect', [I32], [], (f, physical) => {
    const at = f.local(I32, i32(TLB.base));
    const full = state(f, S.tlbFilled).gtU(TLB_FILLED.capacity);
    f.if(
      full,
      () => {
        f.loop((again) => {
          f.if(f.load('i32.load', at, TLB.physical).eq(physical), () => f.store('i64.store', at, i64(-1), TLB.writeTag));
          f.set(at, at.add(TLB.stride));
          f.brIf(again, at.ltU(TLB.base + TLB.views * TLB_VIEW_BYTES));
        });
      },
      () => {
        f.set(at, i32(TLB_FILLED.base));
        const end = f.let(i32(TLB_FILLED.base).add(state(f, S.tlbFilled).shl(2)));
        f.block((done) => {
          f.loop((again) => {
            f.brIf(done, at.geU(end));
            const entry = f.let(i32(TLB.base).add(f.load('i32.load', at).and(0xffff).shl(5)));
            f.if(f.load('i32.load', entry, TLB.physical).eq(physical), () => f.store('i64.store', entry, i64(-1), TLB.writeTag));
            f.set(at, at.add(4));
            f.br(again);
          });
        });
      },
    );
  });
  for (const ref of [flush, flushPage, flushFetch, protect]) m.export(ref);
}

function addFlow(m: ModuleBuilder): Pick<Core, 'jump64' | 'jump32' | 'branch64' | 'branch32' | 'slots'> {
  /** (linear): dispatches at a linear address; S.rip is set. */
  const enter = m.fn('enter', [I64], [I32], (f, linear) => {
    f.if(state(f, S.budget).leS(0), () => f.return(LEAVE.next));
    const page = f.let(linear.and(-4096n));
    f.if(page.ne(state64(f, S.pageBase)), () => {
      const index = linear.shrU(12).wrap().and(FETCH.entries - 1);
      const entry = f.let(state(f, S.fetchView).add(index.mul(FETCH.stride)));
      f.if(f.load('i64.load', entry).ne(page), () => f.return(LEAVE.fetch));
      f.store('i64.store', S.pageBase, page);
      f.store('i32.store', S.pageSlots, f.load('i32.load', entry, 8));
    });
    const slot = state(f, S.pageSlots).add(linear.wrap().and(0xfff).shl(2));
    const record = f.let(f.load('i32.load', slot));
    f.if(record.eqz(), () => f.return(LEAVE.decode));
    f.store('i32.store', S.budget, state(f, S.budget).add(f.load('i32.load8_u', record, RECORD.ordinal)));
    dispatch(f, record);
  });
  m.export(enter);
  const jump64 = m.fn('jump64', [I64], [I32], (f, rip) => {
    f.store('i64.store', S.rip, rip);
    f.returnCall(enter, rip);
  });
  const csLinear = (f: FunctionBuilder, eip: Value): Value =>
    f.load('i64.load', segment(CS) + SEG.base).add(eip).and(0xffff_ffffn);
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
  const after = (f: FunctionBuilder, record: Value): Value => here(f, record).add(f.load('i64.load8_u', record, RECORD.length));
  /** Remembers the target's record in the branch when both lie on one page. */
  const link = (f: FunctionBuilder, record: Value, linear: Value): void => {
    f.if(linear.and(-4096n).eq(state64(f, S.pageBase)), () => {
      const slot = state(f, S.pageSlots).add(linear.wrap().and(0xfff).shl(2));
      f.store('i32.store', record, f.load('i32.load', slot), RECORD.link);
    });
  };
  const branch64 = m.fn('branch64', [I32], [I32], (f, record) => {
    const target = f.let(after(f, record).add(f.load('i64.load', record, RECORD.imm)));
    f.if(target.shl(16n).shrS(16n).ne(target), () => {
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
    const eip = f.let(after(f, record).sub(base).add(f.load('i64.load', record, RECORD.imm)).and(mask));
    const linear = f.let(csLinear(f, eip));
    f.if(eip.gtU(f.load('i64.load32_u', segment(CS) + SEG.limit)), () => {
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
    const index = next.shrU(12).wrap().and(FETCH.entries - 1);
    const entry = f.let(state(f, S.fetchView).add(index.mul(FETCH.stride)));
    const same = f.load('i64.load', entry).eq(next).and(f.load('i32.load', entry, 12).eq(f.load('i32.load', record, RECORD.imm)));
    f.if(same, () => dispatch(f, record.add(32)));
    f.store('i32.store', S.budget, state(f, S.budget).sub(f.load('i32.load8_u', record, RECORD.ordinal)));
    setRipFromLinear(f, here(f, record));
    f.return(LEAVE.decode);
  });
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
    invalid: m.element(invalid), goto: m.element(gotoFn), stale: m.element(stale), stop: m.element(stop),
    cross: m.element(cross), tooLong: m.element(tooLong),
  };
  return { jump64, jump32, branch64, branch32, slots };
}

/** The loop around the handlers: runs until something needs JavaScript to decide. */
function addRun(m: ModuleBuilder, imports: CoreImports, translate: FunctionRef): void {
  /** (linear) → 0, or 1 after a fault: brings a page's entry into the fetch TLB. */
  const fetch = m.fn('fetch', [I64], [I32], (f, linear) => {
    const user = state(f, S.accessBits).and(ACCESS.user);
    const page = f.let(f.call(translate, linear, user.or(ACCESS.fetch)));
    f.if(page.ltS(0n), () => f.return(1));
    const physical = f.let(page.wrap());
    const slots = f.let(f.call(imports.codePage, physical));
    const index = linear.shrU(12).wrap().and(FETCH.entries - 1);
    const entry = f.let(state(f, S.fetchView).add(index.mul(FETCH.stride)));
    f.store('i64.store', entry, linear.and(-4096n));
    f.store('i32.store', entry, slots, 8);
    f.store('i32.store', entry, physical, 12);
    f.return(0);
  });
  m.export(fetch);
  const linearRip = (f: FunctionBuilder): Value => {
    const rip = state64(f, S.rip);
    const linear = f.load('i64.load', segment(CS) + SEG.base).add(rip).and(0xffff_ffffn);
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

/** Emits the core: memory access, flushes, control flow and the loop. */
export function addCore(m: ModuleBuilder, imports: CoreImports): Core {
  const memory = addMemory(m, imports);
  addFlush(m);
  const flow = addFlow(m);
  addRun(m, imports, memory.translate);
  const checkSegment = m.fn('checkSegment', [I32, I64, I32, I32], [I32], (f, index, offset, bytes, access) => {
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
  });
  return { ...memory, ...flow, checkSegment };
}
