// PUSH, POP and their kind.
import { type Draft, RAX, RCX, RDX, RSI, type Scope } from './draft.ts';

/** Pushes and pops that leave the stack as it was. */
export function stackTraffic(draft: Draft, scope: Scope): void {
  const { rng, asm } = draft;
  const low = (): number => rng.pick([RAX, RDX, RSI, RCX].filter((n) => !scope.reserved.includes(n)));
  switch (rng.below(9)) {
    case 0: {
      const n = 1 + rng.below(3);
      for (let k = 0; k < n; k++) asm.emit(0x50 + rng.below(8));
      draft.plain(scope);
      for (let k = 0; k < n; k++) asm.emit(0x58 + low());
      return;
    }
    case 1:
      asm.emit(0x66, 0x50 + low(), 0x66, 0x58 + low());
      return;
    case 2:
      pushFlags(draft, scope);
      return;
    case 3:
      asm.emit(0x54, 0x58 + low()); // push rsp; pop
      return;
    case 4:
      asm.emit(0x6a, rng.below(256), 0x8f, 0x43, rng.below(256)); // push imm8; pop [rbx+d]
      return;
    case 5:
      asm.emit(0xff, 0x73, rng.below(256), 0x58 + low()); // push [rbx+d]; pop
      return;
    case 6:
      if (draft.mode === 64)
        asm.emit(0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xc9); // a frame, and leave
      else asm.emit(0x54, 0x5c); // push esp; pop esp
      return;
    case 7:
      // mov [rsp-n], r; add r, [rsp-n]
      asm.emit(
        ...draft.wide,
        0x89,
        0x44,
        0x24,
        -8 & 0xff,
        ...draft.wide,
        0x03,
        0x54,
        0x24,
        (-8 - rng.below(4)) & 0xff,
      );
      return;
    default:
      asm.emit(...draft.wide, 0x8d, 0x64, 0x24, 0xf0, 0x68); // lea rsp, [rsp-16]; push imm32; lea rsp, [rsp+16+8]
      asm.emit32(rng.below(0x1_0000_0000) | 0);
      asm.emit(...draft.wide, 0x8d, 0x64, 0x24, 0x10 + draft.mode / 8);
  }
}

/** PUSHF, and its result to a register or back to the flags. */
export function pushFlags(draft: Draft, scope: Scope): void {
  const { rng } = draft;
  if (rng.chance(0.4)) {
    draft.asm.emit(0x9c); // pushf; ...; popf
    draft.plain(scope);
    draft.asm.emit(0x9d);
  } else {
    const n = draft.pick.free(scope.reserved);
    draft.asm.emit(0x9c, ...(n > 7 ? [0x41] : []), 0x58 + (n & 7));
  }
}
