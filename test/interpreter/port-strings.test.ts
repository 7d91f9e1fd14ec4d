// INS and OUTS with REP: whole pages at once must leave what one element at a time does.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SEG, segment } from '../../src/hypervisor/cpu/layout.ts';
import { barePlatform } from '../native/guest-machine.ts';
import { Rig } from './rig.ts';

const RCX = 1,
  RDX = 2,
  RSI = 6,
  RDI = 7,
  ES = 0;
const RAM_END = 16 << 20;

function machine() {
  const out: string[] = [];
  let next = 0;
  const rig = new Rig(RAM_END, undefined, {
    ...barePlatform,
    ioRead: (_port, size) => {
      next += 1;
      return size === 1 ? next & 0xff : next;
    },
    ioWrite: (port, size, value) => out.push(`${port.toString(16)} ${size} ${value.toString(16)}`),
  });
  rig.configure({ paging: 'none', code: 32 });
  rig.setGpr(4, 0x9000);
  rig.setGpr(RDX, 0x1f0);
  const run = (...code: number[]): string => rig.execute(0x1000, ...code);
  return { rig, out, run };
}

const REP_INSW = [0xf3, 0x66, 0x6d];

describe('REP INS', () => {
  it('fills memory over page ends, with elements that lie on two pages', () => {
    const { rig, run } = machine();
    rig.setGpr(RDI, 0x4ffd);
    rig.setGpr(RCX, 3000);
    run(...REP_INSW);
    const words = new DataView(rig.ram.buffer, rig.ram.byteOffset + 0x4ffd);
    assert.deepEqual(
      Array.from({ length: 3000 }, (_, i) => words.getUint16(2 * i, true)),
      Array.from({ length: 3000 }, (_, i) => i + 1),
    );
    assert.equal(rig.ram[0x4ffd + 6000], 0);
    assert.deepEqual([rig.gpr(RDI), rig.gpr(RCX)], [0x4ffdn + 6000n, 0n]);
  });

  it('goes down as well', () => {
    const { rig, run } = machine();
    rig.setGpr(RDI, 0x5000);
    rig.setGpr(RCX, 4);
    run(0xfd, ...REP_INSW);
    assert.deepEqual([...rig.ram.subarray(0x4ffa, 0x5002)], [4, 0, 3, 0, 2, 0, 1, 0]);
    assert.deepEqual([rig.gpr(RDI), rig.gpr(RCX)], [0x4ff8n, 0n]);
  });

  it('overwrites code, which is then another', () => {
    const { rig, run } = machine();
    rig.code(0x3000, 0x90, 0x90, 0xc3);
    run(0xe8, 0xfb, 0x1f, 0, 0); // call 3000h
    rig.setGpr(RDI, 0x3000);
    rig.setGpr(RCX, 3);
    // rep insb; call 3000h, where 01 02 03 stand now: add [edx], eax; add eax, [ebx] …
    run(0xf3, 0x6c);
    assert.deepEqual([...rig.ram.subarray(0x3000, 0x3003)], [1, 2, 3]);
    assert.ok((rig.engine.counters()['codeInvalidations'] ?? 0) > 0);
  });

  it('stops at the limit of its segment with all before it done', () => {
    const { rig, run } = machine();
    rig.state.setUint32(segment(ES) + SEG.limit, 0x4fff, true);
    rig.state.setUint32(segment(ES) + SEG.checked, 1, true);
    rig.setGpr(RDI, 0x4ff0);
    rig.setGpr(RCX, 100);
    assert.equal(run(...REP_INSW), 'triple-fault');
    assert.deepEqual([rig.gpr(RDI), rig.gpr(RCX)], [0x5000n, 92n]);
    assert.deepEqual([...rig.ram.subarray(0x4ffe, 0x5002)], [8, 0, 0, 0]);
  });

  it('wraps where the address does', () => {
    const { rig, run } = machine();
    rig.setGpr(RDI, 0xfffc);
    rig.setGpr(RCX, 4);
    run(0xf3, 0x67, 0x66, 0x6d); // 16-bit addresses
    assert.deepEqual([...rig.ram.subarray(0xfffc, 0x10002)], [1, 0, 2, 0, 0, 0]);
    assert.deepEqual([...rig.ram.subarray(0, 4)], [3, 0, 4, 0]);
    assert.deepEqual([rig.gpr(RDI), rig.gpr(RCX)], [4n, 0n]);
  });
});

describe('REP OUTS', () => {
  it('writes each element, over page ends', () => {
    const { rig, out, run } = machine();
    rig.ram.set([1, 2, 3, 4, 5, 6, 7, 8], 0x4ffa);
    rig.setGpr(RSI, 0x4ffa);
    rig.setGpr(RCX, 4);
    run(0xf3, 0x66, 0x6f);
    assert.deepEqual(out, ['1f0 2 201', '1f0 2 403', '1f0 2 605', '1f0 2 807']);
    assert.deepEqual([rig.gpr(RSI), rig.gpr(RCX)], [0x5002n, 0n]);
  });
});
