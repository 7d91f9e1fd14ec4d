import { realpath } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { DiskError } from './disk.ts';
import type { Qcow2Header } from './qcow2/header.ts';

/** Images under one another, the first included. */
export const MOST_IMAGES = 32;

export interface BackingFile {
  /** Real, links followed. */
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
}

/**
 * Where the backing file is that an image names, and its format: never guessed,
 * since a guest that wrote to a raw disk may have made it look like anything.
 *
 * @param image the path by which the image was opened: relative names begin in its folder
 * @param allowed the folder that backing files must lie in, if any
 * @throws DiskError `DISK_BACKING`
 */
export async function findBackingFile(
  header: Qcow2Header,
  image: string,
  allowed: string | undefined,
): Promise<BackingFile> {
  const format = formatOf(header, image);
  const name = (header.backingName as string).replace(/^file:/, '');
  const shown = JSON.stringify(name);
  const refused = (what: string, cause?: unknown) =>
    new DiskError('DISK_BACKING', `disk image ${image} has a backing file ${shown} that ${what}`, { cause });
  // As in QEMU: what has a colon before its first slash is no file but nbd:…, json:… and the like.
  if (/^[^/]*:/.test(name)) throw refused('is not a file: only files can be backing files');
  let path: string;
  try {
    path = await realpath(resolve(dirname(image), name));
  } catch (error) {
    throw refused(`cannot be found (${(error as NodeJS.ErrnoException).code})`, error);
  }
  if (allowed === undefined) return { path, format };
  const folder = await realpath(allowed);
  if (!path.startsWith(folder.endsWith(sep) ? folder : folder + sep))
    throw refused('lies outside the folder that images must be in');
  return { path, format };
}

function formatOf({ backingName, backingFormat }: Qcow2Header, image: string): 'raw' | 'qcow2' {
  if (backingFormat === 'raw' || backingFormat === 'qcow2') return backingFormat;
  const what =
    backingFormat === undefined
      ? `does not say what format its backing file is in, and guessing is not safe: qemu-img rebase -u -b ${JSON.stringify(backingName)} -F raw (or qcow2) writes it down`
      : `has a backing file in the format ${JSON.stringify(backingFormat)}; raw and qcow2 can be read`;
  throw new DiskError('DISK_BACKING', `disk image ${image} ${what}`);
}
