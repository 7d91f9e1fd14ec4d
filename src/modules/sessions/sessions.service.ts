import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Session as SessionView } from '../../contracts/sessions.ts';
import type { ApiKey, Database, Session } from '../../infra/prisma.ts';
import { hashSecret } from '../../lib/api-keys.ts';
import { Problem } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { AccessWatch } from '../access/access-watch.ts';
import { isReadOnly, isUsable, type Principal, principalOfKey } from '../access/principal.ts';

/** How long a session lasts after its last use. Milliseconds. */
const SESSION_MS = 12 * 3_600_000;
/** How much of that is used up before the database is told of a use. Milliseconds. */
const RENEW_AFTER_MS = 5 * 60_000;
/** How many sessions a key may have; a further one ends the oldest. */
const MOST_OF_A_KEY = 100;

export interface SessionsService {
  /** Signs in with a key that was found good. The token goes into the cookie and is kept nowhere. */
  begin(keyId: string): Promise<{ token: string; session: SessionView }>;
  /** Who a session's token stands for; a use makes it last longer. @throws {Problem} unauthenticated */
  byToken(token: string): Promise<Principal>;
  /** The session as its page sees it. @throws {Problem} unauthenticated */
  view(token: string): Promise<SessionView>;
  /** Signs out, and closes the WebSockets of the session. A session that is over already is no error. */
  end(token: string): Promise<void>;
}

/** Browsers that are signed in. They live in PostgreSQL, so any API process knows them and they outlast a restart. */
export function createSessionsService(deps: {
  readonly db: Database;
  readonly watch: Pick<AccessWatch, 'look'>;
}): SessionsService {
  const { db, watch } = deps;

  const find = async (token: string): Promise<Session & { key: ApiKey }> => {
    const row = isToken(token)
      ? await db.session.findUnique({ where: { tokenHash: hashSecret(token) }, include: { key: true } })
      : null;
    const now = new Date();
    if (row === null || row.expiresAt <= now || !isUsable(row.key, now)) throw over();
    if (row.expiresAt.getTime() - now.getTime() > SESSION_MS - RENEW_AFTER_MS) return row;
    const expiresAt = new Date(now.getTime() + SESSION_MS);
    // Ended meanwhile, it stays ended.
    await db.session.updateMany({ where: { id: row.id }, data: { expiresAt } });
    return { ...row, expiresAt };
  };

  const viewOf = async (token: string, key: ApiKey, expiresAt: Date): Promise<SessionView> => {
    const principal = principalOfKey(key);
    const tenant = key.tenantId === null ? null : await db.tenant.findUnique({ where: { id: key.tenantId } });
    return {
      principal: {
        role: principal.kind,
        tenantId: principal.tenantId,
        tenantName: tenant?.name ?? null,
        keyId: key.id,
        keyName: key.name,
        scopes: [...principal.scopes],
        readOnly: isReadOnly(principal),
      },
      csrfToken: csrfTokenOf(token),
      expiresAt: expiresAt.toISOString(),
    };
  };

  return {
    async begin(keyId) {
      const token = `tks_${randomBytes(32).toString('base64url')}`;
      const expiresAt = new Date(Date.now() + SESSION_MS);
      const row = await db.session.create({
        data: { id: newId('ses'), keyId, tokenHash: hashSecret(token), expiresAt },
        include: { key: true },
      });
      const old = await db.session.findMany({
        where: { keyId },
        orderBy: { id: 'desc' },
        skip: MOST_OF_A_KEY,
        select: { id: true },
      });
      if (old.length > 0) await db.session.deleteMany({ where: { id: { in: old.map(({ id }) => id) } } });
      return { token, session: await viewOf(token, row.key, expiresAt) };
    },

    async byToken(token) {
      const { id, key } = await find(token);
      return { ...principalOfKey(key), sessionId: id };
    },

    async view(token) {
      const { key, expiresAt } = await find(token);
      return viewOf(token, key, expiresAt);
    },

    async end(token) {
      if (!isToken(token)) return;
      await db.session.deleteMany({ where: { tokenHash: hashSecret(token) } });
      await watch.look();
    },
  };
}

const isToken = (text: string): boolean => /^tks_[\w-]{43}$/.test(text);

function over(): Problem {
  return new Problem('unauthenticated', 'the session is over', {
    hint: 'sign in again with an API key',
    headers: { 'www-authenticate': 'Bearer' },
  });
}

/** A session's own token against cross-site requests: made of the session's, so nothing more needs to be stored. */
function csrfTokenOf(token: string): string {
  return createHmac('sha256', token).update('teremok csrf').digest('base64url');
}

/** Whether a request's header holds the session's token against cross-site requests. */
export function csrfMatches(token: string, given: unknown): boolean {
  if (typeof given !== 'string') return false;
  const [a, b] = [Buffer.from(csrfTokenOf(token)), Buffer.from(given)];
  return a.length === b.length && timingSafeEqual(a, b);
}
