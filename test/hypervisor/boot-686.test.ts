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

  /** Collects what an input device reports while `act` goes on: type, code and value of each event. */
  const eventsOf = async (name: string, act: () => Promise<void>): Promise<string[]> => {
    const devices = await shell.run('cat /proc/bus/input/devices');
    const device = devices.split('\n\n').find((one) => one.includes(name));
    const event = /event\d+/.exec(device ?? '')?.[0];
    assert.ok(event, devices);
    await shell.run(`hexdump -v -e '16/1 "%02x" "\\n"' /dev/input/${event} >/tmp/events & sleep 0.5`);
    await act();
    const lines = await shell.run('sleep 0.5; killall hexdump; sleep 0.2; cat /tmp/events');
    // 16 bytes: time, type, code, value. Type 0 ends a report.
    return [...lines.matchAll(/[0-9a-f]{32}/g)].flatMap(([line]) => {
      const bytes = Buffer.from(line, 'hex');
      const type = bytes.readUInt16LE(8);
      return type === 0 ? [] : [`${type} ${bytes.readUInt16LE(10)} ${bytes.readInt32LE(12)}`];
    });
  };
  const pause = () => new Promise<void>((resolve) => setTimeout(resolve, 100));

  test('the absolute pointer: its driver finds it, positions and buttons arrive', async () => {
    const { pointer } = shell.machine;
    assert.equal(pointer.absolute, true);
    const events = await eventsOf('mouse0 event', async () => {
      for (const [x, y, buttons] of [
        [0.5, 0.25, 0],
        [0.5, 0.25, 1],
        [0.75, 1, 0],
      ] as const) {
        pointer.place(x, y, 0, buttons);
        await pause();
      }
    });
    // EV_ABS 3: x 0, y 1. EV_KEY 1: BTN_LEFT 272.
    assert.deepEqual(events, ['3 0 32767', '3 1 16383', '1 272 1', '3 0 49151', '3 1 65535', '1 272 0']);
  });

  test('the mouse: a driver that knows no absolute pointer finds five buttons and a wheel', async () => {
    const { pointer } = shell.machine;
    await shell.run('echo -n exps >/sys/bus/serio/devices/serio1/protocol; sleep 1');
    assert.equal(pointer.absolute, false);
    const events = await eventsOf('Name="ImExPS/2 ', async () => {
      for (const [dx, dy, wheel, buttons] of [
        [600, -5, 0, 0],
        [0, 0, -1, 0],
        [0, 0, 0, 8],
        [0, 0, 0, 0],
      ] as const) {
        pointer.move(dx, dy, wheel, buttons);
        await pause();
      }
    });
    const sum = (prefix: string): number =>
      events.filter((e) => e.startsWith(prefix)).reduce((n, e) => n + Number(e.split(' ')[2]), 0);
    // EV_REL 2: x 0, y 1, wheel 8.
    assert.deepEqual([sum('2 0 '), sum('2 1 '), sum('2 8 ')], [600, -5, 1]);
    // BTN_SIDE.
    assert.deepEqual(
      events.filter((e) => e.startsWith('1 ')),
      ['1 275 1', '1 275 0'],
    );
  });

  test('powers off', async () => {
    shell.type('poweroff -f\n');
    assert.deepEqual(await shell.machine.exited, { kind: 'power-off' });
  });
});
