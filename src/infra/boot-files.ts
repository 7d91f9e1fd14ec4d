import path from 'node:path';
import type { Database, Image, Vm } from './prisma.ts';

/** What a VM boots: absolute paths and the kernel's command line. */
export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string | null;
  readonly cmdline: string;
}

/**
 * Finds the files that a VM boots from its image, its kernel and initrd images, or an operator's paths.
 * @returns null when the VM names no kernel (its image is gone or has none).
 */
export async function findBootFiles(db: Database, vm: Vm, imagesDir: string): Promise<BootFiles | null> {
  const ids = [vm.imageId, vm.kernelImageId, vm.initrdImageId].filter((id) => id !== null);
  const images = new Map(
    (await db.image.findMany({ where: { id: { in: ids } } })).map((image) => [image.id, image]),
  );
  const system = images.get(vm.imageId ?? '');
  const within = (relative: string | null | undefined): string | null =>
    relative ? path.resolve(imagesDir, relative) : null;
  const kernelImage: Image | undefined = images.get(vm.kernelImageId ?? '') ?? system;
  const initrdImage: Image | undefined = images.get(vm.initrdImageId ?? '') ?? system;
  const kernel = vm.kernelPath ?? within(kernelImage?.kernelPath);
  if (kernel === null) return null;
  return {
    kernel,
    initrd: vm.initrdPath ?? within(initrdImage?.initrdPath),
    cmdline: vm.cmdline ?? system?.cmdline ?? '',
  };
}
