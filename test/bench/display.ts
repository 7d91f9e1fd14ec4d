// `npm run bench -- display [--runs N]`: what a viewer of a guest's screen waits, receives and costs, beside QEMU's own
// VNC server with its translator and the same guest.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '../../src/cli/setup/bootstrap.js';
import { ENC, type ReceivedRect, RfbClient } from '../support/rfb/client.ts';
import { seeded } from '../support/rfb/drawing.ts';
import { QEMU, qemuVersion } from './cpu/machines.ts';
import { COMMAND_LENGTH, type Command, encodeCommand, READY } from './display/commands.ts';
import { drawingKernel } from './display/kernel.ts';
import { LINE, LINES, TEXTURE, WINDOW } from './display/texture.ts';
import { aboutThisMachine, median, printTable, readRuns } from './support/figures.ts';

const MODES = [
  { width: 1024, height: 768 },
  { width: 1920, height: 1080 },
] as const;
/** For a guest to be ready, and for a picture to come; later means never. Milliseconds. */
const LIMIT_MS = 60_000;
/** Writes whose way to the socket is measured. */
const WRITES = 60;
/** Console lines and steps of a window, and how often they come. */
const SCENE = { steps: 100, everyMs: 40 } as const;
const BACKGROUND = 0x305070;
/** What the guest does in turn without and with a viewer: so many console lines that they take it that long alone. */
const WORK = { first: 50, ms: 1200, turns: 5, least: 50, most: 100_000 } as const;
/** QEMU counts displays from there. */
const FIRST_PORT = 5900;

type Mode = (typeof MODES)[number];

/** A running guest that draws what it is told. */
class DrawingGuest {
  readonly port: number;
  readonly #child: ChildProcess;
  #waiting: ((byte: string) => void) | undefined;

  private constructor(child: ChildProcess, port: number) {
    this.port = port;
    this.#child = child;
    child.stdout?.setEncoding('latin1').on('data', (text: string) => this.#waiting?.(text.at(-1) as string));
  }

  static async start(command: string, args: readonly string[], port: number): Promise<DrawingGuest> {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const guest = new DrawingGuest(child, port);
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-1000);
    });
    const failed = once(child, 'close').then(([code]) => {
      throw new Error(`${command} ended with status ${code}: ${said}`);
    });
    await Promise.race([guest.#answer(READY), failed]);
    failed.catch(() => {});
    return guest;
  }

  /** Resolves when the guest has done it. */
  async tell(command: Command): Promise<void> {
    const answer = this.#answer(command.op);
    const bytes = encodeCommand(command);
    if (bytes.length !== COMMAND_LENGTH) throw new Error('a command of another length');
    this.#child.stdin?.write(bytes);
    await answer;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await once(this.#child, 'close');
  }

  #answer(byte: string): Promise<void> {
    return within(
      `answer ${byte}`,
      new Promise((resolve) => {
        this.#waiting = (got) => {
          if (got === byte) resolve();
        };
      }),
    );
  }
}

/** A viewer that asks for the next change as soon as it has one, and tells whoever wants to know. */
class Watcher {
  bytes = 0;
  pictures = 0;
  readonly client: RfbClient;
  readonly #socket: Socket;
  #onUpdate: ((rects: readonly ReceivedRect[]) => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.client = new RfbClient((bytes) => void socket.write(bytes));
    this.client.skim = true;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => {
      this.bytes += bytes.length;
      this.client.feed(bytes);
    });
    socket.on('error', () => {});
    socket.on('close', () => this.client.end());
  }

  static async open(port: number): Promise<Watcher> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const watcher = new Watcher(socket);
    await within('handshake', watcher.client.handshake());
    watcher.client.setEncodings(ENC.copyRect, ENC.tight, ENC.compress0 + 2, ENC.desktopSize);
    watcher.client.request(false);
    await within('first picture', watcher.client.update());
    watcher.#follow().catch(() => {});
    return watcher;
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Resolves when an update with a pixel of the place has come in full. */
  sees(x: number, y: number): Promise<void> {
    return within(
      'pixels',
      new Promise((resolve) => {
        this.#onUpdate = (rects) => {
          if (
            rects.some(
              (r) => r.encoding >= 0 && x >= r.x && x < r.x + r.width && y >= r.y && y < r.y + r.height,
            )
          ) {
            resolve();
          }
        };
      }),
    );
  }

  async #follow(): Promise<void> {
    for (;;) {
      this.client.request(true);
      const rects = await this.client.update();
      this.pictures++;
      this.#onUpdate?.(rects);
    }
  }
}

/** Each a second. */
interface SceneFigures {
  readonly bytes: number;
  readonly pictures: number;
}

interface Figures {
  readonly latency: readonly number[];
  readonly console: SceneFigures;
  readonly window: SceneFigures;
  readonly slower: number;
}

async function measure(guest: DrawingGuest, mode: Mode): Promise<Figures> {
  await guest.tell({ op: 'm', ...mode });
  await guest.tell({ op: 'f', ...mode, argument: BACKGROUND });
  const slower = await slowDown(guest);
  const watcher = await Watcher.open(guest.port);
  await guest.tell({ op: 'f', ...mode, argument: BACKGROUND });
  const latency = await latencies(guest, watcher, mode);
  const window = await scene(watcher, async (step) => {
    const x = 20 + 4 * step;
    await guest.tell({ op: 'f', x: x - 4, y: 100, width: 4, height: WINDOW.height, argument: BACKGROUND });
    const { width, height, row } = WINDOW;
    await guest.tell({ op: 'b', x, y: 100, width, height, argument: row * TEXTURE.width * 4 });
  });
  await guest.tell({ op: 'r', width: 800, argument: WORK.first });
  const console = await scene(watcher, async (step) => {
    await guest.tell({ op: 's', argument: LINE });
    const argument = (step % LINES) * LINE * TEXTURE.width * 4;
    await guest.tell({ op: 'b', x: 0, y: mode.height - LINE, width: 800, height: LINE, argument });
  });
  watcher.close();
  return { latency, console, window, slower };
}

/** How many times as long the guest's work takes while it is watched. In turns, for a machine has other work to do. */
async function slowDown(guest: DrawingGuest): Promise<number> {
  const work = await workFor(guest);
  const found: number[] = [];
  for (let turn = 0; turn < WORK.turns; turn++) {
    const alone = await timed(() => guest.tell(work));
    const watcher = await Watcher.open(guest.port);
    const watched = await timed(() => guest.tell(work));
    watcher.close();
    found.push(watched / alone);
    await sleep(100);
  }
  return median(found);
}

async function workFor(guest: DrawingGuest): Promise<Command> {
  let count: number = WORK.first;
  const lines = (): Command => ({ op: 'r', width: 800, argument: count });
  // A translator is cold at first, and less so the second time.
  for (let i = 0; i < 3; i++) {
    const ms = await timed(() => guest.tell(lines()));
    count = Math.min(WORK.most, Math.max(WORK.least, Math.round((count * WORK.ms) / ms)));
  }
  return lines();
}

/** From the guest's answer that it has written a few pixels to their arrival. */
async function latencies(guest: DrawingGuest, watcher: Watcher, mode: Mode): Promise<number[]> {
  const random = seeded(mode.width);
  const found: number[] = [];
  for (let i = 0; i < WRITES; i++) {
    await sleep(60 + random(200));
    const [x, y] = [random(mode.width - 8), random(mode.height - 16)];
    const seen = watcher.sees(x, y).then(() => performance.now());
    await guest.tell({ op: 'f', x, y, width: 8, height: 16, argument: 1 + random(0xffffff) });
    const written = performance.now();
    found.push(Math.max(0, (await seen) - written));
  }
  return found;
}

async function scene(watcher: Watcher, step: (i: number) => Promise<void>): Promise<SceneFigures> {
  await sleep(500);
  const before = { bytes: watcher.bytes, pictures: watcher.pictures };
  const begun = performance.now();
  for (let i = 0; i < SCENE.steps; i++) {
    await step(i);
    await sleep(Math.max(0, begun + (i + 1) * SCENE.everyMs - performance.now()));
  }
  await sleep(500);
  const seconds = (SCENE.steps * SCENE.everyMs) / 1000;
  return {
    bytes: (watcher.bytes - before.bytes) / seconds,
    pictures: (watcher.pictures - before.pictures) / seconds,
  };
}

async function timed(work: () => Promise<void>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no ${what} within ${LIMIT_MS / 1000} s`)), LIMIT_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const runs = readRuns(1);
process.stdout.write(`${aboutThisMachine()}\n`);
const directory = await mkdtemp(join(tmpdir(), 'teremok-bench-'));
try {
  const kernel = join(directory, 'drawing.bin');
  await writeFile(kernel, drawingKernel());
  const machines: [name: string, start: () => Promise<DrawingGuest>][] = [
    [
      'teremok',
      async () => {
        const port = await freePort();
        const args = [
          join(projectRoot, 'src/cli/bin/teremok.js'),
          'run',
          '--memory',
          '64',
          '--kernel',
          kernel,
        ];
        args.push('--serial', 'stdio', '--display', `vnc=${port}`);
        return DrawingGuest.start(process.execPath, args, port);
      },
    ],
  ];
  const version = qemuVersion();
  if (version !== undefined) {
    machines.push([
      `qemu ${version} (tcg)`,
      async () => {
        const port = await freePort();
        const args = ['-accel', 'tcg', '-m', '64', '-vga', 'std', '-kernel', kernel, '-nic', 'none'];
        const vnc = `127.0.0.1:${port - FIRST_PORT}`;
        args.push('-serial', 'stdio', '-monitor', 'none', '-display', 'none', '-vnc', vnc);
        return DrawingGuest.start(QEMU, args, port);
      },
    ]);
  }
  for (const mode of MODES) {
    const rows: string[][] = [];
    for (const [name, start] of machines) {
      const all: Figures[] = [];
      for (let run = 0; run < runs; run++) {
        const guest = await start();
        try {
          all.push(await measure(guest, mode));
        } finally {
          await guest.stop();
        }
      }
      const latency = all.flatMap((figures) => figures.latency).sort((a, b) => a - b);
      const middle = (figure: (figures: Figures) => number): number => median(all.map(figure));
      rows.push([
        name,
        median(latency).toFixed(1),
        latency[Math.floor(latency.length * 0.95)].toFixed(1),
        (middle(({ console }) => console.bytes) / 1000).toFixed(1),
        middle(({ console }) => console.pictures).toFixed(1),
        (middle(({ window }) => window.bytes) / 1000).toFixed(1),
        middle(({ window }) => window.pictures).toFixed(1),
        `${middle(({ slower }) => slower).toFixed(2)}×`,
      ]);
    }
    process.stdout.write(`\n${mode.width} × ${mode.height}\n`);
    printTable(['', 'ms median', 'ms P95', 'console kB/s', '/s', 'window kB/s', '/s', 'guest slower'], rows);
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}
