import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '../../../src/cli/setup/bootstrap.js';
import { end } from '../../bench/support/shell.ts';
import { ShellCommands } from '../../support/shell-commands.ts';

/** What runs the guest. */
export type Runner = 'teremok' | 'qemu';

export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string;
  readonly cmdline: string;
  readonly memoryMiB: number;
}

export interface RunFigures {
  readonly seconds: number;
  /** Of the interpreter only. */
  readonly instructions?: number;
  readonly mips?: number;
}

const QEMU = 'qemu-system-x86_64';
/** A guest that says nothing of interest for longer has failed. Seconds. */
const LIMIT_SECONDS = 3 * 3600;

function commandLine(runner: Runner, files: BootFiles, cpu: string, stats: string): [string, string[]] {
  const { kernel, initrd, cmdline } = files;
  const memory = String(files.memoryMiB);
  const guest = ['--kernel', kernel, '--initrd', initrd, '--append', cmdline];
  if (runner === 'teremok') {
    const program = join(projectRoot, 'src/cli/teremok.ts');
    const rest = ['--memory', memory, '--cpu', cpu, '--stats', stats, '--timeout', String(LIMIT_SECONDS)];
    return [process.execPath, [program, 'run', ...guest, ...rest]];
  }
  const machine = ['-accel', 'tcg', '-cpu', 'max', '-m', memory, '-no-reboot'];
  const streams = ['-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-nic', 'none'];
  return [QEMU, [...machine, ...guest.map((word) => word.replace(/^--/, '-')), ...streams]];
}

/** A guest at its shell, in a process of its own: `teremok run` or QEMU's translator. */
export class BootedGuest {
  readonly shell: ShellCommands;
  /** From the start of the process to the prompt. */
  readonly secondsToShell: number;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<string>;
  readonly #directory: string;
  readonly #started: number;

  private constructor(
    child: ChildProcessWithoutNullStreams,
    shell: ShellCommands,
    ended: Promise<string>,
    directory: string,
    started: number,
  ) {
    this.#child = child;
    this.shell = shell;
    this.#ended = ended;
    this.#directory = directory;
    this.#started = started;
    this.secondsToShell = (performance.now() - started) / 1000;
  }

  /**
   * Starts the process and waits for the shell's prompt. `cpu` is a processor profile of ours; QEMU shows what it has.
   *
   * @throws Error when the guest ends before
   */
  static async boot(runner: Runner, files: BootFiles, cpu = 'portable'): Promise<BootedGuest> {
    const directory = await mkdtemp(join(tmpdir(), 'teremok-guest-'));
    const started = performance.now();
    const [command, args] = commandLine(runner, files, cpu, join(directory, 'stats.json'));
    const child = spawn(command, args, { timeout: (LIMIT_SECONDS + 60) * 1000 });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    child.stdin.on('error', () => {});
    const ended = Promise.race([
      once(child, 'close').then(([code, signal]) => `status ${code ?? signal}${errors && `: ${errors}`}`),
      once(child, 'error').then(([error]) => `${command} did not start: ${(error as Error).message}`),
    ]);
    const shell = new ShellCommands((text) => child.stdin.write(text), ended);
    child.stdout.setEncoding('latin1').on('data', (text: string) => shell.hear(text));
    try {
      await shell.prompt();
      return new BootedGuest(child, shell, ended, directory, started);
    } catch (error) {
      await end(child);
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** Types the command that turns the machine off; how its process ended, `status 0` when well. */
  async powerOff(): Promise<string> {
    this.shell.type('poweroff -f\n');
    return this.#ended;
  }

  /** Ends the process if it has not ended, and tells what it took. */
  async close(): Promise<RunFigures> {
    await end(this.#child);
    const seconds = (performance.now() - this.#started) / 1000;
    const stats = await readFile(join(this.#directory, 'stats.json'), 'utf8').then(
      (text) => JSON.parse(text) as { instructions: number; mips: number },
      () => undefined,
    );
    await rm(this.#directory, { recursive: true, force: true });
    return { seconds, ...(stats && { instructions: stats.instructions, mips: stats.mips }) };
  }
}
