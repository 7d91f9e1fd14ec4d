import { NOT_QUICK } from '../interpret/runtime/x87-quick.ts';
import { CS, S, SEG, segment } from '../layout.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { i32, i64 } from '../wasm/value.ts';
import type { Builder, Condition, Val } from './builder.ts';
import { type Instruction, type InstructionOptions, instruction } from './rows.ts';

/**
 * The x87 instructions (SDM vol. 1, chapter 8; opcodes: vol. 2, tables A-7 to
 * The arithmetic is in the wasm runtime (interpret/runtime/x87*.ts).
 *
 * Deviations: FERR#/IGNNE# are not there, so a pending exception raises #MF
 * whatever CR0.NE says; FDS stays zero (CPUID.(EAX=7,ECX=0):EBX[13] announces
 * that FCS and FDS need not be there; FCS is). Encodings that the SDM marks
 * reserved and processors treat as aliases are rows too.
 */

const X87: InstructionOptions = { unit: 'x87', cpuid: 'FPU' };
/** Rows that came later than the rest. */
const CMOV: InstructionOptions = { unit: 'x87', cpuid: 'CMOV' };
const SSE3: InstructionOptions = { unit: 'x87', cpuid: 'SSE3' };
const CR0_MP = 2,
  CR0_TS = 8;

/** The exception masks of the control word. */
const MASKS = 0x3f;

/** #MF when an unmasked exception is pending: every x87 instruction but the FN forms begins so. */
function wait(b: Builder): void {
  b.if(b.state('i32.load', S.fpuStatus).and(0x80).ne(0), () => b.raise(16));
}

/** The last-instruction pointers, behind everything that can fault before the operation itself. */
function pointers(b: Builder): void {
  b.setState('i64.store', S.fpuIp, b.thisRip());
  b.setState('i32.store', S.fpuCs, b.state('i32.load16_u', segment(CS) + SEG.selector));
  if (b.operandCount > 0 && b.isMemory(0)) b.setState('i64.store', S.fpuDp, b.offset(0));
}

/** Number of the ST(i) operand. */
const sti = (b: Builder): Val => b.registerAddress(0);

type Body = (b: Builder) => void;

/** A waiting, non-control row. */
function row(name: string, encodings: string | readonly string[], body: Body, options = X87): Instruction {
  return instruction(
    name,
    encodings,
    (b) => {
      wait(b);
      body(b);
    },
    options,
  );
}

/** A row without operands that calls one runtime function. */
const plain = (name: string, encoding: string, target: string, ...args: number[]): Instruction =>
  row(name, encoding, (b) => {
    pointers(b);
    b.run(target, ...args.map((a) => i32(a)));
  });

type MemoryForm = 'm32' | 'm64' | 'm80' | 'i16' | 'i32' | 'i64';

/** Loads a memory operand as the runtime's functions take it. */
function source(b: Builder, form: MemoryForm): Val[] {
  const bytes = { m32: 4, m64: 8, m80: 10, i16: 2, i32: 4, i64: 8 }[form];
  const linear = b.let(b.linear(0, bytes, 'r'));
  switch (form) {
    case 'm32':
      return [b.load('i32.load', linear)];
    case 'i16':
      return [b.load('i64.load16_s', linear)];
    case 'i32':
      return [b.load('i64.load32_s', linear)];
    case 'm80': {
      const significand = b.load('i64.load', linear);
      return [significand, b.load('i32.load16_u', b.further(linear, 8))];
    }
    default:
      return [b.load('i64.load', linear)];
  }
}

const memoryRow = (
  name: string,
  encoding: string,
  form: MemoryForm,
  target: string,
  ...args: number[]
): Instruction =>
  row(name, encoding, (b) => {
    const values = source(b, form);
    pointers(b);
    b.run(target, ...values, ...args.map((a) => i32(a)));
  });

/** Stores: `target(…args)` prepares the value; it is written unless an unmasked exception forbids it. */
function storeRow(
  name: string,
  encoding: string,
  bytes: 2 | 4 | 8 | 10,
  pops: 0 | 1,
  target: string,
  truncate?: 0 | 1,
): Instruction {
  const body: Body = (b) => {
    const linear = b.let(b.linear(0, bytes, 'w'));
    // Where an unmasked exception may forbid the store, the address faults first.
    b.if(b.state('i32.load', S.fpuControl).and(MASKS).ne(MASKS), () =>
      b.callFaulting('probeWrite', linear, i32(bytes)),
    );
    pointers(b);
    if (target === 'x87_fstp_m80') return storeExtended(b, linear);
    if (target === 'x87_fst_m32' || target === 'x87_fst_m64') return storeFloat(b, linear, target, pops);
    b.if(b.call(target, ...(truncate === undefined ? [] : [i32(truncate)])), () => {
      const value = b.call('x87_result');
      if (bytes === 10) writeExtended(b, linear, value);
      else b.store(bytes === 2 ? 'i64.store16' : bytes === 4 ? 'i64.store32' : 'i64.store', linear, value);
      b.run('x87_stored', i32(pops));
    });
  };
  return row(name, encoding, body, truncate === 1 ? SSE3 : X87);
}

/** Doubles and singles: most of them need no more than rounding to nearest, with every exception masked. */
function storeFloat(b: Builder, linear: Val, target: 'x87_fst_m32' | 'x87_fst_m64', pops: 0 | 1): void {
  const form = target === 'x87_fst_m32' ? 'm32' : 'm64';
  const value = b.local(I64, b.call(`x87_quick_${form}`));
  const quick = b.let(value.ne(NOT_QUICK));
  const ready = b.local(I32, i32(1));
  b.unlikely(quick.eqz(), () => {
    b.set(ready, b.call(target));
    b.set(value, b.call('x87_result'));
  });
  b.if(ready, () => {
    b.store(form === 'm32' ? 'i64.store32' : 'i64.store', linear, value);
    b.if(
      quick,
      () => b.run(`x87_quickStored_${form}`, i32(pops)),
      () => b.run('x87_stored', i32(pops)),
    );
  });
}

/** On one page the second write cannot fault when the first did not. */
const onOnePage = (linear: Val): Val => linear.wrap().and(4095).leU(4086);

/** A number as it is: nothing is rounded, so that it can only go wrong where it comes from and where it goes. */
function storeExtended(b: Builder, linear: Val): void {
  const odd = b.call('x87_holds').and(onOnePage(linear)).eqz();
  b.leaveIf(
    odd,
    () => {
      b.if(b.call('x87_fstp_m80'), () => {
        writeExtended(b, linear, b.call('x87_result'));
        b.run('x87_stored', i32(1));
      });
    },
    () => {
      b.store('i64.store', linear, b.call('x87_significand'));
      b.store('i32.store16', b.further(linear, 8), b.call('x87_exponent'));
      b.run('x87_quickStored_m80', i32(1));
    },
  );
}

function writeExtended(b: Builder, linear: Val, significand: Val): void {
  b.if(
    onOnePage(linear),
    () => {
      b.store('i64.store', linear, significand);
      b.store('i32.store16', b.further(linear, 8), b.call('x87_resultHigh'));
    },
    () => b.callFaulting('x87_write80', linear),
  );
}

/** `target(i, …args)`. */
const stackRow = (
  name: string,
  encodings: string | readonly string[],
  target: string,
  ...args: number[]
): Instruction =>
  row(name, encodings, (b) => {
    const i = sti(b);
    pointers(b);
    b.run(target, i, ...args.map((a) => i32(a)));
  });

/** ModRM.reg of the D8 row, and of ST(i) forms where the reversed ones change places. */
const ARITHMETIC = [
  ['fadd', 'add', 0, 0],
  ['fmul', 'mul', 1, 1],
  ['fsub', 'sub', 4, 5],
  ['fsubr', 'subr', 5, 4],
  ['fdiv', 'div', 6, 7],
  ['fdivr', 'divr', 7, 6],
] as const;

function arithmetic(): Instruction[] {
  return ARITHMETIC.flatMap(([name, operation, forward, backward]) => {
    const target = `x87_${operation}`;
    const integer = name.replace('f', 'fi');
    return [
      memoryRow(name, `D8 /${forward} mem Md:r`, 'm32', `${target}_m32`),
      memoryRow(name, `DC /${forward} mem Mq:r`, 'm64', `${target}_m64`),
      memoryRow(integer, `DA /${forward} mem Md:r`, 'i32', `${target}_int`),
      memoryRow(integer, `DE /${forward} mem Mw:r`, 'i16', `${target}_int`),
      row(name, `D8 /${forward} reg T:r`, (b) => {
        const i = sti(b);
        pointers(b);
        b.run(target, i32(0), i, i32(0));
      }),
      row(name, `DC /${backward} reg T:r`, (b) => {
        const i = sti(b);
        pointers(b);
        b.run(target, i, i32(0), i32(0));
      }),
      row(`${name}p`, `DE /${backward} reg T:r`, (b) => {
        const i = sti(b);
        pointers(b);
        b.run(target, i, i32(0), i32(1));
      }),
    ];
  });
}

function comparisons(): Instruction[] {
  const flags = (name: string, encoding: string, quiet: number, pops: number): Instruction =>
    row(
      name,
      encoding,
      (b) => {
        const i = sti(b);
        pointers(b);
        const c = b.let(b.call('x87_fcomi', i, i32(quiet), i32(pops)));
        // C0, C2 and C3 stand as CF, PF and ZF do, eight bits on; an unmasked exception leaves the flags alone.
        const rflags = b.local(I32, c.shrU(8).and(0x45));
        b.unlikely(c.ltS(0), () => b.set(rflags, b.rflags()));
        b.setArithmeticFlags(rflags);
      },
      CMOV,
    );
  const pair = (name: string, encoding: string, quiet: number): Instruction =>
    row(name, encoding, (b) => {
      pointers(b);
      b.run('x87_fcom', i32(1), i32(quiet), i32(2));
    });
  return [
    memoryRow('fcom', 'D8 /2 mem Md:r', 'm32', 'x87_fcom_m32', 0),
    memoryRow('fcomp', 'D8 /3 mem Md:r', 'm32', 'x87_fcom_m32', 1),
    memoryRow('fcom', 'DC /2 mem Mq:r', 'm64', 'x87_fcom_m64', 0),
    memoryRow('fcomp', 'DC /3 mem Mq:r', 'm64', 'x87_fcom_m64', 1),
    memoryRow('ficom', 'DA /2 mem Md:r', 'i32', 'x87_fcom_int', 0),
    memoryRow('ficomp', 'DA /3 mem Md:r', 'i32', 'x87_fcom_int', 1),
    memoryRow('ficom', 'DE /2 mem Mw:r', 'i16', 'x87_fcom_int', 0),
    memoryRow('ficomp', 'DE /3 mem Mw:r', 'i16', 'x87_fcom_int', 1),
    stackRow('fcom', ['D8 /2 reg T:r', 'DC /2 reg T:r'], 'x87_fcom', 0, 0),
    stackRow('fcomp', ['D8 /3 reg T:r', 'DC /3 reg T:r', 'DE /2 reg T:r'], 'x87_fcom', 0, 1),
    stackRow('fucom', 'DD /4 reg T:r', 'x87_fcom', 1, 0),
    stackRow('fucomp', 'DD /5 reg T:r', 'x87_fcom', 1, 1),
    pair('fcompp', 'DE D9', 0),
    pair('fucompp', 'DA E9', 1),
    flags('fcomi', 'DB /6 reg T:r', 0, 0),
    flags('fcomip', 'DF /6 reg T:r', 0, 1),
    flags('fucomi', 'DB /5 reg T:r', 1, 0),
    flags('fucomip', 'DF /5 reg T:r', 1, 1),
    plain('ftst', 'D9 E4', 'x87_ftst'),
    plain('fxam', 'D9 E5', 'x87_fxam'),
  ];
}

/** Significand, exponent, and which way rounding to nearest went (SDM vol. 1, 8.3.4). */
const CONSTANTS = [
  ['fld1', 'D9 E8', 0x8000_0000_0000_0000n, 0x3fff, 0],
  ['fldl2t', 'D9 E9', 0xd49a_784b_cd1b_8afen, 0x4000, -1],
  ['fldl2e', 'D9 EA', 0xb8aa_3b29_5c17_f0bcn, 0x3fff, 1],
  ['fldpi', 'D9 EB', 0xc90f_daa2_2168_c235n, 0x4000, 1],
  ['fldlg2', 'D9 EC', 0x9a20_9a84_fbcf_f799n, 0x3ffd, 1],
  ['fldln2', 'D9 ED', 0xb172_17f7_d1cf_79acn, 0x3ffe, 1],
  ['fldz', 'D9 EE', 0n, 0, 0],
] as const;

function moves(): Instruction[] {
  const fcmov = (name: string, encoding: string, condition: Condition): Instruction =>
    row(
      name,
      encoding,
      (b) => {
        const i = sti(b);
        pointers(b);
        b.run('x87_fcmov', i, b.let(b.condition(condition)));
      },
      CMOV,
    );
  return [
    memoryRow('fld', 'D9 /0 mem Md:r', 'm32', 'x87_fld_m32'),
    memoryRow('fld', 'DD /0 mem Mq:r', 'm64', 'x87_fld_m64'),
    memoryRow('fld', 'DB /5 mem M:r', 'm80', 'x87_fld_m80'),
    stackRow('fld', 'D9 /0 reg T:r', 'x87_fld'),
    memoryRow('fild', 'DF /0 mem Mw:r', 'i16', 'x87_fild'),
    memoryRow('fild', 'DB /0 mem Md:r', 'i32', 'x87_fild'),
    memoryRow('fild', 'DF /5 mem Mq:r', 'i64', 'x87_fild'),
    memoryRow('fbld', 'DF /4 mem M:r', 'm80', 'x87_fbld'),
    ...CONSTANTS.map(([name, encoding, significand, exponent, direction]) =>
      row(name, encoding, (b) => {
        pointers(b);
        b.run('x87_fld_constant', i64(BigInt.asIntN(64, significand)), i32(exponent), i32(direction));
      }),
    ),
    storeRow('fst', 'D9 /2 mem Md:w', 4, 0, 'x87_fst_m32'),
    storeRow('fstp', 'D9 /3 mem Md:w', 4, 1, 'x87_fst_m32'),
    storeRow('fst', 'DD /2 mem Mq:w', 8, 0, 'x87_fst_m64'),
    storeRow('fstp', 'DD /3 mem Mq:w', 8, 1, 'x87_fst_m64'),
    storeRow('fstp', 'DB /7 mem M:w', 10, 1, 'x87_fstp_m80'),
    stackRow('fst', 'DD /2 reg T:w', 'x87_fst', 0),
    stackRow('fstp', ['DD /3 reg T:w', 'DF /2 reg T:w', 'DF /3 reg T:w'], 'x87_fst', 1),
    stackRow('fstpnce', 'D9 /3 reg T:w', 'x87_fstpnce'),
    storeRow('fist', 'DF /2 mem Mw:w', 2, 0, 'x87_fist_m16', 0),
    storeRow('fistp', 'DF /3 mem Mw:w', 2, 1, 'x87_fist_m16', 0),
    storeRow('fist', 'DB /2 mem Md:w', 4, 0, 'x87_fist_m32', 0),
    storeRow('fistp', 'DB /3 mem Md:w', 4, 1, 'x87_fist_m32', 0),
    storeRow('fistp', 'DF /7 mem Mq:w', 8, 1, 'x87_fist_m64', 0),
    storeRow('fisttp', 'DF /1 mem Mw:w', 2, 1, 'x87_fist_m16', 1),
    storeRow('fisttp', 'DB /1 mem Md:w', 4, 1, 'x87_fist_m32', 1),
    storeRow('fisttp', 'DD /1 mem Mq:w', 8, 1, 'x87_fist_m64', 1),
    storeRow('fbstp', 'DF /6 mem M:w', 10, 1, 'x87_fbstp'),
    stackRow('fxch', ['D9 /1 reg T:rw', 'DD /1 reg T:rw', 'DF /1 reg T:rw'], 'x87_fxch'),
    fcmov('fcmovb', 'DA /0 reg T:r', 2),
    fcmov('fcmove', 'DA /1 reg T:r', 4),
    fcmov('fcmovbe', 'DA /2 reg T:r', 6),
    fcmov('fcmovu', 'DA /3 reg T:r', 10),
    fcmov('fcmovnb', 'DB /0 reg T:r', 3),
    fcmov('fcmovne', 'DB /1 reg T:r', 5),
    fcmov('fcmovnbe', 'DB /2 reg T:r', 7),
    fcmov('fcmovnu', 'DB /3 reg T:r', 11),
    plain('fdecstp', 'D9 F6', 'x87_rotate', 7),
    plain('fincstp', 'D9 F7', 'x87_rotate', 1),
    stackRow('ffree', 'DD /0 reg T:w', 'x87_ffree', 0),
    stackRow('ffreep', 'DF /0 reg T:w', 'x87_ffree', 1),
    row('fnop', 'D9 D0', pointers),
  ];
}

/** Instructions on ST(0), or ST(0) and ST(1), without operands. */
const FUNCTIONS = [
  ['fchs', 'D9 E0'],
  ['fabs', 'D9 E1'],
  ['f2xm1', 'D9 F0'],
  ['fyl2x', 'D9 F1'],
  ['fptan', 'D9 F2'],
  ['fpatan', 'D9 F3'],
  ['fxtract', 'D9 F4'],
  ['fprem1', 'D9 F5'],
  ['fprem', 'D9 F8'],
  ['fyl2xp1', 'D9 F9'],
  ['fsqrt', 'D9 FA'],
  ['fsincos', 'D9 FB'],
  ['frndint', 'D9 FC'],
  ['fscale', 'D9 FD'],
  ['fsin', 'D9 FE'],
  ['fcos', 'D9 FF'],
] as const;

/** Control instructions: they leave the last-instruction pointers alone; the FN forms do not wait. */
function control(): Instruction[] {
  const quiet = (name: string, encodings: string | readonly string[], body: Body): Instruction =>
    instruction(name, encodings, body, X87);
  const image = (b: Builder, target: string, registers: number, access: 'r' | 'w'): void => {
    const wide = b.opsize === 16 ? 0 : 1;
    const linear = b.let(b.linear(0, (wide ? 28 : 14) + registers, access));
    b.callFaulting(target, linear, i32(wide));
  };
  return [
    instruction('fwait', '9B', (b) => {
      const cr0 = b.state('i32.load', S.cr0);
      b.if(cr0.and(CR0_MP | CR0_TS).eq(CR0_MP | CR0_TS), () => b.raise(7));
      wait(b);
    }),
    quiet('fninit', 'DB E3', (b) => b.run('x87_fninit')),
    quiet('fnclex', 'DB E2', (b) => b.run('x87_fnclex')),
    quiet('feni', ['DB E0', 'DB E1', 'DB E4'], () => undefined),
    quiet('fnstsw', 'DF E0', (b) => b.setGpr(0, 16, b.let(b.call('x87_statusWord')))),
    quiet('fnstsw', 'DD /7 mem Mw:w', (b) => b.write(0, b.let(b.call('x87_statusWord')))),
    quiet('fnstcw', 'D9 /7 mem Mw:w', (b) => b.write(0, b.state('i32.load', S.fpuControl))),
    row('fldcw', 'D9 /5 mem Mw:r', (b) => b.run('x87_fldcw', b.read(0))),
    quiet('fnstenv', 'D9 /6 mem M:w', (b) => image(b, 'x87_fnstenv', 0, 'w')),
    row('fldenv', 'D9 /4 mem M:r', (b) => image(b, 'x87_fldenv', 0, 'r')),
    quiet('fnsave', 'DD /6 mem M:w', (b) => image(b, 'x87_fnsave', 80, 'w')),
    row('frstor', 'DD /4 mem M:r', (b) => image(b, 'x87_frstor', 80, 'r')),
  ];
}

/** All x87 rows. */
export const X87_INSTRUCTIONS: readonly Instruction[] = [
  ...arithmetic(),
  ...comparisons(),
  ...moves(),
  ...FUNCTIONS.map(([name, encoding]) => plain(name, encoding, `x87_${name === 'fsqrt' ? 'sqrt' : name}`)),
  ...control(),
];
