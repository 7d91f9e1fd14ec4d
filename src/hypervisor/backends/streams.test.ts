import assert from 'node:assert/strict';
import { PassThrough, Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { test } from 'node:test';
import { type ByteInput, NullSink, pipeToInput, RingSink, StreamSink, TeeSink } from './streams.ts';

const text = (s: string): Uint8Array => new TextEncoder().encode(s);
const spell = (b: Uint8Array): string => new TextDecoder().decode(b);

test('a ring keeps the last bytes in order', () => {
  const ring = new RingSink(8);
  ring.write(text('abc'));
  assert.equal(spell(ring.snapshot()), 'abc');
  ring.write(text('defgh'));
  assert.equal(spell(ring.snapshot()), 'abcdefgh');
  ring.write(text('ij'));
  assert.equal(spell(ring.snapshot()), 'cdefghij');
  ring.write(text('0123456789ABC'));
  assert.equal(spell(ring.snapshot()), '56789ABC');
  ring.write(text('xy'));
  assert.equal(spell(ring.snapshot()), '789ABCxy');
  assert.equal(ring.total, 25);
});

test('a stream sink tells of pressure and of relief', async () => {
  let go: (() => void) | undefined;
  const got: number[] = [];
  const slow = new Writable({
    highWaterMark: 4,
    write(chunk: Uint8Array, _encoding, done) {
      got.push(...chunk);
      go = done;
    },
  });
  const sink = new StreamSink(slow);
  const states: boolean[] = [];
  const relieved = new Promise<void>((resolve) => {
    sink.onPressure((full) => {
      states.push(full);
      if (!full) resolve();
    });
  });
  sink.write(text('ab'));
  assert.deepEqual(states, []);
  sink.write(text('cdef'));
  assert.deepEqual(states, [true]);
  go?.();
  await new Promise((resolve) => setImmediate(resolve));
  go?.();
  await relieved;
  assert.deepEqual(states, [true, false]);
  assert.equal(spell(Uint8Array.from(got)), 'abcdef');
});

test('a stream that is gone swallows and presses nobody', async () => {
  const errors: string[] = [];
  const stream = new PassThrough({ highWaterMark: 1 });
  const sink = new StreamSink(stream, (error) => errors.push(error.message));
  const states: boolean[] = [];
  sink.onPressure((full) => states.push(full));
  sink.write(text('abc'));
  stream.destroy(new Error('gone'));
  await assert.rejects(finished(stream));
  await new Promise((resolve) => setImmediate(resolve));
  sink.write(text('more'));
  assert.deepEqual(states, [true, false]);
  assert.deepEqual(errors, ['gone']);
});

test('a tee writes to all and is full while any is', () => {
  const listeners: ((full: boolean) => void)[] = [];
  const pressing = () => ({ write() {}, onPressure: (l: (full: boolean) => void) => void listeners.push(l) });
  const ring = new RingSink(4);
  const tee = new TeeSink(ring, pressing(), pressing(), new NullSink());
  const states: boolean[] = [];
  tee.onPressure((full) => states.push(full));
  tee.write(text('hi'));
  assert.equal(spell(ring.snapshot()), 'hi');
  listeners[0](true);
  listeners[1](true);
  listeners[0](false);
  listeners[1](false);
  assert.deepEqual(states, [true, false]);
});

test('input from a stream loses nothing while the device has no room', async () => {
  const taken: number[] = [];
  let room = 10;
  let drained: () => void = () => {};
  const input: ByteInput = {
    offer(bytes) {
      const n = Math.min(room, bytes.length);
      taken.push(...bytes.subarray(0, n));
      room -= n;
      return n;
    },
    onDrained: (listener) => {
      drained = listener;
    },
  };
  const source = Readable.from([text('0123456789abc'), text('defgh'), text('ijk')], { objectMode: false });
  const release = pipeToInput(source, input);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(spell(Uint8Array.from(taken)), '0123456789');
  const end = finished(source);
  for (let i = 0; i < 5; i++) {
    room = 3;
    drained();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await end;
  assert.equal(spell(Uint8Array.from(taken)), '0123456789abcdefghijk');
  release();
});
