import Type from 'typebox';
import { IdParams, Page, PageQuery } from '../../contracts/common.ts';
import {
  CreateKey,
  CreateTenant,
  Key,
  KeyParams,
  NewKey,
  PatchTenant,
  Tenant,
} from '../../contracts/tenants.ts';
import { Problem } from '../../lib/errors.ts';
import { type App, problems, scopeOf, sealOf } from '../http.ts';
import { keyPath, type TenantsService } from './tenants.service.ts';

const params = IdParams('ten');
const tags = ['tenants'];
const config = { access: 'operator' } as const;
const gone = Type.Null({ description: 'It is gone.' });

export function tenantRoutes(app: App, tenants: TenantsService): void {
  app.get(
    '/tenants',
    {
      config,
      schema: {
        tags,
        summary: 'Tenants, oldest first',
        querystring: PageQuery,
        response: { 200: Page(Tenant), ...problems(400, 401, 403) },
      },
    },
    async (request) => tenants.list(request.query),
  );

  app.post(
    '/tenants',
    {
      config,
      schema: {
        tags,
        summary: 'Makes a tenant',
        body: CreateTenant,
        response: { 201: Tenant, ...problems(400, 401, 403, 409, 422) },
      },
    },
    async (request, reply) => {
      const tenant = await tenants.create(request.body, sealOf(request));
      return reply.code(201).header('location', `/v1/tenants/${tenant.id}`).send(tenant);
    },
  );

  app.get(
    '/tenants/:id',
    {
      config,
      schema: { tags, summary: 'One tenant', params, response: { 200: Tenant, ...problems(401, 403, 404) } },
    },
    async (request) => tenants.get(request.params.id),
  );

  app.patch(
    '/tenants/:id',
    {
      config,
      schema: {
        tags,
        summary: 'Renames a tenant or changes its quotas',
        params,
        body: PatchTenant,
        response: { 200: Tenant, ...problems(400, 401, 403, 404, 409) },
      },
    },
    async (request) => tenants.patch(request.params.id, request.body),
  );

  app.delete(
    '/tenants/:id',
    {
      config,
      schema: {
        tags,
        summary: 'Deletes a tenant without VMs, with its keys and images',
        params,
        response: { 204: gone, ...problems(401, 403, 404, 409) },
      },
    },
    async (request, reply) => {
      await tenants.remove(request.params.id);
      return reply.code(204).send(null);
    },
  );

  app.get(
    '/tenants/:id/keys',
    {
      config,
      schema: {
        tags,
        summary: 'A tenant’s keys, without their secrets',
        params,
        querystring: PageQuery,
        response: { 200: Page(Key), ...problems(400, 401, 403, 404) },
      },
    },
    async (request) => tenants.listKeys(request.params.id, request.query),
  );

  app.post(
    '/tenants/:id/keys',
    {
      config: { ...config, secretAnswer: true },
      schema: {
        tags,
        summary: 'Makes a key; the answer shows it this once',
        params,
        body: CreateKey,
        response: { 201: NewKey, ...problems(400, 401, 403, 404, 422) },
      },
    },
    async (request, reply) => {
      const key = await tenants.createKey(request.params.id, request.body, sealOf(request));
      return reply.code(201).header('location', keyPath(request.params.id, key.id)).send(key);
    },
  );

  app.delete(
    '/tenants/:id/keys/:keyId',
    {
      config,
      schema: {
        tags,
        summary: 'Revokes a key, from its next request on',
        params: KeyParams,
        response: { 204: gone, ...problems(401, 403, 404) },
      },
    },
    async (request, reply) => {
      await tenants.revokeKey(request.params.id, request.params.keyId);
      return reply.code(204).send(null);
    },
  );
}

/** What a tenant may know of itself. */
export function usageRoute(app: App, tenants: TenantsService): void {
  app.get(
    '/usage',
    {
      schema: {
        tags: ['tenants'],
        summary: 'The tenant that the request is about: its quotas, and what counts against them',
        response: { 200: Tenant, ...problems(400, 401, 403) },
      },
    },
    async (request) => {
      const { tenantId } = scopeOf(request);
      if (tenantId !== null) return tenants.get(tenantId);
      throw new Problem('invalid_request', 'it is not clear whose usage this is about', {
        hint: 'name the tenant in the header Teremok-Tenant, by id or name; GET /v1/tenants tells of all',
      });
    },
  );
}

/** Operators' own keys: so that one that was lost or seen by others can be replaced. */
export function operatorKeyRoutes(app: App, tenants: TenantsService): void {
  app.get(
    '/keys',
    {
      config,
      schema: {
        tags,
        summary: 'Operators’ keys, without their secrets',
        querystring: PageQuery,
        response: { 200: Page(Key), ...problems(400, 401, 403) },
      },
    },
    async (request) => tenants.listKeys(null, request.query),
  );

  app.post(
    '/keys',
    {
      config: { ...config, secretAnswer: true },
      schema: {
        tags,
        summary: 'Makes an operator’s key; the answer shows it this once',
        body: CreateKey,
        response: { 201: NewKey, ...problems(400, 401, 403, 422) },
      },
    },
    async (request, reply) => {
      const key = await tenants.createKey(null, request.body, sealOf(request));
      return reply.code(201).header('location', keyPath(null, key.id)).send(key);
    },
  );

  app.delete(
    '/keys/:id',
    {
      config,
      schema: {
        tags,
        summary: 'Revokes an operator’s key, from its next request on',
        params: IdParams('key'),
        response: { 204: gone, ...problems(401, 403, 404) },
      },
    },
    async (request, reply) => {
      await tenants.revokeKey(null, request.params.id);
      return reply.code(204).send(null);
    },
  );
}
