import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { MAX_CONSOLE_MESSAGE_BYTES } from '../../src/contracts/console.ts';
import { newId } from '../../src/lib/ids.ts';
import { makeTenant, withApi } from './support.ts';

/** How long a viewer may take for what waits for it: modules/events/events.service.ts. */
const STALL_MS = 10_000;

/** What a WebSocket's client can do wrong; of consoles and screens: test/cli/client.test.ts, test/worker/screen.test.ts. */
describe('bad WebSocket clients', () => {
  const { api, call } = withApi();
  let url: URL;

  before(async () => {
    url = new URL(await api.app.listen({ host: '127.0.0.1', port: 0 }));
  });

  const open = async (key: string): Promise<{ socket: WebSocket; seen: number }> => {
    const socket = new WebSocket(new URL('/v1/events', url), { headers: { authorization: `Bearer ${key}` } });
    const viewer = { socket, seen: 0 };
    socket.on('message', () => viewer.seen++);
    await once(socket, 'open');
    return viewer;
  };

  /** An upgraded connection, to be spoken on by hand. */
  const upgraded = async (): Promise<Socket> => {
    const socket = connect(Number(url.port), url.hostname);
    socket.on('error', () => {});
    socket.write(
      `GET /v1/events HTTP/1.1\r\nHost: ${url.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n` +
        `Authorization: Bearer ${api.tenantKey}\r\n\r\n`,
    );
    const [answer] = await once(socket, 'data');
    assert.match(String(answer), /^HTTP\/1\.1 101 /);
    return socket;
  };

  /** The code of the close frame (RFC 6455 §5.5.1) that a connection ends with. */
  const closeCode = async (socket: Socket): Promise<number> => {
    let bytes = Buffer.alloc(0);
    for await (const chunk of socket) bytes = Buffer.concat([bytes, chunk]);
    assert.equal(bytes[0], 0x88, `no close frame: ${bytes.toString('hex')}`);
    return bytes.readUInt16BE(2);
  };

  it('that stop reading events are closed, and hold up neither the service nor others', async () => {
    const tenant = await makeTenant(api);
    const deaf = await open(tenant.key);
    const good = await open(tenant.key);
    deaf.socket.pause();
    // More than the buffers of the two systems hold, and then the service's.
    const EVENTS = 1000;
    await api.db.$executeRaw`
      INSERT INTO events (tenant_id, vm_id, type, data)
      SELECT ${tenant.id}, ${newId('vm')}, 'vm.state', jsonb_build_object('pad', repeat('x', 20000))
      FROM generate_series(1, ${EVENTS}::int)`;
    while (good.seen < EVENTS) await once(good.socket, 'message');
    assert.equal((await call('GET', '/v1/vms')).status, 200);
    // It is given some seconds to take what waits for it, and then no more.
    await delay(STALL_MS + 2_000);
    const closed = once(deaf.socket, 'close');
    deaf.socket.resume();
    assert.equal((await closed)[0], 1013);
    assert.ok(deaf.seen < EVENTS);
    assert.equal(good.socket.readyState, WebSocket.OPEN);
    good.socket.close();
  });

  it('that send messages of absurd length, or what is no frame, are closed alone', async () => {
    const good = await open(api.tenantKey);
    const long = await open(api.tenantKey);
    long.socket.send(Buffer.alloc(MAX_CONSOLE_MESSAGE_BYTES + 1));
    assert.equal((await once(long.socket, 'close'))[0], 1009);
    // Frames: RFC 6455 §5.2. A mask of zeros leaves what follows as it is.
    const MASK = [0, 0, 0, 0];
    const frames: [number, readonly number[]][] = [
      [1009, [0x82, 0xff, 0x00, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ...MASK]], // 2^53 - 1 bytes
      [1009, [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ...MASK]], // 2^63 - 1 bytes
      [1002, [0x82, 0x01, 0x00]], // not masked
      [1002, [0xf2, 0x81, ...MASK, 0x00]], // reserved bits
      [1002, [0x83, 0x81, ...MASK, 0x00]], // an opcode that is none
      [1002, [0x80, 0x81, ...MASK, 0x00]], // goes on with nothing
      [1002, [0x89, 0xfe, 0x00, 0x7e, ...MASK]], // a ping of 126 bytes
      [1002, [0x88, 0x81, ...MASK, 0x00]], // half of a close code
      [1002, [0x88, 0x82, ...MASK, 0x00, 0x00]], // a close code that is none
      [1007, [0x81, 0x81, ...MASK, 0xff]], // text that is no UTF-8
    ];
    for (const [code, bytes] of frames) {
      const socket = await upgraded();
      socket.write(Uint8Array.from(bytes));
      assert.equal(await closeCode(socket), code, Buffer.from(bytes).toString('hex'));
    }
    good.socket.ping();
    await once(good.socket, 'pong');
    assert.equal(good.socket.readyState, WebSocket.OPEN);
    good.socket.close();
  });

  it('that talk where nothing is expected are not listened to', async () => {
    const talker = await open(api.tenantKey);
    for (let n = 0; n < 1000; n++) talker.socket.send(randomBytes(100));
    talker.socket.ping();
    await once(talker.socket, 'pong');
    assert.equal(talker.socket.readyState, WebSocket.OPEN);
    talker.socket.close();
  });

  it('that go away in the middle of a handshake or a frame leave nothing behind', async () => {
    for (const bytes of [[0x82], [0x82, 0xfe, 0xff], [0x82, 0x85, 1, 2, 3, 4, 5]]) {
      const socket = await upgraded();
      socket.write(Uint8Array.from(bytes));
      socket.resetAndDestroy();
      await once(socket, 'close');
    }
    const half = connect(Number(url.port), url.hostname);
    half.end('GET /v1/events HTTP/1.1\r\nUpgrade: web');
    half.resume();
    await once(half, 'close');
    // Each took a seat of its tenant's: with any left taken, so many could not be had at once.
    const sockets = await Promise.all(Array.from({ length: 256 }, () => open(api.tenantKey)));
    for (const { socket } of sockets) socket.close();
    assert.equal((await call('GET', '/v1/vms')).status, 200);
  });
});
