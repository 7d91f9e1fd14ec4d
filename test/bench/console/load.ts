import type { CDPSession, Page } from 'playwright-core';
import type { ConsoleRig } from '../../console/console-rig.ts';

/** How the page with the sign-in form loads, with nothing in the browser's cache. Milliseconds, bytes. */
export interface Load {
  readonly firstContentfulPaint: number;
  readonly largestContentfulPaint: number;
  /** The form is there and has the focus, and no long task has come after. */
  readonly interactive: number;
  /** Of each long task until then, what is beyond 50 ms. */
  readonly blocking: number;
  /** Web Vitals' score: 0 is a page in which nothing has moved. */
  readonly layoutShift: number;
  readonly transferred: number;
}

/** In words, since these types are Node's. */
const WATCH = `
  globalThis.load = { paint: 0, largest: 0, ready: 0, long: [], shift: 0 };
  const on = (type, take) => new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true });
  on('paint', ({ name, startTime }) => { if (name === 'first-contentful-paint') load.paint = startTime; });
  on('largest-contentful-paint', ({ startTime }) => { load.largest = startTime; });
  on('longtask', ({ startTime, duration }) => load.long.push([startTime, duration]));
  on('layout-shift', ({ value }) => { load.shift += value; });
  addEventListener('focusin', () => { load.ready ||= performance.now(); });
`;

export async function measureLoad(rig: ConsoleRig): Promise<Load> {
  const page = await rig.open();
  try {
    const transfers = await Transfers.of(page);
    await page.addInitScript(WATCH);
    await page.goto(rig.origin, { waitUntil: 'networkidle' });
    await page.getByLabel('API key').waitFor();
    const { paint, largest, ready, long, shift } = await page.evaluate<{
      paint: number;
      largest: number;
      ready: number;
      long: [start: number, duration: number][];
      shift: number;
    }>('load');
    if (paint === 0 || ready === 0) throw new Error('the page did not say when it painted and was ready');
    return {
      firstContentfulPaint: paint,
      largestContentfulPaint: largest,
      interactive: Math.max(ready, ...long.map(([start, duration]) => start + duration)),
      blocking: long.reduce((sum, [, duration]) => sum + Math.max(0, duration - 50), 0),
      layoutShift: shift,
      transferred: transfers.bytes,
    };
  } finally {
    await page.context().close();
  }
}

/** What a page has received over the wire, compressed and with headers, WebSockets left out. */
export class Transfers {
  /** Bytes of everything. */
  bytes = 0;
  /** Bytes of scripts. */
  scripts = 0;
  /** Bytes that its WebSockets have brought, and in how many messages. */
  readonly sockets = { bytes: 0, messages: 0 };
  readonly #types = new Map<string, string>();

  static async of(page: Page): Promise<Transfers> {
    const session: CDPSession = await page.context().newCDPSession(page);
    const transfers = new Transfers();
    session.on('Network.responseReceived', ({ requestId, type }) => transfers.#types.set(requestId, type));
    session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
      transfers.bytes += encodedDataLength;
      if (transfers.#types.get(requestId) === 'Script') transfers.scripts += encodedDataLength;
    });
    session.on('Network.webSocketFrameReceived', ({ response: { opcode, payloadData } }) => {
      transfers.sockets.messages++;
      // Those of bytes are told in base64.
      transfers.sockets.bytes += opcode === 2 ? Math.floor((payloadData.length * 3) / 4) : payloadData.length;
    });
    await session.send('Network.enable');
    return transfers;
  }
}
