import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { Page } from 'playwright-core';
import { type DecodedPng, decodePng } from '../support/png.ts';
import type { ConsoleRig } from './console-rig.ts';

/** How often what is waited for is looked at. Milliseconds. */
const LOOK_MS = 100;

/** A guest's screen from both sides: as the page's canvas shows it, and as REST tells it. */
export class ScreenView {
  readonly #rig: ConsoleRig;
  readonly #page: Page;
  readonly #key: string;
  readonly #vmId: string;

  constructor(rig: ConsoleRig, page: Page, key: string, vmId: string) {
    this.#rig = rig;
    this.#page = page;
    this.#key = key;
    this.#vmId = vmId;
  }

  /** The rows of text that the guest shows. */
  async text(): Promise<string> {
    const { lines } = (await this.#rig.call('GET', `vms/${this.#vmId}/screen/text`, this.#key)) as {
      lines: string[];
    };
    return lines.join('\n');
  }

  /** Waits until the guest shows this. @returns all that it shows then */
  async shows(pattern: RegExp, limitMs: number): Promise<string> {
    let text = '';
    const came = await within(limitMs, async () => pattern.test((text = await this.text())));
    assert.ok(came, `${pattern} did not come; the screen is\n${text}`);
    return text;
  }

  /** Waits until the canvas is, pixel by pixel, what a screenshot of REST is. @returns the picture */
  async agrees(limitMs: number): Promise<DecodedPng> {
    let differing = -1;
    let picture: DecodedPng | undefined;
    await within(limitMs, async () => {
      const [screenshot, canvas] = [await this.screenshot(), await this.canvas()];
      differing = differences(screenshot, canvas);
      picture = screenshot;
      return differing === 0;
    });
    assert.equal(differing, 0, 'pixels of the canvas that are not those of the screenshot');
    return picture as DecodedPng;
  }

  async screenshot(): Promise<DecodedPng> {
    return decodePng(await this.#rig.callForFile(`vms/${this.#vmId}/screenshot`, this.#key));
  }

  async canvas(): Promise<DecodedPng> {
    // In words, since these types are Node's.
    const url = await this.#page.evaluate<string>(
      `document.querySelector('.display canvas')?.toDataURL('image/png') ?? ''`,
    );
    assert.notEqual(url, '', 'the page has no canvas of a screen');
    return decodePng(Buffer.from(url.slice(url.indexOf(',') + 1), 'base64'));
  }
}

/** How many pixels are not the same; all of them when the sizes differ. */
export function differences(a: DecodedPng, b: DecodedPng): number {
  if (a.width !== b.width || a.height !== b.height) return Math.max(a.pixels.length, b.pixels.length);
  return a.pixels.reduce((count, pixel, at) => count + (pixel === b.pixels[at] ? 0 : 1), 0);
}

/** How many colours a picture has: one is a blank. */
export function colours({ pixels }: DecodedPng): number {
  return new Set(pixels).size;
}

/** Asks again and again. @returns whether it came true in time */
export async function within(limitMs: number, check: () => Promise<boolean>): Promise<boolean> {
  const end = performance.now() + limitMs;
  for (;;) {
    if (await check()) return true;
    if (performance.now() > end) return false;
    await delay(LOOK_MS);
  }
}
