/**
 * What the ACPI tables describe. Defaults are the platform's fixed places;
 * the machine passes what differs.
 */
export interface AcpiPlatform {
  /** Local APIC ids, one per vCPU. */
  readonly apicIds: readonly number[];
  readonly localApic: number;
  readonly ioApic: { readonly id: number; readonly base: number };
  readonly pm: {
    readonly event: number;
    readonly control: number;
    readonly timer: number;
    /** Bits of the timer that count: 24 or 32. */
    readonly timerBits: 24 | 32;
    /** General-purpose event block 0, if the chipset has one: its length counts status and enable. */
    readonly gpe0?: { readonly base: number; readonly length: number };
    /** All ports of the block, for nobody else to take. */
    readonly base: number;
    readonly length: number;
  };
  /** Value of SLP_TYP that means soft off. */
  readonly sleepTypeOff: number;
  /** The one that means suspended to RAM; absent when the machine cannot. */
  readonly sleepTypeRam?: number;
  readonly sci: number;
  /** How ACPI mode is switched on and off; absent when the machine is always in it. */
  readonly smi?: { readonly port: number; readonly enable: number; readonly disable: number };
  readonly reset: { readonly port: number; readonly value: number };
  /** The high precision event timer: GCAP_ID's low half, its address, the least period in ticks. */
  readonly hpet?: { readonly id: number; readonly base: number; readonly leastTicks: number };
  /** Memory window that PCI devices live in, `[first, last]`. */
  readonly pciWindow: { readonly first: number; readonly last: number };
  /** ISA interrupts of PIRQA to PIRQD. */
  readonly pirq: readonly [number, number, number, number];
  /** ISA serial ports: base and interrupt. */
  readonly serial: readonly { readonly base: number; readonly irq: number }[];
  /** Whether there is an i8042 keyboard controller. */
  readonly keyboard: boolean;
  /** Whether there is a VGA. */
  readonly vga: boolean;
}

export const DEFAULT_PLATFORM: AcpiPlatform = {
  apicIds: [0],
  localApic: 0xfee00000,
  ioApic: { id: 0, base: 0xfec00000 },
  pm: {
    event: 0x600,
    control: 0x604,
    timer: 0x608,
    timerBits: 24,
    gpe0: { base: 0x620, length: 4 },
    base: 0x600,
    length: 0x40,
  },
  sleepTypeOff: 0,
  sleepTypeRam: 1,
  sci: 9,
  smi: { port: 0xb2, enable: 0xf1, disable: 0xf0 },
  reset: { port: 0xcf9, value: 0x06 },
  // 20 µs: the distance below which interrupts of a periodic timer are drawn together.
  hpet: { id: 0x8086_a201, base: 0xfed00000, leastTicks: 2000 },
  pciWindow: { first: 0xc0000000, last: 0xfebfffff },
  pirq: [10, 10, 11, 11],
  serial: [{ base: 0x3f8, irq: 4 }],
  keyboard: false,
  vga: false,
};
