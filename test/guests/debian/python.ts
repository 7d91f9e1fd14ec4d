import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DebianGuest } from './guest.ts';
import { packageGuest } from './packages.ts';

/** Python's regression tests of what computes; no test that needs a network, a screen or another machine. */
const TESTS = [
  ...['math', 'cmath', 'float', 'complex', 'strtod', 'struct', 'long', 'int', 'bool', 'pow', 'hash', 'index'],
  ...['numeric_tower', 'int_literal', 'fractions', 'decimal', 'statistics', 'random', 'hashlib', 'hmac'],
  ...[
    'binascii',
    'base64',
    'zlib',
    'bz2',
    'lzma',
    'array',
    'bytes',
    'memoryview',
    'unicode',
    'format',
    'fstring',
  ],
  ...[
    're',
    'json',
    'pickle',
    'sort',
    'heapq',
    'bisect',
    'itertools',
    'functools',
    'generators',
    'dict',
    'set',
  ],
  ...['colorsys', 'audioop', 'ctypes', 'time', 'calendar'],
].map((name) => `test_${name}`);

const CHECK = join(import.meta.dirname, '..', 'checks', 'python');

interface Summary {
  readonly tests: number;
  readonly skipped: number;
  readonly failed: readonly string[];
}

/** What checks/python printed, counted. */
export function summary(output: string): Summary {
  const all = (pattern: RegExp): string[] => [...output.matchAll(pattern)].map((match) => match[1] as string);
  const tests = all(/^Ran (\d+) tests? in/gm).reduce((sum, count) => sum + Number(count), 0);
  // Tests that failed run a second time.
  const failed = [...new Set(all(/^((?:FAIL|ERROR): .*)$/gm))];
  return { tests, skipped: all(/(\.\.\. skipped)/g).length, failed };
}

function unskipped(output: string): string {
  const lines = output.split('\n');
  return lines.filter((line) => !line.includes('... skipped')).join('\n');
}

/** Debian's Python and its testsuite: each test judges itself. */
export function pythonGuest(): DebianGuest {
  let python = '';
  return {
    async prepare() {
      const { kernel, initrd, packages } = await packageGuest(
        {
          name: 'python',
          versioned: [{ meta: 'python3-minimal', pattern: /^python3\.\d+-minimal$/ }],
          packages: ['python$0-minimal', 'libpython$0-stdlib', 'libpython$0-testsuite'],
        },
        { python: await readFile(CHECK) },
      );
      const name = Object.keys(packages).find((candidate) => /^python3\.\d+-minimal$/.test(candidate)) ?? '';
      python = name.replace('-minimal', '');
      return {
        boots: [{ kernel, initrd, cmdline: 'console=ttyS0 quiet', memoryMiB: 1024 }],
        about: `Debian's ${python} ${packages[name]} and its testsuite`,
      };
    },

    async check(shell, report, selection) {
      for (const test of selection.length > 0 ? selection : TESTS) {
        const started = performance.now();
        const { output, status } = await shell.try(`/checks/python ${python} ${test}`);
        const seconds = ((performance.now() - started) / 1000).toFixed(1);
        const { tests, skipped, failed } = summary(output);
        const right = status === 0 && tests > 0 && failed.length === 0;
        report.judge(`python ${test}`, right ? undefined : `status ${status}\n${unskipped(output)}`, {
          answer: `status ${status}, ${tests} tests, ${skipped} skipped\n${failed.join('\n')}`,
          note: `${tests - skipped} of ${tests} tests run, ${seconds} s`,
        });
      }
    },
  };
}
