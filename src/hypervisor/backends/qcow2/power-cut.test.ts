import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MemoryFile, Random } from '../../../../test/support/memory-file.ts';
import { Qcow2Editor } from '../../../../test/support/qcow2-editor.ts';
import { emptyImage, openImage, readAll } from '../../../../test/support/qcow2-images.ts';
import type { DiskBackend } from '../disk.ts';
import { RawDisk } from '../disk-raw.ts';
import { checkQcow2 } from './check.ts';

const SECTOR = 512;

/** Something that was done to sectors; all the sectors hold `tag` after it. */
interface Deed {
  readonly first: number;
  readonly end: number;
  readonly tag: number;
  /** It says what the sectors hold; a discard only what they may hold. */
  readonly certain: boolean;
  readonly began: number;
  ended: number;
  flushed: boolean;
}

/** What may be read after a power cut: every deed that no later one, known to be on the disk, has undone. */
class Deeds {
  readonly #all: Deed[] = [];
  #now = 0;
  /** The power is out: what ends now has not ended. */
  out = false;

  begin(first: number, count: number, tag: number, certain = true): Deed {
    const deed: Deed = {
      first,
      end: first + count,
      tag,
      certain,
      began: this.#now++,
      ended: Number.POSITIVE_INFINITY,
      flushed: false,
    };
    this.#all.push(deed);
    return deed;
  }

  end(deed: Deed): void {
    if (!this.out) deed.ended = this.#now++;
  }

  /** @returns what is on the disk once the flush that begins now has ended */
  flushing(): () => void {
    const covered = this.#all.filter(({ ended }) => ended !== Number.POSITIVE_INFINITY);
    return () => {
      if (this.out) return;
      for (const deed of covered) deed.flushed = true;
    };
  }

  /** What the sector holds, on the disk. */
  settle(sector: number, tag: number): void {
    const deed = this.begin(sector, 1, tag);
    this.end(deed);
    deed.flushed = true;
  }

  allowed(sector: number): Set<number> {
    const here = this.#all.filter(({ first, end }) => first <= sector && sector < end);
    const standing = here.filter(
      (deed) => !here.some((other) => other.certain && other.flushed && deed.ended < other.began),
    );
    return new Set(standing.map(({ tag }) => tag));
  }
}

/** The tag that all of a sector holds; -1 when it holds several. */
function tagOf(disk: Uint8Array, sector: number): number {
  const view = new DataView(disk.buffer, disk.byteOffset + sector * SECTOR, SECTOR);
  const tag = view.getUint32(0);
  for (let at = 4; at < SECTOR; at += 4) if (view.getUint32(at) !== tag) return -1;
  return tag;
}

function tagged(count: number, tag: number): Uint8Array {
  const bytes = new Uint8Array(count * SECTOR);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += 4) view.setUint32(at, tag);
  return bytes;
}

interface Kind {
  readonly clusterBits: number;
  readonly refcountOrder: number;
  readonly backing: boolean;
  /** Written clusters, compressed clusters and an internal snapshot to begin with. */
  readonly furnished: boolean;
}

const SECTORS = 1024;
const BACKING_SECTORS = 600;
const BACKING_TAG = 0xbbbbbbbb;

async function firstImage(kind: Kind): Promise<{ image: Uint8Array; tags: Uint32Array }> {
  const tags = new Uint32Array(SECTORS);
  if (kind.backing) tags.fill(BACKING_TAG, 0, BACKING_SECTORS);
  const image = await emptyImage({
    size: SECTORS * SECTOR,
    clusterBits: kind.clusterBits,
    refcountOrder: kind.refcountOrder,
    ...(kind.backing && { backing: { name: 'base', format: 'raw' } }),
  });
  if (!kind.furnished) return { image, tags };
  const file = new MemoryFile(image);
  const disk = await openImage(file, backingOf(kind));
  const perCluster = 2 ** kind.clusterBits / SECTOR;
  await disk.writeAt(0, tagged(perCluster * 8, 0x11111111));
  await disk.close();
  tags.fill(0x11111111, 0, perCluster * 8);
  const editor = new Qcow2Editor(file.bytes);
  for (const cluster of [10, 11, 12, 20]) {
    editor.compress(cluster, tagged(perCluster, 0x22222222));
    tags.fill(0x22222222, cluster * perCluster, (cluster + 1) * perCluster);
  }
  editor.snapshot();
  return { image: editor.bytes, tags };
}

function backingOf({ backing }: Kind): DiskBackend | undefined {
  if (!backing) return undefined;
  return new RawDisk(new MemoryFile(tagged(BACKING_SECTORS, BACKING_TAG), { readOnly: true }));
}

/** Does random things to an image, several at a time, and pulls the plug in the middle of them. */
async function runUntilCut(
  image: Uint8Array,
  kind: Kind,
  deeds: Deeds,
  random: Random,
  nextTag: () => number,
): Promise<Uint8Array> {
  const file = new MemoryFile(image, { random });
  const disk = await openImage(file, backingOf(kind));
  const underWay = new Set<Promise<void>>();
  const steps = 5 + random.next(60);
  for (let step = 0; step < steps; step++) {
    const work = oneStep(disk, deeds, random, nextTag).finally(() => underWay.delete(work));
    underWay.add(work);
    if (underWay.size > random.next(6)) await Promise.race(underWay);
  }
  const left = file.cut(random);
  deeds.out = true;
  await Promise.all(underWay);
  deeds.out = false;
  return left;
}

async function oneStep(
  disk: DiskBackend,
  deeds: Deeds,
  random: Random,
  nextTag: () => number,
): Promise<void> {
  const first = random.next(SECTORS);
  const count = Math.min(1 + random.next(random.next(2) === 0 ? 4 : 80), SECTORS - first);
  const [offset, length] = [first * SECTOR, count * SECTOR];
  const what = random.next(10);
  if (what < 2) {
    const flushed = deeds.flushing();
    await disk.flush();
    flushed();
  } else if (what < 7) {
    const tag = nextTag();
    const deed = deeds.begin(first, count, tag);
    await disk.writeAt(offset, tagged(count, tag));
    deeds.end(deed);
  } else if (what < 9) {
    const deed = deeds.begin(first, count, 0);
    await disk.writeZeroes(offset, length, what === 7);
    deeds.end(deed);
  } else {
    const deed = deeds.begin(first, count, 0, false);
    await disk.discard(offset, length);
    deeds.end(deed);
  }
}

async function cutAgainAndAgain(kind: Kind, seed: number): Promise<void> {
  const random = new Random(seed);
  const first = await firstImage(kind);
  const snapshot = kind.furnished ? await atSnapshot(first.image, kind) : undefined;
  const deeds = new Deeds();
  for (const [sector, tag] of first.tags.entries()) deeds.settle(sector, tag);
  let image = first.image;
  let tag = 0x40000000;
  for (let round = 0; round < 3; round++) {
    image = await runUntilCut(image, kind, deeds, random, () => tag++);
    const report = await checkQcow2(new MemoryFile(image, { readOnly: true }));
    assert.equal(report.corruptions, 0, report.messages.join('\n'));
    const disk = await openImage(new MemoryFile(image, { readOnly: true }), backingOf(kind));
    const all = await readAll(disk);
    for (let sector = 0; sector < SECTORS; sector++) {
      const found = tagOf(all, sector);
      const allowed = deeds.allowed(sector);
      assert.ok(
        allowed.has(found),
        `round ${round}, sector ${sector}: ${found.toString(16)}, not of ${[...allowed].map((t) => t.toString(16))}`,
      );
      // From here on it is what was found.
      deeds.settle(sector, found);
    }
    if (snapshot) assert.deepEqual(await atSnapshot(image, kind), snapshot);
  }
}

async function atSnapshot(image: Uint8Array, kind: Kind): Promise<Uint8Array> {
  const before = new Qcow2Editor(image).atSnapshot();
  return readAll(await openImage(new MemoryFile(before, { readOnly: true }), backingOf(kind)));
}

const kinds = fc.record({
  clusterBits: fc.constantFrom(9, 10, 12, 16),
  refcountOrder: fc.constantFrom(0, 3, 4, 6),
  backing: fc.boolean(),
  furnished: fc.constant(false),
});

test('power cuts corrupt nothing and lose nothing that was flushed', async () => {
  await fc.assert(
    fc.asyncProperty(kinds, fc.integer(), (kind, seed) => cutAgainAndAgain(kind, seed)),
    { numRuns: 60 },
  );
});

test('power cuts spoil no snapshot and no compressed cluster', async () => {
  const furnished = fc.record({
    clusterBits: fc.constantFrom(12, 13),
    refcountOrder: fc.constant(4),
    backing: fc.boolean(),
    furnished: fc.constant(true),
  });
  await fc.assert(
    fc.asyncProperty(furnished, fc.integer(), (kind, seed) => cutAgainAndAgain(kind, seed)),
    { numRuns: 40 },
  );
});
