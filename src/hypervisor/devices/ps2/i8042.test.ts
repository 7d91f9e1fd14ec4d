import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hex, Ps2Rig } from '../../../../test/support/ps2-driver.ts';

test('starts as a BIOS leaves it: keyboard on, translated, with its interrupt', () => {
  const rig = new Ps2Rig();
  assert.equal(rig.status(), 0x14);
  rig.command(0x20);
  assert.deepEqual(rig.read(), [0x65]);
});

test('self-tests, wires, password, input port, test inputs', () => {
  const rig = new Ps2Rig();
  for (const [command, answer] of [
    [0xaa, 0x55],
    [0xab, 0x00],
    [0xa9, 0x00],
    [0xa4, 0xf1],
    [0xc0, 0x80],
    [0xe0, 0x01],
  ] as const) {
    rig.command(command);
    assert.deepEqual(rig.read(), [answer], command.toString(16));
  }
  // A password to load ends with a zero, and is not for the keyboard.
  rig.command(0xa5, 0xff, 0xee, 0x00);
  assert.deepEqual(rig.read(), []);
  assert.deepEqual(rig.keyboard(0xee), [0xee]);
});

test('the RAM is written by 60h to 7Fh and read by 20h to 3Fh', () => {
  const rig = new Ps2Rig();
  for (const i of [1, 17, 31]) rig.command(0x60 + i, i * 3);
  for (const i of [1, 17, 31]) {
    rig.command(0x20 + i);
    assert.deepEqual(rig.read(), [i * 3]);
  }
});

test('status: who wrote what, and whose byte it is', () => {
  const rig = new Ps2Rig();
  rig.command(0xa8);
  assert.equal(rig.status() & 0x08, 0x08);
  rig.pio.write(0x60, 1, 0xee);
  assert.equal(rig.status() & 0x29, 0x01);
  rig.read();
  rig.command(0xd3, 0x42);
  assert.equal(rig.status() & 0x21, 0x21);
  assert.deepEqual(rig.read(), [0x142]);
  assert.equal(rig.pio.read(0x60, 1), 0x42, 'the data port keeps the byte');
  rig.configure(0x00);
  assert.equal(rig.status() & 0x04, 0, 'the system flag is that of the command byte');
});

test('a byte that is not read makes the next one wait, and an answer of the controller goes first', () => {
  const rig = new Ps2Rig();
  rig.keys(0x1e, -0x1e);
  rig.ps2.keyboard.key(0x1f, true);
  rig.ps2.keyboard.key(0x1f, false);
  rig.door.pump();
  rig.command(0x20);
  rig.command(0xaa);
  assert.equal(hex(rig.read()), '1f 55 9f');
});

test('each byte has an edge of its own, and comes some time after the one before was read', () => {
  const rig = new Ps2Rig();
  rig.ps2.keyboard.key(0x1e, true);
  rig.ps2.keyboard.key(0x1e, false);
  rig.door.pump();
  assert.deepEqual([rig.irq1.level, rig.irq1.edges], [true, 1]);
  assert.equal(rig.pio.read(0x60, 1), 0x1e);
  // A handler behind the handler reads the same byte.
  assert.equal(rig.pio.read(0x60, 1), 0x1e);
  assert.deepEqual([rig.irq1.level, rig.status() & 1], [false, 0]);
  rig.door.advance(1_000_000);
  assert.deepEqual([rig.irq1.level, rig.irq1.edges], [true, 2]);
  assert.equal(rig.pio.read(0x60, 1), 0x9e);
});

test('firmware that polls under a host that stalls: with interrupts off an answer is there at one look', () => {
  const rig = new Ps2Rig();
  const answer = (): number[] => {
    const bytes: number[] = [];
    while (rig.status() & 1) bytes.push(rig.pio.read(0x60, 1));
    return bytes;
  };
  rig.configure(0x64);
  rig.pio.write(0x60, 1, 0xff);
  assert.equal(hex(answer()), 'fa aa');
  rig.command(0xd4, 0xf2);
  assert.equal(hex(answer()), 'fa 00');
  // A gap that began with interrupts on ends with them.
  rig.door.advance(1_000_000);
  rig.configure(0x05);
  rig.pio.write(0x60, 1, 0xf2);
  assert.equal(hex(answer()), 'fa');
  rig.configure(0x04);
  assert.equal(hex(answer()), 'ab 83');
});

test('interrupts follow the command byte and the buffer', () => {
  const rig = new Ps2Rig();
  rig.configure(0x00);
  rig.command(0xd2, 1);
  assert.equal(rig.irq1.level, false);
  rig.configure(0x01);
  assert.equal(rig.irq1.level, true);
  rig.command(0xad);
  assert.equal(rig.irq1.level, false);
  rig.command(0xae);
  assert.equal(rig.irq1.level, true);
  rig.read();
  assert.equal(rig.irq1.level, false);
  rig.command(0xd3, 1);
  assert.deepEqual([rig.irq1.level, rig.irq12.level], [false, false]);
  rig.configure(0x02);
  assert.equal(rig.irq12.level, true);
});

test('while a device is off its bytes wait; to write to it turns it on', () => {
  const rig = new Ps2Rig();
  rig.command(0xad);
  assert.deepEqual(rig.keys(0x1e), []);
  rig.command(0xae);
  assert.deepEqual(rig.read(), [0x1e]);
  rig.command(0xad);
  assert.deepEqual(rig.keyboard(0xee), [0xee]);
  rig.command(0xa7);
  assert.deepEqual(rig.mouse(0xf2), [0xfa, 0x00]);
});

test('both devices get their turns', () => {
  const rig = new Ps2Rig();
  rig.mouse(0xf4);
  rig.ps2.pointer.move(1, 0, 0, 0);
  for (const code of [0x1e, 0x1f, 0x20]) rig.ps2.keyboard.key(code, true);
  rig.door.pump();
  const bytes = rig.read();
  assert.deepEqual(
    bytes.filter((byte) => byte & 0x100),
    [0x108, 0x101, 0x100],
  );
  assert.deepEqual(
    bytes.filter((byte) => !(byte & 0x100)),
    [0x1e, 0x1f, 0x20],
  );
  assert.ok(bytes.findIndex((byte) => byte & 0x100) <= 1);
});

test('A20 by the output port and by its commands; the port shows it', () => {
  const rig = new Ps2Rig();
  rig.command(0xd0);
  assert.deepEqual(rig.read(), [0xcf]);
  rig.command(0xd1, 0xdd);
  rig.command(0xd0);
  assert.deepEqual(rig.read(), [0xcd]);
  rig.command(0xdf);
  rig.command(0xdd);
  assert.deepEqual(rig.a20, [false, true, false]);
  rig.command(0xd2, 0x11);
  rig.command(0xd0);
  // Read while the buffer is full: bit 4.
  assert.deepEqual(rig.read(), [0x11, 0xdd]);
});

test('line 0 resets: a pulse, or the output port', () => {
  const rig = new Ps2Rig();
  rig.command(0xff);
  rig.command(0xf1);
  assert.equal(rig.resets, 0);
  rig.command(0xfe);
  rig.command(0xf0);
  assert.equal(rig.resets, 2);
  rig.command(0xd1, 0xfe);
  assert.equal(rig.resets, 3);
});

test('a new command takes the place of one that waits for its byte', () => {
  const rig = new Ps2Rig();
  rig.command(0xd4);
  rig.command(0xaa);
  assert.deepEqual(rig.read(), [0x55]);
  assert.deepEqual(rig.keyboard(0xee), [0xee]);
});

test('a wide access reads one byte of the port', () => {
  const rig = new Ps2Rig();
  rig.command(0xd2, 0x42);
  assert.equal(rig.pio.read(0x60, 4), 0xffffff42);
});

test('state survives in the middle of everything', () => {
  const rig = new Ps2Rig();
  rig.mouse(0xf4);
  rig.mouse(0xf3);
  rig.keyboard(0xf3);
  rig.command(0xa8);
  for (const code of [0x2a, 0xc8, 0x1e]) rig.ps2.keyboard.key(code, true);
  rig.ps2.pointer.move(300, 4, 1, 1);
  rig.door.pump();
  rig.read(2);
  rig.command(0xd4);
  const state = rig.ps2.save();
  const copy = new Ps2Rig();
  copy.door.advance(rig.door.clock.now());
  copy.ps2.restore(structuredClone(state));
  assert.deepEqual(copy.ps2.save(), state);
  assert.deepEqual([copy.irq1.level, copy.irq12.level], [rig.irq1.level, rig.irq12.level]);
  for (const one of [rig, copy]) one.pio.write(0x60, 1, 0x28);
  assert.equal(hex(copy.read()), hex(rig.read()));
  assert.equal(hex(copy.mouse(0xe9)), hex(rig.mouse(0xe9)));
});

test('a reset leaves nothing behind', () => {
  const rig = new Ps2Rig();
  rig.configure(0x03);
  rig.keyboard(0xf0, 0x01, 0xed, 0x07);
  rig.mouse(0xf4);
  rig.ps2.keyboard.key(0x1e, true);
  rig.door.pump();
  rig.ps2.reset();
  assert.deepEqual([rig.irq1.level, rig.irq12.level, rig.status()], [false, false, 0x14]);
  assert.deepEqual(rig.read(), []);
  assert.deepEqual(rig.ps2.keyboard.leds, { scroll: false, num: false, caps: false });
  assert.equal(rig.ps2.keyboard.waiting, 0);
});
