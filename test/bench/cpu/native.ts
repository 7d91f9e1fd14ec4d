import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { JOBS } from './initrd.ts';
import type { NativePrograms } from './machines.ts';
import type { Program } from './programs.ts';
import type { Result } from './session.ts';

const LIMIT_MS = 60_000;

/** Runs programs on this machine itself: their checksums are what every guest must compute. */
export function runNatively(programs: readonly Program[], { program, busybox }: NativePrograms): Result[] {
  const folder = mkdtempSync(join(tmpdir(), 'teremok-bench-'));
  try {
    const bin = join(folder, 'bin');
    const shell = join(folder, 'busybox');
    if (programs.some(({ group }) => group === 'busybox')) {
      writeFileSync(shell, busybox, { mode: 0o755 });
      spawnSync('mkdir', [bin]);
      spawnSync(shell, ['--install', '-s', bin]);
    }
    return programs.map(({ name, group, scale }) => {
      const start = performance.now();
      const [command, args] =
        group === 'busybox'
          ? [shell, ['sh', '-c', `sh "${join(JOBS, name)}" ${scale} | md5sum`]]
          : [program, [name, String(scale)]];
      const { status, stdout, stderr } = spawnSync(command, args, {
        cwd: folder,
        env: { PATH: bin },
        encoding: 'utf8',
        timeout: LIMIT_MS,
      });
      const seconds = (performance.now() - start) / 1000;
      const checksum =
        group === 'busybox' ? /^\w{32}/.exec(stdout)?.[0] : /^end \w+ (\w+)/m.exec(stdout)?.[1];
      if (status !== 0 || checksum === undefined)
        return { name, error: `on this machine: status ${status}: ${stderr}` };
      return { name, seconds, checksum };
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
