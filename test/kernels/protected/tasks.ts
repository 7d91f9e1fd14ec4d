import { at, mem } from '../assembler.ts';
import { KERNEL_CODE, KERNEL_DATA, type TestKernel } from '../kit.ts';

/** Hardware task switches: by CALL, by task gates, by IRET (SDM vol. 3, chapter 8). */
export function tasks(kernel: TestKernel): void {
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
