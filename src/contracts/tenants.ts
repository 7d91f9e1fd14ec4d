import Type, { type Static } from 'typebox';
import { Id, Name, Nullable, Timestamp } from './common.ts';

const quota = (description: string) => Type.Integer({ minimum: 0, maximum: 2_000_000_000, description });

const quotas = {
  vms: quota('Virtual machines, running or not.'),
  memoryMiB: quota('MiB of memory of all its virtual machines, running or not.'),
  imageMiB: quota('MiB of uploaded images, and of uploads under way.'),
  diskMiB: quota('MiB of the disks of its virtual machines, each counted as large as its guest sees it.'),
};

/** What a tenant gets when the operator says nothing. */
export const DEFAULT_QUOTAS = { vms: 100, memoryMiB: 65_536, imageMiB: 10_240, diskMiB: 204_800 } as const;

export const CreateTenant = Type.Object(
  {
    name: Name,
    quotas: Type.Optional(Type.Partial(Type.Object(quotas), { additionalProperties: false })),
  },
  { title: 'CreateTenant', additionalProperties: false },
);
export type CreateTenant = Static<typeof CreateTenant>;

export const PatchTenant = Type.Object(
  {
    name: Type.Optional(Name),
    quotas: Type.Optional(Type.Partial(Type.Object(quotas), { additionalProperties: false })),
  },
  { title: 'PatchTenant', additionalProperties: false, minProperties: 1 },
);
export type PatchTenant = Static<typeof PatchTenant>;

const used = Type.Integer({ minimum: 0 });

/** What counts against the quotas now. */
const usage = Type.Object({ vms: used, memoryMiB: used, imageMiB: used, diskMiB: used });
export type Usage = Static<typeof usage>;

export const Tenant = Type.Object(
  { id: Id('ten'), name: Type.String(), quotas: Type.Object(quotas), usage, createdAt: Timestamp },
  { title: 'Tenant' },
);
export type Tenant = Static<typeof Tenant>;

export const Scope = Type.Union([Type.Literal('read'), Type.Literal('write')]);
export type Scope = Static<typeof Scope>;

export const CreateKey = Type.Object(
  {
    name: Type.Optional(Name),
    scopes: Type.Optional(
      Type.Array(Scope, {
        minItems: 1,
        maxItems: 2,
        uniqueItems: true,
        description: '`read` and `write` when not given.',
      }),
    ),
    expiresAt: Type.Optional(Timestamp),
  },
  { title: 'CreateKey', additionalProperties: false },
);
export type CreateKey = Static<typeof CreateKey>;

const key = {
  id: Id('key'),
  tenantId: Nullable(Type.String()),
  name: Type.String(),
  scopes: Type.Array(Type.String()),
  createdAt: Timestamp,
  expiresAt: Nullable(Timestamp),
  revokedAt: Nullable(Timestamp),
};

export const Key = Type.Object(key, { title: 'Key' });
export type Key = Static<typeof Key>;

export const NewKey = Type.Object(
  { ...key, key: Type.String({ description: 'The key itself. It is shown this once.' }) },
  { title: 'NewKey' },
);
export type NewKey = Static<typeof NewKey>;

export const KeyParams = Type.Object({ id: Id('ten'), keyId: Id('key') }, { additionalProperties: false });

export const Host = Type.Object(
  {
    id: Type.String(),
    name: Type.String(),
    state: Type.String({ description: 'up, draining or down; a host without a fresh heartbeat is down.' }),
    engines: Type.Array(Type.String()),
    memoryMiB: Type.Object({ total: Type.Integer(), reserved: Type.Integer() }),
    vcpus: Type.Object({ total: Type.Integer(), reserved: Type.Integer() }),
    queue: Nullable(
      Type.Object(
        {
          waiting: Type.Integer({ description: 'Jobs that wait for the worker.' }),
          active: Type.Integer({ description: 'Jobs that it is at.' }),
        },
        { description: 'Null while Redis is away.' },
      ),
    ),
    version: Nullable(Type.String()),
    lastHeartbeatAt: Nullable(Timestamp),
    createdAt: Timestamp,
  },
  { title: 'Host' },
);
export type Host = Static<typeof Host>;
