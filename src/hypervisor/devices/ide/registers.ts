/** Bits of the ATA registers: ATA/ATAPI-6 (T13/1410D) chapter 7. */

/** Status register, § 7.15. */
export const STATUS = { err: 0x01, drq: 0x08, seek: 0x10, fault: 0x20, ready: 0x40, busy: 0x80 } as const;
/** Error register of ATA commands, § 7.9 and § 8. */
export const ERROR = { abort: 0x04, notFound: 0x10, uncorrectable: 0x40 } as const;
/** Device register, § 7.7. */
export const DEVICE = { second: 0x10, lba: 0x40, obsolete: 0xa0 } as const;
/** Device control register, § 7.8. */
export const CONTROL = { noInterrupts: 0x02, reset: 0x04, highOrder: 0x80 } as const;
/** Interrupt reason of a packet command: the sector count register, § 8.23.6. */
export const REASON = { command: 0x01, toHost: 0x02 } as const;

/** Offsets from the start of the command block. */
export const REGISTER = {
  data: 0,
  error: 1,
  count: 2,
  lbaLow: 3,
  lbaMid: 4,
  lbaHigh: 5,
  device: 6,
  status: 7,
} as const;

/** Commands that not the drive's kind decides about. */
export const COMMAND = { deviceReset: 0x08, diagnostic: 0x90 } as const;
