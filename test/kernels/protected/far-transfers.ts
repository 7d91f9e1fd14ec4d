import { at, mem } from '../assembler.ts';
import { KERNEL_CODE, KERNEL_DATA, type TestKernel, USER_CODE, USER_DATA } from '../kit.ts';

/** Far jumps, calls and returns, call gates, IRET within and out of the ring (SDM vol. 3, 5.8). */
export function farTransfers(kernel: TestKernel): void {
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
