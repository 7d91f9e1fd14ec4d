import { setTimeout as delay } from 'node:timers/promises';
import { type Database, isDatabaseOutage, isUniqueViolation } from '../../infra/prisma.ts';
import { Problem } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import type { VmsService } from '../vms/vms.service.ts';

const IMAGE = 'debian-busybox';
const MILESTONE = 'hello';
const RETRY_MS = 1_000;

export interface HelloOptions {
  readonly db: Database;
  readonly vms: VmsService;
  readonly log: Logger;
  readonly closing: AbortSignal;
  /** Called when the VM has been made. */
  readonly made: (vm: { readonly id: string; readonly name: string }) => void;
}

/**
 * Makes the VM `hello` from the built-in image, once in the life of a database: the milestone that remembers it is
 * written in the transaction that makes the VM. Waits for a worker to offer room. Never throws.
 */
export async function makeHello(options: HelloOptions): Promise<void> {
  const { db, closing, log } = options;
  while (!closing.aborted) {
    try {
      if ((await db.milestone.findUnique({ where: { name: MILESTONE } })) !== null) return;
      const tenant = await db.tenant.findUnique({ where: { name: 'default' } });
      const image = await db.image.findFirst({ where: { tenantId: null, name: IMAGE } });
      if (tenant === null || image === null) {
        log.warn(`there is no image ${IMAGE}, so no VM \`hello\` is made`);
        return;
      }
      const { vm } = await options.vms.create(
        { tenantId: tenant.id, operator: true },
        { name: 'hello', image: IMAGE, memoryMiB: 256 },
        async (tx) => {
          await tx.milestone.create({ data: { name: MILESTONE } });
        },
      );
      options.made(vm);
      return;
    } catch (err) {
      if (isUniqueViolation(err)) return; // another process was faster
      const waiting = isDatabaseOutage(err) || (err instanceof Problem && err.code === 'no_capacity');
      if (!waiting) {
        log.error({ err }, 'the VM `hello` was not made');
        return;
      }
    }
    await delay(RETRY_MS, undefined, { signal: closing }).catch(() => {});
  }
}
