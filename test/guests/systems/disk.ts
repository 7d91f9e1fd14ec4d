import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ScreenMachine } from '../../firmware/screen-machine.ts';
import { qemuImg } from '../../support/qemu-img.ts';
import type { Report } from '../debian/report.ts';
import { DebianTools } from './debian-tools.ts';
import { DISK, debianDisk } from './disk-image.ts';
import { pullPlug } from './pulled-guest.ts';
import type { WholeSystem } from './system.ts';

/** Exit status of `qemu-img check` where there are leaked clusters and nothing else is wrong. */
const LEAKS = 3;

type Bus = 'ide' | 'virtio';
type Format = 'raw' | 'qcow2';

const MEMORY_MIB = 512;
/** From the kernel's first words to the login, and from the button to power-off. Seconds. */
const LIMIT_SECONDS = { login: 1200, powerOff: 600 } as const;

/** How often the plug is pulled, by format; every other time on IDE. */
const ROUNDS: Readonly<Record<Format, number>> = { raw: 20, qcow2: 4 };

/** A Debian disk with its own GRUB and kernel: to the login, off by the button, and through power cuts. */
export const diskSystem: WholeSystem = {
  about: 'Debian 12 made by mmdebstrap on a disk of its own, started by SeaBIOS and its own GRUB',

  /** @param selection `login` or `plug`; none means both */
  async check(report, selection) {
    const wants = (name: string): boolean => selection.length === 0 || selection.includes(name);
    const image = await debianDisk();
    const tools = await DebianTools.provide();
    const folder = await mkdtemp(join(tmpdir(), 'teremok-disk-'));
    try {
      for (const bus of ['ide', 'virtio'] as const)
        if (wants('login')) {
          const copy = await copyOf(tools, image, join(folder, `${bus}.raw`));
          await checkLogin(report, copy, bus);
          await checkFileSystem(report, tools, copy, `e2fsck after power-off, ${bus}`);
        }
      if (wants('plug'))
        for (const format of ['raw', 'qcow2'] as const) await checkPlug(report, tools, image, format, folder);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

async function copyOf(tools: DebianTools, from: string, to: string): Promise<string> {
  await tools.run('cp', ['--sparse=always', from, to]);
  return to;
}

async function checkLogin(report: Report, path: string, bus: Bus): Promise<void> {
  let said = '';
  const started = performance.now();
  const seconds = (): string => `${((performance.now() - started) / 1000).toFixed(0)} s`;
  const guest = await ScreenMachine.start(
    { engine: 'translate', memoryMiB: MEMORY_MIB, disks: [{ path, bus, format: 'raw' }] },
    (bytes) => {
      said += Buffer.from(bytes).toString('latin1');
    },
  );
  try {
    await guest.shows(/GNU GRUB[\s\S]*\*Debian/);
    report.judge(`its own GRUB starts from ${bus}`, undefined, { note: seconds() });
    await guest.shows(/debian-disk login: *$/m, LIMIT_SECONDS.login);
    report.judge(`login on the screen, ${bus}`, undefined, { note: seconds() });
    const end = performance.now() + LIMIT_SECONDS.login * 1000;
    while (!/debian-disk login: $/.test(said) && performance.now() < end)
      await new Promise((resolve) => setTimeout(resolve, 100));
    const here = /debian-disk login: $/.test(said);
    report.judge(`login on the serial line, ${bus}`, here ? undefined : said.slice(-500), {
      note: seconds(),
    });
    const pressed = performance.now();
    guest.machine.powerButton();
    const exit = await Promise.race([
      guest.machine.exited.then(({ kind }) => kind),
      new Promise<string>((resolve) =>
        setTimeout(resolve, LIMIT_SECONDS.powerOff * 1000, 'nothing, for long').unref(),
      ),
    ]);
    report.judge(
      `the power button turns it off, ${bus}`,
      exit === 'power-off' ? undefined : `${exit}: ${said.slice(-500)}`,
      { note: `${((performance.now() - pressed) / 1000).toFixed(0)} s later` },
    );
  } finally {
    await guest.machine.dispose();
  }
}

/** @param what is said of the check */
async function checkFileSystem(
  report: Report,
  tools: DebianTools,
  image: string,
  what: string,
): Promise<void> {
  // A file of its own: after playing a journal back e2fsck forgets an offset that it was given.
  const partition = `${image}.partition`;
  const copy = [`if=${image}`, `of=${partition}`, 'bs=1M', `skip=${DISK.partitionAt >> 20}`, 'conv=sparse'];
  await tools.run('dd', copy);
  // Plays the journal back, which may leave files to take away that were gone when it was written: as at every mount.
  const replay = await tools.run('e2fsck', ['-p', partition], { accepted: [0, 1, 2, 4] });
  const { said, status } = await tools.run('e2fsck', ['-fn', partition], { accepted: [0, 1, 4] });
  await rm(partition);
  const replayed = /recovering journal/.test(replay.said) ? 'journal played back' : 'no journal to play back';
  report.judge(what, status === 0 ? undefined : `${replay.said}${said}`, { note: replayed });
}

async function checkPlug(
  report: Report,
  tools: DebianTools,
  image: string,
  format: Format,
  folder: string,
): Promise<void> {
  const disk = join(folder, `plug.${format}`);
  const looked = join(folder, 'looked-at.raw');
  const qemu = format === 'qcow2' ? await qemuImg() : undefined;
  if (format === 'raw') await copyOf(tools, image, disk);
  else if (qemu === undefined) {
    process.stdout.write('qcow2: left out, as it takes qemu-img to look into the image afterwards\n');
    return;
  } else await qemu.img('convert', '-f', 'raw', '-O', 'qcow2', image, disk);
  let kept = 0;
  for (let round = 1; round <= ROUNDS[format]; round++) {
    const bus: Bus = round % 2 === 1 ? 'ide' : 'virtio';
    const name = `plug pulled, ${format} on ${bus}, ${round} of ${ROUNDS[format]}`;
    const pulled = await pullPlug(`${disk},format=${format},bus=${bus}`);
    const lost = pulled.found < kept ? `kept ${kept}, found ${pulled.found}` : undefined;
    report.judge(name, lost ?? (pulled.damaged === '' ? undefined : `damaged: ${pulled.damaged}`), {
      note: `found file ${pulled.found}, kept up to ${pulled.kept}`,
    });
    kept = pulled.kept;
    await rm(looked, { force: true });
    if (qemu === undefined) await copyOf(tools, disk, looked);
    else {
      const failure = await qemu.img('check', disk).then(
        () => undefined,
        (error: Error & { code?: number }) => error,
      );
      // Clusters that nothing refers to are lost room, not lost data.
      const leaks = failure?.code === LEAKS;
      const problem = failure && !leaks ? String(failure) : undefined;
      report.judge(`qemu-img check, ${round}`, problem, leaks ? { note: 'leaks' } : {});
      await qemu.img('convert', '-f', 'qcow2', '-O', 'raw', disk, looked);
    }
    await checkFileSystem(report, tools, looked, `e2fsck, ${round}`);
  }
}
