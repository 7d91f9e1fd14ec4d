import Type, { type Static } from 'typebox';
import { Id, Name, Nullable, PRINTABLE, pageQuery, Timestamp } from './common.ts';
import { Cmdline } from './vms.ts';

export const ImageKind = Type.Union(
  [Type.Literal('system'), Type.Literal('kernel'), Type.Literal('initrd')],
  {
    description: '`system` is a kernel with its initrd and command line; VMs name it as `image`.',
  },
);

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
        kind: Type.Union([Type.Literal('kernel'), Type.Literal('initrd')]),
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
    kind: Type.Optional(Type.Union([Type.Literal('kernel'), Type.Literal('initrd')])),
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
    sizeBytes: Type.Integer(),
    sha256: Sha256,
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
