import path from 'node:path';
import type { DiscConfig, VmBootConfig, VmDiskConfig } from '../contracts/vm-process.ts';
import type { Database, Image, Vm } from './prisma.ts';

/** Where the files of a host are. */
export interface Folders {
  readonly imagesDir: string;
  /** SeaBIOS and the BIOS of its video adapter, by Debian's names. */
  readonly firmwareDir: string;
}

/** What a VM starts from and stands on, with absolute paths. */
export interface VmFiles {
  readonly boot: VmBootConfig;
  readonly disks: readonly VmDiskConfig[];
  /** Undefined without a drive. */
  readonly cdrom?: DiscConfig;
}

/**
 * Finds the files of a VM: those of its images, or an operator's paths.
 * @returns null when the VM names a kernel that its image does not have.
 */
export async function findVmFiles(db: Database, vm: Vm, folders: Folders): Promise<VmFiles | null> {
  const { imagesDir } = folders;
  const disks = await db.vmDisk.findMany({
    where: { vmId: vm.id },
    include: { image: true },
    orderBy: { position: 'asc' },
  });
  const ids = [vm.imageId, vm.kernelImageId, vm.initrdImageId].filter((id) => id !== null);
  const images = new Map(
    (await db.image.findMany({ where: { id: { in: ids } } })).map((image) => [image.id, image]),
  );
  const boot = findBoot(vm, images, folders);
  if (boot === null) return null;
  return {
    boot,
    disks: disks.map(({ id, mode, bus, sizeBytes, image }) => ({
      id,
      mode: mode as VmDiskConfig['mode'], // the database checks these three columns
      bus: bus as VmDiskConfig['bus'],
      sizeBytes: Number(sizeBytes),
      ...(image?.mediaPath
        ? {
            base: {
              path: path.resolve(imagesDir, image.mediaPath),
              format: image.format as 'raw' | 'qcow2',
            },
          }
        : {}),
    })),
    ...(vm.cdrom ? { cdrom: await findDisc(db, vm, imagesDir) } : {}),
  };
}

/** What should lie in a VM's drive now. */
export async function findDisc(db: Database, vm: Vm, imagesDir: string): Promise<DiscConfig> {
  const image =
    vm.cdromImageId === null ? null : await db.image.findUnique({ where: { id: vm.cdromImageId } });
  const file = image?.mediaPath ?? null;
  return { epoch: vm.cdromEpoch, path: file === null ? null : path.resolve(imagesDir, file) };
}

function findBoot(
  vm: Vm,
  images: ReadonlyMap<string, Image>,
  { imagesDir, firmwareDir }: Folders,
): VmBootConfig | null {
  if (vm.imageId === null && vm.kernelImageId === null && vm.kernelPath === null) {
    return {
      order: vm.bootOrder as ('cdrom' | 'disk')[], // the API checks what goes in
      firmware: {
        bios: path.join(firmwareDir, 'bios-256k.bin'),
        vgaBios: path.join(firmwareDir, 'vgabios-stdvga.bin'),
      },
    };
  }
  const within = (relative: string | null | undefined): string | null =>
    relative ? path.resolve(imagesDir, relative) : null;
  const system = images.get(vm.imageId ?? '');
  const kernelImage = images.get(vm.kernelImageId ?? '') ?? system;
  const initrdImage = images.get(vm.initrdImageId ?? '') ?? system;
  const kernel = vm.kernelPath ?? within(kernelImage?.kernelPath);
  if (kernel === null) return null;
  const initrd = vm.initrdPath ?? within(initrdImage?.initrdPath);
  return {
    kernel,
    ...(initrd === null ? {} : { initrd }),
    cmdline: vm.cmdline ?? system?.cmdline ?? '',
  };
}
