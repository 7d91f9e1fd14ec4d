import { isCpuProfileName } from '../../contracts/cpu-profiles.ts';
import { type CreateVm, type DiskSpec, MAX_IDE_DISKS, type PatchVm } from '../../contracts/vms.ts';
import type { Prisma, Transaction } from '../../infra/prisma.ts';
import { Problem } from '../../lib/errors.ts';
import type { TenantScope } from '../access/principal.ts';
import { findImage, findMedia } from '../images/images.repository.ts';

const MIB = 1024 * 1024;

/** The columns that say what a VM boots. */
export interface BootColumns {
  readonly imageId: string | null;
  readonly kernelImageId: string | null;
  readonly initrdImageId: string | null;
  readonly kernelPath: string | null;
  readonly initrdPath: string | null;
  readonly cmdline: string | null;
  readonly bootOrder: string[];
}

type Hardware = Pick<PatchVm, 'vcpus' | 'cpu'> & Pick<CreateVm, 'volumes' | 'networks'>;

/** Refuses, by name, what the contract knows and this version cannot do. @throws {Problem} unsupported */
export function refuseUnsupported(body: Hardware): void {
  const refuse = (path: string, detail: string, hint: string) => {
    throw new Problem('unsupported', detail, { hint, errors: [{ path, message: detail }] });
  };
  if ((body.vcpus ?? 1) !== 1)
    refuse('/vcpus', `${body.vcpus} vCPUs are not supported yet`, 'use `vcpus: 1`');
  if (body.cpu !== undefined && !isCpuProfileName(body.cpu)) {
    refuse(
      '/cpu',
      `there is no CPU profile ${JSON.stringify(body.cpu)}`,
      'use `portable`, x86-64-v2 with AES, SHA, BMI and ADX, or `x86-64-v3`, that with AVX, AVX2, FMA and F16C',
    );
  }
  if ((body.volumes ?? []).length > 0)
    refuse('/volumes', 'volumes are not supported yet', 'leave `volumes` out');
  if ((body.networks ?? []).length > 0)
    refuse('/networks', 'networks are not supported yet', 'leave `networks` out');
}

/** Refuses an engine that no host has. @throws {Problem} engine_unavailable */
export async function requireEngine(tx: Transaction, engine: string): Promise<void> {
  if (engine === 'auto' || engine === 'interpret') return;
  const host = await tx.host.findFirst({
    where: { engines: { has: engine }, state: 'up' },
    select: { id: true },
  });
  if (host !== null) return;
  throw new Problem('engine_unavailable', `no host has the engine \`${engine}\``, {
    hint: 'use `auto`; GET /v1/hosts tells an operator what each host has',
  });
}

/**
 * Finds what a new VM boots.
 * @throws {Problem} invalid_request when nothing, or more than one thing, says what to boot; not_found for an image
 *   that is not there; forbidden for a path given with a tenant's key.
 */
export async function resolveBoot(
  tx: Transaction,
  scope: TenantScope,
  tenantId: string,
  body: Pick<CreateVm, 'image' | 'boot' | 'cdrom' | 'disks'>,
): Promise<BootColumns> {
  const nothing = {
    imageId: null,
    kernelImageId: null,
    initrdImageId: null,
    kernelPath: null,
    initrdPath: null,
    cmdline: null,
    bootOrder: [],
  };
  const { image: reference, boot = {} } = body;
  if (reference !== undefined && body.boot !== undefined) {
    throw new Problem('invalid_request', '`image` and `boot` both say what to boot', {
      hint: 'a `system` image brings its kernel: leave `boot` out',
    });
  }
  if (reference !== undefined) {
    const image = await findImage(tx, tenantId, reference, 'system');
    return { ...nothing, imageId: image.id };
  }
  if (boot.kernel === undefined) return { ...nothing, bootOrder: firmwareOrder(body, boot) };
  if (boot.order !== undefined) {
    throw new Problem(
      'invalid_request',
      '`boot.order` is for firmware, and `boot.kernel` is started without',
      {
        hint: 'leave one of the two out',
      },
    );
  }
  const refer = async (kind: 'kernel' | 'initrd', reference: string) => {
    if (!reference.startsWith('/'))
      return { imageId: (await findImage(tx, tenantId, reference, kind)).id, path: null };
    if (scope.operator) return { imageId: null, path: reference };
    throw new Problem(
      'forbidden',
      `\`boot.${kind}\` is a path on the host, which only an operator may name`,
      {
        hint: `upload the file (POST /v1/images?name=…&kind=${kind}) and give its id`,
      },
    );
  };
  const kernel = await refer('kernel', boot.kernel);
  const initrd =
    boot.initrd === undefined ? { imageId: null, path: null } : await refer('initrd', boot.initrd);
  return {
    imageId: null,
    kernelImageId: kernel.imageId,
    kernelPath: kernel.path,
    initrdImageId: initrd.imageId,
    initrdPath: initrd.path,
    cmdline: boot.cmdline ?? '',
    bootOrder: [],
  };
}

/** Where the firmware of a VM without a kernel looks. @throws {Problem} invalid_request when there is nothing to look at. */
function firmwareOrder(
  body: Pick<CreateVm, 'cdrom' | 'disks'>,
  boot: NonNullable<CreateVm['boot']>,
): string[] {
  if (boot.initrd !== undefined || boot.cmdline !== undefined) {
    throw new Problem('invalid_request', '`boot.initrd` and `boot.cmdline` go with `boot.kernel`');
  }
  if (body.cdrom === undefined && (body.disks ?? []).length === 0) {
    throw new Problem(
      'invalid_request',
      'nothing says what to boot: `image`, `boot.kernel`, `cdrom` or `disks`',
      {
        hint: 'for example "image": "debian-busybox", or "cdrom": {"image": "my-iso"}',
      },
    );
  }
  return boot.order ?? ['cdrom', 'disk'];
}

/** Finds the disc of a drive. @throws {Problem} as findMedia does */
export async function resolveDisc(
  tx: Transaction,
  tenantId: string,
  reference: string | null | undefined,
): Promise<string | null> {
  return reference ? (await findMedia(tx, tenantId, reference, 'iso')).id : null;
}

/** A disk as its row will say. */
export type DiskColumns = Omit<Prisma.VmDiskCreateManyInput, 'id' | 'vmId'> & { readonly sizeBytes: number };

/** Finds the disks of a new VM. @throws {Problem} invalid_request; and as findMedia does */
export async function resolveDisks(
  tx: Transaction,
  tenantId: string,
  disks: readonly DiskSpec[],
): Promise<DiskColumns[]> {
  if (disks.filter(({ bus }) => bus === 'ide').length > MAX_IDE_DISKS) {
    throw new Problem('invalid_request', `a virtual machine has at most ${MAX_IDE_DISKS} disks on \`ide\``, {
      hint: 'put the others on `virtio`',
    });
  }
  const columns: DiskColumns[] = [];
  for (const [position, disk] of disks.entries()) {
    const wrong = (detail: string): never => {
      throw new Problem('invalid_request', `\`disks[${position}]\`: ${detail}`, {
        errors: [{ path: `/disks/${position}`, message: detail }],
      });
    };
    const bus = disk.bus ?? 'virtio';
    if (disk.image === undefined) {
      if (disk.sizeMiB === undefined)
        return wrong('an `image` or, for an empty disk, its `sizeMiB` is missing');
      if (disk.mode !== undefined || disk.readonly !== undefined)
        return wrong('`mode` and `readonly` are for disks of an `image`');
      columns.push({ position, bus, mode: 'own', imageId: null, sizeBytes: disk.sizeMiB * MIB });
      continue;
    }
    const readonly = disk.readonly ?? false;
    if (readonly && (disk.mode !== undefined || disk.sizeMiB !== undefined))
      return wrong('a `readonly` disk has neither a `mode` nor another size than its image');
    const image = await findMedia(tx, tenantId, disk.image, 'disk');
    const imageBytes = Number(image.diskBytes ?? 0n);
    const sizeBytes = disk.sizeMiB === undefined ? imageBytes : disk.sizeMiB * MIB;
    if (sizeBytes < imageBytes)
      return wrong(`${disk.sizeMiB} MiB are less than the ${imageBytes} bytes of ${image.name}`);
    const mode = readonly ? 'readonly' : (disk.mode ?? 'overlay');
    columns.push({ position, bus, mode, imageId: image.id, sizeBytes });
  }
  return columns;
}

/** Bytes of disks that count against a tenant's quota: those that a guest can write to. */
export function writableBytes(disks: readonly { mode: string; sizeBytes: number | bigint }[]): number {
  return disks.reduce((sum, disk) => sum + (disk.mode === 'readonly' ? 0 : Number(disk.sizeBytes)), 0);
}

/** Refuses what would take a tenant over its quota. Call it with the tenant locked. @throws {Problem} quota_exceeded */
export async function requireQuota(
  tx: Transaction,
  tenantId: string,
  more: { vms: number; memoryMiB: number; diskBytes?: number },
): Promise<void> {
  const tenant = await tx.tenant.findUniqueOrThrow({ where: { id: tenantId } });
  const used = await tx.vm.aggregate({ where: { tenantId }, _count: true, _sum: { memoryMiB: true } });
  const memory = (used._sum.memoryMiB ?? 0) + more.memoryMiB;
  if (used._count + more.vms > tenant.quotaVms) {
    throw new Problem(
      'quota_exceeded',
      `the tenant has ${used._count} of ${tenant.quotaVms} virtual machines`,
      {
        hint: 'delete one, or ask the operator for a larger quota',
      },
    );
  }
  if (memory > tenant.quotaMemoryMiB) {
    throw new Problem(
      'quota_exceeded',
      `this would make ${memory} of ${tenant.quotaMemoryMiB} MiB of memory`,
      {
        hint: 'use less memory, delete a virtual machine, or ask the operator for a larger quota',
      },
    );
  }
  const { diskBytes = 0 } = more;
  if (diskBytes === 0) return;
  const disks = await tx.vmDisk.aggregate({
    where: { vm: { tenantId }, mode: { not: 'readonly' } },
    _sum: { sizeBytes: true },
  });
  const diskMiB = Math.ceil((Number(disks._sum.sizeBytes ?? 0n) + diskBytes) / MIB);
  if (diskMiB > tenant.quotaDiskMiB) {
    throw new Problem('quota_exceeded', `this would make ${diskMiB} of ${tenant.quotaDiskMiB} MiB of disks`, {
      hint: 'use smaller disks, delete a virtual machine, or ask the operator for a larger quota',
    });
  }
}
