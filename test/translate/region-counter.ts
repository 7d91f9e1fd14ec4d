import { LEAVE } from '../../src/hypervisor/cpu/interpret/core-parts.ts';
import type { InterpreterExports } from '../../src/hypervisor/cpu/interpret/exports.ts';
import type { TierHost } from '../../src/hypervisor/cpu/interpret/tier.ts';
import { RECORD, S } from '../../src/hypervisor/cpu/layout.ts';
import { ModuleBuilder } from '../../src/hypervisor/cpu/wasm/module.ts';
import { I32, I64 } from '../../src/hypervisor/cpu/wasm/opcodes.ts';

/** What a translator may ask for that is no way out of a region: accesses and runtime functions. */
const HARMLESS = /^(table|region(Read|Write)|late )/;
/** By these regions give control away. */
const EXITS = ['jump64', 'jump32', 'resume', 'invoke'] as const;

type Exports = Record<string, unknown>;

/**
 * Counts the instructions that retire in regions, exactly, without a change to
 * what is emitted: what stands in the table in a region's place notes the
 * budget and goes on to the region; the functions by which regions leave add
 * what was used of it.
 */
export class RegionCounter {
  /** The host for a translator whose regions are counted. */
  readonly host: TierHost;
  readonly #counter: WebAssembly.Instance;
  readonly #wrapper: WebAssembly.Module;
  /** Names that a translator asked for and that are not known here: the count may be wrong. */
  readonly unknown = new Set<string>();

  constructor(host: TierHost) {
    const exports = host.exports as unknown as Exports; // exports by any name
    const { memory } = host;
    this.#counter = new WebAssembly.Instance(new WebAssembly.Module(counterModule()), {
      env: {
        memory,
        ...Object.fromEntries(EXITS.map((name) => [name, exports[name] as WebAssembly.ImportValue])),
      },
    });
    this.#wrapper = new WebAssembly.Module(wrapperModule());
    this.host = { ...host, exports: this.#counted(host.exports) };
  }

  /** Instructions retired in regions so far. */
  get instructions(): number {
    return Number((this.#counter.exports['count'] as () => bigint)());
  }

  #counted(exports: InterpreterExports): InterpreterExports {
    const { table } = exports;
    const counted: Exports = { table: this.#table(table) };
    for (const name of EXITS) counted[name] = this.#counter.exports[name];
    // Not the exports themselves: a proxy of frozen properties may not give others.
    return new Proxy({} as InterpreterExports, {
      get: (_target, name: string) => {
        if (name in counted) return counted[name];
        if (!HARMLESS.test(name)) this.unknown.add(name);
        return (exports as unknown as Exports)[name]; // exports by any name
      },
    });
  }

  #table(table: WebAssembly.Table): WebAssembly.Table {
    return new Proxy(table, {
      get: (target, name) => {
        if (name === 'set') return (slot: number, code: unknown) => target.set(slot, this.#wrap(code));
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }

  #wrap(code: unknown): unknown {
    if (typeof code !== 'function') return code;
    const instance = new WebAssembly.Instance(this.#wrapper, {
      env: {
        memory: this.host.memory,
        region: code as WebAssembly.ImportValue,
        enter: this.#counter.exports['enter'] as WebAssembly.ImportValue,
      },
    });
    return instance.exports['region'];
  }
}

function counterModule(): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  m.importMemory('env', 'memory', 1, 65536);
  const jump64 = m.importFunction('env', 'jump64', [I64], [I32]);
  const jump32 = m.importFunction('env', 'jump32', [I64], [I32]);
  const resume = m.importFunction('env', 'resume', [I32, I32], [I32]);
  const invoke = m.importFunction('env', 'invoke', [I32], [I32]);
  const count = m.global(I64, 0);
  const entered = m.global(I32, 0);
  const inside = m.global(I32, 0);
  const leave = m.fn('leave', [], [], (f) => {
    f.if(inside, () => {
      f.setGlobal(count, count.add(entered.sub(f.load('i32.load', S.budget)).extendS()));
    });
    f.setGlobal(inside, 0);
  });
  m.export(
    m.fn('enter', [I32], [], (f, record) => {
      // From one region into another: S.budget is right then, too.
      f.run(leave);
      f.setGlobal(entered, f.load('i32.load', S.budget).sub(f.load('i32.load8_u', record, RECORD.ordinal)));
      f.setGlobal(inside, 1);
    }),
  );
  m.export(
    m.fn('jump64', [I64], [I32], (f, rip) => {
      f.run(leave);
      f.returnCall(jump64, rip);
    }),
  );
  m.export(
    m.fn('jump32', [I64], [I32], (f, rip) => {
      f.run(leave);
      f.returnCall(jump32, rip);
    }),
  );
  m.export(
    m.fn('resume', [I32, I32], [I32], (f, record, handler) => {
      // The budget counts the entry's ordinal again.
      f.store(
        'i32.store',
        S.budget,
        f.load('i32.load', S.budget).sub(f.load('i32.load8_u', record, RECORD.ordinal)),
      );
      f.run(leave);
      f.store(
        'i32.store',
        S.budget,
        f.load('i32.load', S.budget).add(f.load('i32.load8_u', record, RECORD.ordinal)),
      );
      f.returnCall(resume, record, handler);
    }),
  );
  m.export(
    m.fn('invoke', [I32], [I32], (f, record) => {
      const code = f.let(f.call(invoke, record));
      f.if(code.ne(LEAVE.resume), () => f.run(leave));
      f.return(code);
    }),
  );
  m.export(m.fn('count', [], [I64], (f) => f.return(count)));
  return m.finish();
}

function wrapperModule(): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  m.importMemory('env', 'memory', 1, 65536);
  const region = m.importFunction('env', 'region', [I32], [I32]);
  const enter = m.importFunction('env', 'enter', [I32], []);
  m.export(
    m.fn('region', [I32], [I32], (f, record) => {
      f.run(enter, record);
      f.returnCall(region, record);
    }),
  );
  return m.finish();
}
