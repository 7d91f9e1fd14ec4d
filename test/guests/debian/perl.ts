import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DebianGuest } from './guest.ts';
import { hostRunsGuestPrograms, runOnHost, SAME_LIBM } from './host.ts';
import { packageGuest } from './packages.ts';

const CHECK = join(import.meta.dirname, '..', 'checks', 'perl.pl');

/** The lines of each group of checks/perl.pl, by the group's name. */
function groups(output: string): Map<string, string> {
  const parts = output.split(/^== (.*)\n/m).slice(1);
  return new Map(parts.flatMap((name, index) => (index % 2 === 0 ? [[name, parts[index + 1] ?? '']] : [])));
}

/** Debian's Perl on this machine's own processor. */
function hostPerl(root: string, version: string): Promise<string> {
  const folders = [
    `usr/lib/x86_64-linux-gnu/perl/${version}`,
    `usr/share/perl/${version}`,
    'usr/lib/x86_64-linux-gnu/perl-base',
  ];
  return runOnHost(root, 'usr/bin/perl', [CHECK], {
    PERL5LIB: folders.map((folder) => join(root, folder)).join(':'),
  });
}

/** Debian's Perl: what it computes in the guest, held against what the same program computes on this processor. */
export function perlGuest(): DebianGuest {
  let expected: Map<string, string> | undefined;
  return {
    async prepare() {
      const { kernel, initrd, packages, root } = await packageGuest(
        { name: 'perl', packages: ['perl-base', 'perl'] },
        { 'perl.pl': await readFile(CHECK) },
      );
      const modules = Object.keys(packages).find((name) => name.startsWith('perl-modules-')) ?? '';
      const version = modules.replace('perl-modules-', '');
      expected = hostRunsGuestPrograms ? groups(await hostPerl(root, version)) : undefined;
      const judge = expected ? "this machine's processor" : 'nothing here (no x86-64 Linux): use --qemu';
      return {
        boots: [{ kernel, initrd, cmdline: 'console=ttyS0 quiet', memoryMiB: 512 }],
        about: `Debian's perl ${packages.perl}, judged by ${judge}`,
      };
    },

    async check(shell, report, selection) {
      const { output, status } = await shell.try(`GLIBC_TUNABLES=${SAME_LIBM} perl /checks/perl.pl`);
      report.judge('perl ends well', status === 0 ? undefined : `status ${status}: ${output.slice(-500)}`);
      const answers = groups(output);
      const names = [...(expected ?? answers).keys()].filter((name) => name !== 'end');
      for (const name of names.filter((one) => selection.length === 0 || selection.includes(one))) {
        const answer = answers.get(name) ?? '';
        report.equal(`perl ${name}`, answer, expected?.get(name) ?? answer);
      }
    },
  };
}
