// CDs of Debian's packages that start from SeaBIOS.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { provideDebianFiles, RESCUE_DISCS } from '../../src/cli/setup/guest/debian-files.ts';
import { KEY, ScreenMachine } from './screen-machine.ts';

describe('discs', { timeout: 600_000 }, () => {
  let folder: string;

  before(async () => {
    folder = await provideDebianFiles(RESCUE_DISCS, cacheDirectory());
  });

  const disc = async (name: string, look: (guest: ScreenMachine) => Promise<void>): Promise<void> => {
    const guest = await ScreenMachine.start({ engine: 'translate', cdrom: join(folder, name) });
    try {
      await look(guest);
    } finally {
      await guest.machine.dispose();
    }
  };

  it("GRUB's rescue CD: its menu, moved in by a key, and its command line", () =>
    disc('grub-rescue.iso', async (guest) => {
      const menu = await guest.shows(/GNU GRUB +version 2[\s\S]*executed automatically/);
      assert.match(menu, /┌─+┐\n │\*GNU\/Linux +│\n/);
      guest.press(KEY.down);
      await guest.shows(/ │\*GNU \(aka GNU\/Hurd\) +│/);
      guest.press(KEY.c);
      await guest.shows(/^grub> ?$/m);
    }));

  it("iPXE's CD comes to its banner and finds no network", () =>
    disc('ipxe.iso', async (guest) => {
      await guest.shows(/iPXE initialising devices\.\.\.ok[\s\S]*Open Source Network Boot Firmware/);
      await guest.shows(/No more network devices/);
    }));

  it('memtest86+ tests memory and finds nothing wrong', () =>
    disc('memtest86+.iso', async (guest) => {
      const screen = await guest.shows(/Test {2}100%|Pass +\d\d%/, 120);
      assert.match(screen, /Memtest86\+ v/);
      assert.match(screen, /Memory +: +128MB/);
      assert.match(screen, /Errors: 0/);
    }));
});
