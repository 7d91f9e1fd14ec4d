import type { Val } from '../isa/builder.ts';
import type { Flags } from './flags.ts';

/**
 * What a region's code knows at one place: values of registers that were read
 * already, and what the flags come from. Values are locals that do not change
 * any more, or constants; undefined is a register that is in its home only.
 */
export class Environment {
  readonly gprs: (Val | undefined)[];
  readonly xmms: (Val | undefined)[];
  /** Registers whose state block entry is out of date: bits by number. */
  dirtyGprs: number;
  dirtyXmms: number;
  flags: Flags;
  /** Units found to work, bits of S.unitTrap. */
  units: number;
  /** Instructions retired since the budget was last brought up to date. */
  retired: number;
  /** Nothing comes behind: control has left. */
  ended = false;

  constructor(from?: Environment) {
    this.gprs = from ? [...from.gprs] : new Array(16).fill(undefined);
    this.xmms = from ? [...from.xmms] : new Array(16).fill(undefined);
    this.dirtyGprs = from?.dirtyGprs ?? 0;
    this.dirtyXmms = from?.dirtyXmms ?? 0;
    this.flags = from?.flags ?? { kind: 'memory' };
    this.units = from?.units ?? 0;
    this.retired = from?.retired ?? 0;
  }
}
