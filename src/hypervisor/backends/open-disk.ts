import { realpath, stat } from 'node:fs/promises';
import { dirname, extname, resolve, sep } from 'node:path';
import { type DiskBackend, DiskError } from './disk.ts';
import { OverlayDisk } from './disk-overlay.ts';
import { RawDisk } from './disk-raw.ts';
import { type HostFile, openHostFile } from './host-file.ts';
import { looksLikeQcow2, type Qcow2Header } from './qcow2/header.ts';
import { openQcow2 } from './qcow2/open.ts';

export type DiskFormat = 'raw' | 'qcow2';

/** Images under one another, the first included. */
const MOST_IMAGES = 32;

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
  const wrong = (what: string, error?: unknown) =>
    new DiskError('DISK_BACKING', `disk image ${image} ${what}`, { cause: error });
  if (chain.length >= MOST_IMAGES)
    throw wrong(`is the last of ${MOST_IMAGES} images under one another: more are not opened`);
  const format = backingFormat(header, wrong);
  const path = await backingPath(header, image, options.allowedFolder).catch((error) => {
    throw error instanceof DiskError
      ? error
      : wrong(`has a backing file ${header.backingName} that cannot be found (${error.code})`, error);
  });
  const { dev, ino } = await stat(path, { bigint: true });
  if (chain.some(({ identity }) => identity === `${dev}:${ino}`))
    throw wrong('is its own backing file in the end');
  const file = await openHostFile(path, { readOnly: true, noFollow: true });
  return opened(file, () => openAs(file, format, options, chain));
}

type Wrong = (what: string, error?: unknown) => DiskError;

function backingFormat({ backingName, backingFormat }: Qcow2Header, wrong: Wrong): DiskFormat {
  if (backingFormat === 'raw' || backingFormat === 'qcow2') return backingFormat;
  if (backingFormat === undefined)
    throw wrong(
      `does not say what format its backing file is in, and guessing is not safe: qemu-img rebase -u -b ${backingName} -F raw (or qcow2) writes it down`,
    );
  throw wrong(
    `has a backing file in the format ‘${backingFormat.replace(/[^ -~]/g, '?')}’; raw and qcow2 can be read`,
  );
}

/** The backing file's real path, links followed; names begin where the image lies. */
async function backingPath(header: Qcow2Header, image: string, allowed: string | undefined): Promise<string> {
  const name = (header.backingName as string).replace(/^file:/, '');
  const refused = (what: string) =>
    new DiskError('DISK_BACKING', `disk image ${image} has a backing file ${name} ${what}`);
  // As in QEMU: what has a colon before its first slash is no file but nbd:…, json:… and the like.
  if (/^[^/]*:/.test(name)) throw refused('that is not a file: only files can be backing files');
  const path = await realpath(resolve(dirname(image), name));
  if (allowed === undefined) return path;
  const folder = await realpath(allowed);
  if (!path.startsWith(folder.endsWith(sep) ? folder : folder + sep))
    throw refused('that lies outside the folder that images must be in');
  return path;
}
