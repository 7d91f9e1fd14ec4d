/**
 * The video adapter under a guest that means harm. `node test/fuzz/vga.ts --seed N --count M` runs M cases from seed N
 * on, each with a seed of its own, until one fails or the count is reached; without --count it goes on for ever.
 *
 * A case brings the adapter into some mode and then does anything to it, watched. No access may throw, the picture
 * stays inside its bounds and its memory, and in the end it is the picture that a second adapter with the same state
 * draws from nothing: so no change was missed.
 */
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import type { ScreenChange, ScreenWatch } from '../../src/hypervisor/backends/screen.ts';
import type { AccessSize } from '../../src/hypervisor/machine/bus.ts';
import { Random } from '../native/random.ts';
import { assertSame, pictureOf } from '../vga/picture.ts';
import { MODES, Program } from '../vga/program.ts';
import { FRAME_BASE, MMIO_BASE, VgaRig } from '../vga/rig.ts';

const SIZES: readonly AccessSize[] = [1, 2, 4];
/** A case's accesses, and how often its watch looks. */
const STEPS = 400;
const LOOK = 1 / 40;
/** The widest text: 256 characters of 18 dots. */
const MOST_WIDTH = 4608;
const MOST_HEIGHT = 1600;
const MOST_RECTS = 32;
/** Milliseconds that nothing takes, however busy the host is. */
const FAR_TOO_LONG = 5000;
const DEPTHS: readonly number[] = [4, 8, 15, 16, 24, 32];

const SCREEN_ON = new Program().out8(0x3c2, 0x67).in8(0x3da).sequencer(1, 1).out8(0x3c0, 0x20);

/** Two adapters that serve all cases: their memory is large. */
const rigs = [new VgaRig(), new VgaRig()] as const;

function someMode(dice: Random): Program {
  const program = new Program();
  if (dice.chance(0.5)) program.rampColours();
  if (dice.chance(0.5)) program.mode(dice.pick(Object.values(MODES))).egaColours();
  if (dice.chance(0.4))
    program.vbe(dice.below(900), dice.below(700), dice.pick(DEPTHS), 1 | (dice.below(4) << 6));
  return program;
}

/** Registers that hold sizes are rarely given sizes of megabytes, so that a case is soon over. */
function registerAccess(dice: Random, rig: VgaRig): void {
  const size = dice.pick(SIZES);
  const value = Number(dice.u64() & 0xffff_ffffn);
  switch (dice.below(6)) {
    case 0:
      return rig.pio.write(0x3b0 + dice.below(0x30), size, value);
    case 1:
      return void rig.pio.read(0x3b0 + dice.below(0x30), size);
    case 2: {
      const [port, registers] = dice.pick([
        [0x3c4, 5],
        [0x3ce, 9],
        [0x3d4, 25],
      ] as const);
      return rig.pio.write(port, 2, ((value & 0xff) << 8) | dice.below(registers));
    }
    case 3:
      rig.run(new Program().attribute(dice.below(21), value & 0xff).operations);
      return;
    case 4: {
      const small = dice.chance(0.9) ? value & 0x3ff : value & 0xffff;
      rig.run(new Program().dispi(dice.below(11), small).operations);
      return;
    }
    default:
      if (dice.chance(0.5)) rig.mmio.write(MMIO_BASE + dice.below(0x1000), size, value & 0x1fff_ffff);
      else rig.mmio.read(MMIO_BASE + dice.below(0x1000), size);
  }
}

function memoryAccess(dice: Random, rig: VgaRig): void {
  const size = dice.pick(SIZES);
  const value = Number(dice.u64() & 0xffff_ffffn);
  switch (dice.below(4)) {
    case 0:
      return void rig.mmio.read(0xa0000 + dice.below(0x20000), size);
    case 1:
      return rig.mmio.write(
        FRAME_BASE + dice.below(dice.chance(0.9) ? 1 << 20 : (16 << 20) - 3),
        size,
        value,
      );
    default:
      return rig.mmio.write(dice.pick([0xa0000, 0xb0000, 0xb8000]) + dice.below(0x8000), size, value);
  }
}

function look(watch: ScreenWatch): ScreenChange {
  const began = performance.now();
  const change = watch.update();
  assert.ok(performance.now() - began < FAR_TOO_LONG, 'an update takes too long');
  const { width, height, stride, memory, offset } = change.surface;
  assert.ok(
    width >= 1 && width <= MOST_WIDTH && height >= 1 && height <= MOST_HEIGHT,
    `${width} by ${height}`,
  );
  assert.ok(stride >= 4 * width && offset % 4 === 0);
  assert.ok(offset + (height - 1) * stride + 4 * width <= memory.byteLength);
  assert.ok(change.rects.length <= MOST_RECTS);
  let bottom = 0;
  for (const rect of change.rects) {
    assert.ok(rect.width >= 1 && rect.height >= 1 && rect.x >= 0 && rect.x + rect.width <= width);
    assert.ok(rect.y >= bottom && rect.y + rect.height <= height, 'rectangles overlap or leave the surface');
    bottom = rect.y + rect.height;
  }
  return change;
}

function runCase(seed: number): void {
  const dice = new Random(seed);
  const [rig, second] = rigs;
  for (const { vga, vram } of rigs) {
    vga.reset();
    vram.fill(0);
  }
  const watch = rig.watch();
  rig.run(someMode(dice).operations);
  const registers = dice.pick([0.05, 0.5]);
  for (let step = 0; step < STEPS; step++) {
    if (dice.chance(registers)) registerAccess(dice, rig);
    else memoryAccess(dice, rig);
    if (dice.chance(0.02)) rig.door.advance(dice.below(1e9));
    if (dice.chance(0.005)) rig.run(someMode(dice).operations);
    if (dice.chance(LOOK)) look(watch);
    if (dice.chance(0.005)) rig.vga.screen.text();
  }
  // A screen that shows something says more.
  rig.run(SCREEN_ON.operations);
  const { surface } = look(watch);
  second.vram.set(rig.vram);
  second.vga.restore(rig.vga.save());
  assert.deepEqual(second.vga.save(), rig.vga.save());
  second.door.advance(rig.door.clock.now() - second.door.clock.now());
  const fresh = second.watch();
  const drawn = look(fresh).surface;
  assertSame(pictureOf(surface), pictureOf(drawn));
  fresh.close();
  watch.close();
}

/** Runs cases and tells which one failed. */
export function fuzzVga(seed: number, count: number): void {
  for (let i = 0; i < count; i++) {
    try {
      runCase(seed + i);
    } catch (error) {
      throw new Error(`the video adapter fails: node test/fuzz/vga.ts --seed ${seed + i} --count 1`, {
        cause: error,
      });
    }
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seed: { type: 'string' }, count: { type: 'string' } } });
  const seed = Number(values.seed ?? Date.now() % 1e9);
  const count = Number(values.count ?? Number.POSITIVE_INFINITY);
  process.stdout.write(`video adapter: seed ${seed}\n`);
  const BATCH = 100;
  for (let done = 0; done < count; done += BATCH) {
    fuzzVga(seed + done, Math.min(BATCH, count - done));
    process.stdout.write(`${Math.min(done + BATCH, count)} cases\n`);
  }
}
