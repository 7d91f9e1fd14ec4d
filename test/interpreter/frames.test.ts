// Frames that are no RAM: ROM, a video adapter's memory, and which of its pages were written.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FRAMES, RAM } from '../../src/hypervisor/cpu/layout.ts';
import type { Bus } from '../../src/hypervisor/machine/bus.ts';
import type { MappedRange } from '../../src/hypervisor/machine/mapping.ts';
import { emptyBus } from '../native/guest-machine.ts';
import { Rig } from './rig.ts';

const HLT = 0xf4,
  RAX = 0,
  RBX = 3;
const RAM_END = 16 << 20;
const ROM = 0xffff_0000;
const VIDEO = 0xfd00_0000;

const frames = (rig: Rig, first: number, bytes: number): Uint8Array =>
  new Uint8Array(rig.state.buffer, (RAM + first) >>> 0, bytes);

function machine() {
  const log: string[] = [];
  const bus: Bus = {
    ...emptyBus,
    read: (address, size) => {
      log.push(`r${size} ${address.toString(16)}`);
      return 0x5a;
    },
    write: (address, size, value) => log.push(`w${size} ${address.toString(16)} ${value.toString(16)}`),
  };
  const rig = new Rig(RAM_END, bus);
  rig.configure({ paging: 'none', code: 32 });
  rig.setGpr(4, 0x9000);
  const go = (at: number): void => {
    log.length = 0;
    assert.equal(rig.go(at), 'halted');
  };
  const run = (...code: number[]): void => {
    rig.code(0x1000, ...code, HLT);
    go(0x1000);
  };
  return { rig, log, run, go };
}

describe('ROM', () => {
  const range: MappedRange = { base: ROM, length: 0x1_0000, frame: ROM, read: true, write: false };
  const setup = () => {
    const parts = machine();
    parts.rig.engine.mapMemory(range);
    const rom = frames(parts.rig, ROM, range.length);
    rom.set([1, 2, 3, 4], 0x100);
    parts.rig.setGpr(RBX, ROM + 0x100);
    return { ...parts, rom };
  };

  it('is read without asking anybody; what is written to it goes to the bus', () => {
    const { rig, log, rom, run } = setup();
    run(0x8b, 0x03); // mov eax, [ebx]
    assert.equal(rig.gpr(RAX), 0x0403_0201n);
    run(0x89, 0x03); // mov [ebx], eax
    assert.deepEqual(log, ['w4 ffff0100 4030201']);
    run(0x83, 0x03, 0x01); // add dword [ebx], 1
    assert.deepEqual(log, ['w4 ffff0100 4030202']);
    assert.deepEqual([...rom.subarray(0x100, 0x104)], [1, 2, 3, 4]);
  });

  it('goes on over the edge into what is beside it, in reads and writes', () => {
    const { rig, log, rom, run } = setup();
    rom.set([7, 8], 0);
    rig.setGpr(RBX, ROM - 2);
    run(0x8b, 0x03);
    assert.equal(rig.gpr(RAX), 0x0807_5a5an);
    assert.deepEqual(log, ['r1 fffefffe', 'r1 fffeffff']);
    run(0x89, 0x03);
    assert.deepEqual(log, ['w1 fffefffe 5a', 'w1 fffeffff 5a', 'w1 ffff0000 7', 'w1 ffff0001 8']);
  });

  it('holds code up to its last byte, decoded once', () => {
    const { rig, rom, go } = setup();
    // inc eax; dec ecx; jnz -4; hlt
    rom.set([0x40, 0x49, 0x75, 0xfc, HLT], 0xfffb);
    rig.setGpr(RAX, 0);
    rig.setGpr(1, 100);
    go(0xffff_fffb);
    assert.equal(rig.gpr(RAX), 100n);
    assert.ok((rig.engine.counters()['decoded'] ?? 0) <= 6);
  });

  it('shows below 1 MiB too, instead of RAM and in turns with it', () => {
    const { rig, log, rom, run } = setup();
    rig.ram.fill(0xee, 0xf_0000, 0x10_0000);
    rig.setGpr(RBX, 0xf_0100);
    const low = { base: 0xf_0000, length: 0x1_0000, read: true };
    rig.engine.mapMemory({ ...low, frame: ROM, write: false });
    run(0x8b, 0x03);
    assert.equal(rig.gpr(RAX), 0x0403_0201n);
    rig.engine.mapMemory({ ...low, frame: 0xf_0000, write: false });
    run(0x8b, 0x03, 0x89, 0x03);
    assert.equal(rig.gpr(RAX), 0xeeee_eeeen);
    assert.deepEqual(log, ['w4 f0100 eeeeeeee']);
    rig.engine.mapMemory({ ...low, frame: 0xf_0000, write: true });
    rig.setGpr(RAX, 0x1122_3344);
    run(0x89, 0x03);
    assert.deepEqual([...rig.ram.subarray(0xf_0100, 0xf_0104)], [0x44, 0x33, 0x22, 0x11]);
    assert.deepEqual([...rom.subarray(0x100, 0x104)], [1, 2, 3, 4]);
  });

  it('an address above 4 GiB is not that of its last page', () => {
    const { rig, log } = setup();
    rig.configure({ paging: 'none' });
    const root = rig.table();
    const tables = [root, rig.table(), rig.table(), rig.table()];
    for (const [i, at] of tables.slice(0, 3).entries()) rig.set64(at, BigInt(tables[i + 1] ?? 0) | 7n);
    const last = tables[3] ?? 0;
    rig.set64(last + 8, 0x1007n);
    rig.set64(last + 16, 0x1_0000_0007n);
    rig.configure({ paging: '4-level' }, root);
    rig.setGpr(RBX, 0x2100);
    rig.code(0x1000, 0x8a, 0x03, HLT);
    rig.jump(0x1000);
    log.length = 0;
    assert.equal(rig.engine.run(100), 'halted');
    assert.equal(log.length, 1);
    assert.doesNotMatch(log[0] ?? '', /ffff/);
  });
});

describe("a video adapter's memory", () => {
  const range: MappedRange = {
    base: VIDEO,
    length: FRAMES.video.bytes,
    frame: FRAMES.video.base,
    read: true,
    write: true,
  };
  const setup = () => {
    const parts = machine();
    parts.rig.engine.mapMemory(range);
    parts.rig.setGpr(RBX, VIDEO + 0x5000);
    return { ...parts, video: frames(parts.rig, range.frame, range.length) };
  };

  it('is read and written without asking anybody, wherever it is put', () => {
    const { rig, log, run, video } = setup();
    rig.setGpr(RAX, 0x1234_5678);
    run(0x89, 0x03);
    assert.deepEqual([...video.subarray(0x5000, 0x5004)], [0x78, 0x56, 0x34, 0x12]);
    rig.engine.unmapMemory(range.base, range.length);
    run(0x8a, 0x03);
    assert.deepEqual(log, ['r1 fd005000']);
    rig.engine.mapMemory({ ...range, base: 0x8000_0000 });
    rig.setGpr(RBX, 0x8000_5000);
    run(0x8b, 0x03);
    assert.equal(rig.gpr(RAX), 0x1234_5678n);
  });

  it('tells which pages were written since the last look', () => {
    const { rig, run } = setup();
    const { engine } = rig;
    const pages = range.length / 4096;
    assert.equal(engine.writtenPages(range).length, pages);
    assert.deepEqual(engine.writtenPages(range), []);
    run(0x8b, 0x03); // a read, which fills the TLB
    assert.deepEqual(engine.writtenPages(range), []);
    for (let turn = 0; turn < 2; turn++) {
      run(0x89, 0x03, 0x89, 0x03, 0x88, 0x83, 0xff, 0x1f, 0x00, 0x00); // and a byte at ebx + 0x1fff
      assert.deepEqual(engine.writtenPages(range), [5, 6]);
      assert.deepEqual(engine.writtenPages(range), []);
    }
    run(0x89, 0x83, 0xfe, 0x0f, 0x00, 0x00); // on two pages
    assert.deepEqual(engine.writtenPages(range), [5, 6]);
    run(0x8b, 0x03);
    engine.forgetWrites(range);
    run(0x89, 0x03);
    assert.equal(engine.writtenPages(range).length, pages);
  });

  it('holds code, which may change', () => {
    const { rig, run, go, video } = setup();
    video.set([0xb8, 1, 0, 0, 0, HLT], 0x5000); // mov eax, 1
    go(VIDEO + 0x5000);
    assert.equal(rig.gpr(RAX), 1n);
    run(0xc6, 0x43, 0x01, 0x07); // mov byte [ebx + 1], 7
    go(VIDEO + 0x5000);
    assert.equal(rig.gpr(RAX), 7n);
  });
});
