import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createHostState, type HostState } from '../../../../test/native/host-cpu.ts';
import { createTestbed } from '../../../../test/native/sse-testbed.ts';
import { S } from '../layout.ts';
import { sseInstructions } from './sse-instructions.ts';
import { SSE } from './sse-scratch.ts';

/** What the host cannot show: modes, control registers, and which way a result was computed. */

const MEMORY = 0x70000000;
const bed = createTestbed(sseInstructions, MEMORY, 65536);
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

function stateWith(mxcsr: number, low: readonly number[] = [], width: 32 | 64 = 64): HostState {
  const state = createHostState();
  const fx = new DataView(state.fx.buffer);
  fx.setUint32(24, mxcsr, true);
  low.forEach((value, register) => {
    for (let lane = 0; lane < 128 / width; lane += 1) {
      const at = 160 + register * 16 + (lane * width) / 8;
      if (width === 64) fx.setFloat64(at, value, true);
      else fx.setFloat32(at, value, true);
    }
  });
  state.gpr[3] = BigInt(MEMORY);
  return state;
}

function withControl(field: number, value: number, body: () => void): void {
  const before = bed.view.getUint32(field, true);
  bed.view.setUint32(field, value, true);
  try {
    body();
  } finally {
    bed.view.setUint32(field, before, true);
  }
}

describe('the fast path of SSE arithmetic', () => {
  const UNTOUCHED = 0x5a5a5a5a;
  /** Whether the exact path ran: it begins by clearing its exceptions. */
  const exactRan = (code: string, mxcsr: number, operands: readonly number[], width: 32 | 64): boolean => {
    bed.view.setUint32(SSE.exceptions, UNTOUCHED, true);
    assert.equal(bed.run(bytes(code), stateWith(mxcsr, operands, width)).fault, undefined);
    return bed.view.getUint32(SSE.exceptions, true) !== UNTOUCHED;
  };
  const CASES: readonly [string, string, 32 | 64][] = [
    ['addps', '0f58c1', 32],
    ['addpd', '660f58c1', 64],
    ['addss', 'f30f58c1', 32],
    ['addsd', 'f20f58c1', 64],
    ['mulps', '0f59c1', 32],
    ['mulpd', '660f59c1', 64],
    ['mulss', 'f30f59c1', 32],
    ['mulsd', 'f20f59c1', 64],
    ['subps', '0f5cc1', 32],
    ['subsd', 'f20f5cc1', 64],
    ['divps', '0f5ec1', 32],
    ['divsd', 'f20f5ec1', 64],
    ['sqrtps', '0f51c1', 32],
    ['sqrtsd', 'f20f51c1', 64],
    ['haddps', 'f20f7cc1', 32],
    ['addsubpd', '660fd0c1', 64],
    ['cvtsd2ss', 'f20f5ac1', 64],
    ['cvtpd2ps', '660f5ac1', 64],
    ['cvtsd2si', 'f20f2dc1', 64],
    ['cvttps2dq', 'f30f5bc1', 32],
    ['cvtdq2ps', '0f5bc1', 32],
    ['roundsd', '660f3a0bc100', 64],
    ['minps', '0f5dc1', 32],
    ['maxsd', 'f20f5fc1', 64],
    ['cmpltpd', '660fc2c101', 64],
    ['ucomisd', '660f2ec1', 64],
    ['cvtss2sd', 'f30f5ac1', 32],
  ];
  for (const [name, code, width] of CASES) {
    it(`serves ${name} of ordinary numbers once PE is set`, () => {
      assert.equal(exactRan(code, 0x1fa0, [1.1, 3.3], width), false);
    });
  }

  it('gives way when a flag could change: first inexact result, another rounding, a denormal, a NaN', () => {
    assert.equal(exactRan('f20f58c1', 0x1f80, [1.1, 3.3], 64), true);
    assert.equal(exactRan('f20f58c1', 0x3fa0, [1.1, 3.3], 64), true);
    assert.equal(exactRan('f20f58c1', 0x1fa0, [1.1, 5e-324], 64), true);
    assert.equal(exactRan('f20f58c1', 0x1fa0, [1.1, NaN], 64), true);
    assert.equal(exactRan('660f2ec1', 0x1fa0, [1.1, NaN], 64), true);
  });

  it('serves zero operands', () => {
    for (const code of ['f20f58c1', 'f20f59c1', '660f58c1', '660f59c1'])
      assert.equal(exactRan(code, 0x1fa0, [0, 3], 64), false);
    assert.equal(exactRan('f20f5ec1', 0x1fa0, [0, 3], 64), false);
  });
});

describe('SSE under control registers', () => {
  it('raises #UD for an unmasked exception without CR4.OSXMMEXCPT, and changes no register', () => {
    const state = stateWith(0x1f00, [0, NaN]);
    new DataView(state.fx.buffer).setBigUint64(176, 0x7ff0000000000001n, true);
    const code = bytes('f20f58c1');
    withControl(S.cr4, 1 << 9, () => assert.equal(bed.run(code, state).fault?.vector, 6));
    const result = bed.run(code, state);
    assert.deepEqual(result.fault, { vector: 19, errorCode: undefined });
    assert.equal(new DataView(result.fx.buffer).getUint32(24, true), 0x1f01);
    assert.deepEqual(result.fx.subarray(160), state.fx.subarray(160));
  });

  it('raises #NM for FXSAVE with CR0.EM or TS, and for XSAVE with TS', () => {
    withControl(S.cr0, 1 | 4, () =>
      assert.equal(bed.run(bytes('0fae03'), stateWith(0x1f80)).fault?.vector, 7),
    );
    withControl(S.cr0, 1 | 8, () => {
      assert.equal(bed.run(bytes('0fae03'), stateWith(0x1f80)).fault?.vector, 7);
      assert.equal(bed.run(bytes('0fae0b'), stateWith(0x1f80)).fault?.vector, 7);
      assert.equal(bed.run(bytes('0fae23'), stateWith(0x1f80)).fault?.vector, 7);
    });
  });

  it('raises #UD for XSAVE, XRSTOR and XGETBV without CR4.OSXSAVE', () => {
    withControl(S.cr4, 1 << 9, () => {
      for (const code of ['0fae23', '0fae2b', '0fae33', '0fc723', '0f01d0']) {
        assert.equal(bed.run(bytes(code), stateWith(0x1f80)).fault?.vector, 6, code);
      }
    });
  });

  it('gives XCR0 for XGETBV of register 0, #GP(0) for another', () => {
    const state = stateWith(0x1f80);
    state.gpr[2] = 0xffff_ffff_ffff_ffffn;
    const after = bed.run(bytes('0f01d0'), state);
    assert.equal(after.gpr[0], 3n);
    assert.equal(after.gpr[2], 0n);
    state.gpr[1] = 1n;
    assert.deepEqual(bed.run(bytes('0f01d0'), state).fault, { vector: 13, errorCode: 0 });
  });

  it('saves and restores only the components that XCR0 and EDX:EAX ask for', () => {
    const state = stateWith(0x1f80, [1, 2, 3]);
    state.gpr[0] = 0xffff_ffffn;
    state.gpr[2] = 0xffff_ffffn;
    bed.memory.fill(0xee, 0, 1024);
    bed.memory.fill(0, 512, 576);
    withControl(S.xcr0, 1, () => assert.equal(bed.run(bytes('0fae23'), state).fault, undefined));
    assert.equal(bed.memory[0], 0x7f);
    assert.equal(bed.memory[24], 0xee);
    assert.equal(bed.memory[160], 0xee);
    assert.equal(bed.memory[512], 1);
  });

  it('keeps the compacted form: XSAVEC then XRSTOR initializes what the image does not hold', () => {
    const state = stateWith(0x1fa1, [1, 2, 3]);
    state.gpr[0] = 1n;
    bed.memory.fill(0, 0, 1024);
    assert.equal(bed.run(bytes('0fc723'), state).fault, undefined);
    assert.equal(bed.memory[527], 0x80);
    state.gpr[0] = 3n;
    // The image lists x87 alone; SSE is asked for as well and comes up initialized.
    const after = bed.run(bytes('0fae2b'), state);
    assert.equal(after.fault, undefined);
    assert.equal(new DataView(after.fx.buffer).getUint32(24, true), 0x1f80);
    assert.ok(after.fx.subarray(160, 416).every((byte) => byte === 0));
  });
});

describe('SSE outside 64-bit mode', () => {
  it('leaves XMM8-15 out of FXSAVE and FXRSTOR', () => {
    const state = stateWith(0x1f80, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    bed.memory.fill(0xee, 0, 512);
    assert.equal(bed.run32(bytes('0fae03'), state).fault, undefined);
    assert.deepEqual(bed.memory.slice(160, 288), state.fx.slice(160, 288));
    assert.ok(bed.memory.slice(288, 512).every((byte) => byte === 0xee));
    bed.memory.fill(0, 160, 512);
    const after = bed.run32(bytes('0fae0b'), state);
    assert.ok(after.fx.subarray(160, 288).every((byte) => byte === 0));
    assert.deepEqual(after.fx.slice(288, 416), state.fx.slice(288, 416));
  });

  it('stores and loads the selectors of the x87 pointers without REX.W', () => {
    const state = stateWith(0x1f80);
    bed.memory.fill(0, 0, 512);
    bed.memory.set([0x7f, 3, 0, 0, 0, 0, 0x11, 1, 0x44, 0x33, 0x22, 0x11, 0x23, 0], 0);
    new DataView(bed.memory.buffer, bed.memory.byteOffset).setUint32(24, 0x1f80, true);
    bed.run32(bytes('0fae0b'), state);
    assert.equal(bed.view.getBigUint64(S.fpuIp, true), 0x11223344n);
    assert.equal(bed.view.getUint32(S.fpuCs, true), 0x23);
    const image = bed.memory.slice(0, 24);
    bed.memory.fill(0, 0, 512);
    const again = stateWith(0x1f80);
    bed.run32(bytes('0fae03'), again);
    assert.deepEqual(bed.memory.slice(6, 24), image.slice(6, 24));
  });

  it('computes as in 64-bit mode', () => {
    const state = stateWith(0x1f80, [1.5, 2.25]);
    for (const code of [
      'f20f58c1',
      '660f58c1',
      '660fefc1',
      '0f6fc1',
      '660f3a0fc105',
      'f20f2ac3',
      'f20f58 03',
    ]) {
      const wide = bed.run(bytes(code), state);
      const narrow = bed.run32(bytes(code), state);
      assert.deepEqual(narrow.fx, wide.fx, code);
    }
  });
});

describe('CRC32', () => {
  it('takes 16-bit operands with the prefix 66', () => {
    // CRC-32C of "12" is computed byte by byte as a check of the word form.
    const state = stateWith(0x1f80);
    state.gpr[0] = 0xffff_ffffn;
    state.gpr[1] = 0x3231n;
    const word = bed.run(bytes('66f20f38f1c1'), state).gpr[0];
    const first = bed.run(bytes('f20f38f0c1'), state);
    first.gpr[1] = 0x32n;
    assert.equal(bed.run(bytes('f20f38f0c1'), first).gpr[0], word);
  });

  it('gives the check value of RFC 3720 for 32 bytes of zeroes', () => {
    let state = stateWith(0x1f80);
    state.gpr[0] = 0xffff_ffffn;
    for (let i = 0; i < 4; i += 1) state = bed.run(bytes('f2480f38f1c1'), state);
    assert.equal((state.gpr[0] ?? 0n) ^ 0xffff_ffffn, 0x8a9136aan);
  });
});

describe('masked stores', () => {
  it('stores nothing, and touches no page, under an empty mask', () => {
    const state = stateWith(0x1f80, [1, 2]);
    state.gpr[7] = 0x7000_0000n;
    assert.equal(bed.run(bytes('660ff7c1'), state).fault, undefined);
  });
});
