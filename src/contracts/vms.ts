import Type, { type Static } from 'typebox';
import { Id, Labels, Name, Nullable, PRINTABLE, pageQuery, Timestamp, WaitTimeout } from './common.ts';
import { VmMetrics } from './metrics.ts';
import { Operation } from './operations.ts';
import { RestartPolicy, StoredError, VmState } from './states.ts';

export const Engine = Type.Union(
  [Type.Literal('auto'), Type.Literal('interpret'), Type.Literal('translate'), Type.Literal('kvm')],
  { description: 'How the guest’s code is run; `auto` takes the best that the host has.' },
);

/** The least and the most memory of a VM, MiB. The chipset leaves guest RAM 3 GiB below its PCI window. */
export const MEMORY_MIB = { minimum: 16, maximum: 3072 } as const;

const Memory = Type.Integer({ ...MEMORY_MIB, description: 'MiB of RAM.' });
const Vcpus = Type.Integer({ minimum: 1, maximum: 256, description: 'More than one is not supported yet.' });
const Cpu = Type.String({
  minLength: 1,
  maxLength: 63,
  pattern: PRINTABLE,
  description:
    'CPUID profile: `portable` is x86-64-v2 with AES, SHA, BMI and ADX; `x86-64-v3` is that with AVX, AVX2, FMA and F16C.',
});

/** An image id, an image name or, with an operator's key, an absolute path on the host. */
const BootFile = Type.String({ minLength: 1, maxLength: 1024, pattern: PRINTABLE });

/** Printable ASCII, as the Linux boot protocol's command line of at most 2047 bytes and a NUL. */
export const Cmdline = Type.String({ maxLength: 2047, pattern: '^[\\x20-\\x7e]*$' });

/** Where firmware looks for something to start. */
export const BootDevice = Type.Union([Type.Literal('cdrom'), Type.Literal('disk')]);
export type BootDevice = Static<typeof BootDevice>;

export const Boot = Type.Object(
  {
    kernel: Type.Optional(BootFile),
    initrd: Type.Optional(BootFile),
    cmdline: Type.Optional(Cmdline),
    order: Type.Optional(
      Type.Array(BootDevice, {
        minItems: 1,
        maxItems: 2,
        uniqueItems: true,
        description:
          'Without a kernel: where the firmware looks, first to last; disc before disk by default.',
      }),
    ),
  },
  {
    additionalProperties: false,
    description:
      '`kernel` and `initrd` name images of these kinds by id or name. An operator’s key may also give an ' +
      'absolute path on the host that runs the VM. Without a kernel the VM starts from its firmware.',
  },
);

/** An image by id or name. */
const ImageReference = Type.String({ minLength: 1, maxLength: 63, pattern: PRINTABLE });

export const DiskBus = Type.Union([Type.Literal('virtio'), Type.Literal('ide')]);
export type DiskBus = Static<typeof DiskBus>;

/** The most disks a VM may have, and how many of them on IDE, where its CD-ROM drive has the fourth place. */
export const MAX_DISKS = 8;
export const MAX_IDE_DISKS = 3;

/** 2 TiB: what a partition table of the BIOS's days can name. */
const MAX_DISK_MIB = 2 * 1024 * 1024;

export const DiskSpec = Type.Object(
  {
    image: Type.Optional(ImageReference),
    mode: Type.Optional(
      Type.Union([Type.Literal('overlay'), Type.Literal('throw-away')], {
        description:
          'Of an image, which itself never changes: `overlay` keeps what the guest writes for as long as the VM ' +
          'is there, `throw-away` until it is stopped. `overlay` by default.',
      }),
    ),
    readonly: Type.Optional(
      Type.Boolean({ description: 'The guest cannot write to the image’s disk at all.' }),
    ),
    bus: Type.Optional(DiskBus),
    sizeMiB: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: MAX_DISK_MIB,
        description: 'Of an empty disk, without `image`; or to make a copy larger than its image.',
      }),
    ),
  },
  { title: 'DiskSpec', additionalProperties: false },
);
export type DiskSpec = Static<typeof DiskSpec>;

export const CdromSpec = Type.Object(
  {
    image: Type.Optional(Nullable(ImageReference)),
  },
  {
    title: 'CdromSpec',
    additionalProperties: false,
    description: 'A CD-ROM drive with an image of kind `iso` in it or, without one, empty.',
  },
);
export type CdromSpec = Static<typeof CdromSpec>;

export const ChangeCdrom = Type.Object(
  {
    image: Nullable(ImageReference),
    force: Type.Optional(Type.Boolean({ description: 'Even when the guest has locked the tray.' })),
  },
  {
    title: 'ChangeCdrom',
    additionalProperties: false,
    description: 'The disc to lie in the drive from now on, or null: none.',
  },
);
export type ChangeCdrom = Static<typeof ChangeCdrom>;

const later = (what: string) =>
  Type.Optional(
    Type.Array(Type.Unknown(), {
      maxItems: 64,
      description: `${what} are not supported yet: leave this empty.`,
    }),
  );

export const CreateVm = Type.Object(
  {
    name: Name,
    memoryMiB: Memory,
    vcpus: Type.Optional(Vcpus),
    engine: Type.Optional(Engine),
    cpu: Type.Optional(Cpu),
    image: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 63,
        pattern: PRINTABLE,
        description: 'Name or id of an image of kind `system`.',
      }),
    ),
    boot: Type.Optional(Boot),
    cdrom: Type.Optional(CdromSpec),
    disks: Type.Optional(Type.Array(DiskSpec, { maxItems: MAX_DISKS })),
    volumes: later('Volumes'),
    networks: later('Networks'),
    labels: Type.Optional(Labels),
    restartPolicy: Type.Optional(RestartPolicy),
    start: Type.Optional(Type.Boolean({ default: true })),
  },
  {
    title: 'CreateVm',
    additionalProperties: false,
    description:
      'One of `image` and `boot.kernel` says what to boot; without either, the firmware starts what is on `cdrom` ' +
      'or `disks`.',
  },
);
export type CreateVm = Static<typeof CreateVm>;

export const PatchVm = Type.Object(
  {
    name: Type.Optional(Name),
    labels: Type.Optional(Labels),
    restartPolicy: Type.Optional(RestartPolicy),
    memoryMiB: Type.Optional(Memory),
    vcpus: Type.Optional(Vcpus),
    engine: Type.Optional(Engine),
    cpu: Type.Optional(Cpu),
  },
  {
    title: 'PatchVm',
    additionalProperties: false,
    minProperties: 1,
    description:
      '`labels` replaces all labels. What is below `restartPolicy` changes only while the VM is stopped.',
  },
);
export type PatchVm = Static<typeof PatchVm>;

export const Vm = Type.Object(
  {
    id: Id('vm'),
    name: Type.String(),
    tenantId: Type.String(),
    state: VmState,
    desired: Type.String({ description: 'What was asked for: running, paused, stopped or deleted.' }),
    engine: Type.Object({ requested: Type.String(), actual: Nullable(Type.String()) }),
    cpu: Type.String(),
    memoryMiB: Type.Integer(),
    vcpus: Type.Integer(),
    image: Nullable(Type.String({ description: 'Its name.' })),
    imageId: Nullable(Type.String()),
    boot: Nullable(
      Type.Object({
        kernel: Nullable(Type.String()),
        initrd: Nullable(Type.String()),
        cmdline: Nullable(Type.String()),
        order: Type.Array(Type.String()),
      }),
    ),
    cdrom: Nullable(
      Type.Object({
        image: Nullable(Type.String({ description: 'The name of what lies in the drive.' })),
        imageId: Nullable(Type.String()),
      }),
    ),
    disks: Type.Array(
      Type.Object({
        id: Id('dsk'),
        image: Nullable(Type.String()),
        imageId: Nullable(Type.String()),
        mode: Type.String({ description: 'overlay, throw-away, readonly, or own: a disk without an image.' }),
        bus: DiskBus,
        sizeBytes: Type.Integer(),
      }),
    ),
    labels: Type.Record(Type.String(), Type.String()),
    restartPolicy: RestartPolicy,
    restartCount: Type.Integer(),
    host: Nullable(Type.String({ description: 'Its name.' })),
    hostId: Nullable(Type.String()),
    generation: Type.Integer({ description: 'Grows with each change of what was asked for.' }),
    createdAt: Timestamp,
    updatedAt: Timestamp,
    startedAt: Nullable(Timestamp),
    lastError: Nullable(StoredError),
  },
  { title: 'Vm' },
);
export type Vm = Static<typeof Vm>;

/** 202: the VM as it is now, and the operation that changes it. */
export const VmAndOperation = Type.Object({ vm: Vm, operation: Operation });
export type VmAndOperation = Static<typeof VmAndOperation>;

export const ListVmsQuery = Type.Object(
  {
    ...pageQuery,
    state: Type.Optional(VmState),
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 63, pattern: PRINTABLE })),
  },
  { additionalProperties: false },
);
export type ListVmsQuery = Static<typeof ListVmsQuery>;

export const DeleteVmQuery = Type.Object(
  {
    force: Type.Optional(
      Type.Union(
        [Type.Literal('true'), Type.Literal('false'), Type.Literal('1'), Type.Literal('0'), Type.Literal('')],
        {
          description:
            'Pulls the plug of a VM that is not stopped, and does not wait for a host that is away.',
        },
      ),
    ),
  },
  { additionalProperties: false },
);

export const WaitVmQuery = Type.Object(
  { state: VmState, timeout: WaitTimeout },
  { additionalProperties: false },
);

export const CreateTicket = Type.Object(
  {
    for: Type.Union([Type.Literal('serial'), Type.Literal('display')]),
    viewOnly: Type.Optional(
      Type.Boolean({ description: 'Of a `display`: it shows the screen and takes no input.' }),
    ),
  },
  { title: 'CreateTicket', additionalProperties: false },
);

export const Ticket = Type.Object(
  { ticket: Type.String(), for: Type.String(), expiresAt: Timestamp },
  { title: 'Ticket', description: 'Opens one WebSocket, as `?ticket=`, within 60 seconds.' },
);

export const VmMetricsAnswer = Type.Object(
  { vmId: Type.String(), state: VmState, ...VmMetrics.properties },
  { title: 'VmMetricsAnswer', description: 'Zeros while the VM has no process.' },
);
