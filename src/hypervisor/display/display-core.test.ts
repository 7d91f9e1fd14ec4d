import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BGRX, ENC, RfbClient } from '../../../test/support/rfb/client.ts';
import { scribble, seeded } from '../../../test/support/rfb/drawing.ts';
import { PaintedScreen } from '../../../test/support/rfb/painted-screen.ts';
import type { KeyCode } from '../backends/input.ts';
import type { ScreenWatch } from '../backends/screen.ts';
import { DisplayCore } from './display-core.ts';
import { loadJpeg } from './encode/jpeg.ts';
import type { PixelFormat } from './pixel-format.ts';
import type { Viewer } from './viewer.ts';
import type { PointerMove } from './viewer-pointer.ts';
import type { Wire } from './wire.ts';

/** A wire that a test can stop. */
class TestWire implements Wire {
  taken = 0;
  backlog = 0;
  closed = false;
  paused = false;
  stopped = false;
  readonly #deliver: (bytes: Uint8Array) => void;

  constructor(deliver: (bytes: Uint8Array) => void) {
    this.#deliver = deliver;
  }

  write(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.stopped) this.backlog += bytes.length;
    else {
      this.taken += bytes.length;
      this.#deliver(bytes);
    }
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  close(): void {
    this.closed = true;
  }
}

/** A display of a painted screen, with the time and the guest in the test's hand. */
class Bench {
  readonly screen: PaintedScreen;
  readonly core: DisplayCore;
  readonly keys: [KeyCode, boolean][] = [];
  readonly moves: PointerMove[] = [];
  readonly logged: unknown[] = [];
  now = 0;
  /** Milliseconds that it takes to send something to a viewer. */
  sendingTakes = 0;
  wanted: number | undefined;
  /** Looks at once when somebody has to see the screen as it is. */
  attentive = true;
  asks = 0;
  #answered = 0;
  readonly #watch: ScreenWatch;

  constructor(width = 320, height = 200) {
    this.screen = new PaintedScreen(width, height);
    this.#watch = this.screen.watch();
    this.core = new DisplayCore({
      name: 'the test',
      keymap: 'us',
      now: () => this.now,
      key: (code, down) => void this.keys.push([code, down]),
      move: (move) => void this.moves.push(move),
      want: (after, asks) => {
        this.wanted = after;
        this.asks = asks;
        if (this.attentive && after !== undefined && asks > this.#answered) queueMicrotask(() => this.look());
      },
      log: (_, details) => void this.logged.push(details?.['reason']),
    });
  }

  /** As the machine's thread does when somebody wants a change. */
  look(): void {
    this.#answered = this.asks;
    this.wanted = undefined;
    this.core.change(this.#watch.update(), this.asks);
  }

  attach(viewOnly = false): { client: RfbClient; wire: TestWire; viewer: Viewer } {
    const client = new RfbClient((bytes) => {
      viewer.receive(Uint8Array.from(bytes));
      this.core.serve();
    });
    const wire = new TestWire((bytes) => {
      this.now += this.sendingTakes;
      client.feed(bytes);
    });
    const viewer = this.core.attach(wire, viewOnly);
    return { client, wire, viewer };
  }

  async open(...encodings: readonly number[]): Promise<ReturnType<Bench['attach']>> {
    this.look();
    const attached = this.attach();
    await attached.client.handshake();
    attached.client.setEncodings(...encodings);
    return attached;
  }

  /** Checks that the client has, in its format, what is on the screen. */
  same(client: RfbClient, message?: string): void {
    const { width, height, stride } = this.screen.surface;
    assert.deepEqual([client.width, client.height], [width, height]);
    const { red, green, blue } = client.format;
    const { pixels } = this.screen;
    const part = (byte: number, { max, shift }: { readonly max: number; readonly shift: number }): number =>
      Math.round(((byte & 0xff) * max) / 255) * 2 ** shift;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const colour = pixels[(y * stride) / 4 + x];
        const value = part(colour >> 16, red) + part(colour >> 8, green) + part(colour, blue);
        if (client.pixels[y * width + x] === value) continue;
        assert.fail(`${message ?? ''} pixel ${x},${y} is ${client.pixels[y * width + x]} and not ${value}`);
      }
    }
  }
}

const channel = (max: number, shift: number) => ({ max, shift });
const FORMATS: Readonly<Record<string, PixelFormat>> = {
  BGRX,
  'RGBX, as noVNC wants it': { ...BGRX, red: channel(255, 0), blue: channel(255, 16) },
  'XRGB, big-endian': { ...BGRX, bigEndian: true },
  'RGBX, big-endian, in the upper bytes': {
    ...BGRX,
    bigEndian: true,
    red: channel(255, 24),
    green: channel(255, 16),
    blue: channel(255, 8),
  },
  '565': {
    ...BGRX,
    bitsPerPixel: 16,
    depth: 16,
    red: channel(31, 11),
    green: channel(63, 5),
    blue: channel(31, 0),
  },
  '565, big-endian': {
    ...BGRX,
    bitsPerPixel: 16,
    depth: 16,
    bigEndian: true,
    red: channel(31, 11),
    green: channel(63, 5),
    blue: channel(31, 0),
  },
  '332': {
    ...BGRX,
    bitsPerPixel: 8,
    depth: 8,
    red: channel(7, 0),
    green: channel(7, 3),
    blue: channel(3, 6),
  },
  '30 bits': { ...BGRX, depth: 30, red: channel(1023, 20), green: channel(1023, 10), blue: channel(1023, 0) },
};

for (const encoding of ['raw', 'hextile', 'zrle', 'tight'] as const) {
  for (const [name, format] of Object.entries(FORMATS)) {
    test(`${encoding}, ${name}: random changes arrive pixel for pixel`, async () => {
      const bench = new Bench(203, 131);
      const random = seeded(name.length * 100 + encoding.length);
      const { client } = await bench.open(ENC[encoding], ENC.copyRect, ENC.desktopSize);
      client.setFormat(format);
      client.request(false);
      await client.update();
      bench.same(client, 'the first picture');
      for (let round = 0; round < 25; round++) {
        for (let i = random(3); i >= 0; i--) scribble(bench.screen, random);
        bench.look();
        client.request(true);
        bench.core.serve();
        if (client.unread > 0) await client.update();
        bench.same(client, `round ${round}`);
      }
    });
  }
}

test('a larger picture than any band, by every encoding', async () => {
  for (const encoding of [ENC.raw, ENC.hextile, ENC.zrle, ENC.tight]) {
    const bench = new Bench(2560, 70);
    const random = seeded(encoding);
    for (let i = 0; i < 4; i++) scribble(bench.screen, random);
    const { client } = await bench.open(encoding);
    client.request(false);
    await client.update();
    bench.same(client, `encoding ${encoding}`);
  }
});

test('a change of size reaches clients in the way they understand, and pictures go on', async () => {
  const bench = new Bench(320, 200);
  const random = seeded(7);
  const plain = await bench.open(ENC.tight, ENC.desktopSize);
  const extended = await bench.open(ENC.zrle, ENC.desktopSize, ENC.extendedDesktopSize);
  for (const { client } of [plain, extended]) {
    client.request(false);
    await client.update();
    while (client.unread > 0) await client.update();
  }
  assert.deepEqual(extended.client.sizes, [{ reason: 0, status: 0, width: 320, height: 200 }]);
  for (const [width, height] of [
    [640, 480],
    [640, 480],
    [100, 60],
  ]) {
    for (const { client } of [plain, extended]) client.request(true);
    bench.screen.resize(width, height);
    for (let i = 0; i < 3; i++) scribble(bench.screen, random);
    bench.look();
    for (const { client } of [plain, extended]) {
      await client.update();
      client.request(true);
      while (client.unread > 0) await client.update();
      bench.same(client, `${width}x${height}`);
    }
  }
  assert.equal(extended.client.sizes.length, 3, 'the same size is not told again');
});

test('a client that cannot change its size gets what fits', async () => {
  const bench = new Bench(64, 64);
  const { client } = await bench.open(ENC.raw);
  client.request(false);
  await client.update();
  bench.screen.resize(100, 40);
  bench.screen.paint({ x: 0, y: 0, width: 100, height: 40 }, (x, y) => x * 256 + y);
  client.request(true);
  bench.look();
  const rects = await client.update();
  assert.ok(rects.every(({ x, y, width, height }) => x + width <= 64 && y + height <= 40));
  assert.equal(client.pixels[39 * 64 + 63], 63 * 256 + 39);
});

test('what did not change is not sent, whatever was reported', async () => {
  const bench = new Bench();
  const { client } = await bench.open(ENC.raw);
  client.request(false);
  await client.update();
  bench.screen.touch({ x: 0, y: 0, width: 320, height: 200 });
  bench.screen.paint({ x: 100, y: 100, width: 2, height: 2 }, () => 0x123456);
  bench.look();
  client.request(true);
  const rects = await client.update();
  assert.deepEqual(
    rects.map(({ x, y, width, height }) => [x, y, width, height]),
    [[96, 96, 16, 16]],
  );
});

test('a scrolled console is copied at the viewer, and only the new lines are sent', async () => {
  const bench = new Bench(640, 400);
  const random = seeded(3);
  const line = (y: number): void =>
    bench.screen.paint({ x: 0, y, width: 500, height: 16 }, () => (random(3) === 0 ? 0xaaaaaa : 0));
  for (let y = 0; y < 400; y += 16) line(y);
  const copying = await bench.open(ENC.zrle, ENC.copyRect);
  const other = await bench.open(ENC.zrle);
  for (const { client } of [copying, other]) {
    client.request(false);
    await client.update();
  }
  for (let i = 0; i < 12; i++) {
    bench.screen.scroll(16);
    line(384);
    bench.look();
    // Several scrolls between two requests.
    if (i % 3 !== 2) continue;
    copying.client.request(true);
    other.client.request(true);
    const rects = await copying.client.update();
    const all = await other.client.update();
    assert.ok(rects.some(({ encoding }) => encoding === ENC.copyRect));
    const bytes = (list: typeof rects): number => list.reduce((sum, rect) => sum + rect.bytes, 0);
    assert.ok(bytes(rects) * 3 < bytes(all), `${bytes(rects)} and ${bytes(all)} bytes`);
    bench.same(copying.client);
    bench.same(other.client);
  }
});

test('JPEG comes when it is asked for, for photos alone, and looks alike', async () => {
  const bench = new Bench(256, 256);
  bench.core.useJpeg(await loadJpeg());
  bench.screen.paint({ x: 0, y: 0, width: 128, height: 256 }, (x, y) => (x & y & 8 ? 0xffffff : 0x000080));
  bench.screen.paint(
    { x: 128, y: 0, width: 128, height: 256 },
    (x, y) => 2 * x * 65536 + y * 256 + ((x * y) >> 7),
  );
  const { client } = await bench.open(ENC.tight, ENC.quality0 + 9);
  client.request(false);
  await client.update();
  assert.ok(client.jpegRects > 0);
  for (let y = 0; y < 256; y += 5) {
    for (let x = 0; x < 256; x++) {
      const want = bench.screen.pixels[(y * bench.screen.surface.stride) / 4 + x];
      const got = client.pixels[y * 256 + x];
      const most = x < 128 ? 0 : 24;
      for (const shift of [0, 8, 16]) {
        assert.ok(Math.abs(((want >> shift) & 0xff) - ((got >> shift) & 0xff)) <= most, `pixel ${x},${y}`);
      }
    }
  }
  const lossless = await bench.open(ENC.tight);
  lossless.client.request(false);
  await lossless.client.update();
  bench.same(lossless.client);
});

test('each version of the protocol comes to a picture; viewers have formats of their own', async () => {
  const bench = new Bench(48, 48);
  bench.look();
  // What is said, and what is then spoken.
  const versions = { '003.003': 3, '003.005': 3, '003.007': 7, '003.008': 8, '003.889': 8, '004.001': 8 };
  for (const [version, speaks] of Object.entries(versions)) {
    const { client } = bench.attach();
    await client.handshake({ version, speaks });
    client.request(false);
    await client.update();
    assert.equal(client.name, 'the test');
    bench.same(client, version);
  }
  assert.equal(bench.core.viewers, 6);
});

test('a viewer waits for the first look at the screen', async () => {
  const bench = new Bench(48, 48);
  bench.attentive = false;
  const { client } = bench.attach();
  const shaken = client.handshake();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(bench.wanted, 8);
  bench.look();
  await shaken;
  assert.equal(client.width, 48);
});

test('the longer the last change has taken, the later the next one is wanted', async () => {
  const bench = new Bench();
  const { client } = await bench.open(ENC.raw);
  client.request(false);
  await client.update();
  client.request(true);
  for (const [takes, wanted] of [
    [0.1, 8],
    [3, 24],
    [30, 50],
    [0, 8],
  ]) {
    bench.sendingTakes = takes;
    bench.screen.paint({ x: 10, y: 10, width: 100, height: 100 }, () => 1 + wanted);
    bench.look();
    await client.update();
    client.request(true);
    assert.equal(bench.wanted, wanted, `after ${takes} ms`);
  }
});

test('a guest that draws the screen without a pause is looked at less often', async () => {
  const bench = new Bench();
  const { client } = await bench.open(ENC.raw);
  client.request(false);
  await client.update();
  client.request(true);
  const wholes = async (count: number, later: number): Promise<(number | undefined)[]> => {
    const wanted: (number | undefined)[] = [];
    for (let n = 0; n < count; n++) {
      bench.now += (bench.wanted ?? 0) + later;
      bench.screen.paint({ x: 0, y: 0, width: 320, height: 200 }, () => bench.now);
      bench.look();
      await client.update();
      client.request(true);
      wanted.push(bench.wanted);
    }
    return wanted;
  };
  assert.deepEqual(await wholes(5, 1), [8, 8, 45, 45, 45]);
  // One that draws now and then has its picture at once.
  assert.deepEqual(await wholes(3, 40), [8, 8, 8]);
});

test('the screen is wanted only while a viewer would be sent a change', async () => {
  const bench = new Bench();
  const { client, wire, viewer } = await bench.open(ENC.raw);
  assert.equal(bench.wanted, undefined);
  client.request(false);
  await client.update();
  assert.equal(bench.wanted, undefined);
  client.request(true);
  assert.notEqual(bench.wanted, undefined);
  wire.stopped = true;
  wire.backlog = 1;
  bench.core.serve();
  assert.equal(bench.wanted, undefined);
  wire.backlog = 0;
  bench.core.serve();
  assert.notEqual(bench.wanted, undefined);
  viewer.close('test');
  bench.core.serve();
  assert.equal(bench.wanted, undefined);
});

test('who asks for whole pictures alone sees changes, and a viewer that comes later nothing of before', async () => {
  const bench = new Bench(48, 48);
  const { client } = await bench.open(ENC.raw);
  for (const colour of [0x11_22_33, 0x44_55_66]) {
    bench.screen.paint({ x: 0, y: 0, width: 48, height: 48 }, () => colour);
    client.request(false);
    await client.update();
    bench.same(client);
  }
  bench.screen.paint({ x: 0, y: 0, width: 48, height: 48 }, () => 0x77_88_99);
  bench.screen.resize(64, 32);
  const later = bench.attach().client;
  await later.handshake();
  assert.deepEqual([later.width, later.height], [64, 32]);
  later.request(true);
  await later.update();
  bench.same(later);
});

test('a look that was made before it was asked for answers nobody', async () => {
  const bench = new Bench(48, 48);
  const { client } = await bench.open(ENC.raw);
  bench.attentive = false;
  const before = bench.asks;
  client.request(false);
  assert.equal(bench.asks, before + 1);
  const { bytesRead } = client;
  bench.core.change({ surface: bench.screen.surface, replaced: false, rects: [] }, before);
  assert.equal(client.unread + client.bytesRead, bytesRead);
  // More requests do not put it off.
  client.request(false);
  bench.core.change({ surface: bench.screen.surface, replaced: false, rects: [] }, before + 1);
  await client.update();
  bench.same(client);
});

test('no frame is queued behind one that was not taken, and who stands still is dropped', async () => {
  const bench = new Bench();
  const { client, wire } = await bench.open(ENC.raw);
  client.request(false);
  await client.update();
  wire.stopped = true;
  for (let i = 0; i < 50; i++) {
    bench.screen.paint({ x: 0, y: 0, width: 320, height: 200 }, () => i);
    client.request(true);
    bench.look();
  }
  assert.ok(wire.backlog < 320 * 200 * 4 + 1000, `${wire.backlog} bytes wait`);
  bench.core.tick();
  bench.now += 29_000;
  bench.core.tick();
  assert.equal(wire.closed, false);
  bench.now += 2_000;
  bench.core.tick();
  assert.equal(wire.closed, true);
  assert.deepEqual(bench.logged, ['does not read']);
});

test('continuous updates go on without requests, as far ahead as fences are answered', async () => {
  const bench = new Bench();
  const { client } = await bench.open(ENC.zrle, ENC.fence, ENC.continuous);
  await client.message();
  await client.message();
  assert.equal(client.fences.length, 1);
  assert.equal(client.continuousEnds, 1);
  client.mute = true;
  client.continuous(true);
  await client.update();
  for (let i = 0; i < 10; i++) {
    bench.screen.paint({ x: 0, y: 0, width: 64, height: 64 }, () => i + 1);
    bench.look();
  }
  let updates = 1;
  while (client.unread > 0) {
    await client.message();
    updates++;
  }
  // Each update is followed by its fence.
  assert.equal(updates, 6);
  client.fence(0, Uint8Array.of(1));
  await client.update();
  bench.same(client);
  client.continuous(false);
  while (client.continuousEnds < 2) await client.message();
});

test('a fence is answered with what it carried', async () => {
  const bench = new Bench();
  const { client } = await bench.open(ENC.raw, ENC.fence);
  client.fence(0x8000_0007, Uint8Array.of(1, 2, 3));
  await client.message();
  await client.message();
  assert.deepEqual(client.fenceAnswers, [{ flags: 3, payload: Buffer.of(1, 2, 3) }]);
});

test('a wish for another size is refused', async () => {
  const bench = new Bench();
  const { client } = await bench.open(ENC.raw, ENC.desktopSize, ENC.extendedDesktopSize);
  client.setDesktopSize(800, 600);
  await client.update();
  assert.deepEqual(client.sizes, [{ reason: 1, status: 1, width: 320, height: 200 }]);
});

test('keyboard lights, the sort of pointer and extensions are told to those who asked', async () => {
  const bench = new Bench();
  const { client } = await bench.open(
    ENC.raw,
    ENC.leds,
    ENC.pointerMotion,
    ENC.qemuKeys,
    ENC.extendedButtons,
  );
  client.request(true);
  await client.update();
  assert.deepEqual(
    [client.leds, client.absolute, client.extendedKeys, client.extendedButtons],
    [0, false, true, true],
  );
  await drain(client);
  client.request(true);
  if (client.unread > 0) await client.update();
  bench.core.guest(true, { scroll: false, num: true, caps: true });
  client.request(true);
  await client.update();
  assert.deepEqual([client.leds, client.absolute], [6, true]);
});

async function drain(client: RfbClient): Promise<void> {
  while (client.unread > 0) await client.message();
}

test('keys and pointer reach the guest; a viewer that may only look reaches nothing', async () => {
  const bench = new Bench();
  const { client, viewer } = await bench.open(ENC.raw, ENC.qemuKeys, ENC.extendedButtons);
  client.request(true);
  await client.update();
  client.extendedKey(true, 0x61, 0x1e);
  client.extendedKey(true, 0xffe1, 0x2a);
  client.pointer(160, 100, 0);
  client.pointer(170, 90, 0x101);
  client.pointer(170, 90, 0x111);
  assert.deepEqual(bench.keys, [
    [0x1e, true],
    [0x2a, true],
  ]);
  assert.deepEqual(
    bench.moves.map(({ dx, dy, wheel, buttons }) => [dx, dy, wheel, buttons]),
    [
      [0, 0, 0, 0],
      [10, -10, 0, 17],
      [0, 0, 1, 17],
    ],
  );
  assert.equal(bench.moves[1].x, 170 / 319);

  const looking = bench.attach(true);
  await looking.client.handshake({ shared: false });
  assert.equal(viewer.isClosed, false, 'a mere looker drives nobody out');
  looking.client.key(true, 0x62);
  looking.client.pointer(1, 1, 1);
  assert.equal(bench.keys.length, 2);
  assert.equal(bench.moves.length, 3);

  viewer.close('test');
  assert.deepEqual(bench.keys.slice(2), [
    [0x1e, false],
    [0x2a, false],
  ]);
  assert.equal(bench.moves[3].buttons, 0);
});

test('a viewer that asks for movements sends them while the guest takes nothing else, and positions again after', async () => {
  const bench = new Bench();
  const { client } = await bench.open(ENC.raw, ENC.pointerMotion);
  client.request(true);
  await client.update();
  assert.equal(client.absolute, false);
  const ZERO = 0x7fff;
  client.pointer(ZERO + 5, ZERO - 3, 1);
  // Over and over in one direction: no edge stops it. More than across the screen at once is no movement of a hand.
  for (let n = 0; n < 3; n++) client.pointer(ZERO - 300, ZERO, 1);
  client.pointer(0, 0xffff, 0);
  const moved = () => bench.moves.splice(0).map(({ dx, dy, buttons }) => [dx, dy, buttons]);
  assert.deepEqual(moved(), [
    [5, -3, 1],
    [-300, 0, 1],
    [-300, 0, 1],
    [-300, 0, 1],
    [-320, 200, 0],
  ]);
  client.setEncodings(ENC.raw);
  client.pointer(100, 50, 0);
  client.pointer(110, 60, 0);
  assert.deepEqual(moved().at(-1), [10, 10, 0]);
});

test('who wants the screen alone gets it', async () => {
  const bench = new Bench();
  const first = await bench.open(ENC.raw);
  const second = bench.attach();
  await second.client.handshake({ shared: false });
  assert.equal(first.wire.closed, true);
  assert.equal(second.wire.closed, false);
});

test('bad messages end their viewer alone, with a reason', async () => {
  const bench = new Bench();
  const good = await bench.open(ENC.raw);
  const open = async (bytes: readonly number[], reason: RegExp): Promise<void> => {
    const { viewer, wire } = await bench.open(ENC.raw);
    viewer.receive(Uint8Array.from(bytes));
    assert.equal(wire.closed, true, String(reason));
    assert.match(String(bench.logged.at(-1)), reason);
    bench.now += 1000;
  };
  await open([99], /message 99/);
  await open([2, 0, 0xff, 0xff], /65535 encodings/);
  await open([6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], /clipboard/);
  await open([255, 1, 0, 0], /QEMU message 1/);
  await open([248, 0, 0, 0, 0, 0, 0, 0, 65], /fence of 65/);
  await open([248, 0, 0, 0, 0x80, 0, 0, 0, 0], /not offered/);
  await open([150, 1, 0, 0, 0, 0, 0, 1, 0, 1], /not offered/);
  await open([251, 0, 1, 0, 1, 0, 0, 0], /size/);
  await open([0, 0, 0, 0, 24, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0], /pixels of 24 bits/);
  await open([0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 40, 8, 0, 0, 0, 0], /at bit 40/);
  for (const [bytes, reason] of [
    [Buffer.from('GET / HTTP/1.1\r\n'), /no RFB version/],
    [Buffer.from('RFB 003.008\n\x02'), /security type 2/],
  ] as const) {
    const { viewer, wire } = bench.attach();
    viewer.receive(Uint8Array.from(bytes));
    assert.equal(wire.closed, true);
    assert.match(String(bench.logged.at(-1)), reason);
  }
  const silent = bench.attach();
  bench.now += 21_000;
  bench.core.tick();
  assert.equal(silent.wire.closed, true);

  good.client.request(false);
  await good.client.update();
  bench.same(good.client);
});

test('a flood is slowed down, not dropped and not believed', async () => {
  const bench = new Bench();
  const { client, wire } = await bench.open(ENC.raw);
  for (let i = 0; i < 5000; i++) client.pointer(i % 320, 0, 0);
  assert.ok(bench.moves.length <= 1000);
  assert.equal(wire.paused, true);
  for (let i = 0; i < 60 && bench.moves.length < 5000; i++) {
    bench.now += 100;
    bench.core.tick();
  }
  assert.equal(bench.moves.length, 5000);
  assert.equal(wire.paused, false);
});

test('text on the clipboard is read over, in pieces', async () => {
  const bench = new Bench();
  const { client } = await bench.open(ENC.raw);
  client.cutText('x'.repeat(100_000));
  client.key(true, 0x61);
  assert.deepEqual(bench.keys, [[0x1e, true]]);
});

test('lines about viewers that go are few', async () => {
  const bench = new Bench();
  bench.look();
  for (let i = 0; i < 100; i++) bench.attach().viewer.receive(new Uint8Array(12));
  assert.equal(bench.logged.length, 5);
  bench.now += 1000;
  bench.attach().viewer.receive(new Uint8Array(12));
  assert.equal(bench.logged.length, 6);
});
