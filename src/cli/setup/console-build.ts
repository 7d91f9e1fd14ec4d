import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { glob, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, gzip } from 'node:zlib';
import { projectRoot, say } from './bootstrap.js';

const SOURCE = join(projectRoot, 'src/console');
const RESULT = join(projectRoot, 'dist/console');
/** What the result was made of, beside it. */
const STAMP = join(projectRoot, 'dist/console.stamp');
/** What the result depends on. */
const INPUTS = ['src/console/**/*.{ts,tsx,css,html,js,svg,json}', 'src/lib/*.ts', 'package-lock.json'];

/**
 * Sees to it that dist/console is the console of this source; what is there already is left alone.
 * @param force builds it in any case
 */
export async function provideConsole({ force = false } = {}): Promise<void> {
  const digest = await digestOfSource();
  if (!force && existsSync(join(RESULT, 'index.html')) && (await readStamp()) === digest) return;
  say('building the web console');
  await rm(STAMP, { force: true });
  const { build } = await import('vite');
  await build({ ...(await viteOptions()), logLevel: 'warn' });
  await compress();
  await writeFile(STAMP, digest);
}

/** Serves the console from its source, which a browser sees change, before a service that runs at `api`. */
export async function serveConsole(api: string, port: number): Promise<string> {
  const { createServer } = await import('vite');
  const server = await createServer({
    ...(await viteOptions()),
    server: { port, strictPort: true, proxy: { '/v1': { target: api, ws: true, changeOrigin: false } } },
  });
  await server.listen();
  return `http://127.0.0.1:${port}`;
}

async function viteOptions() {
  return {
    configFile: false as const,
    root: SOURCE,
    base: '/',
    oxc: { jsx: { runtime: 'automatic' as const, importSource: 'preact' } },
    build: {
      outDir: RESULT,
      emptyOutDir: true,
      target: 'es2022',
      // Nothing may stand in the page itself: its policy takes scripts and pictures from this address alone.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
    },
  };
}

/** Puts a compressed copy beside each file that gains by it, so that the service need not. */
async function compress(): Promise<void> {
  for await (const name of glob('**/*.{js,css,html,svg}', { cwd: RESULT })) {
    const file = join(RESULT, name);
    const content = await readFile(file);
    await writeFile(`${file}.br`, await promisify(brotliCompress)(content));
    await writeFile(`${file}.gz`, await promisify(gzip)(content, { level: 9 }));
  }
}

async function digestOfSource(): Promise<string> {
  const files: string[] = [];
  for await (const name of glob(INPUTS, { cwd: projectRoot })) if (!name.includes('.test.')) files.push(name);
  const hash = createHash('sha256');
  for (const name of files.sort()) hash.update(`${name}\0`).update(await readFile(join(projectRoot, name)));
  return hash.digest('hex');
}

async function readStamp(): Promise<string | undefined> {
  return readFile(STAMP, 'utf8').catch(() => undefined);
}
