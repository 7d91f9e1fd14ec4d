// `npm run bench -- service [--runs N]`: a whole Teremok of its own (API, worker, PostgreSQL, Redis), and how long
// after a request for a VM its shell answers on the serial console's WebSocket.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { cacheDirectory, homeDirectory, projectRoot } from '../../src/cli/setup/bootstrap.js';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';
import { aboutThisMachine, median, printTable, readRuns } from './support/figures.ts';
import { end, PROMPT } from './support/shell.ts';

const IMAGE = 'debian-busybox';
/** Nothing here takes longer unless it has failed. Milliseconds. */
const READY_LIMIT_MS = 120_000;
const SHELL_LIMIT_MS = 180_000;
/** The worker has guests to end, the databases data to write. */
const STOP_LIMIT_MS = 90_000;

/** A started Teremok. */
interface Service {
  readonly child: ChildProcess;
  readonly url: string;
  readonly key: string;
}

/** Seconds after the request for a VM. */
interface Figures {
  /** 202 with the operation. */
  readonly accepted: number;
  /** `GET …/wait?state=running` has answered. */
  readonly running: number;
  /** The prompt has come over the WebSocket. */
  readonly shell: number;
  /** From a command typed to its output, at the prompt. */
  readonly answer: number;
}

/** `npm start` with a home of its own, without the detour over npm. Gives it once it serves. */
async function startService(home: string): Promise<Service> {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    TEREMOK_HOME: home,
    TEREMOK_CACHE: cacheDirectory(),
    PORT: '0',
  };
  for (const name of ['DATABASE_URL', 'REDIS_URL']) delete env[name];
  const program = join(projectRoot, 'src/cli/setup/start.ts');
  const child = spawn(process.execPath, [program], {
    cwd: projectRoot,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ready = Promise.withResolvers<string>();
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      const url = /^teremok ready on (http:\S+)$/m.exec(output)?.[1];
      if (url !== undefined) ready.resolve(url);
    });
  }
  child.once('exit', (code) => ready.reject(new Error(`the service ended with status ${code}:\n${output}`)));
  const timer = setTimeout(
    () => ready.reject(new Error(`the service is not ready:\n${output}`)),
    READY_LIMIT_MS,
  );
  try {
    const url = await ready.promise;
    return { child, url, key: (await readFile(join(home, 'default.key'), 'utf8')).trim() };
  } catch (error) {
    await end(child, STOP_LIMIT_MS);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** One request; anything but success is an error with the problem's text. */
async function request(service: Service, method: string, path: string, body?: object): Promise<unknown> {
  const response = await fetch(`${service.url}/v1/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${service.key}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    body: body === undefined ? null : JSON.stringify(body),
    signal: AbortSignal.timeout(SHELL_LIMIT_MS),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text);
}

interface VmView {
  readonly id: string;
  readonly name: string;
  readonly state: string;
}

async function deleteVm(service: Service, id: string): Promise<void> {
  const { operation } = (await request(service, 'DELETE', `vms/${id}?force=true`)) as {
    operation: { id: string };
  };
  await request(service, 'GET', `operations/${operation.id}/wait?timeout=30`);
}

/** The first start makes the VM `hello`: waits until it runs, which shows that a worker is there, and removes it. */
async function removeHello(service: Service): Promise<void> {
  const deadline = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const { items } = (await request(service, 'GET', 'vms')) as { items: VmView[] };
    const hello = items.find(({ state }) => state === 'running');
    if (hello !== undefined) return deleteVm(service, hello.id);
    if (performance.now() > deadline) throw new Error('the VM `hello` does not come to run');
    await delay(100);
  }
}

/** A serial console: what it has said, and when something is in it. */
class Console {
  readonly #socket: WebSocket;
  readonly #failed = Promise.withResolvers<never>();
  #text = '';
  #changed: () => void = () => {};

  constructor(service: Service, id: string) {
    const url = `${service.url.replace(/^http/, 'ws')}/v1/vms/${id}/serial`;
    this.#socket = new WebSocket(url, { headers: { authorization: `Bearer ${service.key}` } });
    this.#failed.promise.catch(() => {});
    this.#socket.on('message', (data: Buffer) => {
      this.#text += data.toString('latin1');
      this.#changed();
    });
    this.#socket.once('error', (error) => this.#failed.reject(error));
    this.#socket.once('close', (code, reason) =>
      this.#failed.reject(new Error(`console closed: ${code} ${reason}`)),
    );
  }

  type(text: string): void {
    this.#text = '';
    this.#socket.send(text);
  }

  async until(pattern: RegExp): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#changed = () => {
      if (pattern.test(this.#text)) resolve();
    };
    this.#changed();
    const timer = setTimeout(
      () => reject(new Error(`no ${pattern} in:\n${this.#text.slice(-2000)}`)),
      SHELL_LIMIT_MS,
    );
    try {
      await Promise.race([promise, this.#failed.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    if (this.#socket.readyState === WebSocket.CLOSED) return;
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }
}

/** One VM from its request to a command answered, then gone. */
async function measure(service: Service, name: string): Promise<Figures> {
  const start = performance.now();
  const since = (): number => (performance.now() - start) / 1000;
  const { vm } = (await request(service, 'POST', 'vms', { name, image: IMAGE, memoryMiB: 256 })) as {
    vm: VmView;
  };
  const accepted = since();
  const console = new Console(service, vm.id);
  try {
    const prompt = console.until(PROMPT).then(since);
    const running = request(service, 'GET', `vms/${vm.id}/wait?state=running&timeout=60`).then(since);
    const [shell, up] = await Promise.all([prompt, running]);
    const typed = performance.now();
    // The shell echoes what is typed; only the answer has the product in it.
    console.type('echo answer-$((6*7))\n');
    await console.until(/answer-42/);
    return { accepted, running: up, shell, answer: (performance.now() - typed) / 1000 };
  } finally {
    await console.close();
    await deleteVm(service, vm.id);
  }
}

const runs = readRuns(3);
process.stdout.write(`${aboutThisMachine()}\n`);
const home = await temporaryHome();
const figures: Figures[] = [];
try {
  // The image is made once a checkout; here it is about requests.
  await cp(join(homeDirectory(), 'images', IMAGE), join(home, 'images', IMAGE), { recursive: true });
  const service = await startService(home);
  try {
    await removeHello(service);
    for (let run = 0; run < runs; run++) figures.push(await measure(service, `bench-${run}`));
  } finally {
    await end(service.child, STOP_LIMIT_MS);
  }
} finally {
  await rm(home, { recursive: true, force: true });
}
const middle = (figure: (figures: Figures) => number): string => median(figures.map(figure)).toFixed(3);
process.stdout.write(`POST /v1/vms with ${IMAGE}, 256 MiB, seconds after the request, medians of ${runs}:\n`);
printTable(
  ['', 'seconds'],
  [
    ['202 with the operation', middle((f) => f.accepted)],
    ['state running', middle((f) => f.running)],
    ["the shell's prompt over the WebSocket", middle((f) => f.shell)],
    ['then: a command typed to its answer', middle((f) => f.answer)],
  ],
);
