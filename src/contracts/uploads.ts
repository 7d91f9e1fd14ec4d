import Type, { type Static } from 'typebox';
import { Id, Nullable, pageQuery, Timestamp } from './common.ts';
import { DiskFormat, FileKind, ImageName, Sha256 } from './images.ts';

/**
 * Uploads that go on where they broke off, in the manner of the tus protocol:
 * `POST /v1/uploads` announces a file, `PATCH` with `Upload-Offset` appends to
 * it, `HEAD` or `GET` tells how much of it is on the disk. The PATCH that
 * completes it answers with the image. `Upload-Checksum` has a part checked as it arrives.
 */

/** The largest file that can be announced, in bytes: 16 TiB. */
const MAX_FILE_BYTES = 2 ** 44;

/** How long an upload may lie still before it is given up. Milliseconds. */
export const UPLOAD_EXPIRY_MS = 24 * 3_600_000;

export const CreateUpload = Type.Object(
  {
    name: ImageName,
    kind: FileKind,
    format: Type.Optional(DiskFormat),
    sizeBytes: Type.Integer({ minimum: 1, maximum: MAX_FILE_BYTES, description: 'Of the whole file.' }),
    sha256: Type.Optional(Sha256),
  },
  { title: 'CreateUpload', additionalProperties: false },
);
export type CreateUpload = Static<typeof CreateUpload>;

export const Upload = Type.Object(
  {
    id: Id('upl'),
    name: Type.String(),
    kind: FileKind,
    format: Nullable(DiskFormat),
    sizeBytes: Type.Integer({
      description: 'Of the whole file; of a one-shot body of unknown length, what is set aside for it.',
    }),
    offset: Type.Integer({ description: 'Bytes that are on the disk: where the next PATCH goes on.' }),
    sha256: Nullable(Sha256),
    resumable: Type.Boolean({ description: 'False for the body of a single POST /v1/images.' }),
    imageId: Nullable(Type.String({ description: 'The image that it has become.' })),
    createdAt: Timestamp,
    expiresAt: Timestamp,
  },
  { title: 'Upload' },
);
export type Upload = Static<typeof Upload>;

export const ListUploadsQuery = Type.Object(pageQuery, { additionalProperties: false });

/** Headers of a PATCH. HTTP carries others beside it. */
export const AppendHeaders = Type.Object({
  'upload-offset': Type.Integer({
    minimum: 0,
    maximum: MAX_FILE_BYTES,
    description: 'Where the body begins in the file; what GET said as `offset`.',
  }),
  'upload-checksum': Type.Optional(
    Type.String({
      pattern: '^sha256 [A-Za-z0-9+/]{43}=$',
      description:
        'Of the body, as tus has it: `sha256` and the digest in base64. The body then counts as a whole or not at ' +
        'all: one that arrives damaged, or breaks off, leaves the upload as it was.',
    }),
  ),
});
