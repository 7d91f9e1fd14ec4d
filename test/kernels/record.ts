// Runs the test kernels under QEMU and keeps its verdicts in expected/: `node test/kernels/record.ts [kernel …]`.
// With --compare nothing is written: it says what differs from what is kept, and exits 1 if anything does.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KERNELS } from './kernels.ts';
import { runUnderQemu } from './qemu.ts';
import { parseTap, verdicts } from './tap.ts';

const folder = join(import.meta.dirname, 'expected');
const compare = process.argv.includes('--compare');
const names = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
await mkdir(folder, { recursive: true });
for (const [name, build] of Object.entries(KERNELS)) {
  if (names.length > 0 && !names.includes(name)) continue;
  const path = join(folder, `${name}.txt`);
  const results = parseTap(await runUnderQemu(build()));
  const text = verdicts(results);
  const failed = results.filter(({ verdict }) => verdict === 'not ok');
  console.log(`${name}: ${results.length} cases, ${failed.length} on which QEMU differs`);
  if (!compare) await writeFile(path, text);
  else if (text !== (await readFile(path, 'utf8'))) {
    console.log(`${name}: QEMU's verdicts are not those in ${path}`);
    process.exitCode = 1;
  }
}
