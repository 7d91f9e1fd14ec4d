import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';

/**
 * The pass by which the API reaches a VM's console, screen or tools at the worker that runs it:
 * what it is for, and until when, signed with a secret that the two share
 * through the host's row. HMAC-SHA-256 (RFC 2104), base64url (RFC 4648 §5).
 */

/** A token is good for this long after it was made; long enough for two clocks that differ a little. */
export const ATTACH_TOKEN_SECONDS = 30;

const PURPOSES = ['serial', 'log', 'display', 'tool'] as const;
export type AttachPurpose = (typeof PURPOSES)[number];

export interface AttachGrant {
  readonly vmId: string;
  readonly purpose: AttachPurpose;
  /** Of a display: without keyboard and mouse. */
  readonly viewOnly?: true;
}

interface SignedGrant extends AttachGrant {
  /** Seconds since the Unix epoch. */
  readonly expires: number;
  readonly nonce: string;
}

function sign(body: string, secret: string): Buffer {
  return createHmac('sha256', secret).update(`teremok attach ${body}`).digest();
}

/** A token for `grant`, good for ATTACH_TOKEN_SECONDS. `now` is in milliseconds since the epoch. */
export function makeAttachToken(grant: AttachGrant, secret: string, now = Date.now()): string {
  const signed: SignedGrant = {
    ...grant,
    expires: Math.floor(now / 1000) + ATTACH_TOKEN_SECONDS,
    nonce: randomUUID(),
  };
  const body = Buffer.from(JSON.stringify(signed)).toString('base64url');
  return `${body}.${sign(body, secret).toString('base64url')}`;
}

function isSignedGrant(value: unknown): value is SignedGrant {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  return (
    typeof fields.vmId === 'string' &&
    PURPOSES.some((purpose) => purpose === fields.purpose) &&
    (fields.viewOnly === undefined || fields.viewOnly === true) &&
    typeof fields.expires === 'number' &&
    typeof fields.nonce === 'string'
  );
}

/**
 * Tokens already used, so that each opens one connection. Forgets a token
 * when it has expired anyway, which bounds what it holds.
 */
export class AttachTokenVerifier {
  readonly #secret: string;
  readonly #used = new Map<string, number>();

  constructor(secret: string) {
    this.#secret = secret;
  }

  /** The grant of a token that is genuine, fresh and unused; otherwise undefined. */
  verify(token: string, now = Date.now()): AttachGrant | undefined {
    const [body, signature, ...rest] = token.split('.');
    if (body === undefined || signature === undefined || rest.length > 0) return undefined;
    const expected = sign(body, this.#secret);
    const given = Buffer.from(signature, 'base64url');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    const grant = parseGrant(body);
    if (grant === undefined || grant.expires * 1000 < now) return undefined;
    for (const [nonce, expires] of this.#used) {
      if (expires * 1000 >= now) break;
      this.#used.delete(nonce);
    }
    if (this.#used.has(grant.nonce)) return undefined;
    this.#used.set(grant.nonce, grant.expires);
    const { vmId, purpose, viewOnly } = grant;
    return viewOnly === undefined ? { vmId, purpose } : { vmId, purpose, viewOnly };
  }
}

function parseGrant(body: string): SignedGrant | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(body, 'base64url').toString());
    return isSignedGrant(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
