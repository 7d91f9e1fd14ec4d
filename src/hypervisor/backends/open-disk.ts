import { stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { findBackingFile, MOST_IMAGES } from './backing-file.ts';
import { type DiskBackend, DiskError } from './disk.ts';
import { OverlayDisk } from './disk-overlay.ts';
import { RawDisk } from './disk-raw.ts';
import { type HostFile, openHostFile } from './host-file.ts';
import { looksLikeQcow2, type Qcow2Header } from './qcow2/header.ts';
import { openQcow2 } from './qcow2/open.ts';

export type DiskFormat = 'raw' | 'qcow2';

export interface OpenDiskOptions {
  readonly path: string;
  /**
   * Not given: qcow2 for a name that ends in .qcow2, else raw. `probe` looks at
   * the content: only for files that no guest has written to, since the guest of
   * a raw disk decides what its first bytes are, and could make them name any
   * file as backing file.
   */
  readonly format?: DiskFormat | 'probe';
  readonly readOnly?: boolean;
  /** `throw-away`: writes stay in memory and are gone when the disk is closed; the file is only read. */
  readonly overlay?: 'none' | 'throw-away';
  /** Backing files must lie in this folder, links followed. Not given: anywhere. */
  readonly allowedFolder?: string;
  /** Hears once of damage that is found in an image while it is in use. */
  readonly log?: (message: string) => void;
}

/**
 * Opens a disk, whatever it is kept in. Closing it closes all of its files.
 *
 * @throws DiskError with a message for the user
 */
export async function openDisk(options: OpenDiskOptions): Promise<DiskBackend> {
  const throwAway = options.overlay === 'throw-away';
  const readOnly = throwAway || (options.readOnly ?? false);
  const file = await openHostFile(options.path, { readOnly });
  const disk = await opened(file, async () => openAs(file, await formatOf(file, options), options, []));
  return throwAway ? new OverlayDisk(disk) : disk;
}

/** Opens what lies in a file; the file is closed when that fails. */
async function opened<T>(file: HostFile, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openAs(
  file: HostFile,
  format: DiskFormat,
  options: OpenDiskOptions,
  above: readonly HostFile[],
): Promise<DiskBackend> {
  if (format === 'raw') return new RawDisk(file);
  return openQcow2(file, {
    backing: (header) => openBacking(header, options, [...above, file]),
    log: options.log ?? (() => {}),
  });
}

async function formatOf(file: HostFile, { path, format }: OpenDiskOptions): Promise<DiskFormat> {
  if (format === 'raw' || format === 'qcow2') return format;
  if (format === undefined && extname(path) === '.qcow2') return 'qcow2';
  const start = new Uint8Array(4);
  await file.readAt(0, start);
  if (!looksLikeQcow2(start)) return 'raw';
  if (format === 'probe') return 'qcow2';
  const message = `disk image ${path} looks like a qcow2 image and its format is not given: say format=qcow2 if that is what it is, format=raw if it is a disk whose guest wrote this`;
  throw new DiskError('DISK_FORMAT', message);
}

/** @param chain the images above, the nearest last */
async function openBacking(
  header: Qcow2Header,
  options: OpenDiskOptions,
  chain: readonly HostFile[],
): Promise<DiskBackend> {
  const image = chain[chain.length - 1].path;
  const wrong = (what: string) => new DiskError('DISK_BACKING', `disk image ${image} ${what}`);
  if (chain.length >= MOST_IMAGES)
    throw wrong(`is the last of ${MOST_IMAGES} images under one another: more are not opened`);
  const { path, format } = await findBackingFile(header, image, options.allowedFolder);
  const { dev, ino } = await stat(path, { bigint: true });
  if (chain.some(({ identity }) => identity === `${dev}:${ino}`))
    throw wrong('is its own backing file in the end');
  const file = await openHostFile(path, { readOnly: true, noFollow: true });
  return opened(file, () => openAs(file, format, options, chain));
}
