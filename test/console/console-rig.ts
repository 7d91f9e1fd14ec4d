import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { provideConsole } from '../../src/cli/setup/console-build.ts';
import { buildDebianBusybox, IMAGE_NAME } from '../../src/cli/setup/guest/debian-busybox.ts';
import { freePort } from '../../src/cli/setup/port.ts';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';
import { startServers } from '../api/support.ts';
import { chromium as findChromium } from '../support/chromium.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A program of the project, and what it has said. */
interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
}

/** The real service with a worker, and a Chromium in front of it. */
export class ConsoleRig {
  readonly #home: string;
  readonly #servers: Awaited<ReturnType<typeof startServers>>;
  readonly #port: number;
  readonly browser: Browser;
  #api: Running | undefined;
  #worker: Running | undefined;
  #output = '';
  /** What pages did that their policy forbids, and errors that nobody caught. */
  readonly offences: string[] = [];

  private constructor(
    home: string,
    servers: Awaited<ReturnType<typeof startServers>>,
    port: number,
    browser: Browser,
  ) {
    this.#home = home;
    this.#servers = servers;
    this.#port = port;
    this.browser = browser;
  }

  static async start(): Promise<ConsoleRig> {
    const home = await temporaryHome();
    await provideConsole();
    await buildDebianBusybox(join(home, 'images', IMAGE_NAME), cacheDirectory());
    const { executable, env } = await findChromium();
    const browser = await chromium.launch({ executablePath: executable, env, args: ['--no-sandbox'] });
    const rig = new ConsoleRig(home, await startServers(), await freePort(), browser);
    try {
      await rig.startApi();
      rig.#worker = await rig.#start('workers/main.ts', /worker ready/);
    } catch (error) {
      await rig.close();
      throw error;
    }
    return rig;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** The servers behind it, for whoever puts something into them. */
  get servers(): { readonly databaseUrl: string; readonly redisUrl: string } {
    return this.#servers;
  }

  key(owner: 'default' | 'operator'): Promise<string> {
    return readFile(join(this.#home, `${owner}.key`), 'utf8').then((text) => text.trim());
  }

  async startApi(): Promise<void> {
    this.#api = await this.#start('src/main.ts', /teremok ready on/);
  }

  /** Kills the API without a word. */
  async killApi(): Promise<void> {
    this.#api?.child.kill('SIGKILL');
    await this.#api?.ended;
  }

  /** Asks the API with a key, as a program does. */
  async call(method: string, path: string, key: string, body?: unknown): Promise<unknown> {
    const text = (await this.#fetch(method, path, key, body)).toString();
    return text === '' ? undefined : JSON.parse(text);
  }

  /** The same, for what is no JSON. */
  callForFile(path: string, key: string): Promise<Buffer> {
    return this.#fetch('GET', path, key);
  }

  /** A page of a browser that is signed in nowhere yet. */
  async open(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    page.on('console', (message) => {
      const text = message.text();
      if (/Content.Security.Policy|Refused to/i.test(text)) this.offences.push(text);
    });
    page.on('pageerror', (error) => this.offences.push(`${error.message}\n${error.stack ?? ''}`));
    page.on('request', (request) => {
      const url = request.url();
      const ours = url.startsWith(this.origin) || url.startsWith(this.origin.replace('http', 'ws'));
      if (!ours && !/^(blob|data):/.test(url)) this.offences.push(`a request to ${url}`);
    });
    return page;
  }

  /** The same, signed in. */
  async openAs(key: string, options: BrowserContextOptions = {}): Promise<Page> {
    const page = await this.open(options);
    await page.goto(this.origin);
    await page.getByLabel('API key').fill(key);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('heading', { name: 'Machines', exact: true }).waitFor();
    return page;
  }

  async close(): Promise<void> {
    await this.browser.close();
    for (const running of [this.#worker, this.#api]) {
      running?.child.kill('SIGTERM');
      await running?.ended;
    }
    await this.#servers.stop();
    await rm(this.#home, { recursive: true, force: true });
  }

  async #fetch(method: string, path: string, key: string, body?: unknown): Promise<Buffer> {
    const answer = await fetch(`${this.origin}/v1/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${bytes}`);
    return bytes;
  }

  async #start(program: string, ready: RegExp): Promise<Running> {
    const child = spawn(process.execPath, [join(ROOT, program)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'] ?? '',
        TEREMOK_HOME: this.#home,
        TEREMOK_CACHE: cacheDirectory(),
        TEREMOK_HOST_NAME: 'console',
        DATABASE_URL: this.#servers.databaseUrl,
        REDIS_URL: this.#servers.redisUrl,
        PORT: String(this.#port),
      },
    });
    const ended = once(child, 'close');
    const serves = Promise.withResolvers<void>();
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        this.#output += text;
        if (ready.test(said)) serves.resolve();
      });
    }
    await Promise.race([serves.promise, ended.then(() => assert.fail(`${program} ended: ${this.#output}`))]);
    return { child, ended };
  }
}

/** What axe-core finds wrong with a page, in words. */
export async function axeFindings(page: Page): Promise<string[]> {
  // In words, since these types are Node's. By the debugger's way, which the page's policy does not hinder.
  await page.evaluate(`${axe}; undefined`);
  return page.evaluate<string[]>(`axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
    violations.flatMap(({ id, help, nodes }) => nodes.map(({ html }) => id + ': ' + help + ': ' + html.slice(0, 160))))`);
}

/** By how many pixels something is wider than the page. */
export async function excessWidth(page: Page): Promise<number> {
  return page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth');
}

/** Goes to a page of the console. */
export async function go(page: Page, place: string): Promise<void> {
  await page.evaluate(`location.hash = ${JSON.stringify(place)}`);
}
