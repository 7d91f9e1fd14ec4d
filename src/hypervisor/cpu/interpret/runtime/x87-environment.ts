import { S } from '../../layout.ts';
import type { FunctionBuilder, FunctionRef, Local } from '../../wasm/function.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, select, type Value } from '../../wasm/value.ts';
import {
  CONTROL_BITS,
  CONTROL_ONE,
  exponentOf,
  field,
  isEmpty,
  loadE,
  loadM,
  MAX_EXPONENT,
  physical,
  setField,
  storeRegister,
  type X87Core,
} from './x87-core.ts';

/**
 * The x87 environment in memory: FNSTENV FLDENV FNSAVE FRSTOR in their four
 * layouts (SDM vol. 1, figures 8-9 to 8-12), control and status.
 */

const RFLAGS_VM = 0x2_0000;

/** 1 in real mode and virtual-8086 mode, whose layouts carry linear addresses. */
const realFormat = (f: FunctionBuilder): Value =>
  field(f, S.cr0).and(1).eqz().or(field(f, S.eflags).and(RFLAGS_VM).ne(0));

const CONDITIONS_AND_FLAGS = 0x47ff;

export function addX87Environment(x: X87Core): Record<string, FunctionRef> {
  const { m } = x;
  const init = m.fn('x87_fninit', [], [], (f) => {
    setField(f, S.fpuControl, 0x37f);
    setField(f, S.fpuStatus, 0);
    setField(f, S.fpuTop, 0);
    setField(f, S.fpuEmpty, 0xff);
    setField(f, S.fpuOpcode, 0);
    f.store('i64.store', 0, 0, S.fpuIp);
    f.store('i64.store', 0, 0, S.fpuDp);
    setField(f, S.fpuCs, 0);
    setField(f, S.fpuDs, 0);
  });
  const statusWord = m.fn('x87_statusWord', [], [I32], (f) => {
    f.return(field(f, S.fpuStatus).or(field(f, S.fpuTop).shl(11)));
  });
  const setStatus = m.fn('x87_setStatus', [I32], [], (f) => {
    const word = f.params[0] as Local;
    setField(f, S.fpuTop, word.shrU(11).and(7));
    setField(f, S.fpuStatus, word.and(CONDITIONS_AND_FLAGS & ~0x80));
    f.run(x.summarize);
  });
  const setControl = m.fn('x87_fldcw', [I32], [], (f) => {
    setField(f, S.fpuControl, (f.params[0] as Local).and(CONTROL_BITS).or(CONTROL_ONE));
    f.run(x.summarize);
  });
  const fnclex = m.fn('x87_fnclex', [], [], (f) => {
    setField(f, S.fpuStatus, field(f, S.fpuStatus).and(~0x80ff));
  });
  const tagWord = m.fn('x87_tagWord', [], [I32], (f) => {
    const word = f.local(I32, 0);
    const register = f.local(I32, 7);
    f.loop((next) => {
      const vm = loadM(f, register);
      const exponent = f.let(exponentOf(loadE(f, register)));
      const special = exponent.eqz().or(exponent.eq(MAX_EXPONENT)).or(vm.geS(0));
      const zero = exponent.eqz().and(vm.eqz());
      const tag = select(isEmpty(f, register), i32(3), select(zero, i32(1), special.shl(1)));
      f.set(word, word.shl(2).or(tag));
      f.set(register, register.sub(1));
      f.brIf(next, register.geS(0));
    });
    f.return(word);
  });
  const setTags = m.fn('x87_setTags', [I32], [], (f) => {
    const tags = f.params[0] as Local;
    const empty = f.local(I32, 0);
    const register = f.local(I32, 0);
    f.loop((next) => {
      f.set(empty, empty.or(tags.shrU(register.shl(1)).and(3).eq(3).shl(register)));
      f.set(register, register.add(1));
      f.brIf(next, register.ltU(8));
    });
    setField(f, S.fpuEmpty, empty);
  });
  const environment = addEnvironment(x, { statusWord, setStatus, setControl, tagWord, setTags });
  return {
    x87_fninit: init,
    x87_statusWord: statusWord,
    x87_setStatus: setStatus,
    x87_fldcw: setControl,
    x87_fnclex: fnclex,
    x87_tagWord: tagWord,
    x87_setTags: setTags,
    ...addImages(x, init, environment),
  };
}

interface Words {
  readonly statusWord: FunctionRef;
  readonly setStatus: FunctionRef;
  readonly setControl: FunctionRef;
  readonly tagWord: FunctionRef;
  readonly setTags: FunctionRef;
}

interface Environment {
  /** (at, wide): 14 or 28 bytes at a place in linear memory. */
  readonly write: FunctionRef;
  readonly read: FunctionRef;
}

/** Linear address of a pointer in the layouts of real mode. */
const linearPointer = (f: FunctionBuilder, pointer: number, selector: number): Value =>
  field(f, pointer).add(field(f, selector).shl(4));

function addEnvironment(x: X87Core, words: Words): Environment {
  const { m } = x;
  const write = m.fn('x87_writeEnvironment', [I32, I32], [], (f) => {
    const [at, wide] = f.params as [Local, Local];
    const real = f.let(realFormat(f));
    const ip = f.let(select(real, linearPointer(f, S.fpuIp, S.fpuCs), field(f, S.fpuIp)));
    const dp = f.let(select(real, linearPointer(f, S.fpuDp, S.fpuDs), field(f, S.fpuDp)));
    const opcode = f.let(field(f, S.fpuOpcode).and(0x7ff));
    const status = f.call(words.statusWord);
    const tags = f.call(words.tagWord);
    f.if(
      wide,
      () => {
        const reserved = 0xffff_0000;
        f.store('i32.store', at, field(f, S.fpuControl).or(reserved));
        f.store('i32.store', at, status.or(reserved), 4);
        f.store('i32.store', at, tags.or(reserved), 8);
        f.if(
          real,
          () => {
            f.store('i32.store', at, ip.and(0xffff).or(reserved), 12);
            f.store('i32.store', at, ip.shrU(16).shl(12).or(opcode), 16);
            f.store('i32.store', at, dp.and(0xffff).or(reserved), 20);
            f.store('i32.store', at, dp.shrU(16).shl(12), 24);
          },
          () => {
            f.store('i32.store', at, ip, 12);
            f.store('i32.store', at, field(f, S.fpuCs).and(0xffff).or(opcode.shl(16)), 16);
            f.store('i32.store', at, dp, 20);
            f.store('i32.store', at, field(f, S.fpuDs).or(reserved), 24);
          },
        );
      },
      () => {
        f.store('i32.store16', at, field(f, S.fpuControl));
        f.store('i32.store16', at, status, 2);
        f.store('i32.store16', at, tags, 4);
        f.store('i32.store16', at, ip, 6);
        f.store('i32.store16', at, select(real, ip.shrU(16).shl(12).or(opcode), field(f, S.fpuCs)), 8);
        f.store('i32.store16', at, dp, 10);
        f.store('i32.store16', at, select(real, dp.shrU(16).shl(12), field(f, S.fpuDs)), 12);
      },
    );
  });
  const read = m.fn('x87_readEnvironment', [I32, I32], [], (f) => {
    const [at, wide] = f.params as [Local, Local];
    const real = f.let(realFormat(f));
    const stride = f.let(select(wide, i32(4), i32(2)));
    const word = (index: number): Local => f.let(f.load('i32.load16_u', at.add(stride.mul(index))));
    const [control, status, tags] = [word(0), word(1), word(2)];
    const ip = word(3);
    const code = word(4);
    const dp = word(5);
    const data = word(6);
    const opcode = f.local(I32, 0);
    f.if(
      real,
      () => {
        // The upper part of the address starts at bit 12, above the opcode.
        const upper = (offset: number, narrow: Value): Value =>
          select(wide, f.load('i32.load', at, offset), narrow)
            .shrU(12)
            .shl(16);
        f.set(ip, ip.or(upper(16, code)));
        f.set(dp, dp.or(upper(24, data)));
        f.set(opcode, code.and(0x7ff));
        f.set(code, 0);
        f.set(data, 0);
      },
      () => {
        f.if(wide, () => {
          f.set(ip, f.load('i32.load', at, 12));
          f.set(dp, f.load('i32.load', at, 20));
          f.set(opcode, f.load('i32.load16_u', at, 18).and(0x7ff));
        });
      },
    );
    f.store('i64.store', 0, ip.extendU(), S.fpuIp);
    f.store('i64.store', 0, dp.extendU(), S.fpuDp);
    setField(f, S.fpuCs, code);
    setField(f, S.fpuDs, data);
    setField(f, S.fpuOpcode, opcode);
    f.run(words.setControl, control);
    f.run(words.setStatus, status);
    f.run(words.setTags, tags);
  });
  return { write, read };
}

/** The four instructions: (linear, wide) → 1 after a fault. */
function addImages(x: X87Core, init: FunctionRef, environment: Environment): Record<string, FunctionRef> {
  const { m } = x;
  const open = (f: FunctionBuilder, target: FunctionRef, registers: number, ...more: number[]): Local => {
    const [linear, wide] = f.params as [Local, Local];
    const at = f.let(f.call(target, linear, select(wide, i32(28 + registers), i32(14 + registers)), ...more));
    f.if(at.eqz(), () => f.return(1));
    return at;
  };
  /** Visits ST(0) to ST(7) with the address of each. */
  const registers = (f: FunctionBuilder, at: Value, visit: (register: Local, place: Local) => void): void => {
    const place = f.local(I32, at.add(select(f.params[1] as Local, i32(28), i32(14))));
    const i = f.local(I32, 0);
    f.loop((next) => {
      visit(physical(f, i), place);
      f.set(place, place.add(10));
      f.set(i, i.add(1));
      f.brIf(next, i.ltU(8));
    });
  };
  return {
    x87_fnstenv: m.fn('x87_fnstenv', [I64, I32], [I32], (f) => {
      const at = open(f, x.env.writable, 0, 0);
      f.run(environment.write, at, f.params[1] as Local);
      f.run(x.env.commit);
      setField(f, S.fpuControl, field(f, S.fpuControl).or(0x3f));
      f.run(x.summarize);
      f.return(0);
    }),
    x87_fldenv: m.fn('x87_fldenv', [I64, I32], [I32], (f) => {
      f.run(environment.read, open(f, x.env.readable, 0), f.params[1] as Local);
      f.return(0);
    }),
    x87_fnsave: m.fn('x87_fnsave', [I64, I32], [I32], (f) => {
      const at = open(f, x.env.writable, 80, 0);
      f.run(environment.write, at, f.params[1] as Local);
      registers(f, at, (register, place) => {
        f.store('i64.store', place, loadM(f, register));
        f.store('i32.store16', place, loadE(f, register), 8);
      });
      f.run(x.env.commit);
      f.run(init);
      f.return(0);
    }),
    x87_frstor: m.fn('x87_frstor', [I64, I32], [I32], (f) => {
      const at = open(f, x.env.readable, 80);
      f.run(environment.read, at, f.params[1] as Local);
      registers(f, at, (register, place) => {
        storeRegister(f, register, f.load('i64.load', place), f.load('i32.load16_u', place, 8));
      });
      f.return(0);
    }),
  };
}
