import { createHash } from 'node:crypto';
import type { CodeMode } from '../../decode/decoder.ts';
import type { MadeRegion } from '../maker.ts';
import { type Anatomy, COUNTERS } from './anatomy.ts';

/** A region that a translator has put in place, while a profile is taken. */
export interface ProfiledRegion {
  readonly made: MadeRegion;
  readonly anatomy: Anatomy;
  /** Its module, and its number there. */
  readonly wasm: Uint8Array;
  readonly ordinal: number;
  /** Reads a counter of the module's. */
  readonly read: (counter: number) => bigint;
  /** Taken back: a run of it that is under way is its last. */
  dropped: boolean;
}

/** Where a slice ended that no region begins at. */
export interface InterpretedPlace {
  readonly linear: bigint;
  readonly mode: CodeMode;
  readonly cpl: number;
  /** Why no region begins there. */
  readonly why: string;
  /** The bytes there, as far as they can be had. */
  readonly code: () => Uint8Array;
}

export interface HotRegion extends Pick<ProfiledRegion, 'made' | 'anatomy' | 'wasm' | 'ordinal'> {
  /** Slices that ended there, and the instructions of those slices. */
  readonly samples: number;
  readonly weight: number;
  readonly privileges: readonly number[];
  readonly entries: number;
  readonly instructions: number;
  /** How often each of the anatomy's sites was come by. */
  readonly counts: readonly number[];
  /** How often the same region was put in place. */
  readonly times: number;
}

export interface HotPlace extends Pick<InterpretedPlace, 'linear' | 'mode'> {
  readonly samples: number;
  readonly weight: number;
  readonly privileges: readonly number[];
  readonly code: Uint8Array;
  /** Why no region began there, and the instructions of the slices for which it was so. */
  readonly reasons: ReadonlyMap<string, number>;
}

interface Weighed {
  samples: number;
  weight: number;
  readonly privileges: Set<number>;
}

interface RegionEntry extends Weighed {
  readonly region: ProfiledRegion;
  /** Counters of those that are gone, by number from the region's first. */
  readonly counts: number[];
  readonly live: Set<ProfiledRegion>;
  times: number;
}

interface PlaceEntry extends Weighed {
  readonly place: InterpretedPlace;
  readonly code: Uint8Array;
  readonly reasons: Map<string, number>;
}

/** Places without a region that are told apart: what comes beyond is counted only in all. And regions, beyond which the least of those that are gone are forgotten. */
const MOST = 0x8000;

/**
 * Collects what a profile of translated code is made of, over one machine or
 * several in a row: translators that are given one tell it where slices end,
 * and have their regions count by place. `formatProfile` writes it down.
 */
export class TranslationProfile {
  readonly #regions = new Map<string, RegionEntry>();
  readonly #entries = new WeakMap<ProfiledRegion, RegionEntry>();
  readonly #places = new Map<string, PlaceEntry>();
  readonly #totals = { regions: 0, places: 0 };

  /** Instructions of the slices that ended in regions, and elsewhere. */
  get weights(): { readonly regions: number; readonly places: number } {
    return this.#totals;
  }

  /** A slice of so many instructions ended at a region. */
  inRegion(region: ProfiledRegion, instructions: number, cpl: number): void {
    this.#totals.regions += instructions;
    const entry = this.#entries.get(region);
    if (entry) weigh(entry, instructions, cpl);
  }

  /** A slice of so many instructions ended elsewhere. */
  interpreted(place: InterpretedPlace, instructions: number): void {
    this.#totals.places += instructions;
    const { linear, mode, cpl, why } = place;
    const key = `${mode} ${linear}`;
    let entry = this.#places.get(key);
    if (!entry) {
      if (this.#places.size >= MOST) return;
      entry = { place, code: place.code(), reasons: new Map(), ...unweighed() };
      this.#places.set(key, entry);
    }
    weigh(entry, instructions, cpl);
    entry.reasons.set(why, (entry.reasons.get(why) ?? 0) + instructions);
  }

  /** A region was put in place. */
  installed(region: ProfiledRegion): void {
    const key = keyOf(region);
    let entry = this.#regions.get(key);
    if (!entry) {
      if (this.#regions.size >= MOST) this.#forget();
      entry = { region, counts: [], live: new Set(), times: 0, ...unweighed() };
      this.#regions.set(key, entry);
    }
    // What is gone has been left by now.
    for (const before of entry.live) {
      if (!before.dropped) continue;
      add(entry.counts, countersOf(before));
      entry.live.delete(before);
    }
    entry.live.add(region);
    entry.times += 1;
    this.#entries.set(region, entry);
  }

  /** Forgets the less hot half of the regions that are gone. */
  #forget(): void {
    const gone = [...this.#regions]
      .filter(([, { live }]) => [...live].every(({ dropped }) => dropped))
      .map(([key, entry]) => ({ key, instructions: countsOf(entry)[COUNTERS.instructions] ?? 0 }))
      .sort((a, b) => a.instructions - b.instructions);
    for (const { key } of gone.slice(0, (gone.length >> 1) + 1)) this.#regions.delete(key);
  }

  /** By the instructions that retired in them, which their counters know; samples tell where slices ended. */
  hottestRegions(most: number): HotRegion[] {
    const regions = [...this.#regions.values()].map((entry) => {
      const { region, samples, weight, times } = entry;
      const { made, anatomy, wasm, ordinal } = region;
      const all = countsOf(entry);
      return {
        made,
        anatomy,
        wasm,
        ordinal,
        samples,
        weight,
        times,
        privileges: [...entry.privileges].sort(),
        entries: all[COUNTERS.entries] ?? 0,
        instructions: all[COUNTERS.instructions] ?? 0,
        counts: all.slice(COUNTERS.sites),
      };
    });
    return regions.sort((a, b) => b.instructions - a.instructions).slice(0, most);
  }

  hottestPlaces(most: number): HotPlace[] {
    const byWeight = [...this.#places.values()].sort((a, b) => b.weight - a.weight);
    return byWeight.slice(0, most).map((entry) => {
      const { place, samples, weight, code, reasons } = entry;
      const { linear, mode } = place;
      return { linear, mode, samples, weight, privileges: [...entry.privileges].sort(), code, reasons };
    });
  }
}

const unweighed = (): Weighed => ({ samples: 0, weight: 0, privileges: new Set() });

function weigh(entry: Weighed, instructions: number, cpl: number): void {
  entry.samples += 1;
  entry.weight += instructions;
  entry.privileges.add(cpl);
}

/** The same for regions whose counts can be added: of the same code at the same address, left at the same places. */
function keyOf({ made, anatomy }: ProfiledRegion): string {
  const { linear, level, reach } = made;
  const blocks = anatomy.blocks.map(({ at, depth, bytes }) => [
    at,
    depth,
    Buffer.from(bytes).toString('latin1'),
  ]);
  const all = JSON.stringify([`${linear}`, level, reach, anatomy.mode, anatomy.sites, blocks]);
  return createHash('sha256').update(all).digest('base64');
}

function countersOf({ anatomy, read }: ProfiledRegion): number[] {
  const { counter, sites } = anatomy;
  return Array.from({ length: COUNTERS.sites + sites.length }, (_, n) => Number(read(counter + n)));
}

/** Of all that were the same region. */
function countsOf({ counts, live }: RegionEntry): number[] {
  const all = [...counts];
  for (const one of live) add(all, countersOf(one));
  return all;
}

function add(sums: number[], more: readonly number[]): void {
  for (const [n, value] of more.entries()) sums[n] = (sums[n] ?? 0) + value;
}
