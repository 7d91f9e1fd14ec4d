import { join } from 'node:path';
import { cliEnvironment } from '../config/cli.ts';
import type { Command, OptionSpecs } from './command.ts';
import { CommandError, commandHelp, EXIT, parseCommandLine, UsageError } from './command.ts';
import { otherCommands } from './commands/others.ts';
import { runCommand } from './commands/run.ts';
import { vmCommands } from './commands/vm.ts';
import { print } from './output.ts';

/** The `teremok` command: `run`, which needs no service, and the client of the REST API. */

const CHECKOUT = join(import.meta.dirname, '..', '..');
const COMMANDS: readonly Command[] = [runCommand, ...vmCommands, ...otherCommands];

const HELP_OPTION: OptionSpecs = { help: { description: 'show this' } };
const CLIENT_OPTIONS: OptionSpecs = {
  json: { description: 'print the service’s answer as JSON' },
  url: { value: 'URL', description: 'the service (TEREMOK_URL, http://127.0.0.1:8080)' },
  key: { value: 'KEY', description: 'the API key (TEREMOK_KEY, else from TEREMOK_HOME)' },
  ...HELP_OPTION,
};

function commonOptions(command: Command): OptionSpecs {
  return command === runCommand ? HELP_OPTION : CLIENT_OPTIONS;
}

/** Help on everything, or on the commands that begin with `group`. */
function generalHelp(group?: string): string {
  const shown = COMMANDS.filter(({ name }) => group === undefined || name.startsWith(`${group} `));
  const width = Math.max(...shown.map(({ name }) => name.length));
  const lines = shown.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return [
    `Usage: teremok ${group ?? 'COMMAND'} …`,
    '',
    ...lines,
    '',
    'teremok COMMAND --help tells more. Exit status: 0 done, 1 refused or failed, 2 wrong arguments,',
    '4 no answer from the service, 124 not in time.',
    '',
  ].join('\n');
}

/** The command that the words call, and its arguments; the longest name wins. */
function findCommand(args: readonly string[]): { command: Command; rest: readonly string[] } | undefined {
  const [first = '', second = ''] = args;
  const pair = COMMANDS.find(({ name }) => name === `${first} ${second}`);
  if (pair !== undefined) return { command: pair, rest: args.slice(2) };
  const single = COMMANDS.find(({ name }) => name === first);
  return single === undefined ? undefined : { command: single, rest: args.slice(1) };
}

function unknownCommand(args: readonly string[]): UsageError {
  const [first = '', second] = args;
  const group = COMMANDS.filter(({ name }) => name.startsWith(`${first} `)).map(({ name }) =>
    name.slice(first.length + 1),
  );
  if (group.length === 0) return new UsageError(`there is no command ‘${first}’`);
  const given = second === undefined ? 'needs a word more' : `has no ‘${second}’`;
  return new UsageError(`${first} ${given}: ${group.join(', ')}`);
}

/** Runs a command line. Resolves with the exit status; what goes wrong is one line on stderr. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const [first, second] = args;
    if (first === undefined) {
      process.stderr.write(generalHelp());
      return EXIT.usage;
    }
    const isHelp = (word: string | undefined): boolean =>
      word === '--help' || word === '-h' || word === 'help';
    if (isHelp(first)) {
      await print(generalHelp());
      return EXIT.ok;
    }
    const found = findCommand(args);
    if (found === undefined) {
      if (isHelp(second) && COMMANDS.some(({ name }) => name.startsWith(`${first} `))) {
        await print(generalHelp(first));
        return EXIT.ok;
      }
      throw unknownCommand(args);
    }
    const { command, rest } = found;
    const common = commonOptions(command);
    const { positionals, options } = parseCommandLine(command, rest, common);
    if (options.has('help')) {
      await print(commandHelp(command, common));
      return EXIT.ok;
    }
    return await command.run({
      positionals,
      options,
      environment: cliEnvironment(CHECKOUT),
      checkout: CHECKOUT,
    });
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, ' ');
  if (error instanceof UsageError) {
    process.stderr.write(`teremok: ${oneLine(error.message)}\n`);
    return EXIT.usage;
  }
  if (error instanceof CommandError) {
    const hint = error.hint === undefined ? '' : ` — ${error.hint}`;
    process.stderr.write(`teremok: ${oneLine(error.message + hint)}\n`);
    return error.status;
  }
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`teremok: something went wrong inside: ${oneLine(message)}\n`);
  return EXIT.failed;
}
