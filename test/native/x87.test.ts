import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Encoding } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { S } from '../../src/hypervisor/cpu/layout.ts';
import {
  createHostCpu,
  createHostState,
  type HostCpu,
  type HostState,
  hostCpuUnavailable,
} from './host-cpu.ts';
import {
  codeOf,
  describeFx,
  fillMemory,
  number,
  Random,
  randomState,
  type StateOptions,
} from './x87-cases.ts';
import { comparisonEnded, distance, isUndefinedX87, x87Differences } from './x87-compare.ts';
import { createX87Testbed } from './x87-testbed.ts';

const ARITHMETIC_FLAGS = 0x8d5;
const TOP_BIT = 1n << 63n;
const MEMORY_BYTES = 65536;
/** Where the operand lies in the scratch memory, and the bytes around it that are compared. */
const OPERAND = 0x100,
  COMPARED = 0x100;
const CASES = 200;
const SEED = 20_261n;

const host = createHostCpu();
const skip = host === undefined ? (hostCpuUnavailable() ?? 'no host processor') : false;
const CODE_ADDRESS = host?.codeAddress ?? 0x6ff0_0000;
const MEMORY_ADDRESS = host?.memoryAddress ?? 0x7000_0000;
const bed = createX87Testbed(CODE_ADDRESS, MEMORY_ADDRESS, MEMORY_BYTES);

const IMAGE = /^fnstenv$|^fldenv$|^fnsave$|^frstor$/;

function differences(name: string, theirs: HostState, ours: HostState, narrow: boolean): string[] {
  const found = x87Differences(name, theirs, ours);
  if (!comparisonEnded(name, ours) && (theirs.rflags ^ ours.rflags) & ARITHMETIC_FLAGS) found.push('flags');
  if (theirs.gpr[0] !== ours.gpr[0]) found.push('RAX');
  for (let at = OPERAND; at < OPERAND + COMPARED; at++) {
    // The pointers of an environment are tested on their own: FXRSTOR does not load them on every processor.
    const offset = at - OPERAND;
    const pointer =
      (name === 'fnstenv' || name === 'fnsave') &&
      (narrow ? offset >= 6 && offset < 14 : offset >= 12 && offset < 26);
    if (!pointer && host?.memory[at] !== bed.memory[at]) {
      found.push(`memory + ${offset}`);
      break;
    }
  }
  return found;
}

function compare(cpu: HostCpu, encoding: Encoding, cases: number, options: StateOptions = {}): void {
  const { name } = encoding.instruction;
  const r = new Random(SEED);
  const theirs = createHostState();
  const ours = createHostState();
  for (let k = 0; k < cases; k++) {
    const before = randomState(r, options);
    const narrow = IMAGE.test(name) && r.chance(50);
    const code = Uint8Array.from([...(narrow ? [0x66] : []), ...codeOf(encoding, r.below(8))]);
    before.gpr[3] = BigInt(cpu.memoryAddress + OPERAND);
    const operand = cpu.memory.subarray(OPERAND, OPERAND + COMPARED);
    fillMemory(r, operand, 128);
    // Digits above nine are undefined.
    if (name === 'fbld') for (let i = 0; i < 9; i++) operand[i] = (r.below(10) << 4) | r.below(10);
    if (isUndefinedX87(name, before.fx)) continue;
    bed.memory.set(cpu.memory.subarray(0, OPERAND + COMPARED));
    cpu.load(code);
    const fault = cpu.runLoaded(before, theirs);
    const vector = bed.run(code, before, ours);
    const found = differences(name, theirs, ours, narrow);
    if (fault?.vector !== vector) found.push(`exception ${fault?.vector} against ${vector}`);
    assert.deepEqual(
      found,
      [],
      `case ${k}: ${Buffer.from(code).toString('hex')}, flags ${before.rflags.toString(16)}, operand ${Buffer.from(
        operand.subarray(0, 16),
      ).toString('hex')}
  before ${describeFx(before.fx)}
  host   ${describeFx(theirs.fx)}
  ours   ${describeFx(ours.fx)}`,
    );
  }
}

describe('x87 rows against the host processor', { skip }, () => {
  const names = [...new Set(bed.table.encodings.map((e) => e.instruction.name))];
  for (const name of names) {
    it(name, () => {
      for (const encoding of bed.table.encodings) {
        if (encoding.instruction.name === name) compare(host as HostCpu, encoding, CASES);
      }
    });
  }
});

describe('x87 transcendentals against the host processor', { skip }, () => {
  const near = (r: Random, exponent: number): [bigint, number] => [
    TOP_BIT | r.u64(),
    (r.below(2) << 15) | exponent,
  ];
  const angle = (r: Random): [bigint, number] => near(r, 0x3fff - 10 + r.below(r.chance(50) ? 14 : 72));
  const small = (largest: number) => (r: Random) => near(r, largest - r.below(r.chance(70) ? 6 : 80));
  const wide = (r: Random): [bigint, number] => near(r, 0x3fff - 20 + r.below(40));
  const positive = (r: Random): [bigint, number] => {
    const [m, e] = near(r, r.chance(50) ? 0x3ffd + r.below(4) : 1 + r.below(0x7ffe));
    return [m, e & 0x7fff];
  };
  const ranges: readonly [string, (r: Random) => [bigint, number]][] = [
    ['f2xm1', small(0x3ffe)],
    ['fyl2x', positive],
    ['fyl2xp1', small(0x3ffc)],
    ['fpatan', wide],
    ['fptan', angle],
    ['fsin', angle],
    ['fcos', angle],
    ['fsincos', angle],
  ];
  for (const [name, value] of ranges) {
    it(`${name} within one unit in the last place`, (t) => {
      const encoding = bed.table.encodings.find((e) => e.instruction.name === name) as Encoding;
      const code = Uint8Array.from(codeOf(encoding, 0));
      const r = new Random(SEED);
      const ours = createHostState();
      let largest = 0n;
      let unequal = 0;
      const cases = 2000;
      for (let k = 0; k < cases; k++) {
        const before = randomState(r, { unusual: 0, value });
        const view = new DataView(before.fx.buffer);
        view.setUint16(0, 0x37f, true);
        // Room for a second result, TOP 0.
        view.setUint16(2, 0, true);
        before.fx[4] = 0x7f;
        if (name === 'fyl2x' || name === 'fyl2xp1') {
          const [m, e] = wide(r);
          view.setBigUint64(48, m, true);
          view.setUint16(56, e, true);
        }
        const theirs = (host as HostCpu).run(code, before);
        bed.run(code, before, ours);
        for (const i of [0, 1]) {
          const ulps = distance(theirs.fx, ours.fx, i);
          if (ulps > 0n) unequal++;
          if (ulps > largest) largest = ulps;
          assert.ok(
            ulps <= 1n,
            `${name} differs by ${ulps}\n  ${describeFx(before.fx)}\n  ${describeFx(theirs.fx)}\n  ${describeFx(ours.fx)}`,
          );
        }
      }
      t.diagnostic(
        `${name}: largest difference ${largest} ulp, ${((100 * unequal) / cases).toFixed(1)} % not equal`,
      );
    });
  }
});

/** One instruction on the testbed with fresh registers. */
function step(code: number[], before: HostState): { after: HostState; vector: number | undefined } {
  const after = createHostState();
  const vector = bed.run(Uint8Array.from(code), before, after);
  return { after, vector };
}

const status = (state: HostState): number => new DataView(state.fx.buffer).getUint16(2, true);

function pointerState(): HostState {
  const state = createHostState();
  state.gpr[3] = BigInt(MEMORY_ADDRESS + OPERAND);
  return state;
}

describe('x87 exceptions and last-instruction pointers', () => {
  it('an unmasked exception is raised by the next waiting instruction, not by itself', () => {
    const before = createHostState();
    new DataView(before.fx.buffer).setUint16(0, 0x37b, true);
    before.fx[4] = 0xff;
    const view = new DataView(before.fx.buffer);
    view.setBigUint64(48, TOP_BIT, true);
    view.setUint16(56, 0x3fff, true);
    // ST(0) = 0; ST(0) = ST(1) / ST(0).
    const divided = step([0xd8, 0xf9], before);
    assert.equal(divided.vector, undefined);
    assert.equal(status(divided.after), 0x8084);
    for (const code of [[0x9b], [0xd9, 0xe8], [0xd9, 0xd0], [0xd9, 0x2b]])
      assert.equal(step(code, divided.after).vector, 16);
    for (const code of [
      [0xdf, 0xe0],
      [0xd9, 0x3b],
      [0xdb, 0xe2],
      [0xdb, 0xe3],
      [0xd9, 0x33],
    ]) {
      assert.equal(step(code, { ...divided.after, gpr: pointerState().gpr }).vector, undefined);
    }
    const cleared = step([0xdb, 0xe2], divided.after);
    assert.equal(status(cleared.after), 0);
    assert.equal(step([0x9b], cleared.after).vector, undefined);
  });

  it('keeps instruction and data pointers, and the opcode of an unmasked exception', () => {
    const before = pointerState();
    new DataView(before.fx.buffer).setUint16(0, 0x37b, true);
    bed.memory.fill(0, OPERAND, OPERAND + 8);
    const loaded = step([0xdd, 0x03], before); // fld m64
    const view = new DataView(loaded.after.fx.buffer);
    assert.equal(view.getBigUint64(8, true), BigInt(CODE_ADDRESS));
    assert.equal(view.getBigUint64(16, true), before.gpr[3]);
    const divided = step([0xd8, 0x33], loaded.after); // fdiv m32: 0 / 0 is masked
    assert.equal(new DataView(divided.after.fx.buffer).getUint16(6, true), 0);
    const one = step([0xd9, 0xe8], before).after;
    const trapped = step([0xd8, 0x33], { ...one, gpr: before.gpr }).after; // 1 / 0 is not
    assert.equal(new DataView(trapped.fx.buffer).getUint16(6, true), 0x033);
    assert.equal(status(trapped) & 0x80, 0x80);
  });

  it('loads one and stores it across a page boundary', () => {
    const before = pointerState();
    before.gpr[3] = BigInt(MEMORY_ADDRESS + 0x1000 - 9);
    const one = step([0xd9, 0xe8], before).after;
    bed.memory.fill(0xaa, 0xff0, 0x1010);
    step([0xdb, 0x3b], { ...one, gpr: before.gpr });
    assert.deepEqual(
      [...bed.memory.subarray(0xff6, 0x1002)],
      [0xaa, 0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f, 0xaa],
    );
  });

  it('every row sets the pointers that the host sets', { skip }, () => {
    const cpu = host as HostCpu;
    const before = pointerState();
    const rest = createHostState();
    const own = new Set(['fldenv', 'frstor', 'fnsave', 'fninit']);
    for (const encoding of bed.table.encodings) {
      const { name } = encoding.instruction;
      if (own.has(name)) continue;
      const code = codeOf(encoding, 1);
      let pointers: [number, number] = [0, 0];
      const fresh = step([0xdb, 0xe3], before).after;
      bed.memory.fill(0, OPERAND, OPERAND + COMPARED);
      bed.run(Uint8Array.from(code), { ...fresh, gpr: before.gpr }, rest);
      const view = new DataView(rest.fx.buffer);
      const ours = [Number(view.getBigUint64(8, true)), Number(view.getBigUint64(16, true))];
      // Processors of AMD may lose the pointers when the kernel switches tasks between the two instructions.
      for (let attempt = 0; attempt < 5 && pointers[0] !== ours[0]; attempt++) {
        cpu.memory.fill(0, OPERAND, OPERAND + COMPARED);
        cpu.run(Uint8Array.of(0xdb, 0xe3, ...code, 0xd9, 0xb3, 0x80, 0, 0, 0), before); // fninit; …; fnstenv [rbx+128]
        const image = new DataView(cpu.memory.buffer, cpu.memory.byteOffset + OPERAND + 128);
        const ip = image.getUint32(12, true);
        // The tested instruction lies behind FNINIT.
        pointers = [ip === 0 ? 0 : ip - 2, image.getUint32(20, true)];
      }
      assert.deepEqual(ours, pointers, `${name} ${encoding.text}`);
    }
  });

  it('FWAIT raises #NM when CR0.MP and CR0.TS are set', () => {
    const cr0 = bed.view.getUint32(S.cr0, true);
    try {
      bed.view.setUint32(S.cr0, cr0 | 0x8, true);
      assert.equal(step([0x9b], createHostState()).vector, 7);
      bed.view.setUint32(S.cr0, (cr0 | 0x8) & ~0x2, true);
      assert.equal(step([0x9b], createHostState()).vector, undefined);
    } finally {
      bed.view.setUint32(S.cr0, cr0, true);
    }
  });
});

describe('x87 environments in real mode', () => {
  const inRealMode = (body: () => void): void => {
    const cr0 = bed.view.getUint32(S.cr0, true);
    bed.view.setUint32(S.cr0, cr0 & ~1, true);
    try {
      body();
    } finally {
      bed.view.setUint32(S.cr0, cr0, true);
    }
  };
  const state = (): HostState => {
    const before = pointerState();
    const view = new DataView(before.fx.buffer);
    before.fx[4] = 0x81;
    view.setUint16(6, 0x5a5, true);
    view.setBigUint64(8, 0xc_1234n, true);
    view.setBigUint64(16, 0x7_89abn, true);
    return before;
  };
  const words = (count: number): number[] =>
    Array.from({ length: count }, (_, i) =>
      new DataView(bed.memory.buffer, bed.memory.byteOffset).getUint16(OPERAND + 2 * i, true),
    );

  it('has the 16-bit layout (SDM vol. 1, figure 8-12)', () =>
    inRealMode(() => {
      step([0x66, 0xd9, 0x33], state());
      assert.deepEqual(words(7), [0x37f, 0, 0x7ffd, 0x1234, 0xc5a5, 0x89ab, 0x7000]);
      const back = step([0x66, 0xd9, 0x23], pointerState()).after;
      assert.deepEqual(back.fx.subarray(0, 24), state().fx.subarray(0, 24));
    }));

  it('has the 32-bit layout (SDM vol. 1, figure 8-10)', () =>
    inRealMode(() => {
      step([0xd9, 0x33], state());
      const all = words(14);
      assert.deepEqual(
        [all[0], all[2], all[6], all[8], all[9], all[10], all[12], all[13]],
        [0x37f, 0, 0x1234, 0xc5a5, 0, 0x89ab, 0x7000, 0],
      );
      const back = step([0xd9, 0x23], pointerState()).after;
      assert.deepEqual(back.fx.subarray(0, 24), state().fx.subarray(0, 24));
    }));

  it('FNSAVE and FRSTOR give everything back', () =>
    inRealMode(() => {
      const r = new Random(SEED);
      const before = randomState(r, { unusual: 0, value: number });
      before.gpr[3] = BigInt(MEMORY_ADDRESS + OPERAND);
      const saved = step([0xdd, 0x33], before).after;
      assert.equal(saved.fx[4], 0);
      assert.equal(new DataView(saved.fx.buffer).getUint16(0, true), 0x37f);
      const back = step([0xdd, 0x23], { ...saved, gpr: before.gpr }).after;
      assert.deepEqual(back.fx.subarray(0, 6), before.fx.subarray(0, 6));
      for (let i = 0; i < 8; i++)
        assert.deepEqual(
          back.fx.subarray(32 + 16 * i, 42 + 16 * i),
          before.fx.subarray(32 + 16 * i, 42 + 16 * i),
        );
    }));
});
