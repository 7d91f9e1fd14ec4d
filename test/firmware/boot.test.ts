// From the reset vector through SeaBIOS to a boot sector: what the screen shows, and what is typed.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { MachineConfig } from '../../src/hypervisor/index.ts';
import { writeBootDisc, writeBootDisk } from './boot-sector.ts';
import { KEY, ScreenMachine } from './screen-machine.ts';

let directory: string;
const file = (name: string): string => join(directory, name);

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-firmware-'));
  await writeBootDisk(file('ide.img'), 'from the IDE disk: ');
  await writeBootDisk(file('virtio.img'), 'from the virtio disk: ');
  await writeBootDisc(file('cd.iso'), 'from the CD: ');
});
after(() => rm(directory, { recursive: true, force: true }));

const ENGINES = ['interpret', 'translate'] as const;

type Start = Parameters<typeof ScreenMachine.start>[0];

async function boots(config: Start, shows: RegExp): Promise<void> {
  const guest = await ScreenMachine.start(config);
  try {
    await guest.shows(shows);
    guest.press(KEY.h, KEY.i);
    await guest.shows(new RegExp(`${shows.source} hi`));
  } finally {
    await guest.machine.dispose();
  }
}

describe('a machine with firmware', { timeout: 240_000 }, () => {
  for (const engine of ENGINES) {
    it(`boots from an IDE disk and takes keys, ${engine}`, () =>
      boots({ engine, disks: [{ path: file('ide.img'), bus: 'ide' }] }, /from the IDE disk:/));
    it(`boots from a virtio disk, ${engine}`, () =>
      boots({ engine, disks: [{ path: file('virtio.img') }] }, /from the virtio disk:/));
    it(`boots from a CD, ${engine}`, () => boots({ engine, cdrom: file('cd.iso') }, /from the CD:/));
  }

  it('looks where it is told to look first', async () => {
    const disks: NonNullable<MachineConfig['disks']> = [
      { path: file('virtio.img') },
      { path: file('ide.img'), bus: 'ide' },
    ];
    const cdrom = file('cd.iso');
    await boots({ disks, cdrom }, /from the virtio disk:/);
    await boots({ disks, cdrom, order: ['cdrom'] }, /from the CD:/);
    await boots({ disks: [...disks].reverse(), cdrom, order: ['disk'] }, /from the IDE disk:/);
  });

  it('says when there is nothing, and begins anew at a reset', async () => {
    const guest = await ScreenMachine.start({});
    try {
      assert.match(await guest.shows(/No bootable device/), /SeaBIOS \(version /);
      assert.ok(guest.firmware.some((line) => line.startsWith('ACPI: parse DSDT')));
      guest.machine.reset();
      assert.deepEqual(await guest.machine.exited, { kind: 'reset' });
    } finally {
      await guest.machine.dispose();
    }
  });
});
