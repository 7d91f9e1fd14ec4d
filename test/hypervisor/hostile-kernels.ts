import { type Assembler, at, mem } from '../kernels/assembler.ts';
import { TestKernel } from '../kernels/kit.ts';

/**
 * Kernels that mean harm: garbage at every port, in the whole device window,
 * in PCI configuration space, in virtqueues; tables outside of memory; code
 * that runs off the end. Each is made from a seed. One that comes to its end
 * says so through isa-debug-exit (1) with a plan of no cases.
 */
export type HostileKernel = (seed: number) => Buffer;

const DEBUG_EXIT = 0xf4;
/** Ports that end the machine by right: isa-debug-exit, port 92h, PM1 control, the reset register, the keyboard controller. */
const ENDINGS = [
  [0xf4, 0xf7],
  [0x92, 0x92],
  [0x600, 0x607],
  [0xcf9, 0xcf9],
  // With the ports from which a wide access reaches it: it pulses reset for many values, and switches A20.
  [0x61, 0x64],
] as const;

/** A xorshift generator in EBX; the new value is in EAX too. */
function random(asm: Assembler): void {
  asm.call('random');
}

function emitRandom(asm: Assembler, seed: number): void {
  asm.jmp('random.over');
  asm.label('random');
  for (const [direction, count] of [
    ['shl', 13],
    ['shr', 17],
    ['shl', 5],
  ] as const) {
    asm.mov('eax', 'ebx');
    asm.shift(direction, 'eax', count);
    asm.alu('xor', 'ebx', 'eax');
  }
  asm.mov('eax', 'ebx');
  asm.db(0xc3);
  asm.label('random.over');
  asm.mov('ebx', (seed * 0x9e37_79b1) | 1);
}

/** A kernel of one piece of code; exceptions go on with what follows `resume`. */
function kernelOf(
  seed: number,
  body: (asm: Assembler, kernel: TestKernel) => void,
  bits: 32 | 64 = 32,
): Buffer {
  const kernel = new TestKernel(bits);
  const { asm } = kernel;
  emitRandom(asm, seed);
  kernel.test('it went through', { vector: { value: 0, mask: 0 }, completed: { value: 0, mask: 0 } }, () =>
    body(asm, kernel),
  );
  return kernel.finish();
}

/** Jumps to `to` when EDX is one of the ports that end the machine. */
function unlessEnding(asm: Assembler, to: string): void {
  for (const [first, last] of ENDINGS) {
    asm.mov('eax', 'edx');
    asm.alu('sub', 'eax', first);
    asm.alu('cmp', 'eax', last - first + 1);
    asm.j('b', to);
  }
}

/** Reads and writes every port in every size. */
export const everyPort: HostileKernel = (seed) =>
  kernelOf(seed, (asm) => {
    asm.mov('edi', 0x10000);
    asm.label('ports');
    asm.dec('edi');
    asm.mov('edx', 'edi');
    unlessEnding(asm, 'ports.next');
    asm.mov('edx', 'edi');
    asm.db(0xec); // in al
    asm.db(0x66, 0xed); // in ax
    asm.db(0xed); // in eax
    for (const out of [[0xee], [0x66, 0xef], [0xef]]) {
      random(asm);
      // A byte that would be the machine's end is none in a neighbour's word.
      asm.mov('edx', 'edi');
      asm.db(...out);
    }
    asm.label('ports.next');
    asm.alu('cmp', 'edi', 0);
    asm.j('ne', 'ports');
  });

/** Random ports, sizes and values, in bursts, endings included. */
export const randomPorts: HostileKernel = (seed) =>
  kernelOf(seed, (asm) => {
    asm.mov('ecx', 60_000);
    asm.label('again');
    random(asm);
    asm.mov('edx', 'eax');
    random(asm);
    asm.alu('and', 'eax', 0x8000_0000);
    asm.j('ne', 'wide');
    // Half of them where devices are.
    asm.alu('and', 'edx', 0x7ff);
    asm.label('wide');
    asm.alu('and', 'edx', 0xffff);
    asm.mov('edi', 'edx');
    unlessEnding(asm, 'next');
    asm.mov('edx', 'edi');
    random(asm);
    asm.mov('esi', 'eax');
    asm.alu('and', 'esi', 3);
    asm.j('e', 'byte');
    asm.dec('esi');
    asm.j('e', 'word');
    asm.dec('esi');
    asm.j('e', 'read');
    asm.db(0xef);
    asm.jmp('next');
    asm.label('byte');
    asm.db(0xee);
    asm.jmp('next');
    asm.label('word');
    asm.db(0x66, 0xef);
    asm.jmp('next');
    asm.label('read');
    asm.db(0xed);
    asm.label('next');
    asm.dec('ecx');
    asm.j('ne', 'again');
  });

/** Writes and reads all over the device window, thickly where devices are. */
export const deviceWindow: HostileKernel = (seed) =>
  kernelOf(seed, (asm) => {
    asm.mov('esi', 0);
    asm.label('window');
    for (const [base, mask] of [
      [0xc000_0000, 0x3eff_fffc],
      [0xfec0_0000, 0xfff],
      [0xfee0_0000, 0xfff],
      [0xc000_0000, 0xffff],
      [0xfebf_0000, 0xffff],
      [0xa_0000, 0x1_ffff],
    ] as const) {
      random(asm);
      asm.alu('and', 'eax', mask);
      asm.alu('add', 'eax', base);
      asm.mov('edi', 'eax');
      random(asm);
      asm.mov(mem(0, { base: 'edi' }), 'eax');
      asm.mov(mem(1, { base: 'edi', size: 2 }), 'ax');
      asm.mov(mem(3, { base: 'edi', size: 1 }), 'al');
      asm.mov('eax', mem(2, { base: 'edi' }));
    }
    asm.inc('esi');
    asm.alu('cmp', 'esi', 12_000);
    asm.j('b', 'window');
  });

/** Random PCI configuration writes to every function, then garbage wherever the BARs went. */
export const pciConfiguration: HostileKernel = (seed) =>
  kernelOf(seed, (asm) => {
    asm.mov('esi', 40_000);
    asm.label('again');
    random(asm);
    asm.alu('and', 'eax', 0x0000_3ffc); // bus 0, slots 0 to 7
    asm.alu('or', 'eax', 0x8000_0000);
    asm.mov('edx', 0xcf8);
    asm.db(0xef);
    random(asm);
    asm.alu('and', 'eax', 3);
    asm.mov('edx', 0xcfc);
    asm.alu('add', 'edx', 'eax');
    random(asm);
    asm.db(0xee);
    random(asm);
    asm.mov('edx', 0xcfc);
    asm.db(0xef, 0xed);
    asm.dec('esi');
    asm.j('ne', 'again');
  });

/** Drives each virtio function with queues of garbage. */
export const virtioGarbage: HostileKernel = (seed) =>
  kernelOf(seed, (asm) => {
    const RINGS = 0x20_0000;
    asm.mov('edi', RINGS);
    asm.mov('ecx', 0x1000);
    asm.label('fill');
    // Odd seeds are noise; even ones look like descriptors: an address in RAM, a length, flags and a next one.
    const masks = seed % 2 === 1 ? [-1, -1, -1, -1] : [0xff_fff0, 0, 0x1fff, 0x001f_0007];
    masks.forEach((mask, i) => {
      random(asm);
      asm.alu('and', 'eax', mask);
      asm.mov(mem(i * 4, { base: 'edi' }), 'eax');
    });
    asm.alu('add', 'edi', 16);
    asm.dec('ecx');
    asm.j('ne', 'fill');
    asm.mov('ebp', 2); // slot
    asm.label('slot');
    const config = (offset: number): void => {
      asm.mov('eax', 'ebp');
      asm.shift('shl', 'eax', 11);
      asm.alu('or', 'eax', 0x8000_0000 | offset);
      asm.mov('edx', 0xcf8);
      asm.db(0xef);
      asm.mov('edx', 0xcfc);
    };
    for (const bar of [0, 1, 2, 3, 4, 5]) {
      config(4);
      asm.mov('eax', 7);
      asm.db(0xef); // memory, I/O, bus master
      config(0x10 + bar * 4);
      asm.db(0xed);
      asm.alu('and', 'eax', -16);
      const skip = asm.fresh('skip');
      asm.alu('cmp', 'eax', 0xc000_0000);
      asm.j('b', skip);
      asm.mov('edi', 'eax');
      asm.mov('ecx', 300);
      const round = asm.fresh('round');
      asm.label(round);
      // Set up as a driver would: status, features, queue 0 to 3, garbage rings, notify; with noise in between.
      const write = (offset: number, value: number, size: 1 | 2 | 4): void => {
        asm.mov(mem(offset, { base: 'edi', size }), value);
      };
      write(0x14, 0, 1);
      write(0x14, 3, 1);
      for (const [select, value] of [
        [0, -1],
        [1, 1],
      ] as const) {
        write(8, select, 4);
        write(12, value, 4);
      }
      write(0x14, 0xb, 1);
      random(asm);
      asm.alu('and', 'eax', 3);
      asm.mov(mem(0x16, { base: 'edi', size: 2 }), 'ax');
      random(asm);
      asm.mov(mem(0x18, { base: 'edi', size: 2 }), 'ax');
      for (const register of [0x20, 0x28, 0x30]) {
        random(asm);
        asm.alu('and', 'eax', 0xfff0);
        asm.alu('add', 'eax', RINGS);
        asm.mov(mem(register, { base: 'edi' }), 'eax');
        random(asm);
        asm.alu('and', 'eax', 0x8000_0001);
        const low = asm.fresh('low');
        asm.j('s', low);
        asm.mov('eax', 0);
        asm.label(low);
        asm.mov(mem(register + 4, { base: 'edi' }), 'eax');
      }
      write(0x1c, 1, 2);
      write(0x14, 0xf, 1);
      random(asm);
      asm.alu('and', 'eax', 0x3fff);
      asm.alu('add', 'eax', 'edi');
      asm.mov('esi', 'eax');
      random(asm);
      asm.mov(mem(0, { base: 'esi' }), 'eax');
      for (const notify of [0x1000, 0x2000, 0x3000])
        for (const queue of [0, 1, 2]) {
          asm.mov(mem(notify + queue * 4, { base: 'edi', size: 2 }), queue);
        }
      asm.dec('ecx');
      asm.j('ne', round);
      asm.label(skip);
    }
    asm.inc('ebp');
    asm.alu('cmp', 'ebp', 8);
    asm.j('b', 'slot');
  });

/** Random bytes run as code, again and again, in all rings and modes that they reach. */
const randomCodeOf =
  (bits: 32 | 64): HostileKernel =>
  (seed) =>
    kernelOf(
      seed,
      (asm, kernel) => {
        const CODE = 0x20_0000;
        asm.mov(mem(at('rounds')), 3000);
        asm.label('round');
        asm.mov('edi', CODE);
        asm.mov('ebx', mem(at('state')));
        asm.mov('ecx', 64);
        asm.label('fill');
        random(asm);
        asm.mov(mem(0, { base: 'edi' }), 'eax');
        asm.alu('add', 'edi', 4);
        asm.dec('ecx');
        asm.j('ne', 'fill');
        asm.mov(mem(at('state')), 'ebx');
        asm.mov(kernel.at('resume'), at('again'));
        asm.mov('eax', CODE);
        asm.db(0xff, 0xe0);
        asm.label('again');
        asm.dec(mem(at('rounds')));
        asm.j('ne', 'round');
        kernel.data(() => {
          asm.align(4);
          asm.label('rounds');
          asm.dd(0);
          asm.label('state');
          asm.dd((seed * 0x9e37_79b1) | 1);
        });
      },
      bits,
    );
export const randomCode = randomCodeOf(32);
export const randomCode64 = randomCodeOf(64);

/** Reads and writes MSRs: all low ones, and where AMD, Hyper-V and KVM have theirs. */
export const everyMsr: HostileKernel = (seed) =>
  kernelOf(seed, (asm, kernel) => {
    for (const [name, first, count] of [
      ['low', 0, 0x1000],
      ['amd', 0xc000_0000, 0x400],
      ['kvm', 0x4b56_4d00, 0x20],
      ['hv', 0x4000_0000, 0x200],
      ['kvm-old', 0x11, 2],
    ] as const) {
      asm.mov('esi', first);
      asm.mov('edi', count);
      asm.label(`${name}.next`);
      for (const bytes of [
        [0x0f, 0x32],
        [0x0f, 0x30],
        [0x0f, 0x30],
        [0x0f, 0x30],
        [0x0f, 0x32],
      ]) {
        const behind = asm.fresh('behind');
        asm.mov(kernel.at('resume'), at(behind));
        random(asm);
        asm.mov('edx', 'eax');
        // Upper halves that are none, now and then.
        asm.alu('and', 'edx', 0x8000_0fff);
        random(asm);
        asm.mov('ecx', 'esi');
        // The local APIC stays where it is now and then, so that it is not lost at once.
        asm.db(...bytes);
        asm.label(behind);
      }
      asm.inc('esi');
      asm.dec('edi');
      asm.j('ne', `${name}.next`);
    }
  });

/** Random values in CR0, CR3, CR4, debug and segment registers. */
export const controlRegisters: HostileKernel = (seed) =>
  kernelOf(seed, (asm, kernel) => {
    asm.mov('edi', 4_000);
    asm.label('next');
    const moves = [
      [0x0f, 0x22, 0xc0],
      [0x0f, 0x22, 0xd8],
      [0x0f, 0x22, 0xe0],
      [0x0f, 0x23, 0xc0],
      [0x0f, 0x23, 0xf0],
      [0x0f, 0x23, 0xf8],
      [0x8e, 0xd8],
      [0x8e, 0xc0],
      [0x8e, 0xe0],
      [0x0f, 0x00, 0xd0],
      [0x0f, 0x01, 0xf0],
    ];
    moves.forEach((bytes, i) => {
      const behind = asm.fresh('behind');
      asm.mov('eax', 0x10);
      asm.mov('ds', 'eax');
      asm.mov(kernel.at('resume'), at(behind));
      random(asm);
      // CR0 keeps protection on and paging off: else all is over at once.
      if (i === 0) {
        asm.alu('and', 'eax', 0x6005_003f);
        asm.alu('or', 'eax', 0x11);
      }
      asm.db(...bytes);
      asm.label(behind);
    });
    asm.dec('edi');
    asm.j('ne', 'next');
  });

/** All timers as fast as they go, into handlers that never say that they are done. */
export const timerStorm: HostileKernel = (seed) =>
  kernelOf(seed, (asm, kernel) => {
    const lapic = (register: number, value: number): void => asm.mov(mem(0xfee0_0000 + register), value);
    lapic(0xf0, 0x1ff);
    lapic(0x350, 0x700);
    lapic(0x3e0, 0xb);
    lapic(0x320, 0x20062);
    lapic(0x380, seed);
    for (const [port, value] of [
      [0x20, 0x11],
      [0x21, 0x20],
      [0x21, 4],
      [0x21, 3],
      [0xa0, 0x11],
      [0xa1, 0x28],
      [0xa1, 2],
      [0xa1, 3],
      [0x21, 0],
      [0xa1, 0],
      [0x43, 0x34],
      [0x40, 2],
      [0x40, 0],
      [0x70, 0x0a],
      [0x71, 0x23],
      [0x70, 0x0b],
      [0x71, 0x72],
    ] as const) {
      asm.out(port, value);
    }
    for (let pin = 0; pin < 24; pin++) {
      asm.mov(mem(0xfec0_0000), 0x10 + 2 * pin);
      asm.mov(mem(0xfec0_0010), (0x40 + pin) | (pin % 2 === 0 ? 0x8000 : 0x2000));
    }
    asm.label('go');
    asm.mov(kernel.at('resume'), at('on'));
    asm.db(0xfb, 0xf4);
    asm.label('on');
    asm.mov(mem(0xfee0_00b0), 0);
    asm.jmp('go');
  });

/** Page tables of garbage: paging on, then whatever comes. */
export const garbageTables: HostileKernel = (seed) =>
  kernelOf(seed, (asm) => {
    const TABLES = 0x20_0000;
    asm.mov('edi', TABLES);
    asm.mov('ecx', 0x2000);
    asm.label('fill');
    random(asm);
    asm.mov(mem(0, { base: 'edi' }), 'eax');
    asm.alu('add', 'edi', 4);
    asm.dec('ecx');
    asm.j('ne', 'fill');
    // The first 4 MiB stay, so that the kernel goes on for a while.
    asm.mov(mem(TABLES), 0x83);
    asm.mov('eax', 0x10);
    asm.mov('cr4', 'eax');
    asm.mov('eax', TABLES);
    asm.mov('cr3', 'eax');
    asm.mov('eax', 0x8000_0033);
    asm.mov('cr0', 'eax');
    asm.mov('esi', 20_000);
    asm.label('again');
    random(asm);
    asm.mov('edi', 'eax');
    const next = asm.fresh('next');
    asm.mov(mem(at('record', 12 * 8)), at(next)); // where a fault goes on
    asm.mov('eax', mem(0, { base: 'edi' }));
    asm.mov(mem(0, { base: 'edi' }), 'eax');
    asm.label(next);
    asm.mov('edx', 'cr3');
    asm.mov('cr3', 'edx');
    asm.dec('esi');
    asm.j('ne', 'again');
  });

/** Runs to its end by itself: the machine says how. */
export const tripleFault: HostileKernel = (seed) =>
  kernelOf(seed, (asm) => {
    asm.encode([0x0f, 0x01], 3, mem(at('noIdt')), 0);
    asm.db(0x0f, 0x0b);
    asm.label('noIdt');
    asm.dw(0);
    asm.dd(0);
  });

export const jumpNowhere: HostileKernel = (seed) =>
  kernelOf(seed, (asm) => {
    asm.encode([0x0f, 0x01], 3, mem(at('noIdt')), 0);
    asm.mov('eax', 0xd000_0000 + (seed << 12));
    asm.db(0xff, 0xe0);
    asm.label('noIdt');
    asm.dw(0);
    asm.dd(0);
  });

/** Code in the last bytes of RAM, which runs into the hole behind it. */
export const endOfMemory =
  (memoryMiB: number): HostileKernel =>
  (seed) =>
    kernelOf(seed, (asm) => {
      const end = memoryMiB << 20;
      for (let i = 1; i <= 5; i++) asm.mov(mem(end - i, { size: 1 }), i === 1 ? 0xb8 : 0x90);
      asm.mov('eax', mem(end - 2));
      asm.mov(mem(end - 2), 'eax');
      asm.mov('eax', end - 5);
      asm.db(0xff, 0xe0);
    });

/** Page tables where there is no memory. */
export const tablesNowhere: HostileKernel = (seed) =>
  kernelOf(seed, (asm) => {
    asm.mov('eax', 0xe000_0000 + (seed << 12));
    asm.mov('cr3', 'eax');
    asm.mov('eax', 0x8000_0033);
    asm.mov('cr0', 'eax');
    asm.db(0x90);
  });

export const spin: HostileKernel = (seed) => kernelOf(seed, (asm) => asm.db(0xfa, 0xeb, 0xfe));

/** HLT with interrupts off: nothing will wake it. */
export const haltForever: HostileKernel = (seed) => kernelOf(seed, (asm) => asm.db(0xfa, 0xf4, 0xeb, 0xfd));

/** Rewrites the code that it runs. */
export const rewriteItself: HostileKernel = (seed) =>
  kernelOf(seed, (asm) => {
    asm.mov('ecx', 60_000);
    asm.label('again');
    random(asm);
    asm.mov(mem(at('patched', 1)), 'eax');
    asm.label('patched');
    asm.mov('edx', 0);
    asm.alu('cmp', 'edx', 'eax');
    asm.j('ne', 'wrong');
    asm.dec('ecx');
    asm.j('ne', 'again');
    asm.jmp('right');
    asm.label('wrong');
    asm.out(DEBUG_EXIT, 0x40);
    asm.label('right');
  });
