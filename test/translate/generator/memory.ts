// Accesses of memory that go on and on, fault, meet code, or are a device's.
import type { MemoryChoice } from '../../native/encoder.ts';
import { ROLES } from '../instructions.ts';
import { D, DATA, DEVICE } from '../places.ts';
import { type Draft, MOST_ROUNDS, PAGE, RAX, RCX, RDX, RSI, type Scope } from './draft.ts';

/** A string instruction, perhaps repeated, backwards, or into the hole. */
export function stringInstruction(draft: Draft, scope: Scope): void {
  const { rng, asm } = draft;
  const counted = !scope.reserved.includes(RCX);
  const backwards = rng.chance(0.25);
  const faults = rng.chance(0.06) && counted;
  const count = rng.chance(0.3) ? rng.below(scope.rounds > 10 ? 40 : 400) : rng.below(10);
  const from = D.numbers + 0x800 + rng.below(0x800);
  const to = faults
    ? D.hole - rng.below(64)
    : rng.chance(0.4)
      ? from + rng.below(64) - 32
      : D.numbers + 0x800 + rng.below(0x1000);
  const { base2 } = ROLES[draft.mode];
  if (draft.mode === 32) asm.emit(0x50 + base2);
  draft.moveImmediate(RSI, DATA + from);
  draft.moveImmediate(7, DATA + to);
  if (counted) draft.moveImmediate(RCX, count);
  asm.emit(backwards && !faults ? 0xfd : 0xfc);
  const size = rng.pick(draft.mode === 64 ? [[], [0x66], [0x48]] : [[], [0x66]]);
  const repeat = counted ? rng.pick([[], [0xf2], [0xf3], [0xf3]]) : [];
  const opcode = rng.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]);
  asm.emit(...(size[0] === 0x48 ? [...repeat, ...size] : [...size, ...repeat]), opcode, 0xfc);
  if (draft.mode === 32) asm.emit(0x58 + base2);
}

/** Accesses that go on and on, perhaps into the hole or to what is only to be read. */
export function walk(draft: Draft, scope: Scope): void {
  const { rng, asm } = draft;
  const stride = rng.pick([1, 2, 4, 4, 8, 8, 16, 3, -8]);
  const rounds = Math.min(4 + rng.below(20), Math.max(4, Math.floor(MOST_ROUNDS / scope.rounds)));
  const faults = rng.chance(0.12);
  const border = rng.pick([D.hole, D.readOnly, D.numbers + PAGE, D.behindHole + 0xff0, 0]);
  const reach = faults ? Math.floor(rounds / 2) : rounds + 2;
  const first =
    border === 0 || (!faults && stride < 0)
      ? D.numbers + 0x900
      : border - stride * reach + rng.below(8) * (faults ? 1 : -1);
  const safe = border === D.numbers + PAGE ? D.numbers + PAGE - stride * 3 - rng.below(8) : first;
  const slot = draft.slot();
  draft.moveImmediate(RSI, DATA + Math.max(D.numbers + 0x200, safe));
  draft.atData([0xc7], 0, slot);
  asm.emit32(rounds);
  const again = asm.here();
  const inner: Scope = { ...scope, rounds: scope.rounds * rounds, reserved: [...scope.reserved, RSI] };
  const memory = {
    base: RSI,
    index: undefined,
    scale: 0,
    displacement: 0,
    displacementBytes: 1,
    ripRelative: false,
  } as const;
  for (let n = rng.below(2); n >= 0; n--) {
    const names = rng.chance(0.5) ? /^(mov|add|xor|sub|cmp|movzx|movsx|adc)$/ : undefined;
    asm.emit(...draft.pick.plain({ reserved: inner.reserved, memory, ...(names ? { names } : {}) }));
    if (rng.chance(0.4)) draft.plain(inner);
  }
  asm.emit(...draft.wide, 0x83, 0xc6, stride & 0xff); // add rsi, stride
  if (rng.chance(0.3)) draft.plain(inner, /^(set[a-z]+|mov|lea|adc)$/);
  draft.atData([0xff], 1, slot);
  draft.jcc(5, again, true);
}

/** Numbers between the code, in the same granule as it or another one. */
export function dataInCode(draft: Draft, scope: Scope): void {
  const { rng, asm } = draft;
  const island = asm.label();
  const over = asm.label();
  draft.jump(over, true);
  asm.emit(...new Array<number>(rng.pick([0, 1, 70])).fill(0xcc));
  asm.bind(island);
  asm.emit(...Array.from({ length: 16 }, () => rng.below(256)));
  asm.emit(...new Array<number>(rng.pick([0, 1, 70])).fill(0xcc));
  asm.bind(over);
  for (let n = rng.below(3); n >= 0; n--) {
    const delta = rng.below(8);
    const reg = rng.pick([RAX, RDX, RSI].filter((r) => !scope.reserved.includes(r)));
    switch (rng.below(4)) {
      case 0:
        draft.atLabel([0xff], 0, island, delta); // inc dword
        break;
      case 1:
        draft.atLabel([...draft.wide, 0x01], reg, island, delta);
        break;
      case 2:
        draft.atLabel([...draft.wide, 0x8b], reg, island, delta);
        break;
      default:
        draft.atLabel([0x88], 0, island, delta);
    }
  }
}

/** Accesses of a device, by an instruction, a vector's or a string's. */
export function device(draft: Draft, scope: Scope): void {
  const { rng } = draft;
  const at = (): MemoryChoice => ({
    base: undefined,
    index: undefined,
    scale: 0,
    displacement: DEVICE + rng.below(0x40),
    displacementBytes: 4,
    ripRelative: false,
  });
  for (let n = rng.below(3); n >= 0; n--)
    draft.asm.emit(
      ...draft.pick.plain({
        reserved: scope.reserved,
        memory: at(),
        names: /^(mov|add|cmp|xor|inc|movzx|xchg|adc)$/,
      }),
    );
  if (rng.chance(0.3)) draft.atData([0xdd], rng.pick([0, 3]), DEVICE - DATA + rng.below(16)); // fld, fstp
  if (rng.chance(0.3))
    draft.atData([0x0f, rng.pick([0x10, 0x11])], rng.below(8), DEVICE - DATA + 16 * rng.below(4)); // movups
  if (rng.chance(0.2) && draft.mode === 64 && !scope.reserved.includes(RCX)) {
    draft.moveImmediate(RSI, DATA + D.numbers + 0x800);
    draft.moveImmediate(7, DEVICE + rng.below(8));
    draft.moveImmediate(RCX, rng.below(7));
    draft.asm.emit(0xfc, 0xf3, rng.pick([0xa4, 0xa5, 0xaa, 0xab, 0xae]));
  }
}

/** Through FS or GS. */
export function segmented(draft: Draft, scope: Scope): void {
  const memory = {
    base: undefined,
    index: undefined,
    scale: 0,
    displacement: draft.rng.below(0x700),
    displacementBytes: 4,
    ripRelative: false,
  } as const;
  draft.asm.emit(
    ...draft.pick.plain({
      reserved: scope.reserved,
      memory,
      names: /^(mov|add|cmp|xor|inc)$/,
      prefixes: [0x65],
    }),
  );
}
