// `npm test`: the set-up, then the tests that are named, by default all of them; the runner's counts come last.
import { glob, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { cacheDirectory, homeDirectory, projectRoot, SetupError, say } from './bootstrap.js';
import { buildDebianBusybox, IMAGE_NAME } from './guest/debian-busybox.ts';
import { prepare } from './prepare.ts';
import { runProgram } from './program.ts';
import { startServices } from './services.ts';
import { temporaryHome } from './temporary-home.ts';

const ALL = ['src/**/*.test.ts', 'workers/**/*.test.ts', 'test/**/*.test.ts'];
/** Files at a time. */
const CONCURRENCY = 2;
/** For one test, in milliseconds; a test may set another for itself. */
const TEST_TIMEOUT_MS = 180_000;
/** For one file with all its tests, in milliseconds. */
const FILE_TIMEOUT_MS = 900_000;

await runProgram(async () => {
  const patterns = process.argv.length > 2 ? process.argv.slice(2) : ALL;
  const files = await testFiles(patterns);
  if (files.length === 0) throw new SetupError(`no test files match ${patterns.join(' ')}`);
  const cache = cacheDirectory();
  await prepare({ home: homeDirectory(), cache });

  const home = await temporaryHome();
  await buildDebianBusybox(join(home, 'images', IMAGE_NAME), cache);
  // Servers of its own, empty, whatever the environment names: tests write and kill.
  const services = await startServices({ home, cache, durable: false });
  Object.assign(process.env, {
    NODE_ENV: 'test',
    TEREMOK_HOME: home,
    TEREMOK_CACHE: cache,
    TEREMOK_TEST_DATABASE_URL: services.databaseUrl,
    TEREMOK_TEST_REDIS_URL: services.redisUrl,
  });
  // A test that starts the whole project gets what a user would: embedded servers, free ports.
  for (const name of ['DATABASE_URL', 'REDIS_URL', 'PORT', 'HOST']) delete process.env[name];
  const cleanUp = async () => {
    await services.stop();
    await rm(home, { recursive: true, force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void cleanUp().then(() => process.exit(130)));
  }
  const passed = await runTests(files);
  await cleanUp();
  process.exitCode = passed ? 0 : 1;
});

async function testFiles(patterns: string[]): Promise<string[]> {
  const files = new Set<string>();
  for await (const file of glob(patterns, { cwd: projectRoot, exclude: ['**/node_modules/**'] })) {
    files.add(join(projectRoot, file));
  }
  return [...files].sort();
}

/**
 * Runs the files, each in a process of its own, and reports as they go.
 * @returns whether all passed
 */
async function runTests(files: string[]): Promise<boolean> {
  const stream = run({
    files,
    cwd: projectRoot,
    concurrency: CONCURRENCY,
    timeout: FILE_TIMEOUT_MS,
    execArgv: [`--test-timeout=${TEST_TIMEOUT_MS}`],
  });
  let counts: Record<string, number> | undefined;
  let success = false;
  stream.on('test:summary', (summary) => {
    if (summary.file !== undefined) return;
    counts = summary.counts;
    success = summary.success;
  });
  for await (const text of stream.compose(spec)) process.stdout.write(text);
  if (counts === undefined) {
    say('the test runner ended without a summary');
    return false;
  }
  const { tests, passed, failed, cancelled, skipped, todo } = counts;
  if (!success) {
    // The reporter lists failures after its summary; the counts are to come last.
    process.stdout.write(`\n# tests ${tests}\n# pass ${passed}\n# fail ${failed}\n`);
    process.stdout.write(`# cancelled ${cancelled}\n# skipped ${skipped}\n# todo ${todo}\n`);
  }
  return success && failed === 0 && cancelled === 0;
}
