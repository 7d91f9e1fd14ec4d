import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hex, Ps2Rig } from '../../../../test/support/ps2-driver.ts';
import { BUTTON } from '../../backends/input.ts';

const WHEEL = [0xf3, 200, 0xf3, 100, 0xf3, 80];
const EXPLORER = [0xf3, 200, 0xf3, 200, 0xf3, 80];

/** A mouse that reports, after a knock or none. */
function reporting(knock: readonly number[] = []): Ps2Rig {
  const rig = new Ps2Rig();
  rig.mouse(...knock);
  assert.deepEqual(rig.mouse(0xf4), [0xfa]);
  return rig;
}

/** What comes of movements, all at once. */
function moved(rig: Ps2Rig, ...moves: readonly (readonly [number, number, number, number])[]): string {
  for (const move of moves) {
    rig.ps2.pointer.move(...move);
    rig.door.pump();
  }
  return everything(rig);
}

/** All packets, as time goes by. */
function everything(rig: Ps2Rig): string {
  const bytes: number[] = [];
  for (let i = 0; i < 100; i++) {
    bytes.push(...rig.packets());
    rig.door.advance(10e6);
  }
  return hex(bytes);
}

describe('commands', () => {
  test('reset, identity, status', () => {
    const rig = new Ps2Rig();
    assert.equal(hex(rig.mouse(0xff)), 'fa aa 00');
    assert.equal(hex(rig.mouse(0xf2)), 'fa 00');
    assert.equal(hex(rig.mouse(0xe9)), 'fa 00 02 64');
  });

  test('the status shows mode, scaling, reporting, resolution, rate and buttons', () => {
    const rig = new Ps2Rig();
    rig.mouse(0xe7, 0xe8, 0x03, 0xf3, 40, 0xf4);
    rig.ps2.pointer.move(0, 0, 0, BUTTON.left | BUTTON.right);
    rig.door.pump();
    rig.packets();
    assert.equal(hex(rig.mouse(0xe9)), 'fa 35 03 28');
    rig.mouse(0xf0);
    assert.equal(hex(rig.mouse(0xe9)), 'fa 75 03 28');
    rig.mouse(0xea, 0xe6, 0xf5);
    assert.equal(hex(rig.mouse(0xe9)), 'fa 05 03 28');
    rig.mouse(0xf6);
    assert.equal(hex(rig.mouse(0xe9)), 'fa 05 02 64');
  });

  test('what it does not know it asks for again, and then refuses', () => {
    const rig = new Ps2Rig();
    assert.equal(hex(rig.mouse(0xe1, 0xe1, 0xe1)), 'fe fc fe');
    assert.equal(hex(rig.mouse(0xf2)), 'fa 00');
    assert.equal(hex(rig.mouse(0xf3, 99, 99)), 'fa fe fc');
    assert.equal(hex(rig.mouse(0xf3, 99, 60)), 'fa fe fa');
    assert.equal(hex(rig.mouse(0xe8, 4, 0xf2)), 'fa fe fa 00');
  });

  test('resend gives the last answer or packet again', () => {
    const rig = reporting();
    assert.equal(hex(rig.mouse(0xe9)), 'fa 20 02 64');
    assert.equal(hex(rig.mouse(0xfe)), 'fa 20 02 64');
    assert.equal(moved(rig, [5, -3, 0, 0]), '08 05 03');
    assert.equal(hex(rig.mouse(0xfe)), '08 05 03');
  });

  test('wrap mode sends everything back but reset and its own end', () => {
    const rig = new Ps2Rig();
    assert.equal(hex(rig.mouse(0xee, 0xf2, 0x00, 0xec, 0xf2)), 'fa f2 00 fa fa 00');
    assert.equal(hex(rig.mouse(0xee, 0xff)), 'fa fa aa 00');
    assert.equal(hex(rig.mouse(0xf2)), 'fa 00');
  });
});

describe('packets', () => {
  test('movement, right and up positive, and three buttons', () => {
    const rig = reporting();
    assert.equal(moved(rig, [5, 7, 0, 0]), '28 05 f9');
    assert.equal(moved(rig, [-5, -7, 0, 0]), '18 fb 07');
    assert.equal(moved(rig, [0, 0, 0, BUTTON.left]), '09 00 00');
    assert.equal(moved(rig, [0, 0, 0, BUTTON.right | BUTTON.middle]), '0e 00 00');
    assert.equal(moved(rig, [0, 0, 0, 0]), '08 00 00');
    assert.equal(moved(rig, [0, 0, 0, 0]), '', 'nothing new');
    assert.equal(moved(rig, [0, 0, 1, BUTTON.side]), '', 'nothing that this mouse has');
  });

  test('nothing is sent or counted before reporting is on', () => {
    const rig = new Ps2Rig();
    assert.equal(moved(rig, [5, 5, 0, 0]), '');
    rig.mouse(0xf4);
    assert.equal(everything(rig), '');
  });

  test('a long way is several packets, without overflow', () => {
    assert.equal(moved(reporting(), [600, 0, 0, 0]), '08 ff 00 08 ff 00 08 5a 00');
    assert.equal(moved(reporting(), [0, 300, 0, 0]), '28 00 01 28 00 d3');
  });

  test('thousands of counts that nobody read are lost, and that is told', () => {
    const rig = reporting();
    for (let i = 0; i < 20; i++) {
      rig.ps2.pointer.move(1000, 0, 0, 0);
      rig.door.pump();
    }
    // The first packet was made before anything was lost.
    assert.equal(hex(rig.packets()), '08 ff 00');
    rig.door.advance(10e6);
    assert.equal(hex(rig.packets()), '48 ff 00');
    rig.door.advance(10e6);
    assert.equal(hex(rig.packets()), '08 ff 00');
  });

  test('a click between two samples is not lost', () => {
    const rig = reporting();
    assert.equal(
      moved(rig, [1, 0, 0, 0], [2, 0, 0, BUTTON.left], [3, 0, 0, BUTTON.left], [0, 0, 0, 0]),
      '08 01 00 09 05 00 08 00 00',
    );
  });

  test('2:1 scaling of small movements, and of large ones', () => {
    const rig = reporting();
    rig.mouse(0xe7);
    const scaled = [1, 2, 3, 4, 5, 6, 100].map((dx) =>
      Number.parseInt(moved(rig, [dx, 0, 0, 0]).slice(3, 5), 16),
    );
    assert.deepEqual(scaled, [1, 1, 3, 6, 9, 12, 200]);
    assert.equal(moved(rig, [-5, 0, 0, 0]), '18 f7 00');
    assert.equal(moved(rig, [200, 0, 0, 0]), '08 fe 00 08 92 00');
  });

  test('wheel: towards the user positive, four bits of it', () => {
    const rig = reporting(WHEEL);
    assert.equal(hex(rig.mouse(0xf2)), 'fa 03');
    rig.mouse(0xf4);
    assert.equal(moved(rig, [0, 0, 1, 0]), '08 00 00 01');
    assert.equal(moved(rig, [1, 0, -1, 0]), '08 01 00 ff');
    assert.equal(moved(rig, [0, 0, 10, 0]), '08 00 00 07 08 00 00 03');
  });

  test('five buttons', () => {
    const rig = reporting(EXPLORER);
    assert.equal(hex(rig.mouse(0xf2)), 'fa 04');
    assert.equal(moved(rig, [0, 0, 0, BUTTON.side]), '08 00 00 10');
    assert.equal(moved(rig, [0, 0, -1, BUTTON.extra]), '08 00 00 2f');
    assert.equal(hex(rig.mouse(0xff)), 'fa aa 00');
  });

  test('other rates are no knock', () => {
    const rig = new Ps2Rig();
    rig.mouse(0xf3, 200, 0xf3, 100, 0xf3, 60, 0xf3, 80);
    assert.equal(hex(rig.mouse(0xf2)), 'fa 00');
  });
});

describe('time', () => {
  for (const rate of [10, 40, 100, 200]) {
    test(`at most ${rate} packets a second`, () => {
      const rig = reporting([0xf3, rate]);
      let bytes = 0;
      for (let ms = 0; ms < 1000; ms++) {
        rig.ps2.pointer.move(1, 0, 0, 0);
        rig.door.pump();
        for (let i = 0; i < 4; i++) {
          rig.door.advance(250_000);
          if (rig.status() & 1) {
            rig.pio.read(0x60, 1);
            bytes += 1;
          }
        }
      }
      assert.ok(Math.abs(bytes / 3 - rate) <= 1, String(bytes / 3));
    });
  }

  test('remote mode: movement waits to be asked for', () => {
    const rig = new Ps2Rig();
    rig.mouse(0xf0);
    assert.equal(moved(rig, [3, 0, 0, BUTTON.left], [4, 0, 0, BUTTON.left]), '');
    assert.equal(hex(rig.mouse(0xeb)), 'fa 09 07 00');
    assert.equal(hex(rig.mouse(0xeb)), 'fa 09 00 00');
  });
});

describe('a guest that does not read', () => {
  test('costs nothing: a movement is drawn together on either side of the door', () => {
    const rig = reporting();
    for (let i = 0; i < 100_000; i++) rig.ps2.pointer.move(1, -1, 0, i & 1);
    const state = JSON.stringify(rig.ps2.save()).length;
    assert.ok(rig.door.pump() < 100);
    assert.ok(JSON.stringify(rig.ps2.save()).length < state + 5000);
  });

  test('numbers that are none do no harm', () => {
    const rig = reporting();
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, -1e300, 0.4]) {
      rig.ps2.pointer.move(bad, bad, bad, bad);
      rig.ps2.pointer.place(bad, bad, bad, bad);
      rig.door.pump();
    }
    everything(rig);
  });
});
