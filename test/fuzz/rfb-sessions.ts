import assert from 'node:assert/strict';
import { DisplayCore } from '../../src/hypervisor/display/display-core.ts';
import type { Viewer } from '../../src/hypervisor/display/viewer.ts';
import type { Wire } from '../../src/hypervisor/display/wire.ts';
import { ENC, RfbClient } from '../support/rfb/client.ts';
import { type Random, scribble, seeded } from '../support/rfb/drawing.ts';
import { PaintedScreen } from '../support/rfb/painted-screen.ts';

const WIDTH = 96;
const HEIGHT = 80;
/** Chunks that a hostile client sends in one session. */
const CHUNKS = 40;
/** Most bytes that one session may make the server write while it reads everything: pictures, raw, and answers. */
const MOST_BYTES = 64 << 20;

/** A wire that counts, stops at random and forgets. */
class HostileWire implements Wire {
  backlog = 0;
  taken = 0;
  paused = false;
  closed = false;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  write(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#random(8) === 0) this.backlog += bytes.length;
    else this.taken += bytes.length;
  }

  read(): void {
    this.taken += this.backlog;
    this.backlog = 0;
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

/**
 * One session of a hostile client beside a good one.
 * @throws AssertionError when the good one suffers, or anything leaves its bounds
 */
export async function hostileSession(seed: number): Promise<void> {
  const random = seeded(seed);
  const screen = new PaintedScreen(WIDTH, HEIGHT);
  const watch = screen.watch();
  let now = 0;
  let asked = 0;
  const look = (): void => core.change(watch.update(), asked);
  const core = new DisplayCore({
    name: 'fuzz',
    keymap: 'us',
    now: () => now,
    key: (code) => assert.ok(Number.isInteger(code) && code >= 1 && code <= 0xff, `key ${code}`),
    move: ({ x, y, dx, dy, wheel, buttons }) => {
      assert.ok(x >= 0 && x <= 1 && y >= 0 && y <= 1, `at ${x},${y}`);
      assert.ok(Math.abs(dx) <= 4096 && Math.abs(dy) <= 4096, `by ${dx},${dy}`);
      assert.ok(Math.abs(wheel) <= 1 && buttons >= 0 && buttons <= 31);
    },
    want: (_, asks) => {
      if (asks > asked) queueMicrotask(look);
      asked = asks;
    },
    log: () => {},
  });
  look();
  const good = await goodViewer(core);
  const wire = new HostileWire(random);
  const hostile = core.attach(wire, random(4) === 0);
  if (random(4) !== 0) shakeHands(hostile, random);
  for (let i = 0; i < CHUNKS && !hostile.isClosed; i++) {
    if (!wire.paused) feed(hostile, random(30) === 0 ? noise(random, 200) : messages(random), random);
    if (random(2) === 0) scribble(screen, random);
    if (random(20) === 0) screen.resize(16 + random(WIDTH), 16 + random(HEIGHT));
    if (random(3) === 0) wire.read();
    if (random(6) === 0)
      core.guest(random(2) === 0, { scroll: false, num: random(2) === 0, caps: random(2) === 0 });
    now += random(300);
    look();
    core.tick();
    assert.ok(wire.taken + wire.backlog < MOST_BYTES, 'bytes without end');
  }
  await same(good, screen);
  core.close();
}

async function goodViewer(core: DisplayCore): Promise<RfbClient> {
  const client = new RfbClient((bytes) => {
    viewer.receive(Uint8Array.from(bytes));
    core.serve();
  });
  const wire: Wire = {
    backlog: 0,
    taken: 0,
    write: (bytes) => client.feed(bytes),
    pause: () => {},
    resume: () => {},
    close: () => client.end(),
  };
  const viewer = core.attach(wire, false);
  await client.handshake();
  client.setEncodings(ENC.zrle, ENC.copyRect, ENC.desktopSize);
  client.request(false);
  await client.update();
  return client;
}

/** The good viewer asks for what it lacks and must then have the screen. */
async function same(client: RfbClient, screen: PaintedScreen): Promise<void> {
  client.request(true);
  while (client.unread > 0) await client.message();
  client.request(true);
  while (client.unread > 0) await client.message();
  const { width, height, stride } = screen.surface;
  assert.deepEqual([client.width, client.height], [width, height]);
  for (let i = 0; i < width * height; i++) {
    const at = Math.floor(i / width) * (stride / 4) + (i % width);
    assert.equal(client.pixels[i], screen.pixels[at] & 0xffffff, `pixel ${i}`);
  }
}

function shakeHands(viewer: Viewer, random: Random): void {
  const [version, choice] = (
    [
      ['003.003', []],
      ['003.007', [1]],
      ['003.008', [1]],
    ] as const
  )[random(3)];
  // Never alone: the good viewer is to stay.
  viewer.receive(Buffer.concat([Buffer.from(`RFB ${version}\n`), Buffer.from([...choice, 1])]));
  // With everything agreed upon, more messages are allowed, and the session lasts longer.
  if (random(4) !== 0)
    viewer.receive(setEncodings(random, [ENC.fence, ENC.continuous, ENC.extendedDesktopSize]));
}

const words = (...values: readonly number[]): number[] =>
  values.flatMap((value) => [(value >> 8) & 0xff, value & 0xff]);

function setEncodings(random: Random, first: readonly number[]): Uint8Array {
  const list = [...first, ...Array.from({ length: random(20) }, () => ENCODINGS[random(ENCODINGS.length)])];
  return Uint8Array.from([2, 0, ...words(list.length), ...list.flatMap((e) => words(e >> 16, e))]);
}

/** In pieces, as a network would. */
function feed(viewer: Viewer, bytes: Uint8Array, random: Random): void {
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + random(random(3) === 0 ? 4 : bytes.length);
    viewer.receive(bytes.slice(at, at + length));
    at += length;
  }
}

function noise(random: Random, most: number): Uint8Array {
  return Uint8Array.from({ length: 1 + random(most) }, () => random(256));
}

/** Some messages that are right, and some with a byte that is not. */
function messages(random: Random): Uint8Array {
  const parts = Array.from({ length: 1 + random(6) }, () => message(random));
  const bytes = Buffer.concat(parts);
  if (random(12) === 0) bytes[random(bytes.length)] = random(256);
  return bytes;
}

const ENCODINGS = [...Object.values(ENC), -23, -247, -250, -412, 2, 6, 99];

function message(random: Random): Uint8Array {
  const place = (): number[] =>
    words(random(WIDTH + 20), random(HEIGHT + 20), random(WIDTH + 20), random(HEIGHT + 20));
  switch (random(11)) {
    case 0:
      return setEncodings(random, random(4) === 0 ? [] : [ENC.extendedDesktopSize]);
    case 1: {
      const bits = [8, 16, 32][random(3)];
      const shifts = [random(bits), random(bits), random(bits)];
      const maxes = shifts.map((shift) => Math.min(65535, 2 ** random(bits - shift + 1) - 1));
      const flags = [random(33), random(2), random(8) === 0 ? 0 : 1];
      return Uint8Array.from([0, 0, 0, 0, bits, ...flags, ...words(...maxes), ...shifts, 0, 0, 0]);
    }
    case 2:
    case 3:
      return Uint8Array.from([3, random(2), ...place()]);
    case 4:
      return Uint8Array.from([4, random(2), 0, 0, 0, random(2), ...words(random(65536))]);
    case 5:
      return Uint8Array.from([5, random(128), ...words(random(65536), random(65536))]);
    case 6: {
      const length = random(100);
      return Uint8Array.from([
        6,
        0,
        0,
        0,
        ...words(0, length),
        ...noise(random, 1),
        ...new Uint8Array(Math.max(length - 1, 0)),
      ]);
    }
    case 7:
      return Uint8Array.from([150, random(2), ...place()]);
    case 8:
      return Uint8Array.from([248, 0, 0, 0, random(2) * 128, 0, 0, random(8), 3, 1, 2, 3]);
    case 9:
      return Uint8Array.from([251, 0, ...words(random(3000), random(3000)), 1, 0, ...new Uint8Array(16)]);
    default:
      return Uint8Array.from([255, 0, 0, random(2), ...words(0, random(65536)), ...words(0, random(300))]);
  }
}
