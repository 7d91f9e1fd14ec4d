import { at, mem } from '../assembler.ts';
import { faults, KERNEL_DATA, type TestKernel } from '../kit.ts';

/** Single steps, breakpoints and the debug registers (SDM vol. 3, chapter 18). */
export function debug(kernel: TestKernel): void {
  const { asm } = kernel;
  const clearDr6 = (): void => {
    asm.mov('eax', 0);
    asm.db(0x0f, 0x23, 0xf0);
  };
  const single = (name: string, code: (trapped: string) => void): void => {
    const trapped = asm.fresh('trapped');
    kernel.test(name, { vector: 1, ip: at(trapped), dr6: { value: 0x4000, mask: 0xe00f } }, () => {
      clearDr6();
      asm.mov('ecx', KERNEL_DATA);
      asm.push(0x102);
      asm.db(0x9d);
      code(trapped);
    });
  };
  single('TF traps behind one instruction', (trapped) => {
    asm.db(0x90);
    asm.label(trapped);
    asm.db(0x90, 0x90);
  });
  single('TF: MOV to SS holds the trap off for one instruction', (trapped) => {
    asm.mov('ss', 'ecx');
    asm.db(0x90);
    asm.label(trapped);
    asm.db(0x90);
  });
  single('TF: a jump traps at its target', (trapped) => {
    asm.jmp(trapped);
    asm.db(0x0f, 0x0b);
    asm.label(trapped);
    asm.db(0x90);
  });
  kernel.test('TF: an instruction that faults does not trap too', { vector: 13, count: 1 }, () => {
    asm.mov('ecx', 0x1003);
    asm.push(0x102);
    asm.db(0x9d);
    asm.mov('fs', 'ecx');
  });
  kernel.test(
    'TF: one step of REP is one iteration',
    { vector: 1, w0: 4 },
    () => {
      const rep = asm.fresh('rep');
      clearDr6();
      asm.mov('ecx', 5);
      asm.mov('esi', at('window'));
      asm.mov('edi', at('window', 64));
      asm.push(0x102);
      asm.db(0x9d);
      asm.label(rep);
      asm.db(0xf3, 0xa4);
    },
    { after: () => asm.mov(kernel.at('w0'), 'ecx') },
  );
  kernel.test(
    'INT n clears TF in the handler and saves it',
    { vector: 0x49, count: 1, flags: { value: 0x100, mask: 0x100 } },
    () => {
      asm.push(0x102);
      asm.db(0x9d);
      asm.db(0xcd, 0x49);
    },
  );
  kernel.test('INT1 (F1) traps without DR6.BS', { vector: 1, dr6: { value: 0, mask: 0x4000 } }, () => {
    clearDr6();
    asm.db(0xf1);
  });
  kernel.test(
    'DR7.GD: a move of a debug register is #DB',
    { vector: 1, dr6: { value: 0x2000, mask: 0xf000 } },
    () => {
      clearDr6();
      asm.mov('eax', 0x2400);
      asm.db(0x0f, 0x23, 0xf8); // mov dr7
      asm.db(0x0f, 0x21, 0xf8);
    },
    {
      after: () => {
        asm.mov('eax', 0x400);
        asm.db(0x0f, 0x23, 0xf8);
      },
    },
  );
  kernel.test('debug registers read back', { w0: 0x1234_5678, w1: 0x400 }, () => {
    asm.mov('eax', 0x1234_5678);
    asm.db(0x0f, 0x23, 0xc0); // dr0
    asm.db(0x0f, 0x21, 0xc1);
    asm.mov(kernel.at('w0'), 'ecx');
    asm.mov('eax', 0x400);
    asm.db(0x0f, 0x23, 0xf8);
    asm.db(0x0f, 0x21, 0xf9);
    asm.mov(kernel.at('w1'), 'ecx');
  });
  faults(
    kernel,
    '#UD: DR4 with CR4.DE',
    6,
    undefined,
    [0x0f, 0x21, 0xe0],
    () => {
      kernel.control('cr4', 8);
    },
    () => {
      kernel.control('cr4', 0);
    },
  );
  breakpoints(kernel, clearDr6);
}

function breakpoints(kernel: TestKernel, clearDr6: () => void): void {
  const { asm } = kernel;
  const off = (): void => {
    asm.mov('eax', 0x400);
    asm.db(0x0f, 0x23, 0xf8);
  };
  /** DR0 at a place, with the type (0 execute, 1 write, 3 access) and length code of DR7. */
  const arm = (place: { label: string; plus: number }, type: number, length: number): void => {
    clearDr6();
    asm.mov('eax', place);
    asm.db(0x0f, 0x23, 0xc0);
    asm.mov('eax', 0x401 | (type << 16) | (length << 18));
    asm.db(0x0f, 0x23, 0xf8);
  };
  const here = asm.fresh('here');
  kernel.test(
    'DR0: a breakpoint on an instruction faults before it',
    { vector: 1, ip: at(here), dr6: { value: 1, mask: 0xf }, w0: 0 },
    () => {
      arm(at(here), 0, 0);
      asm.label(here);
      asm.mov(kernel.at('w0'), 1);
    },
    { after: off },
  );
  const behind = asm.fresh('behind');
  kernel.test(
    'DR0: a watched write traps behind it',
    { vector: 1, ip: at(behind), dr6: { value: 1, mask: 0xf }, memory: [['written', at('window'), 0x77]] },
    () => {
      arm(at('window'), 1, 3);
      asm.mov(mem(at('window')), 0x77);
      asm.label(behind);
      asm.db(0x90);
    },
    { after: off },
  );
  kernel.test(
    'DR0: a read does not meet a watch for writes',
    {},
    () => {
      arm(at('window'), 1, 3);
      asm.mov('eax', mem(at('window')));
      off();
    },
    { after: off },
  );
}
