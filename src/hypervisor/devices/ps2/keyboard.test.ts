import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hex, Ps2Rig } from '../../../../test/support/ps2-driver.ts';
import { KEY_EVENTS } from './host-keys.ts';

const [A, B, SHIFT, RIGHT_SHIFT, CTRL, ALT, UP, SLASH, PRINT, PAUSE] = [
  0x1e, 0x30, 0x2a, 0x36, 0x1d, 0x38, 0xc8, 0xb5, 0x54, 0xc6,
];

/** A keyboard in a set, not translated. */
function inSet(set: 1 | 2 | 3): Ps2Rig {
  const rig = new Ps2Rig();
  rig.configure(0x01);
  assert.deepEqual(rig.keyboard(0xf0, set), [0xfa, 0xfa]);
  return rig;
}

/** With Num Lock's light on. */
function numLocked(rig: Ps2Rig): Ps2Rig {
  assert.deepEqual(rig.keyboard(0xed, 0x02), [0xfa, 0xfa]);
  return rig;
}

describe('keys', () => {
  test('in set 2, translated into set 1', () => {
    const rig = new Ps2Rig();
    assert.equal(hex(rig.keys(A, -A)), '1e 9e');
    assert.equal(hex(rig.keys(0x9d, -0x9d)), 'e0 1d e0 9d');
    assert.equal(hex(rig.keys(0x41, -0x41)), '41 c1', 'F7, whose code is the only one above 80h');
    assert.equal(hex(rig.keys(PAUSE, -PAUSE)), 'e1 1d 45 e1 9d c5');
  });

  for (const [set, a, up, pause] of [
    [1, '1e 9e', 'e0 48 e0 c8', 'e1 1d 45 e1 9d c5'],
    [2, '1c f0 1c', 'e0 75 e0 f0 75', 'e1 14 77 e1 f0 14 f0 77'],
    [3, '1c', '63', '62'],
  ] as const) {
    test(`in set ${set}`, () => {
      const rig = inSet(set);
      assert.equal(hex(rig.keys(A, -A)), a);
      assert.equal(hex(rig.keys(UP, -UP)), up);
      assert.equal(hex(rig.keys(PAUSE, -PAUSE)), pause);
    });
  }

  test('Print Screen, its two numbers, and what Ctrl, Shift and Alt make of it', () => {
    const rig = inSet(1);
    assert.equal(hex(rig.keys(PRINT, -PRINT)), 'e0 2a e0 37 e0 b7 e0 aa');
    assert.equal(hex(rig.keys(0xb7, -0xb7)), 'e0 2a e0 37 e0 b7 e0 aa');
    assert.equal(hex(rig.keys(CTRL, PRINT, -PRINT, -CTRL)), '1d e0 37 e0 b7 9d');
    assert.equal(hex(rig.keys(SHIFT, PRINT, -PRINT, -SHIFT)), '2a e0 37 e0 b7 aa');
    assert.equal(hex(rig.keys(ALT, PRINT, -ALT, -PRINT)), '38 54 b8 d4');
    assert.equal(hex(inSet(2).keys(ALT, PRINT, -PRINT, -ALT)), '11 84 f0 84 f0 11');
  });

  test('Pause with Ctrl is Break', () => {
    assert.equal(hex(inSet(1).keys(CTRL, PAUSE, -PAUSE, -CTRL)), '1d e0 46 e0 c6 9d');
    assert.equal(hex(inSet(2).keys(CTRL, PAUSE, -PAUSE, -CTRL)), '14 e0 7e e0 f0 7e f0 14');
  });

  test('the cursor block lies about Shift: pressed for Num Lock, let go when it is held', () => {
    assert.equal(hex(numLocked(inSet(1)).keys(UP, -UP)), 'e0 2a e0 48 e0 c8 e0 aa');
    assert.equal(hex(numLocked(inSet(2)).keys(UP, -UP)), 'e0 12 e0 75 e0 f0 75 e0 f0 12');
    assert.equal(hex(numLocked(inSet(1)).keys(SHIFT, UP, -UP, -SHIFT)), '2a e0 48 e0 c8 aa');
    assert.equal(hex(inSet(1).keys(SHIFT, UP, -UP, -SHIFT)), '2a e0 aa e0 48 e0 c8 e0 2a aa');
    assert.equal(hex(inSet(1).keys(RIGHT_SHIFT, UP, -UP)), '36 e0 b6 e0 48 e0 c8 e0 36');
    assert.equal(
      hex(inSet(2).keys(SHIFT, RIGHT_SHIFT, UP, -UP)),
      '12 59 e0 f0 12 e0 f0 59 e0 75 e0 f0 75 e0 59 e0 12',
    );
    assert.equal(hex(inSet(1).keys(SHIFT, SLASH, -SLASH)), '2a e0 aa e0 35 e0 b5 e0 2a');
    assert.equal(hex(numLocked(inSet(1)).keys(SLASH, -SLASH)), 'e0 35 e0 b5');
  });

  test('a Shift that was let go meanwhile does not come back', () => {
    assert.equal(hex(inSet(1).keys(SHIFT, UP, -SHIFT, -UP)), '2a e0 aa e0 48 aa e0 c8');
  });

  test('what is no key, or is so already, is nothing', () => {
    const rig = new Ps2Rig();
    for (const code of [0, 0x60, 0xe0, 0xaa, 0xb6, 0x100, -1, 1.5, Number.NaN])
      rig.ps2.keyboard.key(code, true);
    assert.deepEqual(rig.keys(-A), []);
    assert.equal(hex(rig.keys(A, A)), '1e');
  });
});

describe('commands', () => {
  test('reset: self-test passed, defaults, lights out', () => {
    const rig = new Ps2Rig();
    const lit: unknown[] = [];
    rig.ps2.keyboard.onLeds((leds) => lit.push(leds));
    rig.keyboard(0xf0, 0x03, 0xed, 0x05);
    assert.deepEqual(rig.keyboard(0xff), [0xfa, 0xaa]);
    rig.configure(0);
    assert.deepEqual(rig.keyboard(0xf0, 0x00), [0xfa, 0xfa, 0x02]);
    assert.deepEqual(lit, [
      { scroll: true, num: false, caps: true },
      { scroll: false, num: false, caps: false },
    ]);
  });

  test('lights, and a command in the place of their byte', () => {
    const rig = new Ps2Rig();
    assert.deepEqual(rig.keyboard(0xed, 0x02), [0xfa, 0xfa]);
    assert.deepEqual(rig.ps2.keyboard.leds, { scroll: false, num: true, caps: false });
    assert.deepEqual(rig.keyboard(0xed, 0xee), [0xfa, 0xee]);
    assert.deepEqual(rig.keyboard(0xed, 0x08), [0xfa, 0xfe]);
    assert.equal(rig.ps2.keyboard.leds.num, true);
  });

  test('identity, echo, resend, and no command', () => {
    const rig = new Ps2Rig();
    assert.equal(hex(rig.keyboard(0xf2)), 'fa ab 41');
    rig.configure(0);
    assert.equal(hex(rig.keyboard(0xf2)), 'fa ab 83');
    assert.equal(hex(rig.keyboard(0xfe)), '83');
    assert.equal(hex(rig.keyboard(0xee)), 'ee');
    assert.equal(hex(rig.keyboard(0xef, 0xf1, 0x12)), 'fe fe fe');
    assert.equal(hex(rig.keyboard(0xfe)), 'ee', 'a request to resend is not sent again');
  });

  test('disable stops it, enable forgets what was typed before', () => {
    const rig = new Ps2Rig();
    assert.deepEqual(rig.keyboard(0xf5), [0xfa]);
    assert.deepEqual(rig.keys(A, -A), []);
    rig.command(0xad);
    assert.deepEqual(rig.keyboard(0xf4), [0xfa]);
    assert.equal(hex(rig.keys(A, -A)), '1e 9e');
    rig.command(0xad);
    rig.keys(B, -B);
    assert.deepEqual(rig.keyboard(0xf4), [0xfa]);
  });

  test('answers go before what was typed', () => {
    const rig = new Ps2Rig();
    rig.command(0xad);
    rig.keys(A, -A);
    assert.equal(hex(rig.keyboard(0xf2)), 'fa ab 41 1e 9e');
  });

  test('sets: 0 asks, 1 to 3 choose, others are refused', () => {
    const rig = inSet(3);
    assert.equal(hex(rig.keyboard(0xf0, 0x00)), 'fa fa 03');
    assert.equal(hex(rig.keyboard(0xf0, 0x04)), 'fa fe');
    assert.equal(hex(rig.keyboard(0xf6, 0xf0, 0x00)), 'fa fa fa 02');
  });
});

describe('set 3', () => {
  test('by default some keys tell when they are let go, and some repeat', () => {
    const rig = inSet(3);
    assert.equal(hex(rig.keys(A, -A)), '1c');
    assert.equal(hex(rig.keys(SHIFT, -SHIFT)), '12 f0 12');
    assert.equal(hex(rig.keys(0x3b)), '07');
    rig.door.advance(2e9);
    assert.deepEqual(rig.read(), [], 'F1 does not repeat');
    rig.ps2.keyboard.key(B, true);
    rig.door.pump();
    assert.equal(hex(rig.read(1)), '32');
    rig.door.advance(600e6);
    assert.equal(hex(rig.read(1)), '32');
  });

  for (const [command, breaks, repeats] of [
    [0xf7, false, true],
    [0xf8, true, false],
    [0xf9, false, false],
    [0xfa, true, true],
  ] as const) {
    test(`${command.toString(16)}h: all keys ${breaks ? 'with' : 'without'} break, ${repeats ? 'with' : 'without'} repetition`, () => {
      const rig = inSet(3);
      assert.deepEqual(rig.keyboard(command), [0xfa]);
      for (const [code, make] of [
        [A, 0x1c],
        [SHIFT, 0x12],
        [0x3b, 0x07],
      ] as const) {
        rig.ps2.keyboard.key(code, true);
        rig.door.pump();
        assert.deepEqual(rig.read(1), [make]);
        rig.door.advance(550e6);
        assert.equal(rig.status() & 1, repeats ? 1 : 0);
        rig.read(1);
        rig.ps2.keyboard.key(code, false);
        rig.door.pump();
        assert.deepEqual(rig.read(), breaks ? [0xf0, make] : []);
      }
    });
  }

  test('FBh to FDh: keys one by one, until the next command', () => {
    const rig = inSet(3);
    assert.deepEqual(rig.keyboard(0xfc, 0x1c, 0x32, 0xf4), [0xfa, 0xfa, 0xfa, 0xfa]);
    assert.equal(hex(rig.keys(A, -A, B, -B, 0x2e, -0x2e)), '1c f0 1c 32 f0 32 21');
    rig.keyboard(0xfd, 0x12, 0xf4);
    assert.equal(hex(rig.keys(SHIFT, -SHIFT)), '12');
    rig.keyboard(0xfb, 0x12, 0xf4);
    rig.ps2.keyboard.key(SHIFT, true);
    rig.door.pump();
    rig.read(1);
    rig.door.advance(600e6);
    assert.equal(hex(rig.read(1)), '12');
    rig.keyboard(0xf6, 0xf0, 0x03);
    assert.equal(hex(rig.keys(-SHIFT)), 'f0 12', 'defaults bring back the types too');
  });
});

describe('repetition', () => {
  /** How many codes come in so many milliseconds, read as they come. */
  function count(rig: Ps2Rig, milliseconds: number): number {
    let codes = 0;
    for (let i = 0; i < milliseconds; i++) {
      rig.door.advance(1e6);
      while (rig.status() & 1) {
        rig.pio.read(0x60, 1);
        codes += 1;
      }
    }
    return codes;
  }

  test('begins after half a second, at 10.9 a second, until the key goes up', () => {
    const rig = new Ps2Rig();
    assert.equal(hex(rig.keys(A)), '1e');
    assert.equal(count(rig, 495), 0);
    assert.equal(count(rig, 1000), 11);
    assert.equal(hex(rig.keys(-A)), '9e');
    assert.equal(count(rig, 1000), 0);
  });

  test('at the rate and after the delay that the guest chose', () => {
    const rig = new Ps2Rig();
    assert.deepEqual(rig.keyboard(0xf3, 0x00), [0xfa, 0xfa]);
    rig.keys(A);
    assert.equal(count(rig, 240), 0);
    assert.equal(count(rig, 1015), 31);
    rig.keys(-A);
    assert.deepEqual(rig.keyboard(0xf3, 0x7f), [0xfa, 0xfa]);
    rig.keys(A);
    assert.equal(count(rig, 990), 0);
    assert.equal(count(rig, 2000), 4);
    assert.deepEqual(rig.keyboard(0xf3, 0x80), [0xfa, 0xfe]);
  });

  test('of the key that went down last; others that go up do not end it', () => {
    const rig = new Ps2Rig();
    rig.keys(A, B, -A);
    rig.door.advance(600e6);
    assert.equal(hex(rig.read(1)), '30');
    rig.keys(-B);
    assert.equal(count(rig, 1000), 0);
  });

  test('without the fake Shift again, and not of Pause', () => {
    const rig = numLocked(inSet(1));
    assert.equal(hex(rig.keys(UP)), 'e0 2a e0 48');
    rig.door.advance(500e6);
    assert.equal(hex(rig.read(2)), 'e0 48');
    rig.keys(-UP, PAUSE);
    assert.equal(count(rig, 2000), 0);
  });

  test('does not pile up in front of a guest that is busy', () => {
    const rig = new Ps2Rig();
    rig.ps2.keyboard.key(A, true);
    rig.door.pump();
    rig.door.advance(10e9);
    rig.ps2.keyboard.key(A, false);
    rig.door.pump();
    assert.ok(rig.read().length <= 3);
  });
});

describe('a guest that does not read', () => {
  test('loses nothing before hundreds of keys wait, then hears that it did, and no key stays down', () => {
    const rig = inSet(1);
    rig.command(0xad);
    let drained = 0;
    rig.ps2.keyboard.onDrained(() => {
      drained += 1;
    });
    for (let i = 0; i < 500; i++) {
      rig.ps2.keyboard.key(A, true);
      rig.ps2.keyboard.key(A, false);
      rig.door.pump();
    }
    assert.ok(rig.ps2.keyboard.waiting <= KEY_EVENTS + 16);
    rig.command(0xae);
    const bytes = rig.read();
    assert.equal(bytes.filter((byte) => byte === 0x1e).length, bytes.filter((byte) => byte === 0x9e).length);
    assert.ok(bytes.length >= 200 && bytes.length <= KEY_EVENTS + 16, String(bytes.length));
    assert.equal(bytes.at(-1), 0xff);
    assert.deepEqual([rig.ps2.keyboard.waiting, drained], [0, 1]);
    assert.equal(hex(rig.keys(B, -B)), '30 b0');
  });

  test('costs the host nothing while the machine stands still', () => {
    const rig = new Ps2Rig();
    for (let i = 0; i < 10_000; i++) rig.ps2.keyboard.key(1 + (i % 0x50), i % 3 !== 0);
    assert.ok(rig.door.pump() <= KEY_EVENTS);
  });
});
