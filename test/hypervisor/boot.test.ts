/** Debian's own kernel in a machine of ours, used through its shell. Needs the built-in image in TEREMOK_HOME. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { keymapNamed } from '../../src/hypervisor/display/keymaps/keymap.ts';
import { Typist } from '../../src/hypervisor/display/typist.ts';
import { GuestShell } from './guest-shell.ts';

const MIB = 1 << 20;
const BOOT_MS = 120_000;

describe('Debian at its shell', { timeout: BOOT_MS }, () => {
  let directory: string;
  let disk: string;
  let shell: GuestShell;
  const pattern = randomBytes(MIB);

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'teremok-boot-'));
    disk = join(directory, 'disk.img');
    await writeFile(disk, pattern);
    await truncate(disk, 8 * MIB);
    shell = await GuestShell.boot({ disks: [{ path: disk }] });
  });
  after(async () => {
    await shell?.machine.dispose();
    await rm(directory, { recursive: true, force: true });
  });

  test('the boot ran at 40 million instructions a second or more', () => {
    const { instructions, cpuSeconds } = shell.machine.stats();
    assert.ok(instructions / cpuSeconds > 40e6, `${(instructions / cpuSeconds / 1e6).toFixed(1)} MIPS`);
  });

  test('uname tells the kernel', async () => {
    assert.match(await shell.run('uname -a'), /^Linux \S+ 6\.\S+-cloud-amd64 .* x86_64 GNU\/Linux\n$/);
  });

  test('/proc/cpuinfo shows the features', async () => {
    const flags = new Set(/^flags\s*: (.*)$/m.exec(await shell.run('cat /proc/cpuinfo'))?.[1]?.split(' '));
    for (const flag of [
      'fpu',
      'tsc',
      'apic',
      'cx16',
      'sse4_2',
      'popcnt',
      'nx',
      'lm',
      'smep',
      'smap',
      'pcid',
      'x2apic',
      'hypervisor',
      'constant_tsc',
    ]) {
      assert.ok(flags.has(flag), `no ${flag}`);
    }
  });

  test('the kernel warned of nothing', async () => {
    const bad = (await shell.run('dmesg'))
      .split('\n')
      .filter((line) =>
        /WARNING|BUG:|Oops|Call Trace|unchecked MSR|soft lockup|rcu.*stall|Unable to handle/i.test(line),
      );
    assert.deepEqual(bad, []);
  });

  test("the date is the host's", async () => {
    const guest = Number(await shell.run('date +%s')) * 1000;
    assert.ok(Math.abs(guest - Date.now()) < 120_000, new Date(guest).toISOString());
  });

  test('sleep 1 takes a second', async () => {
    await shell.run('true');
    const start = performance.now();
    const uptimes = await shell.run('cat /proc/uptime; sleep 1; cat /proc/uptime');
    const took = (performance.now() - start) / 1000;
    const [before, behind] = uptimes
      .trim()
      .split('\n')
      .map((line) => Number(line.split(' ')[0]));
    assert.ok(took > 0.95 && took < 1.5, `${took} s of the host`);
    const guest = Number(behind) - Number(before);
    assert.ok(guest > 0.95 && guest < 1.3, `${guest} s of the guest`);
  });

  test('hwrng gives entropy', async () => {
    const read = async () =>
      (await shell.run('dd if=/dev/hwrng bs=16 count=1 2>/dev/null | hexdump -ve \'1/1 "%02x"\'')).trim();
    const one = await read();
    assert.match(one, /^[0-9a-f]{32}$/);
    assert.notEqual(one, await read());
  });

  test('the disk reads what the host wrote', async () => {
    const md5 = (await shell.run('dd if=/dev/vda bs=64k count=16 2>/dev/null | md5sum')).split(' ')[0];
    assert.equal(md5, createHash('md5').update(pattern).digest('hex'));
    assert.equal((await shell.run('cat /sys/block/vda/size')).trim(), String((8 * MIB) / 512));
  });

  test('the keyboard: a line typed arrives on the virtual terminal', async () => {
    const line = 'Hello, World! {[~]} "\\|" <100%> `^_';
    await shell.run('(head -n 1 </dev/tty1 >/tmp/line; touch /tmp/done) & sleep 0.2');
    await new Typist(shell.machine.keyboard, { strokeMs: 0 }).type(`${line}\n`, keymapNamed('us'));
    await shell.run('while [ ! -e /tmp/done ]; do sleep 0.1; done; rm /tmp/done');
    assert.equal(await shell.run('cat /tmp/line'), `${line}\n`);
  });

  test('the keyboard: a key that is held repeats, and the guest lights the lights', async () => {
    const { keyboard } = shell.machine;
    await shell.run('(head -n 1 </dev/tty1 >/tmp/line; touch /tmp/done) & sleep 0.2');
    keyboard.key(0x1e, true);
    await wait(1500);
    keyboard.key(0x1e, false);
    keyboard.key(0x1c, true);
    keyboard.key(0x1c, false);
    await shell.run('while [ ! -e /tmp/done ]; do sleep 0.1; done; rm /tmp/done');
    // Linux asks for a quarter of a second, then 30 a second.
    assert.match(await shell.run('cat /tmp/line'), /^a{5,45}\n$/);
    const lit = new Promise((resolve) => keyboard.onLeds(resolve));
    // EV_LED 11h, LED_CAPSL 1, after 16 bytes of time.
    const light = (on: 0 | 1) =>
      shell.run(`printf '${'\\0'.repeat(16)}\\021\\0\\001\\0\\00${on}\\0\\0\\0' >/dev/input/event0`);
    await light(1);
    assert.deepEqual(await lit, { scroll: false, num: false, caps: true });
    await light(0);
  });

  test('a guest at its prompt costs next to nothing', async () => {
    await wait(200);
    const start = process.cpuUsage();
    await wait(3000);
    const { user, system } = process.cpuUsage(start);
    const share = (user + system) / 3e6;
    assert.ok(share < 0.05, `${(share * 100).toFixed(1)} % of a core`);
  });

  test('a paused machine runs nothing, and its time stands still', async () => {
    const { machine } = shell;
    const uptime = async () => Number((await shell.run('cat /proc/uptime')).split(' ')[0]);
    const before = await uptime();
    await machine.pause();
    assert.equal(machine.state, 'paused');
    const { instructions } = machine.stats();
    shell.type('\n');
    await wait(2000);
    assert.equal(machine.stats().instructions, instructions);
    machine.resume();
    const behind = await uptime();
    assert.ok(behind - before < 1.5, `${behind - before} s went by in the guest`);
    assert.ok(machine.stats().instructions > instructions);
  });

  test('what goes to the disk is there after a new start; the power button shuts down', async () => {
    await shell.run('dd if=/dev/urandom of=/dev/vda bs=64k seek=16 count=64 conv=fsync 2>/dev/null; sync');
    const md5 = (await shell.run('md5sum /dev/vda')).split(' ')[0];
    shell.machine.powerButton();
    assert.deepEqual(await shell.machine.exited, { kind: 'power-off' });
    await shell.machine.dispose();
    assert.equal(
      createHash('md5')
        .update(await readFile(disk))
        .digest('hex'),
      md5,
    );

    shell = await GuestShell.boot({ disks: [{ path: disk }], memoryMiB: 128 });
    await shell.run('echo 3 >/proc/sys/vm/drop_caches');
    assert.equal((await shell.run('md5sum /dev/vda')).split(' ')[0], md5);
  });

  test('a file system: made, filled, mounted again', async () => {
    await shell.run('mkfs.ext2 -F /dev/vda >/dev/null 2>&1 || mke2fs /dev/vda');
    const { status } = await shell.try(
      'mkdir -p /mnt && mount -t ext2 /dev/vda /mnt 2>/dev/null || mount -t ext4 /dev/vda /mnt',
    );
    assert.equal(status, 0);
    await shell.run('dd if=/dev/urandom of=/mnt/file bs=64k count=32 2>/dev/null');
    const md5 = (await shell.run('md5sum </mnt/file')).trim();
    await shell.run(
      'umount /mnt && echo 3 >/proc/sys/vm/drop_caches && (mount -t ext2 /dev/vda /mnt 2>/dev/null || mount -t ext4 /dev/vda /mnt)',
    );
    assert.equal((await shell.run('md5sum </mnt/file')).trim(), md5);
    await shell.run('umount /mnt');
  });

  test('poweroff -f powers off', async () => {
    shell.type('poweroff -f\n');
    assert.deepEqual(await shell.machine.exited, { kind: 'power-off' });
    assert.equal(shell.machine.state, 'ended');
  });
});
