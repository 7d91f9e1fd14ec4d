// Flags, and the branches that read them: conditional ones, and jumps to one of a few places.
import { ROLES } from '../instructions.ts';
import { DATA } from '../places.ts';
import { type Draft, RAX, RDX, RSI, type Scope } from './draft.ts';
import { pushFlags } from './stack.ts';

/** Something sets flags, something else changes some of them, and something reads them. */
export function flagChain(draft: Draft, scope: Scope): void {
  const { rng } = draft;
  draft.plain(scope, /^(add|sub|adc|sbb|cmp|test|and|or|xor|neg|inc|dec|xadd|cmpxchg)$/);
  for (let n = rng.below(3); n > 0; n--)
    draft.plain(scope, /^(inc|dec|rol|ror|stc|clc|cmc|lahf|sahf|mov|lea|movzx|not|ad[co]x)$/);
  for (let n = rng.below(3); n >= 0; n--) {
    if (rng.chance(0.15) && !draft.hot) pushFlags(draft, scope);
    else draft.plain(scope, /^(set[a-z]+|cmov[a-z]+|adc|sbb|lahf|cmc)$/);
  }
}

/** A conditional branch over a chunk, or to one of two. */
export function branch(draft: Draft, scope: Scope): void {
  const { rng } = draft;
  const inner: Scope = { ...scope, depth: scope.depth + 1 };
  const otherwise = draft.asm.label();
  const join = draft.asm.label();
  if (rng.chance(0.8)) draft.plain(scope, /^(add|sub|cmp|test|and|inc|dec|neg|xor|adc)$/);
  if (rng.chance(0.2)) draft.plain(scope, /^(inc|dec|rol|stc|mov|lea)$/);
  draft.jcc(rng.below(16), otherwise);
  draft.chunk(inner);
  if (rng.chance(0.5)) {
    draft.jump(join);
    draft.asm.bind(otherwise);
    draft.chunk(inner);
    draft.asm.bind(join);
  } else draft.asm.bind(otherwise);
  // Flags that came two ways.
  if (rng.chance(0.5)) draft.plain(scope, /^(set[a-z]+|cmov[a-z]+|adc|sbb)$/);
}

/** An indirect jump to one of a few places. */
export function indirectJump(draft: Draft, scope: Scope): void {
  const { rng, asm } = draft;
  const ways = rng.pick([2, 4]);
  const places = Array.from({ length: ways }, () => asm.label());
  const join = asm.label();
  const table = draft.table(places);
  const inner: Scope = { ...scope, depth: scope.depth + 1 };
  const { outer } = ROLES[draft.mode];
  const source = scope.reserved.includes(outer) ? outer : rng.pick([RAX, RDX, RSI]);
  asm.emit(...(source > 7 ? [0x44] : []), 0x89, 0xc0 | ((source & 7) << 3)); // mov eax, source
  asm.emit(0x83, 0xe0, ways - 1); // and eax, ways - 1
  const scaled = [0x04 | (draft.mode === 64 ? 0xc0 : 0x80) | 1];
  const kind = rng.below(3);
  const operand = (reg: number): void => {
    asm.emit((reg << 3) | 4, ...scaled);
    asm.emit32(DATA + table);
  };
  if (kind === 0) {
    asm.emit(0xff);
    operand(4);
  } else if (kind === 1) {
    asm.emit(...draft.wide, 0x8b); // mov rax, [table]; jmp rax
    operand(0);
    asm.emit(0xff, 0xe0);
  } else {
    asm.emit(0xff); // push [table]; ret
    operand(6);
    asm.emit(0xc3);
  }
  for (const place of places) {
    asm.bind(place);
    if (rng.chance(0.5)) draft.some(inner, 2);
    else draft.chunk({ ...inner, depth: inner.depth + 1 });
    if (rng.chance(0.7)) draft.jump(join, true);
  }
  asm.bind(join);
}
