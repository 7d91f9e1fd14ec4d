/**
 * fw_cfg under a guest that means harm. `node test/fuzz/fw-cfg.ts --seed N --count M` runs M cases from seed N on, each
 * with a seed of its own, until one fails or the count is reached; without --count it goes on for ever.
 */
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { FwCfg } from '../../src/hypervisor/devices/fw-cfg.ts';
import { AddressSpace } from '../../src/hypervisor/machine/address-space.ts';
import type { AccessSize } from '../../src/hypervisor/machine/bus.ts';
import { Random } from '../native/random.ts';
import { FlatMemory } from '../support/machine-parts.ts';

const MEMORY = 1 << 16;
const STEPS = 300;
const SIZES: readonly AccessSize[] = [1, 2, 4];
const PORTS = [0x510, 0x511, 0x514, 0x515, 0x516, 0x518, 0x51a, 0x51b];
const FILE = Uint8Array.from({ length: 3000 }, (_, i) => (i * 7) & 0xff);
const FILE_KEY = 0x20;

/** A number that a request could hold: small, at an edge, or anything. */
function word(dice: Random, edge: number): number {
  if (dice.chance(1 / 3)) return dice.below(64);
  if (dice.chance(1 / 2)) return (edge + dice.below(40) - 20) >>> 0;
  return Number(dice.u64() & 0xffff_ffffn);
}

/** Puts a request into memory, at its end perhaps, and runs it. */
function request(dice: Random, memory: FlatMemory, pio: AddressSpace): void {
  const block = new DataView(new ArrayBuffer(16));
  const key = dice.chance(1 / 2) ? dice.below(0x24) : dice.below(0x1_0000);
  block.setUint32(0, ((key << 16) | dice.below(0x40)) >>> 0);
  block.setUint32(4, word(dice, FILE.length));
  block.setBigUint64(8, dice.chance(1 / 8) ? dice.u64() : BigInt(word(dice, MEMORY)));
  const at = dice.chance(1 / 4) ? word(dice, MEMORY) : dice.below(MEMORY);
  memory.writeBytes(at, new Uint8Array(block.buffer));
  const swapped = new DataView(new ArrayBuffer(8));
  swapped.setBigUint64(0, dice.chance(1 / 16) ? dice.u64() : BigInt(at));
  pio.write(0x514, 4, swapped.getUint32(0, true));
  pio.write(0x518, 4, swapped.getUint32(4, true));
}

function fuzzCase(seed: number): void {
  const dice = new Random(seed);
  const memory = new FlatMemory(MEMORY);
  const pio = new AddressSpace();
  const device = new FwCfg({ memory, vcpus: 1, files: [{ name: 'etc/file', data: FILE }] });
  device.attach(pio);
  for (let step = 0; step < STEPS; step++) {
    const kind = dice.below(4);
    if (kind === 0) pio.read(dice.pick(PORTS), dice.pick(SIZES));
    else if (kind === 1) pio.write(dice.pick(PORTS), dice.pick(SIZES), word(dice, FILE_KEY));
    else request(dice, memory, pio);
    if (dice.chance(1 / 20)) device.restore(device.save());
  }
  // Whatever was done to it, an item is what it was.
  pio.write(0x510, 2, FILE_KEY);
  assert.deepEqual(
    Array.from(FILE, () => pio.read(0x511, 1)),
    [...FILE],
  );
}

/** Throws, naming the seed, when a case goes wrong. */
export function fuzzFwCfg(first: number, count: number): void {
  for (let seed = first; seed < first + count; seed++) {
    try {
      fuzzCase(seed);
    } catch (error) {
      throw new Error(`fw_cfg, seed ${seed}`, { cause: error });
    }
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seed: { type: 'string' }, count: { type: 'string' } } });
  fuzzFwCfg(
    Number(values.seed ?? Date.now() % 1_000_000_000),
    Number(values.count ?? Number.POSITIVE_INFINITY),
  );
}
