import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { homeDirectory } from '../../../src/cli/setup/bootstrap.js';
import type { ScreenWatch, Surface } from '../../../src/hypervisor/backends/screen.ts';
import { encodePng } from '../../../src/hypervisor/index.ts';
import { KEY, ScreenMachine } from '../../firmware/screen-machine.ts';
import type { Report } from '../debian/report.ts';
import { installerDisc } from './installer-disc.ts';
import { LANGUAGE_TEXT, looksLikeLanguagePage, selectedRow } from './language-page.ts';
import type { WholeSystem } from './system.ts';

/** With less the installer says that it has little, and asks nothing about languages. */
const MEMORY_MIB = 1024;
/** From the reset vector to the page, with others on the machine. Seconds. */
const LIMIT_SECONDS = { text: 900, graphical: 1500 } as const;

/** Debian's installer on a disc made by grub-mkrescue, in text and as a picture. */
export const installerSystem: WholeSystem = {
  about: "Debian 12's network installer on a disc, started by SeaBIOS and GRUB",

  async check(report, selection) {
    const disc = await installerDisc();
    const wants = (name: string): boolean => selection.length === 0 || selection.includes(name);
    if (wants('text')) await withDisc(disc, (guest, seconds) => checkText(report, guest, seconds));
    if (wants('graphical')) await withDisc(disc, (guest, seconds) => checkGraphical(report, guest, seconds));
  },
};

async function withDisc(
  disc: string,
  look: (guest: ScreenMachine, seconds: () => string) => Promise<void>,
): Promise<void> {
  const started = performance.now();
  const guest = await ScreenMachine.start({ engine: 'translate', memoryMiB: MEMORY_MIB, cdrom: disc });
  try {
    await guest.shows(/GNU GRUB[\s\S]*\*Debian installer, text[\s\S]*executed automatically/);
    await look(guest, () => `${((performance.now() - started) / 1000).toFixed(0)} s`);
  } finally {
    await guest.machine.dispose();
  }
}

async function checkText(report: Report, guest: ScreenMachine, seconds: () => string): Promise<void> {
  guest.press(KEY.enter);
  const page = await guest.shows(LANGUAGE_TEXT, LIMIT_SECONDS.text);
  report.judge('the text installer asks for a language', undefined, { note: seconds() });
  process.stdout.write(`${page.trimEnd()}\n`);
  guest.press(KEY.enter);
  await guest.shows(/Select your location[\s\S]*United States/);
  report.judge('Enter there takes to the next page', undefined, { note: seconds() });
}

async function checkGraphical(report: Report, guest: ScreenMachine, seconds: () => string): Promise<void> {
  await chooseGraphical(guest);
  const watch = guest.machine.screen?.watch();
  if (watch === undefined) throw new Error('no screen');
  try {
    const page = await drawn(watch, looksLikeLanguagePage, LIMIT_SECONDS.graphical);
    report.judge('the graphical installer asks for a language', page.found ? undefined : 'no such picture', {
      note: `${page.surface.width}×${page.surface.height}, ${seconds()}; ${await save(page.surface, 'language')}`,
    });
    const before = selectedRow(page.surface);
    guest.press(KEY.down);
    const after = await drawn(watch, (surface) => (selectedRow(surface) ?? 0) > (before ?? 0), 60);
    report.judge('the Down key moves the selection', after.found ? undefined : 'it stayed', {
      note: `from row ${before} of pixels to ${selectedRow(after.surface)}`,
    });
  } finally {
    watch.close();
  }
}

/** Moves to the second entry and starts it. */
async function chooseGraphical(guest: ScreenMachine): Promise<void> {
  guest.press(KEY.down);
  await guest.shows(/\*Debian installer, graphical/);
  guest.press(KEY.enter);
}

/** Looks twice a second until the picture is the one wanted, and no longer changes. */
async function drawn(
  watch: ScreenWatch,
  wanted: (surface: Surface) => boolean,
  limitSeconds: number,
): Promise<{ readonly found: boolean; readonly surface: Surface }> {
  const end = performance.now() + limitSeconds * 1000;
  let still = 0;
  for (;;) {
    const { surface, rects } = watch.update();
    still = rects.length === 0 ? still + 1 : 0;
    const found = still >= 2 && wanted(surface);
    if (found || performance.now() > end) return { found, surface };
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** @returns where the picture is now */
async function save(surface: Surface, name: string): Promise<string> {
  const folder = join(homeDirectory(), 'screenshots');
  await mkdir(folder, { recursive: true });
  const path = join(folder, `installer-${name}.png`);
  await writeFile(path, await encodePng(surface));
  return path;
}
