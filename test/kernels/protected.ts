import { at, mem } from './assembler.ts';
import {
  type Expectation,
  faults,
  KERNEL_CODE,
  KERNEL_DATA,
  NEEDS,
  TestKernel,
  USER_CODE,
  USER_DATA,
} from './kit.ts';

/**
 * Protected mode without paging: exceptions with their vectors, error codes
 * and saved EIP, segments, gates, ring 3, tasks, virtual-8086 and real mode
 * (Intel SDM vol. 3, chapters 5, 6, 8, 21).
 */
const CR0_DEFAULT = 0x33; // NE ET MP PE

export function protectedKernel(): Buffer {
  const kernel = new TestKernel(32);
  plainExceptions(kernel);
  units(kernel);
  segments(kernel);
  farTransfers(kernel);
  privilege(kernel);
  debug(kernel);
  tasks(kernel);
  virtual8086(kernel);
  realMode(kernel);
  codeThatChanges(kernel);
  processor(kernel);
  return kernel.finish();
}

function plainExceptions(kernel: TestKernel): void {
  const { asm } = kernel;
  const eax = (value: number) => () => asm.mov('eax', value);
  faults(kernel, '#DE: division by zero', 0, undefined, [0xf7, 0xf1], () => {
    asm.mov('ecx', 0);
    asm.mov('edx', 0);
  });
  faults(kernel, '#DE: the quotient does not fit', 0, undefined, [0xf7, 0xf1], () => {
    asm.mov('ecx', 1);
    asm.mov('edx', 1);
  });
  faults(kernel, '#DE: IDIV of the least number by -1', 0, undefined, [0xf7, 0xf9], () => {
    asm.mov('ecx', -1);
    asm.mov('edx', -1);
    asm.mov('eax', -0x80000000);
  });
  faults(kernel, '#DE: AAM 0', 0, undefined, [0xd4, 0x00]);
  const traps = (name: string, vector: number, bytes: readonly number[], before = (): void => {}): void => {
    const next = asm.fresh('next');
    kernel.test(name, { vector, ip: at(next), cs: KERNEL_CODE }, () => {
      before();
      asm.db(...bytes);
      asm.label(next);
    });
  };
  traps('INT3 saves the next instruction', 3, [0xcc]);
  traps('INT 3 in two bytes', 3, [0xcd, 0x03]);
  traps('INT n', 0x42, [0xcd, 0x42]);
  traps('INTO with OF', 4, [0xce], () => {
    asm.mov('eax', 0x7fff_ffff);
    asm.alu('add', 'eax', 1);
  });
  kernel.test('INTO without OF does nothing', {}, () => {
    asm.alu('xor', 'eax', 'eax');
    asm.db(0xce);
  });
  kernel.data(() => {
    asm.align(8);
    asm.label('bounds');
    asm.dd(-5, 5);
  });
  const bound = (name: string, value: number, vector: number | undefined): void => {
    const ip = asm.fresh('bound');
    kernel.test(name, vector === undefined ? {} : { vector, ip: at(ip) }, () => {
      asm.mov('eax', value);
      asm.label(ip);
      asm.encode([0x62], 0, mem(at('bounds')), 4);
    });
  };
  bound('BOUND inside', -5, undefined);
  bound('BOUND below: #BR', -6, 5);
  bound('BOUND above: #BR', 6, 5);
  faults(kernel, '#UD: UD2', 6, undefined, [0x0f, 0x0b]);
  faults(kernel, '#UD: LOCK before a register form', 6, undefined, [0xf0, 0x01, 0xc8]);
  faults(kernel, '#UD: LOCK before MOV', 6, undefined, [0xf0, 0x89, 0x00]);
  faults(kernel, '#UD: MOV to CS', 6, undefined, [0x8e, 0xc8]);
  faults(kernel, '#UD: LEA of a register', 6, undefined, [0x8d, 0xc0]);
  faults(kernel, '#UD: BOUND of a register', 6, undefined, [0x62, 0xc0]);
  faults(kernel, '#UD: LES of a register', 6, undefined, [0xc4, 0xc0]);
  faults(kernel, '#UD: MOV from CR1', 6, undefined, [0x0f, 0x20, 0xc8]);
  faults(kernel, '#UD: MOV from CR5', 6, undefined, [0x0f, 0x20, 0xe8]);
  faults(kernel, '#UD: FE /7', 6, undefined, [0xfe, 0xf8]);
  faults(
    kernel,
    '#GP: an instruction of 16 bytes',
    13,
    0,
    [0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90],
  );
  kernel.test('an instruction of 15 bytes', {}, () => asm.db(...new Array(14).fill(0x66), 0x90));
  faults(
    kernel,
    '#GP: CR0.PG without PE',
    13,
    0,
    [0x0f, 0x22, 0xc0],
    eax(-0x80000000),
    undefined,
    NEEDS.notTcg,
  );
  faults(
    kernel,
    '#GP: CR0.NW without CD',
    13,
    0,
    [0x0f, 0x22, 0xc0],
    eax(0x20000033),
    undefined,
    NEEDS.notTcg,
  );
  faults(
    kernel,
    '#GP: a reserved bit of CR4',
    13,
    0,
    [0x0f, 0x22, 0xe0],
    eax(-0x80000000),
    undefined,
    NEEDS.notTcg,
  );
  faults(kernel, '#GP: RDMSR of no register', 13, 0, [0x0f, 0x32], () => asm.mov('ecx', 0x4bad_0000));
  faults(kernel, '#GP: WRMSR of no register', 13, 0, [0x0f, 0x30], () => asm.mov('ecx', 0x4bad_0000));
  faults(kernel, '#GP: WRMSR of a reserved EFER bit', 13, 0, [0x0f, 0x30], () => {
    asm.mov('ecx', 0xc000_0080);
    asm.mov('eax', 0);
    asm.mov('edx', 0x100);
  });
  faults(kernel, '#GP: WRMSR of a reserved memory type in PAT', 13, 0, [0x0f, 0x30], () => {
    asm.mov('ecx', 0x277);
    asm.mov('eax', 2);
    asm.mov('edx', 0);
  });
  faults(kernel, '#GP: INT beyond the IDT', 13, 0x90 * 8 + 2, [0xcd, 0x90]);
  kernel.test('#NP: INT through a gate that is not present', { vector: 11, error: 0x43 * 8 + 2 }, () => {
    asm.mov(mem(at('idt', 0x43 * 8 + 5), { size: 1 }), 0x0e);
    asm.db(0xcd, 0x43);
  });
  kernel.test('#GP: INT through what is no gate', { vector: 13, error: 0x44 * 8 + 2 }, () => {
    asm.mov(mem(at('idt', 0x44 * 8 + 5), { size: 1 }), 0x82);
    asm.db(0xcd, 0x44);
  });
  kernel.test('#GP: INT through a gate to a null selector', { vector: 13, error: 0 }, () => {
    asm.mov(mem(at('idt', 0x45 * 8 + 2), { size: 2 }), 0);
    asm.db(0xcd, 0x45);
  });
  kernel.test('#GP: INT through a gate to a data segment', { vector: 13, error: KERNEL_DATA }, () => {
    asm.mov(mem(at('idt', 0x46 * 8 + 2), { size: 2 }), KERNEL_DATA);
    asm.db(0xcd, 0x46);
  });
  kernel.test(
    'a fault saves RF, INT n does not',
    { vector: 6, flags: { value: 0x10000, mask: 0x10000 } },
    () => asm.db(0x0f, 0x0b),
  );
  kernel.test('INT n saves no RF', { vector: 0x47, flags: { value: 0, mask: 0x10000 } }, () =>
    asm.db(0xcd, 0x47),
  );
}

function units(kernel: TestKernel): void {
  const { asm } = kernel;
  const cr0 = (value: number) => (): void => {
    asm.mov('eax', value);
    asm.mov('cr0', 'eax');
  };
  const restore = cr0(CR0_DEFAULT);
  faults(kernel, '#NM: x87 with CR0.TS', 7, undefined, [0xd9, 0xe8], cr0(0x3b), restore);
  faults(kernel, '#NM: x87 with CR0.EM', 7, undefined, [0xd9, 0xe8], cr0(0x35), restore);
  faults(kernel, '#NM: FWAIT with CR0.TS and MP', 7, undefined, [0x9b], cr0(0x3b), restore);
  kernel.test(
    'FWAIT with CR0.TS without MP',
    {},
    () => {
      cr0(0x39)();
      asm.db(0x9b);
    },
    { after: restore },
  );
  faults(kernel, '#UD: MMX with CR0.EM', 6, undefined, [0x0f, 0xef, 0xc0], cr0(0x35), restore);
  faults(kernel, '#NM: MMX with CR0.TS', 7, undefined, [0x0f, 0xef, 0xc0], cr0(0x3b), restore);
  faults(kernel, '#UD: SSE without CR4.OSFXSR', 6, undefined, [0x0f, 0x57, 0xc0], () => {
    restore();
    asm.mov('eax', 0);
    asm.mov('cr4', 'eax');
  });
  const cr4 = (value: number): void => {
    asm.mov('eax', value);
    asm.mov('cr4', 'eax');
  };
  faults(
    kernel,
    '#NM: SSE with CR0.TS',
    7,
    undefined,
    [0x0f, 0x57, 0xc0],
    () => {
      cr4(0x200);
      cr0(0x3b)();
    },
    restore,
  );
  kernel.test(
    'CLTS',
    { w0: { value: 0, mask: 8 } },
    () => {
      cr0(0x3b)();
      asm.db(0x0f, 0x06);
      asm.mov('eax', 'cr0');
      asm.mov(kernel.at('w0'), 'eax');
    },
    { after: restore },
  );
  const mxcsr = (value: number): void => {
    asm.mov(kernel.at('w7'), value);
    asm.encode([0x0f, 0xae], 2, kernel.at('w7'), 4);
  };
  const divide = (): void => {
    asm.db(0x0f, 0x57, 0xc9); // xorps xmm1, xmm1
    asm.mov(kernel.at('w6'), 0x3f80_0000);
    asm.encode([0x0f, 0x10], 0, kernel.at('w6'), 4); // movups xmm0
  };
  const masked = (): void => mxcsr(0x1f80);
  faults(
    kernel,
    '#XM: an unmasked SSE division by zero',
    19,
    undefined,
    [0x0f, 0x5e, 0xc1],
    () => {
      cr4(0x600);
      divide();
      mxcsr(0x1d80);
    },
    masked,
  );
  faults(
    kernel,
    '#UD: the same without CR4.OSXMMEXCPT',
    6,
    undefined,
    [0x0f, 0x5e, 0xc1],
    () => {
      cr4(0x200);
      divide();
      mxcsr(0x1d80);
    },
    () => {
      masked();
      cr4(0);
    },
  );
  faults(
    kernel,
    '#MF: an unmasked x87 division by zero, at the next instruction that waits',
    16,
    undefined,
    [0x9b],
    () => {
      asm.db(0xdb, 0xe3); // fninit
      asm.mov(kernel.at('w7'), 0x37b);
      asm.encode([0xd9], 5, kernel.at('w7'), 4); // fldcw
      asm.db(0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9); // fld1; fldz; fdivp
    },
    () => asm.db(0xdb, 0xe3),
  );
}

function segments(kernel: TestKernel): void {
  const { asm } = kernel;
  kernel.data(() => {
    asm.align(16);
    asm.label('window');
    asm.space(0x2000);
  });
  const readOnly = kernel.descriptor(0, 0xfffff, 0x90, 0xc);
  const small = kernel.descriptor(at('window'), 0xfff, 0x92, 4);
  const down = kernel.descriptor(at('window'), 0x0fff, 0x96, 4);
  const down16 = kernel.descriptor(at('window'), 0x0fff, 0x96, 0);
  const absent = kernel.descriptor(0, 0xfffff, 0x12, 0xc);
  const executeOnly = kernel.descriptor(0, 0xfffff, 0x98, 0xc);
  const accessed = kernel.descriptor(0, 0xfffff, 0x92, 0xc);
  const smallStack = kernel.descriptor(at('window'), 0xfff, 0x92, 4);
  const flat = (): void => {
    asm.mov('eax', KERNEL_DATA);
    for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) asm.mov(name, 'eax');
  };
  const load =
    (selector: number, segment: 'ds' | 'es' | 'fs' | 'gs' | 'ss' = 'fs') =>
    (): void => {
      asm.mov('eax', selector);
      asm.mov(segment, 'eax');
    };
  const eaxTo = (value: number) => () => asm.mov('eax', value);
  faults(kernel, '#GP(selector): a data segment beyond the GDT', 13, 0x1000, [0x8e, 0xe0], eaxTo(0x1003));
  faults(kernel, '#GP(selector): a selector into an LDT that is not there', 13, 0xc, [0x8e, 0xe0], () => {
    asm.mov('eax', 0);
    asm.db(0x0f, 0x00, 0xd0); // lldt ax
    asm.mov('eax', 0xf);
  });
  faults(
    kernel,
    '#NP(selector): a data segment that is not present',
    11,
    absent,
    [0x8e, 0xe0],
    eaxTo(absent),
  );
  faults(kernel, '#SS(selector): a stack that is not present', 12, absent, [0x8e, 0xd0], eaxTo(absent));
  faults(kernel, '#GP(0): a null stack', 13, 0, [0x8e, 0xd0], eaxTo(0));
  faults(kernel, '#GP(selector): a read-only stack', 13, readOnly, [0x8e, 0xd0], eaxTo(readOnly));
  faults(
    kernel,
    '#GP(selector): a stack with the wrong RPL',
    13,
    KERNEL_DATA,
    [0x8e, 0xd0],
    eaxTo(KERNEL_DATA | 1),
  );
  faults(
    kernel,
    '#GP(selector): an execute-only data segment',
    13,
    executeOnly,
    [0x8e, 0xe0],
    eaxTo(executeOnly),
  );
  faults(kernel, '#GP(selector): a system segment as data', 13, 0x28, [0x8e, 0xe0], eaxTo(0x28));
  kernel.test(
    'null in FS loads; its use is #GP(0)',
    { vector: 13, error: 0 },
    () => {
      load(0)();
      asm.mov('eax', mem(at('window'), { segment: 'fs' }));
    },
    { after: flat },
  );
  kernel.test(
    'loading a segment sets its accessed bit',
    { memory: [['access byte', at('gdt', accessed + 4), { value: 0x9300, mask: 0xff00 }]] },
    () => load(accessed)(),
    { after: flat },
  );
  kernel.test(
    '#GP(0): a write to a read-only segment',
    { vector: 13, error: 0 },
    () => {
      load(readOnly)();
      asm.mov(mem(at('window'), { segment: 'fs' }), 'eax');
    },
    { after: flat },
  );
  kernel.test(
    'a read-only segment reads',
    {},
    () => {
      load(readOnly)();
      asm.mov('eax', mem(at('window'), { segment: 'fs' }));
    },
    { after: flat },
  );
  kernel.test('#GP(0): a write through CS', { vector: 13, error: 0 }, () =>
    asm.mov(mem(at('window'), { segment: 'cs' }), 'eax'),
  );
  const limit = (name: string, selector: number, offset: number, size: 1 | 2 | 4, bad: boolean): void => {
    for (const kind of ['read', 'write'] as const) {
      kernel.test(
        `limit: ${name}, ${kind}`,
        bad ? { vector: 13, error: 0 } : {},
        () => {
          load(selector)();
          const register = size === 1 ? 'cl' : size === 2 ? 'cx' : 'ecx';
          if (kind === 'read') asm.mov(register, mem(offset, { segment: 'fs', size }));
          else asm.mov(mem(offset, { segment: 'fs', size }), register);
        },
        { after: flat },
      );
    }
  };
  limit('the last byte', small, 0xfff, 1, false);
  limit('the byte behind', small, 0x1000, 1, true);
  limit('a dword up to the end', small, 0xffc, 4, false);
  limit('a dword over the end', small, 0xffd, 4, true);
  limit('a word over the end', small, 0xfff, 2, true);
  limit('an offset that wraps', small, 0xffff_fffe, 4, true);
  limit('expand-down, below', down, 0xfff, 1, true);
  limit('expand-down, above', down, 0x1000, 4, false);
  limit('expand-down, over the edge', down, 0xffe, 4, true);
  limit('expand-down of 16 bits, above', down16, 0x1ffc, 4, false);
  limit('expand-down of 16 bits, beyond 64 KiB', down16, 0x10000, 1, true);
  limit('expand-down of 16 bits, over 64 KiB', down16, 0xfffe, 4, true);
  kernel.test(
    '#SS(0): EBP beyond the stack segment',
    { vector: 12, error: 0 },
    () => {
      load(smallStack, 'ss')();
      asm.mov('esp', 0x800);
      asm.mov('ebp', 0x1000);
      asm.mov('eax', mem(0, { base: 'ebp' }));
    },
    { after: flat },
  );
  kernel.test(
    'a stack segment of its own base works',
    { memory: [['pushed', at('window', 0x7fc), 0x1234_5678]] },
    () => {
      asm.mov('ebp', 'esp');
      load(smallStack, 'ss')();
      asm.mov('esp', 0x800);
      asm.push(0x1234_5678);
      load(KERNEL_DATA, 'ss')();
      asm.mov('esp', 'ebp');
    },
    { after: flat },
  );
  segmentQueries(kernel, { readOnly, absent, small, executeOnly });
  const ldt = kernel.descriptor(at('ldt'), 0xf, 0x82, 0);
  kernel.data(() => {
    asm.align(8);
    asm.label('ldt');
    asm.dq(0, 0x00cf92000000ffffn);
  });
  kernel.test(
    'a segment of the LDT',
    {},
    () => {
      asm.mov('eax', ldt);
      asm.db(0x0f, 0x00, 0xd0); // lldt ax
      load(0xc)();
      asm.mov('eax', mem(at('window'), { segment: 'fs' }));
    },
    { after: flat },
  );
  faults(kernel, '#GP(selector): beyond the LDT', 13, 0x14, [0x8e, 0xe0], eaxTo(0x14), () => {
    asm.mov('eax', 0);
    asm.db(0x0f, 0x00, 0xd0);
  });
  faults(
    kernel,
    '#GP(selector): LLDT of what is no LDT',
    13,
    KERNEL_DATA,
    [0x0f, 0x00, 0xd0],
    eaxTo(KERNEL_DATA),
  );
  faults(kernel, '#GP(0): LTR of null', 13, 0, [0x0f, 0x00, 0xd8], eaxTo(0), undefined, NEEDS.notTcg);
  faults(kernel, '#GP(selector): LTR of a busy task', 13, 0x28, [0x0f, 0x00, 0xd8], eaxTo(0x28));
}

function segmentQueries(
  kernel: TestKernel,
  s: { readOnly: number; absent: number; small: number; executeOnly: number },
): void {
  const { asm } = kernel;
  /** Opcode 0F 02 (LAR) or 03 (LSL) of ECX; w0 is the result, w1 is ZF. */
  const query = (name: string, opcode: readonly number[], selector: number, expected: Expectation): void => {
    kernel.test(name, expected, () => {
      asm.mov('ecx', selector);
      asm.mov('eax', 0x5555);
      asm.db(...opcode);
      asm.db(0x0f, 0x94, 0xc2); // setz dl
      asm.mov(kernel.at('w0'), 'eax');
      asm.mov(kernel.at('w1', 1), 'dl');
    });
  };
  query('LAR of the code segment', [0x0f, 0x02, 0xc1], KERNEL_CODE, {
    w0: { value: 0x00c0_9a00, mask: 0x00f0_fe00 },
    w1: 1,
  });
  query('LAR of null', [0x0f, 0x02, 0xc1], 0, { w0: 0x5555, w1: 0 });
  query('LAR of a segment that is not present', [0x0f, 0x02, 0xc1], s.absent, {
    w0: { value: 0x00c0_1200, mask: 0x00f0_fe00 },
    w1: 1,
  });
  query('LSL in pages', [0x0f, 0x03, 0xc1], KERNEL_DATA, { w0: -1, w1: 1 });
  query('LSL in bytes', [0x0f, 0x03, 0xc1], s.small, { w0: 0xfff, w1: 1 });
  query('LSL beyond the GDT', [0x0f, 0x03, 0xc1], 0x1000, { w0: 0x5555, w1: 0 });
  query('VERR of execute-only code', [0x0f, 0x00, 0xe1], s.executeOnly, { w1: 0 });
  query('VERR of data', [0x0f, 0x00, 0xe1], s.readOnly, { w1: 1 });
  query('VERW of read-only data', [0x0f, 0x00, 0xe9], s.readOnly, { w1: 0 });
  query('VERW of data', [0x0f, 0x00, 0xe9], KERNEL_DATA, { w1: 1 });
  query('ARPL raises the RPL', [0x63, 0xc8], 3, { w0: 0x5557, w1: 1 });
}

function farTransfers(kernel: TestKernel): void {
  const { asm } = kernel;
  const conforming = kernel.descriptor(0, 0xfffff, 0x9e, 0xc);
  const absentCode = kernel.descriptor(0, 0xfffff, 0x1a, 0xc);
  const code16 = kernel.descriptor(0, 0xfffff, 0x9a, 0x8);
  const smallCode = kernel.descriptor(0, 0xff, 0x9a, 4);
  const faultFar = (name: string, vector: number, error: number, selector: number): void => {
    const ip = asm.fresh('far');
    kernel.test(name, { vector, error, ip: at(ip), cs: KERNEL_CODE }, () => {
      asm.label(ip);
      asm.far('jmp', selector, at(ip));
    });
  };
  faultFar('far jump to null: #GP(0)', 13, 0, 0);
  faultFar('far jump to data: #GP(selector)', 13, KERNEL_DATA, KERNEL_DATA);
  faultFar('far jump to code that is not present: #NP', 11, absentCode, absentCode);
  faultFar('far jump to code of ring 3: #GP', 13, USER_CODE & ~3, USER_CODE);
  faultFar('far jump beyond the limit: #GP(0)', 13, 0, smallCode);
  faultFar('far jump beyond the GDT: #GP(selector)', 13, 0x2000, 0x2000);
  const arrive = (name: string, selector: number, cs: number): void => {
    const there = asm.fresh('there');
    const back = asm.fresh('back');
    kernel.test(name, { w0: cs }, () => {
      asm.far('jmp', selector, at(there));
      asm.label(there);
      asm.mov('eax', 'cs');
      asm.mov(kernel.at('w0'), 'eax');
      asm.far('jmp', KERNEL_CODE, at(back));
      asm.label(back);
    });
  };
  arrive('far jump to a conforming segment', conforming, conforming);
  kernel.test('far jump to 16-bit code and back', { w0: 0x1234 }, () => {
    const there = asm.fresh('there');
    const back = asm.fresh('back');
    asm.mov('eax', 0);
    asm.far('jmp', code16, at(there));
    asm.label(there);
    asm.db(0xb8, 0x34, 0x12); // mov ax, 1234h
    asm.db(0x66, 0xea);
    asm.dd(at(back));
    asm.dw(KERNEL_CODE);
    asm.label(back);
    asm.mov(kernel.at('w0'), 'eax');
  });
  kernel.test('far call and far return', { w0: 7 }, () => {
    const over = asm.fresh('over');
    const routine = asm.fresh('routine');
    asm.far('call', KERNEL_CODE, at(routine));
    asm.jmp(over);
    asm.label(routine);
    asm.mov(kernel.at('w0'), 7);
    asm.db(0xcb);
    asm.label(over);
  });
  const gateTarget = asm.fresh('gateTarget');
  const open = kernel.gate(0xec, KERNEL_CODE, at(gateTarget), 2);
  const shut = kernel.gate(0x8c, KERNEL_CODE, at(gateTarget), 0);
  const absent = kernel.gate(0x6c, KERNEL_CODE, at(gateTarget), 0);
  asm.jmp(`${gateTarget}.over`);
  asm.label(gateTarget);
  // Behind the return address (8 bytes) lie the copied parameters, then the outer stack.
  asm.mov('eax', mem(8, { base: 'esp', segment: 'ss' }));
  asm.mov('edx', KERNEL_DATA);
  asm.mov('ds', 'edx');
  asm.mov(kernel.at('w0'), 'eax');
  asm.mov('eax', mem(12, { base: 'esp', segment: 'ss' }));
  asm.mov(kernel.at('w1'), 'eax');
  asm.mov('eax', mem(20, { base: 'esp', segment: 'ss' }));
  asm.mov(kernel.at('w2'), 'eax');
  asm.mov('eax', 'cs');
  asm.mov(kernel.at('w3'), 'eax');
  asm.db(0xca, 8, 0); // retf 8
  asm.label(`${gateTarget}.over`);
  kernel.test(
    'call gate from ring 3: parameters, stack, return',
    {
      vector: 0x80,
      cs: USER_CODE,
      w0: 0x2222,
      w1: 0x1111,
      w2: USER_DATA,
      w3: KERNEL_CODE,
      sp: at('userStackTop'),
      ax: KERNEL_CODE,
    },
    () =>
      kernel.user(() => {
        asm.push(0x1111);
        asm.push(0x2222);
        asm.far('call', open | 3, 0);
      }),
  );
  kernel.test(
    '#GP(selector): a call gate of ring 0 from ring 3',
    { vector: 13, error: shut, cs: USER_CODE },
    () => kernel.user(() => asm.far('call', shut | 3, 0)),
  );
  kernel.test('#NP(selector): a call gate that is not present', { vector: 11, error: absent }, () =>
    asm.far('call', absent, 0),
  );
  kernel.test(
    '#GP(selector): a far jump through a gate to an inner ring',
    { vector: 13, error: KERNEL_CODE, cs: USER_CODE },
    () => kernel.user(() => asm.far('jmp', open | 3, 0)),
  );
  const ring1Code = kernel.descriptor(0, 0xfffff, 0xba, 0xc);
  const ring1Gate = kernel.gate(0xec, ring1Code | 1, at(gateTarget), 0);
  kernel.test('#TS: a call gate whose stack is null', { vector: 10, error: 0 }, () => {
    // Ring 1, so that the stack of ring 0 takes the fault.
    asm.mov(mem(at('tss', 16)), 0);
    kernel.user(() => asm.far('call', ring1Gate | 3, 0));
  });
  kernel.test('RETF to ring 3', { vector: 0x80, cs: USER_CODE, sp: at('userStackTop', -16) }, () => {
    const there = asm.fresh('there');
    asm.push(USER_DATA);
    asm.push(at('userStackTop', -16));
    asm.push(USER_CODE);
    asm.push(at(there));
    asm.db(0xcb);
    asm.label(there);
    asm.db(0xcd, 0x80);
  });
  kernel.test('IRET within the ring pops three', { w0: 0 }, () => {
    const there = asm.fresh('there');
    asm.mov('ebx', 'esp');
    asm.push(2);
    asm.push(KERNEL_CODE);
    asm.push(at(there));
    asm.db(0xcf);
    asm.label(there);
    asm.alu('sub', 'ebx', 'esp');
    asm.mov(kernel.at('w0'), 'ebx');
  });
  kernel.test('IRET of 16 bits', { w0: 0 }, () => {
    const there = 0x600;
    asm.mov(mem(there), 0x9090_e3ff); // jmp ebx
    asm.mov('ebx', at(`${gateTarget}.iret16`));
    asm.mov('ecx', 'esp');
    asm.alu('sub', 'esp', 6);
    asm.mov(mem(4, { base: 'esp', size: 2 }), 2);
    asm.mov(mem(2, { base: 'esp', size: 2 }), KERNEL_CODE);
    asm.mov(mem(0, { base: 'esp', size: 2 }), there);
    asm.db(0x66, 0xcf);
    asm.label(`${gateTarget}.iret16`);
    asm.alu('sub', 'ecx', 'esp');
    asm.mov(kernel.at('w0'), 'ecx');
  });
}

function privilege(kernel: TestKernel): void {
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
      asm.mov('eax', 4);
      asm.mov('cr4', 'eax');
      kernel.user(bytes(0x0f, 0x31));
    },
    {
      after: () => {
        asm.mov('eax', 0);
        asm.mov('cr4', 'eax');
      },
    },
  );
  kernel.test(
    'ring 3: SGDT with CR4.UMIP is #GP(0)',
    { vector: 13, error: 0, cs: USER_CODE },
    () => {
      asm.mov('eax', 0x800);
      asm.mov('cr4', 'eax');
      kernel.user(() => asm.encode([0x0f, 0x01], 0, mem(at('window')), 0));
    },
    {
      needs: NEEDS.umip,
      after: () => {
        asm.mov('eax', 0);
        asm.mov('cr4', 'eax');
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
        asm.mov('eax', cr0);
        asm.mov('cr0', 'eax');
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
          asm.mov('eax', CR0_DEFAULT);
          asm.mov('cr0', 'eax');
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

function debug(kernel: TestKernel): void {
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
      asm.mov('eax', 8);
      asm.mov('cr4', 'eax');
    },
    () => {
      asm.mov('eax', 0);
      asm.mov('cr4', 'eax');
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

function tasks(kernel: TestKernel): void {
  const { asm } = kernel;
  const task = kernel.descriptor(at('task'), 103, 0x89, 0);
  const short = kernel.descriptor(at('task'), 102, 0x89, 0);
  const absent = kernel.descriptor(at('task'), 103, 0x09, 0);
  const gate = kernel.gate(0xe5, task, 0);
  kernel.data(() => {
    asm.align(16);
    asm.label('task');
    asm.space(104);
    asm.space(1024);
    asm.label('taskStackTop');
  });
  const entry = asm.fresh('task');
  asm.jmp(`${entry}.over`);
  asm.label(entry);
  asm.mov(kernel.at('w0'), 'eax');
  asm.db(0x0f, 0x00, 0xc8); // str eax
  asm.mov(kernel.at('w1'), 'eax');
  asm.db(0x9c); // pushfd
  asm.pop(kernel.at('w2'));
  asm.mov(kernel.at('w4'), 'esp');
  asm.db(0xcf); // iretd: back to the caller
  asm.mov(kernel.at('w3'), 5);
  asm.db(0xcf);
  asm.label(`${entry}.over`);
  const prepare = (): void => {
    const put = (offset: number, value: number | { label: string; plus: number }): void =>
      asm.mov(mem(at('task', offset)), value);
    put(32, at(entry));
    put(36, 2);
    put(40, 0xabcd);
    put(56, at('taskStackTop'));
    put(72, KERNEL_DATA);
    put(76, KERNEL_CODE);
    for (const offset of [80, 84, 88, 92]) put(offset, KERNEL_DATA);
    put(96, 0);
    asm.mov('eax', 'cr3');
    asm.mov(mem(at('task', 28)), 'eax');
    put(100, 0x680000);
  };
  const seen = { w0: 0xabcd, w1: task, w2: { value: 0x4000, mask: 0x4000 }, w4: at('taskStackTop') };
  kernel.test(
    'CALL of a task and IRET back',
    { ...seen, memory: [['back link', at('task'), { value: 0x28, mask: 0xffff }]] },
    () => {
      prepare();
      asm.far('call', task, 0);
    },
  );
  kernel.test(
    'the task is left available',
    {
      memory: [
        ['type', at('gdt', task + 4), { value: 0x8900, mask: 0xff00 }],
        ['own type', at('gdt', 0x28 + 4), { value: 0x8b00, mask: 0xff00 }],
      ],
    },
    () => {},
  );
  kernel.test('CALL through a task gate', seen, () => {
    prepare();
    asm.far('call', gate, 0);
  });
  kernel.test('INT through a task gate', seen, () => {
    prepare();
    asm.mov(mem(at('idt', 0x4a * 8)), task << 16);
    asm.mov(mem(at('idt', 0x4a * 8 + 4)), 0x8500);
    asm.db(0xcd, 0x4a);
  });
  kernel.test('a task switch sets CR0.TS', { w5: 8 }, () => {
    prepare();
    asm.far('call', task, 0);
    asm.mov('eax', 'cr0');
    asm.alu('and', 'eax', 8);
    asm.mov(kernel.at('w5'), 'eax');
    asm.db(0x0f, 0x06);
  });
  kernel.test('#TS: a TSS that is too short', { vector: 10, error: short }, () => asm.far('call', short, 0));
  kernel.test('#NP: a TSS that is not present', { vector: 11, error: absent }, () =>
    asm.far('call', absent, 0),
  );
  kernel.test(
    '#TS: IRET with NT and a bad back link',
    { vector: 10, error: KERNEL_DATA },
    () => {
      asm.mov(mem(at('tss'), { size: 2 }), KERNEL_DATA);
      asm.push(0x4002);
      asm.db(0x9d);
      asm.db(0xcf);
    },
    {
      after: () => {
        asm.push(2);
        asm.db(0x9d);
      },
    },
  );
  kernel.test(
    '#DF through a task gate, its error code on the stack',
    { w0: 0xabcd, memory: [['error code', at('taskStackTop', -4), 0]] },
    () => {
      prepare();
      const resume = asm.fresh('resume');
      const handler = asm.fresh('handler');
      const over = asm.fresh('over');
      asm.mov(mem(at('idt', 8 * 8)), task << 16);
      asm.mov(mem(at('idt', 8 * 8 + 4)), 0x8500);
      asm.mov(mem(at('task', 32)), at(handler));
      asm.mov(mem(at('taskStackTop', -4)), -1);
      // #GP whose gate leads to a data segment: #GP again, hence #DF.
      asm.mov(mem(at('idt', 13 * 8 + 2), { size: 2 }), KERNEL_DATA);
      asm.mov('eax', 0x1003);
      asm.mov('fs', 'eax');
      asm.jmp(resume);
      asm.label(handler);
      asm.mov(kernel.at('w0'), 'eax');
      asm.alu('add', 'esp', 4);
      // The old task goes on behind what faulted.
      asm.mov(mem(at('tss', 32)), at(resume));
      asm.db(0xcf);
      asm.jmp(over);
      asm.label(resume);
      asm.mov(mem(at('idt', 13 * 8 + 2), { size: 2 }), KERNEL_CODE);
      asm.db(0x0f, 0x06);
      asm.label(over);
    },
  );
}

function virtual8086(kernel: TestKernel): void {
  const { asm } = kernel;
  /** Copies code to 0x8000 and enters it in virtual-8086 mode at 0800:0000. */
  const v86 = (code: readonly number[], flags: number): void => {
    const source = asm.fresh('v86');
    asm.jmp(`${source}.over`);
    asm.label(source);
    asm.db(...code);
    asm.label(`${source}.over`);
    asm.mov('esi', at(source));
    asm.mov('edi', 0x8000);
    asm.mov('ecx', code.length);
    asm.db(0xf3, 0xa4);
    for (const value of [0x4444, 0x3333, 0x2222, 0x1111, 0x900, 0xfff0, 0x20000 | flags, 0x800, 0])
      asm.push(value);
    asm.db(0xcf);
  };
  const frame = [
    ['GS', at('stack0Top', -4), { value: 0x4444, mask: 0xffff }],
    ['FS', at('stack0Top', -8), { value: 0x3333, mask: 0xffff }],
    ['DS', at('stack0Top', -12), { value: 0x2222, mask: 0xffff }],
    ['ES', at('stack0Top', -16), { value: 0x1111, mask: 0xffff }],
  ] as const;
  const vm = { value: 0x20000, mask: 0x20000 };
  kernel.test(
    'v86: #UD comes with all segment registers',
    { vector: 6, ip: 0, cs: 0x800, sp: 0xfff0, ss: 0x900, flags: vm, memory: frame },
    () => v86([0x0f, 0x0b], 0x3002),
  );
  kernel.test('v86: INT n with IOPL 0 is #GP(0)', { vector: 13, error: 0, ip: 0, flags: vm }, () =>
    v86([0xcd, 0x80], 2),
  );
  kernel.test('v86: INT n with IOPL 3 goes through the IDT', { vector: 0x80, ip: 2, flags: vm }, () =>
    v86([0xcd, 0x80], 0x3002),
  );
  kernel.test('v86: INT3 with IOPL 0 goes through the IDT', { vector: 3, ip: 1, flags: vm }, () =>
    v86([0xcc], 2),
  );
  kernel.test('v86: CLI with IOPL 0 is #GP(0)', { vector: 13, error: 0, flags: vm }, () => v86([0xfa], 2));
  kernel.test('v86: PUSHF with IOPL 0 is #GP(0)', { vector: 13, error: 0, flags: vm }, () => v86([0x9c], 2));
  kernel.test('v86: HLT is #GP(0)', { vector: 13, error: 0, flags: vm }, () => v86([0xf4], 0x3002));
  kernel.test('v86: MOV to CR0 is #GP(0)', { vector: 13, error: 0, flags: vm }, () =>
    v86([0x0f, 0x22, 0xc0], 0x3002),
  );
  kernel.test('v86: SLDT is #UD', { vector: 6, flags: vm }, () => v86([0x0f, 0x00, 0xc0], 0x3002));
  kernel.test('v86: segments are paragraphs', { vector: 0x80, ax: { value: 0x8e08, mask: 0xffff } }, () =>
    v86(
      [
        0xb8,
        0x00,
        0x08,
        0x8e,
        0xd8,
        0xa1,
        0x02,
        0x00,
        0xcd,
        0x80, // mov ax, 800h; mov ds, ax; mov ax, [2]; int 80h
      ],
      0x3002,
    ),
  );
  kernel.test('v86: beyond 64 KiB is #GP(0)', { vector: 13, error: 0, flags: vm }, () =>
    v86([0xa1, 0xff, 0xff], 0x3002),
  );
  kernel.test('v86: an open port', { vector: 0x80 }, () => v86([0xe4, 0x80, 0xcd, 0x80], 0x3002));
  kernel.test('v86: a port that is shut, even with IOPL 3', { vector: 13, error: 0 }, () =>
    v86([0xe4, 0x81], 0x3002),
  );
}

function realMode(kernel: TestKernel): void {
  const { asm } = kernel;
  const code16 = kernel.descriptor(0, 0xffff, 0x9a, 0);
  const data16 = kernel.descriptor(0, 0xffff, 0x92, 0);
  const ORIGIN = 0x9000;
  const source = asm.fresh('real');
  asm.jmp(`${source}.over`);
  asm.label(source);
  asm.phase(ORIGIN);
  asm.bits = 16;
  asm.mov('eax', data16);
  for (const name of ['ds', 'es', 'ss'] as const) asm.mov(name, 'eax');
  asm.mov('eax', 'cr0');
  asm.alu('and', 'eax', -2);
  asm.mov('cr0', 'eax');
  asm.far('jmp', 0, at(`${source}.far`));
  asm.label(`${source}.far`);
  asm.mov('eax', 0);
  for (const name of ['ds', 'es', 'ss'] as const) asm.mov(name, 'eax');
  asm.mov('esp', 0x7000);
  asm.db(0x0f, 0x01, 0x1e); // lidt [realIdt]
  asm.dw(at(`${source}.idt`));
  asm.db(0xcd, 0x60); // int 60h: mov bx, 4321h
  asm.db(0xcd, 0x61); // int 61h: what does SP look like
  asm.mov('eax', 0x1234);
  asm.mov('ds', 'eax');
  asm.db(0x8c, 0xd9); // mov cx, ds
  asm.db(0x31, 0xd2, 0xf7, 0xf2); // xor dx, dx; div dx: #DE through vector 0
  asm.label(`${source}.divided`);
  asm.mov('eax', 'cr0');
  asm.alu('or', 'eax', 1);
  asm.mov('cr0', 'eax');
  asm.db(0x66);
  asm.db(0xea);
  asm.dd(at(`${source}.back`));
  asm.dw(KERNEL_CODE);
  asm.label(`${source}.int60`);
  asm.db(0xbb, 0x21, 0x43, 0xcf); // mov bx, 4321h; iret
  asm.label(`${source}.int61`);
  asm.db(0x89, 0xe7, 0xcf); // mov di, sp; iret
  asm.label(`${source}.int0`);
  asm.db(0x89, 0xe5); // mov bp, sp
  asm.db(0x8b, 0x76, 0x00); // mov si, [bp]: saved IP is that of DIV
  asm.db(0x83, 0x46, 0x00, 0x02, 0xcf); // add word [bp], 2; iret
  asm.label(`${source}.idt`);
  asm.dw(0x3ff);
  asm.dd(0);
  asm.label(`${source}.end`);
  asm.dephase();
  asm.bits = 32;
  asm.label(`${source}.over`);
  kernel.test(
    'real mode and back',
    {
      w0: { value: 0x4321, mask: 0xffff },
      w1: { value: 0x7000 - 6, mask: 0xffff },
      w2: { value: 0x1234, mask: 0xffff },
      w3: at(`${source}.divided`, -2),
    },
    () => {
      asm.mov('esi', at(source));
      asm.mov('edi', ORIGIN);
      asm.mov('ecx', 0x200);
      asm.db(0xf3, 0xa4);
      asm.mov(mem(0x60 * 4), at(`${source}.int60`));
      asm.mov(mem(0x61 * 4), at(`${source}.int61`));
      asm.mov(mem(0), at(`${source}.int0`));
      asm.mov('ebp', 0);
      asm.mov('esi', 0);
      asm.far('jmp', code16, ORIGIN);
      asm.label(`${source}.back`);
      asm.mov('eax', KERNEL_DATA);
      for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) asm.mov(name, 'eax');
      asm.mov('esp', kernel.at('resumeSp'));
      asm.encode([0x0f, 0x01], 3, mem(at('idtr')), 0);
      asm.mov(kernel.at('w0'), 'ebx');
      asm.mov(kernel.at('w1'), 'edi');
      asm.mov(kernel.at('w2'), 'ecx');
      asm.alu('and', 'esi', 0xffff);
      asm.mov(kernel.at('w3'), 'esi');
    },
  );
}

function codeThatChanges(kernel: TestKernel): void {
  const { asm } = kernel;
  kernel.test('code changed right ahead of itself', { w0: 2 }, () => {
    const patched = asm.fresh('patched');
    asm.mov(mem(at(patched, 1), { size: 1 }), 2);
    asm.label(patched);
    asm.mov('eax', 1);
    asm.mov(kernel.at('w0'), 'eax');
  });
  kernel.test('code changed after it ran', { w0: 1 + 2 + 3 + 4 }, () => {
    const again = asm.fresh('again');
    const patched = asm.fresh('patched');
    asm.mov('ecx', 4);
    asm.mov('ebx', 0);
    asm.mov(mem(at(patched, 1)), 1);
    asm.label(again);
    asm.label(patched);
    asm.mov('eax', 0);
    asm.alu('add', 'ebx', 'eax');
    asm.inc(mem(at(patched, 1)));
    asm.dec('ecx');
    asm.j('ne', again);
    asm.mov(kernel.at('w0'), 'ebx');
  });
  kernel.test('an instruction on two pages whose second half changes', { w0: 0x11 + 0x22 }, () => {
    const page = 0x20000;
    asm.mov('ebx', 0);
    // mov eax, imm32 with the immediate on the next page; ret
    for (const [offset, byte] of [
      [0xfff, 0xb8],
      [0x1000, 0x11],
      [0x1001, 0],
      [0x1002, 0],
      [0x1003, 0],
      [0x1004, 0xc3],
    ] as const) {
      asm.mov(mem(page + offset, { size: 1 }), byte);
    }
    asm.mov('edx', page + 0xfff);
    asm.db(0xff, 0xd2); // call edx
    asm.alu('add', 'ebx', 'eax');
    asm.mov(mem(page + 0x1000, { size: 1 }), 0x22);
    asm.mov('edx', page + 0xfff);
    asm.db(0xff, 0xd2);
    asm.alu('add', 'ebx', 'eax');
    asm.mov(kernel.at('w0'), 'ebx');
  });
  kernel.test('REP STOS over the code that follows it', { w0: 0x5555 }, () => {
    const patched = asm.fresh('patched');
    asm.mov('edi', at(patched, 1));
    asm.mov('ecx', 2);
    asm.mov('eax', 0x55);
    asm.db(0xf3, 0xaa);
    asm.label(patched);
    asm.mov('eax', 0);
    asm.mov(kernel.at('w0'), 'eax');
  });
}

function processor(kernel: TestKernel): void {
  const { asm } = kernel;
  kernel.test('EFLAGS.ID can be changed', { w0: 0x200000 }, () => {
    asm.push(0x200002);
    asm.db(0x9d, 0x9c);
    asm.pop(kernel.at('w0'));
    asm.alu('and', kernel.at('w0'), 0x200000);
    asm.push(2);
    asm.db(0x9d);
  });
  kernel.test(
    'CPUID: leaf 7 is there, and FPU, TSC, MSR, PAE, APIC, SEP, CMOV, MMX, SSE, SSE2',
    { w0: 1, w1: { value: 0x0700_8a71, mask: 0x0680_8a71 } },
    () => {
      asm.mov('eax', 0);
      asm.db(0x0f, 0xa2);
      asm.alu('cmp', 'eax', 7);
      asm.db(0x0f, 0x93, 0xc0); // setae al
      asm.mov(kernel.at('w0', 1), 'al');
      asm.mov('eax', 1);
      asm.db(0x0f, 0xa2);
      asm.alu('or', 'edx', 0x0100_0000);
      asm.alu('and', 'edx', ~0x00800000);
      asm.mov(kernel.at('w1'), 'edx');
    },
  );
  kernel.test('CPUID beyond the last leaf answers as the last basic one', { w0: 0 }, () => {
    asm.mov('eax', 0);
    asm.db(0x0f, 0xa2);
    asm.mov('ecx', 0);
    asm.db(0x0f, 0xa2);
    asm.push('eax' as const);
    asm.mov('eax', 0x3000_0000);
    asm.mov('ecx', 0);
    asm.db(0x0f, 0xa2);
    asm.pop('ecx');
    asm.alu('sub', 'eax', 'ecx');
    asm.mov(kernel.at('w0'), 'eax');
  });
  kernel.test('RDTSC never goes back', { w0: 0 }, () => {
    const again = asm.fresh('again');
    const fine = asm.fresh('fine');
    asm.mov('ebx', 1000);
    asm.mov('esi', 0);
    asm.mov('edi', 0);
    asm.label(again);
    asm.db(0x0f, 0x31);
    asm.mov('ecx', 'eax');
    asm.mov('ebp', 'edx');
    asm.alu('sub', 'eax', 'esi');
    asm.alu('sbb', 'edx', 'edi');
    asm.mov('esi', 'ecx');
    asm.mov('edi', 'ebp');
    asm.j('ae', fine);
    asm.inc(kernel.at('w0'));
    asm.label(fine);
    asm.dec('ebx');
    asm.j('ne', again);
  });
  kernel.test('SMSW shows CR0', { w0: { value: CR0_DEFAULT, mask: 0xffff } }, () => {
    asm.db(0x0f, 0x01, 0xe0);
    asm.mov(kernel.at('w0'), 'eax');
  });
  kernel.test(
    'LMSW sets TS but cannot clear PE',
    { w0: { value: CR0_DEFAULT | 8, mask: 0xf } },
    () => {
      asm.mov('eax', 0xa);
      asm.db(0x0f, 0x01, 0xf0);
      asm.mov('eax', 'cr0');
      asm.mov(kernel.at('w0'), 'eax');
      asm.db(0x0f, 0x06);
    },
    {
      after: () => {
        asm.mov('eax', CR0_DEFAULT);
        asm.mov('cr0', 'eax');
      },
    },
  );
}
