// Code that writes code.
import type { Label } from '../assembler.ts';
import { ROLES } from '../instructions.ts';
import { call } from './calls.ts';
import { type Draft, RAX, RCX, RDX, RSI, type Scope } from './draft.ts';
import { decrement, insideLoop } from './loops.ts';

/** One of the ways to change code that comes soon. */
export function rewrite(draft: Draft, scope: Scope): void {
  const kinds = [
    () => rewriteImmediate(draft, scope),
    () => rewriteOpcode(draft, scope),
    () => rewriteCondition(draft, scope),
    () => rewriteByPush(draft, scope),
    () => rewriteByMove(draft, scope),
    () => rewriteFunction(draft, scope),
  ];
  draft.rng.pick(kinds)();
}

/** A loop that is hot before it writes to itself, now and then: next to what writes, or some granules on. */
export function hotRewrite(draft: Draft, scope: Scope): void {
  const { rng } = draft;
  const { outer } = ROLES[draft.mode];
  if (scope.reserved.includes(outer)) return rewrite(draft, scope);
  const rounds = 24 + rng.below(60);
  const inner = insideLoop(scope, rounds, outer);
  draft.moveImmediate(outer, rounds);
  const again = draft.asm.here();
  const over = draft.asm.label();
  const victim = draft.asm.label();
  // test outer, mask: zero in one round of 8, or of 16
  draft.asm.emit(...(outer > 7 ? [0x41] : []), 0xf7, 0xc0 + (outer & 7));
  draft.asm.emit32(rng.pick([7, 15]));
  draft.jcc(5, over, true);
  const kind = rng.below(3);
  if (kind === 0) rewrite(draft, { ...inner, rounds: 1 });
  else patch(draft, victim);
  draft.asm.bind(over);
  const filling = rng.pick([0, 3, 20, 45]);
  for (let n = 0; n < filling; n++) draft.plain(inner);
  if (rng.chance(0.3) && scope.depth < 2) call(draft, inner);
  if (kind === 0) rewrite(draft, { ...inner, rounds: 1 });
  withImmediate(draft, victim);
  draft.plain(inner);
  decrement(draft, outer);
  draft.jcc(5, again, true);
}

/** An operation on EAX or EDX with an immediate of 32 bits, the victim. */
function withImmediate(draft: Draft, victim: Label): void {
  const { rng, asm } = draft;
  asm.emit(...rng.pick([[0xb8], [0xba], [0x05], [0x2d], [0x35], [0x81, 0xf2]]));
  asm.bind(victim);
  asm.emit32(rng.below(0x1_0000_0000) | 0);
}

/** Writes one to eight bytes to a victim's immediate: by MOV, INC, ADD, XOR or XCHG. */
function patch(draft: Draft, victim: Label): void {
  const { rng } = draft;
  const which = rng.below(4);
  switch (rng.below(5)) {
    case 0:
      draft.atLabel([0xc6], 0, victim, which, 1);
      draft.asm.emit(rng.below(256));
      return;
    case 1:
      draft.atLabel([0xfe], 0, victim, which);
      return;
    case 2:
      draft.atLabel([0x81], 0, victim, 0, 4);
      draft.asm.emit32(rng.below(0x1_0000_0000) | 0);
      return;
    case 3:
      draft.atLabel([0x31], rng.pick([RAX, RDX]), victim, 0);
      return;
    default:
      draft.atLabel([0x66, 0x87], rng.pick([RAX, RDX]), victim, rng.below(3));
  }
}

/** Changes an immediate ahead, or behind for the next round. */
function rewriteImmediate(draft: Draft, scope: Scope): void {
  const victim = draft.asm.label();
  const before = draft.rng.chance(0.5);
  if (before) patch(draft, victim);
  if (draft.rng.chance(0.4)) draft.plain(scope);
  withImmediate(draft, victim);
  if (!before) {
    if (draft.rng.chance(0.4)) draft.plain(scope);
    patch(draft, victim);
  }
}

/** Turns an ADD into a SUB and back. */
function rewriteOpcode(draft: Draft, scope: Scope): void {
  const { rng } = draft;
  const victim = draft.asm.label();
  draft.atLabel([0x80], 6, victim, 0, 1); // xor byte [victim], 0x28: ADD and SUB in turn
  draft.asm.emit(0x28);
  if (rng.chance(0.5)) draft.plain(scope);
  draft.asm.bind(victim);
  draft.asm.emit(rng.pick([0x01, 0x29]), 0xc0 | (rng.pick([0, 2, 6]) << 3));
  if (rng.chance(0.5)) draft.plain(scope);
}

/** Turns a conditional branch into its opposite. */
function rewriteCondition(draft: Draft, scope: Scope): void {
  const { asm } = draft;
  const victim = asm.label();
  const out = asm.label();
  draft.atLabel([0x80], 6, victim, 0, 1);
  asm.emit(1);
  draft.plain(scope, /^(add|sub|cmp|test)$/);
  asm.bind(victim);
  const skipped = [...operation(draft), ...operation(draft)];
  asm.emit(0x70 + draft.rng.below(16), skipped.length);
  asm.emit(...skipped);
  asm.bind(out);
}

/** PUSH of code that is another one each time: an ADD and a SUB in turn. */
function rewriteByPush(draft: Draft, scope: Scope): void {
  const { rng, asm } = draft;
  const victim = asm.label();
  const kept = draft.slot();
  const pushed = draft.slot();
  const bytes = draft.mode / 8;
  const code = (): number[] => changingCode(draft, bytes / 2);
  draft.initial.push({ offset: pushed, bytes: Uint8Array.from(code()) });
  draft.atData([...draft.wide, 0x89], 4, kept); // mov [kept], rsp
  draft.atData([0x80], 6, pushed);
  asm.emit(0x28);
  if (draft.mode === 64) draft.atLabel([0x48, 0x8d], 4, victim, bytes);
  else {
    asm.emit(0xbc); // mov esp, victim + 4
    asm.absolute(victim, bytes);
  }
  draft.atData([0xff], 6, pushed);
  const behind = rng.chance(0.5);
  if (behind) draft.atData([...draft.wide, 0x8b], 4, kept);
  asm.bind(victim);
  asm.emit(...code());
  if (!behind) draft.atData([...draft.wide, 0x8b], 4, kept);
  if (rng.chance(0.3)) draft.plain(scope);
}

/** REP MOVS, or a vector, over code that comes soon. */
function rewriteByMove(draft: Draft, scope: Scope): void {
  const { rng, asm } = draft;
  if (scope.reserved.includes(RCX)) return rewriteOpcode(draft, scope);
  const victim = asm.label();
  const source = asm.label();
  const over = asm.label();
  const n = 2 + rng.below(6);
  const code = (): number[] => changingCode(draft, n);
  draft.jump(over, true);
  asm.bind(source);
  asm.emit(...code());
  asm.emit(...new Array<number>(16).fill(0x90));
  asm.bind(over);
  const { base2 } = ROLES[draft.mode];
  if (draft.mode === 32) asm.emit(0x50 + base2);
  draft.atLabel([0x80], 6, source, 0, 1);
  asm.emit(0x28);
  draft.loadAddress(RSI, source);
  draft.loadAddress(7, victim);
  draft.moveImmediate(RCX, n * 2);
  asm.emit(0xfc, 0xf3, 0xa4);
  if (draft.mode === 32) asm.emit(0x58 + base2);
  asm.bind(victim);
  asm.emit(...code());
}

/** Changes a function that may have run already. */
function rewriteFunction(draft: Draft, scope: Scope): void {
  if (draft.callees.length === 0) return rewriteImmediate(draft, scope);
  const { victim } = draft.rng.pick(draft.callees);
  patch(draft, victim);
  if (draft.rng.chance(0.6)) call(draft, scope);
}

/** Two bytes: an operation on EAX and EDX or ESI. */
function operation(draft: Draft): number[] {
  const { rng } = draft;
  return [
    rng.pick([0x01, 0x29, 0x31, 0x09, 0x21, 0x11, 0x19, 0x39, 0x89]),
    0xc0 | (rng.pick([0, 2, 6]) << 3) | rng.pick([0, 2]),
  ];
}

/** Operations of which the first becomes a SUB and an ADD in turn when 28h is XORed to it. */
function changingCode(draft: Draft, count: number): number[] {
  const first = [draft.rng.pick([0x01, 0x29]), 0xc0 | (draft.rng.pick([0, 2, 6]) << 3)];
  return [...first, ...Array.from({ length: count - 1 }, () => operation(draft)).flat()];
}
