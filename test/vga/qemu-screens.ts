import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Picture, readPpm } from './picture.ts';
import { sceneKernel, sceneMark } from './scene-kernel.ts';
import type { Scene } from './scenes.ts';

/** QMP's answer to a command that went well. */
const DONE = '"return"';
const DEADLINE = 120_000;

/** What QEMU's std VGA shows of each scene. Fails as `qemuPictures` does. */
export async function qemuScreens(scenes: readonly Scene[]): Promise<Picture[]> {
  const directory = await mkdtemp(join(tmpdir(), 'teremok-vga-'));
  try {
    const kernel = join(directory, 'kernel');
    await writeFile(kernel, sceneKernel(scenes));
    return await qemuPictures(['-kernel', kernel], scenes.map(sceneMark));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * Runs a guest under QEMU that says a mark on COM1 for each picture, and waits
 * for a byte before it goes on. `boot`: what to start, as QEMU's arguments.
 *
 * @throws Error when QEMU is not there or does not get through within two minutes
 */
export async function qemuPictures(boot: readonly string[], marks: readonly string[]): Promise<Picture[]> {
  const directory = await mkdtemp(join(tmpdir(), 'teremok-qemu-'));
  const [serial, monitor] = ['serial', 'monitor'].map((name) => join(directory, name));
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-accel', 'tcg', '-m', '64', '-vga', 'std', '-display', 'none', '-no-reboot', ...boot],
      ...['-serial', `unix:${serial},server,wait`, '-qmp', `unix:${monitor},server,wait`],
    ],
    { stdio: ['ignore', 'ignore', 'ignore'], timeout: DEADLINE },
  );
  const ended = once(child, 'close');
  try {
    // QEMU waits for both, in an order of its own.
    const [line, monitoring] = (await Promise.all([serial, monitor].map(connected))).map(
      (socket) => new Conversation(socket),
    );
    monitoring.say('{"execute": "qmp_capabilities"}');
    await monitoring.until(DONE);
    const pictures: Picture[] = [];
    for (const [i, mark] of marks.entries()) {
      await line.until(mark);
      const file = join(directory, `${i}.ppm`);
      monitoring.say(JSON.stringify({ execute: 'screendump', arguments: { filename: file } }));
      await monitoring.until(DONE);
      pictures.push(readPpm(await readFile(file)));
      line.say('.');
    }
    return pictures;
  } finally {
    child.kill();
    await ended;
    await rm(directory, { recursive: true, force: true });
  }
}

/** Connects once the socket is there. */
async function connected(path: string): Promise<Socket> {
  for (const end = Date.now() + DEADLINE; Date.now() < end; ) {
    const socket = createConnection(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error(`nobody listens at ${path}`);
}

class Conversation {
  readonly #socket: Socket;
  #heard = '';

  constructor(socket: Socket) {
    this.#socket = socket.setEncoding('latin1');
    // QEMU ends in the middle of a sentence.
    socket.on('error', () => {});
  }

  say(text: string): void {
    this.#socket.write(text);
  }

  /** Waits for `text`, and forgets what came before it. */
  async until(text: string): Promise<void> {
    while (!this.#heard.includes(text)) {
      const [piece] = (await once(this.#socket, 'data')) as [string];
      this.#heard += piece;
    }
    this.#heard = this.#heard.slice(this.#heard.indexOf(text) + text.length);
  }
}
