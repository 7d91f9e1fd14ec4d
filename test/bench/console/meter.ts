import { setTimeout as delay } from 'node:timers/promises';
import type { Browser, Page } from 'playwright-core';

/** Between two frames at 60 a second. Milliseconds. */
const FRAME_MS = 1000 / 60;

/** What a page did for a while. Milliseconds; `at` is a fraction: 0.5 the median, 1 the worst. */
export interface Frames {
  readonly count: number;
  /** What the main thread worked for one frame, by the clock. */
  work(at: number): number;
  /** The same, in processor time of that thread: what others took of the machine is not in it. */
  cpu(at: number): number;
  /** From one frame to the next. */
  interval(at: number): number;
  /** Refreshes of the display that came and found no new frame. */
  readonly dropped: number;
  /** Tasks of more than 50 ms. */
  readonly longTasks: readonly number[];
}

/** A trace event: the Trace Event Format. Microseconds. */
interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly tdur?: number;
  readonly args?: { readonly name?: string };
}

interface Task {
  readonly from: number;
  readonly ms: number;
  readonly cpuMs: number;
}

/** Asks for every frame, and keeps when each began and which tasks were long. In words, since these types are Node's. */
const WATCH = `{
  const seen = globalThis.seen = { frames: [], longTasks: [], on: true };
  seen.observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) seen.longTasks.push(duration);
  });
  seen.observer.observe({ type: 'longtask' });
  const next = (at) => { performance.mark('frame'); seen.frames.push(at); if (seen.on) requestAnimationFrame(next); };
  requestAnimationFrame(next);
}`;
const LOOK = `(() => {
  seen.on = false;
  for (const { duration } of seen.observer.takeRecords()) seen.longTasks.push(duration);
  seen.observer.disconnect();
  return { frames: seen.frames, longTasks: seen.longTasks };
})()`;

/** Watches a page for a while, by a trace of the browser and by what the page itself can tell. */
export async function watchFrames(browser: Browser, page: Page, ms: number): Promise<Frames> {
  const categories = ['toplevel', 'blink.user_timing', '__metadata'];
  await browser.startTracing(page, { categories });
  await page.evaluate(WATCH);
  await delay(ms);
  const { frames, longTasks } = await page.evaluate<{ frames: number[]; longTasks: number[] }>(LOOK);
  const trace = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
  const work = workByFrame(trace.traceEvents);
  const intervals = frames.slice(1).map((at, n) => at - (frames[n] ?? at));
  if (work.length === 0 || intervals.length === 0) throw new Error('the page drew no frame');
  return {
    count: frames.length,
    work: (at) =>
      quantile(
        work.map(({ ms }) => ms),
        at,
      ),
    cpu: (at) =>
      quantile(
        work.map(({ cpuMs }) => cpuMs),
        at,
      ),
    interval: (at) => quantile(intervals, at),
    dropped: intervals.reduce((sum, interval) => sum + Math.max(0, Math.round(interval / FRAME_MS) - 1), 0),
    longTasks,
  };
}

/** The tasks of the page's main thread, added up from one frame's callback to the next. */
function workByFrame(events: readonly TraceEvent[]): { ms: number; cpuMs: number }[] {
  const marks = events.filter(({ name, ph }) => name === 'frame' && (ph === 'I' || ph === 'R' || ph === 'i'));
  const [first] = marks;
  if (first === undefined) return [];
  const onMain = (event: TraceEvent) => event.pid === first.pid && event.tid === first.tid;
  const starts = marks
    .filter(onMain)
    .map(({ ts }) => ts)
    .sort((a, b) => a - b);
  const tasks: Task[] = events
    .filter((event) => event.ph === 'X' && event.name.endsWith('RunTask') && onMain(event))
    .map(({ ts, dur = 0, tdur = 0 }) => ({ from: ts, ms: dur / 1000, cpuMs: tdur / 1000 }))
    .sort((a, b) => a.from - b.from);
  // A task belongs to the frame in which it began; the one that runs the frame's callback began a little before it.
  const found = starts.slice(1).map(() => ({ ms: 0, cpuMs: 0 }));
  let frame = -1;
  for (const task of tasks) {
    const ends = task.from + task.ms * 1000;
    while (frame + 1 < starts.length && (starts[frame + 1] as number) <= ends) frame++;
    const sum = found[frame];
    if (sum === undefined) continue;
    sum.ms += task.ms;
    sum.cpuMs += task.cpuMs;
  }
  return found;
}

/** @param at 0 the least, 0.5 the median, 1 the greatest */
export function quantile(figures: readonly number[], at: number): number {
  const sorted = [...figures].sort((a, b) => a - b);
  const found = sorted[Math.min(sorted.length - 1, Math.floor(at * sorted.length))];
  if (found === undefined) throw new RangeError('no figures');
  return found;
}
