import Type from 'typebox';
import { IdParams, Page, pageQuery, WaitTimeout } from '../../contracts/common.ts';
import { Operation } from '../../contracts/operations.ts';
import { type App, decodeCursor, problems, scopeOf } from '../http.ts';
import type { Waiting } from '../waiting.ts';
import type { OperationsService } from './operations.service.ts';

const params = IdParams('op');
const tags = ['operations'];

export function operationRoutes(app: App, service: OperationsService, waiting: Waiting): void {
  app.get(
    '/operations',
    {
      schema: {
        tags,
        summary: 'Operations, oldest first',
        querystring: Type.Object(
          { ...pageQuery, vmId: Type.Optional(Type.String({ maxLength: 80, pattern: '^[\\w-]+$' })) },
          { additionalProperties: false },
        ),
        response: { 200: Page(Operation), ...problems(400, 401) },
      },
    },
    async (request) => {
      const { limit = 50, cursor, vmId } = request.query;
      return service.list(scopeOf(request), {
        limit,
        after: cursor === undefined ? null : decodeCursor(cursor),
        vmId: vmId ?? null,
      });
    },
  );

  app.get(
    '/operations/:id',
    {
      schema: { tags, summary: 'One operation', params, response: { 200: Operation, ...problems(401, 404) } },
    },
    async (request) => service.get(scopeOf(request), request.params.id),
  );

  app.get(
    '/operations/:id/wait',
    {
      schema: {
        tags,
        summary: 'Waits until the operation has ended, well or not',
        description: 'Answers 401 within two seconds when the key or session that asked ends meanwhile.',
        params,
        querystring: Type.Object({ timeout: WaitTimeout }, { additionalProperties: false }),
        response: { 200: Operation, ...problems(400, 401, 404, 408) },
      },
    },
    async (request, reply) => {
      const timeoutMs = (request.query.timeout ?? 60) * 1000;
      return waiting.run(request, reply, (ended) =>
        service.wait(scopeOf(request), request.params.id, timeoutMs, ended),
      );
    },
  );
}
