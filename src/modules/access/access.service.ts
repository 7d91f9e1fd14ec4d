import type { Database } from '../../infra/prisma.ts';
import { parseApiKey, secretMatches } from '../../lib/api-keys.ts';
import { notFound, Problem } from '../../lib/errors.ts';
import { isUsable, type Principal, principalOfKey, type TenantScope } from './principal.ts';

export interface AccessService {
  /** The owner of a key `tk_…`. @throws {Problem} unauthenticated */
  byKey(token: string): Promise<Principal>;
  /** The tenant, by id or name, that an operator's request is about. @throws {Problem} not_found */
  scopeFor(principal: Principal, tenant: string | undefined): Promise<TenantScope>;
  /** The tenant to create something for: the scope's or, for an operator who names none, `default`. */
  tenantToCreateFor(scope: TenantScope): Promise<string>;
}

/** Compared against when there is no such key, so that an unknown id takes as long as a wrong secret. */
const NOBODY = new Uint8Array(32);

export function createAccessService(deps: { readonly db: Database }): AccessService {
  const { db } = deps;
  return {
    async byKey(token) {
      const parsed = parseApiKey(token);
      const row = parsed === null ? null : await db.apiKey.findUnique({ where: { id: parsed.id } });
      const matches = secretMatches(parsed?.secret ?? '', row?.secretHash ?? NOBODY);
      if (row === null || !matches || !isUsable(row)) {
        throw new Problem('unauthenticated', 'the API key is not valid', {
          hint: 'it may be mistyped, revoked or expired; the operator can make a new one',
          headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
        });
      }
      return principalOfKey(row);
    },

    async scopeFor(principal, tenant) {
      if (principal.kind === 'tenant') {
        if (tenant !== undefined && tenant !== principal.tenantId) {
          throw new Problem('forbidden', 'a tenant’s key is for that tenant alone', {
            hint: 'leave out Teremok-Tenant',
          });
        }
        return { tenantId: principal.tenantId, operator: false };
      }
      if (tenant === undefined) return { tenantId: null, operator: true };
      const row = await db.tenant.findFirst({ where: { OR: [{ id: tenant }, { name: tenant }] } });
      if (row === null) throw notFound('tenant', tenant);
      return { tenantId: row.id, operator: true };
    },

    async tenantToCreateFor(scope) {
      if (scope.tenantId !== null) return scope.tenantId;
      const row = await db.tenant.findUnique({ where: { name: 'default' } });
      if (row !== null) return row.id;
      throw new Problem('invalid_request', 'it is not clear whose this shall be', {
        hint: 'name the tenant in the header Teremok-Tenant, by id or name',
      });
    },
  };
}
