import { at, mem } from '../assembler.ts';
import { faults, KERNEL_CODE, KERNEL_DATA, NEEDS, type TestKernel } from '../kit.ts';

/** Exceptions that an instruction raises by itself, with their error codes and the EIP that is saved (SDM vol. 3, chapter 6). */
export function exceptions(kernel: TestKernel): void {
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
