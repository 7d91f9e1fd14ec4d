import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FlatMemory } from '../../../../test/support/machine-parts.ts';
import { RING_EVENT_IDX, RING_INDIRECT_DESC, Virtqueue } from './queue.ts';

const DESC = 0x1000;
const AVAIL = 0x2000;
const USED = 0x3000;
const SIZE = 8;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

function build(features = RING_INDIRECT_DESC) {
  const memory = new FlatMemory(1 << 20);
  const broken: string[] = [];
  const queue = new Virtqueue(memory, 256, (reason) => broken.push(reason));
  queue.size = SIZE;
  queue.desc.low = DESC;
  queue.driver.low = AVAIL;
  queue.device.low = USED;
  queue.setFeatures(features);
  queue.enable();
  assert.deepEqual(broken, []);
  const put = (index: number, gpa: number, length: number, flags: number, next = 0, table = DESC): void => {
    memory.writeU64(table + 16 * index, BigInt(gpa));
    memory.writeU32(table + 16 * index + 8, length);
    memory.writeU16(table + 16 * index + 12, flags);
    memory.writeU16(table + 16 * index + 14, next);
  };
  const offer = (...heads: number[]): void => {
    for (const head of heads) {
      const at = memory.readU16(AVAIL + 2);
      memory.writeU16(AVAIL + 4 + 2 * (at % SIZE), head);
      memory.writeU16(AVAIL + 2, (at + 1) & 0xffff);
    }
  };
  return { memory, queue, broken, put, offer };
}

test('a chain is read and written across its buffers', () => {
  const { memory, queue, put, offer, broken } = build();
  put(3, 0x8000, 3, NEXT, 5);
  put(5, 0x9000, 2, NEXT, 1);
  put(1, 0xa000, 4, WRITE | NEXT, 0);
  put(0, 0xb000, 4, WRITE);
  memory.bytes.set([1, 2, 3], 0x8000);
  memory.bytes.set([4, 5], 0x9000);
  offer(3);
  const chain = queue.pop();
  assert.ok(chain);
  assert.deepEqual([chain.head, chain.readableLength, chain.writableLength], [3, 5, 8]);
  assert.deepEqual([...chain.read(0, 100)], [1, 2, 3, 4, 5]);
  assert.deepEqual([...chain.read(2, 2)], [3, 4]);
  assert.deepEqual([...chain.read(9, 2)], []);
  assert.equal(chain.write(3, Uint8Array.of(7, 8, 9)), 3);
  assert.equal(chain.write(7, Uint8Array.of(1, 2, 3)), 1);
  assert.equal(memory.readU8(0xa003), 7);
  assert.equal(memory.readU16(0xb000), 0x0908);
  assert.equal(memory.readU8(0xb003), 1);
  assert.deepEqual(
    chain.readableSpans().map((s) => s.length),
    [3, 2],
  );
  assert.deepEqual(
    chain.writableSpans().map((s) => s.length),
    [4, 4],
  );
  assert.equal(queue.push(chain.head, 6), true);
  assert.deepEqual([memory.readU16(USED + 2), memory.readU32(USED + 4), memory.readU32(USED + 8)], [1, 3, 6]);
  assert.equal(queue.pop(), undefined);
  assert.deepEqual(broken, []);
  assert.ok(
    memory.told.some((t) => t.gpa === 0xa003 && t.length === 1),
    'DMA is told to the processor',
  );
});

test('an indirect table is followed; a request can be put back and opened again', () => {
  const { queue, put, offer } = build();
  put(2, 0x5000, 32, INDIRECT);
  put(0, 0x8000, 16, NEXT, 1, 0x5000);
  put(1, 0x9000, 1, WRITE, 0, 0x5000);
  offer(2);
  assert.equal(queue.pop()?.readableLength, 16);
  queue.unpop();
  assert.equal(queue.pop()?.writableLength, 1);
  assert.equal(queue.pop(), undefined);
  assert.equal(queue.open(2)?.head, 2);
});

test('the ring wraps around 16-bit indices', () => {
  const { memory, queue, put, offer } = build();
  put(0, 0x8000, 1, WRITE);
  for (let i = 0; i < 65536 + 20; i++) {
    offer(0);
    const chain = queue.pop();
    assert.ok(chain);
    queue.push(chain.head, 1);
  }
  assert.equal(memory.readU16(USED + 2), 20);
});

test('interrupts: the flag without EVENT_IDX, the used event with it', () => {
  const plain = build();
  plain.put(0, 0x8000, 1, WRITE);
  plain.offer(0, 0);
  plain.queue.pop();
  plain.memory.writeU16(AVAIL, 1);
  assert.equal(plain.queue.push(0, 0), false);
  plain.memory.writeU16(AVAIL, 0);
  assert.equal(plain.queue.push(0, 0), true);

  const { memory, queue, put, offer } = build(RING_EVENT_IDX);
  put(0, 0x8000, 1, WRITE);
  offer(0, 0, 0, 0);
  for (let i = 0; i < 4; i++) queue.pop();
  assert.equal(memory.readU16(USED + 4 + 8 * SIZE), 4, 'avail_event follows what was taken');
  assert.equal(queue.push(0, 0), true, 'the first one always');
  memory.writeU16(AVAIL + 4 + 2 * SIZE, 2);
  assert.equal(queue.push(0, 0), false);
  assert.equal(queue.push(0, 0), true, 'used index passed the event');
  assert.equal(queue.push(0, 0), false);
});

const breaks: [string, (b: ReturnType<typeof build>) => void, RegExp][] = [
  ['available index too far ahead', (b) => b.memory.writeU16(AVAIL + 2, SIZE + 1), /available index/],
  ['head out of range', (b) => b.offer(SIZE), /descriptor index/],
  [
    'loop in the chain',
    (b) => {
      b.put(0, 0x8000, 1, NEXT, 1);
      b.put(1, 0x8000, 1, NEXT, 0);
      b.offer(0);
    },
    /loops/,
  ],
  [
    'next out of range',
    (b) => {
      b.put(0, 0x8000, 1, NEXT, SIZE);
      b.offer(0);
    },
    /next descriptor/,
  ],
  [
    'zero length',
    (b) => {
      b.put(0, 0x8000, 0, 0);
      b.offer(0);
    },
    /zero length/,
  ],
  [
    'buffer outside RAM',
    (b) => {
      b.put(0, (1 << 20) - 1, 2, 0);
      b.offer(0);
    },
    /not in RAM/,
  ],
  [
    'address of 64 bits',
    (b) => {
      b.put(0, 2 ** 52, 2, 0);
      b.offer(0);
    },
    /not in RAM/,
  ],
  [
    'huge length',
    (b) => {
      b.put(0, 0x8000, 0xffffffff, WRITE);
      b.offer(0);
    },
    /not in RAM/,
  ],
  [
    'readable after writable',
    (b) => {
      b.put(0, 0x8000, 1, WRITE | NEXT, 1);
      b.put(1, 0x8000, 1, 0);
      b.offer(0);
    },
    /readable buffer after/,
  ],
  [
    'indirect inside indirect',
    (b) => {
      b.put(0, 0x5000, 16, INDIRECT);
      b.put(0, 0x6000, 16, INDIRECT, 0, 0x5000);
      b.offer(0);
    },
    /inside an indirect/,
  ],
  [
    'indirect with next',
    (b) => {
      b.put(0, 0x5000, 16, INDIRECT | NEXT, 1);
      b.offer(0);
    },
    /with a next/,
  ],
  [
    'indirect of odd length',
    (b) => {
      b.put(0, 0x5000, 17, INDIRECT);
      b.offer(0);
    },
    /indirect table of 17/,
  ],
  [
    'empty indirect table',
    (b) => {
      b.put(0, 0x5000, 0, INDIRECT);
      b.offer(0);
    },
    /indirect table of 0/,
  ],
  [
    'huge indirect table',
    (b) => {
      b.put(0, 0x5000, 16 * 4096, INDIRECT);
      b.offer(0);
    },
    /indirect table of/,
  ],
  [
    'indirect table outside RAM',
    (b) => {
      b.put(0, 2 ** 40, 16, INDIRECT);
      b.offer(0);
    },
    /not in RAM/,
  ],
  [
    'loop in an indirect table',
    (b) => {
      b.put(0, 0x5000, 32, INDIRECT);
      b.put(0, 0x8000, 1, NEXT, 0, 0x5000);
      b.offer(0);
    },
    /loops/,
  ],
];

for (const [what, spoil, reason] of breaks) {
  test(`broken by the driver: ${what}`, () => {
    const b = build();
    spoil(b);
    assert.equal(b.queue.pop(), undefined);
    assert.equal(b.broken.length, 1);
    assert.match(b.broken[0], reason);
    b.offer(0);
    assert.equal(b.queue.pop(), undefined, 'a broken queue stays stopped');
    assert.equal(b.queue.push(0, 0), false);
    assert.equal(b.broken.length, 1, 'and complains once');
  });
}

test('an indirect descriptor without the feature breaks the queue', () => {
  const b = build(0n);
  b.put(0, 0x5000, 16, INDIRECT);
  b.offer(0);
  assert.equal(b.queue.pop(), undefined);
  assert.match(b.broken[0], /without the feature/);
});

test('rings that lie nowhere or askew, and sizes that are none, are refused', () => {
  const spoils: ((q: Virtqueue) => void)[] = [
    (q) => (q.desc.low = DESC + 8),
    (q) => (q.driver.low = AVAIL + 1),
    (q) => (q.device.low = USED + 2),
    (q) => (q.desc.high = 1),
    (q) => (q.device.low = 0xfffffffc),
    (q) => (q.size = 0),
    (q) => (q.size = 3),
    (q) => (q.size = 512),
  ];
  for (const spoil of spoils) {
    const broken: string[] = [];
    const queue = new Virtqueue(new FlatMemory(1 << 20), 256, (reason) => broken.push(reason));
    queue.size = SIZE;
    queue.desc.low = DESC;
    queue.driver.low = AVAIL;
    queue.device.low = USED;
    spoil(queue);
    queue.enable();
    assert.equal(broken.length, 1);
    assert.equal(queue.pop(), undefined);
  }
});

test('rings full of anything never throw, loop or hand out memory that is not RAM', () => {
  const size = 1 << 14;
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 512, maxLength: 512 }),
      fc.array(fc.nat(3), { maxLength: 20 }),
      fc.boolean(),
      (noise, actions, eventIdx) => {
        const memory = new FlatMemory(size);
        // Small numbers where addresses, lengths and flags lie, so that walks get somewhere.
        for (let i = 0; i < SIZE; i++) {
          const at = 16 * i;
          memory.writeU32(at, (noise[at] << 6) | noise[at + 1]);
          memory.writeU32(at + 4, noise[at + 2] === 0 ? 1 : 0);
          memory.writeU32(at + 8, noise[at + 3] < 8 ? 0xffffffff : noise[at + 3] & 0xf0);
          memory.writeU16(at + 12, noise[at + 4] & 7);
          memory.writeU16(at + 14, noise[at + 5] % (SIZE + 1));
        }
        memory.bytes.set(noise.subarray(256), 0x400);
        memory.writeU16(0x402, noise[300] % (SIZE + 2));
        let broken = 0;
        const queue = new Virtqueue(memory, SIZE, () => {
          broken += 1;
        });
        queue.driver.low = 0x400;
        queue.device.low = 0x800;
        queue.setFeatures(RING_INDIRECT_DESC | (eventIdx ? RING_EVENT_IDX : 0n));
        queue.enable();
        for (const action of actions) {
          const chain = action === 0 ? queue.open(noise[action]) : queue.pop();
          if (chain === undefined) continue;
          assert.ok(chain.readableLength + chain.writableLength <= 1024 * size);
          chain.read(0, 64);
          chain.write(0, new Uint8Array(64));
          queue.push(chain.head, 64);
          if (action === 3) queue.restore(queue.save());
        }
        assert.ok(broken <= 1 + actions.length);
      },
    ),
    { numRuns: 1000 },
  );
});
