import {
  CODE_MASK,
  FLAT_TLB,
  MAP,
  RAM,
  S,
  SCRATCH,
  TLB,
  TLB_FILLED,
  TLB_LARGE,
  TLB_WRITERS,
  WATCH_VIEW,
} from '../layout.ts';
import type { FunctionBuilder, FunctionRef } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../wasm/value.ts';
import { type Core, type CoreImports, DEVICE, mapped, state, state64, WRITE_SCRATCH } from './core-parts.ts';
import { dropEntry, flatEntry } from './core-tlb.ts';
import { ACCESS, addPaging } from './paging.ts';
import { addWatch } from './watch.ts';

/** Kinds of a pending commit. */
const COMMIT = { none: 0, code: 1, mmio: 2, split: 3 } as const;

/** The bits of CODE_MASK's i64 that at most 64 bytes touch. */
function granules(physical: Value, bytes: Value): Value {
  const granule = (address: Value): Value => i64(1).shl(address.shrU(6).and(63).extendU());
  return granule(physical).or(granule(physical.add(bytes).sub(1)));
}

/** Emits memory access behind the TLB: the slow paths of loads and stores. */
export function addMemory(
  m: ModuleBuilder,
  imports: CoreImports,
): Pick<Core, 'readable' | 'writable' | 'commit'> & { translate: FunctionRef } {
  const paging = addPaging(m);
  const { translate } = paging;
  const watch = addWatch(m);

  /** (linear): a page that is a fragment of a large one, by the last walk, comes into the TLB or that of fetches. */
  const noteLarge = m.fn('noteLarge', [I64], [], (f, linear) => {
    const large = f.let(state(f, S.walkFlags).and(12));
    f.if(large.eqz(), () => f.return());
    f.if(large.and(8), () => f.store('i32.store', S.tlbHuge, i32(1)));
    const block = f.let(linear.wrap().shrU(22));
    const byte = f.let(block.shrU(3));
    const seen = f.load('i32.load8_u', byte, TLB_LARGE.base).or(i32(1).shl(block.and(7)));
    f.store('i32.store8', byte, seen, TLB_LARGE.base);
  });

  /** Puts a page, as MAP has it, into the TLB for the current view. */
  const fill = m.fn('fill', [I64, I32, I32], [], (f, linear, map, write) => {
    const index = f.let(
      linear
        .shrU(12)
        .wrap()
        .and(TLB.entries - 1),
    );
    const entry = f.let(state(f, S.tlbView).add(index.mul(TLB.stride)));
    const tag = f.let(linear.and(-4096n));
    const frame = f.let(map.and(-4096));
    const pageMask = f.let(f.load('i64.load', frame.shrU(12).shl(3), CODE_MASK));
    const open = map
      .and(MAP.write | MAP.clean)
      .eq(MAP.write)
      .and(pageMask.eqz());
    const mayWrite = f.let(write.or(f.load('i32.load', S.walkFlags).shrU(1).and(1)).and(open));
    const known = f.let(f.load('i64.load', entry, TLB.readTag).eq(tag));
    f.if(known.eqz(), () => dropEntry(f, entry));
    f.store('i64.store', entry, tag, TLB.readTag);
    f.if(mayWrite, () => {
      f.store('i64.store', entry, tag, TLB.writeTag);
      const writer = f.let(frame.shrU(12).shl(1));
      const number = f.let(entry.sub(TLB.base).shrU(5).add(1));
      const before = f.let(f.load('i32.load16_u', writer, TLB_WRITERS.base));
      const other = before.ne(0).and(before.ne(number));
      f.store('i32.store16', writer, select(other, i32(TLB_WRITERS.several), number), TLB_WRITERS.base);
    });
    const addend = f.let(i32(RAM).add(frame).sub(tag.wrap()));
    f.store('i32.store', entry, addend, TLB.addend);
    f.if(tag.shrU(32n).eqz(), () => {
      const flat = f.let(flatEntry(entry, tag));
      const writes = f.load('i64.load', entry, TLB.writeTag).eq(tag);
      f.store('i32.store', flat, addend.sub(1), FLAT_TLB.read);
      f.store('i32.store', flat, select(writes, addend.sub(1), i32(0)), FLAT_TLB.write);
    });
    f.store('i32.store', entry, frame, TLB.physical);
    f.if(known, () => f.return());
    f.run(noteLarge, linear);
    const count = f.let(state(f, S.tlbFilled));
    f.if(count.ltU(TLB_FILLED.capacity), () => {
      const flags = f.load('i32.load', S.walkFlags);
      const item = entry.sub(TLB.base).shrU(5).or(flags.and(1).shl(31)).or(flags.and(4).shl(28));
      f.store('i32.store', i32(TLB_FILLED.base).add(count.shl(2)), item);
    });
    f.store('i32.store', S.tlbFilled, count.add(1));
  });

  const tick = (f: FunctionBuilder, counter: number): void =>
    f.store('i64.store', counter, state64(f, counter).add(1n));

  /** Where a byte lies for the current view, from the TLB or by a walk that fills it: in a frame, or in a DEVICE; -1 after a fault. */
  const resolve = m.fn('resolve', [I64, I32], [I64], (f, linear, write) => {
    const index = linear
      .shrU(12)
      .wrap()
      .and(TLB.entries - 1);
    const entry = f.let(state(f, S.tlbView).add(index.mul(TLB.stride)));
    const tag = select(
      write,
      f.load('i64.load', entry, TLB.writeTag),
      f.load('i64.load', entry, TLB.readTag),
    );
    f.if(tag.eq(linear.and(-4096n)), () => {
      f.return(f.load('i64.load32_u', entry, TLB.physical).or(linear.and(0xfffn)));
    });
    tick(f, S.tlbMisses);
    const page = f.let(f.call(translate, linear, state(f, S.accessBits).or(write)));
    f.unlikely(page.ltS(0n), () => f.return(i64(-1)));
    const physical = f.let(page.wrap());
    const map = mapped(f, physical);
    f.if(map.and(i32(MAP.read).shl(write)).eqz(), () => f.return(page.or(linear.and(0xfffn)).or(DEVICE)));
    f.if(map.and(MAP.clean).ne(0).and(write), () => {
      f.set(map, map.and(~MAP.clean));
      f.store('i32.store', physical.shrU(12).shl(2), map, MAP.base);
    });
    f.if(state(f, S.tlbView).ne(WATCH_VIEW), () => f.run(fill, linear, map, write));
    f.return(map.and(-4096).extendU().or(linear.and(0xfffn)));
  });
  const inDevice = (at: Value): Value => at.shrU(32n).wrap();

  /** Leaves with 0 when a watched access raises #AC. */
  const watched = (f: FunctionBuilder, linear: Value, bytes: Value, write: number): void => {
    f.unlikely(state(f, S.watch), () => f.if(f.call(watch, linear, bytes, i32(write)), () => f.return(0)));
  };
  /** The address `bytes` on: linear addresses have 32 bits outside 64-bit mode. */
  const further = (f: FunctionBuilder, linear: Value, bytes: Value): Value => {
    const sum = f.let(linear.add(bytes.extendU()));
    return select(state(f, S.codeMode).eq(2), sum, sum.and(0xffff_ffffn));
  };

  const crosses = (linear: Value, bytes: Value): Value => linear.wrap().and(0xfff).add(bytes).gtU(4096);

  /** One byte of what `resolve` gave, through a device if need be. */
  const physByte = m.fn('physByte', [I64], [I32], (f, at) => {
    f.if(inDevice(at).eqz(), () => f.return(f.load('i32.load8_u', at.wrap().add(RAM))));
    f.run(imports.mmioRead, at.wrap(), 1);
    f.return(f.load('i32.load8_u', SCRATCH));
  });

  const readable = m.fn('readable', [I64, I32], [I32], (f, linear, bytes) => {
    const first = f.let(f.call(resolve, linear, 0));
    f.unlikely(first.eq(-1n), () => f.return(0));
    const physical = f.let(first.wrap());
    f.unlikely(crosses(linear, bytes), () => {
      const head = f.let(i32(4096).sub(linear.wrap().and(0xfff)));
      const second = f.let(f.call(resolve, further(f, linear, head), 0));
      f.if(second.eq(-1n), () => f.return(0));
      watched(f, linear, bytes, 0);
      const at = f.local(I32);
      const value = f.local(I32);
      f.loop((again) => {
        const inHead = at.ltU(head);
        const address = select(inHead, first.add(at.extendU()), second.add(at.sub(head).extendU()));
        f.set(value, f.call(physByte, address));
        f.store('i32.store8', i32(SCRATCH + 16).add(at), value);
        f.set(at, at.add(1));
        f.brIf(again, at.ltU(bytes));
      });
      f.return(SCRATCH + 16);
    });
    watched(f, linear, bytes, 0);
    f.if(inDevice(first).eqz(), () => f.return(physical.add(RAM)));
    tick(f, S.mmioExits);
    f.run(imports.mmioRead, physical, bytes);
    f.return(SCRATCH);
  });

  const writable = m.fn('writable', [I64, I32, I32], [I32], (f, linear, bytes, keep) => {
    const first = f.let(f.call(resolve, linear, ACCESS.write));
    f.unlikely(first.eq(-1n), () => f.return(0));
    const physical = f.let(first.wrap());
    f.store('i32.store', S.commitPhysical, physical);
    f.store('i32.store', S.commitSize, bytes);
    f.unlikely(crosses(linear, bytes), () => {
      const head = f.let(i32(4096).sub(linear.wrap().and(0xfff)));
      const second = f.let(f.call(resolve, further(f, linear, head), ACCESS.write));
      f.if(second.eq(-1n), () => f.return(0));
      watched(f, linear, bytes, 1);
      f.store('i32.store', S.commitPhysical2, second.wrap());
      f.store('i32.store', S.commitDevice, inDevice(first).or(inDevice(second).shl(1)));
      f.store('i32.store', S.commitKind, i32(COMMIT.split));
      f.if(keep, () => {
        const from = f.let(f.call(readable, linear, bytes));
        f.if(from.eqz(), () => f.return(0));
        f.memoryCopy(WRITE_SCRATCH, from, bytes);
      });
      f.return(WRITE_SCRATCH);
    });
    watched(f, linear, bytes, 1);
    f.if(inDevice(first).eqz(), () => {
      const mask = f.load('i64.load', physical.shrU(12).shl(3), CODE_MASK);
      f.store('i32.store', S.commitKind, select(mask.eqz(), i32(COMMIT.none), i32(COMMIT.code)));
      f.return(physical.add(RAM));
    });
    tick(f, S.mmioExits);
    f.if(keep, () => {
      const map = mapped(f, physical);
      f.if(
        map.and(MAP.read),
        // ROM: only its writes are for the bus.
        () => f.memoryCopy(WRITE_SCRATCH, map.and(-4096).or(physical.and(0xfff)).add(RAM), bytes),
        () => {
          f.run(imports.mmioRead, physical, bytes);
          f.memoryCopy(WRITE_SCRATCH, SCRATCH, bytes);
        },
      );
    });
    f.store('i32.store', S.commitKind, i32(COMMIT.mmio));
    f.return(WRITE_SCRATCH);
  });

  /** Tells JavaScript when bytes that hold decoded code were written. */
  const noteWrite = m.fn('noteWrite', [I32, I32], [], (f, physical, bytes) => {
    const mask = f.let(f.load('i64.load', physical.shrU(12).shl(3), CODE_MASK));
    f.unlikely(mask.and(granules(physical, bytes)).ne(0n), () => f.run(imports.invalidate, physical, bytes));
  });

  const physStore = m.fn('physStore', [I32, I32, I32], [], (f, physical, device, byte) => {
    f.if(
      device.eqz(),
      () => {
        f.store('i32.store8', physical.add(RAM), byte);
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
        const inHead = f.let(at.ltU(head));
        const address = select(inHead, physical.add(at), second.add(at.sub(head)));
        const device = state(f, S.commitDevice).shrU(inHead.eqz()).and(1);
        f.run(physStore, address, device, f.load('i32.load8_u', i32(WRITE_SCRATCH).add(at)));
        f.set(at, at.add(1));
        f.brIf(again, at.ltU(bytes));
      });
    });
  });
  /** Leaves with 0; counts where a region looked for several accesses at once and found two pages. */
  const noteCrossing = (f: FunctionBuilder, record: Value): void => {
    f.if(record, () => {
      f.store('i32.store', S.crossings, state(f, S.crossings).add(1));
      f.store('i32.store', S.crossedRecord, record);
    });
    f.return(0);
  };
  /** (linear, bytes, tag that did not match, record of a region that looks for several accesses, else 0) → where memory can be read; 0 for what a translated region leaves to the interpreter: faults, devices, two pages. */
  const regionRead = m.fn('regionRead', [I64, I32, I64, I32], [I32], (f, linear, bytes, _tag, record) => {
    f.unlikely(state(f, S.watch).or(crosses(linear, bytes)), () => noteCrossing(f, record));
    const at = f.let(f.call(resolve, linear, 0));
    f.unlikely(at.geU(DEVICE), () => f.return(0));
    f.return(at.wrap().add(RAM));
  });
  /** The same for writing; bytes of decoded code are the interpreter's too. */
  const regionWrite = m.fn('regionWrite', [I64, I32, I64, I32], [I32], (f, linear, bytes, _tag, record) => {
    f.unlikely(state(f, S.watch).or(crosses(linear, bytes)), () => noteCrossing(f, record));
    const first = f.let(f.call(resolve, linear, ACCESS.write));
    f.unlikely(first.geU(DEVICE), () => f.return(0));
    const physical = f.let(first.wrap());
    const mask = f.let(f.load('i64.load', physical.shrU(12).shl(3), CODE_MASK));
    f.unlikely(mask.and(granules(physical, bytes)).ne(0n), () => f.return(0));
    f.return(physical.add(RAM));
  });
  for (const ref of [readable, writable, commit, regionRead, regionWrite]) m.export(ref);
  return { readable, writable, commit, translate };
}
