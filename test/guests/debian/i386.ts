import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { cacheDirectory, homeDirectory } from '../../../src/cli/setup/bootstrap.js';
import { buildDebianBusybox, DEBIAN_686 } from '../../../src/cli/setup/guest/debian-busybox.ts';
import type { ShellCommands } from '../../support/shell-commands.ts';
import type { DebianGuest } from './guest.ts';
import type { Report } from './report.ts';

/** With its ciphers' self-tests, and without. */
const CMDLINES = ['console=ttyS0 quiet', 'console=ttyS0 quiet cryptomgr.notests'];

const DIGESTS = ['md5', 'sha1', 'sha256', 'sha512'];
const TEXT = 'the little house\n'.repeat(10_000);

/** Debian's 686 kernel, 32 bits without PAE, with 512 MiB and BusyBox. */
export function i386Guest(): DebianGuest {
  return {
    async prepare() {
      const folder = join(homeDirectory(), 'images', DEBIAN_686.name);
      const { packages } = await buildDebianBusybox(folder, cacheDirectory(), DEBIAN_686);
      const files = { kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd'), memoryMiB: 512 };
      return {
        boots: CMDLINES.map((cmdline) => ({ ...files, cmdline })),
        about: Object.entries(packages)
          .map((entry) => entry.join(' '))
          .join(', '),
      };
    },

    async check(shell, report) {
      await checkSystem(shell, report);
      await checkArithmetic(shell, report);
      for (const name of DIGESTS) {
        const output = await shell.run(`yes 'the little house' | head -c ${TEXT.length} | ${name}sum`);
        report.equal(`${name} of ${TEXT.length} bytes`, output.split(' ')[0] ?? '', digest(name, TEXT));
      }
      const packed = await shell.run(
        `yes 'the little house' | head -c ${TEXT.length} | gzip | gunzip | md5sum`,
      );
      report.equal('gzip and back', packed.split(' ')[0] ?? '', digest('md5', TEXT));
    },
  };
}

function digest(name: string, text: string): string {
  return createHash(name).update(text).digest('hex');
}

async function checkSystem(shell: ShellCommands, report: Report): Promise<void> {
  report.equal('uname -m', (await shell.run('uname -m')).trim(), 'i686');
  const release = (await shell.run('uname -r')).trim();
  report.judge('uname -r', release.endsWith('-686') ? undefined : release, { note: release });
  const cpuinfo = await shell.run('cat /proc/cpuinfo');
  const flags = new Set(/^flags\s*: (.*)$/m.exec(cpuinfo)?.[1]?.split(' '));
  const missing = ['fpu', 'pse', 'tsc', 'msr', 'cx8', 'apic', 'pge', 'cmov', 'fxsr', 'sse2'].filter(
    (flag) => !flags.has(flag),
  );
  report.judge(
    '/proc/cpuinfo',
    missing.length === 0 && /^fpu\s*: yes$/m.test(cpuinfo) ? undefined : `no ${missing.join(' ')}`,
    { note: /^model name\s*: (.*)$/m.exec(cpuinfo)?.[1] ?? '' },
  );
  const dmesg = (await shell.run('dmesg')).split('\n');
  const warned = dmesg.filter((line) => /WARNING|BUG:|Oops|Call Trace|stall|Unable to handle/i.test(line));
  report.judge('the kernel warned of nothing', warned.length === 0 ? undefined : warned.join('\n'));
}

/** 64 bits in the shell, doubles in awk: both made of 32-bit and x87 instructions here. */
async function checkArithmetic(shell: ShellCommands, report: Report): Promise<void> {
  const numbers = [3n, -7n, 0x1234_5678n, -0x1234_5678_9abn, 0x7edc_ba98_7654_3210n, -(1n << 63n) + 1n];
  const operators = ['+', '-', '*', '/', '%', '^', '&'];
  for (const a of numbers) {
    // One line for each first operand: BusyBox reads no longer ones than 1023 characters.
    const loop = `for b in ${numbers.join(' ')}; do echo ${operators.map((o) => `$((a ${o} b))`).join(' ')}; done`;
    const expected = numbers.map((b) =>
      [a + b, a - b, a * b, a / b, a % b, a ^ b, a & b].map((value) => BigInt.asIntN(64, value)).join(' '),
    );
    report.equal(
      `64-bit arithmetic with ${a}`,
      await shell.run(`a=${a}; ${loop}`),
      `${expected.join('\n')}\n`,
    );
  }

  let sum = 0;
  let product = 1;
  for (let i = 1; i <= 50_000; i++) {
    sum += i * i;
    product = (product * 16807) % 2147483647;
  }
  const awk =
    'BEGIN { p = 1; for (i = 1; i <= 50000; i++) { s += i * i; p = (p * 16807) % 2147483647 } printf "%.0f %.0f %.15g\\n", s, p, s / 7 }';
  const expected = `${sum} ${product} ${Number((sum / 7).toPrecision(15))}\n`;
  report.equal('sums of awk', await shell.run(`awk '${awk}'`), expected);
}
