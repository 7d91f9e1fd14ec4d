// Accesses to what is no RAM: sizes, order, and instructions that read, change and write.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AccessSize, Bus } from '../../src/hypervisor/machine/bus.ts';
import { emptyBus } from '../native/guest-machine.ts';
import { Rig } from './rig.ts';

const HLT = 0xf4,
  RAX = 0,
  RCX = 1,
  RBX = 3,
  RSI = 6,
  RDI = 7;
const DEVICE = 0xfee0_0000;
const RAM_END = 16 << 20;

/** A device that is memory, and writes down what it is asked. */
function recorder(): { bus: Bus; log: string[]; memory: Uint8Array } {
  const memory = new Uint8Array(0x2000);
  const view = new DataView(memory.buffer);
  const log: string[] = [];
  const at = (address: number): number => address & 0x1fff;
  const bus: Bus = {
    ...emptyBus,
    read: (address: number, size: AccessSize) => {
      const value =
        size === 4
          ? view.getUint32(at(address), true)
          : size === 2
            ? view.getUint16(at(address), true)
            : view.getUint8(at(address));
      log.push(`r${size} ${address.toString(16)}`);
      return value;
    },
    write: (address: number, size: AccessSize, value: number) => {
      log.push(`w${size} ${address.toString(16)} ${value.toString(16)}`);
      if (size === 4) view.setUint32(at(address), value, true);
      else if (size === 2) view.setUint16(at(address), value, true);
      else view.setUint8(at(address), value);
    },
  };
  return { bus, log, memory };
}

function device(): { rig: Rig; log: string[]; memory: Uint8Array; run: (...code: number[]) => void } {
  const { bus, log, memory } = recorder();
  const rig = new Rig(RAM_END, bus);
  rig.configure({ paging: 'none' });
  rig.setGpr(RBX, DEVICE);
  rig.setGpr(4, 0x9000);
  const run = (...code: number[]): void => {
    log.length = 0;
    assert.equal(rig.execute(0x1000, ...code), 'halted');
  };
  return { rig, log, memory, run };
}

describe('device memory', () => {
  it('is read and written once, in the size of the operand; eight bytes as two fours', () => {
    const { rig, log, memory, run } = device();
    memory.set([1, 2, 3, 4, 5, 6, 7, 8], 0x10);
    const reads: [number[], bigint, string[]][] = [
      [[0x8a, 0x43, 0x10], 0x01n, ['r1 fee00010']],
      [[0x66, 0x8b, 0x43, 0x10], 0x0201n, ['r2 fee00010']],
      [[0x8b, 0x43, 0x10], 0x0403_0201n, ['r4 fee00010']],
      [[0x48, 0x8b, 0x43, 0x10], 0x0807_0605_0403_0201n, ['r4 fee00010', 'r4 fee00014']],
    ];
    for (const [code, value, accesses] of reads) {
      rig.setGpr(RAX, 0);
      run(...code);
      assert.equal(rig.gpr(RAX), value);
      assert.deepEqual(log, accesses);
    }
    rig.setGpr(RAX, 0x1122_3344_5566_7788n);
    const writes: [number[], string[]][] = [
      [[0x88, 0x03], ['w1 fee00000 88']],
      [[0x66, 0x89, 0x03], ['w2 fee00000 7788']],
      [[0x89, 0x03], ['w4 fee00000 55667788']],
      [
        [0x48, 0x89, 0x03],
        ['w4 fee00000 55667788', 'w4 fee00004 11223344'],
      ],
      [[0xc7, 0x43, 0x08, 1, 0, 0, 0x80], ['w4 fee00008 80000001']],
    ];
    for (const [code, accesses] of writes) {
      run(...code);
      assert.deepEqual(log, accesses);
    }
  });

  it('is read, changed and written by one instruction', () => {
    const { rig, log, memory, run } = device();
    memory.set([0xf0, 0, 0, 0], 0);
    run(0x83, 0x0b, 0x0f); // or dword [rbx], 15
    assert.deepEqual(log, ['r4 fee00000', 'w4 fee00000 ff']);
    rig.setGpr(RAX, 0x55);
    run(0x87, 0x03); // xchg [rbx], eax
    assert.deepEqual(log, ['r4 fee00000', 'w4 fee00000 55']);
    assert.equal(rig.gpr(RAX), 0xffn);
    run(0xff, 0x33, 0x58); // push qword [rbx]; pop rax
    assert.equal(rig.gpr(RAX), 0x55n);
    // A comparison only reads.
    run(0x80, 0x3b, 0x55);
    assert.deepEqual(log, ['r1 fee00000']);
  });

  it('by string instructions, each element once', () => {
    const { rig, log, memory, run } = device();
    memory.set([1, 2, 3, 4, 5, 6, 7, 8], 0);
    rig.setGpr(RSI, DEVICE);
    rig.setGpr(RDI, 0x5000);
    rig.setGpr(RCX, 4);
    run(0xfc, 0xf3, 0x66, 0xa5);
    assert.deepEqual(log, ['r2 fee00000', 'r2 fee00002', 'r2 fee00004', 'r2 fee00006']);
    assert.deepEqual([...rig.ram.subarray(0x5000, 0x5008)], [1, 2, 3, 4, 5, 6, 7, 8]);
    rig.setGpr(RSI, 0x5000);
    rig.setGpr(RDI, DEVICE + 0x100);
    rig.setGpr(RCX, 2);
    run(0xf3, 0xa5);
    assert.deepEqual(log, ['w4 fee00100 4030201', 'w4 fee00104 8070605']);
    rig.setGpr(RDI, DEVICE);
    rig.setGpr(RCX, 100);
    rig.setGpr(RAX, 0xabcd);
    run(0xf3, 0xaa);
    assert.equal(log.length, 100);
    assert.equal(log[99], 'w1 fee00063 cd');
  });

  it('next to RAM: an access over the edge takes each byte from where it is', () => {
    const { rig, log, memory, run } = device();
    rig.ram.set([0xaa, 0xbb], RAM_END - 2);
    memory.set([0xcc, 0xdd], RAM_END & 0x1fff);
    rig.setGpr(RBX, RAM_END - 2);
    run(0x8b, 0x03);
    assert.equal(rig.gpr(RAX), 0xddcc_bbaan);
    assert.deepEqual(log, ['r1 1000000', 'r1 1000001']);
    rig.setGpr(RAX, 0x4433_2211);
    run(0x89, 0x03);
    assert.deepEqual(log, ['w1 1000000 33', 'w1 1000001 44']);
    assert.deepEqual([...rig.ram.subarray(RAM_END - 2)], [0x11, 0x22]);
    run(0x81, 0x03, 1, 1, 1, 1); // add dword [rbx], 0x01010101
    assert.deepEqual([...rig.ram.subarray(RAM_END - 2), ...memory.subarray(0, 2)], [0x12, 0x23, 0x34, 0x45]);
  });

  it('the hole of the video card is no RAM', () => {
    const { rig, log, run } = device();
    rig.setGpr(RBX, 0xb_8000);
    run(0x66, 0xc7, 0x03, 0x41, 0x07, 0x8a, 0x03);
    assert.deepEqual(log, ['w2 b8000 741', 'r1 b8000']);
    assert.equal(rig.view.getUint16(0xb_8000, true), 0);
    for (const at of [0x9_ffff, 0xc_0000]) {
      rig.setGpr(RBX, at);
      run(0xc6, 0x03, 0x55);
      assert.deepEqual(log, []);
      assert.equal(rig.ram[at], 0x55);
    }
    // A write that begins in RAM and ends in the hole.
    rig.setGpr(RBX, 0x9_fffe);
    rig.setGpr(RAX, 0x4433_2211);
    run(0x89, 0x03);
    assert.deepEqual(log, ['w1 a0000 33', 'w1 a0001 44']);
  });

  it('code that lies in a device runs, one instruction at a time', () => {
    const { rig, memory } = device();
    memory.set([0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xf8, HLT], 0x100);
    rig.setGpr(RAX, 0);
    rig.setGpr(RCX, 5);
    rig.jump(DEVICE + 0x100);
    assert.equal(rig.engine.run(1000), 'halted');
    assert.equal(rig.gpr(RAX), 10n);
    assert.equal(rig.engine.instructions, 5 * 4 + 1);
  });
});
