import { DF } from '../../flags.ts';
import { CS, gpr, S, SEG, segment } from '../../layout.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64 } from '../../wasm/value.ts';
import type { Builder, Condition, Size, Val } from '../builder.ts';
import { type Instruction, instruction } from '../rows.ts';
import { maskAddress, setAddressRegister } from './move.ts';
import { CONDITION_NAMES, opcodeHex } from './names.ts';

function jumpOnCondition(cc: Condition): Instruction {
  return instruction(
    `j${CONDITION_NAMES[cc]}`,
    [`${opcodeHex(0x70 + cc)} Jb f64`, `0F ${opcodeHex(0x80 + cc)} Jz f64`],
    (b) => {
      b.if(b.condition(cc), () => b.jumpRelative(0));
    },
  );
}

/**
 * #GP(0) for a near target that is not canonical, or behind CS's limit: the
 * branch faults itself, so this comes before it changes anything.
 */
function checkTarget(b: Builder, to: Val): void {
  const outside = b.long
    ? to.shl(16n).shrS(16n).ne(to)
    : to.gtU(b.state('i64.load32_u', segment(CS) + SEG.limit));
  b.if(outside, () => b.raise(13, 0));
}

/** A near target from an operand of the operand size, checked. */
function target(b: Builder, value: Val): Val {
  const to = b.let(b.opsize === 64 ? value : value.extendU());
  checkTarget(b, to);
  return to;
}

/** Checks where a relative branch leads, for those that change something before they go. */
function checkRelative(b: Builder, next: Val): void {
  const to = next.add(b.immediate(0));
  checkTarget(b, b.let(b.long ? to : to.and(b.opsize === 16 ? 0xffffn : 0xffff_ffffn)));
}

function push(b: Builder, value: Val): void {
  b.push(b.opsize, b.opsize === 64 ? value : value.wrap());
}

/** LOOP and its conditional forms count in rCX at the address size. */
function loop(b: Builder, condition?: () => Val): void {
  const count = b.let(maskAddress(b, b.gpr(1, 64).sub(1n)));
  const again = condition ? b.let(count.ne(0n).and(condition())) : count.ne(0n);
  const taken = b.let(again);
  b.if(taken, () => checkRelative(b, b.nextRip()));
  setAddressRegister(b, 1, count);
  b.if(taken, () => b.jumpRelative(0));
}

/** ENTER: the frame pointers of the enclosing levels are copied before SP moves for good. */
function enter(b: Builder): void {
  const size = b.opsize;
  const bytes = size / 8;
  const level = b.let(b.immediate(1, I32).and(31));
  const allocate = b.let(b.immediate(0, I32).and(0xffff).extendU());
  const rbp = b.gpr(5, 64);
  const frame = b.let(b.gpr(4, 64).sub(BigInt(bytes)));
  const store = size === 64 ? 'i64.store' : size === 32 ? 'i32.store' : 'i32.store16';
  const load = size === 64 ? 'i64.load' : size === 32 ? 'i32.load' : 'i32.load16_u';
  const typed = (v: Val): Val => (size === 64 ? v : v.wrap());
  b.store(store, b.stack(-bytes, bytes, 'w'), typed(rbp));
  const depth = b.local(I64, i64(BigInt(-bytes)));
  b.if(level, () => {
    const n = b.local(I32, i32(1));
    b.block((done) => {
      b.loop((again) => {
        b.brIf(done, n.geU(level));
        const delta = n.extendU().mul(BigInt(-bytes));
        // Relative to SP, as every stack access: the frame chain hangs off rBP.
        const from = b.let(rbp.add(delta).sub(b.gpr(4, 64)));
        const value = b.load(load, b.stack(from, bytes, 'r'));
        b.set(depth, depth.sub(BigInt(bytes)));
        b.store(store, b.stack(depth, bytes, 'w'), value);
        b.set(n, n.add(1));
        b.br(again);
      });
    });
    b.set(depth, depth.sub(BigInt(bytes)));
    b.store(store, b.stack(depth, bytes, 'w'), typed(frame));
  });
  // The frame lies at SP - size, at the stack's width.
  b.adjustStack(-bytes);
  const settled = b.gpr(4, 64);
  b.setGpr(5, size, typed(settled));
  b.adjustStack(b.let(depth.add(BigInt(bytes)).sub(allocate)));
}

function popAll(b: Builder): void {
  const size = b.opsize as 16 | 32;
  const bytes = size / 8;
  const load = size === 32 ? 'i32.load' : 'i32.load16_u';
  const order = [7, 6, 5, -1, 3, 2, 1, 0];
  const values = order.map((_, i) => b.load(load, b.stack(i * bytes, bytes, 'r')));
  order.forEach((n, i) => {
    const value = values[i];
    if (n >= 0 && value) b.setGpr(n, size, value);
  });
  b.adjustStack(8 * bytes);
}

function pushAll(b: Builder): void {
  const size = b.opsize as 16 | 32;
  const bytes = size / 8;
  const store = size === 32 ? 'i32.store' : 'i32.store16';
  for (let n = 0; n < 8; n++) {
    b.store(store, b.stack(-(n + 1) * bytes, bytes, 'w'), b.gpr(n, size));
  }
  b.adjustStack(-8 * bytes);
}

export const flowInstructions: readonly Instruction[] = [
  ...Array.from({ length: 16 }, (_, cc) => jumpOnCondition(cc as Condition)),
  instruction('jmp', ['E9 Jz f64', 'EB Jb f64'], (b) => b.jumpRelative(0)),
  instruction('jmp-indirect', 'FF /4 Ev:r f64', (b) => b.jump(target(b, b.read(0)))),
  instruction('call', 'E8 Jz f64', (b) => {
    const next = b.nextRip();
    checkRelative(b, next);
    push(b, next);
    b.jumpRelative(0);
  }),
  instruction('call-indirect', 'FF /2 Ev:r f64', (b) => {
    const to = target(b, b.read(0));
    push(b, b.nextRip());
    b.jump(to);
  }),
  instruction('ret', 'C3 f64', (b) => {
    const to = target(b, b.top(b.opsize));
    b.adjustStack(b.opsize / 8);
    b.jump(to);
  }),
  instruction('ret-release', 'C2 Iw:r f64', (b) => {
    const to = target(b, b.top(b.opsize));
    b.adjustStack(
      b.let(
        b
          .immediate(0)
          .and(0xffffn)
          .add(BigInt(b.opsize / 8)),
      ),
    );
    b.jump(to);
  }),
  instruction('loop', 'E2 Jb f64', (b) => loop(b)),
  instruction('loope', 'E1 Jb f64', (b) => loop(b, () => b.condition(4))),
  instruction('loopne', 'E0 Jb f64', (b) => loop(b, () => b.condition(5))),
  instruction('jcxz', 'E3 Jb f64', (b) => b.if(maskAddress(b, b.gpr(1, 64)).eqz(), () => b.jumpRelative(0))),
  instruction('push', ['50+r Zv:r d64', 'FF /6 Ev:r d64'], (b) => b.push(b.opsize, b.read(0))),
  instruction('push-immediate', ['68 Iz:r d64', '6A Ib:r d64'], (b) =>
    b.push(b.opsize, b.immediate(0, b.opsize === 64 ? I64 : I32)),
  ),
  instruction('pop', '58+r Zv:w d64', (b) => {
    const value = b.top(b.opsize);
    b.adjustStack(b.opsize / 8);
    b.write(0, value);
  }),
  instruction('pop-memory', '8F /0 Ev:w d64', (b) => {
    const value = b.top(b.opsize);
    const bytes = b.opsize / 8;
    if (!b.isMemory(0)) {
      b.adjustStack(bytes);
      b.write(0, value);
      return;
    }
    // An address that is made with rSP sees it already raised (SDM vol. 2, POP).
    b.adjustStack(bytes);
    const offset = b.offset(0);
    b.adjustStack(-bytes);
    const store = b.opsize === 64 ? 'i64.store' : b.opsize === 32 ? 'i32.store' : 'i32.store16';
    b.store(store, b.segmented('record', offset, bytes, 'w'), value);
    b.adjustStack(bytes);
  }),
  instruction('pusha', '60 i64', pushAll),
  instruction('popa', '61 i64', popAll),
  instruction('enter', 'C8 Iw:r,Ib d64', enter),
  instruction('leave', 'C9 d64', (b) => {
    const delta = b.let(b.gpr(5, 64).sub(b.gpr(4, 64)));
    const load = b.opsize === 64 ? 'i64.load' : b.opsize === 32 ? 'i32.load' : 'i32.load16_u';
    const value = b.load(load, b.stack(delta, b.opsize / 8, 'r'));
    b.adjustStack(b.let(delta.add(BigInt(b.opsize / 8))));
    b.setGpr(5, b.opsize as Size, value);
  }),
  instruction('bound', '62 /r Gv:r,M i64', (b) => {
    const size = b.opsize as 16 | 32;
    const bytes = size / 8;
    const index = b.let(b.readSigned(0));
    const load = size === 32 ? 'i32.load' : 'i32.load16_s';
    const linear = b.linear(1, 2 * bytes, 'r');
    const low = b.load(load, linear);
    const high = b.load(load, linear.add(BigInt(bytes)));
    b.if(index.ltS(low).or(index.gtS(high)), () => b.raise(5));
  }),
  instruction(
    'nop',
    [
      '90',
      'F3 90',
      '0F 1F Ev:r',
      '0F 19 Ev:r',
      '0F 1A Ev:r',
      '0F 1B Ev:r',
      '0F 1C Ev:r',
      '0F 1D Ev:r',
      '0F 1E Ev:r',
      '0F 18 Ev:r',
      '0F 0D Ev:r',
    ],
    () => {},
  ),
  instruction('ud', ['0F 0B', '0F B9 /r Gv:r,Ev', '0F FF /r Gv:r,Ev'], (b) => b.raise(6)),
  instruction('clc', 'F8', (b) => b.setCf(i32(0))),
  instruction('stc', 'F9', (b) => b.setCf(i32(1))),
  instruction('cmc', 'F5', (b) => b.setCf(b.let(b.cf().xor(1)))),
  instruction('cld', 'FC', (b) => b.setState('i32.store', S.eflags, b.state('i32.load', S.eflags).and(~DF))),
  instruction('std', 'FD', (b) => b.setState('i32.store', S.eflags, b.state('i32.load', S.eflags).or(DF))),
  instruction('lahf', '9F', (b) => b.setState('i32.store8', gpr(0) + 1, b.rflags())),
  instruction('sahf', '9E', (b) => {
    const ah = b.state('i32.load8_u', gpr(0) + 1);
    b.setArithmeticFlags(b.let(ah.or(b.of().shl(11))));
  }),
];
