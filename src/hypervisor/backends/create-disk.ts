import { dirname, resolve } from 'node:path';
import { DiskError } from './disk.ts';
import { type DiskFormat, openDisk } from './open-disk.ts';
import { createQcow2 } from './qcow2/create.ts';

export interface CreateDiskOptions {
  readonly path: string;
  /** In bytes, a multiple of 512; the backing file's when not given. */
  readonly size?: number;
  /** What the disk reads as until it is written. A relative path begins where the new image lies, and is stored so. */
  readonly backing?: { readonly path: string; readonly format: DiskFormat };
  /** Backing files must lie in this folder, links followed. Not given: anywhere. */
  readonly allowedFolder?: string;
}

/**
 * Makes an empty qcow2 image; with a backing file an overlay that keeps what is
 * written over restarts, while the backing file stays as it is.
 *
 * @throws DiskError with a message for the user
 */
export async function createDisk({ path, size, backing, allowedFolder }: CreateDiskOptions): Promise<void> {
  if (!backing && size === undefined)
    throw new DiskError('DISK_FORMAT', `disk image ${path} needs a size or a backing file`);
  const bytes = size ?? (await sizeOf(resolve(dirname(path), backing!.path), backing!.format, allowedFolder));
  await createQcow2(path, {
    size: bytes,
    ...(backing && { backing: { name: backing.path, format: backing.format } }),
  });
}

async function sizeOf(path: string, format: DiskFormat, allowedFolder: string | undefined): Promise<number> {
  const disk = await openDisk({
    path,
    format,
    readOnly: true,
    ...(allowedFolder !== undefined && { allowedFolder }),
  });
  await disk.close();
  return disk.size;
}
