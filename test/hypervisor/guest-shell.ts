import { join } from 'node:path';
import { createMachine, type Machine, type MachineConfig } from '../../src/hypervisor/index.ts';
import { type CommandResult, ShellCommands } from '../support/shell-commands.ts';

/** Folder of the built-in image; `npm test` makes it. */
export function imageFolder(): string {
  const home = process.env.TEREMOK_HOME;
  if (home === undefined) throw new Error('TEREMOK_HOME is not set: run this through npm test');
  return join(home, 'images', 'debian-busybox');
}

export interface GuestShellOptions extends Pick<MachineConfig, 'disks' | 'cdrom' | 'tscHz'> {
  readonly memoryMiB?: number;
  /** Folder of the image; by default the built-in one. */
  readonly folder?: string;
  readonly cmdline?: string;
}

/** Debian in a machine of its own, driven by its shell on the serial console. */
export class GuestShell {
  readonly machine: Machine;
  readonly #commands: ShellCommands;

  private constructor(machine: Machine, commands: ShellCommands) {
    this.machine = machine;
    this.#commands = commands;
  }

  /** Boots an image and waits for the prompt. */
  static async boot(options: GuestShellOptions = {}): Promise<GuestShell> {
    const { memoryMiB = 256, folder = imageFolder(), cmdline = 'console=ttyS0 quiet', ...rest } = options;
    let hear = (_: string): void => {};
    const machine = await createMachine(
      {
        memoryMiB,
        boot: { kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd'), cmdline },
        ...rest,
      },
      { serial: { write: (bytes) => hear(Buffer.from(bytes).toString('latin1')) } },
    );
    const commands = new ShellCommands(
      (text) => machine.serialInput.offer(Buffer.from(text)),
      machine.exited.then((exit) => JSON.stringify(exit)),
    );
    hear = (text) => commands.hear(text);
    machine.start();
    await commands.prompt();
    return new GuestShell(machine, commands);
  }

  /** All that the guest printed. */
  output(): string {
    return this.#commands.output;
  }

  /** Types without waiting for anything. */
  type(text: string): void {
    this.#commands.type(text);
  }

  /** Runs a command; what it printed and its exit status. */
  try(command: string): Promise<CommandResult> {
    return this.#commands.try(command);
  }

  /** Runs a command that has to succeed; what it printed. */
  run(command: string): Promise<string> {
    return this.#commands.run(command);
  }
}
