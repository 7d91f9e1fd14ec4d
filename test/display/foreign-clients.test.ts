// Clients that are not ours show what the guest's screen shows: noVNC in Chromium over a WebSocket, and GTK-VNC's
// gvnccapture over TCP.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, normalize } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { chromium as launcher } from 'playwright-core';
import { createWebSocketStream, WebSocketServer } from 'ws';
import { projectRoot } from '../../src/cli/setup/bootstrap.js';
import { findProgram } from '../../src/cli/setup/debian.ts';
import { type DisplayServer, serveDisplay } from '../../src/hypervisor/display/display-server.ts';
import { chromium } from '../support/chromium.ts';
import { debianPrograms, type HostProgram } from '../support/debian-programs.ts';
import { decodePng } from '../support/png.ts';
import { seeded } from '../support/rfb/drawing.ts';
import { PaintedScreen } from '../support/rfb/painted-screen.ts';

/** The lowest port that gvnccapture can be told: it counts displays from there. */
const FIRST_PORT = 5900;

const guest = {
  leds: { scroll: false, num: false, caps: false },
  absolute: true,
  events: [] as unknown[],
  key: (code: number, down: boolean): void => void guest.events.push([code, down]),
  onLeds: (): void => {},
  waiting: 0,
  onDrained: (): void => {},
  move: (): void => {},
  place: (x: number, y: number, _wheel: number, buttons: number): void => {
    guest.events.push([Math.round(x * 1000), Math.round(y * 1000), buttons]);
  },
};

/** Text, areas of one colour, few and many colours, noise: all but what JPEG would be used for. */
function draw(screen: PaintedScreen): void {
  const random = seeded(5);
  const { width, height } = screen.surface;
  screen.paint({ x: 0, y: 0, width, height }, () => 0x20_40_60);
  screen.paint({ x: 10, y: 10, width: 300, height: 160 }, () => (random(4) === 0 ? 0xaa_aa_aa : 0));
  screen.paint(
    { x: 320, y: 30, width: 120, height: 90 },
    (x, y) => ((x >> 2) & 31) * 0x08_00_00 + ((y >> 3) & 7) * 0x20,
  );
  screen.paint({ x: 77, y: 201, width: 200, height: 150 }, () => random(1 << 24));
  screen.paint({ x: 500, y: 300, width: 33, height: 17 }, () => 0xff_00_00);
}

function pixelsOf(screen: PaintedScreen): Uint32Array {
  const { width, height, stride } = screen.surface;
  const { pixels } = screen;
  return Uint32Array.from({ length: width * height }, (_, i) => {
    return pixels[Math.floor(i / width) * (stride / 4) + (i % width)] & 0xff_ff_ff;
  });
}

/** noVNC's modules, a page that shows one display, and that display. */
async function pageFor(display: DisplayServer): Promise<{ url: string; server: Server }> {
  const folder = join(projectRoot, 'node_modules/@novnc/novnc');
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://page').pathname;
    if (path === '/') {
      response.setHeader('content-type', 'text/html');
      response.end(PAGE);
      return;
    }
    readFile(join(folder, normalize(path))).then(
      (file) => {
        response.setHeader('content-type', 'text/javascript');
        response.end(file);
      },
      () => {
        response.statusCode = 404;
        response.end();
      },
    );
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => display.attach(createWebSocketStream(socket)));
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server };
}

const PAGE = `<!doctype html><div id="screen" style="width:900px;height:700px"></div><script type="module">
import RFB from '/core/rfb.js';
window.rfb = new RFB(document.getElementById('screen'), 'ws://' + location.host);
rfb.addEventListener('connect', () => { window.connected = true; });
window.pixels = () => {
  const canvas = document.querySelector('canvas');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const out = [];
  for (let i = 0; i < data.length; i += 4) out.push(data[i] * 65536 + data[i + 1] * 256 + data[i + 2]);
  return { width: canvas.width, height: canvas.height, pixels: out };
};
</script>`;

/** The machine's own or that of Debian's packages. */
async function gvnccapture(): Promise<HostProgram> {
  const own = await findProgram('gvnccapture');
  if (own !== undefined) return { executable: own, env: process.env };
  const { root, env } = await debianPrograms('gvncviewer', ['gvncviewer']);
  return { executable: join(root, 'usr/bin/gvnccapture'), env };
}

/** Asks until the answer is right; what was wrong at last is the error. */
async function eventually(check: () => Promise<void>): Promise<void> {
  const until = performance.now() + 20_000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

test('noVNC shows the screen, follows its changes and sends keys and pointer', async () => {
  const { executable, env } = await chromium();
  const screen = new PaintedScreen(640, 400);
  const display = await serveDisplay({ screen, keyboard: guest, pointer: guest });
  const { url, server } = await pageFor(display);
  const browser = await launcher.launch({ executablePath: executable, env, args: ['--no-sandbox'] });
  try {
    const page = await browser.newPage();
    await page.goto(url);
    const same = (): Promise<void> =>
      eventually(async () => {
        const shown = (await page.evaluate('window.pixels()')) as {
          width: number;
          height: number;
          pixels: number[];
        };
        assert.deepEqual([shown.width, shown.height], [screen.surface.width, screen.surface.height]);
        const differs = pixelsOf(screen).findIndex((pixel, i) => pixel !== shown.pixels[i]);
        assert.equal(differs, -1, `pixel ${differs % shown.width},${Math.floor(differs / shown.width)}`);
      });
    await page.waitForFunction('window.connected');
    draw(screen);
    await same();
    screen.scroll(16);
    await same();
    screen.resize(800, 600);
    draw(screen);
    await same();

    guest.events.length = 0;
    await page.locator('canvas').click({ position: { x: 400, y: 300 } });
    await page.keyboard.press('KeyA');
    await eventually(async () => {
      assert.deepEqual(guest.events.slice(-2), [
        [0x1e, true],
        [0x1e, false],
      ]);
      assert.ok(
        guest.events.some((event) => Array.isArray(event) && event[2] === 1),
        'a click',
      );
    });
  } finally {
    await browser.close();
    server.close();
    server.closeAllConnections();
    await display.close();
  }
});

test('gvnccapture saves what the screen shows', async () => {
  const { executable, env } = await gvnccapture();
  const directory = await mkdtemp(join(tmpdir(), 'teremok-display-'));
  const screen = new PaintedScreen(640, 400);
  draw(screen);
  const display = await serveDisplay({ screen, keyboard: guest, pointer: guest, listen: { port: 0 } });
  try {
    const file = join(directory, 'screen.png');
    const address = `127.0.0.1:${(display.port as number) - FIRST_PORT}`;
    await promisify(execFile)(executable, [address, file], { env, timeout: 30_000 });
    const { width, height, pixels } = decodePng(await readFile(file));
    assert.deepEqual([width, height], [640, 400]);
    assert.deepEqual(pixels, pixelsOf(screen));
  } finally {
    await display.close();
    await rm(directory, { recursive: true });
  }
});
