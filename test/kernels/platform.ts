import { mem } from './assembler.ts';
import { REGISTER, Rig } from './devices.ts';
import { out16, PM1, suspendToRam, WOKEN } from './sleep.ts';

/**
 * The high precision event timer (IA-PC HPET specification 1.0a) and sleep in
 * RAM (ACPI 6.5, chapters 4.8 and 16).
 */
const HPET = 0xfed0_0000;
const CONFIG = 0x10;
const STATUS = 0x20;
const COUNTER = 0xf0;
const TIMER = (n: number): { config: number; comparator: number } => ({
  config: 0x100 + 0x20 * n,
  comparator: 0x108 + 0x20 * n,
});
const ENABLE = 1;
const LEGACY = 2;
const Tn = { level: 2, interrupt: 4, periodic: 8, set: 0x40, narrow: 0x100, pin2: 2 << 9 } as const;
/** Ticks of a millisecond. */
const MS = 100_000;

export function platformKernel(): Buffer {
  const rig = new Rig();
  const timers = new Timers(rig);
  timers.registers();
  timers.interrupts();
  sleep(rig);
  return rig.kernel.finish();
}

class Timers {
  readonly #rig: Rig;

  constructor(rig: Rig) {
    this.#rig = rig;
  }

  #set(register: number, value: number): void {
    this.#rig.asm.mov(mem(HPET + register), value);
  }

  /** Counter at 0, stopped; timer `n` with this configuration and this comparator. */
  #prepare(n: number, config: number, ticks: number): void {
    this.#set(CONFIG, 0);
    this.#set(COUNTER, 0);
    this.#set(COUNTER + 4, 0);
    this.#set(TIMER(n).config, config);
    this.#set(TIMER(n).comparator, ticks);
  }

  readonly #off = (): void => {
    this.#set(CONFIG, 0);
    for (const n of [0, 1, 2]) this.#set(TIMER(n).config, 0);
    this.#set(STATUS, 7);
    this.#rig.ioapic(0x10 + 2 * 2, 0x10000);
  };

  #read(register: number): void {
    this.#rig.asm.mov('eax', mem(HPET + register));
  }

  /** Until that many ticks have passed since #prepare. */
  #waitUntil(ticks: number): void {
    const { asm } = this.#rig;
    const again = asm.fresh('again');
    asm.label(again);
    this.#read(COUNTER);
    asm.alu('cmp', 'eax', ticks);
    asm.j('b', again);
  }

  registers(): void {
    const rig = this.#rig;
    const { asm, kernel } = rig;
    const after = this.#off;
    rig.test(
      'HPET: 64 bits, three timers, legacy routes, 100 MHz',
      { w4: 0x8086_a201, w5: 10_000_000 },
      () => {
        this.#read(0);
        asm.mov(kernel.at('w4'), 'eax');
        this.#read(4);
        asm.mov(kernel.at('w5'), 'eax');
      },
    );
    rig.test(
      'HPET: a timer can be periodic and 64 bits wide, and takes pin 2',
      { w4: { value: 0x30 | Tn.pin2, mask: 0xffff }, w5: { value: 4, mask: 4 } },
      () => {
        this.#prepare(2, Tn.pin2, 0);
        this.#read(TIMER(2).config);
        asm.mov(kernel.at('w4'), 'eax');
        this.#read(TIMER(2).config + 4);
        asm.mov(kernel.at('w5'), 'eax');
      },
      { after },
    );
    rig.test(
      'HPET: the counter stands still until it is enabled',
      { w4: 1000, w5: 1000 },
      () => {
        this.#prepare(0, 0, 0);
        this.#set(COUNTER, 1000);
        this.#read(COUNTER);
        asm.mov(kernel.at('w4'), 'eax');
        this.#read(COUNTER);
        asm.mov(kernel.at('w5'), 'eax');
      },
      { after },
    );
    rig.test(
      'HPET: then it counts, and carries into its upper half',
      { w4: 1 },
      () => {
        this.#prepare(0, 0, 0);
        this.#set(COUNTER, -1000);
        this.#set(CONFIG, ENABLE);
        const again = asm.fresh('again');
        asm.label(again);
        this.#read(COUNTER + 4);
        asm.alu('cmp', 'eax', 0);
        asm.j('e', again);
        asm.mov(kernel.at('w4'), 'eax');
      },
      { after },
    );
    rig.test(
      'HPET: 8 bytes at once',
      { w4: 0x5555_0000, w5: 0x1234_5678 },
      () => {
        this.#prepare(0, 0, 0);
        asm.mov(kernel.at('w6'), 0x5555_0000);
        asm.mov(kernel.at('w7'), 0x1234_5678);
        const quad = (opcode: readonly number[], address: Parameters<typeof mem>[0]): void =>
          asm.encode(opcode, 0, mem(address), 0);
        asm.mov('eax', 'cr4');
        asm.alu('or', 'eax', 0x200); // OSFXSR
        asm.mov('cr4', 'eax');
        // MOVQ XMM0 and back, through the counter: w6 is followed by its upper half, not by w7.
        asm.mov(kernel.at('w6High'), 0x1234_5678);
        asm.db(0xf3);
        quad([0x0f, 0x7e], kernel.field('w6'));
        asm.db(0x66);
        quad([0x0f, 0xd6], HPET + COUNTER);
        asm.db(0xf3);
        quad([0x0f, 0x7e], HPET + COUNTER);
        asm.db(0x66);
        quad([0x0f, 0xd6], kernel.field('w4'));
        asm.mov('eax', kernel.at('w4High'));
        asm.mov(kernel.at('w5'), 'eax');
      },
      { after },
    );
  }

  interrupts(): void {
    const rig = this.#rig;
    const { asm, kernel } = rig;
    const after = this.#off;
    rig.test(
      'HPET: legacy replacement: timer 0 is IRQ 0',
      { w0: 1, w1: 0x20 },
      () => {
        rig.pic(0xfe);
        this.#prepare(0, Tn.interrupt | Tn.narrow, MS);
        this.#set(CONFIG, ENABLE | LEGACY);
        rig.sleep();
      },
      { after },
    );
    rig.test(
      'HPET: timer 1 is IRQ 8',
      { w0: 1, w1: 0x28 },
      () => {
        rig.pic(0xfb, 0xfe);
        this.#prepare(1, Tn.interrupt | Tn.narrow, MS);
        this.#set(CONFIG, ENABLE | LEGACY);
        rig.sleep();
      },
      { after },
    );
    rig.test(
      'HPET: the 8254 interrupts nobody meanwhile',
      { w0: 0 },
      () => {
        this.#prepare(0, 0, 0);
        this.#set(CONFIG, ENABLE | LEGACY);
        rig.pic(0xfe);
        rig.pit(0, 100);
        this.#waitUntil(MS);
        asm.db(0xfb, 0x90, 0xeb, 0, 0x90, 0xfa);
      },
      { after },
    );
    rig.test(
      'HPET: periodic, on pin 2 of the I/O APIC',
      { w1: 0x63, w4: 1 },
      () => {
        rig.pic(0xff);
        rig.ioapic(0x10 + 2 * 2, 0x63);
        this.#prepare(0, Tn.interrupt | Tn.periodic | Tn.set | Tn.narrow | Tn.pin2, 2 * MS);
        this.#set(TIMER(0).comparator, MS);
        this.#set(CONFIG, ENABLE);
        rig.sleepUntil(3);
      },
      { after },
    );
    rig.test(
      'HPET: level-triggered, asserted until its status is cleared',
      { w0: 1, w1: 0x63, w4: 4, w5: 0 },
      () => {
        rig.pic(0xff);
        rig.ioapic(0x10 + 2 * 2, 0x8063);
        this.#prepare(2, Tn.interrupt | Tn.level | Tn.narrow | Tn.pin2, MS);
        this.#set(CONFIG, ENABLE);
        const again = asm.fresh('again');
        asm.label(again);
        this.#read(STATUS);
        asm.alu('and', 'eax', 4);
        asm.j('e', again);
        asm.mov(kernel.at('w4'), 'eax');
        this.#set(STATUS, 4);
        this.#read(STATUS);
        asm.mov(kernel.at('w5'), 'eax');
        asm.db(0xfb, 0x90, 0xeb, 0, 0x90, 0xfa);
      },
      { after },
    );
  }
}

/** RTC alarm at the next second, whatever it is. */
function alarm(rig: Rig): void {
  const { asm } = rig;
  const put = (index: number, value: number): void => {
    asm.out(0x70, index);
    asm.out(0x71, value);
  };
  asm.out(0x70, 0x0c);
  asm.in(0x71);
  for (const index of [1, 3, 5]) put(index, 0xc0);
  put(0x0b, 0x22);
}

const RTC_EVENT = 0x400;
const WAKE_STATUS = 0x8000;

function sleep(rig: Rig): void {
  const { asm, kernel } = rig;
  const after = (): void => {
    // As at the start: the controllers were reset.
    rig.lapic(REGISTER.svr, 0x1ff);
    rig.lapic(REGISTER.lint0, 0x700);
    asm.out(0x70, 0x0b);
    asm.out(0x71, 0x02);
    asm.out(0x70, 0x0c);
    asm.in(0x71);
    out16(kernel, PM1.enable, 0);
    out16(kernel, PM1.status, 0xffff);
  };
  rig.test(
    'S3: the RTC alarm wakes it, in real mode, at its vector; RAM is kept',
    {
      w4: { value: RTC_EVENT | WAKE_STATUS, mask: RTC_EVENT | WAKE_STATUS },
      w5: 0x600d_f00d,
      w6: 0,
      memory: [
        ['CS', WOKEN.cs, { value: 0x100, mask: 0xffff }],
        ['CR0', WOKEN.cr0, { value: 0, mask: 0x8000_0001 }],
        ['EFLAGS', WOKEN.flags, { value: 0, mask: 0x200 }],
      ],
    },
    () => {
      asm.mov(mem(0x30_0000), 0x600d_f00d);
      alarm(rig);
      suspendToRam(kernel, { enable: RTC_EVENT });
      asm.mov('edx', PM1.status);
      asm.db(0x66, 0xed); // in ax, dx
      asm.mov(kernel.at('w4'), 'eax');
      asm.mov('eax', mem(0x30_0000));
      asm.mov(kernel.at('w5'), 'eax');
    },
    { after },
  );
  rig.test(
    'S3: what was set up before is as after a reset',
    { w4: 0x1_0000, w5: { value: 0x1_0000, mask: 0x1_0000 }, w6: 0 },
    () => {
      rig.lapic(REGISTER.lvtTimer, 0x62);
      rig.ioapic(0x10 + 2 * 5, 0x63);
      alarm(rig);
      suspendToRam(kernel, { enable: RTC_EVENT });
      rig.readLapic(REGISTER.lvtTimer);
      asm.mov(kernel.at('w4'), 'eax');
      asm.mov(mem(0xfec0_0000), 0x10 + 2 * 5);
      asm.mov('eax', mem(0xfec0_0010));
      asm.mov(kernel.at('w5'), 'eax');
    },
    { after },
  );
}
