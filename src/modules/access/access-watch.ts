import type { Database } from '../../infra/prisma.ts';
import type { Principal } from './principal.ts';

/** How long a WebSocket may outlive its key or session when another process has ended it, or time has. Milliseconds. */
const LOOK_MS = 2_000;

/** What came in once and stays: it may do so no longer than its key, and its browser's session, are valid. */
export interface AccessWatch {
  /**
   * Calls back, once, when the key or session by which somebody came is revoked, has expired or was signed out.
   * @returns ends the watch
   */
  watch(principal: Principal, onLost: (why: string) => void): () => void;
  /** Looks at once: one was ended by this process. Never rejects. */
  look(): Promise<void>;
  /** Whether what somebody comes by is valid: of a ticket, the key and session that it was made with. */
  isValid(principal: Pick<Principal, 'keyId' | 'sessionId'>): Promise<boolean>;
  close(): void;
}

interface Visitor {
  readonly principal: Principal;
  readonly onLost: (why: string) => void;
}

/** Asks the database about all of them at once, every two seconds while there are any. */
export function createAccessWatch(deps: { readonly db: Database }): AccessWatch {
  const { db } = deps;
  const visitors = new Set<Visitor>();
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;
  let again = false;

  /** Why each of these is not valid any more; undefined for those that are. */
  const reasons = async (principals: readonly Pick<Principal, 'keyId' | 'sessionId'>[]) => {
    const now = new Date();
    const keyIds = new Set(principals.map(({ keyId }) => keyId));
    const sessionIds = new Set(principals.flatMap(({ sessionId }) => sessionId ?? []));
    const keys = await db.apiKey.findMany({
      where: {
        id: { in: [...keyIds] },
        revokedAt: null,
        OR: [{ expiresAt: null }, { expiresAt: { gt: now } }],
      },
      select: { id: true },
    });
    const sessions =
      sessionIds.size === 0
        ? []
        : await db.session.findMany({
            where: { id: { in: [...sessionIds] }, expiresAt: { gt: now } },
            select: { id: true },
          });
    const valid = new Set([...keys, ...sessions].map(({ id }) => id));
    return principals.map(({ keyId, sessionId }) => {
      if (!valid.has(keyId)) return 'the key was revoked or has expired';
      return sessionId === undefined || valid.has(sessionId) ? undefined : 'the session is over';
    });
  };

  const lookOnce = async (): Promise<void> => {
    const seen = [...visitors];
    if (seen.length === 0) return;
    const lost = await reasons(seen.map(({ principal }) => principal));
    for (const [n, visitor] of seen.entries()) {
      const why = lost[n];
      if (why !== undefined && visitors.delete(visitor)) visitor.onLost(why);
    }
  };

  const look = (): Promise<void> => {
    // One look under way may have asked too early.
    again = true;
    looking ??= (async () => {
      while (again) {
        again = false;
        // The database is away: nobody can be let in either, and the next look comes.
        await lookOnce().catch(() => {});
      }
    })().finally(() => {
      looking = undefined;
    });
    return looking;
  };

  const arrange = (): void => {
    if (visitors.size === 0) {
      clearInterval(timer);
      timer = undefined;
    } else timer ??= setInterval(() => void look(), LOOK_MS).unref();
  };

  return {
    watch(principal, onLost) {
      const visitor = { principal, onLost };
      visitors.add(visitor);
      arrange();
      // It may have become invalid since it was let in.
      void look();
      return () => {
        visitors.delete(visitor);
        arrange();
      };
    },
    look,
    async isValid(principal) {
      const [why] = await reasons([principal]);
      return why === undefined;
    },
    close: () => clearInterval(timer),
  };
}
