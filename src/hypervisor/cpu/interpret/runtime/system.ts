import { AC, IF, NT, RF, TF, VM } from '../../flags.ts';
import {
  CS,
  FETCH,
  FETCH_VIEW_BYTES,
  gpr,
  S,
  SEG,
  SS,
  segment,
  TLB,
  TLB_VIEW_BYTES,
  TR,
} from '../../layout.ts';
import type { FunctionBuilder, FunctionRef } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import { ACCESS } from '../paging.ts';
import type { FlushEnv, OutsideEnv, RuntimeEnv } from './env.ts';
import { addPagingRuntime } from './system-paging.ts';
import { addProtectedEntries } from './system-protected.ts';
import {
  dropsSegments,
  emitCode,
  emitRflags,
  emitSegment,
  emitSetRflags,
  quad,
  word,
} from './system-state.ts';

/**
 * What a kernel does on every entry and every way out, for the case that
 * operating systems arrange for: flat segments, no debug traps, nothing that
 * faults. Each function either does the whole of it, or changes nothing and
 * says so; then the routine of cpu/system does it by the manual.
 */

/** The descriptors that the short way takes: flat, accessed; 64-bit code and data of levels 0 and 3. */
const DESCRIPTOR = {
  code0: 0x00af_9b00_0000_ffffn,
  code3: 0x00af_fb00_0000_ffffn,
  data0: 0x00cf_9300_0000_ffffn,
  data3: 0x00cf_f300_0000_ffffn,
} as const;
/** Their SEG.attributes, without the level. */
const CODE_ATTRIBUTES = 0xa09b,
  DATA_ATTRIBUTES = 0xc093;
const CR4_SMAP = 1 << 21;
const EFER_SCE = 1;
/** Bits of RFLAGS that SYSRET and IRET load from an image. */
const LOADED = 0x3f_7fd7 & ~(VM | RF);

const RCX = gpr(1),
  RSP = gpr(4),
  R11 = gpr(11);

const notCanonical = (address: Value): Value => address.shl(16n).shrS(16n).ne(address);

export function addSystemRuntime(
  m: ModuleBuilder,
  env: RuntimeEnv & OutsideEnv & FlushEnv,
): Record<string, FunctionRef> {
  /** The supervisor's view: user pages are refused under SMAP, unless `open`. */
  const supervisorView = (f: FunctionBuilder, open: Value): void => {
    const smap = f.let(word(f, S.cr4).and(CR4_SMAP).ne(0).and(open.eqz()));
    f.store('i32.store', S.tlbView, select(smap, i32(TLB.base), i32(TLB.base + TLB_VIEW_BYTES)));
    f.store('i32.store', S.accessBits, select(smap, i32(ACCESS.smap), i32(0)));
  };
  /** The views of data and fetches after CPL or EFLAGS.AC changed, in 64-bit code before and after, with nothing watched. */
  const levelChanged = m.fn('levelChanged', [], [], (f) => {
    f.store('i64.store', S.pageBase, i64(1));
    f.if(
      word(f, S.cpl),
      () => {
        f.store('i32.store', S.tlbView, i32(TLB.base + 2 * TLB_VIEW_BYTES));
        f.store('i32.store', S.accessBits, i32(ACCESS.user));
        f.store('i32.store', S.fetchView, i32(FETCH.base + FETCH_VIEW_BYTES));
      },
      () => {
        supervisorView(f, word(f, S.eflags).and(AC));
        f.store('i32.store', S.fetchView, i32(FETCH.base));
      },
    );
  });

  /** () → 1 unless level and AC may change without a look at debug traps and alignment checks. */
  const traced = m.fn('traced', [], [I32], (f) => {
    f.return(word(f, S.stepping).or(word(f, S.watch)).ne(0));
  });

  /** (on): STAC or CLAC at level 0, not traced. */
  const setAc = m.fn('setAc', [I32], [], (f, on) => {
    f.store('i32.store', S.eflags, select(on, word(f, S.eflags).or(AC), word(f, S.eflags).and(~AC)));
    supervisorView(f, on);
  });

  /** (next RIP) → 1 done: SYSCALL; the way on is LSTAR. */
  const enterSyscall = m.fn('enterSyscall', [I64], [I32], (f, next) => {
    f.if(f.call(traced).or(word(f, S.efer).and(EFER_SCE).eqz()), () => f.return(0));
    const flags = f.let(emitRflags(f));
    f.store('i64.store', RCX, next);
    f.store('i64.store', R11, flags.extendU());
    const kept = f.let(flags.and(word(f, S.sfmask).xor(-1)).and(~RF));
    emitSetRflags(f, kept);
    const selector = f.let(f.load('i32.load16_u', S.star + 4).and(0xfffc));
    emitCode(f, selector, i32(0), CODE_ATTRIBUTES);
    emitSegment(f, SS, selector.add(8).and(0xffff), i32(-1), i32(DATA_ATTRIBUTES));
    f.run(levelChanged);
    f.return(1);
  });

  /** () → 1 done: SYSRET to 64-bit code; the way on is RCX. */
  const leaveSyscall = m.fn('leaveSyscall', [], [I32], (f) => {
    f.if(f.call(traced).or(word(f, S.interruptPending)), () => f.return(0));
    f.if(word(f, S.cpl).ne(0).or(word(f, S.efer).and(EFER_SCE).eqz()), () => f.return(0));
    const image = f.let(word(f, R11));
    f.if(
      image
        .and(TF | AC)
        .ne(0)
        .or(notCanonical(f.let(quad(f, RCX)))),
      () => f.return(0),
    );
    emitSetRflags(f, f.let(image.and(LOADED)));
    const base = f.let(f.load('i32.load16_u', S.star + 6));
    emitCode(f, base.add(16), i32(3), CODE_ATTRIBUTES);
    emitSegment(f, SS, base.add(8).and(0xfffc).or(3), i32(-1), i32(DATA_ATTRIBUTES | 0x60));
    f.run(levelChanged);
    f.return(1);
  });

  /** (selector, descriptor) → 1 when the GDT has exactly this descriptor there. Reads in the current view. */
  const hasDescriptor = m.fn('hasDescriptor', [I32, I64], [I32], (f, selector, wanted) => {
    const index = f.let(selector.and(0xfff8));
    const outside = index.add(7).gtU(word(f, S.gdtrLimit));
    f.if(index.eqz().or(selector.and(4)).or(outside), () => f.return(0));
    const at = f.let(f.call(env.readable, quad(f, S.gdtrBase).add(index.extendU()), i32(8)));
    f.if(at.eqz(), () => f.return(0));
    f.return(f.load('i64.load', at).eq(wanted));
  });

  /** () → 1 done: IRETQ at level 0 to 64-bit code of level 0 or 3; S.rip is the way on. */
  const returnLong = m.fn('returnLong', [], [I32], (f) => {
    const waits = word(f, S.interruptPending).or(word(f, S.nmiBlocked)).or(word(f, S.cpl));
    f.if(
      f
        .call(traced)
        .or(waits)
        .or(word(f, S.eflags).and(NT | AC)),
      () => f.return(0),
    );
    const frame = f.let(f.call(env.readable, quad(f, RSP), i32(40)));
    f.if(frame.eqz(), () => f.return(0));
    const rip = f.let(f.load('i64.load', frame));
    const cs = f.let(f.load('i32.load16_u', frame, 8));
    const flags = f.let(f.load('i32.load', frame, 16));
    const rsp = f.let(f.load('i64.load', frame, 24));
    const ss = f.let(f.load('i32.load16_u', frame, 32));
    f.if(flags.and(TF | NT | VM | AC).or(notCanonical(rip)), () => f.return(0));
    const level = f.let(cs.and(3));
    f.if(
      level.eq(3),
      () => {
        f.if(ss.and(3).ne(3), () => f.return(0));
        f.if(f.call(hasDescriptor, cs, i64(DESCRIPTOR.code3)).eqz(), () => f.return(0));
        f.if(f.call(hasDescriptor, ss, i64(DESCRIPTOR.data3)).eqz(), () => f.return(0));
        f.if(dropsSegments(f), () => f.return(0));
        emitSegment(f, SS, ss, i32(-1), i32(DATA_ATTRIBUTES | 0x60));
      },
      () => {
        f.if(level.or(ss.and(3)), () => f.return(0));
        f.if(f.call(hasDescriptor, cs, i64(DESCRIPTOR.code0)).eqz(), () => f.return(0));
        f.if(
          ss,
          () => {
            f.if(f.call(hasDescriptor, ss, i64(DESCRIPTOR.data0)).eqz(), () => f.return(0));
            emitSegment(f, SS, ss, i32(-1), i32(DATA_ATTRIBUTES));
          },
          () => emitSegment(f, SS, i32(0), i32(0), i32(0)),
        );
      },
    );
    emitSetRflags(f, f.let(flags.and(LOADED)));
    f.store('i64.store', RSP, rsp);
    emitCode(f, cs, level, CODE_ATTRIBUTES);
    f.store('i64.store', S.rip, rip);
    f.run(levelChanged);
    f.return(1);
  });

  /** (vector, error code, has error code, bits to set in the RFLAGS image) → 1 done, in the supervisor's view. */
  const enterGate = m.fn('enterGate', [I32, I32, I32, I32], [I32], (f, vector, code, hasCode, setFlags) => {
    const offset = f.let(vector.shl(4));
    f.if(offset.add(15).gtU(word(f, S.idtrLimit)), () => f.return(0));
    const gate = f.let(f.call(env.readable, quad(f, S.idtrBase).add(offset.extendU()), i32(16)));
    f.if(gate.eqz(), () => f.return(0));
    const low = f.let(f.load('i64.load', gate));
    const high = f.let(f.load('i64.load32_u', gate, 8));
    // An interrupt or trap gate that is present.
    f.if(low.shrU(40n).wrap().and(0x9e).ne(0x8e), () => f.return(0));
    const target = f.let(low.and(0xffffn).or(low.shrU(48n).shl(16n)).or(high.shl(32n)));
    f.if(notCanonical(target), () => f.return(0));
    const selector = f.let(low.shrU(16n).wrap().and(0xffff));
    f.if(f.call(hasDescriptor, selector, i64(DESCRIPTOR.code0)).eqz(), () => f.return(0));
    const inner = f.let(word(f, S.cpl));
    const ist = f.let(low.shrU(32n).wrap().and(7));
    const top = f.local(I64, quad(f, RSP));
    f.if(inner.or(ist), () => {
      const at = f.let(select(ist.ne(0), ist.shl(3).add(0x1c), i32(4)));
      f.if(at.add(7).gtU(word(f, segment(TR) + SEG.limit)), () => f.return(0));
      const pointer = f.let(f.call(env.readable, quad(f, segment(TR) + SEG.base).add(at.extendU()), i32(8)));
      f.if(pointer.eqz(), () => f.return(0));
      f.set(top, f.load('i64.load', pointer));
    });
    const bytes = f.let(i32(40).add(hasCode.shl(3)));
    const sp = f.let(top.and(-16n).sub(bytes.extendU()));
    f.if(sp.wrap().and(0xfff).add(bytes).gtU(4096), () => f.return(0));
    const host = f.let(f.call(env.writable, sp, bytes, i32(0)));
    f.if(host.eqz(), () => f.return(0));
    // Of code and devices somebody else has to know.
    f.if(word(f, S.commitKind), () => f.return(0));
    const flags = f.let(emitRflags(f));
    f.if(hasCode, () => f.store('i64.store', host, code.extendU()));
    const frame = f.let(host.add(hasCode.shl(3)));
    f.store('i64.store', frame, quad(f, S.rip));
    f.store('i64.store', frame, f.load('i64.load16_u', segment(CS) + SEG.selector), 8);
    f.store('i64.store', frame, flags.or(setFlags).extendU(), 16);
    f.store('i64.store', frame, quad(f, RSP), 24);
    f.store('i64.store', frame, f.load('i64.load16_u', segment(SS) + SEG.selector), 32);
    f.if(inner, () => emitSegment(f, SS, i32(0), i32(0), i32(0)));
    f.store('i64.store', RSP, sp);
    emitCode(f, selector, i32(0), CODE_ATTRIBUTES);
    const trapGate = low.shrU(40n).wrap().and(1);
    const cleared = select(trapGate, i32(~(TF | NT | VM | RF)), i32(~(TF | NT | VM | RF | IF)));
    f.store('i32.store', S.eflags, word(f, S.eflags).and(cleared));
    f.store('i64.store', S.rip, target);
    f.store('i32.store', S.halted, i32(0));
    f.store('i32.store', S.shadow, i32(0));
    f.return(1);
  });

  const protectedMode = addProtectedEntries(m, { ...env, traced, levelChanged, hasDescriptor });

  /** The same from 64-bit or 32-bit code of any level, nothing watched; the last is 1 for INT n. RIP is S.rip. */
  const enter = m.fn(
    'enter',
    [I32, I32, I32, I32, I32],
    [I32],
    (f, vector, code, hasCode, setFlags, software) => {
      const mode = f.let(word(f, S.codeMode));
      f.if(f.call(traced).or(mode.eqz()), () => f.return(0));
      const view = f.let(word(f, S.tlbView));
      const access = f.let(word(f, S.accessBits));
      supervisorView(f, i32(0));
      const entered = f.local(I32, i32(0));
      f.if(
        mode.eq(2),
        () => f.set(entered, f.call(enterGate, vector, code, hasCode, setFlags)),
        () => f.set(entered, f.call(protectedMode.enterGate, vector, code, hasCode, setFlags, software)),
      );
      f.if(
        entered,
        () => {
          f.run(levelChanged);
          f.return(1);
        },
        () => {
          f.store('i32.store', S.tlbView, view);
          f.store('i32.store', S.accessBits, access);
        },
      );
      f.return(0);
    },
  );
  /** (vector, error code, has error code, bits to set in the RFLAGS image) → 1 done: an interrupt or a fault. */
  const enterHandler = m.fn('enterHandler', [I32, I32, I32, I32], [I32], (f, ...event) => {
    f.return(f.call(enter, ...event, i32(0)));
  });
  m.export(enterHandler);
  /** (vector, next EIP) → 1 done: INT n in 32-bit code; S.rip is the way on. */
  const enterSoftware = m.fn('enterSoftware', [I32, I64], [I32], (f, vector, next) => {
    f.if(word(f, S.codeMode).ne(1), () => f.return(0));
    f.store('i64.store', S.rip, next);
    f.return(f.call(enter, vector, i32(0), i32(0), i32(0), i32(1)));
  });
  const tscNow = m.fn('tscNow', [], [I64], (f) => {
    f.return(quad(f, S.tscOffset).add(f.call(env.elapsed).convert('i64.trunc_f64_u', I64)));
  });
  const { enterGate: _, ...others } = protectedMode;
  return {
    ...{ tscNow, traced, setAc, enterSyscall, leaveSyscall, returnLong, enterHandler, enterSoftware },
    ...addPagingRuntime(m, { ...env, traced }),
    ...others,
  };
}
