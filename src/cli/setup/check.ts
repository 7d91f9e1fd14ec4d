// `npm run check`: types, lint and format, the arrows between layers, unused code. With --fix it also formats.
import { spawnSync } from 'node:child_process';
import { glob } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot } from './bootstrap.js';
import { generatePrismaClient } from './prisma.ts';
import { runProgram } from './program.ts';

/** What a check found: nothing, or what to print. */
type Findings = string | undefined;

/** Folders whose imports must follow the arrows. */
const FOLDERS = ['src', 'workers', 'test'];

const CHECKS: [string, () => Findings | Promise<Findings>][] = [
  ['types', () => tool('tsc', ['-p', '.', '--pretty'])],
  ['types of the console', () => tool('tsc', ['-p', 'src/console', '--pretty'])],
  ['lint and format', () => tool('biome', ['ci', '--error-on-warnings', '--max-diagnostics=200', '.'])],
  ['arrows between layers', arrows],
  ['unused code', () => tool('knip', ['--no-progress'])],
];

await runProgram(async () => {
  generatePrismaClient();
  if (process.argv.includes('--fix')) {
    process.stdout.write(tool('biome', ['check', '--write', '.']) ?? '');
    return;
  }
  for (const [name, check] of CHECKS) {
    const begin = performance.now();
    const findings = await check();
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    if (findings !== undefined) process.exitCode = 1;
    process.stdout.write(
      `${findings ?? ''}${findings === undefined ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)\n`,
    );
  }
});

/** Runs one of the development tools. @returns its output when it fails */
function tool(name: string, args: string[]): Findings {
  const result = spawnSync(join(projectRoot, 'node_modules/.bin', name), args, {
    cwd: projectRoot,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    // The tools are scripts that ask for "node" by name.
    env: { ...process.env, PATH: `${join(process.execPath, '..')}:${process.env.PATH}` },
  });
  if (result.error) return `${name} did not start: ${result.error.message}\n`;
  return result.status === 0 ? undefined : `${result.stdout}${result.stderr}`;
}

interface CruiseResult {
  modules: { source: string }[];
  summary: { violations: { from: string; to: string; rule: { name: string; severity: string } }[] };
}

/** Checks who imports whom, and that the tool really saw every file: blind, it would find no fault. */
async function arrows(): Promise<Findings> {
  const { cruise } = await import('dependency-cruiser');
  const { default: config } = await import('../../../dependency-cruiser.config.mjs');
  const { output } = await cruise(FOLDERS, {
    ...config.options,
    baseDir: projectRoot,
    validate: true,
    ruleSet: { forbidden: config.forbidden },
    outputType: 'json',
  } as Parameters<typeof cruise>[1]);
  const result = (typeof output === 'string' ? JSON.parse(output) : output) as CruiseResult;
  const seen = new Set(result.modules.map((module) => module.source));
  const unseen: string[] = [];
  for await (const file of glob(`{${FOLDERS.join(',')}}/**/*.{ts,tsx}`, { cwd: projectRoot })) {
    if (!file.startsWith('src/infra/generated/') && !file.endsWith('.d.ts') && !seen.has(file))
      unseen.push(file);
  }
  const lines = [
    ...result.summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} imports ${to}`),
    ...unseen.map((file) => `not seen by the tool: ${file}`),
    ...(seen.size === 0 ? ['the tool saw no modules at all'] : []),
  ];
  return lines.length === 0 ? undefined : `${lines.join('\n')}\n`;
}
