/** The first seconds of Debian's boot, interpreted and translated side by side. Needs the built-in image in TEREMOK_HOME. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { RAM, S } from '../../src/hypervisor/cpu/layout.ts';
import { imageFolder } from '../hypervisor/guest-shell.ts';
import { Twins } from './twins.ts';

/** The kernel has unpacked itself by then. */
const UNPACKED = 100e6;
const EVERY = 25_000;
const END = 200e6;
/** Of the samples in the kernel's own start, which is much code run once. */
const LEAST_SHARE = 0.35;

describe('Debian in lock-step', () => {
  let twins: Twins;
  before(async () => {
    twins = await Twins.boot({ folder: imageFolder() });
  });
  after(() => twins?.dispose());

  it('is the same, interpreted and translated, every 25,000 instructions', async () => {
    await twins.skipTo(UNPACKED);
    const unpacked = twins.samples;
    for (let at = UNPACKED + EVERY, n = 1; at <= END; at += EVERY, n++) {
      const difference = await twins.runTo(at, n % 400 === 0);
      assert.equal(difference, undefined, `more of it: npm run lockstep -- --until ${at}`);
    }
    const { inRegions, interpreted } = twins.samples;
    const share =
      (inRegions - unpacked.inRegions) /
      (inRegions + interpreted - unpacked.inRegions - unpacked.interpreted);
    assert.ok(unpacked.inRegions > 10 * unpacked.interpreted, 'the unpacking ran in regions');
    assert.ok(
      share > LEAST_SHARE,
      `the translator ran, and not the interpreter: ${(share * 100).toFixed(0)} %`,
    );
  });

  it('finds a bit that differs, in a register and in RAM', async () => {
    const view = new DataView(twins.translated.memory.buffer);
    const flip = (at: number): void => view.setUint8(at, view.getUint8(at) ^ 4);
    for (const [at, line] of [
      [S.gpr + 8, /^rcx: /],
      [S.xmm + 64, /^ymm1: /],
      [S.flagResult, /^rflags: /],
      [RAM + 0x12_3456, /^RAM at 123456: /],
    ] as const) {
      flip(at);
      const difference = await twins.runTo(twins.agreed, true);
      flip(at);
      assert.equal(difference?.lines.length, 1);
      assert.match(difference.lines[0] ?? '', line);
    }
    assert.equal(await twins.runTo(twins.agreed, true), undefined);
  });
});
