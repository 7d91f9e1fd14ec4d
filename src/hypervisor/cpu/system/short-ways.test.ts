import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AC, DF, IF, NT, RF, readRflags, writeRflags } from '../flags.ts';
import { FS, S, SEG, segment } from '../layout.ts';
import { bothAlike, GDT, Guest, KERNEL, KERNEL_TOP, SELECTOR, TABLES, USER, USER_TOP } from './guestbed.ts';
import { CR4 } from './registers.ts';

/** A guest whose handlers count in r12 and return; vectors 8, 10-14, 17 have error codes. */
function prepared(level: 0 | 3, code: string, handlers: Readonly<Record<number, string>>): Guest {
  const rip = level === 0 ? KERNEL + 0x2000 : USER;
  const guest = new Guest().long(level, rip);
  guest.code(rip, code);
  guest.code(KERNEL + 0xf00, 'F4');
  guest.gate(13, KERNEL + 0xf00);
  for (const [vector, text] of Object.entries(handlers)) {
    const at = KERNEL + Number(vector) * 0x40;
    guest.code(at, text);
    guest.gate(Number(vector), at, Number(vector) === 0x80 ? 0xee : 0x8e);
  }
  guest.poke(0x3000 + 0x24, 0xa000);
  guest.set(S.cr4, CR4.PAE | CR4.DE | CR4.FSGSBASE | CR4.OSFXSR | CR4.SMAP);
  guest.poke(TABLES + 0x2000, 0x83);
  // Descriptors that are accessed already, as a kernel writes them: else the first use is the routine's.
  for (const selector of [SELECTOR.code0, SELECTOR.data0, SELECTOR.code3, SELECTOR.data3]) {
    const at = GDT + (selector & ~7);
    guest.poke(at, guest.peek(at) | (1n << 40n));
  }
  return guest;
}

describe('the short ways into and out of the kernel do what the routines do', () => {
  const COUNT_AND_RETURN = '49 FF C4 48 CF';

  it('SYSCALL and SYSRET, with flags, masks and selectors', () => {
    for (const mask of [0, 0x4_7700, 0x25_7fd5, 0xffff_ffff, 0x8d5]) {
      for (const flags of [0x2, 0x202, 0x8d7, 0x46, 0x84, 0x246 | DF, 0x20_0202 | NT]) {
        bothAlike(() => {
          // syscall; pushfq; pop rsi; hlt (#GP)
          const guest = prepared(3, '0F 05 9C 5E F4', {});
          // pushfq; pop rdi; mov r9d,cs; mov r10d,ss; sysretq — on a stack that SYSCALL does not change
          guest.setReg(4, USER_TOP);
          // mov r8,rsp; mov esp,9000h; pushfq; pop rdi; mov rsp,r8; mov r9d,cs; mov r10d,ss; sysretq
          guest.code(KERNEL, '49 89 E0 BC 00 90 00 00 9C 5F 4C 89 C4 41 8C C9 41 8C D2 48 0F 07');
          guest.set(S.sfmask, mask & ~0x100);
          writeRflags(guest.view, flags);
          return guest;
        });
      }
    }
  });

  it('page faults of level 3, with CR2, error code and RF', () => {
    bothAlike(() => {
      // mov eax,[100000h]; inc ebx; hlt
      const guest = prepared(3, '8B 04 25 00 00 10 00 FF C3 F4', {
        // mov r13,cr2; mov r14,[rsp]; mov r11,[rsp+24]; add qword [rsp+8],7; add rsp,8; inc r12; iretq
        14: '41 0F 20 D5 4C 8B 34 24 4C 8B 5C 24 18 48 83 44 24 08 07 48 83 C4 08 49 FF C4 48 CF',
      });
      return guest;
    });
  });

  it('faults at level 0, on its own stack and on an IST; trap gates leave IF', () => {
    for (const [ist, access] of [
      [0, 0x8e],
      [1, 0x8e],
      [0, 0x8f],
      [1, 0x8f],
    ] as const) {
      for (const rsp of [KERNEL_TOP - 0x800, KERNEL_TOP - 0x803]) {
        bothAlike(() => {
          // ud2; pushfq; pop rsi; hlt
          const guest = prepared(0, '0F 0B 9C 5E F4', { 6: '9C 5F 48 83 44 24 00 02 49 FF C4 48 CF' });
          const gateAt = 0x2000 + 6 * 16;
          guest.gate(6, KERNEL + 6 * 0x40, access);
          guest.poke(gateAt, guest.peek(gateAt) | (BigInt(ist) << 32n));
          guest.setReg(4, rsp);
          return guest;
        });
      }
    }
  });

  it('an interrupt from outside, at level 0 and with AC set (SMAP open)', () => {
    for (const flags of [0x202, 0x202 | AC, 0x202 | DF | 0x8d5]) {
      bothAlike(() => {
        // mov al,30h; out 80h,al; nop; pushfq; pop rsi; hlt
        const guest = prepared(0, 'B0 30 E6 80 90 9C 5E F4', { 48: `9C 5F ${COUNT_AND_RETURN}` });
        writeRflags(guest.view, flags);
        return guest;
      });
    }
  });

  it('IRETQ to levels 0 and 3: SS, flags, segments that level 3 may not keep', () => {
    for (const image of [0x202, 0x2 | DF | 0x8d5, 0x202 | RF, 0x3202, 0x202 | AC, 0x202 | NT, 0x20_0202]) {
      for (const data of [0, SELECTOR.data0, SELECTOR.data3]) {
        bothAlike(() => {
          // mov ds,ecx; mov fs,ecx; push ss; push rsp'; push flags; push cs; push rip; iretq
          const guest = prepared(
            0,
            `8E D9 8E E1 6A ${SELECTOR.data3.toString(16)} 68 00 00 21 00 FF F2 6A ${SELECTOR.code3.toString(16)} 68 00 00 20 00 48 CF`,
            {},
          );
          guest.setReg(1, data);
          guest.setReg(2, image);
          guest.code(USER, '90 F4');
          return guest;
        });
      }
      for (const ss of [0, SELECTOR.data0]) {
        bothAlike(() => {
          // push ss; push rsp; push flags; push cs; push rip; iretq
          const guest = prepared(
            0,
            `6A ${ss.toString(16).padStart(2, '0')} 68 00 88 00 00 FF F2 6A ${SELECTOR.code0.toString(16)} 68 00 30 10 00 48 CF`,
            {},
          );
          guest.setReg(2, image & ~NT);
          guest.code(KERNEL + 0x3000, '9C 5F F4');
          return guest;
        });
      }
    }
  });

  it('IRETQ faults as the routine does: selectors, RIP and stacks that are wrong', () => {
    for (const [cs, ss, rip] of [
      [0, SELECTOR.data3, USER],
      [SELECTOR.code3, 0, USER],
      [SELECTOR.code3, SELECTOR.data0, USER],
      [SELECTOR.data3, SELECTOR.data3, USER],
      [0x7b, SELECTOR.data3, USER],
      [SELECTOR.code3, SELECTOR.data3, -0x8000_0000_0000 + -0x1000],
      [SELECTOR.code0, SELECTOR.data3, KERNEL + 0x3000],
      [SELECTOR.code32, SELECTOR.data3, USER],
    ] as const) {
      bothAlike(() => {
        const guest = prepared(0, '56 53 FF F2 51 50 48 CF', {});
        for (const [n, value] of [
          [6, ss],
          [3, USER_TOP],
          [2, 0x202],
          [1, cs],
        ] as const)
          guest.setReg(n, value);
        guest.setReg(0, BigInt.asUintN(64, BigInt(rip)));
        guest.code(USER, '90 F4');
        return guest;
      });
    }
  });

  it('exceptions whose gate, handler or stack is wrong', () => {
    const cases: readonly ((guest: Guest) => void)[] = [
      (guest) => guest.poke(0x2000 + 6 * 16, 0),
      (guest) => guest.poke(0x2000 + 6 * 16 + 8, 0x8000),
      (guest) => guest.poke(GDT + SELECTOR.code0 + 0x100, 0),
      (guest) => guest.gate(6, KERNEL, 0x8c),
      // An IST that points at nothing.
      (guest) => {
        guest.poke(0x2000 + 6 * 16, guest.peek(0x2000 + 6 * 16) | (2n << 32n));
        guest.poke(0x3000 + 0x2c, 0x50_0000_0000);
      },
      // A frame over a page end.
      (guest) => guest.setReg(4, 0x9010),
    ];
    for (const spoil of cases) {
      bothAlike(() => {
        const guest = prepared(0, '0F 0B F4', { 6: '48 83 04 24 02 48 CF', 8: 'F4', 11: 'F4', 14: 'F4' });
        guest.poke(0x3000 + 0x24, 0xa000);
        const at = 0x2000 + 8 * 16;
        guest.poke(at, guest.peek(at) | (1n << 32n));
        spoil(guest);
        return guest;
      });
    }
  });

  it('STAC and CLAC open and close user pages', () => {
    bothAlike(() => {
      // stac; mov eax,[200000h]; clac; mov ebx,[200000h] (#PF, halts)
      const guest = prepared(0, '0F 01 CB 8B 04 25 00 00 20 00 0F 01 CA 8B 1C 25 00 00 20 00', { 14: 'F4' });
      guest.poke(USER, 0x1234);
      return guest;
    });
    const guest = prepared(0, '0F 01 CB 8B 04 25 00 00 20 00 F4', {});
    guest.poke(USER, 0x1234);
    guest.cpu.stateChanged();
    guest.untilHalt();
    assert.deepEqual([guest.reg(0), readRflags(guest.view) & (AC | IF)], [0x1234n, AC | IF]);
  });

  it('MOV to CR3, INVLPG, and MOV from CR0, CR2, CR3 and CR4', () => {
    const cases: readonly (readonly [bigint | number, bigint | number])[] = [
      [TABLES, KERNEL],
      // Bits of a cache, which stay; an address that is none, of which nothing can be dropped.
      [TABLES | 0x18, 1n << 63n],
      // Bit 63 while there are no process contexts, and bits beyond the width of addresses: #GP.
      [(1n << 63n) | BigInt(TABLES), KERNEL],
      [(1n << 60n) | BigInt(TABLES), KERNEL],
    ];
    for (const [n, [cr3, page]] of cases.entries()) {
      const routines = bothAlike(() => {
        // mov rax,cr0; mov rbx,cr2; mov rdx,cr4; mov cr3,rcx; mov rbp,cr3; invlpg [rdi]; mov rsi,[100000h]; hlt
        const code = '0F 20 C0 0F 20 D3 0F 20 E2 0F 22 D9 0F 20 DD 0F 01 3F 48 8B 34 25 00 00 10 00 F4';
        const guest = prepared(0, code, {});
        guest.set(S.cr2, 0x1234_5678_9abcn);
        guest.setReg(1, cr3);
        guest.setReg(7, page);
        return guest;
      });
      if (n < 2) assert.equal(routines, 1);
    }
    for (const code of ['0F 20 D0', '0F 22 D8', '0F 01 3F', '0F 22 C8', '0F 20 C8'])
      for (const level of [0, 3] as const) bothAlike(() => prepared(level, `${code} F4`, { 6: 'F4' }));
  });

  it('keep the bases of FS and GS', () => {
    bothAlike(() => {
      const guest = prepared(3, '0F 05 F4', {});
      guest.code(KERNEL, '48 0F 07');
      guest.view.setBigUint64(segment(FS) + SEG.base, 0x7000_0000_1000n, true);
      return guest;
    });
  });
});
