import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Runs a kernel under QEMU's TCG; what it printed.
 *
 * @throws Error when QEMU is not there, or the kernel did not end through isa-debug-exit within a minute
 */
export async function runUnderQemu(image: Uint8Array): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'teremok-qemu-'));
  try {
    const kernel = join(directory, 'kernel');
    await writeFile(kernel, image);
    const child = spawn(
      'qemu-system-x86_64',
      [
        '-accel',
        'tcg',
        '-cpu',
        'max,vendor=GenuineIntel',
        '-m',
        '64',
        '-display',
        'none',
        '-serial',
        'stdio',
        '-no-reboot',
        '-device',
        'isa-debug-exit,iobase=0xf4,iosize=4',
        '-kernel',
        kernel,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 },
    );
    let output = '';
    let errors = '';
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      output += text;
    });
    child.stderr.setEncoding('latin1').on('data', (text: string) => {
      errors += text;
    });
    const [status] = (await once(child, 'close')) as [number | null];
    if (status !== 1 && status !== 3)
      throw new Error(`QEMU ended with ${String(status)}: ${errors}\n${output.slice(-500)}`);
    return output.replaceAll('\r', '');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
