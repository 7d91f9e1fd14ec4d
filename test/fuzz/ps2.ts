// Port accesses and input of a host, at random and mixed, against keyboard, mouse, controller and absolute pointer:
// `node test/fuzz/ps2.ts [--seed N] [--count M]` makes M programs from seed N on, or goes on until it is stopped.
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { Random } from '../native/random.ts';
import { Ps2Rig } from '../support/ps2-driver.ts';

/** Bytes that mean something to one of them. */
const BYTES = [
  0x00, 0x01, 0x02, 0x03, 0x07, 0x0a, 0x1c, 0x20, 0x28, 0x40, 0x47, 0x50, 0x60, 0x64, 0x65, 0xa4, 0xa5, 0xa7,
  0xa8, 0xa9, 0xaa, 0xab, 0xad, 0xae, 0xc0, 0xc8, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xdd, 0xdf, 0xe0, 0xe1, 0xe6,
  0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xf0, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
  0xfb, 0xfc, 0xfd, 0xfe, 0xff,
];
const BACKDOOR = [0x45414552, 0xf5, 0x4c455252, 0x53424152, 0, 1, 4, 6, 7];
/** Characters of the longest state that has a bound on everything. */
const LONGEST_STATE = 32_000;

/** One program. Throws where a promise is broken. */
export function fuzzPs2(seed: number): void {
  const random = new Random(seed);
  let rig = new Ps2Rig();
  const byte = (): number => (random.chance(0.8) ? random.pick(BYTES) : random.below(256));
  const steps = 20 + random.below(600);
  // Some programs read everything, some hardly anything.
  const reading = random.below(10);
  for (let step = 0; step < steps; step++) {
    for (let i = random.below(reading + 1); i > 0; i--) read(rig);
    switch (random.below(12)) {
      case 0:
      case 1:
        rig.pio.write(0x60, 1, byte());
        break;
      case 2:
      case 3:
        rig.pio.write(0x64, 1, byte());
        break;
      case 4:
        rig.command(0xd4, byte());
        break;
      case 5:
        for (let i = random.below(30); i > 0; i--)
          rig.ps2.keyboard.key(random.below(260) - 2, random.chance(0.5));
        break;
      case 6:
        for (let i = random.below(30); i > 0; i--)
          rig.ps2.pointer.move(
            random.below(9000) - 4500,
            random.below(9) - 4,
            random.below(5) - 2,
            random.below(32),
          );
        break;
      case 7:
        rig.ps2.pointer.place(random.below(1000) / 900, random.below(1000) / 900, 0, random.below(32));
        break;
      case 8:
        rig.backdoor(random.pick([10, 39, 40, 41, 86, random.below(100)]), random.pick(BACKDOOR));
        break;
      case 9:
        rig.door.advance(random.below(2_000_000_000));
        break;
      case 10:
        rig.pio.write(0x60 + random.below(5), random.pick([1, 2, 4]), Number(random.u64() & 0xffff_ffffn));
        break;
      case 11:
        if (random.chance(0.2)) rig = copyOf(rig);
        else if (random.chance(0.1)) rig.ps2.reset();
        break;
    }
    rig.door.pump();
    check(rig);
  }
  checkAlive(rig);
}

/** Whatever happened: a driver that begins anew finds both devices. */
function checkAlive(rig: Ps2Rig): void {
  rig.configure(0x20);
  assert.ok(rig.read().length < 1000, 'there is no end of bytes');
  assert.deepEqual(rig.keyboard(0xff), [0xfa, 0xaa]);
  assert.deepEqual(rig.mouse(0xff), [0xfa, 0xaa, 0x00]);
}

function read(rig: Ps2Rig): void {
  const full = rig.status() & 1;
  const value = rig.pio.read(0x60, 1);
  assert.ok(Number.isInteger(value) && value >= 0 && value <= 0xff, `${value} from port 60h`);
  if (!full) rig.door.advance(300_000);
}

function check(rig: Ps2Rig): void {
  const status = rig.status();
  if (rig.irq1.level) assert.equal(status & 0x21, 0x01, 'IRQ 1 without a byte of the keyboard');
  if (rig.irq12.level) assert.equal(status & 0x21, 0x21, 'IRQ 12 without a byte of the mouse');
  assert.equal(status & 0xc2, 0);
  const length = JSON.stringify(rig.ps2.save()).length;
  assert.ok(length < LONGEST_STATE, `the state has grown to ${length} characters`);
}

/** The same state in another machine. */
function copyOf(rig: Ps2Rig): Ps2Rig {
  const copy = new Ps2Rig();
  copy.door.advance(rig.door.clock.now());
  const state = structuredClone(rig.ps2.save());
  copy.ps2.restore(state);
  assert.deepEqual(copy.ps2.save(), state);
  return copy;
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seed: { type: 'string' }, count: { type: 'string' } } });
  const first = Number(values.seed ?? 1);
  const count = Number(values.count ?? Number.POSITIVE_INFINITY);
  for (let i = 0; i < count; i++) {
    try {
      fuzzPs2(first + i);
    } catch (error) {
      console.error(`node test/fuzz/ps2.ts --seed ${first + i} --count 1`);
      throw error;
    }
    if ((i + 1) % 1000 === 0) console.log(`${i + 1} programs`);
  }
}
