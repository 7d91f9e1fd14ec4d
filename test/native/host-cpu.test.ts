import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createHostCpu, createHostState, type HostCpu, hostCpuUnavailable } from './host-cpu.ts';

const host = createHostCpu();
const skip = host === undefined ? (hostCpuUnavailable() ?? 'no host processor') : false;

describe('the host processor as an oracle', { skip }, () => {
  const cpu = host as HostCpu;

  it('loads and gives back every general register, RSP included', () => {
    const before = createHostState();
    for (let i = 0; i < 16; i++) before.gpr[i] = 0x1111_1111_1111_1111n * BigInt(i);
    const after = cpu.run(Uint8Array.of(0x48, 0xff, 0xc4), before); // inc rsp
    const expected = before.gpr.slice();
    expected[4] += 1n;
    assert.deepEqual(after.gpr, expected);
    assert.equal(after.fault, undefined);
  });

  it('loads and gives back flags, and the host goes on with its own', () => {
    const before = createHostState();
    before.rflags = 0x400 | 0x1;
    const after = cpu.run(Uint8Array.of(0x83, 0xd0, 0xff), before); // adc eax, -1
    assert.equal(after.rflags & 0xcd5, 0x400 | 0x1 | 0x4 | 0x10 | 0x40);
    assert.deepEqual(
      [1, 2, 3].map((x) => x * 2),
      [2, 4, 6],
    );
  });

  it('loads and gives back x87, MXCSR and XMM', () => {
    const before = createHostState();
    const view = new DataView(before.fx.buffer);
    view.setUint16(0, 0x27f, true);
    view.setUint32(24, 0x1fa0, true);
    for (let i = 0; i < 256; i++) before.fx[160 + i] = i;
    const after = cpu.run(Uint8Array.of(0xd9, 0xe8), before); // fld1
    const out = new DataView(after.fx.buffer);
    assert.equal(out.getUint16(0, true), 0x27f);
    assert.equal(out.getUint16(2, true), 7 << 11);
    assert.equal(out.getBigUint64(32, true), 0x8000_0000_0000_0000n);
    assert.equal(out.getUint16(40, true), 0x3fff);
    assert.equal(out.getUint32(24, true), 0x1fa0);
    assert.deepEqual(after.fx.subarray(160, 416), before.fx.subarray(160, 416));
    assert.equal(0.1 + 0.2, 0.30000000000000004);
  });

  it('shares scratch memory with the tested code', () => {
    const before = createHostState();
    before.gpr[3] = BigInt(cpu.memoryAddress);
    before.gpr[4] = BigInt(cpu.memoryAddress + 0x1000);
    cpu.memory.set([5, 0, 0, 0], 0x40);
    const after = cpu.run(Uint8Array.of(0x83, 0x43, 0x40, 0x02, 0xff, 0x73, 0x40, 0x58), before); // add [rbx+0x40], 2; push; pop rax
    assert.equal(after.gpr[0], 7n);
    assert.equal(cpu.memory[0x40], 7);
    assert.equal(after.gpr[4], before.gpr[4]);
  });

  const faults: [string, number[], number, (state: ReturnType<typeof createHostState>) => void][] = [
    ['#DE', [0xf7, 0xf1], 0, () => undefined],
    ['#UD', [0x0f, 0x0b], 6, () => undefined],
    ['#GP of HLT', [0xf4], 13, () => undefined],
    [
      '#GP of a non-canonical address',
      [0x8b, 0x03],
      13,
      (s) => {
        s.gpr[3] = 0x8000_0000_0000_0000n;
      },
    ],
    [
      '#PF',
      [0x8b, 0x03],
      14,
      (s) => {
        s.gpr[3] = 0x1234_5678_9000n;
      },
    ],
    [
      '#MF',
      [0x9b],
      16,
      (s) => {
        s.fx[0] = 0x7b;
        s.fx[2] = 0x84;
        s.fx[3] = 0x80;
      },
    ],
  ];
  for (const [name, code, vector, prepare] of faults) {
    it(`reports ${name} with the registers at the fault`, () => {
      const before = createHostState();
      before.gpr[15] = 1n;
      prepare(before);
      const expected = before.gpr.slice();
      expected[15] = 2n;
      const after = cpu.run(Uint8Array.of(0x49, 0xff, 0xc7, ...code, 0x49, 0xff, 0xc7), before); // inc r15; …; inc r15
      assert.equal(after.fault?.vector, vector);
      assert.equal(after.fault?.rip, BigInt(cpu.codeAddress + 3));
      assert.deepEqual(after.gpr, expected);
      if (vector === 14) assert.equal(after.fault?.address, 0x1234_5678_9000n);
    });
  }

  it('survives a wild jump and a wild stack', () => {
    const before = createHostState();
    before.gpr[4] = 0x10n;
    assert.equal(cpu.run(Uint8Array.of(0x50), before).fault?.vector, 14); // push rax
    assert.equal(cpu.run(Uint8Array.of(0xff, 0xe4), before).fault?.rip, 0x10n); // jmp rsp
  });

  it("leaves V8's own traps to V8", () => {
    // (module (memory 1) (func (export "f") (result i32) (i32.load (i32.const -8))))
    const bytes = Uint8Array.of(
      0,
      0x61,
      0x73,
      0x6d,
      1,
      0,
      0,
      0,
      1,
      5,
      1,
      0x60,
      0,
      1,
      0x7f,
      3,
      2,
      1,
      0,
      5,
      3,
      1,
      0,
      1,
      7,
      5,
      1,
      1,
      0x66,
      0,
      0,
      10,
      9,
      1,
      7,
      0,
      0x41,
      0x78,
      0x28,
      2,
      0,
      0x0b,
    );
    const { f } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
    assert.throws(() => (f as () => number)(), WebAssembly.RuntimeError);
    assert.equal(cpu.run(Uint8Array.of(0x0f, 0x0b), createHostState()).fault?.vector, 6);
  });

  it('runs thousands of times a second', (t) => {
    const before = createHostState();
    const after = createHostState();
    cpu.load(Uint8Array.of(0x48, 0xff, 0xc0));
    const start = performance.now();
    const runs = 20_000;
    for (let i = 0; i < runs; i++) {
      cpu.runLoaded(before, after);
      before.gpr[0] = after.gpr[0] as bigint;
    }
    assert.equal(after.gpr[0], BigInt(runs));
    t.diagnostic(`${Math.round((runs / (performance.now() - start)) * 1000)} runs a second`);
  });
});
