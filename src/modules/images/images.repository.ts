import type { ImageKind, Image as ImageView } from '../../contracts/images.ts';
import type { ImageStore } from '../../infra/image-store.ts';
import { type Image, Prisma, type Transaction } from '../../infra/prisma.ts';
import { Problem } from '../../lib/errors.ts';
import { ownedBy, type TenantScope } from '../access/principal.ts';

/** How many of an image's users are named. */
const SHOWN_USERS = 10;

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
  kind: ImageKind,
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
 * The disc or disk that a tenant means by an id or a name, once a worker has found it good.
 * @throws {Problem} as findImage does; image_not_ready, image_unusable
 */
export async function findMedia(
  tx: Transaction,
  tenantId: string | null,
  reference: string,
  kind: 'iso' | 'disk',
): Promise<Image> {
  const image = await findImage(tx, tenantId, reference, kind);
  if (image.state === 'unusable') {
    throw new Problem('image_unusable', `the image ${image.name} cannot be used: ${image.problem ?? ''}`, {
      hint: 'delete it and upload a good one',
    });
  }
  if (image.state !== 'ready') {
    throw new Problem('image_not_ready', `the image ${image.name} has not been looked into yet`, {
      hint: `a host's worker does that within seconds: GET /v1/images/${image.id} shows its \`state\``,
      headers: { 'retry-after': '2' },
    });
  }
  return image;
}

/** The virtual machines of a scope that have an image, by name and id, a few of them. */
export async function usersOf(tx: Transaction, scope: TenantScope, imageId: string): Promise<string[]> {
  const vms = await tx.vm.findMany({
    where: {
      ...ownedBy(scope),
      OR: [
        { imageId },
        { kernelImageId: imageId },
        { initrdImageId: imageId },
        { cdromImageId: imageId },
        { disks: { some: { imageId } } },
      ],
    },
    select: { id: true, name: true },
    orderBy: { id: 'asc' },
    take: SHOWN_USERS + 1,
  });
  const shown = vms.slice(0, SHOWN_USERS).map(({ id, name }) => `${name} (${id})`);
  return vms.length > SHOWN_USERS ? [...shown, 'others'] : shown;
}

/** What of a scope has an image. */
export type Usage = Pick<ImageView, 'users' | 'usedBy'>;

export const UNUSED: Usage = { users: 0, usedBy: [] };

interface UserRow {
  readonly image: string;
  readonly id: string;
  readonly name: string;
  readonly disks: bigint;
  readonly users: bigint;
}

/** The virtual machines of a scope that have images: how many, and a few of each, in one query. */
export async function usersOfAll(
  tx: Transaction,
  scope: TenantScope,
  imageIds: readonly string[],
): Promise<(imageId: string) => Usage> {
  const owned = scope.tenantId === null ? Prisma.empty : Prisma.sql`AND v.tenant_id = ${scope.tenantId}`;
  const rows =
    imageIds.length === 0
      ? []
      : await tx.$queryRaw<UserRow[]>`
          SELECT i.id AS image, u.* FROM images i, LATERAL (
            SELECT v.id, v.name, d.count AS disks, count(*) OVER () AS users FROM vms v,
              LATERAL (SELECT count(*) FROM vm_disks WHERE vm_id = v.id AND image_id = i.id) d
            WHERE (i.id IN (v.image_id, v.kernel_image_id, v.initrd_image_id, v.cdrom_image_id) OR d.count > 0)
              ${owned}
            ORDER BY v.id LIMIT ${SHOWN_USERS}
          ) u
          WHERE i.id IN (${Prisma.join([...imageIds])}) ORDER BY u.id`;
  const found = Map.groupBy(rows, ({ image }) => image);
  return (imageId) => {
    const users = found.get(imageId) ?? [];
    return {
      users: Number(users[0]?.users ?? 0),
      usedBy: users.map(({ id, name, disks }) => ({ id, name, disks: Number(disks) })),
    };
  };
}

/**
 * Removes the files of images whose rows are gone. A composed image shares the files of its parts: a file goes with
 * the last row that names it.
 */
export async function removeUnreferenced(
  tx: Transaction,
  store: ImageStore,
  images: readonly Pick<Image, 'kernelPath' | 'initrdPath' | 'mediaPath'>[],
): Promise<void> {
  for (const file of images.flatMap(filesOf)) {
    const others = await tx.image.count({
      where: { OR: [{ kernelPath: file }, { initrdPath: file }, { mediaPath: file }] },
    });
    if (others === 0) await store.remove(file);
  }
}

/** The files that an image has. */
export function filesOf(image: Pick<Image, 'kernelPath' | 'initrdPath' | 'mediaPath'>): string[] {
  return [image.kernelPath, image.initrdPath, image.mediaPath].filter((file) => file !== null);
}
