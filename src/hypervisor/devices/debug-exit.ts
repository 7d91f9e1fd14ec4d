import type { AccessSize, BusDevice } from '../machine/bus.ts';

/** Where QEMU-style test kernels look for it when told `iobase=0xf4`. */
export const DEBUG_EXIT_BASE = 0xf4;
export const DEBUG_EXIT_LENGTH = 4;

/**
 * QEMU's isa-debug-exit: a write ends the machine. By convention the process
 * then exits with `(value << 1) | 1`. Reads as zero.
 */
export class DebugExit implements BusDevice {
  readonly #exit: (value: number) => void;

  constructor(exit: (value: number) => void) {
    this.#exit = exit;
  }

  read(_offset: number, _size: AccessSize): number {
    return 0;
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    this.#exit(value);
  }
}

/** The exit status of a process for a value written: `(value << 1) | 1`, of which a host keeps 8 bits. */
export function debugExitStatus(value: number): number {
  return ((value << 1) | 1) & 0xff;
}
