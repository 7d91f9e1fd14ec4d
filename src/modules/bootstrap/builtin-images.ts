import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { createImageStore } from '../../infra/image-store.ts';
import type { Prisma } from '../../infra/prisma.ts';
import type { Logger } from '../../lib/log.ts';

/** The columns of a built-in image. */
export interface BuiltinImage {
  readonly name: string;
  readonly kernelPath: string;
  readonly initrdPath: string | null;
  readonly cmdline: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly packages: Prisma.InputJsonValue;
}

/**
 * The images that set-up has made: directories of the images directory with an `image.json`
 * ({name, kernel, initrd, cmdline, packages}, file names relative to it). One that cannot be read is left out with
 * a line in the log: the service is useful without it.
 */
export async function readBuiltinImages(imagesDir: string, log: Logger): Promise<BuiltinImage[]> {
  const entries = await readdir(imagesDir, { withFileTypes: true }).catch(() => []);
  const images: BuiltinImage[] = [];
  for (const entry of entries) {
    if (!entry.isDirectory() || entry.name === 'files') continue;
    try {
      const image = await readImage(imagesDir, entry.name);
      if (image !== null) images.push(image);
    } catch (err) {
      log.warn(
        { image: entry.name, err: err instanceof Error ? err.message : err },
        'built-in image left out',
      );
    }
  }
  return images;
}

async function readImage(imagesDir: string, folder: string): Promise<BuiltinImage | null> {
  const text = await readFile(path.join(imagesDir, folder, 'image.json'), 'utf8').catch(() => null);
  if (text === null) return null;
  const description: unknown = JSON.parse(text);
  if (typeof description !== 'object' || description === null) throw new Error('image.json is not an object');
  const field = (name: string): unknown => Reflect.get(description, name);
  const fileOf = (value: unknown): string | null => {
    if (typeof value !== 'string' || value === '') return null;
    return path.relative(imagesDir, path.resolve(imagesDir, folder, value));
  };
  const kernelPath = fileOf(field('kernel'));
  if (kernelPath === null) throw new Error('image.json names no kernel');
  const initrdPath = fileOf(field('initrd'));
  const name = field('name');
  const cmdline = field('cmdline');
  // The digest is of what lies there now, not of what image.json says.
  const digest = await createImageStore(imagesDir).digest(
    [kernelPath, initrdPath].filter((file) => file !== null),
  );
  return {
    name: typeof name === 'string' ? name : folder,
    kernelPath,
    initrdPath,
    cmdline: typeof cmdline === 'string' ? cmdline : '',
    packages: toJson(field('packages')),
    ...digest,
  };
}

function toJson(value: unknown): Prisma.InputJsonValue {
  // It was parsed from JSON, so it is JSON; null has a type of its own in Prisma.
  return (value ?? []) as Prisma.InputJsonValue;
}
