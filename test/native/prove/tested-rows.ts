import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { glob, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Encoding } from '../../../src/hypervisor/cpu/decode/encoding.ts';

/** Tests that run instructions other than against the host's processor by this program. */
const TESTS = [
  'src/hypervisor/cpu/system/*.test.ts',
  'src/hypervisor/cpu/isa/*.test.ts',
  'test/interpreter/*.test.ts',
  'test/kernels/*.test.ts',
  'test/machine/hypervisor-test-kernels.test.ts',
  'test/native/x87*.test.ts',
];
const ROOT = new URL('../../../', import.meta.url);
const RECORDER = new URL('./record-rows.ts', import.meta.url);

/** A row's name in reports. */
export const rowName = (e: Encoding): string => `${e.instruction.name} (${e.text})`;

/** Runs the project's tests with a recorder; gives the names of the rows that they decoded to be run. Says so when tests fail. */
export async function rowsOfTests(): Promise<Set<string>> {
  const directory = await mkdtemp(join(tmpdir(), 'teremok-rows-'));
  try {
    const files: string[] = [];
    for await (const file of glob(TESTS, { cwd: ROOT })) files.push(file);
    const child = spawn(process.execPath, ['--test', '--test-reporter=dot', ...files], {
      cwd: ROOT,
      stdio: 'ignore',
      env: {
        ...process.env,
        TEREMOK_ROWS_DIRECTORY: directory,
        NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import=${RECORDER.href}`,
      },
    });
    const [status] = (await once(child, 'exit')) as [number | null];
    if (status !== 0)
      console.log(`of the ${files.length} test files whose rows are counted, some failed: see npm test`);
    const rows = new Set<string>();
    for (const file of await readdir(directory)) {
      const names = JSON.parse(await readFile(join(directory, file), 'utf8')) as string[];
      for (const name of names) rows.add(name);
    }
    return rows;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
