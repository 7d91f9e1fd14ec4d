import { join } from 'node:path';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { FIRMWARE, provideDebianFiles } from '../../src/cli/setup/guest/debian-files.ts';
import { createMachine, type Machine, type MachineConfig } from '../../src/hypervisor/index.ts';

/** Keys by what is on them: see KeyCode. */
export const KEY = { enter: 0x1c, c: 0x2e, escape: 0x01, h: 0x23, i: 0x17, down: 0xd0 } as const;

/** A machine that starts from firmware, looked at and typed to as by somebody in front of it. */
export class ScreenMachine {
  readonly machine: Machine;
  /** What firmware told of its work. */
  readonly firmware: string[];

  private constructor(machine: Machine, firmware: string[]) {
    this.machine = machine;
    this.firmware = firmware;
  }

  static async start(
    config: Omit<MachineConfig, 'firmware' | 'memoryMiB'> &
      Partial<Pick<MachineConfig, 'memoryMiB'>> &
      Pick<NonNullable<MachineConfig['firmware']>, 'order'>,
    serial?: (bytes: Uint8Array) => void,
  ): Promise<ScreenMachine> {
    const folder = await provideDebianFiles(FIRMWARE, cacheDirectory());
    const { order, ...rest } = config;
    const firmware: string[] = [];
    const machine = await createMachine(
      {
        memoryMiB: 128,
        ...rest,
        firmware: {
          bios: join(folder, 'bios-256k.bin'),
          vgaBios: join(folder, 'vgabios-stdvga.bin'),
          ...(order && { order }),
        },
      },
      {
        firmwareLog: (line) => firmware.push(line),
        ...(serial && { serial: { write: serial } }),
      },
    );
    machine.start();
    return new ScreenMachine(machine, firmware);
  }

  get text(): string {
    return (this.machine.screen?.text() ?? ['(a picture)']).join('\n');
  }

  /** Waits for text on the screen; throws, with all of it, when it does not come or the machine ends. */
  async shows(pattern: RegExp, seconds = 120): Promise<string> {
    const end = Date.now() + seconds * 1000;
    let exit: unknown;
    void this.machine.exited.then((how) => {
      exit = how;
    });
    for (;;) {
      const { text } = this;
      if (pattern.test(text)) return text;
      if (exit !== undefined) throw new Error(`it ended (${JSON.stringify(exit)}) with:\n${text}`);
      if (Date.now() > end)
        throw new Error(`${pattern} did not come in ${seconds} s:\n${text}\n${this.firmware.join('\n')}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  press(...keys: readonly number[]): void {
    for (const key of keys) {
      this.machine.keyboard.key(key, true);
      this.machine.keyboard.key(key, false);
    }
  }
}
