import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FlatMemory } from '../../../test/support/machine-parts.ts';
import { installAcpi } from './acpi/tables.ts';
import { findWaking } from './waking.ts';

function suspended(vector: number, wide = 0n) {
  const memory = new FlatMemory(2 << 20);
  const { facs } = installAcpi(memory);
  memory.writeU32(facs + 12, vector);
  memory.writeU64(facs + 24, wide);
  return { memory, facs };
}

const waking = (vector: number, wide?: bigint) => {
  const { memory, facs } = suspended(vector, wide);
  return findWaking(memory, facs);
};

test('the 32-bit vector: real mode, segment and the four bits that are left', () => {
  assert.deepEqual(waking(0x9a123), { mode: 'real', segment: 0x9a12, offset: 3 });
  assert.deepEqual(waking(0x1000), { mode: 'real', segment: 0x100, offset: 0 });
});

test('the 64-bit vector counts first: flat 32-bit code with descriptors of the firmware', () => {
  const { memory, facs } = suspended(0x1000, 0x12_3456n);
  const found = findWaking(memory, facs);
  assert.equal(found?.mode, 'protected');
  if (found?.mode !== 'protected') return;
  const { state } = found;
  assert.deepEqual([state.rip, state.cr0, state.cr3, state.efer], [0x12_3456, 0x11, 0, 0]);
  assert.deepEqual(
    [state.cs.base, state.cs.limit, state.ds.base, state.ds.limit],
    [0, 0xffff_ffff, 0, 0xffff_ffff],
  );
  assert.equal(Number((memory.readU64(state.gdt.base + state.cs.selector) >> 40n) & 0xffn), 0x9b);
});

test('a FACS of version 0 has no 64-bit vector', () => {
  const { memory, facs } = suspended(0x1000, 0x12_3456n);
  memory.writeU8(facs + 32, 0);
  assert.equal(findWaking(memory, facs)?.mode, 'real');
});

test('no vector, one out of reach, or no FACS any more: nowhere', () => {
  assert.equal(waking(0), undefined);
  assert.equal(waking(0x10_0000), undefined);
  assert.equal(waking(0x1000, 1n << 40n), undefined);
  const { memory, facs } = suspended(0x1000);
  memory.writeU8(facs, 0);
  assert.equal(findWaking(memory, facs), undefined);
});

test('whatever a guest leaves there, it is a place in memory or nowhere', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 0xffff_ffff }),
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      (v, w) => {
        for (const found of [waking(v), waking(v, w)]) {
          if (found?.mode === 'real') assert.ok(found.segment * 16 + found.offset < 1 << 20);
          else if (found) assert.ok(found.state.rip < 2 << 20);
        }
      },
    ),
    { numRuns: 50 },
  );
});
