// `node test/fuzz/qcow2.ts --seed N --count M`: qcow2 images with damage of every kind are opened, checked, read and
// written. Whatever they hold, the answer is a DiskError or bytes: no crash, no hang, no write far outside the file.
// Without --count it goes on until it finds something; a failing image is named by its seed.
import { parseArgs } from 'node:util';
import { type DiskBackend, DiskError } from '../../src/hypervisor/backends/disk.ts';
import { RawDisk } from '../../src/hypervisor/backends/disk-raw.ts';
import { checkQcow2 } from '../../src/hypervisor/backends/qcow2/check.ts';
import { readU64 } from '../../src/hypervisor/backends/qcow2/format.ts';
import { MemoryFile, Random } from '../support/memory-file.ts';
import { Qcow2Editor } from '../support/qcow2-editor.ts';
import { emptyImage, openImage } from '../support/qcow2-images.ts';

const SIZE = 1 << 20;
/** Of one image, in milliseconds; a sound one takes some ten. */
const MOST_MS = 10_000;
/** The file grows by what is written to the disk and some metadata, not by what its tables dream of. */
const MOST_BYTES = 16 << 20;

/** A sound image that has everything: written, zero, compressed clusters, a backing file, a snapshot. */
async function soundImage(random: Random): Promise<Uint8Array> {
  const clusterBits = 10 + random.next(4);
  const clusterSize = 2 ** clusterBits;
  const backing = random.next(2) === 0 ? { backing: { name: 'base', format: 'raw' as const } } : {};
  const version = random.next(8) === 0 ? 2 : 3;
  const file = new MemoryFile(await emptyImage({ size: SIZE, clusterBits, version, ...backing }));
  const disk = await openImage(file, base());
  for (let i = 0; i < 4; i++) {
    const offset = random.next(SIZE / 512 - 40) * 512;
    await disk.writeAt(offset, new Uint8Array(512 * (1 + random.next(40))).fill(i + 1));
    await disk.writeZeroes(random.next(16) * clusterSize, clusterSize * 2, random.next(2) === 0);
  }
  await disk.writeAt(0, new Uint8Array(512));
  await disk.discard(8 * clusterSize, 8 * clusterSize);
  await disk.close();
  if (clusterBits < 12 || version === 2) return file.bytes;
  const editor = new Qcow2Editor(file.bytes);
  const type = random.next(3) === 0 ? 'zstd' : 'deflate';
  for (let i = 9; i < 14; i++) {
    if (editor.view.getBigUint64(editor.l2EntryAt(i)) <= 1n)
      editor.compress(i, new Uint8Array(clusterSize).fill(i), type);
  }
  if (random.next(2) === 0) editor.snapshot();
  return editor.bytes;
}

function base(): DiskBackend {
  return new RawDisk(new MemoryFile(new Uint8Array(300 * 512).fill(0xbb), { readOnly: true }));
}

/** Values that tables and fields are filled with. */
function strangeValue(random: Random, image: Uint8Array, clusterSize: number): bigint {
  const clusters = Math.ceil(image.length / clusterSize);
  const cluster = BigInt(random.next(clusters + 3)) * BigInt(clusterSize);
  const flags = [0n, 1n << 63n, 1n << 62n, 3n << 62n, 1n << 56n][random.next(5)];
  const values = [
    0n,
    1n,
    cluster,
    cluster,
    cluster + 512n,
    BigInt(image.length),
    (1n << 55n) | cluster,
    (1n << 64n) - 1n,
    BigInt(random.next(2 ** 31)) << 20n,
  ];
  return (flags | values[random.next(values.length)]) & ((1n << 64n) - 1n);
}

/** Damages an image in one to several places, mostly in its metadata. */
function damage(image: Uint8Array, random: Random): Uint8Array {
  const bytes = image.slice();
  const view = new DataView(bytes.buffer);
  const clusterSize = 2 ** view.getUint32(20);
  const tables = [readU64(view, 40), readU64(view, 48), readU64(view, readU64(view, 48)), readU64(view, 64)];
  const l2 = Number(view.getBigUint64(readU64(view, 40)) & 0xfffffffffffe00n);
  const places = [0, ...tables, l2, l2, l2].filter((at) => at + clusterSize <= bytes.length);
  for (let changes = 1 + random.next(6); changes > 0; changes--) {
    const place = places[random.next(places.length)];
    const within = place === 0 ? 112 : random.next(3) === 0 ? clusterSize : 256;
    const at = place + random.next(within / 8) * 8;
    const kind = random.next(6);
    if (kind < 3) view.setBigUint64(at, strangeValue(random, bytes, clusterSize));
    else if (kind === 3)
      view.setUint32(at + 4 * random.next(2), random.next(3) === 0 ? 0xffff_ffff : random.next(300));
    else if (kind === 4) bytes[at + random.next(8)] ^= 1 << random.next(8);
    else bytes[random.next(bytes.length)] = random.next(256);
  }
  return random.next(6) === 0 ? bytes.slice(0, random.next(bytes.length)) : bytes;
}

/** Runs something that may fail for what is in the image, and for nothing else. */
async function mayFail<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DiskError) return undefined;
    throw error;
  }
}

async function read(image: Uint8Array): Promise<void> {
  const disk = await mayFail(() => openImage(new MemoryFile(image, { readOnly: true }), base()));
  if (!disk) return;
  const end = Math.min(disk.size, 4 * SIZE);
  for (let at = 0; at < end; at += 16384)
    await mayFail(() => disk.readAt(at, new Uint8Array(Math.min(16384, end - at))));
  await mayFail(() => disk.readAt(disk.size - 512, new Uint8Array(512)));
  await disk.close();
}

/** @param sound nothing was wrong with its tables, and nothing may be afterwards */
async function write(image: Uint8Array, random: Random, sound: boolean): Promise<void> {
  const file = new MemoryFile(image);
  const disk = await mayFail(() => openImage(file, base()));
  if (!disk) return;
  for (let i = 0; i < 12; i++) {
    const offset = random.next(Math.min(disk.size, SIZE) / 512) * 512;
    const length = Math.min(512 * (1 + random.next(60)), disk.size - offset);
    const what = random.next(6);
    await mayFail(() => {
      if (what < 3) return disk.writeAt(offset, new Uint8Array(length).fill(i));
      if (what === 3) return disk.writeZeroes(offset, length, random.next(2) === 0);
      return what === 4 ? disk.discard(offset, length) : disk.flush();
    });
  }
  await mayFail(() => disk.close());
  if (file.length > image.length + MOST_BYTES) throw new Error(`the file has grown to ${file.length} bytes`);
  await read(file.bytes);
  if (!sound) return;
  const { corruptions, messages } = await checkQcow2(new MemoryFile(file.bytes, { readOnly: true }));
  if (corruptions > 0) throw new Error(`a sound image has been damaged: ${messages.join('; ')}`);
}

/**
 * Everything with the image of one seed.
 *
 * @throws Error when something else than a DiskError comes of it
 */
export async function fuzzQcow2(seed: number): Promise<void> {
  const random = new Random(seed);
  const image = damage(await soundImage(random), random);
  const began = performance.now();
  const report = await mayFail(() => checkQcow2(new MemoryFile(image, { readOnly: true })));
  await read(image);
  await write(image, random, report?.corruptions === 0);
  const took = performance.now() - began;
  if (took > MOST_MS) throw new Error(`it took ${Math.round(took)} ms`);
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seed: { type: 'string' }, count: { type: 'string' } } });
  const first = Number(values.seed ?? 1);
  const count = Number(values.count ?? Number.POSITIVE_INFINITY);
  for (let seed = first; seed < first + count; seed++) {
    await fuzzQcow2(seed).catch((error) => {
      throw new Error(`seed ${seed}`, { cause: error });
    });
    if ((seed - first + 1) % 1000 === 0) console.log(`${seed - first + 1} images`);
  }
}
