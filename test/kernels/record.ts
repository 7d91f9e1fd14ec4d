// Runs the test kernels under QEMU and keeps its verdicts in expected/, and what its keyboard controller answers to the
// script of ps2-script.ts: `node test/kernels/record.ts [kernel …]`.
// With --compare nothing is written: it says what differs from what is kept, and exits 1 if anything does.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KERNELS } from './kernels.ts';
import { ps2Kernel, ps2Transcript } from './ps2-script.ts';
import { runUnderQemu } from './qemu.ts';
import { parseTap, verdicts } from './tap.ts';

const folder = join(import.meta.dirname, 'expected');
const compare = process.argv.includes('--compare');
const names = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
await mkdir(folder, { recursive: true });
const wanted = (name: string): boolean => names.length === 0 || names.includes(name);
/** Keeps what QEMU says, or says where it is not what is kept. */
async function keep(name: string, text: string): Promise<void> {
  const path = join(folder, `${name}.txt`);
  if (!compare) await writeFile(path, text);
  else if (text !== (await readFile(path, 'utf8'))) {
    console.log(`${name}: QEMU's answers are not those in ${path}`);
    process.exitCode = 1;
  }
}
for (const [name, build] of Object.entries(KERNELS)) {
  if (!wanted(name)) continue;
  const results = parseTap(await runUnderQemu(build()));
  console.log(
    `${name}: ${results.length} cases, ${results.filter(({ verdict }) => verdict === 'not ok').length} on which QEMU differs`,
  );
  await keep(name, verdicts(results));
}
if (wanted('ps2')) {
  const lines = ps2Transcript(await runUnderQemu(ps2Kernel()));
  console.log(`ps2: ${lines.length} lines`);
  await keep('ps2', `${lines.join('\n')}\n`);
}
