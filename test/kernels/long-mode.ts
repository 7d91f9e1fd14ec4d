import { at, type Label, mem } from './assembler.ts';
import {
  type Expectation,
  faults,
  KERNEL_CODE,
  KERNEL_DATA,
  NEEDS,
  TestKernel,
  USER_CODE,
  USER_CODE64,
  USER_DATA,
} from './kit.ts';

/**
 * 64-bit mode (Intel SDM vol. 3, 5.8, 6.14): frames of interrupts, IST,
 * canonical addresses, SYSCALL, compatibility mode and back, MSRs, CR8.
 */
const ALIAS = 0x100_0000;
const CR0_DEFAULT = 0x8001_0033;
const STACK = at('userStackTop', ALIAS);

export function longModeKernel(): Buffer {
  const kernel = new TestKernel(64);
  const { asm } = kernel;
  // SSE on, and the names of system calls: SYSCALL to 08h, SYSRET to 1Bh, 2Bh.
  asm.mov('eax', 0x620);
  asm.mov('cr4', 'rax');
  asm.wrmsr(0xc000_0081, (0x1bn << 48n) | (BigInt(KERNEL_CODE) << 32n));
  frames(kernel);
  addresses(kernel);
  instructions(kernel);
  registers(kernel);
  systemCalls(kernel);
  compatibility(kernel);
  doubleFault(kernel);
  return kernel.finish();
}

function frames(kernel: TestKernel): void {
  const { asm } = kernel;
  kernel.test(
    'a frame of five within the ring, its stack aligned to 16',
    { vector: 0x50, ss: KERNEL_DATA, cs: KERNEL_CODE, w0: 0 },
    () => {
      asm.alu('sub', 'rsp', 0x28);
      asm.mov('rbx', 'rsp');
      asm.db(0xcd, 0x50);
    },
    {
      after: () => {
        asm.mov('eax', kernel.at('sp'));
        asm.alu('sub', 'eax', 'ebx');
        asm.mov(kernel.at('w0'), 'eax');
      },
    },
  );
  // The frame's own place: RSP of the interrupted code, aligned down, less five words, the error code and the vector.
  const own = asm.fresh('own');
  asm.jmp(`${own}.over`);
  asm.label(own);
  asm.mov(kernel.at('w0'), 'esp');
  asm.mov('eax', 'ss');
  asm.mov(kernel.at('w1'), 'eax');
  asm.mov(kernel.at('w2'), 'ebx');
  asm.db(0x48, 0xcf);
  asm.label(`${own}.over`);
  kernel.handle(0x51, own);
  kernel.handle(0x52, own, 3);
  kernel.test('the handler stack lies five words below the aligned RSP', { w0: 0, w4: 1 }, () => {
    asm.mov('rbx', 'rsp');
    asm.alu('sub', 'rsp', 8);
    asm.db(0xcd, 0x51);
    asm.mov('rsp', 'rbx');
    asm.alu('sub', 'ebx', 8);
    asm.alu('and', 'ebx', -16);
    asm.alu('sub', 'ebx', 40);
    asm.alu('sub', 'ebx', kernel.at('w0'));
    asm.mov(kernel.at('w0'), 'ebx');
    asm.mov(kernel.at('w4'), 1);
  });
  kernel.test(
    'IST: the stack is the one of the TSS',
    { w0: at('stackTop', -0x200 * 3 - 0x400 - 40), w1: KERNEL_DATA },
    () => asm.db(0xcd, 0x52),
  );
  kernel.test(
    'from ring 3: SS is null, RSP from the TSS',
    { w0: at('stack0Top', -40), w1: 0, vector: 0x80 },
    () => {
      asm.mov(mem(at('idt', 0x51 * 16 + 5), { size: 1 }), 0xee);
      kernel.user(() => asm.db(0xcd, 0x51), { alias: ALIAS, stack: STACK });
    },
  );
  kernel.test(
    'from ring 3: the frame has SS and RSP',
    { vector: 0x80, ss: USER_DATA, sp: STACK, cs: USER_CODE64 },
    () => kernel.user(() => {}, { alias: ALIAS, stack: STACK }),
  );
  kernel.test('IRETQ to the same ring loads RSP and SS', { w0: 0x5550, w1: 0 }, () => {
    const there = asm.fresh('there');
    asm.mov('rbx', 'rsp');
    for (const value of [0, 0x5550, 2, KERNEL_CODE]) asm.push(value);
    asm.push(at(there));
    asm.db(0x48, 0xcf);
    asm.label(there);
    asm.mov(kernel.at('w0'), 'esp');
    asm.mov('eax', 'ss');
    asm.mov(kernel.at('w1'), 'eax');
    asm.mov('rsp', 'rbx');
    asm.mov('eax', KERNEL_DATA);
    asm.mov('ss', 'eax');
  });
  kernel.test('#GP(selector): IRETQ to a data segment', { vector: 13, error: KERNEL_DATA }, () => {
    for (const value of [KERNEL_DATA, 0x5550, 2, KERNEL_DATA, 0]) asm.push(value);
    asm.db(0x48, 0xcf);
  });
  kernel.test(
    '#GP(0): IRETQ with NT',
    { vector: 13, error: 0 },
    () => {
      asm.push(0x4002);
      asm.db(0x9d, 0x48, 0xcf);
    },
    {
      after: () => {
        asm.push(2);
        asm.db(0x9d);
      },
    },
  );
  kernel.test('#GP: INT through a 16-bit gate type', { vector: 13, error: 0x53 * 8 + 2 }, () => {
    asm.mov(mem(at('idt', 0x53 * 16 + 5), { size: 1 }), 0x86);
    asm.db(0xcd, 0x53);
  });
  kernel.test('#GP: INT through a gate to 32-bit code', { vector: 13, error: 0x18 }, () => {
    asm.mov(mem(at('idt', 0x54 * 16 + 2), { size: 2 }), 0x18);
    asm.db(0xcd, 0x54);
  });
}

function addresses(kernel: TestKernel): void {
  const { asm } = kernel;
  const bad = 1n << 47n;
  faults(kernel, '#GP(0): a read at a non-canonical address', 13, 0, [0x48, 0x8b, 0x03], () =>
    asm.mov('rbx', bad),
  );
  faults(kernel, '#GP(0): a write at a non-canonical address', 13, 0, [0x48, 0x89, 0x03], () =>
    asm.mov('rbx', bad),
  );
  faults(kernel, '#SS(0): a non-canonical address through RBP', 12, 0, [0x48, 0x8b, 0x45, 0x00], () =>
    asm.mov('rbp', bad),
  );
  faults(kernel, '#GP(0): a jump to a non-canonical address', 13, 0, [0xff, 0xe0], () => asm.mov('rax', bad));
  kernel.test('#GP(0): a return to a non-canonical address', { vector: 13, error: 0 }, () => {
    asm.mov('rax', bad);
    asm.push('rax');
    asm.db(0xc3);
  });
  kernel.test(
    '#PF: an upper-half address, CR2 whole',
    { vector: 14, error: 0, cr2: 0x1234, cr2High: 0xffff_8000 },
    () => {
      asm.mov('rbx', 0xffff_8000_0000_1234n);
      asm.db(0x48, 0x8b, 0x03);
    },
  );
  kernel.test('a 32-bit operand clears the upper half', { w0: 0 }, () => {
    asm.mov('rax', -1n);
    asm.mov('eax', 'eax');
    asm.shift('shr', 'rax', 32);
    asm.mov(kernel.at('w0'), 'eax');
  });
  kernel.test('segment limits do not count; FS has its base', { w0: 0x600d_600d }, () => {
    asm.wrmsr(0xc000_0100, kernel.field('w1'));
    asm.mov(kernel.at('w1'), 0x600d_600d);
    asm.mov('eax', mem(0, { segment: 'fs' }));
    asm.mov(kernel.at('w0'), 'eax');
  });
}

function instructions(kernel: TestKernel): void {
  const { asm } = kernel;
  for (const [name, bytes] of [
    ['PUSH ES', [0x06]],
    ['POP DS', [0x1f]],
    ['PUSHA', [0x60]],
    ['AAA', [0x37]],
    ['DAA', [0x27]],
    ['INTO', [0xce]],
    ['BOUND', [0x62, 0x05]],
    ['a far jump with an immediate', [0xea, 0, 0, 0, 0, 8, 0]],
    ['AAM', [0xd4, 10]],
    ['LES', [0xc4, 0x05]],
  ] as const) {
    if (bytes[0] === 0x62 || bytes[0] === 0xc4) continue; // EVEX and VEX
    faults(kernel, `#UD: ${name} in 64-bit mode`, 6, undefined, bytes);
  }
  faults(kernel, '#GP(0): MOVAPS at an odd address', 13, 0, [0x0f, 0x28, 0x03], () =>
    asm.mov('ebx', at('record', 1)),
  );
  faults(kernel, '#GP(0): CMPXCHG16B at an odd address', 13, 0, [0x48, 0x0f, 0xc7, 0x0b], () =>
    asm.mov('ebx', at('record', 8)),
  );
  faults(kernel, '#DE: a 64-bit quotient that does not fit', 0, undefined, [0x48, 0xf7, 0xf1], () => {
    asm.mov('edx', 1);
    asm.mov('ecx', 1);
  });
  faults(
    kernel,
    '#NM: SSE with CR0.TS',
    7,
    undefined,
    [0x0f, 0x57, 0xc0],
    () => {
      asm.mov('eax', CR0_DEFAULT | 8);
      asm.mov('cr0', 'rax');
    },
    () => asm.db(0x0f, 0x06),
  );
  kernel.test('SWAPGS swaps the bases', { w0: 0x1111, w1: 0x2222 }, () => {
    asm.wrmsr(0xc000_0101, 0x1111n);
    asm.wrmsr(0xc000_0102, 0x2222n);
    asm.db(0x0f, 0x01, 0xf8);
    asm.rdmsr(0xc000_0102);
    asm.mov(kernel.at('w0'), 'eax');
    asm.rdmsr(0xc000_0101);
    asm.mov(kernel.at('w1'), 'eax');
  });
  kernel.test('#GP(0): SWAPGS in ring 3', { vector: 13, error: 0 }, () =>
    kernel.user(() => asm.db(0x0f, 0x01, 0xf8), { alias: ALIAS, stack: STACK }),
  );
  kernel.test('#UD: RDFSBASE without CR4.FSGSBASE', { vector: 6 }, () => asm.db(0xf3, 0x0f, 0xae, 0xc0));
  kernel.test(
    'WRFSBASE and RDFSBASE',
    { w0: 0x1234_5678 },
    () => {
      asm.mov('eax', 0x10620);
      asm.mov('cr4', 'rax');
      asm.mov('eax', 0x1234_5678);
      asm.db(0xf3, 0x48, 0x0f, 0xae, 0xd0);
      asm.db(0xf3, 0x48, 0x0f, 0xae, 0xc1);
      asm.mov(kernel.at('w0'), 'ecx');
    },
    {
      needs: NEEDS.fsgsbase,
      after: () => {
        asm.mov('eax', 0x620);
        asm.mov('cr4', 'rax');
      },
    },
  );
  kernel.test(
    'RDTSCP gives TSC_AUX',
    { w0: 0x77 },
    () => {
      asm.wrmsr(0xc000_0103, 0x77n);
      asm.db(0x0f, 0x01, 0xf9);
      asm.mov(kernel.at('w0'), 'ecx');
    },
    { needs: NEEDS.rdtscp },
  );
  kernel.test(
    'TF traps behind one instruction of ring 3',
    { vector: 1, dr6: { value: 0x4000, mask: 0x4000 }, cs: USER_CODE64 },
    () => kernel.user(() => asm.db(0x90, 0x90), { alias: ALIAS, stack: STACK, flags: 0x102 }),
  );
}

function registers(kernel: TestKernel): void {
  const { asm } = kernel;
  faults(
    kernel,
    '#GP(0): leaving long mode with paging on',
    13,
    0,
    [0x0f, 0x30],
    () => {
      asm.mov('ecx', 0xc000_0080);
      asm.mov('eax', 0x801);
      asm.mov('edx', 0);
    },
    undefined,
    NEEDS.notTcg,
  );
  faults(
    kernel,
    '#GP(0): CR4.PAE off in long mode',
    13,
    0,
    [0x0f, 0x22, 0xe0],
    () => asm.mov('eax', 0x600),
    undefined,
    NEEDS.notTcg,
  );
  faults(
    kernel,
    '#GP(0): CR0.PG off in 64-bit mode',
    13,
    0,
    [0x0f, 0x22, 0xc0],
    () => asm.mov('eax', 0x33),
    undefined,
    NEEDS.notTcg,
  );
  faults(kernel, '#GP(0): a reserved bit of CR8', 13, 0, [0x44, 0x0f, 0x22, 0xc0], () =>
    asm.mov('eax', 0x10),
  );
  faults(kernel, '#GP(0): the upper half of CR0', 13, 0, [0x0f, 0x22, 0xc0], () =>
    asm.mov('rax', 0x1_8001_0033n),
  );
  faults(kernel, '#GP(0): a non-canonical LSTAR', 13, 0, [0x0f, 0x30], () => {
    asm.mov('ecx', 0xc000_0082);
    asm.mov('eax', 0);
    asm.mov('edx', 0x8000);
  });
  faults(kernel, '#GP(0): a non-canonical FS base', 13, 0, [0x0f, 0x30], () => {
    asm.mov('ecx', 0xc000_0100);
    asm.mov('eax', 0);
    asm.mov('edx', 0x8000);
  });
  kernel.test('CR8 is the class of TPR', { w0: 5, w1: 0 }, () => {
    asm.mov('eax', 5);
    asm.db(0x44, 0x0f, 0x22, 0xc0);
    asm.mov('eax', 0);
    asm.db(0x44, 0x0f, 0x20, 0xc0);
    asm.mov(kernel.at('w0'), 'eax');
    asm.mov('eax', 0);
    asm.db(0x44, 0x0f, 0x22, 0xc0);
  });
  kernel.test('EFER shows LMA', { w0: { value: 0xd01, mask: 0xfff } }, () => {
    asm.rdmsr(0xc000_0080);
    asm.mov(kernel.at('w0'), 'eax');
  });
}

function systemCalls(kernel: TestKernel): void {
  const { asm } = kernel;
  const entry = asm.fresh('entry');
  asm.jmp(`${entry}.over`);
  asm.label(entry);
  // The stack is still that of ring 3, whose segment is flat.
  asm.mov(kernel.at('w0'), 'ecx');
  asm.encode([0x89], 11, kernel.at('w1'), 4); // mov [w1], r11d
  asm.mov('eax', 'cs');
  asm.mov(kernel.at('w2'), 'eax');
  asm.mov('eax', 'ss');
  asm.mov(kernel.at('w3'), 'eax');
  asm.db(0x9c);
  asm.pop('rax');
  asm.mov(kernel.at('w4'), 'eax');
  asm.db(0x48, 0x0f, 0x07); // sysretq
  asm.label(`${entry}.over`);
  const prepare = (): void => {
    asm.wrmsr(0xc000_0082, at(entry));
    asm.wrmsr(0xc000_0084, 0x40400n);
  };
  const back = asm.fresh('back');
  kernel.test(
    'SYSCALL and SYSRET',
    {
      vector: 0x80,
      cs: USER_CODE64,
      ss: USER_DATA,
      sp: STACK,
      w0: at(back, ALIAS),
      w1: { value: 0x402, mask: 0x402 },
      w2: KERNEL_CODE,
      w3: KERNEL_DATA,
      w4: { value: 0, mask: 0x10400 },
      flags: { value: 0x402, mask: 0x10402 },
    },
    () => {
      prepare();
      kernel.user(
        () => {
          asm.db(0x0f, 0x05);
          asm.label(back);
        },
        { alias: ALIAS, stack: STACK, flags: 0x402 },
      );
    },
  );
  kernel.test(
    'SYSRET to 32-bit code',
    { vector: 0x80, cs: 0x1b, ss: USER_DATA, ip: { value: 0, mask: 0 } },
    () => {
      const there = asm.fresh('there');
      asm.mov('ecx', at(there, ALIAS));
      asm.encode([0xc7], 0, 'r11', 8); // mov r11, 2
      asm.dd(2);
      asm.mov('rsp', STACK);
      asm.db(0x0f, 0x07);
      asm.label(there);
      asm.db(0xcd, 0x80);
    },
  );
  kernel.test(
    '#UD: SYSCALL without EFER.SCE',
    { vector: 6 },
    () => {
      asm.wrmsr(0xc000_0080, 0x900n);
      asm.db(0x0f, 0x05);
    },
    { after: () => asm.wrmsr(0xc000_0080, 0x901n) },
  );
  kernel.test('#GP(0): SYSRET in ring 3', { vector: 13, error: 0 }, () =>
    kernel.user(() => asm.db(0x48, 0x0f, 0x07), { alias: ALIAS, stack: STACK }),
  );
  kernel.test(
    'SYSENTER to 64-bit code',
    { vector: 6, cs: KERNEL_CODE, ip: at(`${entry}.sysenter`), sp: at('stack0Top', -128) },
    () => {
      asm.wrmsr(0x174, BigInt(KERNEL_CODE));
      asm.wrmsr(0x175, at('stack0Top', -128));
      asm.wrmsr(0x176, at(`${entry}.sysenter`));
      kernel.user(() => asm.db(0x0f, 0x34), { alias: ALIAS, stack: STACK });
      asm.label(`${entry}.sysenter`);
      asm.db(0x0f, 0x0b);
    },
  );
}

function compatibility(kernel: TestKernel): void {
  const { asm } = kernel;
  const code32 = kernel.descriptor(0, 0xfffff, 0x9a, 0xc);
  const both = kernel.descriptor(0, 0xfffff, 0x9a, 0xe); // L and D: reserved
  const pointer = (target: Label, selector: number, run: (name: string) => void): void => {
    const name = asm.fresh('pointer');
    kernel.data(() => {
      asm.align(8);
      asm.label(name);
      asm.dd(target);
      asm.dw(selector);
    });
    run(name);
  };
  const jump = (target: Label, selector: number): void =>
    pointer(target, selector, (name) => asm.encode([0xff], 5, mem(at(name)), 4));
  const back = asm.fresh('back');
  kernel.test(
    'a far jump to 32-bit code and back',
    { w0: { value: code32, mask: 0xffff }, w1: 0xffff_ffff, w2: 0 },
    () => {
      const there = asm.fresh('there');
      jump(at(there), code32);
      asm.label(there);
      asm.bits = 32;
      asm.mov('eax', 'cs');
      asm.mov(kernel.at('w0'), 'eax');
      asm.mov('eax', 0);
      asm.db(0x48); // dec eax
      asm.mov(kernel.at('w1'), 'eax');
      asm.far('jmp', KERNEL_CODE, at(back));
      asm.bits = 64;
      asm.label(back);
    },
  );
  kernel.test(
    'an exception of 32-bit code comes with a 64-bit frame',
    { vector: 6, cs: code32, ss: KERNEL_DATA },
    () => {
      const there = asm.fresh('there');
      jump(at(there), code32);
      asm.label(there);
      asm.db(0x0f, 0x0b);
    },
  );
  kernel.test(
    '#GP: a code segment with both L and D',
    { vector: 13, error: both },
    () => jump(at('case.1'), both),
    { needs: NEEDS.notTcg },
  );
  kernel.test(
    'IRETQ to 32-bit code of ring 3',
    { vector: 0x80, cs: USER_CODE, ss: USER_DATA, ax: 0xffff_ffff },
    () =>
      kernel.user(
        () => {
          asm.mov('eax', 0);
          asm.db(0x48);
        },
        { alias: ALIAS, stack: STACK, code: USER_CODE },
      ),
  );
  kernel.test(
    '32-bit code of ring 3 pushes four bytes',
    { vector: 0x80, sp: at('userStackTop', ALIAS - 4) },
    () => kernel.user(() => asm.db(0x50), { alias: ALIAS, stack: STACK, code: USER_CODE }),
  );
  kernel.test(
    'IRETQ to ring 3 makes a segment of ring 0 in FS null and keeps its base',
    { vector: 0x80, ax: 0x600d_600d, w0: 0 },
    () => {
      asm.mov(kernel.at('w1'), 0x600d_600d);
      asm.mov('eax', KERNEL_DATA);
      asm.mov('fs', 'eax');
      const { label, plus } = kernel.field('w1');
      asm.wrmsr(0xc000_0100, at(label, plus + ALIAS));
      kernel.user(
        () => {
          asm.mov('ecx', 'fs');
          const seen = kernel.field('w0');
          asm.mov(mem(at(seen.label, seen.plus + ALIAS)), 'ecx');
          asm.mov('eax', mem(0, { segment: 'fs' }));
        },
        { alias: ALIAS, stack: STACK },
      );
    },
  );
  for (const [name, access, modrm] of [
    ['LLDT of an LDT', 0x82, 0xd0],
    ['LTR of a TSS', 0x89, 0xd8],
  ] as const) {
    const selector = kernel.descriptor(0, 0x67, access, 0);
    kernel.descriptor(1, 0, 0, 0); // bits 63:32 of the base: 10000h
    faults(
      kernel,
      `#GP(selector): ${name} whose base is not canonical`,
      13,
      selector,
      [0x0f, 0x00, modrm],
      () => asm.mov('eax', selector),
      undefined,
      NEEDS.notTcg,
    );
  }
  const target = asm.fresh('gate');
  asm.jmp(`${target}.over`);
  asm.label(target);
  asm.mov('eax', 'cs');
  asm.mov(kernel.at('w0'), 'eax');
  asm.mov('eax', 'ss');
  asm.mov(kernel.at('w1'), 'eax');
  asm.db(0x48, 0xcb); // retfq
  asm.label(`${target}.over`);
  const gate = kernel.gate(0xec, KERNEL_CODE, at(target));
  kernel.descriptor(0, 0, 0, 0); // the upper half of the gate
  kernel.test(
    'call gate from 64-bit ring 3 to ring 0',
    { vector: 0x80, cs: USER_CODE64, w0: KERNEL_CODE, w1: 0 },
    () =>
      kernel.user(
        () =>
          pointer(at('case.1'), gate | 3, (name) => {
            // The pointer has to lie where ring 3 reads: its alias.
            asm.encode([0xff], 3, mem(at(name, ALIAS)), 4);
          }),
        { alias: ALIAS, stack: STACK },
      ),
  );
}

function doubleFault(kernel: TestKernel): void {
  const { asm } = kernel;
  const bad: Expectation = { vector: 8, error: 0 };
  const ist = (): void => asm.mov(mem(at('idt', 8 * 16 + 4), { size: 1 }), 1);
  kernel.test('#DF: #PF whose handler has no stack', bad, () => {
    ist();
    asm.mov('esp', 0x4000_0000);
    asm.mov('eax', mem(0x4000_0000));
  });
  kernel.test(
    '#DF: #GP through a gate that leads nowhere',
    bad,
    () => {
      ist();
      asm.mov(mem(at('idt', 13 * 16 + 2), { size: 2 }), KERNEL_DATA);
      asm.mov('eax', 0x1003);
      asm.mov('fs', 'eax');
    },
    { after: () => asm.mov(mem(at('idt', 13 * 16 + 2), { size: 2 }), KERNEL_CODE) },
  );
  kernel.test(
    '#UD whose handler faults is that fault, not #DF',
    { vector: 14, error: 2, cr2: { value: 0x3fff_f000, mask: -0x1000 } },
    () => {
      asm.mov(mem(at('idt', 14 * 16 + 4), { size: 1 }), 2);
      asm.mov('esp', 0x4000_0000);
      asm.db(0x0f, 0x0b);
    },
  );
  kernel.test('a stack that is not canonical: #SS from its IST', { vector: 12, error: 0 }, () => {
    asm.mov(mem(at('idt', 12 * 16 + 4), { size: 1 }), 4);
    asm.mov('rsp', (1n << 47n) + 0x100n);
    asm.db(0x50);
  });
}
