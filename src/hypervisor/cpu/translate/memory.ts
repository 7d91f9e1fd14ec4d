import type { Val } from '../isa/builder.ts';
import { FLAT_TLB, TLB } from '../layout.ts';
import type { FunctionBuilder, Local } from '../wasm/function.ts';
import { I32 } from '../wasm/opcodes.ts';
import { i32, i64 } from '../wasm/value.ts';
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
  readonly record: Local;
  /** The TLB's view; outside of 64-bit mode its flat tables. */
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
   * Where bytes lie in linear memory. What is not plain RAM in reach leaves the region. Outside of 64-bit mode `linear`
   * is an i32.
   * @param place of `linear`, if that is known
   */
  at(linear: Val, place: Place | undefined, bytes: number, write: boolean, site: AccessSite): HostPlace {
    const { f, long, addressFlow } = this.#context;
    const before = long ? 0 : 1;
    if (!place || !addressFlow) return { at: this.#look(f.let(linear), bytes, write, false), offset: before };
    const { environment } = site;
    const { root, offset } = place;
    const known = environment.windows.find(
      (w) => w.root === root && w.from <= offset && offset + bytes <= w.to && (w.write || !write),
    );
    if (known) return { at: known.host, offset: offset - known.from + before };
    const reach = this.#reach(addressFlow, place, bytes, write, site);
    const size = reach.to - reach.from;
    const address = f.let(linear.add(long ? BigInt(reach.from - offset) : reach.from - offset));
    const host = this.#look(address, size, reach.write, size > bytes);
    environment.windows = [...environment.windows, { root, host, ...reach }];
    return { at: host, offset: offset - reach.from + before };
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

  /** Looks bytes up: of one access, or of `several`. Outside of 64-bit mode they lie one behind the local. */
  #look(address: Local, bytes: number, write: boolean, several: boolean): Local {
    const { f, long } = this.#context;
    if (!long) return this.#lookFlat(address, bytes, write, several);
    const low = address.wrap();
    const index = low.shrU(12 - 5).and((TLB.entries - 1) << 5);
    const entry = f.let(this.#context.view.add(index));
    const host = f.local(I32, low.add(f.load('i32.load', entry, TLB.addend)));
    const last = bytes === 1 ? address : address.add(BigInt(bytes - 1));
    const tag = f.let(f.load('i64.load', entry, write ? TLB.writeTag : TLB.readTag));
    f.unlikely(last.and(-4096n).ne(tag), () => this.#resolve(host, { address, bytes, write }, tag, several));
    return host;
  }

  /** By the flat tables: the low 12 bits of what they have are all set, so one comparison finds that, and two pages. */
  #lookFlat(low: Local, bytes: number, write: boolean, several: boolean): Local {
    const { f, view } = this.#context;
    const entry = view.add(low.shrU(12).shl(3));
    const found = f.let(f.load('i32.load', entry, write ? FLAT_TLB.write : FLAT_TLB.read));
    const host = f.local(I32, low.add(found));
    const last = bytes - 1;
    const missing = bytes === 1 ? found.eqz() : low.add(last).and(found).and(0xfff).ltU(last);
    f.unlikely(missing, () => this.#resolve(host, { address: low, bytes, write }, i64(0), several));
    return host;
  }

  /** Finds bytes the long way, where the region does that. */
  #resolve(host: Local, access: FailedAccess, tag: Val, several: boolean): void {
    const { f, module, record, long, resolves, bail } = this.#context;
    if (!resolves) return bail(access);
    const { regionRead, regionWrite } = module.core;
    const { address, bytes, write } = access;
    const region = several ? record : i32(0);
    f.set(host, f.call(write ? regionWrite : regionRead, address.extendU(), i32(bytes), tag, region));
    f.unlikely(host.eqz(), () => bail(access));
    if (!long) f.set(host, host.sub(1));
  }
}
