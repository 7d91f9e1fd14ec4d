import { isCpuProfileName } from '../../contracts/cpu-profiles.ts';
import type { CreateVm, PatchVm } from '../../contracts/vms.ts';
import type { Transaction } from '../../infra/prisma.ts';
import { Problem } from '../../lib/errors.ts';
import type { TenantScope } from '../access/principal.ts';
import { findImage } from '../images/images.repository.ts';

/** The columns that say what a VM boots. */
export interface BootColumns {
  readonly imageId: string | null;
  readonly kernelImageId: string | null;
  readonly initrdImageId: string | null;
  readonly kernelPath: string | null;
  readonly initrdPath: string | null;
  readonly cmdline: string | null;
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
    hint: 'use `auto` or `interpret`',
  });
}

/**
 * Finds what a new VM boots.
 * @throws {Problem} invalid_request when not exactly one of `image` and `boot` is given; not_found for an image
 *   that is not there; forbidden for a path given with a tenant's key.
 */
export async function resolveBoot(
  tx: Transaction,
  scope: TenantScope,
  tenantId: string,
  body: Pick<CreateVm, 'image' | 'boot'>,
): Promise<BootColumns> {
  const nothing = {
    imageId: null,
    kernelImageId: null,
    initrdImageId: null,
    kernelPath: null,
    initrdPath: null,
    cmdline: null,
  };
  if ((body.image === undefined) === (body.boot === undefined)) {
    throw new Problem('invalid_request', 'exactly one of `image` and `boot` must say what to boot', {
      hint: 'for example "image": "debian-busybox"',
    });
  }
  if (body.image !== undefined) {
    const image = await findImage(tx, tenantId, body.image, 'system');
    return { ...nothing, imageId: image.id };
  }
  const boot = body.boot ?? { kernel: '' };
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
  };
}

/** Refuses what would take a tenant over its quota. Call it with the tenant locked. @throws {Problem} quota_exceeded */
export async function requireQuota(
  tx: Transaction,
  tenantId: string,
  more: { vms: number; memoryMiB: number },
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
}
