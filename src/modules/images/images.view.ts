import type { Image as ImageView } from '../../contracts/images.ts';
import type { Image } from '../../infra/prisma.ts';
import { Problem } from '../../lib/errors.ts';
import { UNUSED, type Usage } from './images.repository.ts';

/** The row as clients see it. One that was just made is used by nobody. */
export function toImage(row: Image, { users, usedBy }: Usage = UNUSED): ImageView {
  return {
    id: row.id,
    name: row.name,
    // The database checks these three columns.
    kind: row.kind as ImageView['kind'],
    format: row.format as ImageView['format'],
    state: row.state as ImageView['state'],
    builtin: row.builtin,
    shared: row.tenantId === null,
    tenantId: row.tenantId,
    cmdline: row.cmdline,
    sizeBytes: Number(row.sizeBytes),
    diskBytes: row.diskBytes === null ? null : Number(row.diskBytes),
    sha256: row.sha256,
    problem: row.problem,
    users,
    usedBy,
    packages: row.packages,
    createdAt: row.createdAt.toISOString(),
  };
}

export function nameTaken(name: string): Problem {
  return new Problem('name_taken', `there is an image ${name} already`, {
    hint: 'delete it first, or take another name',
  });
}
