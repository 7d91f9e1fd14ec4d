import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LAYOUTS } from '../../src/console/state/typing.ts';
import { KEYMAP_NAMES } from '../../src/hypervisor/display/keymaps/keymap.ts';

test('the console offers the keyboard layouts that a VM can type with, and no others', () => {
  assert.deepEqual(LAYOUTS.map(([name]) => name).sort(), [...KEYMAP_NAMES].sort());
});
