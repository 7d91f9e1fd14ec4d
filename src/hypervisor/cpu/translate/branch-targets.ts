import { OBSERVED } from './emit.ts';
import type { MadeRegion, Observed } from './maker.ts';

/** Bytes from a region's page within which targets of its indirect branches are taken into it. */
const FARTHEST = 1 << 28;
/** Indirect branches of which targets are kept, and targets of one at most. */
const MOST_BRANCHES = 4096;
const MOST_TARGETS = 32;

/** Where indirect jumps and calls went that left their regions: what all regions saw of each is put together. */
export class BranchTargets {
  readonly #view: DataView;
  /** By the branch's linear address. */
  readonly #known = new Map<bigint, Set<bigint>>();

  /** `view`: of the machine's linear memory, which has the regions' cells. */
  constructor(view: DataView) {
    this.#view = view;
  }

  /** Of the indirect branches of a region whose module's records lie at `records`. */
  of({ linear, observers }: MadeRegion, records: number): Observed {
    const base = linear & ~0xfffn;
    return new Map(
      observers.map(({ at, cells }) => {
        const known = this.#knownOf(base + BigInt(at));
        for (let n = 0; n < OBSERVED.cells; n++) {
          const offset = this.#view.getInt32(records + cells + n * 4, true);
          if (offset !== 0 && known.size < MOST_TARGETS) known.add(base + BigInt(offset));
        }
        const offsets = [...known].map((target) => Number(target - base));
        return [at, offsets.filter((offset) => Math.abs(offset) < FARTHEST)];
      }),
    );
  }

  #knownOf(branch: bigint): Set<bigint> {
    const known = this.#known.get(branch);
    if (known) return known;
    if (this.#known.size >= MOST_BRANCHES) this.#known.clear();
    const fresh = new Set<bigint>();
    this.#known.set(branch, fresh);
    return fresh;
  }

  clear(): void {
    this.#known.clear();
  }
}

export function countTargets(observed: Observed): number {
  return [...observed.values()].reduce((sum, targets) => sum + targets.length, 0);
}
