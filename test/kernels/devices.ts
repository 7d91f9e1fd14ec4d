import { at, mem, type Value } from './assembler.ts';
import { type CaseOptions, type Expectation, NEEDS, TestKernel } from './kit.ts';

/**
 * Interrupts and timers as a kernel sees them: 8259 pair, 8254, RTC, local
 * APIC and its timer, I/O APIC, PCI configuration, ACPI timer (data sheets of
 * these; Intel SDM vol. 3, chapter 11; the platform map in docs/architecture.md).
 */
const LAPIC = 0xfee0_0000;
const IOAPIC = 0xfec0_0000;
const PIC_VECTOR = 0x20;
export const REGISTER = {
  id: 0x20,
  version: 0x30,
  tpr: 0x80,
  eoi: 0xb0,
  svr: 0xf0,
  isr: 0x100,
  irr: 0x200,
  icr: 0x300,
  lvtTimer: 0x320,
  lint0: 0x350,
  initial: 0x380,
  current: 0x390,
  divide: 0x3e0,
} as const;
const SELF = 0x40000;

export function devicesKernel(): Buffer {
  const rig = new Rig();
  legacy(rig);
  shadows(rig);
  clocks(rig);
  localApic(rig);
  ioApic(rig);
  nmi(rig);
  configuration(rig);
  return rig.kernel.finish();
}

/** A 32-bit kernel with handlers that count interrupts: w0 how many, w1 the last vector, w2 and w3 the first two. */
export class Rig {
  readonly kernel = new TestKernel(32);
  readonly asm = this.kernel.asm;

  constructor() {
    const { asm } = this;
    asm.jmp('irq.over');
    // w0 counts, w1 is the last vector, w2 and w3 the first two.
    for (let vector = 0x20; vector < 0x30; vector++) this.#handler(vector, vector >= 0x28 ? 'pic2' : 'pic');
    for (const vector of [0x61, 0x62, 0x63, 0x71]) this.#handler(vector, 'lapic');
    asm.label('irq.over');
    this.lapic(REGISTER.svr, 0x1ff);
    this.lapic(REGISTER.lint0, 0x700);
    this.lapic(REGISTER.tpr, 0);
  }

  #handler(vector: number, controller: 'pic' | 'pic2' | 'lapic'): void {
    const { asm, kernel } = this;
    const label = `irq.${vector}`;
    asm.label(label);
    asm.push('eax' as const);
    asm.push('edx' as const);
    asm.inc(kernel.at('w0'));
    asm.mov(kernel.at('w1'), vector);
    for (const word of ['w2', 'w3'] as const) {
      const full = asm.fresh('full');
      asm.alu('cmp', kernel.at(word), 0);
      asm.j('ne', full);
      asm.mov(kernel.at(word), vector);
      asm.jmp(`${label}.end`);
      asm.label(full);
    }
    asm.label(`${label}.end`);
    if (controller === 'lapic') this.lapic(REGISTER.eoi, 0);
    else asm.out(0x20, 0x20);
    if (controller === 'pic2') asm.out(0xa0, 0x20);
    asm.pop('edx');
    asm.pop('eax');
    asm.db(0xcf);
    kernel.handle(vector, label);
  }

  test(name: string, expected: Expectation, body: () => void, options: CaseOptions = {}): void {
    const drained = (): void => {
      // A periodic timer of the case before may have left a request.
      this.asm.db(0xfb, 0x90, 0xeb, 0, 0xeb, 0, 0x90, 0xfa);
      for (const word of ['w0', 'w1', 'w2', 'w3'] as const) this.asm.mov(this.kernel.at(word), 0);
      body();
    };
    this.kernel.test(name, expected, drained, {
      ...options,
      after: () => {
        this.asm.db(0xfa);
        options.after?.();
        this.quiet();
      },
    });
  }

  /** Masks everything and stops the timers. */
  quiet(): void {
    const { asm } = this;
    asm.out(0x21, 0xff);
    asm.out(0xa1, 0xff);
    asm.out(0x43, 0x30);
    this.lapic(REGISTER.lvtTimer, 0x10000);
    this.lapic(REGISTER.initial, 0);
    this.lapic(REGISTER.tpr, 0);
  }

  /** Both 8259s anew, vectors 20h to 2Fh, with these masks. */
  pic(mask1: number, mask2 = 0xff): void {
    for (const [port, value] of [
      [0x20, 0x11],
      [0x21, PIC_VECTOR],
      [0x21, 4],
      [0x21, 1],
      [0xa0, 0x11],
      [0xa1, PIC_VECTOR + 8],
      [0xa1, 2],
      [0xa1, 1],
      [0x21, mask1],
      [0xa1, mask2],
    ] as const) {
      this.asm.out(port, value);
    }
  }

  /** Channel 0: mode and count. */
  pit(mode: number, count: number): void {
    this.asm.out(0x43, 0x30 | (mode << 1));
    this.asm.out(0x40, count & 0xff);
    this.asm.out(0x40, count >> 8);
  }

  lapic(register: number, value: Value): void {
    this.asm.mov(mem(LAPIC + register), value);
  }

  readLapic(register: number): void {
    this.asm.mov('eax', mem(LAPIC + register));
  }

  ioapic(index: number, value: number): void {
    this.asm.mov(mem(IOAPIC), index);
    this.asm.mov(mem(IOAPIC + 16), value);
  }

  /** STI; HLT; CLI. */
  sleep(): void {
    this.asm.db(0xfb, 0xf4, 0xfa);
  }

  /** Sleeps until that many interrupts came, or more: a host under load lets two come at once. Then w4 is 1. */
  sleepUntil(count: number): void {
    const again = this.asm.fresh('again');
    this.asm.label(again);
    this.sleep();
    this.asm.alu('cmp', this.kernel.at('w0'), count);
    this.asm.j('b', again);
    this.asm.mov(this.kernel.at('w4'), 1);
  }

  /** Waits until the PIC's IRR has a bit. */
  untilRequested(bit: number): void {
    const again = this.asm.fresh('again');
    this.asm.label(again);
    this.asm.out(0x20, 0x0a);
    this.asm.in(0x20);
    this.asm.alu('and', 'al', 1 << bit);
    this.asm.j('e', again);
  }
}

function legacy(rig: Rig): void {
  const { asm, kernel } = rig;
  rig.test(
    '8259: the mask reads back',
    { w0: { value: 0xa5, mask: 0xff }, w1: { value: 0x5a, mask: 0xff } },
    () => {
      rig.pic(0xa5, 0x5a);
      asm.in(0x21);
      asm.mov(kernel.at('w0', 1), 'al');
      asm.in(0xa1);
      asm.mov(kernel.at('w1', 1), 'al');
    },
  );
  rig.test('8254 in mode 0 interrupts once and wakes HLT', { w0: 1, w1: 0x20 }, () => {
    rig.pic(0xfe);
    rig.pit(0, 1000);
    rig.sleep();
  });
  rig.test('8254 in mode 2 interrupts again and again', { w1: 0x20, w4: 1 }, () => {
    rig.pic(0xfe);
    rig.pit(2, 5000);
    rig.sleepUntil(3);
  });
  rig.test('8259: a masked request waits', { w0: 0 }, () => {
    rig.pic(0xff);
    rig.pit(0, 200);
    rig.untilRequested(0);
    asm.db(0xfb, 0x90, 0xfa);
  });
  rig.test('8259: it comes once the mask is lifted', { w0: 1, w1: 0x20 }, () => {
    rig.pic(0xff);
    rig.pit(0, 200);
    rig.untilRequested(0);
    asm.out(0x21, 0xfe);
    asm.db(0xfb, 0x90, 0xfa);
  });
  rig.test(
    '8259: in service until EOI',
    { w0: 1, w4: 1, w5: 0 },
    () => {
      const handler = asm.fresh('handler');
      const over = asm.fresh('over');
      rig.pic(0xfe);
      rig.pit(0, 200);
      // A handler that leaves the EOI to the case.
      asm.mov('eax', at(handler));
      asm.mov(mem(at('idt', 0x20 * 8), { size: 2 }), 'ax');
      asm.shift('shr', 'eax', 16);
      asm.mov(mem(at('idt', 0x20 * 8 + 6), { size: 2 }), 'ax');
      rig.sleep();
      asm.out(0x20, 0x0b);
      asm.in(0x20);
      asm.mov(kernel.at('w4', 1), 'al');
      asm.out(0x20, 0x20);
      asm.in(0x20);
      asm.mov(kernel.at('w5', 1), 'al');
      asm.jmp(over);
      asm.label(handler);
      asm.inc(kernel.at('w0'));
      asm.db(0xcf);
      asm.label(over);
    },
    {
      after: () => {
        asm.mov('eax', at('irq.32'));
        asm.mov(mem(at('idt', 0x20 * 8), { size: 2 }), 'ax');
        asm.shift('shr', 'eax', 16);
        asm.mov(mem(at('idt', 0x20 * 8 + 6), { size: 2 }), 'ax');
      },
    },
  );
  rig.test(
    '8259: the slave comes through the master',
    { w0: 1, w1: 0x28 },
    () => {
      rig.pic(0xfb, 0xfe);
      asm.out(0x70, 0x0c);
      asm.in(0x71);
      asm.out(0x70, 0x0a);
      asm.out(0x71, 0x26);
      asm.out(0x70, 0x0b);
      asm.out(0x71, 0x42); // periodic interrupts, 24 hours
      rig.sleep();
    },
    {
      after: () => {
        asm.out(0x70, 0x0b);
        asm.out(0x71, 0x02);
        asm.out(0x70, 0x0c);
        asm.in(0x71);
      },
    },
  );
}

function shadows(rig: Rig): void {
  const { asm } = rig;
  const pending = (): void => {
    rig.pic(0xfe);
    rig.pit(0, 200);
    rig.untilRequested(0);
  };
  rig.test('STI holds interrupts off for one instruction', { w0: 0 }, () => {
    pending();
    asm.db(0xfb, 0xfa);
  });
  rig.test('behind it they come', { w0: 1 }, () => {
    pending();
    asm.db(0xfb, 0x90, 0xfa);
  });
  rig.test('POPF does not hold them off', { w0: 1 }, () => {
    pending();
    asm.push(0x202);
    asm.db(0x9d, 0xfa);
  });
  rig.test('IRET lets them in at once', { w0: 1 }, () => {
    const there = asm.fresh('there');
    pending();
    asm.push(0x202);
    asm.push(8);
    asm.push(at(there));
    asm.db(0xcf);
    asm.label(there);
    asm.db(0xfa);
  });
}

function clocks(rig: Rig): void {
  const { asm, kernel } = rig;
  rig.test('8254: a latched count goes down', { w4: 1 }, () => {
    rig.pit(2, 0xffff);
    const read = (): void => {
      asm.out(0x43, 0);
      asm.in(0x40);
      asm.mov('cl', 'al');
      asm.in(0x40);
      asm.mov('ch', 'al');
    };
    const again = asm.fresh('again');
    read();
    asm.mov('bx', 'cx');
    asm.label(again);
    read();
    asm.alu('cmp', 'cx', 'bx');
    asm.j('e', again);
    asm.mov(kernel.at('w4'), 1);
  });
  rig.test('8254 channel 2: its output shows in port 61h', { w4: 1 }, () => {
    const again = asm.fresh('again');
    asm.out(0x61, 1);
    asm.out(0x43, 0xb0);
    asm.out(0x42, 100);
    asm.out(0x42, 0);
    asm.label(again);
    asm.in(0x61);
    asm.alu('and', 'al', 0x20);
    asm.j('e', again);
    asm.mov(kernel.at('w4'), 1);
  });
  rig.test('8254: read-back of the status: mode and access', { w4: { value: 0x34, mask: 0x3f } }, () => {
    rig.pit(2, 0xffff);
    asm.out(0x43, 0xe2);
    asm.in(0x40);
    asm.mov(kernel.at('w4', 1), 'al');
  });
  rig.test('CMOS memory keeps what is written', { w4: { value: 0x5a, mask: 0xff } }, () => {
    asm.out(0x70, 0x7f);
    asm.out(0x71, 0x5a);
    asm.out(0x70, 0x7f);
    asm.in(0x71);
    asm.mov(kernel.at('w4', 1), 'al');
  });
  rig.test('RTC: valid RAM and time', { w4: { value: 0x80, mask: 0x80 } }, () => {
    asm.out(0x70, 0x0d);
    asm.in(0x71);
    asm.mov(kernel.at('w4', 1), 'al');
  });
  rig.test('the ACPI timer runs', { w4: 1 }, () => {
    const again = asm.fresh('again');
    asm.mov('edx', 0x608);
    asm.db(0xed);
    asm.mov('ebx', 'eax');
    asm.label(again);
    asm.db(0xed);
    asm.alu('cmp', 'eax', 'ebx');
    asm.j('e', again);
    asm.mov(kernel.at('w4'), 1);
  });
}

function localApic(rig: Rig): void {
  const { asm, kernel } = rig;
  rig.test('APIC base: enabled, of the boot processor', { w4: 0xfee0_0900 }, () => {
    asm.rdmsr(0x1b);
    asm.mov(kernel.at('w4'), 'eax');
  });
  rig.test('local APIC: version', { w4: { value: 0x14, mask: 0xff } }, () => {
    rig.readLapic(REGISTER.version);
    asm.mov(kernel.at('w4'), 'eax');
  });
  const ipi = (vector: number): void => rig.lapic(REGISTER.icr, SELF | vector);
  rig.test('self-IPI', { w0: 1, w1: 0x61 }, () => {
    ipi(0x61);
    asm.db(0xfb, 0x90, 0xfa);
  });
  rig.test('two at once: the higher vector first', { w0: 2, w2: 0x71, w3: 0x61 }, () => {
    ipi(0x61);
    ipi(0x71);
    asm.db(0xfb, 0x90, 0x90, 0xfa);
  });
  rig.test('the same vector twice is delivered once', { w0: 1 }, () => {
    ipi(0x61);
    ipi(0x61);
    asm.db(0xfb, 0x90, 0x90, 0xfa);
  });
  rig.test(
    'TPR holds back; IRR shows what waits',
    { w4: 2, w5: 0 },
    () => {
      rig.lapic(REGISTER.tpr, 0x60);
      ipi(0x61);
      asm.db(0xfb, 0x90, 0x90, 0xfa);
      rig.readLapic(REGISTER.irr + 0x30);
      asm.alu('and', 'eax', 2);
      asm.mov(kernel.at('w4'), 'eax');
      asm.mov('eax', kernel.at('w0'));
      asm.mov(kernel.at('w5'), 'eax');
    },
    {
      after: () => {
        rig.lapic(REGISTER.tpr, 0);
        asm.db(0xfb, 0x90, 0x90, 0xeb, 0, 0xeb, 0, 0xfa);
      },
    },
  );
  rig.test('lowering TPR lets it through', { w0: 1, w1: 0x61 }, () => {
    rig.lapic(REGISTER.tpr, 0x60);
    ipi(0x61);
    asm.db(0xfb, 0x90, 0x90);
    rig.lapic(REGISTER.tpr, 0x50);
    // QEMU looks for interrupts at branches.
    asm.db(0xeb, 0, 0xeb, 0, 0x90, 0xfa);
  });
  rig.test('timer, one-shot: interrupts once and stands at 0', { w0: 1, w1: 0x62, w4: 0 }, () => {
    rig.lapic(REGISTER.divide, 0xb);
    rig.lapic(REGISTER.lvtTimer, 0x62);
    rig.lapic(REGISTER.initial, 1_000_000);
    rig.sleep();
    rig.readLapic(REGISTER.current);
    asm.mov(kernel.at('w4'), 'eax');
  });
  rig.test('timer, periodic', { w1: 0x62, w4: 1 }, () => {
    rig.lapic(REGISTER.divide, 0xb);
    rig.lapic(REGISTER.lvtTimer, 0x20062);
    rig.lapic(REGISTER.initial, 2_000_000);
    rig.sleepUntil(3);
  });
  rig.test('timer, masked: the count runs out, nothing comes', { w0: 0 }, () => {
    const again = asm.fresh('again');
    rig.lapic(REGISTER.lvtTimer, 0x10062);
    rig.lapic(REGISTER.initial, 100_000);
    asm.label(again);
    rig.readLapic(REGISTER.current);
    asm.alu('cmp', 'eax', 0);
    asm.j('ne', again);
    asm.db(0xfb, 0x90, 0xfa);
  });
  rig.test('a timer comes in between the repetitions of REP STOS', { w0: 1, w1: 0x62 }, () => {
    rig.lapic(REGISTER.divide, 0xb);
    rig.lapic(REGISTER.lvtTimer, 0x62);
    rig.lapic(REGISTER.initial, 1_000_000);
    asm.mov('edi', 0x40_0000);
    asm.mov('ecx', 0x200_0000);
    asm.db(0xfb, 0xf3, 0xaa, 0xfa); // sti; rep stosb; cli
  });
  rig.test(
    'timer, TSC deadline',
    { w0: 1, w1: 0x62, w4: 0 },
    () => {
      rig.lapic(REGISTER.lvtTimer, 0x40062);
      asm.db(0x0f, 0xae, 0xf0); // mfence
      asm.db(0x0f, 0x31);
      asm.alu('add', 'eax', 1_000_000);
      asm.alu('adc', 'edx', 0);
      asm.mov('ecx', 0x6e0);
      asm.db(0x0f, 0x30);
      rig.sleep();
      asm.rdmsr(0x6e0);
      asm.mov(kernel.at('w4'), 'eax');
    },
    { needs: NEEDS.tscDeadline },
  );
  rig.test('#GP: an x2APIC register without x2APIC', { vector: 13, error: 0 }, () => asm.rdmsr(0x802));
  rig.test(
    'x2APIC: self-IPI',
    { w0: 1, w1: 0x61 },
    () => {
      asm.wrmsr(0x1b, 0xfee0_0d00n);
      asm.wrmsr(0x83f, 0x61n);
      // The handler's EOI goes to the memory window, which is shut now.
      asm.db(0xfb, 0x90, 0xfa);
      asm.wrmsr(0x80b, 0n);
    },
    {
      needs: NEEDS.x2apic,
      after: () => {
        asm.wrmsr(0x1b, 0xfee0_0000n);
        asm.wrmsr(0x1b, 0xfee0_0900n);
        rig.lapic(REGISTER.svr, 0x1ff);
        rig.lapic(REGISTER.lint0, 0x700);
      },
    },
  );
}

function ioApic(rig: Rig): void {
  const { asm, kernel } = rig;
  rig.test('I/O APIC: 24 entries', { w4: { value: 0x170000, mask: 0xff0000 } }, () => {
    asm.mov(mem(IOAPIC), 1);
    asm.mov('eax', mem(IOAPIC + 16));
    asm.mov(kernel.at('w4'), 'eax');
  });
  rig.test('I/O APIC: an entry reads back', { w4: 0x1a063, w5: 0x0100_0000 }, () => {
    rig.ioapic(0x10 + 2 * 5, 0x1a063);
    rig.ioapic(0x11 + 2 * 5, 0x0100_0000);
    asm.mov(mem(IOAPIC), 0x1a);
    asm.mov('eax', mem(IOAPIC + 16));
    asm.mov(kernel.at('w4'), 'eax');
    asm.mov(mem(IOAPIC), 0x1b);
    asm.mov('eax', mem(IOAPIC + 16));
    asm.mov(kernel.at('w5'), 'eax');
    rig.ioapic(0x10 + 2 * 5, 0x10000);
    rig.ioapic(0x11 + 2 * 5, 0);
  });
  rig.test(
    'I/O APIC: the 8254 comes in at pin 2',
    { w0: 1, w1: 0x63 },
    () => {
      rig.pic(0xff);
      rig.ioapic(0x10 + 2 * 2, 0x63);
      rig.pit(0, 1000);
      rig.sleep();
    },
    { after: () => rig.ioapic(0x10 + 2 * 2, 0x10000) },
  );
  rig.test(
    'I/O APIC: the RTC comes in at pin 8',
    { w0: 1, w1: 0x63 },
    () => {
      asm.out(0x70, 0x0c);
      asm.in(0x71);
      rig.ioapic(0x10 + 2 * 8, 0x63);
      asm.out(0x70, 0x0a);
      asm.out(0x71, 0x26);
      asm.out(0x70, 0x0b);
      asm.out(0x71, 0x42);
      rig.sleep();
    },
    {
      after: () => {
        rig.ioapic(0x10 + 2 * 8, 0x10000);
        asm.out(0x70, 0x0b);
        asm.out(0x71, 0x02);
        asm.out(0x70, 0x0c);
        asm.in(0x71);
      },
    },
  );
}

function nmi(rig: Rig): void {
  const { asm, kernel } = rig;
  kernel.handle(2, 'nmi');
  asm.jmp('nmi.over');
  asm.label('nmi');
  asm.inc(kernel.at('w0'));
  asm.inc(kernel.at('w4'));
  asm.alu('cmp', kernel.at('w0'), 1);
  asm.j('ne', 'nmi.end');
  // Another one: it has to wait for the IRET.
  rig.lapic(REGISTER.icr, SELF | 0x400);
  asm.db(0x90, 0x90);
  asm.push('eax' as const);
  asm.mov('eax', kernel.at('w4'));
  asm.mov(kernel.at('w5'), 'eax');
  asm.pop('eax');
  asm.label('nmi.end');
  asm.dec(kernel.at('w4'));
  asm.db(0xcf);
  asm.label('nmi.over');
  rig.test('NMI comes with IF clear; a second waits for IRET', { w0: 2, w5: 1 }, () => {
    rig.lapic(REGISTER.icr, SELF | 0x400);
    asm.db(0x90, 0x90, 0x90);
  });
}

function configuration(rig: Rig): void {
  const { asm, kernel } = rig;
  const read = (name: string, address: number, value: number): void => {
    rig.test(name, { w4: value }, () => {
      asm.mov('edx', 0xcf8);
      asm.mov('eax', address - 0x8000_0000);
      asm.db(0xef);
      asm.mov('edx', 0xcfc);
      asm.db(0xed);
      asm.mov(kernel.at('w4'), 'eax');
    });
  };
  read('PCI: the host bridge', 0, 0x1237_8086);
  read('PCI: the ISA bridge', 0x0800, 0x7000_8086);
  read('PCI: power management', 0x0b00, 0x7113_8086);
  read('PCI: what is not there', 0xf800, 0xffff_ffff);
  rig.test('PCI: the address register reads back', { w4: 0x8000_0b40 }, () => {
    asm.mov('edx', 0xcf8);
    asm.mov('eax', 0x8000_0b40);
    asm.db(0xef, 0xed);
    asm.mov(kernel.at('w4'), 'eax');
  });
  rig.test('a port that nobody has reads ones', { w4: 0xffff_ffff }, () => {
    asm.mov('edx', 0xe0);
    asm.db(0xed);
    asm.mov(kernel.at('w4'), 'eax');
  });
}
