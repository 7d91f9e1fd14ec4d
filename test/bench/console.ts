// `npm run bench -- console [--runs N]`: the web console in Chromium before a whole service of its own: how it loads,
// what a frame costs while a serial console scrolls, and with a thousand machines in the list of which fifty change a
// second.
import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import { ConsoleRig, go } from '../console/console-rig.ts';
import { type Load, measureLoad, Transfers } from './console/load.ts';
import { ManyMachines } from './console/many-machines.ts';
import { type Frames, watchFrames } from './console/meter.ts';
import { aboutThisMachine, median, printTable, readRuns } from './support/figures.ts';

/** Of each while, and how many machines and events a second. */
const WATCH_MS = 10_000;
const MACHINES = 1000;
const EVENTS_PER_SECOND = 50;
/** Before it is watched, so that what is done once is done. */
const WARM_UP_MS = 2_000;
/** Nothing here takes longer unless it has failed. Milliseconds. */
const LIMIT_MS = 120_000;
/** The bars: compressed script before a console is opened, and what a frame may take. */
const MOST_SCRIPT_BYTES = 300 * 1024;
const MOST_FRAME_MS = 16;

/** How fast the list is scrolled, some 38 rows a second, and how far in one go. Pixels. */
const SCROLL = { speed: 2000, distance: 10_000 } as const;

const runs = readRuns(5);
const kib = (bytes: number) => `${(bytes / 1024).toFixed(1)} KiB`;
const verdict = (holds: boolean) => (holds ? 'holds' : 'MISSED');

process.stdout.write(`${aboutThisMachine()}\n`);
const rig = await ConsoleRig.start();
try {
  process.stdout.write(`Chromium ${rig.browser.version()}, headless\n\n`);
  const key = await rig.key('default');
  const hello = await whenRunning(key);
  await reportLoad();
  const page = await rig.openAs(key);
  page.setDefaultTimeout(LIMIT_MS);
  await reportScripts(page, key, hello);
  await reportSerial(page, hello);
  await page.context().close();
  await rig.call('DELETE', `vms/${hello}?force=true`, key);
  await reportList(key);
} finally {
  await rig.close();
}

/** The VM that a first start makes: it comes to a shell. */
async function whenRunning(key: string): Promise<string> {
  for (const end = performance.now() + LIMIT_MS; performance.now() < end; ) {
    const { items } = (await rig.call('GET', 'vms', key)) as { items: { id: string; name: string }[] };
    const found = items.find(({ name }) => name === 'hello');
    if (found !== undefined) {
      await rig.call('GET', `vms/${found.id}/wait?state=running&timeout=60`, key);
      return found.id;
    }
  }
  throw new Error('the VM `hello` does not come');
}

async function reportLoad(): Promise<void> {
  const loads: Load[] = [];
  for (let run = 0; run < runs; run++) loads.push(await measureLoad(rig));
  const middle = (figure: (load: Load) => number) => median(loads.map(figure));
  process.stdout.write(`The page with the sign-in form, nothing cached, medians of ${runs}:\n`);
  printTable(
    ['', ''],
    [
      ['first contentful paint', `${middle((load) => load.firstContentfulPaint).toFixed(0)} ms`],
      ['largest contentful paint', `${middle((load) => load.largestContentfulPaint).toFixed(0)} ms`],
      ['interactive', `${middle((load) => load.interactive).toFixed(0)} ms`],
      ['blocked by long tasks', `${middle((load) => load.blocking).toFixed(0)} ms`],
      ['layout shift', middle((load) => load.layoutShift).toFixed(3)],
      ['transferred in all', kib(middle((load) => load.transferred))],
    ],
  );
}

/** Adds what each kind of console brings to the scripts of a page that has shown the list. */
async function reportScripts(listed: Page, key: string, hello: string): Promise<void> {
  const body = { name: 'with-a-screen', memoryMiB: 32, disks: [{ sizeMiB: 1 }] };
  const { vm } = (await rig.call('POST', 'vms', key, body)) as { vm: { id: string } };
  const page = await rig.open();
  page.setDefaultTimeout(LIMIT_MS);
  const transfers = await Transfers.of(page);
  await page.goto(rig.origin);
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('link', { name: 'with-a-screen' }).waitFor();
  const before = transfers.scripts;
  await go(page, `/machines/${hello}`);
  await page.getByText('live', { exact: true }).waitFor();
  const serial = transfers.scripts;
  await go(page, `/machines/${vm.id}`);
  await page.locator('.display canvas').waitFor();
  const screen = transfers.scripts;
  await page.context().close();
  await go(listed, '/machines');
  await rig.call('DELETE', `vms/${vm.id}?force=true`, key);
  process.stdout.write('\nScripts, compressed, as they come over the wire with their headers:\n');
  printTable(
    ['', '', 'bar'],
    [
      ['before a console is opened', kib(before), `< 300 KiB: ${verdict(before < MOST_SCRIPT_BYTES)}`],
      ['with a serial console', kib(serial), ''],
      ['with a screen too', kib(screen), ''],
    ],
  );
}

/** A guest that says as much as it can on its serial line. */
async function reportSerial(page: Page, hello: string): Promise<void> {
  const transfers = await Transfers.of(page);
  await go(page, `/machines/${hello}`);
  await page.locator('.xterm-rows', { hasText: '~ #' }).waitFor();
  await page.getByRole('textbox', { name: /^Serial console of/ }).focus();
  await page.keyboard.type('while :; do dmesg; done');
  await page.keyboard.press('Enter');
  await page.waitForTimeout(WARM_UP_MS);
  const before = transfers.sockets.bytes;
  const frames = await watchFrames(rig.browser, page, WATCH_MS);
  const bytes = transfers.sockets.bytes - before;
  await page.keyboard.press('Control+c');
  assert.ok(bytes > 10_000, `the guest said ${bytes} bytes`);
  const rate = `${kib(bytes / (WATCH_MS / 1000))} a second`;
  printFrames(`A serial console that scrolls, ${rate} for ${WATCH_MS / 1000} s`, frames);
}

async function reportList(key: string): Promise<void> {
  const machines = await ManyMachines.in(rig.servers);
  try {
    await machines.make(MACHINES);
    const page = await rig.openAs(key, { viewport: { width: 1280, height: 800 } });
    page.setDefaultTimeout(LIMIT_MS);
    // The head of the table is a row too.
    const all = page.locator(`table[aria-rowcount="${MACHINES + 1}"]`);
    await all.waitFor();
    await page.reload();
    await all.waitFor();
    const shown = await page.evaluate<number>('performance.now()');
    process.stdout.write(`\n${MACHINES} machines are listed ${shown.toFixed(0)} ms after a reload\n`);
    for (const scrolls of [false, true]) {
      const transfers = await Transfers.of(page);
      const published = machines.published;
      const look = async () => {
        await page.waitForTimeout(WARM_UP_MS);
        const [frames] = await Promise.all([
          watchFrames(rig.browser, page, WATCH_MS),
          scrolls ? scroll(page, WATCH_MS) : undefined,
        ]);
        return frames;
      };
      const living = machines.live(EVENTS_PER_SECOND, 2 * WARM_UP_MS + WATCH_MS);
      const [frames] = await Promise.all([look(), living]);
      await page.waitForTimeout(WARM_UP_MS);
      const came = transfers.sockets.messages;
      assert.ok(
        came >= machines.published - published,
        `of ${machines.published - published} events ${came} came`,
      );
      const what = `${MACHINES} machines, ${EVENTS_PER_SECOND} events a second, ${scrolls ? 'scrolled through' : 'at rest'}`;
      printFrames(`${what}, ${WATCH_MS / 1000} s`, frames, MOST_FRAME_MS);
    }
    await compare(page, machines);
  } finally {
    await machines.close();
  }
}

/** Down and up again, as with the wheel of a mouse. */
async function scroll(page: Page, ms: number): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await page.evaluate(
    "globalThis.farthest = 0; addEventListener('scroll', () => { farthest = Math.max(farthest, scrollY); })",
  );
  const end = performance.now() + ms;
  for (let turn = 0; performance.now() < end; turn++) {
    await session.send('Input.synthesizeScrollGesture', {
      x: 640,
      y: 500,
      yDistance: turn % 2 === 0 ? -SCROLL.distance : SCROLL.distance,
      speed: SCROLL.speed,
      gestureSourceType: 'mouse',
    });
  }
  await session.detach();
  const farthest = await page.evaluate<number>('farthest');
  assert.ok(farthest >= SCROLL.distance / 2, `the list was scrolled to ${farthest}`);
}

/** What the page shows in the end is what the database says. */
async function compare(page: Page, machines: ManyMachines): Promise<void> {
  for (const n of [0, 7919 % MACHINES, MACHINES - 1]) {
    const { name, state } = await machines.find(n);
    await page.getByRole('searchbox', { name: 'Search machines' }).fill(name);
    await page
      .getByRole('row')
      .filter({ has: page.getByRole('link', { name, exact: true }) })
      .getByText(state, { exact: true })
      .waitFor();
  }
}

function printFrames(title: string, frames: Frames, most?: number): void {
  const row = (name: string, figure: (at: number) => number, bar = '') => [
    name,
    ...[0.5, 0.95, 1].map((at) => figure(at).toFixed(1)),
    bar,
  ];
  const holds = most === undefined ? '' : `< ${most} at P95: ${verdict(frames.work(0.95) < most)}`;
  process.stdout.write(`\n${title}, milliseconds:\n`);
  printTable(
    ['', 'median', 'P95', 'worst', 'bar'],
    [
      row("the main thread's work for a frame", frames.work, holds),
      row('the same, processor time', frames.cpu),
      row('from frame to frame', frames.interval),
    ],
  );
  const longest = Math.max(0, ...frames.longTasks);
  process.stdout.write(
    `${frames.count} frames, ${frames.dropped} dropped; ${frames.longTasks.length} long tasks` +
      `${longest > 0 ? `, the longest ${longest.toFixed(0)} ms` : ''}\n`,
  );
}
