import type { GuestMemory } from '../machine/memory.ts';
import { load } from './memory-map.ts';

/** A write of firmware to a device, before the kernel's first instruction. */
export interface FirmwareWrite {
  readonly space: 'port' | 'memory';
  readonly address: number;
  /** In bytes. */
  readonly size: 1 | 4;
  readonly value: number;
}

/** The table of real mode's interrupts as processors have it after reset: 256 vectors of 4 bytes from address 0. */
export const REAL_MODE_IDT = { base: 0, limit: 0x3ff } as const;

/** Offsets within segment F000h; the first two are where PCs have always had them. */
const TIMER = 0xfea5;
const IGNORE = 0xff53;
const FIRST_PIC = 0xfec0;
const SECOND_PIC = 0xfed0;
const ROM_SEGMENT = 0xf000;

// push ds; push ax; xor ax, ax; mov ds, ax; inc dword [046Ch]; mov al, 20h; out 20h, al; pop ax; pop ds; iret
const TIMER_CODE = [
  0x1e, 0x50, 0x31, 0xc0, 0x8e, 0xd8, 0x66, 0xff, 0x06, 0x6c, 0x04, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0x1f, 0xcf,
];
// push ax; mov al, 20h; out 20h, al; pop ax; iret
const FIRST_PIC_CODE = [0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf];
// The same, with out A0h, al before it.
const SECOND_PIC_CODE = [0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf];
const IRET = [0xcf];

/** First vectors of the two interrupt controllers, as a PC's BIOS sets them. */
const FIRST_VECTOR = 0x08;
const SECOND_VECTOR = 0x70;

/**
 * Writes what a PC's BIOS leaves in memory for programs that go on in real mode
 * without handlers of their own: the interrupt vectors, and handlers that take
 * note of the timer, acknowledge the controllers' interrupts and ignore all else.
 */
export function writeRealModeInterrupts(memory: GuestMemory): void {
  const table = new DataView(new ArrayBuffer(0x400));
  for (let vector = 0; vector < 256; vector++) {
    const offset =
      vector === FIRST_VECTOR
        ? TIMER
        : vector > FIRST_VECTOR && vector < FIRST_VECTOR + 8
          ? FIRST_PIC
          : vector >= SECOND_VECTOR && vector < SECOND_VECTOR + 8
            ? SECOND_PIC
            : IGNORE;
    table.setUint16(vector * 4, offset, true);
    table.setUint16(vector * 4 + 2, ROM_SEGMENT, true);
  }
  load(memory, REAL_MODE_IDT.base, new Uint8Array(table.buffer));
  const code: readonly (readonly [number, readonly number[]])[] = [
    [TIMER, TIMER_CODE],
    [FIRST_PIC, FIRST_PIC_CODE],
    [SECOND_PIC, SECOND_PIC_CODE],
    [IGNORE, IRET],
  ];
  for (const [offset, bytes] of code) load(memory, ROM_SEGMENT * 16 + offset, Uint8Array.from(bytes));
}

const port = (address: number, value: number): FirmwareWrite => ({ space: 'port', address, size: 1, value });
const memory = (address: number, value: number): FirmwareWrite => ({
  space: 'memory',
  address,
  size: 4,
  value,
});

/**
 * What a PC's BIOS leaves in the chipset (figures: what SeaBIOS leaves on QEMU's
 * `pc`): the interrupt controllers at vectors 08h and 70h with the timer,
 * keyboard, RTC and mouse let through, 18.2 ticks a second from the timer, and
 * the local APIC as a virtual wire (Intel SDM vol. 3, 10.1): on, LINT0 ExtINT,
 * LINT1 NMI.
 */
export const BIOS_CHIPSET: readonly FirmwareWrite[] = [
  port(0x20, 0x11),
  port(0x21, FIRST_VECTOR),
  port(0x21, 0x04),
  port(0x21, 0x01),
  port(0x21, 0xb8),
  port(0xa0, 0x11),
  port(0xa1, SECOND_VECTOR),
  port(0xa1, 0x02),
  port(0xa1, 0x01),
  port(0xa1, 0x8e),
  port(0x43, 0x34),
  port(0x40, 0),
  port(0x40, 0),
  memory(0xfee0_00f0, 0x1ff),
  memory(0xfee0_0350, 0x8700),
  memory(0xfee0_0360, 0x8400),
];
