import { join } from 'node:path';
import { createMachine, type Machine, type MachineConfig } from '../../src/hypervisor/index.ts';

/** BusyBox asks the terminal where its cursor is. */
const PROMPT = '~ # (?:\\x1b\\[6n)?';

/** Folder of the built-in image; `npm test` makes it. */
export function imageFolder(): string {
  const home = process.env.TEREMOK_HOME;
  if (home === undefined) throw new Error('TEREMOK_HOME is not set: run this through npm test');
  return join(home, 'images', 'debian-busybox');
}

/** Debian in a machine of its own, driven by its shell on the serial console. */
export class GuestShell {
  readonly machine: Machine;
  /** All that the guest printed. */
  readonly output: () => string;
  readonly #until: (text: RegExp, from: number) => Promise<RegExpExecArray>;
  #commands = 0;

  private constructor(
    machine: Machine,
    output: () => string,
    until: (text: RegExp, from: number) => Promise<RegExpExecArray>,
  ) {
    this.machine = machine;
    this.output = output;
    this.#until = until;
  }

  /** Boots the built-in image and waits for the prompt. */
  static async boot(
    options: Pick<MachineConfig, 'disks' | 'tscHz'> & { memoryMiB?: number } = {},
  ): Promise<GuestShell> {
    const folder = imageFolder();
    let output = '';
    let printed = (): void => {};
    const { memoryMiB = 256, ...rest } = options;
    const machine = await createMachine(
      {
        memoryMiB,
        boot: {
          kernel: join(folder, 'vmlinuz'),
          initrd: join(folder, 'initrd'),
          cmdline: 'console=ttyS0 quiet',
        },
        ...rest,
      },
      {
        serial: {
          write: (bytes) => {
            output += Buffer.from(bytes).toString('latin1');
            printed();
          },
        },
      },
    );
    const until = async (text: RegExp, from: number): Promise<RegExpExecArray> => {
      for (;;) {
        const found = text.exec(output.slice(from));
        if (found) return found;
        const { promise, resolve } = Promise.withResolvers<void>();
        printed = resolve;
        const ended = await Promise.race([promise, machine.exited]);
        if (ended)
          throw new Error(
            `the machine ended (${JSON.stringify(ended)}) before ${String(text)}; last: ${output.slice(-500)}`,
          );
      }
    };
    const shell = new GuestShell(machine, () => output, until);
    machine.start();
    await until(new RegExp(`${PROMPT}$`), 0);
    return shell;
  }

  /** Types without waiting for anything. */
  type(text: string): void {
    this.machine.serialInput.offer(Buffer.from(text));
  }

  /** Runs a command; what it printed and its exit status. */
  async try(command: string): Promise<{ readonly output: string; readonly status: number }> {
    this.#commands += 1;
    const from = this.output().length;
    const n = this.#commands;
    // The quotes keep the echo of the line from looking like what it prints.
    this.type(`echo "be""gin-${n}="; ${command}; echo "do""ne-${n}=$?="\n`);
    const found = await this.#until(
      new RegExp(`begin-${n}=\\r?\\n([^]*)done-${n}=(\\d+)=\\r?\\n[^]*${PROMPT}$`),
      from,
    );
    return { output: (found[1] ?? '').replaceAll('\r', ''), status: Number(found[2]) };
  }

  /** Runs a command that has to succeed; what it printed. */
  async run(command: string): Promise<string> {
    const { output, status } = await this.try(command);
    if (status !== 0) throw new Error(`${command}: status ${status}: ${output}`);
    return output;
  }
}
