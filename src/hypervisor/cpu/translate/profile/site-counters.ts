import type { Val } from '../../isa/builder.ts';
import { S, TLB } from '../../layout.ts';
import type { FunctionBuilder, Global } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i64 } from '../../wasm/value.ts';
import { COUNTERS, type Site } from './anatomy.ts';

/** An access that the TLB did not answer, nor the look beyond it. */
export interface FailedAccess {
  /** Linear; an i32 outside of 64-bit mode. */
  readonly address: Val;
  readonly bytes: number;
  readonly write: boolean;
}

/**
 * The counters of a profiled module's regions, in globals of the module: so
 * they need no place in the machine's memory, and live as long as the code
 * that counts.
 */
export class ModuleCounters {
  readonly #m: ModuleBuilder;
  readonly #globals: Global[] = [];

  constructor(m: ModuleBuilder) {
    this.#m = m;
  }

  /** Those of the next region. */
  region(): SiteCounters {
    const first = this.#globals.length;
    return new SiteCounters(first, () => {
      const global = this.#m.global(I64, 0);
      this.#globals.push(global);
      return global;
    });
  }

  /** Exports `counter`, (number) → value. */
  finish(): void {
    const globals = this.#globals;
    const read = this.#m.fn('counter', [I32], [I64], (f, n) => {
      const among = (from: number, to: number): void => {
        const [only] = globals.slice(from, to);
        if (to - from <= 1) return f.return(only ?? 0n);
        const middle = (from + to) >> 1;
        f.if(
          n?.ltU(middle) as Val, // the signature has one
          () => among(from, middle),
          () => among(middle, to),
        );
      };
      among(0, globals.length);
    });
    this.#m.export(read, 'counter');
  }
}

/** The counters of one region: what the emitter counts while a profile is taken. */
export class SiteCounters {
  /** Number of the first one in the module. */
  readonly first: number;
  readonly sites: Site[] = [];
  readonly #make: () => Global;
  readonly #entries: Global;
  readonly #instructions: Global;
  readonly #known = new Map<string, Global>();

  constructor(first: number, make: () => Global) {
    this.first = first;
    this.#make = make;
    const [entries, instructions] = Array.from({ length: COUNTERS.sites }, make);
    this.#entries = entries as Global;
    this.#instructions = instructions as Global;
  }

  entered(f: FunctionBuilder): void {
    this.#add(f, this.#entries, i64(1));
  }

  retired(f: FunctionBuilder, instructions: Val): void {
    this.#add(f, this.#instructions, instructions);
  }

  count(f: FunctionBuilder, site: Site): void {
    const { kind, at, to, why } = site;
    const key = `${kind} ${at} ${to} ${why}`;
    let global = this.#known.get(key);
    if (!global) {
      global = this.#make();
      this.#known.set(key, global);
      this.sites.push(site);
    }
    this.#add(f, global, i64(1));
  }

  /** An instruction is left to the interpreter for its access to memory: by why that is so. */
  countAccess(f: FunctionBuilder, at: number, { address, bytes, write }: FailedAccess): void {
    const because = (why: string) => (): void => this.count(f, { kind: 'interpreted', at, why });
    const device = because('a device, or no canonical address');
    f.if(address.wrap().and(0xfff).add(bytes).gtU(4096), because('two pages'), () =>
      // The walk that has just failed has left the address.
      f.if(f.load('i64.load', S.faultAddress).eq(address.extendU()), because('a page fault'), () => {
        if (!write) return device();
        const number = address
          .wrap()
          .shrU(12)
          .and(TLB.entries - 1);
        const entry = f.load('i32.load', S.tlbView).add(number.mul(TLB.stride));
        const found = f.load('i64.load', entry, TLB.writeTag).eq(address.extendU().and(-4096n));
        f.if(found, because('a write over code'), device);
      }),
    );
  }

  #add(f: FunctionBuilder, global: Global, by: Val): void {
    f.setGlobal(global, global.add(by));
  }
}
