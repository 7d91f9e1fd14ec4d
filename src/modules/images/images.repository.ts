import type { ImageStore } from '../../infra/image-store.ts';
import type { Image, Prisma, Transaction } from '../../infra/prisma.ts';
import { Problem } from '../../lib/errors.ts';
import type { TenantScope } from '../access/principal.ts';

export type ImageKindName = 'system' | 'kernel' | 'initrd';

/** The images that a scope may see: its own and everybody's. */
export function visibleTo(scope: TenantScope): Prisma.ImageWhereInput {
  return scope.tenantId === null ? {} : { OR: [{ tenantId: scope.tenantId }, { tenantId: null }] };
}

/**
 * The image that a tenant means by an id or a name; a tenant's own name comes before everybody's. Inside a
 * transaction the row is held, so that it cannot be deleted before it is referred to.
 * @throws {Problem} not_found, or invalid_request when it is of another kind.
 */
export async function findImage(
  tx: Transaction,
  tenantId: string | null,
  reference: string,
  kind: ImageKindName,
): Promise<Image> {
  const owners = tenantId === null ? [{ tenantId: null }] : [{ tenantId }, { tenantId: null }];
  const found = await tx.image.findMany({
    where: { AND: [{ OR: owners }, { OR: [{ id: reference }, { name: reference }] }] },
  });
  const image = found.find((row) => row.tenantId !== null) ?? found[0];
  const held =
    image === undefined
      ? []
      : await tx.$queryRaw<unknown[]>`SELECT 1 FROM images WHERE id = ${image.id} FOR KEY SHARE`;
  if (image === undefined || held.length === 0) {
    throw new Problem('not_found', `there is no image ${reference}`, {
      hint: 'GET /v1/images lists those that there are',
    });
  }
  if (image.kind !== kind) {
    throw new Problem('invalid_request', `the image ${reference} is of kind ${image.kind}, not ${kind}`, {
      hint:
        kind === 'system'
          ? 'use it in `boot`, or compose a `system` image of it'
          : `GET /v1/images?kind=${kind} lists those that fit`,
    });
  }
  return image;
}

/**
 * Removes the files of images whose rows are gone. A composed image shares the files of its parts: a file goes with
 * the last row that names it.
 */
export async function removeUnreferenced(
  tx: Transaction,
  store: ImageStore,
  images: readonly Pick<Image, 'kernelPath' | 'initrdPath'>[],
): Promise<void> {
  for (const file of images.flatMap(({ kernelPath, initrdPath }) => [kernelPath, initrdPath])) {
    if (file === null) continue;
    const others = await tx.image.count({ where: { OR: [{ kernelPath: file }, { initrdPath: file }] } });
    if (others === 0) await store.remove(file);
  }
}
