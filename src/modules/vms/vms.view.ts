import type { RestartPolicy, VmState } from '../../contracts/states.ts';
import type { DiskBus, Vm as VmView } from '../../contracts/vms.ts';
import type { Prisma } from '../../infra/prisma.ts';
import { toStoredError } from '../operations/operations.view.ts';

/** What is read with a VM so that it can be shown. */
export const vmInclude = {
  image: { select: { name: true } },
  kernelImage: { select: { name: true } },
  initrdImage: { select: { name: true } },
  cdromImage: { select: { name: true } },
  disks: { include: { image: { select: { name: true } } }, orderBy: { position: 'asc' } },
  host: { select: { name: true } },
} as const satisfies Prisma.VmInclude;

export type VmRow = Prisma.VmGetPayload<{ include: typeof vmInclude }>;

/** The row as clients see it. Paths on the host are shown as they were given, which only operators can. */
export function toVm(row: VmRow): VmView {
  const boots = row.imageId === null;
  return {
    id: row.id,
    name: row.name,
    tenantId: row.tenantId,
    // The database checks these two columns.
    state: row.state as VmState,
    restartPolicy: row.restartPolicy as RestartPolicy,
    desired: row.desired,
    engine: { requested: row.engineRequested, actual: row.engineActual },
    cpu: row.cpuProfile,
    memoryMiB: row.memoryMiB,
    vcpus: row.vcpus,
    image: row.image?.name ?? null,
    imageId: row.imageId,
    boot: boots
      ? {
          kernel: row.kernelPath ?? row.kernelImage?.name ?? null,
          initrd: row.initrdPath ?? row.initrdImage?.name ?? null,
          cmdline: row.cmdline,
          order: row.bootOrder,
        }
      : null,
    cdrom: row.cdrom ? { image: row.cdromImage?.name ?? null, imageId: row.cdromImageId } : null,
    disks: row.disks.map((disk) => ({
      id: disk.id,
      image: disk.image?.name ?? null,
      imageId: disk.imageId,
      mode: disk.mode,
      bus: disk.bus as DiskBus, // the database checks this column
      sizeBytes: Number(disk.sizeBytes),
    })),
    labels: toLabels(row.labels),
    restartCount: row.restartCount,
    host: row.host?.name ?? null,
    hostId: row.hostId,
    generation: row.generation,
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
    startedAt: row.startedAt?.toISOString() ?? null,
    lastError: toStoredError(row.lastError),
  };
}

function toLabels(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) return {};
  return Object.fromEntries(Object.entries(value).map(([key, label]) => [key, String(label)]));
}
