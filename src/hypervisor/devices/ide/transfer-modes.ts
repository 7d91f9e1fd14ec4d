import { HIGHEST, type TransferModes } from './identify.ts';

/** After power-on: the fastest that every controller of this family has. */
export const POWER_ON_MODES: TransferModes = { multiword: HIGHEST.multiword, ultra: undefined };

/**
 * SET FEATURES 03h, ATA/ATAPI-6 § 8.46.11: the kind of mode is in bits 7:3 of
 * `value`, its number in bits 2:0.
 * @returns undefined for a mode that there is not
 */
export function selectMode(value: number, modes: TransferModes): TransferModes | undefined {
  const number = value & 7;
  switch (value >> 3) {
    case 0:
      return number <= 1 ? modes : undefined;
    case 1:
      return number <= HIGHEST.pio ? modes : undefined;
    case 4:
      return number <= HIGHEST.multiword ? { multiword: number, ultra: undefined } : undefined;
    case 8:
      return number <= HIGHEST.ultra ? { multiword: undefined, ultra: number } : undefined;
    default:
      return undefined;
  }
}
