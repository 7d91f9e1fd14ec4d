import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../../../test/native/random.ts';
import { Damage } from './damage.ts';

test('a block is one rectangle, and then there is nothing', () => {
  const damage = new Damage(100, 100);
  assert.equal(damage.empty, true);
  for (let row = 10; row < 20; row++) damage.add(row, 5, 8);
  damage.add(30, 7, 7);
  assert.deepEqual(damage.take(), [{ x: 5, y: 10, width: 3, height: 10 }]);
  assert.equal(damage.empty, true);
  assert.deepEqual(damage.take(), []);
});

test('places far apart are rectangles of their own', () => {
  const damage = new Damage(1000, 100);
  damage.add(3, 0, 10);
  damage.add(4, 900, 910);
  damage.add(50, 0, 1000);
  assert.deepEqual(damage.take(), [
    { x: 0, y: 3, width: 10, height: 1 },
    { x: 900, y: 4, width: 10, height: 1 },
    { x: 0, y: 50, width: 1000, height: 1 },
  ]);
});

test('rectangles hold all the damage, do not overlap and are few', () => {
  const random = new Random(3);
  for (let round = 0; round < 100; round++) {
    const [width, height] = [1 + random.below(120), 1 + random.below(120)];
    const damage = new Damage(width, height);
    const other = new Damage(width, height);
    const hit = new Uint8Array(width * height);
    for (let i = random.below(200); i > 0; i--) {
      const row = random.below(height);
      const left = random.below(width);
      const right = left + random.below(width - left + 1);
      (random.chance(0.5) ? damage : other).add(row, left, right);
      hit.fill(1, row * width + left, row * width + right);
    }
    damage.merge(other);
    const rects = damage.take();
    assert.ok(rects.length <= 32);
    const covered = new Uint8Array(width * height);
    for (const rect of rects) {
      assert.ok(rect.width > 0 && rect.height > 0 && rect.x >= 0 && rect.y >= 0);
      assert.ok(rect.x + rect.width <= width && rect.y + rect.height <= height);
      for (let y = rect.y; y < rect.y + rect.height; y++)
        for (let x = rect.x; x < rect.x + rect.width; x++) covered[y * width + x] += 1;
    }
    assert.ok(covered.every((count, i) => count <= 1 && count >= hit[i]));
  }
});
