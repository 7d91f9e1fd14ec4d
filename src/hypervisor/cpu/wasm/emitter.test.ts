import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { FunctionBuilder, Label, Local } from './function.ts';
import { ModuleBuilder } from './module.ts';
import {
  F32,
  F64,
  I32,
  I64,
  LANES,
  type LaneName,
  LOADS,
  type LoadName,
  NUMERIC,
  OP,
  SIMD,
  STORES,
  type StoreName,
  V128,
  type ValType,
} from './opcodes.ts';
import {
  constant,
  extractLane,
  f32,
  f64,
  i32,
  i64,
  replaceLane,
  select,
  shuffle,
  simd,
  type Value,
  Value as ValueClass,
  vconst,
} from './value.ts';

const TYPES: Readonly<Record<string, ValType>> = { i32: I32, i64: I64, f32: F32, f64: F64 };
const sample = (type: ValType): Value =>
  type === V128 ? vconst(new Array<number>(16).fill(1)) : constant(type, 1);

type Body = (f: FunctionBuilder, ...params: Local[]) => void;

/** A module with one exported function. */
function moduleOf(
  params: readonly ValType[],
  results: readonly ValType[],
  body: Body,
): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  m.importMemory('env', 'memory', 1, 1);
  m.export(m.fn('f', params, results, body));
  return m.finish();
}

const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
type Callable = (...args: (number | bigint)[]) => number | bigint;

function run(params: readonly ValType[], results: readonly ValType[], body: Body): Callable {
  const module = new WebAssembly.Module(moduleOf(params, results, body));
  return new WebAssembly.Instance(module, { env: { memory } }).exports['f'] as Callable;
}

const valid = (params: readonly ValType[], results: readonly ValType[], body: Body): boolean =>
  WebAssembly.validate(moduleOf(params, results, body));

const CONVERSIONS = /(trunc|convert|extend_|wrap|demote|promote|reinterpret|trunc_sat)/;
const COMPARES = /^(eq|ne|lt|gt|le|ge)(_[su])?$/;
const UNARY = /^(clz|ctz|popcnt|abs|neg|ceil|floor|trunc|nearest|sqrt|extend8_s|extend16_s|extend32_s)$/;

/** The operator's operand types and result, by its text-format name. */
function signatureOf(name: string): { operands: ValType[]; result: ValType } {
  const [prefix = '', operator = ''] = name.split('.');
  const type = TYPES[prefix] ?? I32;
  if (operator === 'eqz') return { operands: [type], result: I32 };
  if (COMPARES.test(operator)) return { operands: [type, type], result: I32 };
  if (UNARY.test(operator)) return { operands: [type], result: type };
  if (CONVERSIONS.test(operator)) {
    const from = operator.match(/(i32|i64|f32|f64)/)?.[1] ?? '';
    return { operands: [TYPES[from] ?? I32], result: type };
  }
  return { operands: [type, type], result: type };
}

describe('every operator of the tables is what the validator takes it for', () => {
  for (const [name, opcode] of NUMERIC) {
    it(name, () => {
      const { operands, result } = signatureOf(name);
      const code = opcode > 0xff ? [opcode >> 8, opcode & 0xff] : [opcode];
      const value = new ValueClass(result, [...operands.flatMap((t) => sample(t).code), ...code]);
      assert.ok(valid([], [result], (f) => f.return(value)));
    });
  }

  /** Operators whose operands are not all v128 or whose result is not. */
  const simdSignature = (name: string): { operands: ValType[]; result: ValType } => {
    const [shape = '', operator = ''] = name.split('.');
    const lane = shape === 'i64x2' ? I64 : shape === 'f32x4' ? F32 : shape === 'f64x2' ? F64 : I32;
    if (operator === 'splat') return { operands: [lane], result: V128 };
    if (/^(any_true|all_true|bitmask)$/.test(operator)) return { operands: [V128], result: I32 };
    if (/^(shl|shr_[su])$/.test(operator)) return { operands: [V128, I32], result: V128 };
    if (operator === 'bitselect') return { operands: [V128, V128, V128], result: V128 };
    if (
      /^(not|abs|neg|popcnt|sqrt|ceil|floor|trunc|nearest|extend_|extadd_|convert_|trunc_sat|demote|promote)/.test(
        operator,
      )
    ) {
      return { operands: [V128], result: V128 };
    }
    return { operands: [V128, V128], result: V128 };
  };
  for (const name of Object.keys(SIMD)) {
    it(name, () => {
      const { operands, result } = simdSignature(name);
      assert.ok(valid([], [result], (f) => f.return(simd(name, operands.map(sample), result))));
    });
  }

  for (const name of Object.keys(LANES) as LaneName[]) {
    it(name, () => {
      const [, type, lanes] = LANES[name];
      const vector = sample(V128);
      const of = (lane: number): Value =>
        name.includes('extract')
          ? extractLane(name, vector, lane)
          : replaceLane(name, vector, lane, sample(type));
      assert.ok(valid([], [of(0).type], (f) => f.return(of(lanes - 1))));
      assert.throws(() => of(lanes), RangeError);
    });
  }

  for (const name of Object.keys(LOADS) as LoadName[]) {
    it(name, () => assert.ok(valid([], [LOADS[name][1]], (f) => f.return(f.load(name, 3, 1000)))));
  }
  for (const name of Object.keys(STORES) as StoreName[]) {
    it(name, () => assert.ok(valid([], [], (f) => f.store(name, 3, sample(STORES[name][1]), 1000))));
  }

  it('and the rest: shuffle, select, constants, bulk memory', () => {
    const v = sample(V128);
    assert.ok(
      valid([], [V128], (f) =>
        f.return(
          shuffle(
            v,
            v,
            Array.from({ length: 16 }, (_, i) => 31 - i),
          ),
        ),
      ),
    );
    assert.ok(valid([], [V128], (f) => f.return(select(i32(1), v, v))));
    for (const value of [i32(-1), i64(-1n), f32(0.5), f64(-0)])
      assert.ok(valid([], [value.type], (f) => f.return(value)));
    assert.ok(valid([], [], (f) => f.memoryCopy(0, 8, 8)));
    assert.ok(valid([], [], (f) => f.memoryFill(0, 0xff, 8)));
    assert.ok(OP.return_call > 0);
  });

  it('refuses operands of the wrong type before the validator does', () => {
    assert.throws(() => i32(1).add(i64(1)), TypeError);
    assert.throws(() => select(i32(1), i32(1), i64(1)), TypeError);
    assert.throws(() => moduleOf([I64], [], (f, x) => f.if(x as Value, () => undefined)), TypeError);
    assert.throws(() => moduleOf([], [I32], (f) => f.return(i64(1))), TypeError);
    assert.throws(() => moduleOf([], [I32], (f) => f.return()), TypeError);
  });
});

describe('values', () => {
  it('compute what they say', () => {
    const add = run([I32, I32], [I32], (f, x, y) =>
      f.return(
        (x as Local)
          .mul(3)
          .add(y as Local)
          .xor(-1),
      ),
    );
    assert.equal(add(5, 7), ~22);
    const wide = run([I64], [I64], (f, x) => f.return((x as Local).rotl(8n).not().neg()));
    assert.equal(wide(0x0102030405060708n), 0x0203040506070801n + 1n);
    const narrow = run([I32], [I64], (f, x) => f.return((x as Local).ext8().extendS()));
    assert.equal(narrow(0x180), -128n);
  });

  it('are evaluated anew unless let', () => {
    const f = run([], [I32], (b) => {
      b.store('i32.store', 0, i32(1));
      const anew = b.load('i32.load', 0);
      const kept = b.let(anew);
      b.store('i32.store', 0, i32(2));
      b.return(anew.mul(10).add(kept));
    });
    assert.equal(f(), 21);
  });
});

describe('control', () => {
  it('if with and without else', () => {
    const f = run([I32], [I32], (b, x) => {
      const result = b.local(I32, 1);
      b.if(x as Local, () => b.set(result, 2));
      b.if(
        (x as Local).gtS(5),
        () => b.set(result, result.add(10)),
        () => b.set(result, result.add(20)),
      );
      b.return(result);
    });
    assert.deepEqual([f(0), f(1), f(6)], [21, 22, 12]);
  });

  it('loops and blocks inside one another', () => {
    // The sum of i*j for i, j < n, leaving at 1000.
    const f = run([I32], [I32], (b, n) => {
      const sum = b.local(I32);
      const i = b.local(I32);
      b.block((out) => {
        b.loop((outer) => {
          b.brIf(out, i.geU(n as Local));
          const j = b.local(I32, 0);
          b.loop((inner) => {
            b.set(sum, sum.add(i.mul(j)));
            b.brIf(out, sum.gtU(1000));
            b.set(j, j.add(1));
            b.brIf(inner, j.ltU(n as Local));
          });
          b.set(i, i.add(1));
          b.br(outer);
        });
      });
      b.return(sum);
    });
    assert.equal(f(0), 0);
    assert.equal(f(5), 100);
    assert.ok(Number(f(100)) > 1000);
  });

  it('a branch out of an if inside a loop reaches its own label', () => {
    const f = run([I32], [I32], (b, n) => {
      const i = b.local(I32);
      b.block((done: Label) => {
        b.loop((again) => {
          b.if(i.eq(n as Local), () => b.br(done));
          b.set(i, i.add(1));
          b.br(again);
        });
      });
      b.return(i);
    });
    assert.equal(f(17), 17);
  });

  it('switch: each case, past the end, and leaving from within', () => {
    const f = run([I32], [I32], (b, x) => {
      const result = b.local(I32, -1);
      b.switch(
        x as Local,
        [() => b.set(result, 100), () => b.set(result, 200), () => b.if(i32(1), () => b.return(300))],
        () => b.set(result, 400),
      );
      b.return(result);
    });
    assert.deepEqual([f(0), f(1), f(2), f(3), f(-1)], [100, 200, 300, 400, 400]);
  });

  it('switch without cases runs the rest', () => {
    const f = run([I32], [I32], (b, x) => {
      b.switch(x as Local, [], () => b.return(7));
      b.return(0);
    });
    assert.equal(f(3), 7);
  });

  it('calls, tail calls and the function table', () => {
    const m = new ModuleBuilder();
    m.importMemory('env', 'memory', 1, 1);
    const even = m.declare('even', [I32], [I32]);
    const odd = m.fn('odd', [I32], [I32], (f, n) => {
      f.if((n as Local).eqz(), () => f.return(0));
      f.returnCall(even, (n as Local).sub(1));
    });
    m.define(even, (f, n) => {
      f.if((n as Local).eqz(), () => f.return(1));
      f.returnCallIndirect(odd, 0, i32(1), (n as Local).sub(1));
    });
    assert.deepEqual([m.element(even), m.element(odd), m.elementCount], [0, 1, 2]);
    m.export(
      m.fn('f', [I32], [I32], (f, n) =>
        f.return(
          f
            .call(even, n as Local)
            .mul(10)
            .add(f.callIndirect(odd, 0, i32(1), n as Local)),
        ),
      ),
    );
    const instance = new WebAssembly.Instance(new WebAssembly.Module(m.finish({ names: true })), {
      env: { memory },
    });
    const f = instance.exports['f'] as Callable;
    // A million calls that all end in another: the stack does not grow.
    assert.deepEqual([f(1_000_000), f(999_999)], [10, 1]);
    assert.throws(() => m.define(odd, () => undefined), /twice/);
    assert.throws(() => m.named('nothing'), /no function/);
  });

  it('a function declared and not defined is an error', () => {
    const m = new ModuleBuilder();
    m.declare('late', [], []);
    assert.throws(() => m.finish(), /never defined/);
  });

  it('globals keep their value between calls', () => {
    const m = new ModuleBuilder();
    const count = m.global(I64, 5);
    m.export(
      m.fn('f', [], [I64], (f) => {
        f.setGlobal(count, count.add(1n));
        f.return(count);
      }),
    );
    const f = new WebAssembly.Instance(new WebAssembly.Module(m.finish())).exports['f'] as Callable;
    assert.deepEqual([f(), f()], [6n, 7n]);
  });

  it('hints at the branch that is rarely taken, by its offset in the body', () => {
    const m = new ModuleBuilder();
    const f = m.fn('f', [I32], [I32], (f, x) => {
      const y = f.local(I32, x.add(1));
      f.unlikely(y.eq(7), () => f.return(1));
      f.if(
        y,
        () => f.set(y, 2),
        () => f.rare(),
      );
      f.return(y);
    });
    m.export(f);
    const bytes = m.finish();
    const [section] = WebAssembly.Module.customSections(new WebAssembly.Module(bytes), HINTS);
    assert.ok(section);
    // One function, index 0, two hints: offset, one byte, the hint.
    const [functions, index, hints, first, , unlikely, second, , likely] = new Uint8Array(section);
    assert.deepEqual([functions, index, hints, unlikely, likely], [1, 0, 2, 0, 1]);
    const body = bodyOfOne(bytes);
    assert.deepEqual([bytes[body + Number(first)], bytes[body + Number(second)]], [OP.if, OP.if]);
  });
});

const HINTS = 'metadata.code.branch_hint';

/** Where the body of a module's one function begins; its code section is shorter than 128 bytes and the last one. */
function bodyOfOne(bytes: Uint8Array): number {
  const code = bytes.findIndex((id, at) => id === 10 && bytes[at + 1] === bytes.length - at - 2);
  assert.notEqual(code, -1);
  return code + 4;
}
