import { Readable } from 'node:stream';
import Type from 'typebox';
import { IdParams, Page } from '../../contracts/common.ts';
import { CreateImage, Image, ListImagesQuery, UploadQuery } from '../../contracts/images.ts';
import { Problem } from '../../lib/errors.ts';
import { type App, problems, scopeOf, sealOf } from '../http.ts';
import type { ImagesService } from './images.service.ts';

const params = IdParams('img');
const tags = ['images'];

/** Register it in a scope of its own: only these routes take a file as their body. */
export function imageRoutes(app: App, images: ImagesService): void {
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));

  app.get(
    '/images',
    {
      schema: {
        tags,
        summary: 'Images, your own and everybody’s',
        querystring: ListImagesQuery,
        response: { 200: Page(Image), ...problems(400, 401) },
      },
    },
    async (request) => images.list(scopeOf(request), request.query),
  );

  app.get(
    '/images/:id',
    { schema: { tags, summary: 'One image', params, response: { 200: Image, ...problems(401, 404) } } },
    async (request) => images.get(scopeOf(request), request.params.id),
  );

  app.post(
    '/images',
    {
      schema: {
        tags,
        summary: 'Uploads a file in one go, or makes a bootable image of what was uploaded',
        description:
          'As application/octet-stream the body is the file, and the query names it; `sha256` has it checked. As ' +
          'application/json the body composes a `system` image or, with an operator’s key, imports a file of the host. ' +
          'An operator’s images are everybody’s unless the header Teremok-Tenant names a tenant.',
        querystring: UploadQuery,
        body: {
          content: {
            'application/json': { schema: CreateImage },
            'application/octet-stream': {
              schema: Type.Unknown({ description: 'The file itself.', contentEncoding: 'binary' }),
            },
          },
        },
        response: { 201: Image, ...problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 507) },
      },
    },
    async (request, reply) => {
      const image =
        request.body instanceof Readable
          ? await images.upload(
              scopeOf(request),
              request.query,
              bodyOf(request, request.body),
              sealOf(request),
            )
          : await images.create(scopeOf(request), jsonBody(request), sealOf(request));
      return reply.code(201).header('location', `/v1/images/${image.id}`).send(image);
    },
  );

  app.delete(
    '/images/:id',
    {
      schema: {
        tags,
        summary: 'Deletes an image that no VM uses',
        params,
        response: { 204: Type.Null({ description: 'It is gone.' }), ...problems(401, 403, 404, 409) },
      },
    },
    async (request, reply) => {
      await images.remove(scopeOf(request), request.params.id);
      return reply.code(204).send(null);
    },
  );
}

/** The file in a request's body; its length is known unless it comes in chunks (RFC 9112 §6.3). */
function bodyOf(
  { headers }: { readonly headers: { readonly 'content-length'?: string | undefined } },
  source: Readable,
): { source: Readable; sizeBytes?: number } {
  const length = headers['content-length'];
  return length === undefined ? { source } : { source, sizeBytes: Number(length) };
}

/** The body that the route's schema for application/json has let through; its query belongs to uploads. */
function jsonBody(request: { readonly body: unknown; readonly query: object }): CreateImage {
  if (Object.keys(request.query).length > 0) {
    throw new Problem('invalid_request', 'the query is for uploads; a JSON body says everything itself', {
      hint: 'send the file as application/octet-stream, or move the fields into the body',
    });
  }
  return request.body as CreateImage;
}
