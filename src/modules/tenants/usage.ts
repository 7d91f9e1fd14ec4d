import type { Usage } from '../../contracts/tenants.ts';
import { Prisma, type Transaction } from '../../infra/prisma.ts';

const NOTHING: Usage = { vms: 0, memoryMiB: 0, imageMiB: 0, diskMiB: 0 };

interface Row {
  readonly id: string;
  readonly vms: bigint;
  readonly memoryMiB: bigint | null;
  readonly imageMiB: bigint;
  readonly diskMiB: bigint;
}

/**
 * What counts against the quotas of tenants: all of their machines and disks that can be written, their images and
 * uploads under way, in MiB rounded up. One query for many of them.
 */
export async function usageOf(tx: Transaction, tenantIds: readonly string[]): Promise<(id: string) => Usage> {
  const rows =
    tenantIds.length === 0
      ? []
      : await tx.$queryRaw<Row[]>`
          SELECT t.id, v.vms, v.memory AS "memoryMiB",
            ceil((i.bytes + u.bytes) / 1048576.0)::bigint AS "imageMiB",
            ceil(d.bytes / 1048576.0)::bigint AS "diskMiB"
          FROM tenants t,
            LATERAL (SELECT count(*) AS vms, sum(memory_mib)::bigint AS memory FROM vms
              WHERE tenant_id = t.id) v,
            LATERAL (SELECT coalesce(sum(size_bytes), 0) AS bytes FROM images
              WHERE tenant_id = t.id AND kind <> 'system') i,
            LATERAL (SELECT coalesce(sum(size_bytes), 0) AS bytes FROM uploads
              WHERE tenant_id = t.id AND image_id IS NULL) u,
            LATERAL (SELECT coalesce(sum(k.size_bytes), 0) AS bytes FROM vm_disks k JOIN vms ON vms.id = k.vm_id
              WHERE vms.tenant_id = t.id AND k.mode <> 'readonly') d
          WHERE t.id IN (${Prisma.join([...tenantIds])})`;
  const usages = new Map(
    rows.map((row) => [
      row.id,
      {
        vms: Number(row.vms),
        memoryMiB: Number(row.memoryMiB ?? 0),
        imageMiB: Number(row.imageMiB),
        diskMiB: Number(row.diskMiB),
      },
    ]),
  );
  return (id) => usages.get(id) ?? NOTHING;
}
