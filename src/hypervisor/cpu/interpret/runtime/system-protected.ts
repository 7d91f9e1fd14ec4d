import { AC, IF, NT, RF, TF, VM } from '../../flags.ts';
import { CS, GS, gpr, S, SEG, SS, segment, TR } from '../../layout.ts';
import type { FunctionBuilder, FunctionRef } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I32 } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import type { OutsideEnv, RuntimeEnv } from './env.ts';
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
 * The short ways of a 32-bit kernel: see system.ts. Protected mode without
 * IA-32e, flat code and stacks of levels 0 and 3, descriptors of the GDT that
 * are accessed already.
 */

const DESCRIPTOR = {
  code0: 0x00cf_9b00_0000_ffffn,
  code3: 0x00cf_fb00_0000_ffffn,
  data0: 0x00cf_9300_0000_ffffn,
  data3: 0x00cf_f300_0000_ffffn,
} as const;
/** Their SEG.attributes, without the level. */
const CODE_ATTRIBUTES = 0xc09b,
  DATA_ATTRIBUTES = 0xc093;
/** SEG.attributes: a 32-bit TSS, busy; a stack of 32 bits. */
const BUSY_TSS = 0x8b,
  BIG = 0x4000;
const CR0_PE = 1;
const EFER_LMA = 1 << 10;
/** Bits of EFLAGS that IRET loads at level 0. */
const LOADED = 0x3f_7fd7 & ~(VM | RF);

const RCX = gpr(1),
  RDX = gpr(2),
  RSP = gpr(4);

interface ProtectedEnv extends RuntimeEnv, OutsideEnv {
  /** () → 1 unless the level may change without a look at debug traps and alignment checks. */
  readonly traced: FunctionRef;
  /** (): the views after the level changed. */
  readonly levelChanged: FunctionRef;
  /** (selector, descriptor) → 1 when the GDT has exactly this descriptor there. */
  readonly hasDescriptor: FunctionRef;
}

const flatStack = (f: FunctionBuilder, selector: Value, level: Value): void => {
  emitSegment(f, SS, selector, i32(-1), i32(DATA_ATTRIBUTES).or(level.shl(5)));
  f.store('i32.store', segment(SS) + SEG.checked, i32(0));
  f.store('i32.store8', S.oddSegments + SS, i32(0));
};

/** Not 32-bit code of plain protected mode. */
const otherMode = (f: FunctionBuilder): Value =>
  word(f, S.codeMode)
    .ne(1)
    .or(word(f, S.cr0).and(CR0_PE).eqz())
    .or(word(f, S.efer).and(EFER_LMA))
    .or(word(f, S.eflags).and(VM));

/** The stack is not flat, or of 16 bits. */
const oddStack = (f: FunctionBuilder): Value =>
  word(f, segment(SS) + SEG.checked)
    .or(quad(f, segment(SS) + SEG.base).ne(0n))
    .or(
      word(f, segment(SS) + SEG.attributes)
        .and(BIG)
        .eqz(),
    );

export function addProtectedEntries(
  m: ModuleBuilder,
  env: ProtectedEnv,
): {
  readonly enterGate: FunctionRef;
  readonly selectorOf: FunctionRef;
  readonly loadData: FunctionRef;
  readonly returnProtected: FunctionRef;
  readonly enterSysenter: FunctionRef;
  readonly leaveSysexit: FunctionRef;
} {
  /** (address of a segment register in the state block) → its selector, -1 where there is no such register. */
  const selectorOf = m.fn('selectorOf', [I32], [I32], (f, at) => {
    f.if(at.gtU(segment(GS)), () => f.return(-1));
    f.return(f.load('i32.load16_u', at, SEG.selector));
  });

  /** (address of DS, ES, FS or GS in the state block, selector) → 1 done: MOV or POP to it in protected mode. */
  const loadData = m.fn('loadData', [I32, I32], [I32], (f, at, selector) => {
    const mode = f.let(word(f, S.codeMode));
    const paragraphs = word(f, S.cr0).and(CR0_PE).eqz().or(word(f, S.eflags).and(VM));
    const system = at
      .eq(segment(CS))
      .or(at.eq(segment(SS)))
      .or(at.gtU(segment(GS)));
    f.if(mode.eqz().or(paragraphs).or(system), () => f.return(0));
    const free = f.let(mode.eq(2));
    const odd = f.let(at.sub(S.segments).shrU(Math.log2(SEG.stride)).add(S.oddSegments));
    f.if(selector.and(0xfffc).eqz(), () => {
      f.store('i64.store', at, i64(0), SEG.base);
      f.store('i32.store', at, i32(0), SEG.limit);
      f.store('i32.store', at, selector, SEG.selector);
      f.store('i32.store', at, i32(0), SEG.attributes);
      f.store('i32.store', at, free.xor(1), SEG.checked);
      f.store('i32.store8', odd, i32(1));
      f.return(1);
    });
    const index = f.let(selector.and(0xfff8));
    f.if(selector.and(4).or(index.add(7).gtU(word(f, S.gdtrLimit))), () => f.return(0));
    const entry = f.let(f.call(env.readable, quad(f, S.gdtrBase).add(index.extendU()), i32(8)));
    f.if(entry.eqz(), () => f.return(0));
    const low = f.let(f.load('i32.load', entry));
    const high = f.let(f.load('i32.load', entry, 4));
    // Data that grows upwards, present, accessed, and open to this level and the selector's.
    const level = f.let(high.shrU(13).and(3));
    const closed = level.ltU(word(f, S.cpl)).or(level.ltU(selector.and(3)));
    f.if(high.and(0x9d00).ne(0x9100).or(closed), () => f.return(0));
    const base = low
      .shrU(16)
      .or(high.and(0xff).shl(16))
      .or(high.and(i32(0xff00_0000 | 0)));
    const units = f.let(low.and(0xffff).or(high.and(0xf_0000)));
    const limit = f.let(select(high.and(0x80_0000).ne(0), units.shl(12).or(0xfff), units));
    f.store('i64.store', at, base.extendU(), SEG.base);
    f.store('i32.store', at, limit, SEG.limit);
    f.store('i32.store', at, selector, SEG.selector);
    f.store('i32.store', at, high.shrU(8).and(0xf0ff), SEG.attributes);
    const flat = limit.eq(-1).and(high.and(0x200).ne(0));
    f.store('i32.store', at, free.or(flat).xor(1), SEG.checked);
    f.store('i32.store8', odd, flat.and(base.eqz()).xor(1));
    f.return(1);
  });

  /** (vector, error code, has error code, bits to set in the EFLAGS image, by INT n) → 1 done, in the supervisor's view. EIP is S.rip. */
  const enterGate = m.fn(
    'enterGate32',
    [I32, I32, I32, I32, I32],
    [I32],
    (f, vector, code, hasCode, setFlags, software) => {
      f.if(otherMode(f), () => f.return(0));
      const offset = f.let(vector.shl(3));
      f.if(offset.add(7).gtU(word(f, S.idtrLimit)), () => f.return(0));
      const gate = f.let(f.call(env.readable, quad(f, S.idtrBase).add(offset.extendU()), i32(8)));
      f.if(gate.eqz(), () => f.return(0));
      const low = f.let(f.load('i32.load', gate));
      const high = f.let(f.load('i32.load', gate, 4));
      // A 32-bit interrupt or trap gate that is present.
      f.if(high.and(0x9e00).ne(0x8e00), () => f.return(0));
      const level = f.let(word(f, S.cpl));
      f.if(software.and(high.shrU(13).and(3).ltU(level)), () => f.return(0));
      const selector = f.let(low.shrU(16));
      f.if(f.call(env.hasDescriptor, selector, i64(DESCRIPTOR.code0)).eqz(), () => f.return(0));
      const top = f.local(I32, word(f, RSP));
      const stack = f.local(I32, i32(0));
      f.if(
        level,
        () => {
          const tss = word(f, segment(TR) + SEG.attributes).and(0x9f);
          f.if(
            level
              .ne(3)
              .or(tss.ne(BUSY_TSS))
              .or(word(f, segment(TR) + SEG.limit).ltU(9)),
            () => f.return(0),
          );
          const pointer = f.let(f.call(env.readable, quad(f, segment(TR) + SEG.base).add(4n), i32(8)));
          f.if(pointer.eqz(), () => f.return(0));
          f.set(top, f.load('i32.load', pointer));
          f.set(stack, f.load('i32.load16_u', pointer, 4));
          f.if(stack.and(3), () => f.return(0));
          f.if(f.call(env.hasDescriptor, stack, i64(DESCRIPTOR.data0)).eqz(), () => f.return(0));
        },
        () => f.if(oddStack(f), () => f.return(0)),
      );
      const bytes = f.let(i32(12).add(hasCode.shl(2)).add(level.ne(0).shl(3)));
      const sp = f.let(top.sub(bytes));
      f.if(sp.and(0xfff).add(bytes).gtU(4096), () => f.return(0));
      const host = f.let(f.call(env.writable, sp.extendU(), bytes, i32(0)));
      f.if(host.eqz(), () => f.return(0));
      // Of code and devices somebody else has to know.
      f.if(word(f, S.commitKind), () => f.return(0));
      const flags = f.let(emitRflags(f));
      f.if(hasCode, () => f.store('i32.store', host, code));
      const frame = f.let(host.add(hasCode.shl(2)));
      f.store('i32.store', frame, word(f, S.rip));
      f.store('i32.store', frame, f.load('i32.load16_u', segment(CS) + SEG.selector), 4);
      f.store('i32.store', frame, flags.or(setFlags), 8);
      f.if(level, () => {
        f.store('i32.store', frame, word(f, RSP), 12);
        f.store('i32.store', frame, f.load('i32.load16_u', segment(SS) + SEG.selector), 16);
        flatStack(f, stack, i32(0));
      });
      f.store('i64.store', RSP, sp.extendU());
      emitCode(f, selector, i32(0), CODE_ATTRIBUTES);
      const trapGate = high.and(0x100);
      const cleared = select(trapGate.ne(0), i32(~(TF | NT | VM | RF)), i32(~(TF | NT | VM | RF | IF)));
      f.store('i32.store', S.eflags, word(f, S.eflags).and(cleared));
      f.store(
        'i64.store',
        S.rip,
        low
          .and(0xffff)
          .or(high.and(i32(0xffff_0000 | 0)))
          .extendU(),
      );
      f.store('i32.store', S.halted, i32(0));
      f.store('i32.store', S.shadow, i32(0));
      f.return(1);
    },
  );

  /** () → 1 done: IRETD at level 0 to flat 32-bit code of level 0 or 3; S.rip is the way on. */
  const returnProtected = m.fn('returnProtected', [], [I32], (f) => {
    const waits = word(f, S.interruptPending).or(word(f, S.nmiBlocked)).or(word(f, S.cpl));
    const odd = otherMode(f).or(oddStack(f));
    const refused = f
      .call(env.traced)
      .or(waits)
      .or(word(f, S.eflags).and(NT | AC));
    f.if(odd.or(refused), () => f.return(0));
    const esp = f.let(word(f, RSP));
    const inner = f.let(f.call(env.readable, esp.extendU(), i32(12)));
    f.if(inner.eqz(), () => f.return(0));
    const cs = f.let(f.load('i32.load16_u', inner, 4));
    const level = f.let(cs.and(3));
    const flags = f.let(f.load('i32.load', inner, 8));
    f.if(flags.and(TF | NT | VM | AC), () => f.return(0));
    const rip = f.let(f.load('i64.load32_u', inner));
    f.if(
      level.eq(3),
      () => {
        const frame = f.let(f.call(env.readable, esp.extendU(), i32(20)));
        f.if(frame.eqz(), () => f.return(0));
        const sp = f.let(f.load('i64.load32_u', frame, 12));
        const ss = f.let(f.load('i32.load16_u', frame, 16));
        f.if(ss.and(3).ne(3).or(dropsSegments(f)), () => f.return(0));
        f.if(f.call(env.hasDescriptor, cs, i64(DESCRIPTOR.code3)).eqz(), () => f.return(0));
        f.if(f.call(env.hasDescriptor, ss, i64(DESCRIPTOR.data3)).eqz(), () => f.return(0));
        flatStack(f, ss, level);
        f.store('i64.store', RSP, sp);
      },
      () => {
        f.if(level, () => f.return(0));
        f.if(f.call(env.hasDescriptor, cs, i64(DESCRIPTOR.code0)).eqz(), () => f.return(0));
        f.store('i64.store', RSP, esp.add(12).extendU());
      },
    );
    emitSetRflags(f, f.let(flags.and(LOADED)));
    emitCode(f, cs, level, CODE_ATTRIBUTES);
    f.store('i64.store', S.rip, rip);
    f.run(env.levelChanged);
    f.return(1);
  });

  /** () → 1 done: SYSENTER; S.rip is the way on. */
  const enterSysenter = m.fn('enterSysenter', [], [I32], (f) => {
    const selector = f.let(word(f, S.sysenterCs).and(0xfffc));
    f.if(otherMode(f).or(f.call(env.traced)).or(selector.eqz()), () => f.return(0));
    f.store('i32.store', S.eflags, word(f, S.eflags).and(~(VM | IF | RF)));
    emitCode(f, selector, i32(0), CODE_ATTRIBUTES);
    flatStack(f, selector.add(8).and(0xffff), i32(0));
    f.store('i64.store', RSP, f.load('i64.load32_u', S.sysenterEsp));
    f.store('i64.store', S.rip, f.load('i64.load32_u', S.sysenterEip));
    f.run(env.levelChanged);
    f.return(1);
  });

  /** () → 1 done: SYSEXIT to 32-bit code; S.rip is the way on. */
  const leaveSysexit = m.fn('leaveSysexit', [], [I32], (f) => {
    const selector = f.let(word(f, S.sysenterCs).and(0xfffc));
    const waits = word(f, S.interruptPending).or(word(f, S.cpl)).or(word(f, S.eflags).and(AC));
    f.if(otherMode(f).or(f.call(env.traced)).or(selector.eqz()).or(waits), () => f.return(0));
    emitCode(f, selector.add(16).and(0xffff), i32(3), CODE_ATTRIBUTES);
    flatStack(f, selector.add(24).and(0xfffc).or(3), i32(3));
    f.store('i64.store', RSP, f.load('i64.load32_u', RCX));
    f.store('i64.store', S.rip, f.load('i64.load32_u', RDX));
    f.run(env.levelChanged);
    f.return(1);
  });

  return { enterGate, selectorOf, loadData, returnProtected, enterSysenter, leaveSysexit };
}
