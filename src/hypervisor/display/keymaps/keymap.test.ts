import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { LAYOUTS } from '../../../lib/keyboard-layouts.ts';
import { generateTables, sourceDigest } from './generate.ts';
import { KEYMAP_NAMES, keymapNamed, UnknownKeymapError } from './keymap.ts';
import { keysymOf } from './keysyms.ts';
import { SOURCE_DIGEST } from './tables.ts';
import { typeText, UntypableTextError } from './type-text.ts';

const [SHIFT, ALT_GR, SPACE, ENTER] = [0x2a, 0xb8, 0x39, 0x1c];

const strokes = (name: string, text: string) => typeText(text, keymapNamed(name));

test('tables.ts is what generate.ts makes of the layouts', async (t) => {
  if (sourceDigest() !== SOURCE_DIGEST)
    return t.skip('this machine has another release of xkb-data, or none');
  const made = generateTables();
  if (made === undefined) return t.skip('this machine has no libxkbcommon');
  assert.equal(await readFile(join(import.meta.dirname, 'tables.ts'), 'utf8'), made);
});

describe('layouts', () => {
  test('the promised ones are there, and no others', () => {
    for (const name of 'us gb de fr es it pt se dk no fi ch us-intl ru pl cz jp br'.split(' '))
      assert.equal(keymapNamed(name).name, name);
    for (const name of ['', 'xx', 'constructor', '__proto__'])
      assert.throws(() => keymapNamed(name), UnknownKeymapError);
  });

  test('those that people are offered are those that there are', () => {
    assert.deepEqual(LAYOUTS.map(([name]) => name).sort(), [...KEYMAP_NAMES].sort());
  });

  test('each types every ASCII character, but the Cyrillic ones no letters of ours', () => {
    const ascii = Array.from({ length: 0x5f }, (_, i) => String.fromCharCode(0x20 + i)).join('');
    const missing = Object.fromEntries(
      KEYMAP_NAMES.map((name) => [
        name,
        [...ascii].filter((c) => keymapNamed(name).strokesOf(c) === undefined).join(''),
      ]).filter(([, none]) => none !== ''),
    );
    const { ru, ua, ...others } = missing;
    assert.deepEqual(others, {});
    assert.match(ru ?? '', /ABC.*xyz/s);
    assert.match(ua ?? '', /ABC.*xyz/s);
  });

  test('no two characters have the same strokes', () => {
    for (const name of KEYMAP_NAMES) {
      const seen = new Map<string, string>();
      for (let code = 0x20; code < 0x500; code++) {
        const character = String.fromCodePoint(code);
        if (character.normalize('NFC') !== character) continue;
        const found = keymapNamed(name).strokesOf(character);
        if (!found) continue;
        const key = JSON.stringify(found);
        assert.equal(seen.get(key), undefined, `${name}: ${character} and ${seen.get(key)}`);
        seen.set(key, character);
      }
    }
  });

  test('what each nation calls its own', () => {
    for (const [name, characters] of [
      ['de', 'äöüßÄÖÜ€§°'],
      ['fr', 'éèàçùâêîôûëïü€'],
      ['es', 'ñÑáéíóúü¿¡'],
      ['it', 'àèéìòù€'],
      ['pt', 'ãõçáéâêà'],
      ['se', 'åäöÅÄÖ€'],
      ['dk', 'æøåÆØÅ'],
      ['no', 'æøåÆØÅ'],
      ['fi', 'åäö€'],
      ['ch', 'äöüéèà'],
      ['us-intl', 'éüñçßåø'],
      ['ru', 'привет, мир! Ёё№'],
      ['ua', 'їієґ'],
      ['pl', 'ąćęłńóśźżĄĆĘŁŃÓŚŹŻ'],
      ['cz', 'ěščřžýáíéůúďťňŘ'],
      ['br', 'ãõçáéâêàü'],
      ['hu', 'őűáéöü'],
      ['tr', 'ığşçöüİ'],
      ['gb', '£¬€'],
    ] as const) {
      assert.doesNotThrow(() => strokes(name, characters), name);
    }
  });
});

describe('strokes', () => {
  test('plain, shifted, with AltGr, and with a dead key', () => {
    assert.deepEqual(strokes('us', 'aA'), [[0x1e], [SHIFT, 0x1e]]);
    assert.deepEqual(strokes('de', 'zZ'), [[0x15], [SHIFT, 0x15]]);
    assert.deepEqual(strokes('de', '@'), [[ALT_GR, 0x10]]);
    assert.deepEqual(strokes('de', 'é'), [[0x0d], [0x12]]);
    assert.deepEqual(strokes('de', 'è'), [[SHIFT, 0x0d], [0x12]]);
    assert.deepEqual(strokes('de', '^'), [[0x29], [SPACE]]);
    assert.deepEqual(strokes('fr', 'ê'), [[0x1a], [0x12]]);
    assert.deepEqual(strokes('es', '´'), [[0x28], [0x28]]);
    assert.deepEqual(strokes('cz', 'Ď'), [
      [SHIFT, 0x0d],
      [SHIFT, 0x20],
    ]);
  });

  test('where guests differ, the way on which they agree', () => {
    // AltGr and this key is an acute accent under Windows.
    assert.deepEqual(strokes('us-intl', `'"`), [[0x28], [SPACE], [SHIFT, 0x28], [SPACE]]);
    // American keyboards have no key beside the left Shift; British ones have their backslash there.
    assert.deepEqual(strokes('us', '<'), [[SHIFT, 0x33]]);
    assert.deepEqual(strokes('gb', '\\'), [[0x56]]);
  });

  test('Enter, tab, backspace, escape; a carriage return makes no second Enter', () => {
    assert.deepEqual(strokes('us', 'a\r\n\r\t\b\x1b'), [[0x1e], [ENTER], [ENTER], [0x0f], [0x0e], [0x01]]);
  });

  test('a letter and its combining mark are one character', () => {
    assert.deepEqual(strokes('de', 'e\u0301'), strokes('de', 'é'));
  });

  test('what cannot be typed is named, each once', () => {
    assert.throws(
      () => strokes('us', 'né é ✓ 😀'),
      (error: unknown) =>
        error instanceof UntypableTextError &&
        error.characters.join('') === 'é✓😀' &&
        error.message === 'the keyboard layout us cannot type "é" (U+00E9), "✓" (U+2713), "😀" (U+1F600)',
    );
  });
});

describe('keysyms', () => {
  const us = keymapNamed('us');

  test('of characters: Latin-1, Unicode, and older ones', () => {
    assert.deepEqual([keysymOf(0x41), keysymOf(0xe9), keysymOf(0x20ac)], [0x41, 0xe9, 0x10020ac]);
    const de = keymapNamed('de');
    for (const euro of [0x20ac, 0x10020ac]) assert.deepEqual(de.strokesFor(euro), [[ALT_GR, 0x12]]);
    const ru = keymapNamed('ru');
    for (const a of [0x6c1, 0x1000430]) assert.deepEqual(ru.strokesFor(a), [[0x21]]);
  });

  test('of keys without characters', () => {
    for (const [keysym, code] of [
      [0xff0d, ENTER],
      [0xff8d, 0x9c],
      [0xff52, 0xc8],
      [0xffbe, 0x3b],
      [0xffc9, 0x58],
      [0xffe1, SHIFT],
      [0xfe03, ALT_GR],
      [0xffb7, 0x47],
      [0xffff, 0xd3],
      [0xff13, 0xc6],
      [0xff61, 0x54],
    ] as const)
      assert.deepEqual(us.strokesFor(keysym), [[code]], keysym.toString(16));
  });

  test('of dead keys: the key alone', () => {
    assert.deepEqual(keymapNamed('de').strokesFor(0xfe51), [[0x0d]]);
    assert.equal(us.strokesFor(0xfe51), undefined);
  });

  test('that are none, or none here', () => {
    for (const keysym of [0, -1, 1.5, Number.NaN, 0xffffffff, 0x1f, 0x01110000, 0xe9])
      assert.equal(us.strokesFor(keysym), undefined, String(keysym));
  });
});
