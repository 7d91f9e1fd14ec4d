import Type, { type Static } from 'typebox';
import { Id, Name, Nullable, PRINTABLE, pageQuery, Timestamp } from './common.ts';
import { Cmdline } from './vms.ts';

const FILE_KINDS = [
  Type.Literal('kernel'),
  Type.Literal('initrd'),
  Type.Literal('iso'),
  Type.Literal('disk'),
] as const;

/** What a file that is uploaded can be. */
export const FileKind = Type.Union([...FILE_KINDS], {
  description: '`iso` is a disc for CD-ROM drives, `disk` what disks of VMs are made of.',
});
export type FileKind = Static<typeof FileKind>;

export const ImageKind = Type.Union([Type.Literal('system'), ...FILE_KINDS], {
  description:
    '`system` is a kernel with its initrd and command line, which VMs name as `image`; `iso` is for their `cdrom`, `disk` for their `disks`.',
});

export type ImageKind = Static<typeof ImageKind>;

export const DiskFormat = Type.Union([Type.Literal('raw'), Type.Literal('qcow2')], {
  description: 'Of a `disk`. When it is not given, a file that begins as qcow2 does is one.',
});
export type DiskFormat = Static<typeof DiskFormat>;

export const ImageState = Type.Union(
  [Type.Literal('checking'), Type.Literal('ready'), Type.Literal('unusable')],
  { description: 'A worker looks into discs and disks before VMs may use them; `problem` is what it found.' },
);
export type ImageState = Static<typeof ImageState>;

export const ImageName = Type.String({
  minLength: 1,
  maxLength: 63,
  pattern: '^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$',
  description: 'Lower-case letters, digits, dots, dashes and underscores.',
});

export const Sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' });

const HostPath = Type.String({ pattern: '^/[^\\p{Cc}\\p{Cs}]*$', maxLength: 1024 });

/** What POST /v1/images makes out of what is there already. */
export const CreateImage = Type.Union(
  [
    Type.Object(
      {
        name: ImageName,
        kind: Type.Literal('system'),
        kernel: Type.String({ minLength: 1, maxLength: 63, pattern: PRINTABLE }),
        initrd: Type.Optional(Type.String({ minLength: 1, maxLength: 63, pattern: PRINTABLE })),
        cmdline: Type.Optional(Cmdline),
      },
      {
        title: 'ComposeImage',
        additionalProperties: false,
        description:
          'A bootable image out of a `kernel` and an `initrd` image, by id or name. The files are shared, not copied.',
      },
    ),
    Type.Object(
      {
        name: ImageName,
        kind: FileKind,
        format: Type.Optional(DiskFormat),
        path: HostPath,
        sha256: Type.Optional(Sha256),
      },
      {
        title: 'ImportImage',
        additionalProperties: false,
        description: 'Operator only: a copy of a file on the machine that runs the API.',
      },
    ),
  ],
  { title: 'CreateImage' },
);
export type CreateImage = Static<typeof CreateImage>;

/** The query of an upload, whose body is the file itself as application/octet-stream. */
export const UploadQuery = Type.Object(
  {
    name: Type.Optional(ImageName),
    kind: Type.Optional(FileKind),
    format: Type.Optional(DiskFormat),
    sha256: Type.Optional(Sha256),
  },
  { additionalProperties: false },
);
export type UploadQuery = Static<typeof UploadQuery>;

export const Image = Type.Object(
  {
    id: Id('img'),
    name: Type.String(),
    kind: ImageKind,
    builtin: Type.Boolean(),
    shared: Type.Boolean({ description: 'Everybody may use it; only an operator may delete it.' }),
    tenantId: Nullable(Type.String()),
    cmdline: Nullable(Type.String()),
    format: Nullable(DiskFormat),
    sizeBytes: Type.Integer({ description: 'Of its files.' }),
    diskBytes: Nullable(Type.Integer({ description: 'Of a `disk`: what a guest sees, once that is known.' })),
    sha256: Type.String({ ...Sha256, description: 'Of its files, one after the other.' }),
    state: ImageState,
    problem: Nullable(Type.String({ description: 'Why it is `unusable`.' })),
    users: Type.Integer({ description: 'How many virtual machines of yours have it.' }),
    usedBy: Type.Array(
      Type.Object({
        id: Type.String(),
        name: Type.String(),
        disks: Type.Integer({ description: 'How many of its disks are made of it.' }),
      }),
      { description: 'The first ten of them.' },
    ),
    packages: Nullable(Type.Unknown({ description: 'What it was made of, for a built-in image.' })),
    createdAt: Timestamp,
  },
  { title: 'Image' },
);
export type Image = Static<typeof Image>;

export const ListImagesQuery = Type.Object(
  { ...pageQuery, kind: Type.Optional(ImageKind), name: Type.Optional(Name) },
  { additionalProperties: false },
);
export type ListImagesQuery = Static<typeof ListImagesQuery>;
