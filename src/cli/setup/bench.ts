// `npm run bench [NAME …]`: runs the measurements in test/bench that are named, by default all of them.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { glob } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { cacheDirectory, homeDirectory, projectRoot, SetupError, say } from './bootstrap.js';
import { prepare } from './prepare.ts';
import { runProgram } from './program.ts';

await runProgram(async () => {
  const available = new Map<string, string>();
  for await (const file of glob('test/bench/*.ts', { cwd: projectRoot })) {
    if (!file.endsWith('.test.ts')) available.set(basename(file, '.ts'), join(projectRoot, file));
  }
  const names = [...available.keys()].sort();
  const [first, ...rest] = process.argv.slice(2);
  const [wanted, args] =
    first === undefined || first.startsWith('-') ? [names, process.argv.slice(2)] : [[first], rest];
  const unknown = wanted.find((name) => !available.has(name));
  if (unknown !== undefined) {
    throw new SetupError(`there is no bench "${unknown}"; there are: ${names.join(', ') || 'none'}`);
  }
  if (wanted.length === 0) throw new SetupError('there are no benches in test/bench');
  await prepare({ home: homeDirectory(), cache: cacheDirectory() });
  for (const name of wanted) {
    say(`bench ${name}`);
    const child = spawn(process.execPath, [available.get(name) as string, ...args], {
      stdio: 'inherit',
      cwd: projectRoot,
    });
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code !== 0) throw new SetupError(`bench ${name} failed with status ${code}`);
  }
});
