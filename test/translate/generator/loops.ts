// Counted loops: in registers, in memory, by LOOP, and one that stays hot.
import { ROLES } from '../instructions.ts';
import { flagChain } from './branches.ts';
import { type Draft, MOST_ROUNDS, RCX, type Scope } from './draft.ts';

/** A counted loop, of several shapes. */
export function loop(draft: Draft, scope: Scope): void {
  const { rng } = draft;
  const most = Math.max(2, Math.floor(MOST_ROUNDS / scope.rounds));
  const count = 1 + rng.below(rng.chance(0.4) ? Math.min(most, 40) : Math.min(most, 9));
  const { outer, inner } = ROLES[draft.mode];
  const kinds: (() => void)[] = [() => memoryLoop(draft, scope, count)];
  if (!scope.inFunction) {
    for (const counter of [outer, inner])
      if (counter !== undefined && !scope.reserved.includes(counter))
        kinds.push(
          () => registerLoop(draft, scope, counter, count),
          () => testedLoop(draft, scope, counter, count),
        );
    if (!scope.reserved.includes(RCX)) kinds.push(() => loopInstruction(draft, scope, count));
  }
  rng.pick(kinds)();
}

/** What holds in a loop's body, whose registers are `reserved`. */
export function insideLoop(scope: Scope, count: number, ...reserved: number[]): Scope {
  return {
    ...scope,
    rounds: scope.rounds * count,
    depth: scope.depth + 1,
    reserved: [...scope.reserved, ...reserved],
  };
}

function loopBody(draft: Draft, scope: Scope): void {
  draft.chunk(scope);
  if (draft.rng.chance(0.6)) draft.chunk(scope);
}

/** Counts a register down and sets ZF. */
export function decrement(draft: Draft, register: number): void {
  const wide = draft.mode === 64 && draft.rng.chance(0.5);
  const rex = (register > 7 ? 0x41 : 0) | (wide ? 0x48 : 0);
  // dec, sub 1 or add -1
  draft.asm.emit(
    ...(rex ? [rex] : []),
    ...draft.rng.pick([
      [0xff, 0xc8 + (register & 7)],
      [0x83, 0xe8 + (register & 7), 1],
      [0x83, 0xc0 + (register & 7), 0xff],
    ]),
  );
}

function registerLoop(draft: Draft, scope: Scope, counter: number, count: number): void {
  const inner = insideLoop(scope, count, counter);
  draft.moveImmediate(counter, count);
  const again = draft.asm.here();
  loopBody(draft, inner);
  if (draft.rng.chance(0.15)) {
    // Out of the middle.
    const out = draft.asm.label();
    draft.jcc(draft.rng.below(16), out);
    draft.plain(inner);
    decrement(draft, counter);
    draft.jcc(5, again, true);
    draft.asm.bind(out);
    return;
  }
  decrement(draft, counter);
  draft.jcc(draft.rng.pick([5, 5, 15]), again, true);
}

/** Entered at the test, in the middle. */
function testedLoop(draft: Draft, scope: Scope, counter: number, count: number): void {
  const inner = insideLoop(scope, count, counter);
  draft.moveImmediate(counter, count + 1);
  const test = draft.asm.label();
  draft.jump(test);
  const again = draft.asm.here();
  loopBody(draft, inner);
  draft.asm.bind(test);
  if (draft.rng.chance(0.3)) draft.plain(inner);
  decrement(draft, counter);
  draft.jcc(5, again, true);
}

/** Counted in memory. */
function memoryLoop(draft: Draft, scope: Scope, count: number): void {
  const slot = draft.slot();
  draft.atData([0xc7], 0, slot);
  draft.asm.emit32(count);
  const again = draft.asm.here();
  loopBody(draft, insideLoop(scope, count));
  if (draft.rng.chance(0.5)) draft.atData([0xff], 1, slot);
  else {
    draft.atData([0x83], 5, slot);
    draft.asm.emit(1);
  }
  draft.jcc(5, again, true);
}

/** LOOP, whose branch is short, with JECXZ in front now and then. */
function loopInstruction(draft: Draft, scope: Scope, count: number): void {
  const { rng, asm } = draft;
  const inner = insideLoop(scope, count, RCX);
  draft.moveImmediate(RCX, count);
  const out = asm.label();
  const again = asm.here();
  if (draft.short && rng.chance(0.3)) asm.short(0xe3, out);
  loopBody(draft, inner);
  const opcode = rng.pick([0xe2, 0xe2, 0xe1, 0xe0]);
  if (draft.short && rng.chance(0.6)) asm.short(opcode, again);
  else {
    const back = asm.label();
    const done = asm.label();
    asm.short(opcode, back);
    asm.short(0xeb, done);
    asm.bind(back);
    asm.near(again, 0xe9);
    asm.bind(done);
  }
  asm.bind(out);
}

/** One loop that stays hot: for measuring how much of it runs in regions. */
export function hotLoop(draft: Draft, rounds: number): void {
  const { outer } = ROLES[draft.mode];
  const scope: Scope = { rounds: MOST_ROUNDS, reserved: [outer, RCX], depth: 2, inFunction: false };
  draft.moveImmediate(outer, rounds);
  const again = draft.asm.here();
  for (let n = 1 + draft.rng.below(3); n >= 0; n--)
    draft.rng.pick([
      () => hotBranch(draft, scope),
      () => flagChain(draft, scope),
      () => hotCall(draft, scope),
      () => draft.some(scope, 6),
    ])();
  decrement(draft, outer);
  draft.jcc(5, again, true);
}

/** A branch that a region may hold. */
function hotBranch(draft: Draft, scope: Scope): void {
  const out = draft.asm.label();
  draft.plain(scope, /^(add|sub|cmp|test|and|inc|dec|xor)$/);
  draft.jcc(draft.rng.below(16), out);
  flagChain(draft, scope);
  draft.asm.bind(out);
}

/** A call that a region may hold. */
function hotCall(draft: Draft, scope: Scope): void {
  const callee = draft.asm.label();
  const over = draft.asm.label();
  draft.jump(over, true);
  draft.asm.bind(callee);
  flagChain(draft, scope);
  draft.asm.emit(0xc3);
  draft.asm.bind(over);
  draft.asm.near(callee, 0xe8);
}
