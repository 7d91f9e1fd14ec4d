import type { AccessSize, BusDevice } from '../../machine/bus.ts';
import type { IrqLine } from '../../machine/irq.ts';
import { type DmaWindow, type DriveState, deviceAsRead, type IdeDrive } from './drive.ts';
import { COMMAND, CONTROL, DEVICE, REGISTER } from './registers.ts';

export type ChannelState = {
  readonly control: number;
  readonly device: number;
  /** Null where there is no drive. */
  readonly drives: readonly (DriveState | null)[];
};

export interface ChannelOptions {
  /** Device 0 and device 1. */
  readonly drives: readonly [IdeDrive | undefined, IdeDrive | undefined];
  readonly irq: IrqLine;
  /** A drive wants DMA. */
  readonly onDma: () => void;
  /** INTRQ rose at the host's end. */
  readonly onInterrupt: () => void;
  /** The guest looks at the status of a drive that waits for the host. */
  readonly onPoll: () => void;
}

/**
 * A channel and the two drives on it: ATA/ATAPI-6 chapters 7 and 9. Registers
 * are written to both drives and read from the selected one.
 *
 * Deviation: a drive that is not there reads as zero in all registers, beside
 * another drive as without one.
 */
export class IdeChannel {
  /** The eight ports of the command block. */
  readonly command: BusDevice;
  /** The port of device control and alternate status. */
  readonly control: BusDevice;
  readonly #options: ChannelOptions;
  readonly #drives: readonly IdeDrive[];
  #control = 0;
  #device = 0;
  #line = false;

  constructor(options: ChannelOptions) {
    this.#options = options;
    this.#drives = options.drives.filter((drive) => drive !== undefined);
    for (const drive of this.#drives) {
      drive.connect({
        interruptChanged: () => this.#driveInterrupt(),
        dmaReady: () => {
          if (drive === this.#selected) options.onDma();
        },
      });
    }
    this.command = {
      read: (offset, size) => this.#read(offset, size),
      write: (offset, size, value) => this.#write(offset, size, value),
    };
    this.control = {
      read: () => this.#status(),
      write: (_offset, _size, value) => this.#writeControl(value & 0xff),
    };
  }

  get #selected(): IdeDrive | undefined {
    return this.#options.drives[this.#device & DEVICE.second ? 1 : 0];
  }

  /** What the selected drive wants moved by DMA. */
  get dma(): DmaWindow | undefined {
    return this.#selected?.dma;
  }

  moved(bytes: number): void {
    this.#selected?.dmaMoved(bytes);
  }

  /** The power, or RST#. */
  reset(): void {
    this.#control = 0;
    this.#device = 0;
    for (const drive of this.#drives) drive.endReset(true);
    this.#driveInterrupt();
  }

  async quiesce(): Promise<void> {
    await Promise.all(this.#drives.map((drive) => drive.quiesce()));
  }

  save(): ChannelState {
    return {
      control: this.#control,
      device: this.#device,
      drives: this.#options.drives.map((drive) => drive?.save() ?? null),
    };
  }

  /** A drive that has no state, since it was not there, is as after power-on. */
  restore(state: ChannelState): void {
    this.#control = state.control & 0xff;
    this.#device = state.device & 0xff;
    for (const [i, drive] of this.#options.drives.entries()) {
      const saved = state.drives[i];
      if (saved) drive?.restore(saved);
      else drive?.endReset(true);
    }
    this.#line = false;
    const asserted = this.#asserted;
    this.#options.irq.set(asserted);
    this.#line = asserted;
  }

  /** The data port comes first: it is where the words of a transfer pass. */
  #read(offset: number, size: AccessSize): number {
    if (offset === REGISTER.data) return this.#selected?.readData(size) ?? 0;
    let value = 0;
    for (let i = 0; i < size; i++) value += this.#readRegister(offset + i) * 2 ** (8 * i);
    return value;
  }

  #write(offset: number, size: AccessSize, value: number): void {
    if (offset === REGISTER.data) return this.#selected?.writeData(size, value);
    for (let i = 0; i < size; i++) this.#writeRegister(offset + i, (value >>> (8 * i)) & 0xff);
  }

  #readRegister(register: number): number {
    const drive = this.#selected;
    if (!drive) return 0;
    switch (register) {
      case REGISTER.error:
        return drive.error;
      case REGISTER.device:
        return deviceAsRead(drive);
      case REGISTER.status: {
        const status = this.#status();
        drive.setInterrupt(false);
        return status;
      }
      default:
        return drive.registers.read(register, (this.#control & CONTROL.highOrder) !== 0);
    }
  }

  #status(): number {
    const drive = this.#selected;
    if (drive?.waitsForHost) this.#options.onPoll();
    return drive?.status ?? 0;
  }

  #writeRegister(register: number, value: number): void {
    this.#control &= ~CONTROL.highOrder;
    if (register === REGISTER.status) return this.#runCommand(value);
    // A drive at work takes no parameters.
    if (this.#selected?.busy) return;
    for (const drive of this.#drives) drive.registers.write(register, value);
    if (register !== REGISTER.device) return;
    this.#device = value;
    this.#driveInterrupt();
  }

  #runCommand(command: number): void {
    if (command === COMMAND.diagnostic) return this.#diagnose();
    this.#selected?.command(command);
  }

  /** EXECUTE DEVICE DIAGNOSTIC goes to both drives; device 0 tells of the end: § 8.9 and 9.10. */
  #diagnose(): void {
    if (this.#drives.some((drive) => drive.busy)) return;
    this.#device = 0;
    for (const drive of this.#drives) drive.endReset();
    this.#options.drives[0]?.setInterrupt(true);
  }

  #writeControl(value: number): void {
    const rose = (value & ~this.#control & CONTROL.reset) !== 0;
    const fell = (~value & this.#control & CONTROL.reset) !== 0;
    this.#control = value;
    if (rose) for (const drive of this.#drives) drive.beginReset();
    if (fell) {
      this.#device = 0;
      for (const drive of this.#drives) drive.endReset();
    }
    this.#driveInterrupt();
  }

  get #asserted(): boolean {
    return (this.#selected?.interrupt ?? false) && !(this.#control & CONTROL.noInterrupts);
  }

  #driveInterrupt(): void {
    const asserted = this.#asserted;
    if (asserted === this.#line) return;
    this.#line = asserted;
    if (asserted) this.#options.onInterrupt();
    this.#options.irq.set(asserted);
  }
}
