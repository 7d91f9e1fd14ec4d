import type { Encoding, OpcodeTable } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { memoryForms, operandSizes } from './cases.ts';
import { differsByVendor, isVectorState, runsOnHost } from './coverage.ts';
import { type EncodingChoice, encode } from './encoder.ts';
import type { Random } from './random.ts';

/** Instructions whose result is fully defined and that stay where they may, in a row. */
const PLAIN =
  /^(add|or|adc|sbb|and|sub|xor|cmp|test|not|neg|inc|dec|mov|mov-immediate|movzx|movsx|movsxd|lea|xchg|bswap|cbw|cwd|xadd|cmpxchg|set[a-z]+|cmov[a-z]+|clc|stc|cmc|lahf|sahf|rol|ror|nop|popcnt|mulx|pdep|pext|rorx|s[ah][lr]x|ad[co]x|movbe)$/;

/** Vector instructions that address by a register of their own choice. */
const IMPLICIT = /^(v?maskmov(q|dqu)|clflush|prefetch)/;

/** Whether a row is there in a mode. */
export const inMode = (e: Encoding, mode: 32 | 64): boolean => e.mode !== (mode === 64 ? 'i64' : 'o64');

/** Integer rows that may stand anywhere in a program of a mode. */
export function plainEncodings(table: OpcodeTable, mode: 32 | 64): Encoding[] {
  return table.encodings.filter(
    (e) =>
      PLAIN.test(e.instruction.name) &&
      inMode(e, mode) &&
      !e.text.includes('O') &&
      e.prefix !== 'none' &&
      e.size64 === undefined &&
      !/^8[CE]|^82|^0F 0D/.test(e.text),
  );
}

/** MMX, SSE and AVX rows that may stand anywhere in a program of a mode. */
export function vectorEncodings(table: OpcodeTable, mode: 32 | 64): Encoding[] {
  return table.encodings.filter((e) => {
    const { name, unit } = e.instruction;
    const anywhere =
      unit !== undefined &&
      unit !== 'x87' &&
      !e.vsib &&
      runsOnHost(e) &&
      !differsByVendor(e, true) &&
      !isVectorState(name) &&
      !IMPLICIT.test(name);
    return anywhere && inMode(e, mode) && operandSizes(e, mode).length > 0 && memoryForms(e).length > 0;
  });
}

/** What a random program chooses for an instruction; the rest is as it is without prefixes. */
export type RandomChoice = Pick<EncodingChoice, 'mode' | 'opsize' | 'reg' | 'rm' | 'memory'> &
  Partial<Omit<EncodingChoice, 'immediates'>>;

/** Bytes of an instruction with random immediates. */
export function encodeRandom(rng: Random, e: Encoding, choice: RandomChoice): number[] {
  const immediates = e.immediates.map(() => rng.value());
  const none = { addressOverride: false, prefixes: [], rex: false };
  return [...encode(e, { ...none, ...choice, immediates }, 0).bytes];
}
