import type { CodeMode } from '../../decode/decoder.ts';

/**
 * How control leaves a region, or is away from it for an instruction:
 * `branch` to code outside that is known, `indirect` to what is known at run
 * time only, `budget` at the end of a slice, `interpreted` in front of an
 * instruction that the interpreter has to do, `moved` because the fetch TLB
 * does not have the page of the code that comes next where it was; `handler` is a call of the
 * interpreter's handler, `left` one that did not come back, and `rewritten`
 * one that may have overwritten what comes behind it.
 */
export type SiteKind =
  | 'branch'
  | 'indirect'
  | 'budget'
  | 'interpreted'
  | 'moved'
  | 'handler'
  | 'left'
  | 'rewritten';

/** A place where a region is left; offsets are from the page that it is entered in. */
export interface Site {
  readonly kind: SiteKind;
  /** Of the instruction. */
  readonly at: number;
  /** Of where control goes, when that is known. */
  readonly to?: number;
  readonly why?: string;
}

/** Instructions in a row. */
export interface BlockCode {
  /** Offset from the page that the region is entered in. */
  readonly at: number;
  /** Calls that the region followed to come here. */
  readonly depth: number;
  readonly instructions: number;
  readonly bytes: Uint8Array;
}

/** What a profile has to know of a region: plain data, it goes from thread to thread. */
export interface Anatomy {
  readonly name: string;
  readonly mode: CodeMode;
  /** Number of its first counter in its module: entries, instructions, then one for each site. */
  readonly counter: number;
  readonly sites: readonly Site[];
  readonly blocks: readonly BlockCode[];
}

/** Counters of a region in front of those of its sites. */
export const COUNTERS = { entries: 0, instructions: 1, sites: 2 } as const;
