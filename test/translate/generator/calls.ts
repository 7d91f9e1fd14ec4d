// Functions, their calls, and ways back that no predictor expects.
import { D } from '../places.ts';
import { type Callee, type Draft, RAX, RCX, type Scope } from './draft.ts';

/** Offset in the data of the address that a function may go on at instead. */
const ALTERNATIVE = D.tables + 0x7f8;

/** A call of a function that there is, or of a new one: direct, indirect, or a jump with the way back pushed. */
export function call(draft: Draft, scope: Scope): void {
  const { rng, asm } = draft;
  if (draft.callees.length < 4 && scope.depth < 2 && rng.chance(0.35)) defineFunction(draft, scope);
  if (draft.callees.length === 0) return callPosition(draft, scope);
  const callee = rng.pick(draft.callees);
  if (callee.depth !== undefined) {
    draft.atData([0xc7], 0, callee.depth);
    asm.emit32(rng.below(scope.rounds > 20 ? 4 : 12));
  }
  const alternative = asm.label();
  if (callee.diverts) {
    draft.loadAddress(RAX, alternative);
    draft.atData([...draft.wide, 0x89], RAX, ALTERNATIVE);
    // The alternative's stack is the one of a call without arguments left.
  }
  pushArguments(draft, callee);
  const kind = rng.below(6);
  if (kind === 0) {
    draft.loadAddress(RAX, callee.label);
    asm.emit(0xff, 0xd0);
  } else if (kind === 1) {
    const table = draft.table([callee.label, callee.label]);
    draft.atData([0xff], 2, table);
  } else if (kind === 2) {
    // push the way back; jmp
    const back = asm.label();
    draft.loadAddress(RAX, back);
    asm.emit(0x50);
    asm.near(callee.label, 0xe9);
    asm.bind(back);
  } else asm.near(callee.label, 0xe8);
  if (callee.skips) skippable(draft);
  if (callee.diverts) draft.some(scope, 2);
  asm.bind(alternative);
}

/** A function, where it stands; what comes from above may run into it. */
export function defineFunction(draft: Draft, scope: Scope): void {
  const { rng, asm } = draft;
  const around = asm.label();
  if (scope.depth > 0 || rng.chance(0.5)) draft.jump(around, true);
  const callee: Callee = {
    label: asm.label(),
    releases: rng.chance(0.2) ? (draft.mode / 8) * (1 + rng.below(3)) : 0,
    skips: rng.chance(0.25),
    diverts: rng.chance(0.15),
    victim: asm.label(),
    depth: rng.chance(0.25) ? draft.slot() : undefined,
  };
  const inner: Scope = { rounds: 16, reserved: [...scope.reserved, RCX], depth: 2, inFunction: true };
  asm.bind(callee.label);
  const out = asm.label();
  if (callee.depth !== undefined) {
    draft.atData([0xff], 1, callee.depth);
    draft.jcc(8, out, true);
  }
  asm.emit(0xb8 + rng.pick([0, 2]));
  asm.bind(callee.victim);
  asm.emit32(rng.below(0x1_0000_0000) | 0);
  draft.chunk(inner);
  if (callee.depth !== undefined) {
    pushArguments(draft, callee);
    asm.near(callee.label, 0xe8);
    if (callee.skips) skippable(draft);
    draft.plain(inner);
  }
  asm.bind(out);
  comeBack(draft, callee);
  asm.bind(around);
  draft.callees.push(callee);
}

/** Three bytes that a call may come back behind. */
function skippable(draft: Draft): void {
  draft.asm.emit(
    ...draft.rng.pick([
      [0x83, 0xc0, 0x05],
      [0x83, 0xf2, 0x11],
      [0x0f, 0x1f, 0x00],
      [0x0f, 0xaf, 0xc2],
    ]),
  );
  if (draft.native) draft.asm.emit(0x85, 0xd2); // test edx, edx: IMUL's flags are half undefined
}

function pushArguments(draft: Draft, callee: Callee): void {
  for (let n = callee.releases; n > 0; n -= draft.mode / 8) draft.asm.emit(0x50 + draft.rng.pick([0, 2, 6]));
}

/** The way back: RET, or something that does not go where a predicted RET goes. */
function comeBack(draft: Draft, callee: Callee): void {
  const { rng, asm } = draft;
  const normal = asm.label();
  if (callee.skips) {
    draft.plain({ rounds: 1, reserved: [RCX], depth: 0, inFunction: true }, /^(test|cmp|add|xor)$/);
    draft.jcc(rng.below(16), normal, true);
    asm.emit(...draft.wide, 0x83, 0x04, 0x24, 3); // add [rsp], 3
  }
  if (callee.diverts) {
    draft.plain({ rounds: 1, reserved: [RCX], depth: 0, inFunction: true }, /^(test|cmp|add|xor)$/);
    draft.jcc(rng.below(16), normal, true);
    draft.atData([...draft.wide, 0x8b], RAX, ALTERNATIVE);
    asm.emit(...draft.wide, 0x89, 0x04, 0x24); // mov [rsp], rax
  }
  asm.bind(normal);
  if (callee.releases > 0) {
    asm.emit(0xc2, callee.releases, 0);
    return;
  }
  const kind = rng.below(8);
  if (kind === 0)
    asm.emit(0x58, 0xff, 0xe0); // pop rax; jmp rax
  else if (kind === 1)
    asm.emit(0x5a, 0x52, 0xc3); // pop rdx; push rdx; ret
  else if (kind === 2) asm.emit(0xf3, 0xc3);
  else if (kind === 3)
    asm.emit(0xff, 0x34, 0x24, 0xc2, draft.mode / 8, 0); // push [rsp]; ret 8
  else asm.emit(0xc3);
}

/** Calls of what lies behind them. */
function callPosition(draft: Draft, scope: Scope): void {
  const n = draft.pick.free(scope.reserved);
  draft.asm.emit(0xe8, 0, 0, 0, 0, ...(n > 7 ? [0x41] : []), 0x58 + (n & 7));
}
