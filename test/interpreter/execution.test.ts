// The interpreter's running: counts, budgets, code that changes, code that lies on two pages, a full cache.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { S } from '../../src/hypervisor/cpu/layout.ts';
import { P, Rig, U, W } from './rig.ts';

const HLT = 0xf4;
const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3;
const d32 = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >> 24) & 0xff];

function start(rig: Rig, at: number): void {
  rig.state.setUint32(S.halted, 0, true);
  rig.jump(at);
}

/** Runs to HLT and gives the number of instructions, HLT included. */
function count(rig: Rig, at: number, budget = 1_000_000): number {
  const before = rig.engine.instructions;
  start(rig, at);
  assert.equal(rig.engine.run(budget), 'halted');
  return rig.engine.instructions - before;
}

function plain(): Rig {
  const rig = new Rig();
  rig.configure({ paging: 'none' });
  return rig;
}

describe('instruction counts', () => {
  it('straight on, shorter and longer than a decoded run', () => {
    for (const n of [0, 1, 2, 46, 47, 48, 49, 95, 96, 97, 200, 3000]) {
      const rig = plain();
      rig.code(0x1000, ...new Array<number>(n).fill(0x90), HLT);
      for (let again = 0; again < 3; again++) assert.equal(count(rig, 0x1000), n + 1, `${n} NOPs`);
    }
  });

  it('over the end of a page, and over several', () => {
    const rig = plain();
    rig.ram.fill(0x90, 0x1ff0, 0x5010);
    rig.code(0x5010, HLT);
    for (let again = 0; again < 2; again++) assert.equal(count(rig, 0x1ff0), 0x5010 - 0x1ff0 + 1);
  });

  it('loops, taken and not taken branches', () => {
    const rig = plain();
    // mov ecx, 1000; L: test cl, 1; jz M; nop; M: dec ecx; jnz L; hlt
    rig.code(0x1000, 0xb9, ...d32(1000), 0xf6, 0xc1, 1, 0x74, 1, 0x90, 0xff, 0xc9, 0x75, 0xf6, HLT);
    assert.equal(count(rig, 0x1000), 1 + 1000 * 4 + 500 + 1);
  });

  it('calls, returns and jumps to other pages', () => {
    const rig = plain();
    rig.setGpr(4, 0x9000);
    // mov ecx, 100; L: call F; dec ecx; jnz L; hlt. F, two pages on: nop; ret
    rig.code(0x1000, 0xb9, ...d32(100), 0xe8, ...d32(0x3000 - 0x100a), 0xff, 0xc9, 0x75, 0xf7, HLT);
    rig.code(0x3000, 0x90, 0xc3);
    assert.equal(count(rig, 0x1000), 1 + 100 * 5 + 1);
  });

  it('an instruction on two pages counts once', () => {
    const rig = plain();
    // nop; mov eax, imm32 over the end; hlt
    rig.code(0x1ffc, 0x90, 0xb8, 1, 2, 3, 4, HLT);
    for (let again = 0; again < 3; again++) assert.equal(count(rig, 0x1ffc), 3);
    assert.equal(rig.gpr(RAX), 0x04030201n);
  });

  it('what faults does not count', () => {
    const rig = plain();
    rig.code(0x1000, 0x90, 0x90, 0x90, 0x0f, 0x0b);
    const before = rig.engine.instructions;
    start(rig, 0x1000);
    assert.equal(rig.engine.run(100), 'triple-fault');
    assert.equal(rig.engine.instructions - before, 3);
    assert.equal(rig.rip, 0x1003n);
    assert.equal(rig.fault.vector, 6);
  });

  it('a routine outside of the module counts as one', () => {
    const rig = plain();
    // cpuid in a loop: mov esi, 50; L: xor eax, eax; cpuid; dec esi; jnz L; hlt
    rig.code(0x1000, 0xbe, ...d32(50), 0x31, 0xc0, 0x0f, 0xa2, 0xff, 0xce, 0x75, 0xf8, HLT);
    assert.equal(count(rig, 0x1000), 1 + 50 * 4 + 1);
  });
});

describe('budgets', () => {
  it('end an endless loop soon, with everything where it should be', () => {
    const rig = plain();
    // L: inc rax; jmp L
    rig.code(0x1000, 0x48, 0xff, 0xc0, 0xeb, 0xfb);
    start(rig, 0x1000);
    for (let i = 0; i < 200; i++) {
      const before = rig.engine.instructions;
      const budget = 1 + i;
      assert.equal(rig.engine.run(budget), 'budget');
      const done = rig.engine.instructions - before;
      assert.ok(done >= budget && done <= budget + 64, `${done} of ${budget}`);
      // Every INC is one of two instructions, and RIP tells which is next.
      const total = rig.engine.instructions;
      assert.equal(rig.gpr(RAX), BigInt(Math.ceil(total / 2)));
      assert.equal(rig.rip, total % 2 === 0 ? 0x1000n : 0x1003n);
    }
  });

  it('end straight code, too, no more than a run late', () => {
    const rig = plain();
    rig.ram.fill(0x90, 0x1000, 0x9000);
    rig.code(0x9000, HLT);
    start(rig, 0x1000);
    let slices = 0;
    while (rig.engine.run(100) === 'budget') {
      slices += 1;
      assert.equal(rig.rip, BigInt(0x1000 + rig.engine.instructions));
      assert.ok(rig.engine.instructions <= slices * 200);
    }
    assert.equal(rig.engine.instructions, 0x8001);
  });

  it('end a long repetition, which goes on where it was', () => {
    const rig = plain();
    rig.setGpr(7, 0x10_0000);
    rig.setGpr(6, 0x10_0001);
    rig.setGpr(RCX, 0x8_0000);
    // rep movsb of overlapping memory, one at a time; hlt
    rig.code(0x1000, 0xf3, 0xa4, HLT);
    start(rig, 0x1000);
    let slices = 0;
    let last = rig.gpr(RCX);
    while (rig.engine.run(1) === 'budget') {
      slices += 1;
      if (rig.gpr(RCX) !== 0n) assert.equal(rig.rip, 0x1000n);
      assert.ok(rig.gpr(RCX) < last || last === 0n);
      last = rig.gpr(RCX);
    }
    assert.ok(slices > 3);
    assert.equal(rig.gpr(7), 0x18_0000n);
  });
});

describe('code that changes', () => {
  it('by a store into the run that is under way', () => {
    const rig = plain();
    // mov byte [rip+1], 0x42 (the immediate of the next); mov eax, 1; hlt
    rig.code(0x1000, 0xc6, 0x05, ...d32(1), 0x42, 0xb8, ...d32(1), HLT);
    count(rig, 0x1000);
    assert.equal(rig.gpr(RAX), 0x42n);
  });

  it('by a store to another page that was decoded, on every pass', () => {
    const rig = plain();
    // mov ecx, 200; L: mov [rbx+1], cl; call rbx; add edx, eax; dec ecx; jnz L; hlt. rbx: mov eax, imm32; ret
    rig.setGpr(RBX, 0x5000);
    rig.setGpr(4, 0x9000);
    rig.setGpr(RDX, 0);
    rig.code(0x1000, 0xb9, ...d32(200), 0x88, 0x4b, 1, 0xff, 0xd3, 0x01, 0xc2, 0xff, 0xc9, 0x75, 0xf5, HLT);
    rig.code(0x5000, 0xb8, ...d32(0), 0xc3);
    count(rig, 0x1000);
    assert.equal(rig.gpr(RDX), 20100n);
  });

  it('through another linear address of the same page', () => {
    const rig = new Rig();
    const all = P | W | U;
    rig.resetTables();
    const [pml4, pdpt, pd, pt] = [rig.table(), rig.table(), rig.table(), rig.table()];
    rig.set64(pml4, BigInt(pdpt) | all);
    rig.set64(pdpt, BigInt(pd) | all);
    rig.set64(pd, BigInt(pt) | all);
    rig.set64(pt + 8 * 1, 0x1000n | all);
    rig.set64(pt + 8 * 2, 0x5000n | all);
    rig.set64(pt + 8 * 3, 0x5000n | all);
    rig.set64(pt + 8 * 8, 0x8000n | all);
    rig.configure({ paging: '4-level' }, pml4);
    rig.setGpr(RBX, 0x3000);
    rig.setGpr(5, 0x2000);
    rig.setGpr(4, 0x9000);
    rig.setGpr(RDX, 0);
    rig.code(0x1000, 0xb9, ...d32(200), 0x88, 0x4b, 1, 0xff, 0xd5, 0x01, 0xc2, 0xff, 0xc9, 0x75, 0xf5, HLT);
    rig.code(0x5000, 0xb8, ...d32(0), 0xc3);
    count(rig, 0x1000);
    assert.equal(rig.gpr(RDX), 20100n);
  });

  it('by somebody else, who says so', () => {
    const rig = plain();
    rig.code(0x1000, 0xb8, ...d32(1), HLT);
    count(rig, 0x1000);
    rig.code(0x1000, 0xb8, ...d32(2), HLT);
    count(rig, 0x1000);
    assert.equal(rig.gpr(RAX), 2n);
  });

  it('by string instructions and by stores of every size', () => {
    for (const size of [1, 2, 4, 8]) {
      const rig = plain();
      rig.code(0x5000, 0xb8, ...d32(1), 0xc3, 0x90, 0x90);
      rig.code(0x6000, 0xb8, ...d32(2), 0xc3, 0x90, 0x90);
      rig.setGpr(4, 0x9000);
      rig.setGpr(RBX, 0x5000);
      const prefix = size === 2 ? [0x66] : size === 8 ? [0x48] : [];
      // call rbx; mov esi, 0x6000; mov edi, 0x5000; mov ecx, n; rep movs; call rbx; hlt
      rig.code(
        0x1000,
        0xff,
        0xd3,
        0xbe,
        ...d32(0x6000),
        0xbf,
        ...d32(0x5000),
        0xb9,
        ...d32(8 / size),
        0xf3,
        ...prefix,
        size === 1 ? 0xa4 : 0xa5,
        0xff,
        0xd3,
        HLT,
      );
      count(rig, 0x1000);
      assert.equal(rig.gpr(RAX), 2n, `size ${size}`);
    }
  });

  it('in the tail of an instruction on two pages', () => {
    const rig = plain();
    rig.setGpr(4, 0x9000);
    rig.setGpr(RBX, 0x2ffe);
    // call rbx; mov byte [0x3002], 7; call rbx; hlt. At 0x2ffe: mov eax, imm32; ret
    rig.code(0x1000, 0xff, 0xd3, 0xc6, 0x04, 0x25, ...d32(0x3002), 7, 0xff, 0xd3, HLT);
    rig.code(0x2ffe, 0xb8, 1, 0, 0, 0, 0xc3);
    count(rig, 0x1000);
    assert.equal(rig.gpr(RAX), 0x0700_0001n);
  });

  it('a branch that was linked to a place follows what is there now', () => {
    const rig = plain();
    // mov ecx, 3; L: jmp T; back: dec ecx; mov byte [T+1], cl; jnz L; hlt; T: mov eax, imm32; add edx, eax; jmp back
    const code = [0xb9, ...d32(3), 0xeb, 12, 0xff, 0xc9, 0x88, 0x0c, 0x25, ...d32(0x1014), 0x75, 0xf3, HLT];
    assert.equal(code.length, 0x13);
    rig.setGpr(RDX, 0);
    rig.code(0x1000, ...code, 0xb8, ...d32(100), 0x01, 0xc2, 0xeb, 0xeb);
    count(rig, 0x1000);
    assert.equal(rig.gpr(RDX), 103n);
  });
});

describe('instructions on two pages', () => {
  const all = P | W | U;

  /** Pages 1 and 2 of code, with `tail` behind. */
  function twoPages(tail: bigint): { rig: Rig; pt: number; pml4: number } {
    const rig = new Rig();
    rig.resetTables();
    const [pml4, pdpt, pd, pt] = [rig.table(), rig.table(), rig.table(), rig.table()];
    rig.set64(pml4, BigInt(pdpt) | all);
    rig.set64(pdpt, BigInt(pd) | all);
    rig.set64(pd, BigInt(pt) | all);
    rig.set64(pt + 8, 0x1000n | all);
    rig.set64(pt + 16, tail);
    rig.configure({ paging: '4-level' }, pml4);
    return { rig, pt, pml4 };
  }

  it('go on after the TLB was flushed between', () => {
    const { rig } = twoPages(0x2000n | all);
    rig.setGpr(RCX, 100);
    // L: mov rdx, cr3; mov cr3, rdx; jmp X; X, at the end of the page: add eax, imm32; dec ecx; jnz L; hlt
    rig.code(0x1f00, 0x0f, 0x20, 0xda, 0x0f, 0x22, 0xda, 0xe9, ...d32(0x1ffd - 0x1f0b));
    rig.code(0x1ffd, 0x05, 1, 0, 0, 0, 0xff, 0xc9, 0x0f, 0x85, ...d32(0x1f00 - 0x200a), HLT);
    rig.setGpr(RAX, 0);
    assert.equal(count(rig, 0x1f00), 100 * 6 + 1);
    assert.equal(rig.gpr(RAX), 100n);
  });

  it('see that the second page is another one now', () => {
    const { rig, pt } = twoPages(0x2000n | all);
    rig.code(0x1ffd, 0xb8, 1, 0);
    rig.code(0x2000, 0, 0, HLT);
    rig.code(0x3000, 0x80, 0, HLT);
    count(rig, 0x1ffd);
    assert.equal(rig.gpr(RAX), 1n);
    rig.set64(pt + 16, 0x3000n | all);
    rig.engine.context.flushTlb('all');
    count(rig, 0x1ffd);
    assert.equal(rig.gpr(RAX), 0x80_0001n);
  });

  it('fault at their start when the second page is not there, telling its address', () => {
    const { rig } = twoPages(0n);
    rig.code(0x1ffc, 0x90, 0xb8, 1, 0);
    start(rig, 0x1ffc);
    assert.equal(rig.engine.run(100), 'triple-fault');
    assert.deepEqual(rig.fault, { vector: 14, errorCode: 0, cr2: 0x2000n });
    assert.equal(rig.rip, 0x1ffdn);
  });

  it('an instruction that ends with its page does not need the next', () => {
    const { rig } = twoPages(0n);
    rig.code(0x1ffb, 0xb8, 1, 0, 0, 0);
    start(rig, 0x1ffb);
    assert.equal(rig.engine.run(100), 'triple-fault');
    assert.equal(rig.gpr(RAX), 1n);
    assert.equal(rig.rip, 0x2000n);
    assert.deepEqual(rig.fault, { vector: 14, errorCode: 0, cr2: 0x2000n });
  });
});

describe('a full code cache', () => {
  it('of slot tables: more pages of code than there are', () => {
    const rig = new Rig(24 << 20);
    rig.configure({ paging: 'none' });
    const pages = 4000;
    // Every page: inc eax; jmp to the next; the last: dec ecx; jnz to the first; hlt
    for (let i = 0; i < pages; i++)
      rig.ram.set([0xff, 0xc0, 0xe9, ...d32(0x1000 - 7)], 0x20_0000 + i * 0x1000);
    const last = 0x20_0000 + pages * 0x1000;
    rig.ram.set([0xff, 0xc9, 0x0f, 0x85, ...d32(0x20_0000 - (last + 8)), HLT], last);
    rig.setGpr(RAX, 0);
    rig.setGpr(RCX, 3);
    assert.equal(count(rig, 0x20_0000), 3 * (pages * 2 + 2) + 1);
    assert.equal(rig.gpr(RAX), BigInt(3 * pages));
    assert.ok((rig.engine.counters()['codeCacheFlushes'] ?? 0) > 1);
  });

  it('of records: more instructions than there are', () => {
    const rig = new Rig(4 << 20);
    rig.configure({ paging: 'none' });
    // 600 pages of INC AL, two bytes each, are 1.2 million instructions.
    const from = 0x10_0000;
    const to = from + 600 * 0x1000;
    for (let at = from; at < to; at += 2) rig.ram.set([0xfe, 0xc0], at);
    rig.ram.set([HLT], to);
    const flushes = rig.engine.counters()['codeCacheFlushes'] ?? 0;
    rig.setGpr(RAX, 0);
    assert.equal(count(rig, from, 10_000_000), (to - from) / 2 + 1);
    assert.equal(rig.gpr(RAX), BigInt((to - from) / 2) & 0xffn);
    assert.ok((rig.engine.counters()['codeCacheFlushes'] ?? 0) > flushes);
    assert.equal(count(rig, from, 10_000_000), (to - from) / 2 + 1);
  });
});

describe('16-bit and 32-bit code', () => {
  it('16-bit addressing forms give the offsets of the table', () => {
    const rig = new Rig();
    rig.configure({ paging: '32-bit', code: 16 });
    rig.state.setBigUint64(S.cr0, 0x11n, true);
    rig.engine.stateChanged();
    const regs = { bx: 0x1100, bp: 0x2200, si: 0x33, di: 0x44 };
    const sums = [
      regs.bx + regs.si,
      regs.bx + regs.di,
      regs.bp + regs.si,
      regs.bp + regs.di,
      regs.si,
      regs.di,
      regs.bp,
      regs.bx,
    ];
    for (let rm = 0; rm < 8; rm++) {
      for (const mod of [0, 1, 2]) {
        const displacement = mod === 0 ? [] : mod === 1 ? [0xf0] : [0x34, 0xf2];
        const direct = mod === 0 && rm === 6;
        // lea ax, [..]; hlt
        rig.code(0x1000, 0x8d, (mod << 6) | rm, ...(direct ? [0x78, 0x56] : displacement), HLT);
        for (const [n, value] of [
          [3, regs.bx],
          [5, regs.bp],
          [6, regs.si],
          [7, regs.di],
        ] as const)
          rig.setGpr(n, 0xabcd_0000 + value);
        rig.setGpr(RAX, 0);
        count(rig, 0x1000);
        const expected = direct
          ? 0x5678
          : ((sums[rm] ?? 0) + (mod === 1 ? -16 : mod === 2 ? 0xf234 : 0)) & 0xffff;
        assert.equal(rig.gpr(RAX), BigInt(expected), `mod ${mod} rm ${rm}`);
      }
    }
  });

  it('a 16-bit branch wraps at 64 KiB, a near call pushes two bytes', () => {
    const rig = new Rig();
    rig.configure({ paging: '32-bit', code: 16 });
    rig.state.setBigUint64(S.cr0, 0x11n, true);
    rig.engine.stateChanged();
    // At 0xfff0: call 0x0010 (over the top); there: hlt
    rig.code(0xfff0, 0xe8, 0x1d, 0x00);
    rig.code(0x10, HLT);
    rig.setGpr(4, 0x1_0002);
    assert.equal(count(rig, 0xfff0), 2);
    assert.equal(rig.rip, 0x11n);
    // SP alone changes: the stack segment is 16-bit.
    assert.equal(rig.gpr(4), 0x1_0000n);
    assert.equal(rig.view.getUint16(0, true), 0xfff3);
  });

  it('66h makes 32-bit code branch with 16 bits', () => {
    const rig = new Rig();
    rig.configure({ paging: '32-bit', code: 32 });
    rig.state.setBigUint64(S.cr0, 0x11n, true);
    rig.engine.stateChanged();
    // At 0x15000: 66 jmp +4: EIP is cut to 16 bits
    rig.code(0x1_5000, 0x66, 0xe9, 0x04, 0x00);
    rig.code(0x5008, HLT);
    count(rig, 0x1_5000);
    assert.equal(rig.rip, 0x5009n);
    // 66 call: pushes IP
    rig.code(0x1_5000, 0x66, 0xe8, 0x04, 0x00);
    rig.setGpr(4, 0x9000);
    count(rig, 0x1_5000);
    assert.equal(rig.gpr(4), 0x8ffen);
    assert.equal(rig.view.getUint16(0x8ffe, true), 0x5004);
  });

  it('a branch past the limit of CS is #GP, with nothing done', () => {
    const rig = new Rig();
    rig.configure({ paging: '32-bit', code: 32 });
    rig.state.setBigUint64(S.cr0, 0x11n, true);
    rig.engine.stateChanged();
    for (const code of [
      [0xe9, ...d32(0x1_0000)],
      [0xe8, ...d32(0x1_0000)],
      [0xff, 0xd3],
      [0xff, 0xe3],
      [0xc3],
      [0xc2, 8, 0],
    ]) {
      rig.state.setUint32(S.segments + 32 + 8, 0xffff, true);
      rig.engine.stateChanged();
      rig.setGpr(RBX, 0x1_2345);
      rig.setGpr(4, 0x9000);
      rig.view.setUint32(0x9000, 0x1_2345, true);
      rig.code(0x1000, ...code);
      start(rig, 0x1000);
      assert.equal(rig.engine.run(10), 'triple-fault', `${code}`);
      assert.equal(rig.fault.vector, 13);
      assert.equal(rig.rip, 0x1000n, `RIP of ${code}`);
      assert.equal(rig.gpr(4), 0x9000n, `RSP of ${code}`);
    }
  });

  it('BCD instructions, over all of AL and the flags, as the manual has them', () => {
    const rig = new Rig();
    rig.configure({ paging: '32-bit', code: 32 });
    rig.state.setBigUint64(S.cr0, 0x11n, true);
    rig.engine.stateChanged();
    // mov eax, [ebx]; sahf; op; lahf; mov [ebx+4], eax; add ebx, 8; dec ecx; jnz; hlt
    const at = 0x40_0000;
    for (const [name, op] of [
      ['daa', 0x27],
      ['das', 0x2f],
    ] as const) {
      let n = 0;
      for (let al = 0; al < 256; al++)
        for (const flags of [0, 1, 0x10, 0x11]) rig.view.setUint32(at + 8 * n++, (flags << 8) | al, true);
      rig.setGpr(RBX, at);
      rig.setGpr(RCX, n);
      rig.code(0x1000, 0x8b, 0x03, 0x9e, op, 0x9f, 0x89, 0x43, 4, 0x83, 0xc3, 8, 0x49, 0x75, 0xf2, HLT);
      count(rig, 0x1000);
      for (let i = 0; i < n; i++) {
        const before = rig.view.getUint32(at + 8 * i, true);
        const after = rig.view.getUint32(at + 8 * i + 4, true);
        const [al, cf, af] =
          name === 'daa' ? daa(before & 0xff, before >> 8) : das(before & 0xff, before >> 8);
        assert.deepEqual(
          [after & 0xff, (after >> 8) & 1, (after >> 12) & 1],
          [al, cf, af],
          `${name} ${before.toString(16)}`,
        );
      }
    }
  });
});

/** SDM vol. 2, DAA, step by step. */
function daa(oldAl: number, flags: number): [number, number, number] {
  let al = oldAl;
  const oldCf = flags & 1;
  let cf = 0;
  let af = 0;
  if ((al & 15) > 9 || (flags & 0x10) !== 0) {
    al += 6;
    cf = oldCf | (al > 255 ? 1 : 0);
    al &= 255;
    af = 1;
  }
  if (oldAl > 0x99 || oldCf === 1) {
    al = (al + 0x60) & 255;
    cf = 1;
  } else cf = 0;
  return [al, cf, af];
}

/** SDM vol. 2, DAS, step by step. */
function das(oldAl: number, flags: number): [number, number, number] {
  let al = oldAl;
  const oldCf = flags & 1;
  let cf = 0;
  let af = 0;
  if ((al & 15) > 9 || (flags & 0x10) !== 0) {
    cf = oldCf | (al < 6 ? 1 : 0);
    al = (al - 6) & 255;
    af = 1;
  }
  if (oldAl > 0x99 || oldCf === 1) {
    al = (al - 0x60) & 255;
    cf = 1;
  }
  return [al, cf, af];
}
