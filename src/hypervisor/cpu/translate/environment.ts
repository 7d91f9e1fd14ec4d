import type { Val } from '../isa/builder.ts';
import type { Local } from '../wasm/function.ts';
import { Addresses } from './addresses.ts';
import type { Flags } from './flags.ts';
import { KnownNumbers } from './known-numbers.ts';
import type { X87Registers } from './x87-registers.ts';

/** Bytes of one page that lie one behind the other in linear memory too: offsets from a root (see Place), up to `to`. */
export interface Window {
  readonly root: number;
  readonly from: number;
  readonly to: number;
  readonly write: boolean;
  /** Where `from` lies. */
  readonly host: Local;
}

/**
 * How far a look at the TLB looks ahead: to what the region goes on to access on every way, to what its block does, or
 * not beyond its own access. The farther, the fewer looks, and the likelier one finds two pages.
 */
export const REACHES = ['region', 'block', 'access'] as const;
export type ReachOfLooks = (typeof REACHES)[number];

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
  /** While MXCSR is settled. */
  readonly numbers: KnownNumbers;
  /** The x87 register stack, once an instruction of the block has looked at it: shared by the arms of an `if`, which leave it alike. */
  x87: X87Registers | undefined;
  /** Units found to work, bits of S.unitTrap. */
  units: number;
  /** Instructions retired since the budget was last brought up to date. */
  retired: number;
  /** How the general registers hang together. */
  readonly addresses: Addresses;
  /** What of memory was found, and may be used without another look. */
  windows: readonly Window[];
  /** Nothing comes behind: control has left. */
  ended = false;

  /** Where nothing is known but addresses, or a copy. */
  constructor(from?: Environment, addresses?: Addresses) {
    this.gprs = from ? [...from.gprs] : new Array(16).fill(undefined);
    this.xmms = from ? [...from.xmms] : new Array(16).fill(undefined);
    this.dirtyGprs = from?.dirtyGprs ?? 0;
    this.dirtyXmms = from?.dirtyXmms ?? 0;
    this.flags = from?.flags ?? { kind: 'memory' };
    this.numbers = new KnownNumbers(from?.numbers);
    this.x87 = from?.x87;
    this.units = from?.units ?? 0;
    this.retired = from?.retired ?? 0;
    this.addresses = addresses ?? new Addresses(from?.addresses);
    this.windows = from?.windows ?? [];
  }
}
