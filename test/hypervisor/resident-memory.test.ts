/** What a machine takes of the host's memory beside its RAM. Needs the built-in image in TEREMOK_HOME. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { teremok } from '../bench/cpu/machines.ts';
import { residentMemory, shellGuest } from '../bench/cpu/whole.ts';
import { atShell } from '../bench/support/shell.ts';

const MIB = 1 << 20;
const BOOT_MS = 120_000;
/** So long after the prompt memory is given back: see REST_AFTER and REST_AGAIN of cpu/translate/maker-worker.ts. */
const RESTED_MS = 30_000;
/** MiB: of the whole process less the size of RAM, and less what of RAM is resident. 30 and 190 where this was written. */
const MOST = { lessSize: 90, lessResident: 250 } as const;

test('after the boot a machine takes little beside its RAM', {
  skip: process.platform !== 'linux' && 'what is resident is read in /proc',
  timeout: BOOT_MS + 2 * RESTED_MS,
}, async () => {
  const guest = shellGuest();
  const { command, args } = teremok(guest, { engine: 'translate' });
  await atShell('teremok', command, args, BOOT_MS, async ({ pid }) => {
    const { memoryMiB } = guest;
    const until = performance.now() + RESTED_MS;
    for (;;) {
      const { resident, inRam } = residentMemory(pid, memoryMiB * MIB);
      const lessSize = resident / MIB - memoryMiB;
      const lessResident = (resident - inRam) / MIB;
      if (lessSize <= MOST.lessSize && lessResident <= MOST.lessResident) return;
      assert.ok(
        performance.now() < until,
        `${lessSize.toFixed(0)} MiB less the size of RAM, ${lessResident.toFixed(0)} without what of RAM is resident`,
      );
      await wait(500);
    }
  });
});
