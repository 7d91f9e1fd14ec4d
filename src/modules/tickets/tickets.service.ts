import { createHash, randomBytes } from 'node:crypto';
import type { Redis } from '../../infra/redis.ts';
import { Problem } from '../../lib/errors.ts';
import type { AccessWatch } from '../access/access-watch.ts';
import type { Principal } from '../access/principal.ts';

export type TicketPurpose = 'serial' | 'display';

/** How long a ticket may lie unused. Seconds. */
export const TICKET_SECONDS = 60;

export interface TicketsService {
  /** Makes a ticket for one WebSocket of one VM. */
  issue(
    principal: Principal,
    vm: { readonly id: string; readonly tenantId: string },
    purpose: TicketPurpose,
    viewOnly: boolean,
  ): Promise<{ ticket: string; for: string; expiresAt: string }>;
  /** Uses a ticket up. @throws {Problem} invalid_ticket */
  redeem(ticket: string, vmId: string, purpose: TicketPurpose): Promise<Principal>;
}

interface StoredTicket {
  readonly vmId: string;
  readonly tenantId: string;
  readonly purpose: string;
  readonly keyId: string;
  readonly sessionId?: string;
  readonly viewOnly: boolean;
}

/** Tickets live in Redis under the hash of their text, so that a reader of Redis cannot use them. */
export function createTicketsService(deps: {
  readonly redis: Redis;
  readonly watch: Pick<AccessWatch, 'isValid'>;
}): TicketsService {
  const keyOf = (ticket: string) => `ticket:${createHash('sha256').update(ticket).digest('hex')}`;
  return {
    async issue(principal, vm, purpose, viewOnly) {
      const ticket = `tkt_${randomBytes(32).toString('base64url')}`;
      const { id: vmId, tenantId } = vm;
      const { keyId, sessionId } = principal;
      const stored: StoredTicket = {
        vmId,
        tenantId,
        purpose,
        keyId,
        ...(sessionId === undefined ? {} : { sessionId }),
        viewOnly,
      };
      const expiresAt = new Date(Date.now() + TICKET_SECONDS * 1000).toISOString();
      await deps.redis.set(keyOf(ticket), JSON.stringify(stored), 'EX', TICKET_SECONDS);
      return { ticket, for: purpose, expiresAt };
    },

    async redeem(ticket, vmId, purpose) {
      const text = /^tkt_[\w-]{43}$/.test(ticket) ? await deps.redis.getdel(keyOf(ticket)) : null;
      // The text is what `issue` wrote.
      const stored = text === null ? null : (JSON.parse(text) as StoredTicket);
      if (stored === null || stored.vmId !== vmId || stored.purpose !== purpose) {
        throw new Problem('invalid_ticket', 'the ticket is unknown, used, expired or for something else', {
          hint: `POST /v1/vms/{id}/tickets makes one; it opens one WebSocket within ${TICKET_SECONDS} s`,
        });
      }
      const { keyId, sessionId } = stored;
      const principal = { keyId, ...(sessionId === undefined ? {} : { sessionId }) };
      if (!(await deps.watch.isValid(principal))) {
        throw new Problem(
          'invalid_ticket',
          'the key or session that the ticket was made with is not valid any more',
        );
      }
      return {
        ...principal,
        kind: 'tenant',
        tenantId: stored.tenantId,
        scopes: ['read', 'write'],
        owner: stored.tenantId,
        viewOnly: stored.viewOnly,
      };
    },
  };
}
