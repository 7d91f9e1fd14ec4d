import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HandDoor, ProbeLine } from '../../../test/support/machine-parts.ts';
import { type ByteSink, RingSink } from '../backends/streams.ts';
import type { AccessSize } from '../machine/bus.ts';
import { HOST_INPUT_LIMIT } from './host-input.ts';
import { Serial16550 } from './serial.ts';

const text = (s: string): Uint8Array => new TextEncoder().encode(s);

function build(sink: ByteSink = new RingSink()) {
  const door = new HandDoor();
  const irq = new ProbeLine();
  const serial = new Serial16550({ name: 'serial0', door, irq, sink });
  const read = (offset: number): number => serial.read(offset, 1);
  const write = (offset: number, value: number): void => serial.write(offset, 1, value);
  const send = (s: string): void => {
    assert.equal(serial.input.offer(text(s)), s.length);
    door.pump();
  };
  return { door, irq, serial, sink, read, write, send };
}

test('a word written at once sets two registers', () => {
  const { serial, read, write } = build();
  write(3, 0x80);
  serial.write(0, 2, 0x1234);
  assert.deepEqual([read(0), read(1), serial.read(0, 2)], [0x34, 0x12, 0x1234]);
});

test('what the guest transmits reaches the sink at a flush, in one piece', () => {
  const sent: string[] = [];
  const { serial, write } = build({ write: (bytes) => sent.push(new TextDecoder().decode(bytes)) });
  for (const byte of text('hello')) write(0, byte);
  assert.deepEqual(sent, []);
  serial.flush();
  serial.flush();
  assert.deepEqual(sent, ['hello']);
});

test('divisor latch, scratch and line control read back; DLAB hides RBR and IER', () => {
  const { read, write } = build();
  write(3, 0x83);
  write(0, 0x34);
  write(1, 0x12);
  assert.deepEqual([read(0), read(1), read(3)], [0x34, 0x12, 0x83]);
  write(3, 0x03);
  assert.equal(read(1), 0);
  write(1, 0xff);
  assert.equal(read(1), 0x0f);
  write(7, 0xa5);
  assert.equal(read(7), 0xa5);
  assert.equal(read(5), 0x60);
  assert.equal(read(6), 0xb0);
});

test('received bytes wait for the guest: FIFO, trigger level, data ready', () => {
  const { irq, read, write, send } = build();
  write(2, 0x81); // FIFO on, trigger at 8
  write(1, 0x01);
  write(4, 0x0b);
  send('1234567');
  assert.equal(irq.level, false);
  assert.equal(read(2), 0xc1);
  send('8');
  assert.equal(irq.level, true);
  assert.equal(read(2), 0xc4);
  assert.equal(String.fromCharCode(...Array.from('12345678', () => read(0))), '12345678');
  assert.equal(irq.level, false);
  assert.equal(read(5) & 1, 0);
});

test('below the trigger level four character times without reading give a time-out interrupt', () => {
  const { door, irq, read, write, send } = build();
  write(3, 0x83);
  write(0, 1); // 115200 baud
  write(1, 0);
  write(3, 0x03);
  write(2, 0xc1);
  write(1, 0x01);
  write(4, 0x08);
  send('x');
  const fourCharacters = Math.ceil((4 * 10 * 1e9) / 115200);
  door.advance(fourCharacters - 10);
  assert.equal(irq.level, false);
  door.advance(20);
  assert.equal(irq.level, true);
  assert.equal(read(2), 0xcc);
  assert.equal(read(0), 0x78);
  assert.equal(read(2), 0xc1);
  assert.equal(irq.level, false);
});

test('THRE: raised on enabling, cleared by reading IIR, raised again by the next write', () => {
  const { irq, read, write } = build();
  write(4, 0x08);
  write(1, 0x02);
  assert.equal(irq.level, true);
  assert.equal(read(2), 0x02);
  assert.equal(irq.level, false);
  assert.equal(read(2), 0x01);
  write(0, 0x41);
  assert.equal(irq.level, true);
  const edges = irq.edges;
  write(0, 0x42);
  assert.equal(irq.edges, edges + 1, 'a write lowers the line before it rises again');
  write(1, 0);
  assert.equal(irq.level, false);
  write(1, 0x02);
  assert.equal(read(2), 0x02, 'enabling again raises it again');
});

test('reading IIR for a higher source leaves THRE pending', () => {
  const { read, write, send } = build();
  write(1, 0x03);
  send('a');
  assert.equal(read(2), 0x04);
  assert.equal(read(0), 0x61);
  assert.equal(read(2), 0x02);
});

test('the interrupt passes only while OUT2 is set', () => {
  const { irq, write } = build();
  write(1, 0x02);
  assert.equal(irq.level, false);
  write(4, 0x08);
  assert.equal(irq.level, true);
  write(4, 0x00);
  assert.equal(irq.level, false);
});

test('loopback returns what is sent, and the modem outputs as inputs', () => {
  const { read, write, serial, sink } = build();
  write(3, 0x03);
  write(4, 0x1a);
  assert.equal(read(6) & 0xf0, 0x90);
  write(4, 0x15);
  assert.equal(read(6) & 0xf0, 0x60);
  write(4, 0x10);
  assert.equal(read(6), 0x06, 'DSR changed, RI ended');
  assert.equal(read(6), 0x00);
  write(0, 0x5a);
  assert.equal(read(5) & 1, 1);
  assert.equal(read(0), 0x5a);
  serial.flush();
  assert.equal((sink as RingSink).total, 0);
});

test('loopback overruns a full receiver: with FIFO the newest is lost, without it the oldest', () => {
  const { read, write } = build();
  write(3, 0x03);
  write(4, 0x18);
  write(1, 0x04);
  write(0, 1);
  write(0, 2);
  assert.equal(read(2), 0x06);
  assert.equal(read(5) & 0x03, 0x03);
  assert.equal(read(5) & 0x03, 0x01, 'reading LSR clears the error');
  assert.equal(read(0), 2);
  write(2, 0x01);
  for (let i = 0; i < 17; i++) write(0, i);
  assert.equal(read(5) & 0x02, 0x02);
  for (let i = 0; i < 16; i++) assert.equal(read(0), i);
  assert.equal(read(5) & 1, 0);
});

test('a break arrives in order as a zero with BI, shown when it reaches the head', () => {
  const { door, serial, read, write, send } = build();
  write(2, 0x01);
  send('a');
  serial.sendBreak();
  send('b');
  door.pump();
  assert.equal(read(5) & 0x91, 0x81, 'an error is in the FIFO, not yet at its head');
  assert.equal(read(0), 0x61);
  assert.equal(read(5) & 0x91, 0x91);
  assert.equal(read(0), 0);
  assert.equal(read(5) & 0x91, 0x01);
  assert.equal(read(0), 0x62);
});

test('a paste of 10,000 bytes arrives whole', () => {
  for (const fcr of [0x00, 0xc1]) {
    const { door, serial, read, write } = build();
    write(2, fcr);
    const paste = Uint8Array.from({ length: 10_000 }, (_, i) => (i * 7) & 0xff);
    assert.equal(serial.input.offer(paste), paste.length);
    door.pump();
    const got = [];
    while (read(5) & 1) got.push(read(0));
    assert.deepEqual(Uint8Array.from(got), paste);
    assert.equal(read(5) & 0x02, 0);
  }
});

test('more than 64 KiB is refused until the guest has read half', () => {
  const { door, serial, read, write } = build();
  write(2, 0x01);
  let drained = 0;
  serial.input.onDrained(() => {
    drained += 1;
  });
  assert.equal(serial.input.offer(new Uint8Array(HOST_INPUT_LIMIT + 5)), HOST_INPUT_LIMIT);
  assert.equal(serial.input.offer(Uint8Array.of(1)), 0);
  door.pump();
  for (let i = 0; i < HOST_INPUT_LIMIT / 2 - 20; i++) read(0);
  assert.equal(drained, 0);
  for (let i = 0; i < 20; i++) read(0);
  assert.equal(drained, 1);
  assert.ok(serial.input.offer(Uint8Array.of(1)) === 1);
});

test('while the sink holds, THRE is clear and nothing is lost', () => {
  let press: (full: boolean) => void = () => {};
  const ring = new RingSink();
  const sink: ByteSink = {
    write: (bytes) => ring.write(bytes),
    onPressure: (listener) => {
      press = listener;
    },
  };
  const { door, serial, irq, read, write } = build(sink);
  write(2, 0x01);
  write(4, 0x08);
  write(1, 0x02);
  read(2);
  press(true);
  door.pump();
  assert.equal(read(5) & 0x60, 0x60);
  for (const byte of text('a line of more than 16 characters')) write(0, byte);
  assert.equal(read(5) & 0x60, 0);
  assert.equal(irq.level, false);
  press(false);
  door.pump();
  assert.equal(irq.level, true);
  serial.flush();
  assert.deepEqual(ring.snapshot(), text('a line of more than 16 characters'));
});

test('modem line changes set deltas and interrupt', () => {
  const { door, serial, irq, read, write } = build();
  write(4, 0x08);
  write(1, 0x08);
  serial.setLines(0x30);
  door.pump();
  assert.equal(irq.level, true);
  assert.equal(read(2), 0x00);
  assert.equal(read(6), 0x38);
  assert.equal(irq.level, false);
});

test('state goes over to another port, waiting bytes and pending interrupts included', () => {
  const a = build();
  a.write(2, 0xc1);
  a.write(1, 0x03);
  a.write(4, 0x08);
  a.read(2);
  a.send('hello, world, this is more than a FIFO');
  const b = build();
  b.serial.restore(structuredClone(a.serial.save()));
  assert.equal(b.irq.level, a.irq.level);
  assert.deepEqual(b.serial.save(), a.serial.save());
  const drain = (x: typeof a): string => {
    let s = '';
    while (x.read(5) & 1) s += String.fromCharCode(x.read(0));
    return s;
  };
  assert.equal(drain(b), 'hello, world, this is more than a FIFO');
});

test('no sequence of register accesses and input throws, grows without bound or leaves 8 bits', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('read' as const), offset: fc.nat(9), value: fc.constant(0) }),
    fc.record({ kind: fc.constant('write' as const), offset: fc.nat(9), value: fc.nat(0xffffffff) }),
    fc.record({ kind: fc.constant('input' as const), offset: fc.nat(40), value: fc.constant(0) }),
    fc.record({ kind: fc.constant('time' as const), offset: fc.constant(0), value: fc.nat(1e9) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const { door, serial } = build();
      for (const { kind, offset, value } of steps) {
        if (kind === 'read') {
          const size = ([1, 2, 4] as AccessSize[])[offset % 3];
          const got = serial.read(offset, size);
          assert.ok(Number.isInteger(got) && got >= 0 && got < 2 ** (8 * size));
        } else if (kind === 'write') serial.write(offset, 1, value);
        else if (kind === 'input') serial.input.offer(new Uint8Array(offset));
        else door.advance(value);
        door.pump();
      }
      const state = serial.save();
      assert.ok(state.rxBytes.length <= 16 && state.tx.length <= 65536);
      const again = build();
      again.serial.restore(state);
      assert.deepEqual(again.serial.save(), state);
    }),
    { numRuns: 300 },
  );
});
