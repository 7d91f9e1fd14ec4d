import { TLB } from '../layout.ts';
import type { FunctionBuilder, Local } from '../wasm/function.ts';
import { I32 } from '../wasm/opcodes.ts';
import { i32 } from '../wasm/value.ts';
import type { AddressFlow } from './address-flow.ts';
import type { Place } from './addresses.ts';
import type { Block } from './blocks.ts';
import type { Environment, ReachOfLooks } from './environment.ts';
import type { RegionModule } from './module.ts';
import type { FailedAccess } from './profile/site-counters.ts';

/** Bytes in linear memory: `offset` from where `at` says. */
export interface HostPlace {
  readonly at: Local;
  readonly offset: number;
}

/** Where in the region's code an access is. */
export interface AccessSite {
  readonly environment: Environment;
  readonly block: Block;
  readonly index: number;
}

/** What one look at the TLB answers for: offsets from a root, and whether there may be writes. */
interface Reach {
  from: number;
  to: number;
  write: boolean;
}

/** Bytes that one look answers for at most: the more, the likelier they lie on two pages. */
const WIDEST_REACH = 64;

/** What the looks of a region are made with. */
export interface MemoryContext {
  readonly f: FunctionBuilder;
  readonly module: RegionModule;
  /** The region's record, and the TLB's view. */
  readonly record: Local;
  readonly view: Local;
  readonly long: boolean;
  readonly reach: ReachOfLooks;
  /** See RegionContext. */
  readonly resolves: boolean;
  /** Undefined where no look answers for more than its own access. */
  readonly addressFlow: AddressFlow | undefined;
  /** Leaves the region in front of the instruction. */
  readonly bail: (access: FailedAccess) => void;
}

/** Finds guest memory for the accesses of a region: as few looks at the TLB as can be. */
export class RegionMemory {
  readonly #context: MemoryContext;

  constructor(context: MemoryContext) {
    this.#context = context;
  }

  /**
   * Where bytes lie in linear memory. What is not plain RAM in reach leaves the region.
   * @param place of `linear`, if that is known
   */
  at(linear: Local, place: Place | undefined, bytes: number, write: boolean, site: AccessSite): HostPlace {
    const { f, long, addressFlow } = this.#context;
    if (!place || !addressFlow) return { at: this.#look(linear, bytes, write, false), offset: 0 };
    const { environment } = site;
    const { root, offset } = place;
    const known = environment.windows.find(
      (w) => w.root === root && w.from <= offset && offset + bytes <= w.to && (w.write || !write),
    );
    if (known) return { at: known.host, offset: offset - known.from };
    const reach = this.#reach(addressFlow, place, bytes, write, site);
    const size = reach.to - reach.from;
    const first = linear.add(BigInt(reach.from - offset));
    const address = f.let(long ? first : first.and(0xffff_ffffn));
    const host = this.#look(address, size, reach.write, size > bytes);
    environment.windows = [...environment.windows, { root, host, ...reach }];
    return { at: host, offset: offset - reach.from };
  }

  /**
   * How far around a place one look answers for what comes behind it. It finds out whether there may be writes too where
   * the block goes on to write there, and on the stack, where one soon will.
   */
  #reach(
    flow: AddressFlow,
    { root, offset }: Place,
    bytes: number,
    write: boolean,
    { environment, block, index }: AccessSite,
  ): Reach {
    const stack = environment.addresses.stack(0).root === root;
    const reach = { from: offset, to: offset + bytes, write };
    for (const other of flow.ahead(root, block, index)) {
      const near = other.block === block;
      if (!near && (this.#context.reach === 'block' || (other.write && !reach.write && !stack))) continue;
      const from = Math.min(reach.from, other.offset);
      const to = Math.max(reach.to, other.offset + other.bytes);
      if (to - from > WIDEST_REACH) continue;
      Object.assign(reach, { from, to, write: reach.write || other.write });
    }
    return reach;
  }

  /** Looks bytes up in the TLB: of one access, or of `several`. */
  #look(address: Local, bytes: number, write: boolean, several: boolean): Local {
    const { f, module, view, record, resolves, bail } = this.#context;
    const low = address.wrap();
    const index = low.shrU(12 - 5).and((TLB.entries - 1) << 5);
    const entry = f.let(view.add(index));
    const host = f.local(I32, low.add(f.load('i32.load', entry, TLB.addend)));
    const last = bytes === 1 ? address : address.add(BigInt(bytes - 1));
    const tag = f.let(f.load('i64.load', entry, write ? TLB.writeTag : TLB.readTag));
    const leave = (): void => bail({ address, bytes, write, entry });
    f.unlikely(last.and(-4096n).ne(tag), () => {
      if (!resolves) return leave();
      const { regionRead, regionWrite } = module.core;
      const region = several ? record : i32(0);
      f.set(host, f.call(write ? regionWrite : regionRead, address, i32(bytes), tag, region));
      f.unlikely(host.eqz(), leave);
    });
    return host;
  }
}
