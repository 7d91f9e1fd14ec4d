import type { AccessSize, BusDevice } from '../machine/bus.ts';

/** The port that SeaBIOS writes its messages to. */
export const DEBUG_CONSOLE_BASE = 0x402;
export const DEBUG_CONSOLE_LENGTH = 1;

/** What a read answers, by which firmware finds the port (QEMU, hw/char/debugcon.c). */
const PRESENT = 0xe9;
/** Longer lines are cut in pieces. */
const LINE_LIMIT = 200;

/** QEMU's isa-debugcon: bytes written are text, handed on line by line. */
export class DebugConsole implements BusDevice {
  readonly #line: (text: string) => void;
  #pending = '';

  constructor(line: (text: string) => void) {
    this.#line = line;
  }

  read(_offset: number, _size: AccessSize): number {
    return PRESENT;
  }

  write(_offset: number, size: AccessSize, value: number): void {
    if (size !== 1) return;
    if (value === 0x0a) this.#end();
    else if (value >= 0x20 && value < 0x7f) this.#pending += String.fromCharCode(value);
    if (this.#pending.length >= LINE_LIMIT) this.#end();
  }

  #end(): void {
    if (this.#pending === '') return;
    this.#line(this.#pending);
    this.#pending = '';
  }
}
