import { open, rename, rm, stat } from 'node:fs/promises';
import { diskFile, type VmDiskConfig } from '../../src/contracts/vm-process.ts';
import { type DiskBackend, DiskError } from '../../src/hypervisor/backends/disk.ts';
import { openRawDisk } from '../../src/hypervisor/backends/disk-raw.ts';
import { openHostFile } from '../../src/hypervisor/backends/host-file.ts';
import { createQcow2 } from '../../src/hypervisor/backends/qcow2/create.ts';
import { openQcow2 } from '../../src/hypervisor/backends/qcow2/open.ts';

type Log = (message: string) => void;
type Base = NonNullable<VmDiskConfig['base']>;

/** A VM's disk, open, and the bus that it is on. */
export interface OpenDisk {
  readonly bus: 'virtio' | 'ide';
  readonly backend: DiskBackend;
}

/**
 * Opens the disks of a VM, in the current directory, where files of their own
 * are made the first time. Rejects with a DiskError, with none left open.
 */
export async function openDisks(disks: readonly VmDiskConfig[], log: Log): Promise<OpenDisk[]> {
  const opened: OpenDisk[] = [];
  try {
    for (const disk of disks) opened.push({ bus: disk.bus, backend: await openDisk(disk, log) });
    return opened;
  } catch (error) {
    await Promise.all(opened.map(({ backend }) => backend.close()));
    throw error;
  }
}

/** Removes what `throw-away` disks have kept: for a launch to begin with, and for its end. */
export async function throwAway(disks: readonly VmDiskConfig[]): Promise<void> {
  for (const { id, mode } of disks) if (mode === 'throw-away') await rm(diskFile(id), { force: true });
}

/**
 * Opens an uploaded image, which is never written. One that names a backing
 * file is refused: whatever it names is not its owner's to read.
 */
export async function openImage({ path, format }: Base, log: Log): Promise<DiskBackend> {
  if (format === 'raw') return openRawDisk(path, { readOnly: true });
  return openLayer(path, true, log, () => {
    throw new DiskError(
      'DISK_BACKING',
      'the image names a backing file, which an uploaded image cannot have',
    );
  });
}

async function openDisk(disk: VmDiskConfig, log: Log): Promise<DiskBackend> {
  const { base, mode } = disk;
  if (mode === 'own') {
    await makeOnce(disk);
    return openLayer(diskFile(disk.id), false, log, noBase);
  }
  if (base === undefined) throw new DiskError('DISK_NOT_FOUND', `the image of disk ${disk.id} is not there`);
  if (mode === 'readonly') return openImage(base, log);
  await makeOnce(disk);
  // The name in the file is for people: what it stands on is known.
  return openLayer(diskFile(disk.id), false, log, () => openImage(base, log));
}

function noBase(): never {
  throw new DiskError('DISK_BACKING', 'a disk without an image names a backing file');
}

async function openLayer(
  path: string,
  readOnly: boolean,
  log: Log,
  backing: () => Promise<DiskBackend>,
): Promise<DiskBackend> {
  const file = await openHostFile(path, { readOnly, noFollow: true });
  try {
    return await openQcow2(file, { backing: async () => backing(), log });
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Makes the file of a disk unless it is there: whole or not at all. */
async function makeOnce({ id, sizeBytes, base }: VmDiskConfig): Promise<void> {
  const path = diskFile(id);
  if ((await stat(path).catch(() => null)) !== null) return;
  const unfinished = `${path}.new`;
  await rm(unfinished, { force: true });
  const backing = base === undefined ? {} : { backing: { name: base.path, format: base.format } };
  await createQcow2(unfinished, { size: sizeBytes, ...backing });
  await rename(unfinished, path);
  const directory = await open('.', 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
