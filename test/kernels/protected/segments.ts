import { at, mem } from '../assembler.ts';
import { type Expectation, faults, KERNEL_CODE, KERNEL_DATA, NEEDS, type TestKernel } from '../kit.ts';

/** Loading segments, their limits and rights, the LDT, and what asks about selectors (SDM vol. 3, chapter 5). */
export function segments(kernel: TestKernel): void {
  const { asm } = kernel;
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
