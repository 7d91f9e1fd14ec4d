import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { projectRoot } from '../../../src/cli/setup/bootstrap.js';
import { plainText } from '../../support/plain-text.ts';
import { MENU_KEY } from './disk-image.ts';

/** From the reset vector to the guest's first program, with others on the machine. Seconds. */
const BOOT_SECONDS = 600;
/** Of writing, at least, and so much more at random. Milliseconds. */
const WRITES = { least: 500, more: 3000 } as const;

/** What a guest told before its plug was pulled. */
export interface Pulled {
  /** The last file that it found, of those that it kept in the rounds before; 0 in the first. */
  readonly found: number;
  /** Names of files that were not what they had been. */
  readonly damaged: string;
  /** The last file of which it said that it is on the disk for sure. */
  readonly kept: number;
}

/**
 * Boots a disk in `teremok run`, has it write, and ends the process by SIGKILL in the middle of that.
 * @param disk as for `--disk`
 * @throws Error with the end of what came on the serial line when it does not come to writing
 */
export async function pullPlug(disk: string): Promise<Pulled> {
  const program = join(projectRoot, 'src/cli/teremok.ts');
  const args = [program, 'run', '--disk', disk, '--memory', '512', '--engine', 'translate'];
  const child = spawn(process.execPath, args);
  try {
    return await writesOf(child);
  } finally {
    const closed = once(child, 'close');
    if (child.exitCode === null) child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await closed;
  }
}

async function writesOf(child: ChildProcessWithoutNullStreams): Promise<Pulled> {
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('latin1').on('data', (text: string) => {
      said += text;
    });
  child.stdin.on('error', () => {});
  const comes = async (pattern: RegExp): Promise<RegExpExecArray> => {
    const end = performance.now() + BOOT_SECONDS * 1000;
    for (;;) {
      const found = pattern.exec(plainText(said));
      if (found !== null) return found;
      if (performance.now() > end || child.exitCode !== null || said.includes('grub rescue>'))
        throw new Error(`${pattern} did not come: ${said.slice(-800)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  // Without a display, firmware's screen and keyboard are on the serial line, and GRUB uses those.
  await comes(/automatically in \d/);
  child.stdin.write(MENU_KEY.writes);
  const [, found, damaged] = await comes(/found (\d+) damaged:(.*)\.\r?\n/);
  await comes(/kept \d+\r?\n/);
  await new Promise((resolve) => setTimeout(resolve, WRITES.least + Math.random() * WRITES.more));
  child.kill('SIGKILL');
  await once(child, 'close');
  const kept = [...said.matchAll(/kept (\d+)\r?\n/g)].at(-1)?.[1];
  return { found: Number(found), damaged: (damaged ?? '').trim(), kept: Number(kept) };
}
