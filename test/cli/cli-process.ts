import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const TEREMOK = join(import.meta.dirname, '..', '..', 'src', 'cli', 'teremok.ts');

export interface CliResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts `teremok` with these arguments, in an environment of its own. */
export function startCli(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [TEREMOK, ...args], {
    env: { PATH: String(process.env.PATH), TEREMOK_HOME: '/nonexistent', ...environment },
  });
}

/** Runs `teremok` to its end; `input` is its standard input, which then ends. */
export async function runCli(
  args: readonly string[],
  { environment = {}, input = '' }: { environment?: Readonly<Record<string, string>>; input?: string } = {},
): Promise<CliResult> {
  const child = startCli(args, environment);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  // A command that needs no input may be over before it is written.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}
