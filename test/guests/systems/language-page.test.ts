import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Surface } from '../../../src/hypervisor/backends/screen.ts';
import { LANGUAGE_TEXT, looksLikeLanguagePage, selectedRow } from './language-page.ts';

const [width, height] = [320, 400];

/** A picture with bars, each from a row to another, in a colour 0xRRGGBB. */
function picture(...bars: readonly (readonly [from: number, to: number, colour: number])[]): Surface {
  const memory = new SharedArrayBuffer(width * height * 4);
  const pixels = new Uint32Array(memory);
  for (const [from, to, colour] of bars) pixels.fill(colour, from * width, to * width);
  return { width, height, stride: width * 4, memory, offset: 0 };
}

const BANNER = [0, 75, 0x06465e] as const;
const LIST = [120, 380, 0xffffff] as const;

test('a page with the banner and a list, one line of which is selected, is the one', () => {
  const page = picture(BANNER, [75, 400, 0xedeae4], LIST, [200, 220, 0x4a90d9]);
  assert.equal(looksLikeLanguagePage(page), true);
  assert.equal(selectedRow(page), 200);
});

test('the banner alone, a list without a selection, and a blank screen are not', () => {
  assert.equal(looksLikeLanguagePage(picture(BANNER, [75, 400, 0xedeae4])), false);
  assert.equal(looksLikeLanguagePage(picture(BANNER, LIST)), false);
  assert.equal(looksLikeLanguagePage(picture()), false);
});

/** As newt draws it on 80 × 25 characters, with some of the lines left out. */
const TEXT = `
  ┌───────────────────────┤ [!!] Select a language ├────────────────────────┐
  │                                                                         │
  │ Language:                                                               │
  │                                                                         │
  │             C                    -  No localization      ↑              │
  │             Dutch                -  Nederlands           ▒              │
  │             English              -  English              ▒              │
  │             Finnish              -  Suomi                ▒              │
  │                                                                         │
  │     <Go Back>                                                           │
  │                                                                         │
  └─────────────────────────────────────────────────────────────────────────┘

<Tab> moves; <Space> selects; <Enter> activates buttons`;

test("the text installer's page was waited for while it was there: columns have several blanks between them", () => {
  assert.match(TEXT, LANGUAGE_TEXT);
  assert.doesNotMatch(TEXT.slice(0, -20), LANGUAGE_TEXT);
  assert.doesNotMatch(TEXT.replace('English              -', 'English'), LANGUAGE_TEXT);
});
