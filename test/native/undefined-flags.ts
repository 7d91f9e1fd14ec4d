import { AF, CF, OF, PF, SF, ZF } from '../../src/hypervisor/cpu/flags.ts';

const LETTERS: Readonly<Record<string, number>> = { O: OF, S: SF, Z: ZF, A: AF, P: PF, C: CF };

const lettersMask = (letters: string): number =>
  [...letters].reduce((mask, letter) => mask | (LETTERS[letter] ?? 0), 0);

/**
 * Flags whose value after an instruction is undefined, where that depends on
 * the count (SDM vol. 2, "Flags Affected" of SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR
 * and SHLD/SHRD). `count` is the masked count.
 */
function shiftMask(name: string, count: number, size: number): number {
  if (count === 0) return 0;
  const overflow = count === 1 ? 0 : OF;
  switch (name) {
    case 'shl':
    case 'shr':
      return AF | overflow | (count >= size ? CF : 0);
    case 'sar':
      return AF | overflow;
    case 'shld':
    case 'shrd':
      // A count beyond the size leaves all flags undefined, and the destination too.
      return count > size ? lettersMask('OSZAPC') : AF | overflow;
    default:
      return overflow;
  }
}

const SHIFTS = new Set(['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sar', 'shld', 'shrd']);

/** Mask of the arithmetic flags that a comparison leaves out. `count` is a shift's unmasked count, `size` its operand's bits. */
export function undefinedFlagsMask(
  name: string,
  letters: string | undefined,
  count: number,
  size: number,
): number {
  if (SHIFTS.has(name)) return shiftMask(name, count & (size === 64 ? 63 : 31), size);
  return lettersMask(letters ?? '');
}

/** Whether a shift's destination is undefined: SHLD and SHRD of 16 bits by more than 16. */
export function undefinedResult(name: string, count: number, size: number): boolean {
  return (name === 'shld' || name === 'shrd') && size === 16 && (count & 31) > 16;
}
