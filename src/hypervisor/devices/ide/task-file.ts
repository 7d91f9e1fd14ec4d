import { DEVICE, REGISTER } from './registers.ts';

export type TaskFileState = {
  /** Features, sector count and the LBA registers as last written, and the device register. */
  readonly current: Uint8Array;
  /** What the first five held before (48-bit addressing). */
  readonly previous: Uint8Array;
};

const LENGTH = 7;

/**
 * The registers by which a command's parameters reach a drive. Each but the
 * device register is two bytes deep: ATA/ATAPI-6 § 6.20.
 */
export class TaskFile {
  readonly #current = new Uint8Array(LENGTH);
  readonly #previous = new Uint8Array(LENGTH);

  /** `register` is one of REGISTER from `error` (where features are written) to `device`. */
  write(register: number, value: number): void {
    if (register !== REGISTER.device) this.#previous[register] = this.#current[register];
    this.#current[register] = value;
  }

  /** Puts a result into a register; what was written before stays out of sight. */
  set(register: number, value: number): void {
    this.#current[register] = value;
  }

  setPrevious(register: number, value: number): void {
    this.#previous[register] = value;
  }

  read(register: number, previous = false): number {
    return previous && register !== REGISTER.device ? this.#previous[register] : this.#current[register];
  }

  get feature(): number {
    return this.#current[REGISTER.error];
  }

  get count(): number {
    return this.#current[REGISTER.count];
  }

  /** Byte count limit of a packet command, and byte count of its data: the registers of LBA bits 8 to 23. */
  get byteCount(): number {
    return this.#current[REGISTER.lbaMid] | (this.#current[REGISTER.lbaHigh] << 8);
  }

  set byteCount(value: number) {
    this.#current[REGISTER.lbaMid] = value;
    this.#current[REGISTER.lbaHigh] = value >> 8;
  }

  get device(): number {
    return this.#current[REGISTER.device];
  }

  get head(): number {
    return this.device & 0x0f;
  }

  get addressesBlocks(): boolean {
    return (this.device & DEVICE.lba) !== 0;
  }

  /** Sectors asked for: 0 stands for the most there can be. */
  sectors(extended: boolean): number {
    if (!extended) return this.count || 0x100;
    return (this.#previous[REGISTER.count] << 8) | this.count || 0x10000;
  }

  /** The 28-bit or 48-bit address. */
  lba(extended: boolean): number {
    const low = this.#low(this.#current);
    return extended ? low + this.#low(this.#previous) * 2 ** 24 : low + this.head * 2 ** 24;
  }

  setLba(lba: number, extended: boolean): void {
    this.#setLow(this.#current, lba % 2 ** 24);
    const high = Math.floor(lba / 2 ** 24);
    if (extended) this.#setLow(this.#previous, high);
    else this.#current[REGISTER.device] = (this.device & 0xf0) | (high & 0x0f);
  }

  /** What tells a host which kind of drive it is: § 9.12. */
  setSignature(lbaMid: number, lbaHigh: number): void {
    this.#previous.fill(0);
    this.#current.fill(0);
    this.#current[REGISTER.count] = 1;
    this.#current[REGISTER.lbaLow] = 1;
    this.#current[REGISTER.lbaMid] = lbaMid;
    this.#current[REGISTER.lbaHigh] = lbaHigh;
  }

  save(): TaskFileState {
    return { current: this.#current.slice(), previous: this.#previous.slice() };
  }

  restore(state: TaskFileState): void {
    this.#current.set(state.current.subarray(0, LENGTH));
    this.#previous.set(state.previous.subarray(0, LENGTH));
  }

  #low(bytes: Uint8Array): number {
    return bytes[REGISTER.lbaLow] | (bytes[REGISTER.lbaMid] << 8) | (bytes[REGISTER.lbaHigh] << 16);
  }

  #setLow(bytes: Uint8Array, value: number): void {
    bytes[REGISTER.lbaLow] = value;
    bytes[REGISTER.lbaMid] = value >> 8;
    bytes[REGISTER.lbaHigh] = value >> 16;
  }
}
