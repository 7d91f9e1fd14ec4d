import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { FunctionBuilder, Label, Local } from './function.ts';
import { assignLocals, SYMBOL } from './locals.ts';
import { ModuleBuilder } from './module.ts';
import { I32, I64, OP, type ValType } from './opcodes.ts';
import { i32, type Value } from './value.ts';

/** Pseudo-random numbers from a seed (xorshift, 32 bits). */
function random(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Rounds that a random function may make in all: each loop looks. */
const FUEL = 200;
/** Statements at most, and how deep they lie. */
const STATEMENTS = 40;
const DEPTH = 4;
/** Bytes of memory in which the locals of the function that keeps them there lie. */
const SLOT = 8;

/** Where a random function keeps its variables. */
interface Variables {
  /** A new one, 0 at first; its number. */
  declare(): number;
  get(variable: number): Value;
  set(variable: number, value: Value): void;
}

/** Emits random structured code over variables; what it computed goes to memory. The same seed gives the same code. */
function emitRandom(f: FunctionBuilder, seed: number, variables: Variables, fuel: Local): void {
  const pick = random(seed);
  const known: number[] = [];
  let left = STATEMENTS;
  const value = (): Value => {
    const a = variables.get(known[pick(known.length)] ?? 0);
    const b = variables.get(known[pick(known.length)] ?? 0);
    return pick(3) === 0 ? a.add(pick(100)) : pick(2) ? a.mul(31).xor(b) : a.sub(b);
  };
  const fresh = (): void => {
    const v = value();
    const variable = variables.declare();
    // Some are read before they are written, and some never written.
    if (pick(6) !== 0) variables.set(variable, v);
    known.push(variable);
  };
  const statements = (depth: number, labels: readonly Label[]): void => {
    for (let n = 1 + pick(5); n > 0 && left > 0; n--) {
      left -= 1;
      const what = pick(depth < DEPTH ? 10 : 6);
      if (what < 3) fresh();
      else if (what < 5) variables.set(known[pick(known.length)] ?? 0, value());
      else if (what === 5 && labels.length > 0) {
        const label = labels[pick(labels.length)] as Label;
        f.if(value().and(3).eqz(), () => f.br(label));
      } else if (what < 8)
        f.if(
          value().and(1),
          () => statements(depth + 1, labels),
          pick(2) ? () => statements(depth + 1, labels) : undefined,
        );
      else if (what === 8) f.block((label) => statements(depth + 1, [...labels, label]));
      else
        f.loop((label) => {
          f.set(fuel, fuel.sub(1));
          f.if(fuel.leS(0), () => f.return());
          statements(depth + 1, labels);
          f.if(value().and(1), () => f.br(label));
        });
    }
  };
  for (let n = 0; n < 3; n++) {
    const variable = variables.declare();
    variables.set(variable, i32(pick(1000)));
    known.push(variable);
  }
  statements(0, []);
  let sum: Value = i32(0);
  for (const variable of known) sum = sum.mul(31).add(variables.get(variable));
  f.store('i32.store', 0, sum);
}

/** What two functions of one seed compute: with locals, and with the same variables in memory. */
function both(seed: number): { locals: number; memory: number } {
  const m = new ModuleBuilder();
  m.importMemory('env', 'memory', 1, 1);
  const inLocals = m.fn('locals', [], [], (f) => {
    const all: Local[] = [];
    const variables = {
      declare: () => all.push(f.local(I32)) - 1,
      get: (variable: number) => all[variable] as Local,
      set: (variable: number, value: Value) => f.set(all[variable] as Local, value),
    };
    emitRandom(f, seed, variables, f.local(I32, FUEL));
  });
  const inMemory = m.fn('memory', [], [], (f) => {
    let count = 0;
    const at = (variable: number): number => (variable + 1) * SLOT;
    const variables = {
      declare: () => count++,
      get: (variable: number) => f.load('i32.load', i32(at(variable))),
      set: (variable: number, value: Value) => f.store('i32.store', at(variable), value),
    };
    emitRandom(f, seed, variables, f.local(I32, FUEL));
  });
  for (const ref of [inLocals, inMemory]) m.export(ref);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(m.finish()), { env: { memory } });
  const words = new Int32Array(memory.buffer);
  const run = (name: string): number => {
    words.fill(0);
    (exports[name] as () => void)();
    return words[0] as number;
  };
  return { locals: run('locals'), memory: run('memory') };
}

describe('places of locals', () => {
  it('hold what variables in memory hold, in random code', () => {
    let results = 0;
    for (let seed = 1; seed <= 2000; seed++) {
      const { locals, memory } = both(seed * 7919);
      assert.equal(locals, memory, `seed ${seed}`);
      if (memory !== 0) results += 1;
    }
    assert.ok(results > 1000, `${results} functions came to their end with something`);
  });

  const assigned = (code: readonly number[], types: readonly ValType[], parameters = 0) =>
    assignLocals(code, types, parameters, []);
  const { get, set } = SYMBOL;
  const one = [OP['i32.const'], 1];

  it('are shared by locals of one type whose uses do not overlap', () => {
    const used = (n: number): number[] => [...one, set(n), ...one, OP.drop, get(n), OP.drop];
    const { types, code } = assigned([...used(0), ...used(1), ...used(2)], [I32, I32, I64]);
    assert.deepEqual(types, [I32, I64]);
    const places = code.filter((_, n) => code[n - 1] === OP['local.set']);
    assert.deepEqual(places, [0, 0, 1]);
  });

  it('are not needed for what is used at once and never again', () => {
    const { types, code } = assigned([...one, set(0), get(0), OP.drop], [I32]);
    assert.deepEqual([types, code], [[], [...one, OP.drop]]);
  });

  it('keep what a loop reads that was written in front of it', () => {
    const { types } = assigned(
      [
        ...one,
        set(0),
        SYMBOL.open(OP.loop),
        get(0),
        OP.drop,
        ...one,
        set(1),
        ...one,
        OP.drop,
        get(1),
        OP.drop,
        SYMBOL.end,
      ],
      [I32, I32],
    );
    assert.equal(types.length, 2);
  });

  it('are their own where a write may have been passed by', () => {
    const arm = [...one, SYMBOL.open(OP.if), ...one, set(0), SYMBOL.end];
    const { types } = assigned(
      [...arm, get(0), OP.drop, ...one, set(1), ...one, OP.drop, get(1), OP.drop],
      [I32, I32],
    );
    assert.equal(types.length, 2);
  });

  it('leave parameters where they are', () => {
    const { types, code } = assigned(
      [get(0), OP.drop, ...one, set(1), ...one, OP.drop, get(1), OP.drop],
      [I32, I32],
      1,
    );
    assert.deepEqual(types, [I32]);
    assert.equal(code[code.indexOf(OP['local.set']) + 1], 1);
  });
});
