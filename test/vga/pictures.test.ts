/**
 * Scenes in every mode, drawn by our adapter and held against what QEMU's std
 * VGA shows after the same accesses: `expected.json`, renewed by `node
 * test/vga/record.ts`, compared live by `node test/vga/record.ts --compare`;
 * both need QEMU, the test does not. What QEMU draws otherwise was looked at once.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { assertSame, pictureOf } from './picture.ts';
import { pictureCode } from './picture-code.ts';
import { VgaRig } from './rig.ts';
import { SCENES } from './scenes.ts';

const LOOKED_AT: Readonly<Record<string, string>> = {
  text40: '720x400 3abb34abcdcf714d',
  'vbe-4': '640x200 c01336b2ba494edc',
};
const expected = JSON.parse(await readFile(join(import.meta.dirname, 'expected.json'), 'utf8'));

for (const { name, program, unlikeQemu } of SCENES) {
  const why = unlikeQemu === undefined ? 'as QEMU shows it' : `unlike QEMU: ${unlikeQemu}`;
  test(`${name}, ${why}`, () => {
    const rig = new VgaRig();
    rig.run(program.operations);
    const watch = rig.watch();
    const picture = pictureOf(watch.update().surface);
    assert.equal(pictureCode(picture), unlikeQemu === undefined ? expected[name] : LOOKED_AT[name]);
    watch.close();
  });

  test(`${name}, watched while it is drawn`, () => {
    const rig = new VgaRig();
    const watch = rig.watch();
    const { operations } = program;
    for (let i = 0; i < operations.length; i++) {
      rig.run(operations.slice(i, i + 1));
      if (i % 97 === 0) watch.update();
    }
    const { surface } = watch.update();
    const once = new VgaRig();
    once.run(operations);
    assertSame(pictureOf(surface), pictureOf(once.watch().update().surface));
    assert.deepEqual(watch.update().rects, []);
  });
}
