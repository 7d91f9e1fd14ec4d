/** Debian's 32-bit kernel without PAE, in a machine of ours, used through its shell. Fetches its packages once. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cacheDirectory, homeDirectory } from '../../src/cli/setup/bootstrap.js';
import { buildDebianBusybox, DEBIAN_686 } from '../../src/cli/setup/guest/debian-busybox.ts';
import { GuestShell } from './guest-shell.ts';

const LIMIT_MS = 300_000;

describe('Debian 686 at its shell', { timeout: LIMIT_MS }, () => {
  let shell: GuestShell;

  before(
    async () => {
      const folder = join(homeDirectory(), 'images', DEBIAN_686.name);
      await buildDebianBusybox(folder, cacheDirectory(), DEBIAN_686);
      // Most of a boot would be the self-tests of the kernel's ciphers.
      const cmdline = 'console=ttyS0 quiet cryptomgr.notests';
      shell = await GuestShell.boot({ folder, cmdline, memoryMiB: 512 });
    },
    { timeout: LIMIT_MS },
  );
  after(() => shell?.machine.dispose());

  test('is a 32-bit kernel without PAE', async () => {
    assert.match(await shell.run('uname -a'), /^Linux teremok \S+-686 .* i686 GNU\/Linux\n$/);
    const memory = await shell.run('cat /proc/meminfo');
    const total = Number(/^MemTotal:\s+(\d+) kB$/m.exec(memory)?.[1]);
    assert.ok(total > 480 << 10 && total < 512 << 10, memory);
  });

  test('the kernel warned of nothing', async () => {
    const dmesg = await shell.run('dmesg');
    const bad = dmesg
      .split('\n')
      .filter((line) =>
        /WARNING|BUG:|Oops|Call Trace|unchecked MSR|soft lockup|rcu.*stall|Unable to handle/i.test(line),
      );
    assert.deepEqual(bad, []);
  });

  test('counts', async () => {
    const sums = `awk 'BEGIN { for (i = 1; i <= 20000; i++) s += i * i; printf "%.15g %.15g\\n", s, s / 7 }'`;
    assert.equal(await shell.run(sums), `2666866670000 ${Number((2666866670000 / 7).toPrecision(15))}\n`);
    const [a, b] = [0x7edc_ba98_7654_3210n, 0x1234_5678_9abn];
    assert.equal(
      await shell.run(`echo $((${a} / ${b})) $((${a} % ${b})) $((${a} * ${b}))`),
      `${a / b} ${a % b} ${BigInt.asIntN(64, a * b)}\n`,
    );
  });

  test('digests', async () => {
    const text = 'the little house\n'.repeat(1 << 12);
    for (const name of ['md5', 'sha1', 'sha256', 'sha512']) {
      const digest = await shell.run(`yes 'the little house' | head -c ${text.length} | ${name}sum`);
      assert.equal(digest, `${createHash(name).update(text).digest('hex')}  -\n`);
    }
  });

  test('powers off', async () => {
    shell.type('poweroff -f\n');
    assert.deepEqual(await shell.machine.exited, { kind: 'power-off' });
  });
});
