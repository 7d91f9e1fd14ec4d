import { parseArgs } from 'node:util';
import type { CliEnvironment } from '../config/cli.ts';

/** Exit statuses of the client. `run` has its own, in commands/run.ts. */
export const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 4, timeout: 124 } as const;

/** Wrong arguments: one line on stderr, and status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A command that could not be done: one line on stderr, with what may help, and `status`. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly hint: string | undefined;
  readonly status: number;
  constructor(message: string, options: { hint?: string | undefined; status?: number } = {}) {
    super(message);
    this.hint = options.hint;
    this.status = options.status ?? EXIT.failed;
  }
}

export interface OptionSpec {
  /** What stands for the value in help, such as MIB; without one the option is a switch. */
  readonly value?: string;
  readonly multiple?: boolean;
  readonly description: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

/** The options given to a command, by name. */
export class Options {
  readonly #values: Readonly<Record<string, unknown>>;
  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  has(name: string): boolean {
    return this.#values[name] === true;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === 'string' ? value : undefined;
  }

  list(name: string): string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value.map(String) : [];
  }

  /** A number in `[min, max]`. Throws a UsageError for anything else. */
  number(name: string, min: number, max: number, { integer = true } = {}): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max) || (integer && !Number.isInteger(value))) {
      const kind = integer ? 'a whole number' : 'a number';
      throw new UsageError(`--${name} takes ${kind} from ${min} to ${max}, not ‘${text}’`);
    }
    return value;
  }

  oneOf<T extends string>(name: string, allowed: readonly T[]): T | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const found = allowed.find((candidate) => candidate === text);
    if (found === undefined) {
      throw new UsageError(`--${name} takes ${allowed.join(', ')}, not ‘${text}’`);
    }
    return found;
  }
}

export interface Invocation {
  readonly positionals: readonly string[];
  readonly options: Options;
  readonly environment: CliEnvironment;
  /** The directory of the project's own files. */
  readonly checkout: string;
}

export interface Command {
  /** The words that call it, such as `vm create`. */
  readonly name: string;
  readonly summary: string;
  /** What may follow the name besides options. */
  readonly arguments: string;
  /** How many positional arguments it takes, at least and at most. */
  readonly arity: readonly [number, number];
  readonly options: OptionSpecs;
  /** More for its help, in paragraphs. */
  readonly notes?: string;
  /** Resolves with the exit status. */
  run(invocation: Invocation): Promise<number>;
}

interface ParseOption {
  type: 'string' | 'boolean';
  short?: string;
  multiple?: boolean;
}

function parseConfig(specs: OptionSpecs): Record<string, ParseOption> {
  return Object.fromEntries(
    Object.entries(specs).map(([name, spec]) => [
      name,
      {
        type: spec.value === undefined ? ('boolean' as const) : ('string' as const),
        ...(name === 'help' ? { short: 'h' } : {}),
        ...(spec.multiple === true ? { multiple: true } : {}),
      },
    ]),
  );
}

/** The message of parseArgs without its advice about dashes, which only distracts. */
function plainParseMessage(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const [first = message] = message.split(/\.\s|\n/);
  return first
    .replace(/^Unknown option '(.*)'$/, 'there is no option $1')
    .replace(/^Option '(?:-\w, )?(--[\w-]+) <value>' argument missing$/, '$1 needs a value')
    .replace(/^Option '(?:-\w, )?(--[\w-]+)(?: <value>)?' argument is ambiguous$/, '$1 needs a value')
    .replace(/^Option '(?:-\w, )?(--[\w-]+)' does not take an argument$/, '$1 takes no value')
    .replace(/\.$/, '');
}

/** Reads a command's arguments. Throws a UsageError that says what is wrong with them. */
export function parseCommandLine(
  command: Command,
  args: readonly string[],
  common: OptionSpecs,
): { positionals: string[]; options: Options } {
  let parsed: { values: Readonly<Record<string, unknown>>; positionals: string[] };
  try {
    parsed = parseArgs({
      args: [...args],
      options: parseConfig({ ...common, ...command.options }),
      allowPositionals: true,
      strict: true,
    });
  } catch (error) {
    throw new UsageError(plainParseMessage(error));
  }
  const [least, most] = command.arity;
  if (!('help' in parsed.values)) {
    if (parsed.positionals.length < least) throw new UsageError(`${command.name} needs ${command.arguments}`);
    if (parsed.positionals.length > most) {
      throw new UsageError(`‘${parsed.positionals[most]}’ is one argument too many for ${command.name}`);
    }
  }
  return { positionals: parsed.positionals, options: new Options(parsed.values) };
}

function optionLines(specs: OptionSpecs): string[] {
  const rows = Object.entries(specs).map(([name, spec]) => [
    `  --${name}${spec.value === undefined ? '' : ` ${spec.value}`}`,
    spec.description,
  ]);
  const width = Math.max(0, ...rows.map(([left = '']) => left.length));
  return rows.map(([left = '', right = '']) => `${left.padEnd(width)}  ${right}`);
}

/** A command's help, as `teremok COMMAND --help` prints it. */
export function commandHelp(command: Command, common: OptionSpecs): string {
  const lines = [`Usage: teremok ${command.name} ${command.arguments}`.trimEnd(), '', command.summary];
  if (Object.keys(command.options).length > 0) lines.push('', 'Options:', ...optionLines(command.options));
  if (Object.keys(common).length > 0) lines.push('', 'Common options:', ...optionLines(common));
  if (command.notes !== undefined) lines.push('', command.notes);
  return `${lines.join('\n')}\n`;
}
