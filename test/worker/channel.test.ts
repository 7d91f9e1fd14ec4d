import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { Frame, VmMessage } from '../../src/contracts/channel.ts';
import {
  BACKLOG_BYTES,
  CHANNEL_VERSION,
  encodeBytes,
  encodeControl,
  encodeFrame,
  FRAME_TYPES,
  FrameDecoder,
  MAX_FRAME_BYTES,
  parseVmMessage,
} from '../../src/contracts/channel.ts';
import { ChannelServer } from '../../workers/vm/channel-server.ts';
import { MAX_SESSIONS_AWAY } from '../../workers/vm/input-sessions.ts';

let directory: string;
let path: string;
let server: ChannelServer;
let received = Buffer.alloc(0);
let room = true;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-channel-'));
  path = join(directory, 'vm.sock');
  const identity = { vmId: 'vm_x', launchId: 'launch', pid: process.pid, startTicks: '1' };
  const status = { state: 'running', engine: 'interpret', resets: 0 } as const;
  server = new ChannelServer(identity, {
    status: () => status,
    input: (bytes) => {
      received = Buffer.concat([received, bytes]);
      return room;
    },
    perform: async () => status,
    display: () => undefined,
    useTool: async () => ({}),
    agentPresent: () => {},
  });
  await server.listen(path);
});
after(async () => {
  await server.close({ kind: 'stop' });
  await rm(directory, { recursive: true, force: true });
});

/** A connection that keeps what it is sent. */
class Peer {
  readonly socket: Socket;
  readonly messages: VmMessage[] = [];
  output = Buffer.alloc(0);
  readonly #decoder = new FrameDecoder();

  constructor() {
    this.socket = connect({ path });
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk) => this.#decoder.push(Buffer.from(chunk), (frame) => this.#take(frame)));
  }

  /** Says hello as a console with an input session. */
  session(session: string, sent: number): this {
    const input = { session, sent };
    this.socket.write(encodeControl({ type: 'hello', version: CHANNEL_VERSION, role: 'console', input }));
    return this;
  }

  type(bytes: string | Buffer): void {
    for (const frame of encodeBytes(FRAME_TYPES.input, Buffer.from(bytes))) this.socket.write(frame);
  }

  /** How much input the VM said last that it has. */
  get taken(): number | undefined {
    let taken: number | undefined;
    for (const message of this.messages) {
      if (message.type === 'hello' || message.type === 'taken') taken = message.taken;
    }
    return taken;
  }

  hello(role: 'agent' | 'console' | 'log', resume?: { launchId: string; position: number }): this {
    const message = { type: 'hello', version: CHANNEL_VERSION, role } as const;
    this.socket.write(encodeControl(resume === undefined ? message : { ...message, resume }));
    return this;
  }

  async until(test: () => boolean): Promise<void> {
    while (!test()) await once(this.socket, 'data');
  }

  #take(frame: Frame): void {
    if (frame.type === FRAME_TYPES.control) this.messages.push(parseVmMessage(frame.payload));
    else this.output = Buffer.concat([this.output, frame.payload]);
  }
}

/** A console that works, as proof that the server does. */
async function assertServes(): Promise<void> {
  const peer = new Peer().hello('console');
  await peer.until(() => peer.messages.length > 0);
  const mark = `mark ${Math.random()}`;
  server.output(Buffer.from(mark));
  await peer.until(() => peer.output.includes(mark));
  peer.socket.destroy();
}

async function closes(peer: Peer): Promise<void> {
  if (!peer.socket.closed) await once(peer.socket, 'close');
}

test('frames survive any cutting of the stream', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom(1, 2, 3), fc.uint8Array({ maxLength: 300 })), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 50 }),
      (frames, cuts) => {
        const stream = Buffer.concat(
          frames.map(([type, payload]) => encodeFrame(type as 1 | 2 | 3, payload)),
        );
        const decoder = new FrameDecoder();
        const seen: [number, number[]][] = [];
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const size = cuts[turn % cuts.length] ?? 1;
          decoder.push(stream.subarray(at, at + size), ({ type, payload }) =>
            seen.push([type, [...payload]]),
          );
          at += size;
        }
        assert.deepEqual(
          seen,
          frames.map(([type, payload]) => [type, [...payload]]),
        );
        assert.equal(decoder.idle, true);
      },
    ),
  );
});

test('a frame is at most MAX_FRAME_BYTES, in both directions', () => {
  assert.throws(() => encodeFrame(2, new Uint8Array(MAX_FRAME_BYTES)), { code: 'malformed' });
  const header = Buffer.alloc(4);
  for (const length of [0, MAX_FRAME_BYTES + 1, 0xffffffff]) {
    header.writeUInt32BE(length, 0);
    assert.throws(() => new FrameDecoder().push(header, () => {}), { code: 'malformed' });
  }
  assert.equal(encodeBytes(FRAME_TYPES.input, new Uint8Array(3 * MAX_FRAME_BYTES)).length, 4);
});

test('control messages that are none are refused, never thrown at', () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string(), fc.constant('{"type":"hello"}')), (text) => {
      try {
        parseVmMessage(Buffer.from(text));
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'malformed');
      }
    }),
  );
});

test('malformed frames end only the connection that they came on', async () => {
  const bystander = new Peer().hello('console');
  await bystander.until(() => bystander.messages.length > 0);
  const control = (value: unknown): Buffer =>
    encodeFrame(FRAME_TYPES.control, Buffer.from(JSON.stringify(value)));
  const bad: Buffer[] = [
    Buffer.from([0, 0, 0, 0]),
    Buffer.from([0xff, 0xff, 0xff, 0xff, 1]),
    Buffer.from([0, 0, 0, 2, 9, 9]),
    Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
    encodeFrame(FRAME_TYPES.control, Buffer.from([0xff, 0xfe])),
    control(null),
    control([]),
    control({ type: 'hello', version: CHANNEL_VERSION, role: 'root' }),
    control({ type: 'hello', version: -1, role: 'console' }),
    control({ type: 'hello', version: CHANNEL_VERSION + 1, role: 'console' }),
    control({ type: 'hello', version: CHANNEL_VERSION, role: 'console', resume: { position: -1 } }),
    control({ type: 'hello', version: CHANNEL_VERSION, role: 'console', input: { session: 'x', sent: -1 } }),
    control({
      type: 'hello',
      version: CHANNEL_VERSION,
      role: 'console',
      input: { session: 'x'.repeat(65), sent: 0 },
    }),
    control({ type: 'hello', version: CHANNEL_VERSION, role: 'log', input: { session: 'x', sent: 0 } }),
    control({ type: 'request', id: 1, operation: 'stop' }),
    encodeFrame(FRAME_TYPES.input, Buffer.from('too early')),
    encodeFrame(FRAME_TYPES.output, Buffer.from('not yours')),
  ];
  for (const bytes of bad) {
    const peer = new Peer();
    peer.socket.write(bytes);
    await closes(peer);
    assert.equal(peer.messages.at(-1)?.type, 'error');
  }
  const console = new Peer().hello('console');
  console.socket.write(control({ type: 'request', id: 1, operation: 'stop' }));
  await closes(console);
  assert.equal(bystander.socket.destroyed, false);
  bystander.socket.destroy();
  await assertServes();
});

test('random bytes end only the connection that they came on', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 5, maxLength: 400 }), async (bytes) => {
      const peer = new Peer();
      peer.socket.end(bytes);
      await closes(peer);
    }),
    { numRuns: 60 },
  );
  await assertServes();
});

test('a viewer that comes back goes on from its position', async () => {
  const first = new Peer().hello('log');
  await closes(first);
  const hello = first.messages[0];
  assert.ok(hello?.type === 'hello');
  const end = hello.position + first.output.length;
  server.output(Buffer.from('what it missed'));
  const again = new Peer().hello('log', { launchId: 'launch', position: end });
  await closes(again);
  assert.equal(again.output.toString(), 'what it missed');
  const elsewhere = new Peer().hello('log', { launchId: 'another launch', position: end });
  await closes(elsewhere);
  assert.ok(elsewhere.output.length > again.output.length);
});

test('the backlog is the last 64 KiB', async () => {
  const bytes = Buffer.alloc(BACKLOG_BYTES + 1000, 'x');
  bytes.write('end', bytes.length - 3);
  server.output(bytes);
  const peer = new Peer().hello('log');
  await closes(peer);
  assert.equal(peer.output.length, BACKLOG_BYTES);
  assert.equal(peer.output.subarray(-3).toString(), 'end');
});

test('a viewer that does not read is dropped, and the others lose nothing', async () => {
  const deaf = new Peer().hello('console');
  await deaf.until(() => deaf.messages.length > 0);
  deaf.socket.pause();
  const good = new Peer().hello('console');
  await good.until(() => good.messages.length > 0);
  const start = good.output.length;
  const chunk = Buffer.alloc(32 * 1024, 'y');
  let sent = 0;
  while (server.viewers > 1) {
    assert.ok(sent < 64 * 1024 * 1024, 'the deaf viewer was never dropped');
    server.output(chunk);
    sent += chunk.length;
    await good.until(() => good.output.length - start >= sent);
    // Only the last of it matters from here on.
    if (good.output.length > 1024 * 1024) {
      sent -= good.output.length - start;
      good.output = Buffer.alloc(start);
    }
  }
  good.socket.destroy();
  deaf.socket.destroy();
  await assertServes();
});

test('a viewer that types faster than the guest reads is held up until there is room', async () => {
  room = false;
  received = Buffer.alloc(0);
  const peer = new Peer().hello('console');
  await peer.until(() => peer.messages.length > 0);
  const typed = Buffer.alloc(8 * 1024 * 1024, 'z');
  for (const frame of encodeBytes(FRAME_TYPES.input, typed)) peer.socket.write(frame);
  await assertServes();
  assert.ok(received.length < 1024 * 1024, `${received.length} bytes were taken`);
  room = true;
  server.inputHasRoom();
  if (peer.socket.writableLength > 0) await once(peer.socket, 'drain');
  await assertServes();
  assert.equal(received.length, typed.length);
  peer.socket.destroy();
});

test('input is counted over the connections of a session, and the newest cuts off the one before', async () => {
  received = Buffer.alloc(0);
  const first = new Peer().session('one', 0);
  await first.until(() => first.taken === 0);
  first.type('hello ');
  await first.until(() => first.taken === 6);
  // The guest has no room: what comes after this is left in the socket.
  room = false;
  first.type('world');
  await first.until(() => first.taken === 11);
  first.type('unread');
  const second = new Peer().session('one', 17);
  await second.until(() => second.taken !== undefined);
  assert.equal(second.taken, 11);
  await closes(first);
  room = true;
  server.inputHasRoom();
  second.type('read once');
  await second.until(() => second.taken === 20);
  assert.equal(received.toString(), 'hello worldread once');
  second.socket.destroy();
});

test('an acknowledgement stands for all input of a turn, however small its frames', async () => {
  const peer = new Peer().session('two', 0);
  await peer.until(() => peer.taken === 0);
  const frames = Array.from({ length: 5000 }, () => encodeFrame(FRAME_TYPES.input, Buffer.from('x')));
  peer.socket.write(Buffer.concat(frames));
  await peer.until(() => peer.taken === 5000);
  assert.ok(peer.messages.length < 500, `${peer.messages.length} messages`);
  peer.socket.destroy();
});

test('sessions that are away are remembered, the latest only; an unknown one begins where its viewer is', async () => {
  const visit = async (id: string, sent: number, typed: string): Promise<number | undefined> => {
    const peer = new Peer().session(id, sent);
    await peer.until(() => peer.taken !== undefined);
    const taken = peer.taken;
    peer.type(typed);
    await peer.until(() => peer.taken === Number(taken) + typed.length);
    peer.socket.end();
    await closes(peer);
    return taken;
  };
  assert.equal(await visit('away', 3, 'abc'), 3);
  assert.equal(await visit('away', 100, 'abc'), 6);
  for (let i = 1; i < MAX_SESSIONS_AWAY; i++) await visit(`other ${i}`, 0, 'x');
  assert.equal(await visit('away', 100, 'abc'), 9);
  for (let i = 0; i < MAX_SESSIONS_AWAY; i++) await visit(`more ${i}`, 0, 'x');
  assert.equal(await visit('away', 100, ''), 100);
});

test('a new agent takes the place of the one before', async () => {
  const first = new Peer().hello('agent');
  await first.until(() => first.messages.length > 0);
  const second = new Peer().hello('agent');
  await second.until(() => second.messages.length > 0);
  await closes(first);
  second.socket.write(encodeControl({ type: 'request', id: 7, operation: 'status' }));
  await second.until(() => second.messages.some((message) => message.type === 'reply'));
  second.socket.destroy();
});
