import { Readable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import Type from 'typebox';
import { IdParams, NoQuery, Page } from '../../contracts/common.ts';
import { Image } from '../../contracts/images.ts';
import { AppendHeaders, CreateUpload, ListUploadsQuery, Upload } from '../../contracts/uploads.ts';
import { Problem } from '../../lib/errors.ts';
import { type App, problems, scopeOf, sealOf } from '../http.ts';
import type { UploadsService } from './uploads.service.ts';

const params = IdParams('upl');
const tags = ['images'];
const BODY_TYPES = ['application/offset+octet-stream', 'application/octet-stream'];

/** Register it in a scope of its own: only these routes take a part of a file as their body. */
export function uploadRoutes(app: App, uploads: UploadsService): void {
  app.post(
    '/uploads',
    {
      schema: {
        tags,
        summary: 'Begins an upload that can go on where it broke off',
        description:
          'Its size counts against the quota from now on. Send the file in one or many parts with PATCH; an upload ' +
          'that lies still for a day is given up.',
        body: CreateUpload,
        response: { 201: Upload, ...problems(400, 401, 403, 409, 413, 422, 429, 507) },
      },
    },
    async (request, reply) => {
      const upload = await uploads.create(scopeOf(request), request.body, sealOf(request));
      return reply.code(201).header('location', `/v1/uploads/${upload.id}`).send(upload);
    },
  );

  app.get(
    '/uploads',
    {
      schema: {
        tags,
        summary: 'Uploads: under way, and lately completed',
        querystring: ListUploadsQuery,
        response: { 200: Page(Upload), ...problems(400, 401) },
      },
    },
    async (request) => uploads.list(scopeOf(request), request.query),
  );

  app.get(
    '/uploads/:id',
    {
      schema: {
        tags,
        summary: 'How far an upload is',
        description: 'With HEAD, in the headers Upload-Offset and Upload-Length alone.',
        params,
        response: { 200: Upload, ...problems(401, 404) },
      },
    },
    async (request, reply) => {
      const upload = await uploads.get(scopeOf(request), request.params.id);
      return progress(reply, upload).send(upload);
    },
  );

  app.delete(
    '/uploads/:id',
    {
      schema: {
        tags,
        summary: 'Gives an upload up; an image that it has become stays',
        params,
        response: { 204: Type.Null({ description: 'It is gone.' }), ...problems(401, 403, 404) },
      },
    },
    async (request, reply) => {
      await uploads.remove(scopeOf(request), request.params.id);
      return reply.code(204).send(null);
    },
  );

  void app.register(async (scope) => appendRoute(scope as App, uploads));
}

function appendRoute(app: App, uploads: UploadsService): void {
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser(BODY_TYPES, (_request, payload, done) => done(null, payload));
  app.patch(
    '/uploads/:id',
    {
      schema: {
        tags,
        summary: 'Appends to an upload; the byte that completes it makes the image',
        description:
          'What has arrived when the connection breaks off is kept. With all of the file there, an empty body tries ' +
          'again what was refused at the end, such as a name that was taken.',
        params,
        querystring: NoQuery,
        headers: AppendHeaders,
        body: {
          content: {
            'application/offset+octet-stream': {
              schema: Type.Unknown({
                description: 'Bytes from Upload-Offset on.',
                contentEncoding: 'binary',
              }),
            },
            'application/octet-stream': { schema: Type.Unknown({ contentEncoding: 'binary' }) },
          },
        },
        response: {
          200: Type.Object({ upload: Upload, image: Type.Union([Image, Type.Null()]) }),
          ...problems(400, 401, 403, 404, 409, 413, 415, 422, 507),
        },
      },
    },
    async (request, reply) => {
      if (!(request.body instanceof Readable)) {
        throw new Problem('unsupported_media_type', 'the body is not a part of a file', {
          hint: `send it as ${BODY_TYPES.join(' or ')}`,
        });
      }
      const { 'upload-offset': offset, 'upload-checksum': checksum } = request.headers;
      const sha256 = checksum === undefined ? {} : { sha256: Buffer.from(checksum.slice(7), 'base64') };
      const part = { offset, source: request.body, ...sha256 };
      const answer = await uploads.append(scopeOf(request), request.params.id, part);
      return progress(reply, answer.upload).send(answer);
    },
  );
}

function progress(reply: FastifyReply, upload: Upload): FastifyReply {
  return reply.headers({
    'upload-offset': String(upload.offset),
    'upload-length': String(upload.sizeBytes),
  });
}
