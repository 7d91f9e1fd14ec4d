import { type ChildProcess, spawn } from 'node:child_process';
import { cpuSecondsOf, end } from '../support/shell.ts';

/** What a machine is to run. */
interface Named {
  readonly name: string;
}

/** How to start a machine that runs the programs and prints their lines on its standard output. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
}

/** How a program went: on the host's clock, from the line `begin NAME` to the line `end NAME CHECKSUM`. */
export interface Result {
  readonly name: string;
  readonly seconds?: number;
  /** Processor time of the machine's process meanwhile, all its threads. */
  readonly cpuSeconds?: number;
  readonly checksum?: string;
  /** By the guest's clock, where the guest has one. */
  readonly guestSeconds?: number;
  /** Why there are no figures. */
  readonly error?: string;
}

export interface Limits {
  /** From the start to the first program. Milliseconds. */
  readonly bootMs: number;
  /** For one program. Milliseconds. */
  readonly programMs: number;
}

/** Output that is kept for the message of an error. Characters. */
const KEPT = 2000;

/**
 * Runs programs in a machine. When one does not end in time or the machine dies, that program has failed and a new
 * machine runs the rest.
 * @param launch gives the machine for a list of programs
 */
export async function runPrograms<Program extends Named>(
  programs: readonly Program[],
  launch: (programs: readonly Program[]) => Launch,
  limits: Limits,
): Promise<Result[]> {
  const results: Result[] = [];
  while (results.length < programs.length) {
    const rest = programs.slice(results.length);
    const session = new Session(rest, limits);
    results.push(...(await session.run(launch(rest))));
    if (!session.booted) {
      const error = results.at(-1)?.error ?? 'no reason given';
      results.push(...programs.slice(results.length).map(({ name }) => ({ name, error })));
    }
  }
  return results;
}

/** One machine from its start to its end. */
class Session {
  readonly #programs: readonly Named[];
  readonly #limits: Limits;
  readonly #results: Result[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #timer: NodeJS.Timeout | undefined;
  #begun: { readonly at: number; readonly cpu: number } | undefined;
  #child: ChildProcess | undefined;
  #line = '';
  #kept = '';
  #over = false;
  booted = false;

  constructor(programs: readonly Named[], limits: Limits) {
    this.#programs = programs;
    this.#limits = limits;
  }

  /** Gives a result for each program up to the last one that was begun, or one for the first if it did not come so far. */
  async run({ command, args }: Launch): Promise<Result[]> {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    try {
      this.#listen(child);
      this.#limit(this.#limits.bootMs, 'it did not come to its programs');
      await this.#ended.promise;
    } finally {
      clearTimeout(this.#timer);
      await end(child);
      process.off('exit', kill);
    }
    return this.#results;
  }

  #listen(child: ChildProcess): void {
    child.stdout?.setEncoding('latin1').on('data', (text: string) => this.#hear(text, performance.now()));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#keep(text));
    child.once('error', (error) => this.#fail(error.message));
    // Not `exit`: what it printed last may still be on its way.
    child.once('close', (code, signal) => this.#fail(`it ended with ${signal ?? `status ${code}`}`));
  }

  #cpuSeconds(): number {
    const { pid, exitCode, signalCode } = this.#child ?? {};
    // Once it has ended there is nothing to read; what it printed may still be on its way.
    return pid === undefined || exitCode !== null || signalCode !== null ? 0 : cpuSecondsOf(pid);
  }

  #keep(text: string): void {
    this.#kept = (this.#kept + text).slice(-KEPT);
  }

  #hear(text: string, now: number): void {
    this.#keep(text);
    const lines = (this.#line + text).split('\n');
    this.#line = (lines.pop() as string).slice(-KEPT);
    for (const line of lines) this.#read(line.trim(), now);
  }

  #read(line: string, now: number): void {
    const [word, name, checksum, guestSeconds] = line.split(' ');
    if (line === 'bench done') return this.#fail('it did not run to its end');
    const ended = this.#results.length;
    // One may run more than once.
    const place = this.#programs.findIndex((program, n) => n >= ended && program.name === name);
    if (name === undefined || place < 0) return;
    if (word === 'begin') {
      // The guest's own first process goes on behind a program that crashed.
      for (const { name: missed } of this.#programs.slice(ended, place))
        this.#results.push({ name: missed, error: `it did not run to its end; last:\n${this.#last()}` });
      this.booted = true;
      this.#begun = { at: now, cpu: this.#cpuSeconds() };
      this.#limit(this.#limits.programMs, 'it took too long');
    } else if (word === 'end' && this.#begun !== undefined && checksum !== undefined) {
      const seconds = (now - this.#begun.at) / 1000;
      const cpuSeconds = this.#cpuSeconds() - this.#begun.cpu;
      const guest = guestSeconds === undefined ? {} : { guestSeconds: Number(guestSeconds) };
      this.#results.push({ name, seconds, cpuSeconds, checksum, ...guest });
      this.#begun = undefined;
      this.#limit(this.#limits.bootMs, 'it did not begin');
      this.#over = this.#results.length === this.#programs.length;
      if (this.#over) this.#ended.resolve();
    }
  }

  #limit(milliseconds: number, why: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fail(`${why}: ${milliseconds / 1000} s`), milliseconds);
  }

  /** The last lines of what the machine printed. */
  #last(): string {
    return this.#kept.trim().split('\n').slice(-5).join('\n');
  }

  /** What runs now, or would run next, has failed. */
  #fail(why: string): void {
    if (this.#over) return;
    this.#over = true;
    const program = this.#programs[this.#results.length];
    if (program !== undefined) {
      this.#results.push({ name: program.name, error: `${why}; last:\n${this.#last()}` });
    }
    this.#ended.resolve();
  }
}
