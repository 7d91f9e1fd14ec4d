import { at, mem } from '../assembler.ts';
import {
  faults,
  KERNEL_CODE,
  KERNEL_DATA,
  NEEDS,
  PROTECTED_CR0,
  type TestKernel,
  USER_CODE,
  USER_DATA,
} from '../kit.ts';

/** What ring 3 may not do, alignment checks there, and SYSENTER (SDM vol. 3, 5.8 and 5.9). */
export function privilege(kernel: TestKernel): void {
  const { asm } = kernel;
  kernel.test(
    'ring 3 and back: frame of five',
    {
      vector: 0x80,
      cs: USER_CODE,
      ss: USER_DATA,
      sp: at('userStackTop'),
      flags: { value: 0x202, mask: 0x3202 },
    },
    () => kernel.user(() => {}, { flags: 0x202 }),
  );
  kernel.test('IRET to ring 3 nulls DS of ring 0', { vector: 0x80, ax: 0 }, () => {
    const there = asm.fresh('there');
    asm.push(USER_DATA);
    asm.push(at('userStackTop'));
    asm.push(2);
    asm.push(USER_CODE);
    asm.push(at(there));
    asm.db(0xcf);
    asm.label(there);
    asm.mov('eax', 'ds');
    asm.db(0xcd, 0x80);
  });
  const user = (
    name: string,
    vector: number,
    error: number | undefined,
    code: () => void,
    options: { flags?: number } = {},
  ): void => {
    kernel.test(name, { vector, cs: USER_CODE, ...(error === undefined ? {} : { error }) }, () =>
      kernel.user(code, options),
    );
  };
  const bytes =
    (...values: number[]) =>
    () =>
      asm.db(...values);
  for (const [name, code] of [
    ['HLT', bytes(0xf4)],
    ['CLI', bytes(0xfa)],
    ['STI', bytes(0xfb)],
    ['CLTS', bytes(0x0f, 0x06)],
    ['MOV from CR0', bytes(0x0f, 0x20, 0xc0)],
    ['MOV to CR3', bytes(0x0f, 0x22, 0xd8)],
    ['MOV from DR7', bytes(0x0f, 0x21, 0xf8)],
    ['INVD', bytes(0x0f, 0x08)],
    ['WBINVD', bytes(0x0f, 0x09)],
    ['INVLPG', bytes(0x0f, 0x01, 0x38)],
    ['LMSW', bytes(0x0f, 0x01, 0xf0)],
    ['RDMSR', bytes(0x0f, 0x32)],
    ['WRMSR', bytes(0x0f, 0x30)],
    ['LGDT', bytes(0x0f, 0x01, 0x10)],
    ['LIDT', bytes(0x0f, 0x01, 0x18)],
    ['LLDT', bytes(0x0f, 0x00, 0xd0)],
    ['LTR', bytes(0x0f, 0x00, 0xd8)],
    ['IN from a port that is shut', bytes(0xe4, 0x81)],
    ['OUT to a port beyond the map', bytes(0x66, 0xba, 0x00, 0x20, 0xee)],
    ['a word at the edge of an open port', bytes(0x66, 0xe5, 0x80)],
    ['SYSEXIT', bytes(0x0f, 0x35)],
    ['INSB', bytes(0x66, 0xba, 0x60, 0x00, 0x6c)],
  ] as const) {
    user(`ring 3: ${name} is #GP(0)`, 13, 0, code);
  }
  user('ring 3: IN from a port that the map opens', 0x80, undefined, bytes(0xe4, 0x80));
  user('ring 3: CLI with IOPL 3', 0x80, undefined, bytes(0xfa), { flags: 0x3202 });
  user('ring 3: IN with IOPL 3', 0x80, undefined, bytes(0xe4, 0x61), { flags: 0x3002 });
  user('ring 3: INT through a gate of ring 0 is #GP', 13, 0x48 * 8 + 2, bytes(0xcd, 0x48));
  user('ring 3: INT3 through a gate of ring 3', 3, undefined, bytes(0xcc));
  user('ring 3: INT1 (F1) through a gate of ring 0', 1, undefined, bytes(0xf1));
  user('ring 3: a data segment of ring 0 is #GP(selector)', 13, KERNEL_DATA, () => {
    asm.mov('eax', KERNEL_DATA);
    asm.mov('ds', 'eax');
  });
  user('ring 3: SMSW is allowed', 0x80, undefined, bytes(0x0f, 0x01, 0xe0));
  kernel.test(
    'ring 3: POPF changes neither IF nor IOPL',
    { vector: 0x80, flags: { value: 0x200, mask: 0x3200 } },
    () =>
      kernel.user(
        () => {
          asm.push(0x3002);
          asm.db(0x9d);
        },
        { flags: 0x202 },
      ),
  );
  kernel.test(
    'ring 3: RDTSC with CR4.TSD is #GP(0)',
    { vector: 13, error: 0, cs: USER_CODE },
    () => {
      kernel.control('cr4', 4);
      kernel.user(bytes(0x0f, 0x31));
    },
    {
      after: () => {
        kernel.control('cr4', 0);
      },
    },
  );
  kernel.test(
    'ring 3: SGDT with CR4.UMIP is #GP(0)',
    { vector: 13, error: 0, cs: USER_CODE },
    () => {
      kernel.control('cr4', 0x800);
      kernel.user(() => asm.encode([0x0f, 0x01], 0, mem(at('window')), 0));
    },
    {
      needs: NEEDS.umip,
      after: () => {
        kernel.control('cr4', 0);
      },
    },
  );
  const aligned = (
    name: string,
    vector: number,
    cr0: number,
    flags: number,
    address: number,
    inUser = true,
  ): void => {
    const ip = asm.fresh('ac');
    kernel.test(
      name,
      vector === 17 ? { vector, error: 0, ip: at(ip) } : vector === 0x80 ? { vector } : {},
      () => {
        kernel.control('cr0', cr0);
        const access = (): void => {
          asm.label(ip);
          asm.mov('eax', mem(at('window', address)));
        };
        if (inUser) kernel.user(access, { flags });
        else {
          asm.push(flags);
          asm.db(0x9d);
          access();
        }
      },
      {
        after: () => {
          asm.push(2);
          asm.db(0x9d);
          kernel.control('cr0', PROTECTED_CR0);
        },
      },
    );
  };
  aligned('#AC: a dword at an odd address', 17, 0x40033, 0x40002, 1);
  aligned('no #AC when it is aligned', 0x80, 0x40033, 0x40002, 4);
  aligned('no #AC without CR0.AM', 0x80, 0x33, 0x40002, 1);
  aligned('no #AC without EFLAGS.AC', 0x80, 0x40033, 2, 1);
  aligned('no #AC in ring 0', -1, 0x40033, 0x40002, 1, false);
  sysenter(kernel);
}

function sysenter(kernel: TestKernel): void {
  const { asm } = kernel;
  faults(kernel, '#GP(0): SYSENTER without its code segment', 13, 0, [0x0f, 0x34], () =>
    asm.wrmsr(0x174, 0n),
  );
  kernel.test(
    'SYSENTER and SYSEXIT',
    {
      vector: 0x80,
      cs: USER_CODE,
      ss: USER_DATA,
      sp: 0x7777_0000,
      w0: KERNEL_CODE,
      w1: KERNEL_DATA,
      w2: at('stack0Top', -64),
    },
    () => {
      const entry = asm.fresh('entry');
      const back = asm.fresh('back');
      asm.wrmsr(0x174, BigInt(KERNEL_CODE));
      asm.wrmsr(0x175, at('stack0Top', -64));
      asm.wrmsr(0x176, at(entry));
      kernel.user(() => {
        asm.db(0x0f, 0x34);
        asm.label(entry);
        asm.mov('eax', 'cs');
        asm.mov(kernel.at('w0'), 'eax');
        asm.mov('eax', 'ss');
        asm.mov(kernel.at('w1'), 'eax');
        asm.mov(kernel.at('w2'), 'esp');
        asm.mov('edx', at(back));
        asm.mov('ecx', 0x7777_0000);
        asm.db(0x0f, 0x35);
        asm.label(back);
      });
    },
  );
}
