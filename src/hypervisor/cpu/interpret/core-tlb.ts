import {
  FETCH,
  FETCH_VIEW_BYTES,
  FLAT_TLB,
  S,
  TLB,
  TLB_FILLED,
  TLB_LARGE,
  TLB_VIEW_BYTES,
  TLB_WRITERS,
} from '../layout.ts';
import type { FunctionBuilder } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { i32, i64, type Value } from '../wasm/value.ts';
import { type Core, state } from './core-parts.ts';

/** Where the flat table has the page of a linear address: see FLAT_TLB. The address of the TLB's entry tells the view. */
export function flatEntry(entry: Value, linear: Value): Value {
  const view = entry.sub(TLB.base).and(-TLB_VIEW_BYTES);
  return view.mul(FLAT_TLB.scale).add(FLAT_TLB.base).add(linear.shrU(12n).wrap().mul(FLAT_TLB.stride));
}

/** Leaves an entry of the TLB to nothing, in the flat tables too. */
export function dropEntry(f: FunctionBuilder, entry: Value): void {
  const page = f.let(f.load('i64.load', entry, TLB.readTag));
  f.if(page.shrU(32n).eqz(), () => {
    const flat = f.let(flatEntry(entry, page));
    f.store('i32.store', flat, i32(0), FLAT_TLB.read);
    f.store('i32.store', flat, i32(0), FLAT_TLB.write);
  });
  f.store('i64.store', entry, i64(-1), TLB.readTag);
  f.store('i64.store', entry, i64(-1), TLB.writeTag);
}

/** Leaves an entry of the TLB to reads. */
function closeEntry(f: FunctionBuilder, entry: Value): void {
  const page = f.let(f.load('i64.load', entry, TLB.readTag));
  f.if(page.shrU(32n).eqz(), () => f.store('i32.store', flatEntry(entry, page), i32(0), FLAT_TLB.write));
  f.store('i64.store', entry, i64(-1), TLB.writeTag);
}

/** Emits what drops translations. */
export function addFlush(m: ModuleBuilder): Pick<Core, 'flush' | 'flushPage'> {
  const clearFetch = (f: FunctionBuilder): void => {
    const generation = f.let(f.load('i64.load', S.fetchGeneration).add(1n));
    f.store('i64.store', S.fetchGeneration, generation);
    f.if(generation.eq(BigInt(FETCH.generations)), () => {
      f.store('i64.store', S.fetchGeneration, i64(0));
      f.memoryFill(FETCH.base, 0xff, FETCH.views * FETCH_VIEW_BYTES);
    });
    // No page has this base, so the next branch looks its page up again.
    f.store('i64.store', S.pageBase, i64(1));
  };
  const flushFetch = m.fn('flushFetch', [], [], clearFetch);
  /** (keepGlobal) */
  const flush = m.fn('flush', [I32], [], (f, keepGlobal) => {
    clearFetch(f);
    f.if(keepGlobal.eqz(), () => {
      f.store('i32.store', S.tlbHuge, i32(0));
      f.memoryFill(TLB_LARGE.base, 0, TLB_LARGE.bytes);
    });
    const count = f.let(state(f, S.tlbFilled));
    // What an earlier flush has kept needs no second look.
    const first = f.let(state(f, S.tlbGlobal).mul(keepGlobal));
    f.store('i32.store', S.tlbFilled, i32(0));
    f.store('i32.store', S.tlbGlobal, i32(0));
    f.if(count.gtU(TLB_FILLED.capacity), () => {
      const entry = f.local(I32, i32(TLB.base));
      f.loop((again) => {
        dropEntry(f, entry);
        f.set(entry, entry.add(TLB.stride));
        f.brIf(again, entry.ltU(TLB.base + TLB.views * TLB_VIEW_BYTES));
      });
      f.return();
    });
    const at = f.local(I32, i32(TLB_FILLED.base).add(first.shl(2)));
    const keep = f.local(I32, at);
    const end = f.let(i32(TLB_FILLED.base).add(count.shl(2)));
    f.block((done) =>
      f.loop((again) => {
        f.brIf(done, at.geU(end));
        const item = f.let(f.load('i32.load', at));
        f.if(
          keepGlobal.and(item.shrU(31)),
          () => {
            f.store('i32.store', keep, item);
            f.set(keep, keep.add(4));
          },
          () => {
            dropEntry(f, f.let(i32(TLB.base).add(item.and(0xffff).shl(5))));
          },
        );
        f.set(at, at.add(4));
        f.br(again);
      }),
    );
    const kept = f.let(keep.sub(TLB_FILLED.base).shrU(2));
    f.store('i32.store', S.tlbFilled, kept);
    f.store('i32.store', S.tlbGlobal, kept);
  });
  /** (linear): INVLPG, in every view; a large page goes whole. */
  const flushPage = m.fn('flushPage', [I64], [], (f, linear) => {
    f.store('i64.store', S.pageBase, i64(1));
    const tag = f.let(linear.and(-4096n));
    const page = f.let(linear.shrU(12).wrap());
    for (let view = 0; view < FETCH.views; view++) {
      const index = page.and(FETCH.entries - 1);
      const entry = i32(FETCH.base + view * FETCH_VIEW_BYTES).add(index.mul(FETCH.stride));
      f.store('i64.store', entry, i64(-1));
    }
    for (let view = 0; view < TLB.views; view++) {
      const index = page.and(TLB.entries - 1);
      const entry = f.let(i32(TLB.base + view * TLB_VIEW_BYTES).add(index.mul(TLB.stride)));
      f.if(f.load('i64.load', entry, TLB.readTag).eq(tag), () => dropEntry(f, entry));
    }
    const block = f.let(linear.wrap().shrU(22));
    const seen = f.load('i32.load8_u', block.shrU(3), TLB_LARGE.base).shrU(block.and(7)).and(1);
    f.if(seen.or(state(f, S.tlbHuge)).eqz(), () => f.return());
    clearFetch(f);
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
          f.if(f.load('i64.load', entry, TLB.readTag).xor(tag).shrU(30).eqz(), () => dropEntry(f, entry));
        });
        f.set(at, at.add(4));
        f.br(again);
      });
    });
  });
  /** (frame, bytes): no view may write there unnoticed any more, for it holds code now, or its writes are followed. */
  const protect = m.fn('protect', [I32, I32], [], (f, frame, bytes) => {
    f.if(bytes.eq(4096), () => {
      const writer = f.let(frame.shrU(12).shl(1));
      const number = f.let(f.load('i32.load16_u', writer, TLB_WRITERS.base));
      f.store('i32.store16', writer, i32(0), TLB_WRITERS.base);
      f.if(number.eqz(), () => f.return());
      f.if(number.ne(TLB_WRITERS.several), () => {
        const entry = f.let(i32(TLB.base).add(number.sub(1).shl(5)));
        f.if(f.load('i32.load', entry, TLB.physical).eq(frame), () => closeEntry(f, entry));
        f.return();
      });
    });
    const at = f.local(I32, i32(TLB.base));
    const full = state(f, S.tlbFilled).gtU(TLB_FILLED.capacity);
    f.if(
      full,
      () => {
        f.loop((again) => {
          f.if(f.load('i32.load', at, TLB.physical).sub(frame).ltU(bytes), () => closeEntry(f, at));
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
            f.if(f.load('i32.load', entry, TLB.physical).sub(frame).ltU(bytes), () => closeEntry(f, entry));
            f.set(at, at.add(4));
            f.br(again);
          });
        });
      },
    );
  });
  for (const ref of [flush, flushPage, flushFetch, protect]) m.export(ref);
  return { flush, flushPage };
}
