import type { Interpreter } from '../cpu/interpret/engine.ts';
import type { AcpiPlatform } from '../firmware/acpi/platform.ts';
import type { GuestLog } from './log.ts';
import type { Pc } from './pc.ts';
import type { Ram } from './ram.ts';

/** How a machine comes to its first instruction: a kernel's, or firmware's. */
export interface Start {
  /** Puts memory, chipset and processor where that one expects them. */
  begin(): void;
  /** The same at the end of a sleep in S3, whose RAM is kept; false when the guest left nowhere to go on. */
  wake(): boolean;
}

export interface StartParts {
  readonly ram: Ram;
  readonly pc: Pc;
  readonly engine: Interpreter;
  readonly log: GuestLog;
  /** What ACPI tells of the machine that is not the default. */
  readonly platform: Partial<AcpiPlatform>;
}
