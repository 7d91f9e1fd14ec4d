import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MODES } from '../../../../test/vga/program.ts';
import { type FrameTiming, frameTiming, retraceStatus, STANDARD_TIMING } from './retrace.ts';

/** How often each status occurs, looking every microsecond for twenty frames. */
function shares(timing: FrameTiming): Map<number, number> {
  const seen = new Map<number, number>();
  const end = timing.frame * 20;
  for (let now = 0; now < end; now += 1000) {
    const status = retraceStatus(timing, now);
    seen.set(status, (seen.get(status) ?? 0) + 1000 / end);
  }
  return seen;
}

test('text at 70 Hz, 640 by 480 at 60 Hz', () => {
  const of = (mode: keyof typeof MODES): number => {
    const { crtc, sequencer, misc } = MODES[mode];
    return 1e9 / frameTiming(Uint8Array.from(crtc), sequencer[1], misc).frame;
  };
  assert.ok(Math.abs(of('text80') - 70.09) < 0.01);
  assert.ok(Math.abs(of('mode12') - 59.94) < 0.01);
  assert.ok(Math.abs(of('mode13') - 70.09) < 0.01);
  assert.ok(Math.abs(of('mode0D') - 70.09) < 0.01);
});

test('each state of a frame comes up for its share of the time', () => {
  const seen = shares(STANDARD_TIMING);
  assert.deepEqual([...seen.keys()].sort(), [0, 1, 9]);
  assert.ok(Math.abs((seen.get(0) ?? 0) - (480 * 640) / (525 * 800)) < 0.01);
  assert.ok(Math.abs((seen.get(9) ?? 0) - 2 / 525) < 0.001);
});

test('registers that describe no frame give the standard one', () => {
  assert.equal(frameTiming(new Uint8Array(25), 0, 0), STANDARD_TIMING);
  assert.equal(frameTiming(new Uint8Array(25).fill(0xff), 8, 0x0c), STANDARD_TIMING);
});
