import type { GuestMemory } from '../machine/memory.ts';
import type { BootState } from './boot-state.ts';
import { HIGH_RAM_START, protectedState } from './memory-map.ts';

/** Where a processor goes on after a sleep with its context lost. */
export type Waking =
  /** Real mode, at `segment`:`offset`. */
  | { readonly mode: 'real'; readonly segment: number; readonly offset: number }
  | { readonly mode: 'protected'; readonly state: BootState };

/** Fields of the FACS (ACPI 6.5, 5.2.10). */
const FACS = { signature: 0x5343_4146, vector: 12, wideVector: 24, version: 32 } as const;

/**
 * What firmware does last on the way out of S3 (ACPI 6.5, 16.3.2): looks up
 * where the guest wants to be woken. The 64-bit vector, when there is one,
 * counts before the 32-bit one; it is entered in flat 32-bit protected mode
 * without paging, which 5.2.10 asks of all firmware (the 64-bit environment is
 * optional, and the FACS does not offer it).
 *
 * @param facs its guest-physical address
 * @returns undefined when the guest left none that can be reached
 */
export function findWaking(memory: GuestMemory, facs: number): Waking | undefined {
  if (memory.readU32(facs) !== FACS.signature) return undefined;
  const wide = memory.readU8(facs + FACS.version) >= 1 ? memory.readU64(facs + FACS.wideVector) : 0n;
  if (wide !== 0n) {
    if (wide >= BigInt(memory.size)) return undefined;
    return { mode: 'protected', state: protectedState(memory, { rip: Number(wide) }) };
  }
  const vector = memory.readU32(facs + FACS.vector);
  if (vector === 0 || vector >= HIGH_RAM_START) return undefined;
  return { mode: 'real', segment: vector >>> 4, offset: vector & 15 };
}
