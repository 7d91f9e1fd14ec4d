/** Test kernels through `teremok run`, by Multiboot and by PVH; its exit statuses. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runCli } from '../cli/cli-process.ts';
import { wrapInElf } from '../guests/echo-guest.ts';
import { KERNELS } from './kernels.ts';
import { TestKernel } from './kit.ts';
import { parseTap } from './tap.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-run-kernel-'));
});
after(async () => rm(directory, { recursive: true, force: true }));

let kernels = 0;
async function run(image: Uint8Array, args: readonly string[] = []) {
  kernels += 1;
  const path = join(directory, `kernel-${kernels}`);
  await writeFile(path, image);
  return runCli(['run', '--kernel', path, '--memory', '32', '--timeout', '60', '--no-reboot', ...args]);
}

/** A kernel that ends in its only case. */
function ending(end: (kernel: TestKernel) => void): Buffer {
  const kernel = new TestKernel(32);
  kernel.test('the end', {}, () => end(kernel));
  return kernel.finish();
}

/** The address that the Multiboot header names as its entry. */
const entryOf = (image: Buffer): number => image.readUInt32LE(28);

test('a Multiboot kernel runs its cases and exits with what it wrote', async () => {
  const { status, stdout, stderr } = await run(KERNELS['long-mode']?.() ?? Buffer.alloc(0), ['--debug-exit']);
  assert.equal(stderr, '');
  assert.ok(parseTap(stdout).every(({ verdict }) => verdict !== 'not ok'));
  assert.equal(status, 1);
});

test('the same kernel by its PVH note', async () => {
  const image = KERNELS['paging-pae']?.() ?? Buffer.alloc(0);
  // Without the Multiboot magic, the note alone is left.
  const elf = wrapInElf(Buffer.concat([Buffer.alloc(4), image.subarray(4)]), entryOf(image));
  const { status, stdout, stderr } = await run(elf, ['--debug-exit']);
  assert.equal(stderr, '');
  assert.ok(parseTap(stdout).every(({ verdict }) => verdict !== 'not ok'));
  assert.equal(status, 1);
});

test('a program of 16-bit code', async () => {
  const { status, stdout, stderr } = await run(KERNELS['real-mode']?.() ?? Buffer.alloc(0), ['--debug-exit']);
  assert.equal(stderr, '');
  assert.deepEqual(
    parseTap(stdout).filter(({ verdict }) => verdict !== 'ok'),
    [],
  );
  assert.equal(status, 1);
});

for (const value of [0, 1, 0x2a, 0x7f]) {
  test(`--debug-exit: ${value} is status ${(value << 1) | 1}`, async () => {
    const { status } = await run(
      ending(({ asm }) => asm.out(0xf4, value)),
      ['--debug-exit'],
    );
    assert.equal(status, (value << 1) | 1);
  });
}

test("without --debug-exit the port is nobody's", async () => {
  const { status } = await run(
    ending(({ asm }) => {
      asm.out(0xf4, 5);
      powerOff(asm);
    }),
  );
  assert.equal(status, 0);
});

function powerOff(asm: TestKernel['asm']): void {
  asm.mov('edx', 0x604);
  asm.mov('eax', 0x2000);
  asm.db(0x66, 0xef);
}

test('a triple fault is status 3, with a line that says so', async () => {
  const { status, stderr } = await run(
    ending(({ asm }) => {
      asm.mov('esp', 0xf000_0000);
      asm.mov('eax', -0x7fff_ffcd);
      asm.mov('cr0', 'eax'); // paging, with page tables at 0
    }),
    ['--debug-exit'],
  );
  assert.equal(status, 3);
  assert.match(stderr, /^teremok: the guest triple-faulted/);
});

test('a reset with --no-reboot is status 3', async () => {
  const { status } = await run(ending(({ asm }) => asm.out(0xcf9, 6)));
  assert.equal(status, 3);
});

test('--profile writes what the translator made of the guest', async () => {
  const path = join(directory, 'profile.txt');
  const image = ending(({ asm }) => {
    asm.mov('ecx', 1 << 29);
    asm.db(0x49, 0x75, 0xfd); // dec ecx; jnz, and all of that back
    asm.out(0xf4, 1);
  });
  const { status, stderr } = await run(image, ['--debug-exit', '--profile', `${path},regions=1`]);
  assert.equal(stderr, '');
  assert.equal(status, 3);
  const text = await readFile(path, 'utf8');
  assert.match(text, /^ {2}translate +[\d,]+ \(\d+\.\d %\)$/m);
  // The loop, with its way out, its code and what became of it.
  const region = /^1\. region_[0-9a-f]+$.*(?=^HOTTEST PLACES)/ms.exec(text)?.[0] ?? '';
  assert.match(region, /32-bit code, privilege 0/);
  assert.match(region, /end of a slice at [0-9a-f]+ to [0-9a-f]+$/m);
  assert.match(region, /[0-9a-f]+ +49 +dec ecx$/m);
  assert.match(region, /\(func \$region_[0-9a-f]+ \(param i32\) \(result i32\)/);
});

test('--timeout is status 124', async () => {
  const { status } = await run(
    ending(({ asm }) => asm.db(0xfa, 0xeb, 0xfe)),
    ['--timeout', '1'],
  );
  assert.equal(status, 124);
});
