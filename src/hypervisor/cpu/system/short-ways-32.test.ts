import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AC, DF, IF, NT, RF, VM, writeRflags } from '../flags.ts';
import { FS, S, SEG, segment } from '../layout.ts';
import {
  bothAlike,
  GDT,
  Guest,
  KERNEL,
  KERNEL_TOP,
  SELECTOR,
  TABLES,
  TSS,
  USER,
  USER_TOP,
} from './guestbed.ts';
import { CR4 } from './registers.ts';
import { descriptor } from './testbed.ts';

/** HLT at level 0, the one routine that a run needs. */
const LAST = 1;

const hex = (value: number, bytes: number): string =>
  Array.from({ length: bytes }, (_, i) => ((value >>> (8 * i)) & 0xff).toString(16)).join(' ');
const push = (value: number): string => `68 ${hex(value, 4)}`;

/** A guest whose handlers are given; the one of #GP halts. */
function prepared(level: 0 | 3, code: string, handlers: Readonly<Record<number, string>> = {}): Guest {
  const rip = level === 0 ? KERNEL + 0x2000 : USER;
  const guest = new Guest().protected32(level, rip);
  guest.code(rip, code);
  guest.code(KERNEL + 0xf00, 'F4');
  for (const vector of [10, 11, 12, 13, 14]) guest.gate32(vector, KERNEL + 0xf00);
  for (const [vector, text] of Object.entries(handlers)) {
    const at = KERNEL + 0x4000 + Number(vector) * 0x40;
    guest.code(at, text);
    guest.gate32(Number(vector), at, Number(vector) === 0x80 ? 0xee : 0x8e);
  }
  return guest;
}

/** inc esi; mov ebx,ss; mov ecx,cs; iret */
const COUNT_AND_RETURN = '46 8C D3 8C C9 CF';

describe('the short ways of a 32-bit kernel do what the routines do', () => {
  it('INT n from level 3 and IRET, with flags', () => {
    for (const flags of [0x2, 0x202, 0x8d7, 0x246 | DF, 0x20_0202, 0x3202]) {
      const routines = bothAlike(() => {
        // int 80h; pushf; pop edi; hlt (#GP)
        const guest = prepared(3, 'CD 80 9C 5F F4', { 128: COUNT_AND_RETURN });
        writeRflags(guest.view, flags);
        return guest;
      });
      assert.equal(routines, LAST);
    }
  });

  it('INT n at level 0, by interrupt and trap gates', () => {
    for (const access of [0x8e, 0x8f, 0xee]) {
      const routines = bothAlike(() => {
        // int 30h; pushf; pop edi; hlt — pushf; pop eax; inc esi; iret
        const guest = prepared(0, 'CD 30 9C 5F F4', { 48: '9C 58 46 CF' });
        guest.gate32(0x30, KERNEL + 0x4000 + 0x30 * 0x40, access);
        return guest;
      });
      assert.equal(routines, LAST);
    }
  });

  it('INT n whose gate, handler or stack is not to be had', () => {
    const spoilers: readonly ((guest: Guest) => void)[] = [
      // A gate that level 3 may not use, a task gate, a gate of 16 bits, one that is not present, none at all.
      (guest) => guest.gate32(0x80, KERNEL + 0x6000, 0x8e),
      (guest) => guest.gate32(0x80, KERNEL + 0x6000, 0xe5),
      (guest) => guest.gate32(0x80, KERNEL + 0x6000, 0xe6),
      (guest) => guest.gate32(0x80, KERNEL + 0x6000, 0x6e),
      (guest) => guest.view.setUint32(S.idtrLimit, 0x3ff, true),
      // Stacks: a selector of level 3, none, a data segment that is not flat.
      (guest) => guest.poke(TSS + 8, SELECTOR.data3),
      (guest) => guest.poke(TSS + 8, 0),
      (guest) => guest.poke(GDT + SELECTOR.data0, descriptor(0, 0xffff, 0x93, 0x4)),
      // A frame over a page's end.
      (guest) => guest.poke(TSS + 4, KERNEL_TOP - 0x1000 + 8),
      // Code with a base.
      (guest) => guest.poke(GDT + SELECTOR.code32Kernel, descriptor(0x1000, 0xfffff, 0x9b, 0xc)),
    ];
    for (const spoil of spoilers) {
      bothAlike(() => {
        const guest = prepared(3, 'CD 80 F4', { 128: 'F4' });
        guest.code(KERNEL + 0x6000, 'F4');
        guest.code(KERNEL + 0x5000 + 0x2000, 'F4');
        guest.gate32(8, KERNEL + 0xf00);
        spoil(guest);
        return guest;
      });
    }
  });

  it('page faults of level 3, with CR2, error code and RF', () => {
    const routines = bothAlike(() =>
      // mov eax,[500000h]; inc ebx; hlt
      prepared(3, '8B 05 00 00 50 00 43 F4', {
        // mov eax,[esp]; mov edx,[esp+12]; add dword [esp+4],6; add esp,4; inc esi; iret
        14: '8B 04 24 8B 54 24 0C 83 44 24 04 06 83 C4 04 46 CF',
      }),
    );
    assert.equal(routines, LAST);
  });

  it('an interrupt from outside at either level', () => {
    for (const flags of [0x202, 0x202 | DF | 0x8d5]) {
      bothAlike(() => {
        // mov al,30h; out 80h,al; nop; pushf; pop edi; hlt
        const guest = prepared(0, 'B0 30 E6 80 90 9C 5F F4', { 48: `9C 5A ${COUNT_AND_RETURN}` });
        writeRflags(guest.view, flags);
        return guest;
      });
    }
    bothAlike(() => {
      const guest = prepared(3, 'B0 30 E6 80 90 9C 5F F4', { 48: COUNT_AND_RETURN });
      writeRflags(guest.view, 0x3202);
      return guest;
    });
  });

  it('IRET to levels 0 and 3: stacks, flags, segments that level 3 may not keep', () => {
    for (const image of [
      0x202,
      0x2 | DF | 0x8d5,
      0x202 | RF,
      0x3202,
      0x202 | AC,
      0x202 | NT,
      0x2_0202 & ~VM,
    ]) {
      for (const data of [0, SELECTOR.data0, SELECTOR.data3]) {
        bothAlike(() => {
          // mov ds,ecx; mov fs,ecx; push ss, esp, eflags, cs, eip; iret
          const frame = [SELECTOR.data3, USER_TOP, image, SELECTOR.code32, USER].map(push).join(' ');
          const guest = prepared(0, `8E D9 8E E1 ${frame} CF`);
          guest.setReg(1, data);
          guest.code(USER, '90 F4');
          return guest;
        });
      }
      bothAlike(() => {
        const frame = [image & ~NT, SELECTOR.code32Kernel, KERNEL + 0x3000].map(push).join(' ');
        const guest = prepared(0, `${frame} CF`);
        guest.code(KERNEL + 0x3000, '9C 5F F4');
        return guest;
      });
    }
  });

  it('IRET faults as the routine does', () => {
    for (const [cs, ss] of [
      [0, SELECTOR.data3],
      [SELECTOR.code32, 0],
      [SELECTOR.code32, SELECTOR.data0],
      [SELECTOR.data3, SELECTOR.data3],
      [0x7b, SELECTOR.data3],
    ] as const)
      bothAlike(() => prepared(0, `${[ss, USER_TOP, 0x202, cs, USER].map(push).join(' ')} CF`));
  });

  it('loads of DS, ES, FS and GS: null, flat, with a base and a limit, closed, absent, code, the LDT', () => {
    const spare = 0x70;
    const kinds: readonly (readonly [number, bigint])[] = [
      [0, 0n],
      [3, 0n],
      [SELECTOR.data0, 0n],
      [SELECTOR.data3, 0n],
      [spare, descriptor(0x12345678, 0xabc, 0xf3, 0x4)],
      [spare, descriptor(0x8765_4321, 0xfffff, 0xf3, 0xc)],
      [spare, descriptor(0, 0xfffff, 0xf1, 0xc)],
      [spare | 3, descriptor(0, 0xfffff, 0x93, 0xc)],
      [spare, descriptor(0, 0xfffff, 0xf2, 0xc)],
      [spare, descriptor(0, 0xff, 0xf7, 0x4)],
      [spare, descriptor(0, 0xfffff, 0x73, 0xc)],
      [spare, descriptor(0, 0xfffff, 0xfb, 0xc)],
      [spare, descriptor(0, 0xfffff, 0xf9, 0xc)],
      [spare | 4, descriptor(0, 0xfffff, 0xf3, 0xc)],
      [0x1f0, 0n],
    ];
    for (const [selector, value] of kinds) {
      for (const level of [0, 3] as const) {
        for (const [move, pop] of [
          ['8E D8', '1F'],
          ['8E C0', '07'],
          ['8E E0', '0F A1'],
          ['8E E8', '0F A9'],
        ] as const) {
          for (const code of [`${move} 8C D9 8C C2 8C E3 8C ED F4`, `50 ${pop} 1E 06 0F A0 0F A8 F4`]) {
            bothAlike(() => {
              const guest = prepared(level, code);
              guest.setReg(0, selector);
              if (value !== 0n) guest.poke(GDT + spare, value);
              return guest;
            });
          }
        }
      }
    }
    const flat = bothAlike(() => {
      // mov ds,eax; push eax; pop es; mov fs,eax; push eax; pop gs; mov ecx,gs; hlt
      const guest = prepared(0, '8E D8 50 07 8E E0 50 0F A9 8C E9 F4');
      guest.setReg(0, SELECTOR.data3);
      return guest;
    });
    assert.equal(flat, LAST);
  });

  it('loads of segment registers from memory, which is read behind what is wrong with the register', () => {
    for (const [modrm, address] of [
      ['1D', 0x8000],
      ['25', 0x8000],
      ['2D', 0x8000],
      ['25', 0x50_0000],
      ['0D', 0x50_0000],
      ['15', 0x8000],
      ['35', 0x50_0000],
    ] as const) {
      const routines = bothAlike(() => {
        const guest = prepared(0, `8E ${modrm} ${hex(address, 4)} 8C D9 8C E2 F4`, { 6: 'F4' });
        guest.poke(0x8000, 0xabcd_0000 + SELECTOR.data3);
        return guest;
      });
      if (modrm !== '15' && address === 0x8000) assert.equal(routines, LAST);
    }
  });

  it('segment registers that are none', () => {
    bothAlike(() => prepared(0, '8E F0 F4', { 6: 'F4' }));
    bothAlike(() => prepared(0, '8C F0 F4', { 6: 'F4' }));
    bothAlike(() => prepared(0, '8E C8 F4', { 6: 'F4' }));
  });

  it('SYSENTER and SYSEXIT', () => {
    for (const selector of [SELECTOR.code0, 0]) {
      const routines = bothAlike(() => {
        // sysenter; pushf; pop edi; hlt (#GP) — mov edx,eip; mov ecx,esp; mov ebx,ss; sti; nop; sysexit
        const guest = prepared(3, '0F 34 9C 5F F4');
        guest.code(KERNEL, `BA ${hex(USER + 2, 4)} B9 ${hex(USER_TOP, 4)} 8C D3 FB 90 0F 35`);
        guest.set(S.sysenterCs, selector);
        guest.set(S.sysenterEsp, KERNEL_TOP - 0x400);
        guest.set(S.sysenterEip, KERNEL);
        writeRflags(guest.view, 0x202 | IF | 0x8d5);
        return guest;
      });
      if (selector !== 0) assert.equal(routines, LAST);
    }
  });

  it('MOV to CR3, INVLPG, and MOV from CR2 and CR3', () => {
    // mov ebx,cr2; mov cr3,ecx; mov edx,cr3; mov esi,[100000h]; invlpg [edi]; hlt
    const code = '0F 20 D3 0F 22 D9 0F 20 DA 8B 35 00 00 10 00 0F 01 3F F4';
    const routines = bothAlike(() => {
      const guest = prepared(0, code);
      guest.set(S.cr2, 0x1234_5678);
      guest.setReg(1, TABLES | 0x18);
      guest.setReg(7, KERNEL);
      return guest;
    });
    assert.equal(routines, LAST);
    // Segments that are not flat: invlpg fs:[edi]; invlpg gs:[edi]
    bothAlike(() => {
      const guest = prepared(0, '64 0F 01 3F 65 0F 01 3F F4');
      guest.view.setBigUint64(segment(FS) + SEG.base, 0x1000n, true);
      return guest;
    });
  });

  it('MOV to CR3 loads the page-directory pointers of PAE', () => {
    const POINTERS = 0x30000,
      DIRECTORY = 0x31000;
    /** With `second` as the second of the pointers that are loaded. */
    const pae = (second: bigint, cr3 = POINTERS + 0x20): Guest => {
      // mov cr3,ecx; mov esi,[100000h]; mov ebx,[40100000h]; hlt
      const guest = prepared(0, '0F 22 D9 8B 35 00 00 10 00 8B 1D 00 00 10 40 F4');
      guest.poke(DIRECTORY, 0x83);
      guest.poke(POINTERS, DIRECTORY | 1);
      guest.poke(POINTERS + 0x20, DIRECTORY | 1);
      guest.poke(POINTERS + 0x28, second);
      guest.set(S.cr3, POINTERS);
      guest.set(S.cr4, CR4.PAE | CR4.DE | CR4.OSFXSR);
      guest.set(S.pdpte, DIRECTORY | 1);
      guest.setReg(1, cr3);
      return guest;
    };
    assert.equal(
      bothAlike(() => pae(BigInt(DIRECTORY | 1))),
      LAST,
    );
    // One that is not there, one with a reserved bit (#GP), pointers beyond RAM.
    bothAlike(() => pae(0n));
    bothAlike(() => pae(BigInt(DIRECTORY | 3)));
    bothAlike(() => pae(0n, 0x7fff_ffe0));
  });
});
