// Suspend to RAM with firmware: SeaBIOS, started anew in its shadow, finds the guest's waking vector.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { RAM } from '../../src/hypervisor/cpu/layout.ts';
import { sleepSector, WAKING_VECTOR, writeBootDisk } from './boot-sector.ts';
import { ScreenMachine } from './screen-machine.ts';

let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-suspend-'));
  await writeBootDisk(join(directory, 'disk'), sleepSector());
});
after(() => rm(directory, { recursive: true, force: true }));

/** The FACS, found as a guest finds it (ACPI 6.5, 5.2.5 to 5.2.10). */
function facsOf(ram: DataView): number {
  const text = (at: number, length: number): string =>
    String.fromCharCode(...Array.from({ length }, (_, i) => ram.getUint8(at + i)));
  for (let rsdp = 0xe_0000; rsdp < 0x10_0000; rsdp += 16) {
    if (text(rsdp, 8) !== 'RSD PTR ') continue;
    const rsdt = ram.getUint32(rsdp + 16, true);
    for (let at = rsdt + 36; at < rsdt + ram.getUint32(rsdt + 4, true); at += 4) {
      const table = ram.getUint32(at, true);
      if (text(table, 4) === 'FACP') return ram.getUint32(table + 36, true);
    }
  }
  throw new Error('there is no FACS');
}

async function until(condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 60_000; !condition(); ) {
    if (Date.now() > end) throw new Error('it did not come to that');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('a guest that sleeps is woken at its vector, again and again; without one it starts anew', {
  timeout: 120_000,
}, async () => {
  let serial = '';
  const guest = await ScreenMachine.start(
    { disks: [{ path: join(directory, 'disk'), bus: 'ide' }] },
    (bytes) => {
      serial += Buffer.from(bytes).toString('latin1');
    },
  );
  const { machine } = guest;
  try {
    await until(() => machine.suspended);
    const ram = new DataView(machine.memory.buffer, RAM);
    const facs = facsOf(ram);
    ram.setUint32(facs + 12, WAKING_VECTOR, true);
    for (const woken of ['!', '!!']) {
      machine.powerButton();
      await until(() => serial === woken && machine.suspended);
    }
    ram.setUint32(facs + 12, 0, true);
    machine.powerButton();
    assert.deepEqual(await machine.exited, { kind: 'reset' });
    assert.ok(guest.firmware.some((line) => line.startsWith('Jump to resume vector')));
    assert.ok(guest.firmware.some((line) => line.startsWith('No resume vector set')));
  } finally {
    await machine.dispose();
  }
});
