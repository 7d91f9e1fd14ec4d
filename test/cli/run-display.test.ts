// `teremok run` with something to start from and a screen: what viewers see, and what the serial line says without one.
import assert from 'node:assert/strict';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { FIRMWARE, provideDebianFiles, RESCUE_DISCS } from '../../src/cli/setup/guest/debian-files.ts';
import { PictureText } from '../support/picture-text.ts';
import { plainText } from '../support/plain-text.ts';
import { ENC, RfbClient } from '../support/rfb/client.ts';
import type { Picture } from '../vga/picture.ts';
import { pictureCode } from '../vga/picture-code.ts';
import { sceneKernel } from '../vga/scene-kernel.ts';
import { SCENES } from '../vga/scenes.ts';
import { startCli } from './cli-process.ts';

/** Firmware and discs take their time on a machine that has others to do. */
const PATIENT = { timeout: 400_000 };
/** For a text or a picture to come. Milliseconds. */
const PATIENCE = 120_000;

let folder: string;
let firmware: string;
let discs: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'teremok-run-display-'));
  firmware = await provideDebianFiles(FIRMWARE, cacheDirectory());
  discs = await provideDebianFiles(RESCUE_DISCS, cacheDirectory());
});
after(() => rm(folder, { recursive: true, force: true }));

/** A `teremok run`, with all that its serial line said. */
class Run {
  said = '';
  readonly child: ChildProcessWithoutNullStreams;

  constructor(args: readonly string[]) {
    this.child = startCli(['run', '--memory', '128', ...args], { TEREMOK_CACHE: cacheDirectory() });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.setEncoding('latin1').on('data', (text: string) => {
        this.said += text;
      });
    this.child.stdin.on('error', () => {});
  }

  async until<T>(look: () => Promise<T | undefined> | T | undefined, what: () => string): Promise<T> {
    for (const end = performance.now() + PATIENCE; ; ) {
      const found = await look();
      if (found !== undefined) return found;
      if (this.child.exitCode !== null) throw new Error(`it ended: ${this.said}`);
      if (performance.now() > end) throw new Error(what());
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  says(pattern: RegExp): Promise<RegExpExecArray> {
    return this.until(
      () => pattern.exec(plainText(this.said)) ?? undefined,
      () => `${pattern} did not come on the serial line: ${plainText(this.said).slice(-2000)}`,
    );
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const closed = once(this.child, 'close');
    this.child.kill('SIGTERM');
    await closed;
  }
}

async function running(args: readonly string[], look: (run: Run) => Promise<void>): Promise<void> {
  const run = new Run(args);
  try {
    await look(run);
  } finally {
    await run.end();
  }
}

/** A viewer on the display's Unix socket. */
class Viewer {
  readonly client: RfbClient;
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.client = new RfbClient((bytes) => void socket.write(bytes));
    socket.on('data', (bytes) => this.client.feed(bytes as Buffer));
    socket.on('close', () => this.client.end());
  }

  static async open(run: Run, path: string): Promise<Viewer> {
    await run.until(
      () => existsSync(path) || undefined,
      () => `there is no ${path}`,
    );
    const socket = connect(path);
    await once(socket, 'connect');
    const viewer = new Viewer(socket);
    await viewer.client.handshake();
    viewer.client.setEncodings(ENC.zrle, ENC.raw, ENC.desktopSize);
    return viewer;
  }

  /** The next picture, of which a part may be missing once the size has changed. */
  async picture(): Promise<Picture> {
    const { client } = this;
    client.request(false);
    await client.update();
    const { width, height } = client;
    const rgb = new Uint8Array(width * height * 3);
    client.pixels.forEach((value, i) => {
      rgb.set([value >> 16, value >> 8, value], 3 * i);
    });
    return { width, height, rgb };
  }

  close(): void {
    this.#socket.destroy();
  }
}

test('--kernel with --display: a viewer sees what the kernel draws, as QEMU shows it', PATIENT, async () => {
  const names = ['text80', 'planes-12', 'vbe-16'];
  const scenes = names.map((name) => {
    const scene = SCENES.find((one) => one.name === name);
    assert.ok(scene);
    return scene;
  });
  const kernel = join(folder, 'scenes');
  await writeFile(kernel, sceneKernel(scenes));
  const expected = JSON.parse(await readFile(join(import.meta.dirname, '../vga/expected.json'), 'utf8'));
  const socket = join(folder, 'kernel.sock');
  await running(['--kernel', kernel, '--display', `vnc=unix:${socket}`], async (run) => {
    const viewer = await Viewer.open(run, socket);
    for (const [i, name] of names.entries()) {
      await run.says(new RegExp(`^${'ABC'.slice(0, i + 1)}$`));
      let shown = '';
      await run.until(
        async () => {
          shown = pictureCode(await viewer.picture());
          return shown === expected[name] || undefined;
        },
        () => `${name} is shown as ${shown}, not as ${expected[name]}`,
      );
      run.child.stdin.write('.');
    }
    viewer.close();
  });
});

test("--cdrom: GRUB's rescue disc comes to its menu and its command line, on the serial line", PATIENT, () =>
  running(['--cdrom', join(discs, 'grub-rescue.iso')], async (run) => {
    await run.says(/GNU GRUB +version 2[\s\S]*GNU\/Linux[\s\S]*executed automatically/);
    run.child.stdin.write('c');
    await run.says(/grub> /);
  }),
);

test("--cdrom: iPXE's disc comes to its banner and finds no network, on the serial line", PATIENT, () =>
  running(['--cdrom', join(discs, 'ipxe.iso')], async (run) => {
    await run.says(/iPXE initialising devices\.\.\.[\s\S]*Open Source Network Boot Firmware/);
    await run.says(/No more network devices/);
  }),
);

test('--cdrom with --display: memtest86+ tests memory, read off the picture', PATIENT, async () => {
  const font = new PictureText(await readFile(join(firmware, 'vgabios-stdvga.bin')));
  const socket = join(folder, 'memtest.sock');
  const args = ['--cdrom', join(discs, 'memtest86+.iso'), '--display', `vnc=unix:${socket}`];
  await running(args, async (run) => {
    const viewer = await Viewer.open(run, socket);
    let text = '';
    await run.until(
      async () => {
        text = font.read(await viewer.picture());
        return /Pass +\d+%/.test(text) || undefined;
      },
      () => `memtest86+ shows no test under way:\n${text}`,
    );
    assert.match(text, /Memtest86\+ v/);
    assert.match(text, /Memory +: +128MB/);
    assert.match(text, /Errors: 0/);
    viewer.close();
  });
});
