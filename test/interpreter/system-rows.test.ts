// Rows of the system instructions that no other test runs through the decoder and the interpreter.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readRflags } from '../../src/hypervisor/cpu/flags.ts';
import { CS, DS, ES, FS, GS, S, SEG, SS, segment } from '../../src/hypervisor/cpu/layout.ts';
import { Rig } from './rig.ts';

const HLT = 0xf4;
const RAX = 0,
  RCX = 1,
  RDX = 2,
  RSP = 4;
const CODE = 0x1000,
  GDT = 0x800,
  IDT = 0x900,
  STACK = 0x9000;
const CODE_SELECTOR = 0x08,
  FLAT_SELECTOR = 0x10,
  BASED_SELECTOR = 0x18,
  BASE = 0x2_0000;
const ALL = -1n;

/** A processor at CPL 0 with a GDT: flat code, flat data, data from BASE on. */
function machine(code: 32 | 64): Rig {
  const rig = new Rig();
  rig.configure({ paging: 'none', code });
  rig.set64(GDT + CODE_SELECTOR, code === 64 ? 0x00af_9b00_0000_ffffn : 0x00cf_9b00_0000_ffffn);
  rig.set64(GDT + FLAT_SELECTOR, 0x00cf_9300_0000_ffffn);
  rig.set64(GDT + BASED_SELECTOR, 0x0040_9302_0000_ffffn);
  rig.state.setBigUint64(S.gdtrBase, BigInt(GDT), true);
  rig.state.setUint32(S.gdtrLimit, 0x1f, true);
  // CR4.FSGSBASE and OSXSAVE.
  rig.state.setBigUint64(S.cr4, rig.state.getBigUint64(S.cr4, true) | 0x5_0000n, true);
  rig.setGpr(RSP, STACK);
  rig.engine.stateChanged();
  return rig;
}

/** Runs the bytes up to the HLT behind them. */
function run(rig: Rig, ...bytes: number[]): void {
  assert.equal(rig.execute(CODE, ...bytes), 'halted');
}

/** Vector of the exception that the bytes raise. */
function fault(rig: Rig, ...bytes: number[]): number {
  assert.notEqual(rig.execute(CODE, ...bytes), 'halted');
  return rig.fault.vector;
}

const selector = (rig: Rig, index: number): number =>
  rig.state.getUint32(segment(index) + SEG.selector, true);
const base = (rig: Rig, index: number): bigint => rig.state.getBigUint64(segment(index) + SEG.base, true);
const arithmeticFlags = (rig: Rig): number => readRflags(rig.state) & 0x8d5;

describe('system rows', () => {
  for (const [name, opcode, index] of [
    ['ES', [0x07], ES],
    ['DS', [0x1f], DS],
    ['FS', [0x0f, 0xa1], FS],
    ['GS', [0x0f, 0xa9], GS],
  ] as const) {
    it(`POP ${name} loads the descriptor`, () => {
      const rig = machine(32);
      run(rig, 0x6a, BASED_SELECTOR, ...opcode);
      assert.equal(selector(rig, index), BASED_SELECTOR);
      assert.equal(base(rig, index), BigInt(BASE));
      assert.equal(rig.gpr(RSP), BigInt(STACK));
    });
  }

  it('POP SS loads the stack segment', () => {
    const rig = machine(32);
    run(rig, 0x6a, FLAT_SELECTOR, 0x17);
    assert.equal(selector(rig, SS), FLAT_SELECTOR);
    assert.equal(rig.gpr(RSP), BigInt(STACK));
  });

  it('CALL ptr16:32 and RET imm16 go there and back', () => {
    const rig = machine(32);
    rig.code(0x2000, 0xb8, 1, 2, 3, 4, 0xca, 8, 0);
    // push 1; push 2; call 8:2000
    run(rig, 0x6a, 1, 0x6a, 2, 0x9a, 0x00, 0x20, 0, 0, CODE_SELECTOR, 0);
    assert.equal(rig.gpr(RAX), 0x0403_0201n);
    assert.equal(rig.gpr(RSP), BigInt(STACK));
    assert.equal(rig.rip, BigInt(CODE + 4 + 7 + 1));
  });

  it('INT1 enters the handler of #DB with the address behind it', () => {
    const rig = machine(32);
    rig.state.setBigUint64(S.idtrBase, BigInt(IDT), true);
    rig.state.setUint32(S.idtrLimit, 0xf, true);
    rig.set64(IDT + 8, 0x0000_8e00_0008_3000n);
    rig.code(0x3000, 0x58, HLT);
    run(rig, 0xf1);
    assert.equal(rig.gpr(RAX), BigInt(CODE + 1));
  });

  it('SYSENTER and SYSEXIT change the privilege level', () => {
    const rig = machine(32);
    rig.state.setBigUint64(S.sysenterCs, BigInt(CODE_SELECTOR), true);
    rig.state.setBigUint64(S.sysenterEsp, 0x8000n, true);
    rig.state.setBigUint64(S.sysenterEip, 0x3000n, true);
    rig.code(0x3000, 0x0f, 0x35);
    rig.code(0x4000, 0x0f, 0x34);
    rig.setGpr(RCX, 0x7000);
    rig.setGpr(RDX, 0x5000);
    rig.code(0x5000, 0xeb, 0xfe);
    rig.jump(0x4000);
    rig.engine.run(1);
    assert.deepEqual(
      [rig.rip, rig.gpr(RSP), selector(rig, CS), selector(rig, SS)],
      [0x3000n, 0x8000n, CODE_SELECTOR, CODE_SELECTOR + 8],
    );
    rig.engine.run(1);
    assert.deepEqual(
      [rig.rip, rig.gpr(RSP), selector(rig, CS), selector(rig, SS)],
      [0x5000n, 0x7000n, (CODE_SELECTOR + 16) | 3, (CODE_SELECTOR + 24) | 3],
    );
    assert.equal(rig.state.getUint32(S.cpl, true), 3);
  });

  it('RDTSC and RDTSCP clear the upper halves; RDTSCP gives IA32_TSC_AUX', () => {
    const rig = machine(64);
    for (const n of [RAX, RCX, RDX]) rig.setGpr(n, ALL);
    run(rig, 0x0f, 0x31);
    assert.deepEqual([rig.gpr(RAX), rig.gpr(RDX)], [0n, 0n]);
    for (const n of [RAX, RCX, RDX]) rig.setGpr(n, ALL);
    rig.state.setBigUint64(S.tscAux, 7n, true);
    run(rig, 0x0f, 0x01, 0xf9);
    assert.deepEqual([rig.gpr(RAX), rig.gpr(RCX), rig.gpr(RDX)], [0n, 7n, 0n]);
  });

  for (const [name, modrm] of [
    ['RDRAND', 0xf0],
    ['RDSEED', 0xf8],
  ] as const) {
    it(`${name} takes its number from the platform, with CF alone set`, () => {
      const rig = machine(64);
      rig.setGpr(RAX, ALL);
      run(rig, 0x0f, 0xc7, modrm);
      assert.equal(rig.gpr(RAX), 0n);
      assert.equal(arithmeticFlags(rig), 1);
    });
  }

  it('RDPMC is #GP, for there are no counters; RDPID is #UD', () => {
    assert.equal(fault(machine(64), 0x0f, 0x33), 13);
    assert.equal(fault(machine(64), 0xf3, 0x0f, 0xc7, 0xf8), 6);
  });

  it('WRFSBASE, RDFSBASE and WRGSBASE move whole registers', () => {
    const rig = machine(64);
    rig.setGpr(RAX, 0x1234_5678_9abcn);
    // wrfsbase rax; wrgsbase rax; rdfsbase rcx; rdfsbase edx
    run(
      rig,
      0xf3,
      0x48,
      0x0f,
      0xae,
      0xd0,
      0xf3,
      0x48,
      0x0f,
      0xae,
      0xd8,
      0xf3,
      0x48,
      0x0f,
      0xae,
      0xc1,
      0xf3,
      0x0f,
      0xae,
      0xc2,
    );
    assert.deepEqual([base(rig, FS), base(rig, GS)], [0x1234_5678_9abcn, 0x1234_5678_9abcn]);
    assert.deepEqual([rig.gpr(RCX), rig.gpr(RDX)], [0x1234_5678_9abcn, 0x5678_9abcn]);
  });

  it('XSETBV sets XCR0, but not without x87', () => {
    const rig = machine(64);
    for (const [n, value] of [
      [RAX, 1],
      [RCX, 0],
      [RDX, 0],
    ] as const)
      rig.setGpr(n, value);
    run(rig, 0x0f, 0x01, 0xd1);
    assert.equal(rig.state.getBigUint64(S.xcr0, true), 1n);
    rig.setGpr(RAX, 0);
    assert.notEqual(rig.execute(CODE, 0x0f, 0x01, 0xd1), 'halted');
    assert.equal(rig.state.getBigUint64(S.xcr0, true), 1n);
  });
});
