// Divisions, vectors and x87.
import { type Draft, MOST_ROUNDS, RDX, type Scope } from './draft.ts';

/** Divisions: of defined quotients, or by a number that comes to zero in the middle of a loop. */
export function division(draft: Draft, scope: Scope): void {
  const { rng, asm } = draft;
  const slot = draft.slot();
  const faults = rng.chance(0.12);
  const size = rng.pick(draft.mode === 64 ? [[], [0x48]] : [[]]);
  const signed = rng.chance(0.5);
  const divide = (s: Scope): void => {
    if (s.reserved.includes(RDX)) return;
    asm.emit(...size, ...(signed ? [0x99] : [0x31, 0xd2])); // cdq, or xor edx, edx
    draft.atData([...size, 0xf7], signed ? 7 : 6, slot);
    if (draft.native) draft.normalize();
  };
  draft.atData([...size, 0xc7], 0, slot);
  asm.emit32(faults ? rng.below(6) : rng.pick([1, 3, 7, 10, 0x7fff_ffff, 1000]));
  if (!faults || scope.rounds > MOST_ROUNDS / 8) return divide(scope);
  const rounds = draft.slot();
  draft.atData([0xc7], 0, rounds);
  asm.emit32(8);
  const again = asm.here();
  divide(scope);
  draft.plain(scope);
  draft.atData([...size, 0xff], 1, slot);
  draft.atData([0xff], 1, rounds);
  draft.jcc(5, again, true);
}

/** MMX, SSE and AVX instructions, mostly of those that compilers use. */
export function vectors(draft: Draft, scope: Scope): void {
  const scalar = draft.rng.chance(0.7);
  for (let n = draft.rng.below(4); n >= 0; n--) draft.asm.emit(...draft.pick.vector(scalar, scope.reserved));
}

/** x87 instructions that leave the stack as it was, mostly. */
export function x87s(draft: Draft): void {
  if (draft.rng.chance(0.5)) draft.asm.emit(...draft.pick.x87Numbers());
  for (let n = draft.rng.below(3); n >= 0; n--) draft.asm.emit(...draft.pick.x87());
  // Comparisons leave flags that the next chunk defines anew.
  if (draft.rng.chance(0.2) && !draft.native) draft.asm.emit(0xdf, 0xe0); // fnstsw ax
}
