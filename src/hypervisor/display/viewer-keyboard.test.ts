import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keymapNamed } from './keymaps/keymap.ts';
import { ViewerKeyboard } from './viewer-keyboard.ts';

const KEYSYM = {
  shift: 0xffe1,
  level3: 0xfe03,
  ctrl: 0xffe3,
  f1: 0xffbe,
  kp7: 0xffb7,
  kpHome: 0xff95,
} as const;
const a = 0x1e;
const SHIFT = 0x2a;
const ALT_GR = 0xb8;

/** A keyboard, what it pressed as `+code` and let go as `-code`, and the guest's lights. */
function keyboard(layout: string) {
  const leds = { scroll: false, num: false, caps: false };
  const did: string[] = [];
  const viewer = new ViewerKeyboard({
    keymap: keymapNamed(layout),
    press: (code, down) => void did.push(`${down ? '+' : '-'}${code.toString(16)}`),
    leds: () => leds,
  });
  /** Presses (positive) and lets go (negative) of keysyms; says what that did. */
  const type = (...keysyms: readonly number[]): string => {
    did.length = 0;
    for (const keysym of keysyms) viewer.event(keysym > 0, Math.abs(keysym), 0);
    return did.join(' ');
  };
  return { viewer, leds, did, type };
}
const code = (character: string): number => character.charCodeAt(0);

test('characters press their key, with the modifiers that they need', () => {
  const { type } = keyboard('us');
  assert.equal(type(code('a'), -code('a')), '+1e -1e');
  assert.equal(type(code('A'), -code('A')), '+2a +1e -2a -1e');
  assert.equal(type(KEYSYM.shift, code('A'), -code('A'), -KEYSYM.shift), '+2a +1e -1e -2a');
  assert.equal(type(KEYSYM.shift, code('a'), -code('a'), -KEYSYM.shift), '+2a -2a +1e +2a -1e -2a');
  assert.equal(type(KEYSYM.shift, KEYSYM.f1, -KEYSYM.f1, -KEYSYM.shift), '+2a +3b -3b -2a');
  assert.equal(type(KEYSYM.ctrl, code('c'), -code('c'), -KEYSYM.ctrl), '+1d +2e -2e -1d');
});

test('AltGr is pressed for what needs it, and lifted where it only made the character elsewhere', () => {
  assert.equal(keyboard('de').type(code('@'), -code('@')), '+b8 +10 -b8 -10');
  const { type } = keyboard('us');
  assert.equal(type(KEYSYM.level3, code('@'), -code('@'), -KEYSYM.level3), '+b8 +2a -b8 +3 +b8 -2a -3 -b8');
});

test('dead keys come before their letter', () => {
  assert.equal(keyboard('de').type(0xe9, -0xe9), '+d -d +12 -12');
});

test('Caps Lock of the guest is reckoned with', () => {
  const { type, leds } = keyboard('us');
  leds.caps = true;
  assert.equal(type(code('A'), -code('A')), '+1e -1e');
  assert.equal(type(code('a'), -code('a')), '+2a +1e -2a -1e');
  assert.equal(type(code('1'), -code('1')), '+2 -2');
  const german = keyboard('de');
  german.leds.caps = true;
  assert.equal(german.type(0xe9, -0xe9), '+d -d +2a +12 -2a -12');
});

test('Num Lock is made what the keypad needs', () => {
  const { type, leds } = keyboard('us');
  assert.equal(type(KEYSYM.kp7), '+45 -45 +47');
  leds.num = true;
  assert.equal(type(-KEYSYM.kp7, KEYSYM.kp7), '-47 +47');
  assert.equal(type(-KEYSYM.kp7, KEYSYM.kpHome), '-47 +45 -45 +47');
});

test('a key pressed by one name and let go by another does not stay down', () => {
  const { type } = keyboard('us');
  assert.equal(type(code('a'), KEYSYM.shift, -code('A'), -KEYSYM.shift), '+1e +2a -1e -2a');
});

test('places go through as they are; all that is held is let go at the end', () => {
  const { viewer, did } = keyboard('us');
  viewer.event(true, 0x61, a);
  viewer.event(true, 0, ALT_GR);
  viewer.event(true, 0, SHIFT);
  viewer.event(false, 0, SHIFT);
  viewer.event(true, 0, 0x100);
  viewer.event(true, 0x0123_4567, 0);
  viewer.releaseAll();
  assert.deepEqual(did, ['+1e', '+b8', '+2a', '-2a', '-1e', '-b8']);
});
