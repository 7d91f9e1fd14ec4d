import type { Scope } from '../../contracts/tenants.ts';
import type { ApiKey } from '../../infra/prisma.ts';
import { Problem } from '../../lib/errors.ts';

/** Who makes a request. */
export interface Principal {
  readonly kind: 'operator' | 'tenant';
  readonly keyId: string;
  /** Of a browser that is signed in with the key, and of tickets made there. */
  readonly sessionId?: string;
  /** The tenant of a tenant's key; null for an operator. */
  readonly tenantId: string | null;
  readonly scopes: readonly Scope[];
  /** What names this caller in rate limits and idempotency records. */
  readonly owner: string;
  /** Of a ticket for a screen: it may be looked at, no more. */
  readonly viewOnly?: boolean;
}

const isScope = (text: string): text is Scope => text === 'read' || text === 'write';

/** Who works with a key. */
export function principalOfKey(row: ApiKey): Principal {
  return {
    kind: row.role === 'operator' ? 'operator' : 'tenant',
    keyId: row.id,
    tenantId: row.tenantId,
    scopes: row.scopes.filter(isScope),
    owner: row.tenantId ?? 'operator',
  };
}

/** Whether a key may be used now. */
export function isUsable(row: ApiKey, now = new Date()): boolean {
  return row.revokedAt === null && (row.expiresAt === null || row.expiresAt > now);
}

/** Whether a caller may look, and change nothing. */
export function isReadOnly(principal: Principal): boolean {
  return !principal.scopes.includes('write');
}

/** Whose objects a request sees: one tenant's or, for an operator who names none, everybody's. */
export interface TenantScope {
  readonly tenantId: string | null;
  readonly operator: boolean;
}

/** The `where` of a scope's rows. */
export function ownedBy(scope: TenantScope): { tenantId?: string } {
  return scope.tenantId === null ? {} : { tenantId: scope.tenantId };
}

/** @throws {Problem} forbidden, when the key lacks the scope. */
export function requireScope(principal: Principal, scope: Scope): void {
  if (principal.scopes.includes(scope)) return;
  throw new Problem('forbidden', `this key has no scope \`${scope}\``, {
    hint: 'ask the operator for a key with that scope',
  });
}

/** @throws {Problem} forbidden, for a tenant's key. */
export function requireOperator(principal: Principal): void {
  if (principal.kind === 'operator') return;
  throw new Problem('forbidden', 'only an operator’s key may do that', {
    hint: 'on the machine of the service it is in $TEREMOK_HOME/operator.key',
  });
}
