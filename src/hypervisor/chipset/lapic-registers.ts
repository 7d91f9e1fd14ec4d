/** Register numbers and bits of a local APIC: Intel SDM vol. 3, chapter 11. */

export const BASE_BSP = 0x100n;
export const BASE_X2APIC = 0x400n;
export const BASE_ENABLE = 0x800n;

/** Register numbers: MMIO offset / 16, x2APIC MSR - 800h. Table 11-6. */
export const Reg = {
  id: 0x02,
  version: 0x03,
  tpr: 0x08,
  apr: 0x09,
  ppr: 0x0a,
  eoi: 0x0b,
  rrd: 0x0c,
  ldr: 0x0d,
  dfr: 0x0e,
  svr: 0x0f,
  isr: 0x10,
  tmr: 0x18,
  irr: 0x20,
  esr: 0x28,
  cmci: 0x2f,
  icrLow: 0x30,
  icrHigh: 0x31,
  lvtTimer: 0x32,
  lvtError: 0x37,
  initialCount: 0x38,
  currentCount: 0x39,
  divide: 0x3e,
  selfIpi: 0x3f,
} as const;

/** Indexes of the local vector table here. */
export const Lvt = { timer: 0, thermal: 1, performance: 2, lint0: 3, lint1: 4, error: 5, cmci: 6 } as const;
/** Bits that software may write, by LVT index (11.5.1). */
export const LVT_WRITABLE = [0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff, 0x107ff];
export const LVT_MASKED = 1 << 16;
export const LVT_LEVEL = 1 << 15;
export const LVT_REMOTE_IRR = 1 << 14;

/** Version 14h, 7 LVT entries, EOI-broadcast suppression (11.4.8). */
export const VERSION = 0x01060014;

export const SVR_ENABLE = 0x100;
export const SVR_SUPPRESS_EOI = 0x1000;
export const SVR_WRITABLE = 0x13ff;

/** Error status bits (11.5.3). */
export const EsrBit = { sendIllegalVector: 0x20, receiveIllegalVector: 0x40, illegalRegister: 0x80 } as const;

/** ICR bits that must be zero in x2APIC mode: 31-20, 17-16, 13. Bit 12 is ignored. */
export const X2_ICR_RESERVED = 0xfff32000;
export const X2_SVR_RESERVED = ~SVR_WRITABLE >>> 0;
/** Read-only bits (delivery status, remote IRR) are tolerated in x2APIC LVT writes. */
export const LVT_READ_ONLY = 0x5000;
