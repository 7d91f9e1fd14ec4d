import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { hex, Ps2Rig } from '../../../test/support/ps2-driver.ts';
import { UnknownKeyError } from './key-names.ts';
import { keymapNamed } from './keymaps/keymap.ts';
import { UntypableTextError } from './keymaps/type-text.ts';
import { TypingStalledError, Typist, TypistBusyError, type TypistOptions } from './typist.ts';

const us = keymapNamed('us');
const de = keymapNamed('de');

/** A guest that reads its keyboard as time goes by. */
function guest(t: TestContext, options: TypistOptions = { strokeMs: 0 }) {
  const rig = new Ps2Rig();
  const typist = new Typist(rig.ps2.keyboard, options);
  const bytes: number[] = [];
  const timer = setInterval(() => {
    rig.door.pump();
    bytes.push(...rig.read());
  }, 1);
  t.after(() => clearInterval(timer));
  return { rig, typist, bytes };
}

describe('typist', () => {
  test('types a text, and is done when the guest has taken it', async (t) => {
    const it = guest(t);
    await it.typist.type('aB\n', us);
    assert.equal(hex(it.bytes), '1e 9e 2a 30 b0 aa 1c 9c');
  });

  test('loses nothing of a text that is longer than all buffers', async (t) => {
    const it = guest(t);
    await it.typist.type('y'.repeat(600), us);
    assert.equal(hex(it.bytes), '15 95 '.repeat(600).trim());
  });

  test('one after the other, in the layout of each', async (t) => {
    const it = guest(t);
    await Promise.all([
      it.typist.type('zz', us),
      it.typist.type('z@', de),
      it.typist.press(['ctrl', 'c'], us),
    ]);
    assert.equal(hex(it.bytes), '2c ac 2c ac 15 95 e0 38 10 90 e0 b8 1d 2e ae 9d');
  });

  test('presses keys together', async (t) => {
    const it = guest(t);
    await it.typist.press(['ctrl', 'ALT', 'Delete'], us);
    assert.equal(hex(it.bytes), '1d 38 e0 53 e0 d3 b8 9d');
    await it.typist.press(['alt', 'f4'], us);
    await it.typist.press(['ctrl', '@'], de);
    assert.equal(hex(it.bytes.slice(8)), '38 3e be b8 1d e0 38 10 90 e0 b8 9d');
  });

  test('says what it cannot type before it types anything', async (t) => {
    const it = guest(t);
    await assert.rejects(it.typist.type('aé', us), UntypableTextError);
    for (const names of [['ctrl', 'hyper'], ['constructor'], [''], ['é'], ['ab']])
      await assert.rejects(it.typist.press(names, us), UnknownKeyError);
    assert.deepEqual(it.bytes, []);
  });

  test('gives up on a guest that takes no keys', async (t) => {
    const it = guest(t, { strokeMs: 0, patienceMs: 30 });
    await it.typist.type('a', us);
    it.rig.command(0xad);
    await assert.rejects(
      it.typist.type('bcd', us),
      (error: unknown) => error instanceof TypingStalledError && error.typed === 0 && error.total === 3,
    );
    it.rig.command(0xae);
    await it.typist.type('e', us);
    assert.equal(hex(it.bytes), '1e 9e 30 b0 12 92');
  });

  test('can be stopped, and takes no more than some texts at once', async (t) => {
    const it = guest(t, { strokeMs: 0, patienceMs: 60_000 });
    it.rig.command(0xad);
    const stop = new AbortController();
    const typing = Array.from({ length: 16 }, () => it.typist.type('a', us, stop.signal));
    await assert.rejects(it.typist.type('a', us), TypistBusyError);
    stop.abort(new Error('enough'));
    for (const one of await Promise.allSettled(typing))
      assert.ok(one.status === 'rejected' && one.reason.message === 'enough');
  });
});
