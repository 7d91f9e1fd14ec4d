import { type Instruction, instruction } from '../rows.ts';
import { bothHalves, type HalvesOptions } from './halves.ts';

export const AVX = { cpuid: 'AVX', unit: 'avx' } as const;
export const AVX2 = { cpuid: 'AVX2', unit: 'avx' } as const;

/** An AVX instruction of one length. */
export const avx = (name: string, encoding: string, semantics: Instruction['semantics']): Instruction =>
  instruction(name, encoding, semantics, AVX);
export const avx2 = (name: string, encoding: string, semantics: Instruction['semantics']): Instruction =>
  instruction(name, encoding, semantics, AVX2);

/**
 * An instruction of 128 and of 256 bits. In `encoding` the length is `*`, and
 * so is the width of operands that are as long: 'VEX.*.66.0F38.W0 0C V*:w,H*,W*'.
 */
export const ofLength = (encoding: string, bits: 128 | 256): string =>
  encoding.replace('VEX.*', `VEX.${bits}`).replaceAll('*', bits === 128 ? 'u' : 'qq');

/** The same semantics in 128 bits, and in both halves of 256. `features`: CPUID features of the two. */
export function ofBothLengths(
  name: string,
  encoding: string,
  semantics: Instruction['semantics'],
  features: readonly ['AVX' | 'AVX2' | 'FMA' | 'F16C', 'AVX' | 'AVX2' | 'FMA' | 'F16C'],
  options: HalvesOptions = {},
): Instruction[] {
  const [narrow, wide] = features;
  return [
    instruction(name, ofLength(encoding, 128), semantics, { cpuid: narrow, unit: 'avx' }),
    instruction(name, ofLength(encoding, 256), bothHalves(semantics, { placing: 'same', ...options }), {
      cpuid: wide,
      unit: 'avx',
    }),
  ];
}
