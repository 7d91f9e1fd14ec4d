import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import { test } from 'node:test';
import { ENC, RfbClient } from '../../../test/support/rfb/client.ts';
import { PaintedScreen } from '../../../test/support/rfb/painted-screen.ts';
import type { KeyboardInput, PointerInput } from '../backends/input.ts';
import { serveDisplay } from './display-server.ts';

class Guest implements KeyboardInput, PointerInput {
  absolute = false;
  leds = { scroll: false, num: false, caps: false };
  readonly did: unknown[] = [];
  #wake: (() => void) | undefined;

  key(code: number, down: boolean): void {
    this.#did(['key', code, down]);
  }
  onLeds(): void {}
  readonly waiting = 0;
  onDrained(): void {}
  move(...args: readonly number[]): void {
    this.#did(['move', ...args]);
  }
  place(...args: readonly number[]): void {
    this.#did(['place', ...args]);
  }

  async until(count: number): Promise<void> {
    while (this.did.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #did(what: unknown): void {
    this.did.push(what);
    this.#wake?.();
  }
}

async function clientOn(socket: Pick<Socket, 'write' | 'on'>): Promise<RfbClient> {
  const client = new RfbClient((bytes) => void socket.write(bytes));
  socket.on('data', (bytes: Buffer) => client.feed(bytes));
  socket.on('close', () => client.end());
  socket.on('error', () => client.end());
  await client.handshake();
  return client;
}

test('viewers on TCP and on a stream see the screen and drive the guest; watching ends with the last', async () => {
  const screen = new PaintedScreen(320, 200);
  const guest = new Guest();
  const display = await serveDisplay({ screen, keyboard: guest, pointer: guest, listen: { port: 0 } });
  assert.equal(screen.watched, false);
  const socket = connect(display.port as number, '127.0.0.1');
  const overTcp = await clientOn(socket);
  const [ours, theirs] = duplexPair();
  display.attach(theirs, { viewOnly: true });
  const onStream = await clientOn(ours as unknown as Socket);
  screen.paint({ x: 0, y: 0, width: 320, height: 200 }, (x, y) => x * 256 + y);
  for (const client of [overTcp, onStream]) {
    client.setEncodings(ENC.tight, ENC.copyRect);
    client.request(false);
    await client.update();
    client.request(true);
    if (client.pixels[320 * 100 + 100] !== 100 * 256 + 100) await client.update();
    assert.equal(client.pixels[320 * 100 + 100], 100 * 256 + 100);
  }
  screen.paint({ x: 5, y: 5, width: 1, height: 1 }, () => 0xabcdef);
  await onStream.update();
  assert.equal(onStream.pixels[320 * 5 + 5], 0xabcdef);

  onStream.key(true, 0x61);
  overTcp.key(true, 0x62);
  overTcp.pointer(10, 10, 0);
  overTcp.pointer(15, 8, 1);
  await guest.until(3);
  guest.absolute = true;
  overTcp.pointer(319, 199, 0);
  await guest.until(4);
  assert.deepEqual(guest.did, [
    ['key', 0x30, true],
    ['move', 0, 0, 0, 0],
    ['move', 5, -2, 0, 1],
    ['place', 1, 1, 0, 0],
  ]);
  assert.equal(display.viewers, 2);
  assert.equal(screen.watched, true);

  socket.destroy();
  await guest.until(5);
  assert.deepEqual(guest.did[4], ['key', 0x30, false]);
  ours.destroy();
  while (screen.watched) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(display.viewers, 0);
  await display.close();
});

test('a Unix socket is its owner’s, and one that was left behind is taken over', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'teremok-display-'));
  const path = join(directory, 'display.sock');
  const guest = new Guest();
  const options = { screen: new PaintedScreen(64, 64), keyboard: guest, pointer: guest, listen: { path } };
  const display = await serveDisplay(options);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  const client = await clientOn(connect(path));
  assert.equal(client.width, 64);
  await assert.rejects(serveDisplay(options), /EADDRINUSE/);
  await display.close();
  await rm(directory, { recursive: true });
});

test('the end of the display ends its viewers', async () => {
  const guest = new Guest();
  const display = await serveDisplay({ screen: new PaintedScreen(64, 64), keyboard: guest, pointer: guest });
  const [ours, theirs] = duplexPair();
  display.attach(theirs);
  await clientOn(ours as unknown as Socket);
  const ended = once(ours, 'end');
  await display.close();
  await ended;
  const [, late] = duplexPair();
  display.attach(late);
  assert.equal(late.destroyed, true);
});

test('an unknown layout is refused', async () => {
  const guest = new Guest();
  const options = { screen: new PaintedScreen(64, 64), keyboard: guest, pointer: guest, keymap: 'xx' };
  await assert.rejects(serveDisplay(options), /keyboard layout "xx"/);
});
