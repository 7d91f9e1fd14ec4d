import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CS, DS, gpr, RAM, S, SS } from '../layout.ts';
import { CPU_SIGNATURE } from './cpuid.ts';
import { Guest, KERNEL, KERNEL_TOP, TABLES, USER } from './guestbed.ts';
import { CR4, readSegment, writeSegment } from './registers.ts';

/** Real-address mode at 0:at, with a stack below 7000h and DS as given. */
function real(code: string, ds = 0, at = 0x8000): Guest {
  const guest = new Guest();
  const paragraph = (index: number, selector: number, attributes: number): void =>
    writeSegment(guest.cpu.context, index, {
      selector,
      base: BigInt(selector * 16),
      limit: 0xffff,
      attributes,
    });
  paragraph(CS, 0, 0x9b);
  paragraph(SS, 0, 0x93);
  paragraph(DS, ds, 0x93);
  guest.setReg(4, 0x7000);
  guest.set(S.rip, at);
  guest.code(at, code);
  guest.cpu.stateChanged();
  return guest;
}

const halt = (guest: Guest, vector: number): void => {
  guest.code(KERNEL + 0x700, 'F4');
  guest.gate(vector, KERNEL + 0x700);
};

describe('NMI', () => {
  it('another one waits for IRET; the state block tells so', () => {
    const guest = new Guest().long(0, KERNEL);
    // out 81h,al; nop; hlt
    guest.code(KERNEL, 'E6 81 90 F4');
    // inc r12; cmp r12,1; jne +4; out 81h,al; inc r13; iretq — the second NMI is raised inside of the first
    guest.code(KERNEL + 0x40, '49 FF C4 49 83 FC 01 75 05 E6 81 49 FF C5 48 CF');
    guest.gate(2, KERNEL + 0x40);
    guest.untilHalt();
    assert.deepEqual([guest.reg(12), guest.reg(13)], [2n, 1n]);
    assert.equal(guest.view.getUint32(S.nmiBlocked, true), 0);
  });

  it('one that waits does not hold up interrupts; the IRET of their handlers lets it in', () => {
    const guest = new Guest().long(0, KERNEL);
    // out 81h,al; nop; hlt
    guest.code(KERNEL, 'E6 81 90 F4');
    // shl r12,4; or r12,2; test r13,r13; jnz +11; inc r13; out 81h,al; mov al,30h; out 80h,al; sti; nop; iretq
    guest.code(
      KERNEL + 0x40,
      '49 C1 E4 04 49 83 CC 02 4D 85 ED 75 0B 49 FF C5 E6 81 B0 30 E6 80 FB 90 48 CF',
    );
    // shl r12,4; or r12,3; iretq
    guest.code(KERNEL + 0x80, '49 C1 E4 04 49 83 CC 03 48 CF');
    guest.gate(2, KERNEL + 0x40);
    guest.gate(0x30, KERNEL + 0x80);
    guest.untilHalt();
    assert.equal(guest.reg(12), 0x232n);
  });

  it('comes with IF clear and not behind MOV SS', () => {
    const guest = new Guest().long(0, KERNEL);
    // cli; out 81h,al; hlt
    guest.code(KERNEL, 'FA E6 81 90 F4');
    guest.code(KERNEL + 0x40, 'F4');
    guest.gate(2, KERNEL + 0x40);
    guest.untilHalt();
    assert.equal(guest.view.getUint32(S.nmiBlocked, true), 1);
    assert.equal(guest.peek(Number(guest.reg(4))), BigInt(KERNEL + 3));
  });
});

describe('INIT, SIPI and SMI', () => {
  it('INIT starts the processor at the reset vector and keeps MSRs and XMM registers', () => {
    const guest = new Guest().long(3, USER);
    guest.code(USER, 'EB FE');
    guest.set(S.xmm, 0x1234n);
    guest.set(S.dr + 56, 0x401);
    // No ROM answers at the reset vector: FF FF is #UD, whose handler halts.
    guest.poke(6 * 4, 0x8000);
    guest.code(0x8000, 'F4');
    guest.cpu.run(10);
    guest.signal = 'init';
    guest.cpu.interruptsChanged();
    guest.untilHalt();
    assert.deepEqual(
      [guest.peek(0xfffa) & 0xffff_ffffn, guest.reg(2)],
      [0xf000_fff0n, BigInt(CPU_SIGNATURE)],
    );
    assert.equal(guest.view.getUint32(S.cr0, true) & ~0x6000_0000, 0x10);
    assert.deepEqual([guest.view.getUint32(S.efer, true), guest.view.getUint32(S.dr + 56, true)], [0, 0x400]);
    assert.deepEqual(
      [guest.view.getBigUint64(S.lstar, true), guest.view.getBigUint64(S.xmm, true)],
      [BigInt(KERNEL), 0x1234n],
    );
    assert.equal(guest.view.getUint32(S.cpl, true), 0);
  });

  it('INIT wakes a halted processor; SIPI and SMI change nothing', () => {
    const guest = new Guest().long(0, KERNEL);
    guest.code(KERNEL, 'F4');
    guest.untilHalt();
    for (const signal of ['sipi', 'smi'] as const) {
      guest.signal = signal;
      guest.cpu.interruptsChanged();
      assert.equal(guest.cpu.run(100), 'halted');
      assert.equal(guest.signal, 'none');
      assert.equal(guest.view.getBigUint64(S.rip, true), BigInt(KERNEL + 1));
    }
    guest.poke(6 * 4, 0x8000);
    guest.code(0x8000, 'F4');
    guest.signal = 'init';
    guest.cpu.interruptsChanged();
    assert.equal(guest.cpu.run(100), 'halted');
    assert.equal(readSegment(guest.cpu.context, CS).selector, 0);
    assert.equal(guest.view.getBigUint64(S.rip, true), 0x8001n);
  });
});

describe('the A20 gate', () => {
  it('closed, FFFF:0010 is the first byte of memory', () => {
    // mov al,[10h]; mov byte [11h],77h; hlt
    const guest = real('A0 10 00 C6 06 11 00 77 F4', 0xffff);
    guest.code(0, '11');
    guest.code(0x100000, '22');
    guest.cpu.setA20(false);
    guest.untilHalt();
    assert.equal(guest.reg(0) & 0xffn, 0x11n);
    assert.equal(guest.view.getUint8(RAM + 1), 0x77);
    guest.set(S.rip, 0x8000);
    guest.view.setInt32(S.halted, 0, true);
    guest.cpu.setA20(true);
    guest.untilHalt();
    assert.equal(guest.reg(0) & 0xffn, 0x22n);
    assert.equal(guest.view.getUint8(RAM + 0x100001), 0x77);
  });

  it('holds for code, and for physical addresses behind paging', () => {
    const guest = new Guest().long(0, USER);
    // mov rax,[300000h]; hlt — behind the gate, the code at 300000h is what is at 200000h
    guest.code(USER, '48 8B 04 25 00 00 31 00 F4');
    guest.poke(0x210000, 0xabcd);
    guest.poke(0x310000, 0x1111);
    guest.cpu.setA20(false);
    guest.set(S.rip, 0x300000);
    guest.untilHalt();
    assert.equal(guest.reg(0), 0xabcdn);
  });
});

describe('translations over CR3, CR4 and INVPCID', () => {
  const PDE = TABLES + 0x2008;
  // mov r8,[200000h]; mov qword [PDE],flags of a page at 0; <flush>; mov r9,[200000h]; hlt
  function afterFlush(
    flush: string,
    flags: number,
    cr4: number = CR4.PAE | CR4.PGE | CR4.PCIDE,
  ): [bigint, bigint] {
    const guest = new Guest().long(0, KERNEL);
    guest.poke(PDE, USER | flags);
    guest.poke(USER, 0x1111);
    guest.poke(0, 0x2222);
    guest.code(
      KERNEL,
      `4C 8B 04 25 00 00 20 00 48 C7 04 25 08 20 01 00 87 00 00 00 ${flush} 4C 8B 0C 25 00 00 20 00 F4`,
    );
    guest.set(S.cr4, cr4);
    guest.setReg(3, 0x180000);
    guest.poke(0x180000, 0);
    guest.poke(0x180008, USER);
    guest.cpu.stateChanged();
    halt(guest, 13);
    guest.untilHalt();
    assert.equal(readSegment(guest.cpu.context, CS).base, 0n);
    return [guest.reg(8), guest.reg(9)];
  }
  const PAGE = 0x87,
    GLOBAL = 0x187;
  const LOAD_CR3 = '0F 20 D8 0F 22 D8';

  it('a translation stays until it is flushed; a CR3 load spares global ones', () => {
    assert.deepEqual(afterFlush('90', PAGE), [0x1111n, 0x1111n]);
    assert.deepEqual(afterFlush(LOAD_CR3, PAGE), [0x1111n, 0x2222n]);
    assert.deepEqual(afterFlush(LOAD_CR3, GLOBAL), [0x1111n, 0x1111n]);
    assert.deepEqual(afterFlush(LOAD_CR3, GLOBAL, CR4.PAE), [0x1111n, 0x2222n]);
  });

  it('a toggle of CR4.PGE drops global ones, and so does INVLPG', () => {
    // mov rax,cr4; xor al,80h; mov cr4,rax; xor al,80h; mov cr4,rax
    assert.deepEqual(afterFlush('0F 20 E0 34 80 0F 22 E0 34 80 0F 22 E0', GLOBAL), [0x1111n, 0x2222n]);
    assert.deepEqual(afterFlush('0F 01 3C 25 00 00 20 00', GLOBAL), [0x1111n, 0x2222n]);
  });

  it('INVPCID: address, context, all, all but global', () => {
    // mov eax,type; invpcid rax,[rbx]
    const invpcid = (type: number): string => `B8 0${type} 00 00 00 66 0F 38 82 03`;
    assert.deepEqual(afterFlush(invpcid(0), PAGE), [0x1111n, 0x2222n]);
    assert.deepEqual(afterFlush(invpcid(1), PAGE), [0x1111n, 0x2222n]);
    assert.deepEqual(afterFlush(invpcid(1), GLOBAL), [0x1111n, 0x1111n]);
    assert.deepEqual(afterFlush(invpcid(2), GLOBAL), [0x1111n, 0x2222n]);
    assert.deepEqual(afterFlush(invpcid(3), PAGE), [0x1111n, 0x2222n]);
    assert.deepEqual(afterFlush(invpcid(3), GLOBAL), [0x1111n, 0x1111n]);
  });

  it('CR3 with bit 63 under PCIDE: the bit is not kept, and no other context is seen', () => {
    const guest = new Guest().long(0, KERNEL);
    // A second set of tables, in which 200000h is the page at 0.
    guest.poke(0x20000, 0x21007);
    guest.poke(0x21000, 0x22007);
    guest.poke(0x22000, 0x87);
    guest.poke(0x22008, 0x87);
    guest.poke(USER, 0x1111);
    guest.poke(0, 0x2222);
    guest.set(S.cr4, CR4.PAE | CR4.PCIDE);
    guest.setReg(3, 0x8000_0000_0002_0001n);
    guest.setReg(1, (1n << 63n) | BigInt(TABLES));
    // mov r8,[200000h]; mov cr3,rbx; mov r9,[200000h]; mov rdx,cr3; mov cr3,rcx; mov r10,[200000h]; hlt
    guest.code(
      KERNEL,
      `4C 8B 04 25 00 00 20 00 0F 22 DB 4C 8B 0C 25 00 00 20 00 0F 20 DA 0F 22 D9
      4C 8B 14 25 00 00 20 00 F4`,
    );
    guest.cpu.stateChanged();
    guest.untilHalt();
    assert.deepEqual(
      [8, 9, 10, 2].map((n) => guest.reg(n)),
      [0x1111n, 0x2222n, 0x1111n, 0x20001n],
    );
  });

  it('#GP: bit 63 without PCIDE, PCIDE with a PCID in CR3, paging off under PCIDE, INVPCID of type 4', () => {
    const fault = (code: string, prepare: (guest: Guest) => void): bigint => {
      const guest = new Guest().long(0, KERNEL);
      guest.code(KERNEL, `${code} F4`);
      halt(guest, 13);
      prepare(guest);
      guest.cpu.stateChanged();
      guest.untilHalt();
      return guest.view.getBigUint64(S.rip, true) - BigInt(KERNEL);
    };
    const AT_HANDLER = 0x701n;
    const load = (guest: Guest, value: bigint): void => guest.view.setBigUint64(gpr(0), value, true);
    assert.equal(
      fault('0F 22 D8', (guest) => load(guest, (1n << 63n) | BigInt(TABLES))),
      AT_HANDLER,
    );
    const pcide = BigInt(CR4.PAE | CR4.PCIDE);
    assert.equal(
      fault('0F 22 E0', (guest) => load(guest, pcide)),
      4n,
    );
    assert.equal(
      fault('0F 22 E0', (guest) => {
        load(guest, pcide);
        guest.set(S.cr3, TABLES | 8);
      }),
      AT_HANDLER,
    );
    assert.equal(
      fault('66 0F 38 82 03', (guest) => {
        load(guest, 4n);
        guest.setReg(3, 0x180000);
      }),
      AT_HANDLER,
    );
  });
});

describe('faults in the middle', () => {
  /** Long mode; the page at 200000h is there once the #PF handler has run. */
  function paged(code: string, rip = KERNEL): Guest {
    const guest = new Guest().long(0, rip);
    guest.code(rip, code);
    guest.poke(TABLES + 0x2008, 0);
    // mov r14,cr2; mov r13,[rsp]; inc r12; mov qword [12008h],200087h; add rsp,8; iretq
    guest.code(
      KERNEL + 0x600,
      '41 0F 20 D6 4C 8B 2C 24 49 FF C4 48 C7 04 25 08 20 01 00 87 00 20 00 48 83 C4 08 48 CF',
    );
    guest.gate(14, KERNEL + 0x600);
    // An interrupt stack of its own: the guest's may be what is missing.
    guest.poke(0x2000 + 14 * 16, guest.peek(0x2000 + 14 * 16) | (1n << 32n));
    guest.poke(0x3000 + 0x24, KERNEL_TOP);
    guest.cpu.stateChanged();
    return guest;
  }

  it('REP MOVS goes on where it was', () => {
    // rep movsb; hlt
    const guest = paged('F3 A4 F4');
    for (let i = 0; i < 64; i++) guest.view.setUint8(RAM + 0x180000 + i, i + 1);
    guest.setReg(6, 0x180000);
    guest.setReg(7, USER - 20);
    guest.setReg(1, 64);
    guest.untilHalt();
    assert.deepEqual([guest.reg(12), guest.reg(14), guest.reg(13)], [1n, BigInt(USER), 2n]);
    assert.deepEqual([guest.reg(1), guest.reg(6), guest.reg(7)], [0n, 0x180040n, BigInt(USER + 44)]);
    for (let i = 0; i < 64; i++) assert.equal(guest.view.getUint8(RAM + USER - 20 + i), i + 1);
  });

  it('ENTER of level 3 that runs into a missing page starts again from nothing', () => {
    // enter 32,3; hlt — the copied frame pointers lie behind the page border
    const guest = paged('C8 20 00 03 F4');
    guest.poke(TABLES + 0x2008, 0x200087);
    guest.poke(TABLES + 0x2000, 0x87);
    guest.poke(USER + 0x100 - 8, 0xaaaa);
    guest.poke(USER + 0x100 - 16, 0xbbbb);
    guest.poke(TABLES + 0x2008, 0);
    guest.setReg(5, USER + 0x100);
    guest.setReg(4, 0x1a0000);
    guest.cpu.stateChanged();
    guest.untilHalt();
    assert.equal(guest.reg(12), 1n);
    assert.equal(guest.reg(5), 0x19fff8n);
    assert.equal(guest.reg(4), BigInt(0x1a0000 - 8 * 4 - 32));
    assert.deepEqual(
      [8, 16, 24, 32].map((down) => guest.peek(0x1a0000 - down)),
      [BigInt(USER + 0x100), 0xaaaan, 0xbbbbn, 0x19fff8n],
    );
  });

  it('a store over a page end whose second page is missing writes neither', () => {
    // mov [rbx],rax; hlt
    const guest = paged('48 89 03 F4');
    guest.code(KERNEL + 0x600, 'F4');
    guest.setReg(3, USER - 4);
    guest.setReg(0, -1n & 0xffff_ffff_ffff_ffffn);
    guest.untilHalt();
    assert.equal(guest.view.getUint32(RAM + USER - 4, true), 0);
    assert.equal(guest.view.getBigUint64(S.cr2, true), BigInt(USER));
  });

  it('a stack address that is not canonical is #SS, another one #GP', () => {
    const vector = (code: string, set: (guest: Guest) => void): string => {
      const guest = new Guest().long(0, KERNEL);
      guest.code(KERNEL, code);
      for (const [n, at] of [
        [12, 0x700],
        [13, 0x710],
      ] as const) {
        guest.code(KERNEL + at, 'F4');
        guest.gate(n, KERNEL + at);
        guest.poke(0x2000 + n * 16, guest.peek(0x2000 + n * 16) | (1n << 32n));
      }
      guest.poke(0x3000 + 0x24, KERNEL_TOP);
      set(guest);
      guest.cpu.stateChanged();
      guest.untilHalt();
      const at = Number(guest.view.getBigUint64(S.rip, true)) - KERNEL;
      return at === 0x701 ? '#SS' : at === 0x711 ? '#GP' : at.toString(16);
    };
    const bad = 0x8000_0000_0000_0000n;
    const rsp = (guest: Guest): void => guest.setReg(4, bad);
    for (const code of [
      '50',
      '58',
      'C3',
      '9C',
      '9D',
      'C9',
      'C8 00 00 00',
      '48 8B 04 24',
      '48 CF',
      '48 CB',
      '0F A0',
      '0F A1',
    ]) {
      assert.equal(
        vector(code, (guest) => {
          rsp(guest);
          guest.setReg(5, bad);
        }),
        '#SS',
        code,
      );
    }
    assert.equal(
      vector('48 8B 45 00', (guest) => guest.setReg(5, bad)),
      '#SS',
    );
    assert.equal(
      vector('48 8B 03', (guest) => guest.setReg(3, bad)),
      '#GP',
    );
    assert.equal(
      vector('A4', (guest) => guest.setReg(6, bad)),
      '#GP',
    );
    assert.equal(
      vector('FF E0', (guest) => guest.setReg(0, bad)),
      '#GP',
    );
  });
});

describe('limits in real mode', () => {
  /** The vector that an instruction raises, with RIP still on it. */
  function vector(code: string, set: (guest: Guest) => void = () => {}): number {
    const guest = real(code);
    for (let n = 0; n < 32; n++) {
      guest.view.setUint32(RAM + n * 4, 0x9000 + n, true);
      guest.code(0x9000 + n, 'F4');
    }
    set(guest);
    guest.cpu.stateChanged();
    guest.untilHalt();
    const rip = Number(guest.view.getBigUint64(S.rip, true));
    if (rip < 0x9000) return -1;
    const sp = Number(guest.reg(4) & 0xffffn);
    assert.equal(guest.view.getUint16(RAM + sp, true), 0x8000);
    return rip - 0x9001;
  }

  it('a word at FFFFh is #GP, on the stack #SS', () => {
    assert.equal(vector('A1 FF FF F4'), 13);
    assert.equal(vector('A0 FF FF F4'), -1);
    // mov ax,[bp]
    assert.equal(
      vector('8B 46 00 F4', (guest) => guest.setReg(5, 0xffff)),
      12,
    );
    // mov eax,[ebx] with an address above 64 KiB
    assert.equal(
      vector('67 8B 03 F4', (guest) => guest.setReg(3, 0x10000)),
      13,
    );
  });

  it('near transfers behind 64 KiB: CALL and JMP with a 32-bit operand are #GP, the stack as it was', () => {
    assert.equal(vector('66 E8 00 00 01 00 F4'), 13);
    assert.equal(vector('66 E9 00 00 01 00 F4'), 13);
    assert.equal(
      vector('66 FF E3 F4', (guest) => guest.setReg(3, 0x12345)),
      13,
    );
    assert.equal(
      vector('66 FF D3 F4', (guest) => guest.setReg(3, 0x12345)),
      13,
    );
    assert.equal(
      vector('66 C3 F4', (guest) => guest.view.setUint32(RAM + 0x7000, 0x1_0000, true)),
      13,
    );
  });

  it('16-bit targets wrap at 64 KiB', () => {
    // jmp short +7fh at FFF0h would lie at 71h
    const guest = real('E9 ED 7F');
    guest.code(0xfff0, 'EB 7F');
    guest.code(0x71, 'F4');
    guest.untilHalt();
    assert.equal(guest.view.getBigUint64(S.rip, true), 0x72n);
  });

  it('PUSHA and POPA wrap their 16-bit stack between items', () => {
    // pusha; popa; hlt at SP = 8: the items lie below 0 at the segment's top
    const guest = real('60 61 F4');
    guest.setReg(4, 8);
    for (const n of [0, 1, 2, 3, 5, 6, 7]) guest.setReg(n, 0x1100 + n);
    guest.untilHalt();
    for (const n of [0, 1, 2, 3, 5, 6, 7]) assert.equal(guest.reg(n), BigInt(0x1100 + n));
    assert.equal(guest.reg(4), 8n);
    assert.equal(guest.view.getUint16(RAM + 0xfffc, true), 0x1105);
  });

  it('a push at SP = 1 has no room, nor has #SS: the processor shuts down', () => {
    const guest = real('50');
    guest.setReg(4, 1);
    assert.equal(guest.cpu.run(100), 'triple-fault');
  });
});

describe('limits in 32-bit protected mode', () => {
  /** Flat segments, no paging; CS ends behind `limit`. */
  function flat(code: string, limit = 0xffff_ffff): Guest {
    const guest = new Guest().long(0, KERNEL);
    guest.set(S.cr0, 0x11);
    guest.set(S.efer, 0);
    for (const [index, attributes] of [
      [CS, 0xc09b],
      [SS, 0xc093],
      [DS, 0xc093],
    ] as const) {
      const selector = index === CS ? 0x58 : 0x18;
      writeSegment(guest.cpu.context, index, {
        selector,
        base: 0n,
        limit: index === CS ? limit : 0xffff_ffff,
        attributes,
      });
    }
    guest.code(KERNEL, code);
    for (const [vector, at] of [
      [12, 0x700],
      [13, 0x710],
    ] as const) {
      guest.poke(
        0x2000 + vector * 8,
        (BigInt(KERNEL + at) & 0xffffn) | (0x58n << 16n) | (0x8en << 40n) | (0x10n << 48n),
      );
      guest.code(KERNEL + at, 'F4');
    }
    guest.cpu.stateChanged();
    return guest;
  }

  it('an access over 4 GiB goes on at 0, or faults', () => {
    // mov eax,[FFFFFFFEh]; hlt
    const guest = flat('A1 FE FF FF FF F4');
    guest.code(0, '34 12');
    guest.untilHalt();
    assert.equal(guest.reg(0), 0x1234_ffffn);
  });

  it('a branch behind the limit of CS faults at the branch, with the stack as it was', () => {
    for (const code of [
      'E8 00 00 10 00',
      'E9 00 00 10 00',
      'FF D0',
      'FF E0',
      'C3',
      'C2 08 00',
      'E2 7F',
      '0F 84 00 00 10 00',
      'EB 7F',
    ]) {
      const guest = flat(`${code} F4`, KERNEL + 0x7ff);
      if (code === 'E2 7F' || code === 'EB 7F') {
        writeSegment(guest.cpu.context, CS, {
          selector: 0x58,
          base: 0n,
          limit: KERNEL + 0x40,
          attributes: 0x409b,
        });
        guest.cpu.stateChanged();
      }
      guest.setReg(0, KERNEL + 0x10_0000);
      guest.setReg(1, 5);
      // ZF is set.
      guest.view.setBigUint64(S.flagResult, 0n, true);
      const sp = Number(guest.reg(4));
      guest.poke(sp, KERNEL + 0x10_0000);
      guest.untilHalt();
      assert.equal(guest.view.getBigUint64(S.rip, true), BigInt(KERNEL + 0x711), code);
      const frame = Number(guest.reg(4));
      // Error code, EIP, CS, EFLAGS below the stack pointer that the branch had.
      assert.deepEqual(
        [frame, guest.view.getUint32(RAM + frame + 4, true), guest.reg(1)],
        [sp - 16, KERNEL, 5n],
        code,
      );
    }
  });
});

describe('near branches in 64-bit mode to addresses that are not canonical', () => {
  it('fault at the branch: CALL, JMP and RET leave RSP and RIP', () => {
    const bad = 0x0000_8000_0000_0000n;
    for (const code of ['FF D0', 'FF E0', 'C3', 'C2 10 00']) {
      const guest = new Guest().long(0, KERNEL);
      guest.code(KERNEL, code);
      halt(guest, 13);
      guest.setReg(0, bad);
      const sp = Number(guest.reg(4));
      guest.poke(sp, bad);
      guest.untilHalt();
      const frame = Number(guest.reg(4));
      assert.deepEqual(
        [guest.peek(frame), guest.peek(frame + 8), guest.peek(frame + 32)],
        [0n, BigInt(KERNEL), BigInt(sp)],
        code,
      );
    }
  });

  it('relative ones over the end of the lower half too', () => {
    // The last page of the lower half is mapped to the code.
    for (const code of ['E8 00 10 00 00', 'E9 00 10 00 00', 'EB 7F', '74 7F', 'E2 7F']) {
      const guest = new Guest().long(0, KERNEL);
      guest.poke(TABLES + 255 * 8, 0x21007);
      guest.poke(0x21000 + 511 * 8, 0x22007);
      guest.poke(0x22000 + 511 * 8, 0x87);
      // Its last 2 MiB are the first of memory.
      guest.code(0x1fffc0, code);
      halt(guest, 13);
      const rip = 0x7fff_ffff_ffc0n;
      guest.set(S.rip, rip);
      guest.setReg(1, 5);
      guest.view.setBigUint64(S.flagResult, 0n, true);
      guest.cpu.stateChanged();
      const sp = guest.reg(4);
      guest.untilHalt();
      const frame = Number(guest.reg(4));
      assert.deepEqual([guest.peek(frame + 8), guest.peek(frame + 32), guest.reg(1)], [rip, sp, 5n], code);
    }
  });
});
