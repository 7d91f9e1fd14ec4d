import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Picture, readPpm } from './picture.ts';
import { sceneKernel } from './scene-kernel.ts';
import type { Scene } from './scenes.ts';

/** QMP's answer to a command that went well. */
const DONE = '"return"';
const DEADLINE = 120_000;

/**
 * What QEMU's std VGA shows of each scene.
 *
 * @throws Error when QEMU is not there or does not get through within two minutes
 */
export async function qemuScreens(scenes: readonly Scene[]): Promise<Picture[]> {
  const directory = await mkdtemp(join(tmpdir(), 'teremok-vga-'));
  const kernel = join(directory, 'kernel');
  await writeFile(kernel, sceneKernel(scenes));
  const [serial, monitor] = ['serial', 'monitor'].map((name) => join(directory, name));
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-accel', 'tcg', '-m', '64', '-vga', 'std', '-display', 'none', '-no-reboot', '-kernel', kernel],
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
    for (const [i] of scenes.entries()) {
      await line.until(String.fromCharCode(0x41 + i));
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
