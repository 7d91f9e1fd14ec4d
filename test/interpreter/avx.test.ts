// AVX where no program of the host can go: what enables it, its state in XSAVE areas, devices and code under its
// stores; and the rows whose results are the processor's choice.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { S, xmm } from '../../src/hypervisor/cpu/layout.ts';
import type { Bus } from '../../src/hypervisor/machine/bus.ts';
import { emptyBus } from '../native/guest-machine.ts';
import { Rig } from './rig.ts';

const CODE = 0x8000,
  DATA = 0x20_0000;
const HLT = 0xf4;
const RAX = 0,
  RDX = 2,
  RBX = 3;
const CR0_EM = 4n,
  CR0_TS = 8n,
  OSXSAVE = 0x4_0000n,
  VM = 0x2_0000;

interface Enabled {
  readonly code?: 16 | 32 | 64;
  readonly osxsave?: boolean;
  readonly xcr0?: bigint;
  readonly cr0?: bigint;
  readonly mmio?: Bus;
}

/** A processor at level 0 with AVX enabled, unless told otherwise. */
function machine({ code = 64, osxsave = true, xcr0 = 7n, cr0 = 0n, mmio }: Enabled = {}): Rig {
  const rig = new Rig(undefined, mmio);
  rig.configure({ paging: 'none', code });
  const { state } = rig;
  state.setBigUint64(S.cr0, state.getBigUint64(S.cr0, true) | cr0, true);
  state.setBigUint64(S.cr4, state.getBigUint64(S.cr4, true) | (osxsave ? OSXSAVE : 0n), true);
  state.setBigUint64(S.xcr0, xcr0, true);
  rig.setGpr(RBX, DATA);
  rig.engine.stateChanged();
  return rig;
}

function run(rig: Rig, ...bytes: number[]): void {
  assert.equal(rig.execute(CODE, ...bytes), 'halted', `exception ${rig.fault.vector}`);
}

function fault(rig: Rig, ...bytes: number[]): number {
  assert.notEqual(rig.execute(CODE, ...bytes), 'halted');
  return rig.fault.vector;
}

const register = (rig: Rig, n: number): Uint8Array => new Uint8Array(rig.state.buffer, xmm(n), 32);
const fill = (rig: Rig, n: number): void => {
  for (let i = 0; i < 32; i++) register(rig, n)[i] = n * 32 + i;
};
const filled = (n: number): number[] => Array.from({ length: 32 }, (_, i) => (n * 32 + i) & 0xff);
const bytesOf = (rig: Rig, n: number): number[] => [...register(rig, n)];

const VXORPS = [0xc5, 0xf4, 0x57, 0xc2]; // vxorps ymm0, ymm1, ymm2

describe('AVX is there', () => {
  for (const code of [64, 32, 16] as const)
    it(`in ${code}-bit code of protected mode`, () => run(machine({ code }), ...VXORPS));

  it('whatever CR0.EM says', () => run(machine({ cr0: CR0_EM }), ...VXORPS));

  for (const [what, options] of [
    ['without CR4.OSXSAVE', { osxsave: false }],
    ['without its state component', { xcr0: 3n }],
    ['without both, and with CR0.TS', { osxsave: false, xcr0: 1n, cr0: CR0_TS }],
  ] as const)
    it(`not ${what}: #UD`, () => assert.equal(fault(machine(options), ...VXORPS), 6));

  it('not with CR0.TS: #NM', () => assert.equal(fault(machine({ cr0: CR0_TS }), ...VXORPS), 7));

  it('not in real-address mode: #UD', () => {
    const rig = machine({ code: 16 });
    rig.state.setBigUint64(S.cr0, 0x30n, true);
    rig.engine.stateChanged();
    assert.equal(fault(rig, ...VXORPS), 6);
  });

  it('not in virtual-8086 mode: #UD', () => {
    const rig = machine({ code: 16 });
    rig.state.setUint32(S.eflags, rig.state.getUint32(S.eflags, true) | VM, true);
    rig.state.setUint32(S.cpl, 3, true);
    rig.engine.stateChanged();
    assert.equal(fault(rig, ...VXORPS), 6);
  });
});

const XSAVE = [0x48, 0x0f, 0xae, 0x23],
  XSAVEC = [0x48, 0x0f, 0xc7, 0x23],
  XRSTOR = [0x48, 0x0f, 0xae, 0x2b];
const HEADER = DATA + 512,
  YMM = DATA + 576;

describe('state component 2', () => {
  const saved = (instruction: readonly number[], components: number, xcr0 = 7n): Rig => {
    const rig = machine({ xcr0 });
    for (let n = 0; n < 16; n++) fill(rig, n);
    rig.ram.fill(0xee, DATA, DATA + 1024);
    rig.ram.fill(0, HEADER, HEADER + 64);
    rig.setGpr(RAX, components);
    rig.setGpr(RDX, 0);
    run(rig, ...instruction);
    return rig;
  };
  const upper = (rig: Rig, n: number): number[] => [...rig.ram.subarray(YMM + n * 16, YMM + n * 16 + 16)];

  for (const [name, instruction] of [
    ['XSAVE', XSAVE],
    ['XSAVEC', XSAVEC],
  ] as const) {
    it(`is saved by ${name} behind the header, and restored`, () => {
      const rig = saved(instruction, 7);
      for (let n = 0; n < 16; n++) assert.deepEqual(upper(rig, n), filled(n).slice(16), `ymm${n}`);
      assert.equal(rig.view.getBigUint64(HEADER, true), 7n);
      assert.equal(rig.view.getBigUint64(HEADER + 8, true), name === 'XSAVE' ? 0n : (1n << 63n) | 7n);
      for (let n = 0; n < 16; n++) register(rig, n).fill(0x55);
      run(rig, ...XRSTOR);
      for (let n = 0; n < 16; n++) assert.deepEqual(bytesOf(rig, n), filled(n), `ymm${n}`);
    });
  }

  it('stays where it is when it is not asked for', () => {
    const rig = saved(XSAVE, 3);
    assert.ok(upper(rig, 0).every((byte) => byte === 0xee));
    register(rig, 3).fill(0x55);
    run(rig, ...XRSTOR);
    assert.deepEqual(bytesOf(rig, 3), [...filled(3).slice(0, 16), ...new Array(16).fill(0x55)]);
  });

  it('alone brings MXCSR along in the standard form', () => {
    const rig = saved(XSAVE, 4);
    assert.equal(rig.view.getUint32(DATA + 24, true), 0x1f80);
    assert.equal(rig.view.getUint32(DATA + 160, true), 0xeeee_eeee, 'XMM0');
    assert.equal(saved(XSAVEC, 4).view.getUint32(DATA + 24, true), 0xeeee_eeee);
  });

  it('is zero after XRSTOR of an image without it', () => {
    const rig = saved(XSAVE, 7);
    rig.view.setBigUint64(HEADER, 3n, true);
    run(rig, ...XRSTOR);
    for (let n = 0; n < 16; n++)
      assert.deepEqual(bytesOf(rig, n), [...filled(n).slice(0, 16), ...new Array(16).fill(0)]);
  });

  it('in an image is #GP while XCR0 has it not', () => {
    const rig = saved(XSAVE, 7);
    rig.state.setBigUint64(S.xcr0, 3n, true);
    rig.engine.stateChanged();
    assert.equal(fault(rig, ...XRSTOR), 13);
  });
});

describe('a store of 32 bytes', () => {
  const STORE = [0xc5, 0xfe, 0x7f, 0x0b]; // vmovdqu [rbx], ymm1

  it('to a device is eight of four bytes, and a load likewise', () => {
    const written: [number, number, number][] = [];
    const mmio: Bus = {
      ...emptyBus,
      read: (offset) => offset,
      write: (offset, size, value) => void written.push([offset, size, value >>> 0]),
    };
    const rig = machine({ mmio });
    fill(rig, 1);
    rig.setGpr(RBX, 0x1000_0000);
    run(rig, ...STORE, 0xc5, 0xfe, 0x6f, 0x13); // vmovdqu ymm2, [rbx]
    const words = new DataView(Uint8Array.from(filled(1)).buffer);
    assert.deepEqual(
      written,
      [0, 4, 8, 12, 16, 20, 24, 28].map((at) => [0x1000_0000 + at, 4, words.getUint32(at, true)]),
    );
    const loaded = new DataView(Uint8Array.from(bytesOf(rig, 2)).buffer);
    assert.equal(loaded.getUint32(28, true), 0x1000_001c);
  });

  it('changes the code behind it', () => {
    const rig = machine();
    const behind = [0xb8, 1, 0, 0, 0]; // mov eax, 1
    const code = [...STORE, ...behind];
    const target = new Array<number>(32).fill(0x90);
    target.splice(0, 6, 0xb8, 2, 0, 0, 0, HLT);
    rig.setGpr(RBX, CODE + STORE.length);
    register(rig, 1).set(target);
    run(rig, ...code);
    assert.equal(rig.gpr(RAX), 2n);
  });
});

describe('VEX rows that no program can compare', () => {
  it('VRCPPS and VRSQRTPS are good to 1.5 × 2^-12, in both halves', () => {
    const rig = machine();
    const view = new DataView(rig.state.buffer);
    for (let i = 0; i < 8; i++) view.setFloat32(xmm(1) + i * 4, 1.25 + i * 3.7, true);
    const near = (n: number, i: number, wanted: number): void => {
      const got = view.getFloat32(xmm(n) + i * 4, true);
      assert.ok(Math.abs(got / wanted - 1) < 1.5 * 2 ** -12, `${got} for ${wanted}`);
    };
    run(rig, 0xc5, 0xfc, 0x53, 0xd1, 0xc5, 0xfc, 0x52, 0xd9); // vrcpps ymm2, ymm1; vrsqrtps ymm3, ymm1
    for (let i = 0; i < 8; i++) {
      near(2, i, 1 / (1.25 + i * 3.7));
      near(3, i, 1 / Math.sqrt(1.25 + i * 3.7));
    }
    run(rig, 0xc5, 0xf8, 0x53, 0xd1, 0xc5, 0xf8, 0x52, 0xd9); // the same of 128 bits
    near(2, 3, 1 / (1.25 + 3 * 3.7));
    near(3, 3, 1 / Math.sqrt(1.25 + 3 * 3.7));
    assert.deepEqual([...bytesOf(rig, 2).slice(16), ...bytesOf(rig, 3).slice(16)], new Array(32).fill(0));
  });

  it('VRCPSS and VRSQRTSS take the other elements from the first source', () => {
    const rig = machine();
    const view = new DataView(rig.state.buffer);
    fill(rig, 4);
    fill(rig, 2);
    view.setFloat32(xmm(1), 4, true);
    run(rig, 0xc5, 0xda, 0x53, 0xd1, 0xc5, 0xda, 0x52, 0xd9); // vrcpss xmm2, xmm4, xmm1; vrsqrtss xmm3, xmm4, xmm1
    assert.ok(Math.abs(view.getFloat32(xmm(2), true) - 0.25) < 2 ** -12);
    assert.ok(Math.abs(view.getFloat32(xmm(3), true) - 0.5) < 2 ** -12);
    for (const n of [2, 3])
      assert.deepEqual(bytesOf(rig, n).slice(4), [...filled(4).slice(4, 16), ...new Array(16).fill(0)]);
  });

  it('VLDMXCSR and VSTMXCSR', () => {
    const rig = machine();
    rig.view.setUint32(DATA, 0x5fa1, true);
    run(rig, 0xc5, 0xf8, 0xae, 0x13, 0xc5, 0xf8, 0xae, 0x5b, 4); // vldmxcsr [rbx]; vstmxcsr [rbx+4]
    assert.equal(rig.view.getUint32(DATA + 4, true), 0x5fa1);
    rig.view.setUint32(DATA, 0x1_0000, true);
    assert.equal(fault(rig, 0xc5, 0xf8, 0xae, 0x13), 13);
  });

  it('VPINSRD and VPEXTRD ignore VEX.W outside 64-bit mode', () => {
    const rig = machine({ code: 32 });
    fill(rig, 1);
    rig.setGpr(RAX, 0x1234_5678);
    run(rig, 0xc4, 0xe3, 0xf1, 0x22, 0xd0, 1, 0xc4, 0xe3, 0xf9, 0x16, 0xd2, 5); // vpinsrd xmm2, xmm1, eax, 1; vpextrd edx, xmm2, 5
    assert.equal(rig.gpr(RDX), 0x1234_5678n);
    assert.deepEqual(bytesOf(rig, 2).slice(8, 16), filled(1).slice(8, 16));
  });
});
