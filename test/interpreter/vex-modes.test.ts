// VEX-encoded instructions in modes that have them and in those that have not (SDM vol. 2, 2.3).
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { S } from '../../src/hypervisor/cpu/layout.ts';
import { Rig } from './rig.ts';

const CODE = 0x8000;
const VM = 0x2_0000;
/** andn eax, ecx, edx; jmp $ */
const ANDN = [0xc4, 0xe2, 0x70, 0xf2, 0xc2, 0xeb, 0xfe];

/** Runs it; a fault ends the run as a triple fault. */
function run(code: 16 | 32 | 64, change: (rig: Rig) => void): { rig: Rig; vector: number } {
  const rig = new Rig();
  rig.configure({ paging: 'none', code });
  change(rig);
  rig.engine.stateChanged();
  rig.code(CODE, ...ANDN);
  rig.setGpr(0, -1n);
  rig.setGpr(1, 0xff);
  rig.setGpr(2, 0x1234);
  rig.jump(CODE);
  rig.engine.run(100);
  return { rig, vector: rig.fault.vector };
}

describe('a VEX prefix', () => {
  for (const code of [64, 32, 16] as const) {
    it(`is known in protected mode with ${code}-bit code`, () => {
      const { rig } = run(code, () => undefined);
      assert.equal(rig.gpr(0), 0x1200n);
      assert.equal(rig.rip, BigInt(CODE + 5));
    });
  }

  it('is #UD in real-address mode', () => {
    const { rig, vector } = run(16, ({ state }) => state.setBigUint64(S.cr0, 0x30n, true));
    assert.equal(vector, 6);
    assert.equal(rig.gpr(0), 0xffff_ffff_ffff_ffffn);
  });

  it('is #UD in virtual-8086 mode', () => {
    const { rig, vector } = run(16, ({ state }) => {
      state.setUint32(S.eflags, state.getUint32(S.eflags, true) | VM, true);
      state.setUint32(S.cpl, 3, true);
    });
    assert.equal(rig.gpr(0), 0xffff_ffff_ffff_ffffn);
    assert.equal(vector, 6);
  });
});
