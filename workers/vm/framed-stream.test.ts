import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { FRAME_TYPES, type Frame, FrameDecoder } from '../../src/contracts/channel.ts';
import { FramedStream } from './framed-stream.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-framed-'));
});
after(async () => rm(directory, { recursive: true, force: true }));

/** Two ends of a connection. */
async function pair(name: string): Promise<{ here: Socket; there: Socket; close(): void }> {
  const path = join(directory, name);
  const server = createServer().listen(path);
  const there = connect({ path });
  const [here] = (await once(server, 'connection')) as [Socket];
  there.on('error', () => {});
  return { here, there, close: () => server.close() };
}

test('what is written arrives in output frames, however large it is', async () => {
  const { here, there, close } = await pair('frames');
  const stream = new FramedStream(here);
  const decoder = new FrameDecoder();
  const frames: Frame[] = [];
  there.on('data', (chunk: Buffer) => decoder.push(chunk, (frame) => frames.push(frame)));
  const bytes = Buffer.alloc(300_000, 'x');
  stream.end(bytes);
  await once(there, 'end');
  assert.ok(frames.length > 4 && frames.every(({ type }) => type === FRAME_TYPES.output));
  assert.ok(Buffer.concat(frames.map(({ payload }) => payload)).equals(bytes));
  there.destroy();
  close();
});

test('what is fed is read, and a reader that waits holds the connection up', async () => {
  const { here, there, close } = await pair('feed');
  const stream = new FramedStream(here);
  stream.feed(Buffer.from('hello'));
  assert.equal(String((await once(stream, 'data'))[0]), 'hello');
  stream.pause();
  for (let n = 0; n < 4; n++) stream.feed(Buffer.alloc(32 * 1024));
  assert.equal(here.isPaused(), true);
  stream.resume();
  await once(stream, 'data');
  while (here.isPaused()) await new Promise((resolve) => setImmediate(resolve));
  there.destroy();
  await once(stream, 'close');
  stream.feed(Buffer.from('too late'));
  close();
});

test('a peer that takes nothing is dropped', async () => {
  const { here, there, close } = await pair('stall');
  there.pause();
  const stream = new FramedStream(here, 50);
  const writing = (): void => {
    while (!stream.destroyed && stream.write(Buffer.alloc(64 * 1024)));
  };
  stream.on('drain', writing);
  writing();
  await once(stream, 'close');
  there.destroy();
  close();
});
