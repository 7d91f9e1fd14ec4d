import { type Access, Addresses, isRootOf, type Place, rootOf } from './addresses.ts';
import { type Block, type Region, targetsOf } from './blocks.ts';
import { dominates } from './region-order.ts';

/** An access that a region makes, and the instruction that makes it. */
export interface PlacedAccess extends Access {
  readonly block: Block;
  readonly index: number;
}

/**
 * What the general registers are to one another throughout a region: where ways
 * come together a register keeps its place if all of them bring the same one.
 * So RSP in a function is where it was when the function was entered, less a
 * number, and one look at the TLB may answer for accesses of many blocks.
 */
export class AddressFlow {
  /** By block's order: the number of its beginning, which its instructions' follow; and the registers there. */
  readonly #beginnings: number[] = [];
  readonly #registers: (readonly Place[] | undefined)[];
  readonly #byRoot = new Map<number, PlacedAccess[]>();

  constructor(region: Region) {
    this.#registers = region.blocks.map(() => undefined);
    let next = 0;
    for (const block of region.blocks) {
      this.#beginnings.push(next);
      next += block.instructions.length + 1;
    }
    this.#flow(region);
    for (const block of region.blocks) this.#collect(block);
  }

  /** The number of an instruction's place: see Addresses. */
  where(block: Block, index: number): number {
    return (this.#beginnings[block.order] ?? 0) + 1 + index;
  }

  /** Where a block begins. */
  at(block: Block): Addresses {
    return new Addresses(this.#registers[block.order] ?? this.#unknown(block));
  }

  /** What may be accessed from a root, from an instruction on: in its block, and in those that it comes before on every way. */
  *ahead(root: number, block: Block, index: number): Iterable<PlacedAccess> {
    for (const access of this.#byRoot.get(root) ?? [])
      if (access.block === block ? access.index >= index : dominates(block, access.block)) yield access;
  }

  #unknown(block: Block): readonly Place[] {
    const beginning = this.#beginnings[block.order] ?? 0;
    return Array.from({ length: 16 }, (_, n) => rootOf(beginning, n));
  }

  /** Brings every block's registers to its successors until nothing changes. */
  #flow({ blocks, entry }: Region): void {
    this.#registers[entry.order] = this.#unknown(entry);
    const waiting = new Set([entry]);
    while (waiting.size > 0)
      for (const block of blocks) {
        if (!waiting.delete(block)) continue;
        const end = this.#behind(block);
        for (const { block: to } of targetsOf(block)) if (to && this.#bring(to, end)) waiting.add(to);
      }
  }

  /** The registers behind a block's last instruction. */
  #behind(block: Block): Addresses {
    const addresses = this.at(block);
    for (const [index, i] of block.instructions.entries()) addresses.step(i, this.where(block, index));
    return addresses;
  }

  /** Registers come to a block by one more way; tells whether that changed what is known there. */
  #bring(to: Block, end: Addresses): boolean {
    const before = this.#registers[to.order];
    const several = to.loop || to.forward > 1;
    const beginning = this.#beginnings[to.order] ?? 0;
    const after: Place[] = [];
    let changed = false;
    for (let n = 0; n < 16; n++) {
      const place = before?.[n];
      const other = end.register(n);
      const same = place?.root === other.root && place.offset === other.offset;
      if (place && (same || (several && isRootOf(place, beginning, n)))) after.push(place);
      else {
        changed = true;
        after.push(several && place ? rootOf(beginning, n) : other);
      }
    }
    if (changed) this.#registers[to.order] = after;
    return changed;
  }

  #collect(block: Block): void {
    const addresses = this.at(block);
    for (const [index, i] of block.instructions.entries()) {
      if (i.effects.treatment === 'native')
        for (const access of addresses.accesses(i)) {
          const list = this.#byRoot.get(access.root) ?? [];
          list.push({ ...access, block, index });
          this.#byRoot.set(access.root, list);
        }
      addresses.step(i, this.where(block, index));
    }
  }
}
