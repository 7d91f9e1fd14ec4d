import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Database, Prisma, Transaction } from '../infra/prisma.ts';
import { Problem } from '../lib/errors.ts';
import { type App, principalOf, type SealedAnswer } from '../modules/http.ts';

/** How long an answer is kept. Milliseconds. */
const KEEP_MS = 24 * 3_600_000;
/** How long a request may be at work before another with its key takes its place. Milliseconds. */
const LOCK_MS = 60_000;
const UPLOAD_LOCK_MS = 3_600_000;
/** How long a duplicate waits for the first to end. Milliseconds. */
const DUPLICATE_WAIT_MS = 10_000;
const DUPLICATE_POLL_MS = 100;

interface Claim {
  readonly owner: string;
  readonly key: string;
  readonly requestHash: string;
  readonly lockedUntil: Date;
}

interface Stored {
  readonly requestHash: string;
  readonly status: number | null;
  readonly headers: unknown;
  readonly answer: Uint8Array | null;
}

/**
 * `Idempotency-Key` on every POST of this scope. The first request with a key claims it; its answer is stored in
 * the transaction that does its work (`request.seal`), so that a crash leaves both or neither and nothing is ever
 * done twice. A request that fails changed nothing, so its key is free again.
 */
export function registerIdempotency(app: App, deps: { readonly db: Database }): void {
  const { db } = deps;
  const claims = new WeakMap<FastifyRequest, Claim>();

  app.addHook('preHandler', async (request, reply) => {
    const key = request.headers['idempotency-key'];
    // Nobody's request has nothing to be remembered under.
    if (request.method !== 'POST' || key === undefined || request.principal === null) return;
    const claim = makeClaim(request, key);
    const stored = await claimOrWait(db, claim);
    if (stored !== null) return replay(request, reply, claim, stored);
    claims.set(request, claim);
    request.seal = (tx, answer) => store(tx, claim, request, answer);
    return undefined;
  });

  app.addHook('onSend', async (request, reply, payload) => {
    const claim = claims.get(request);
    if (claim === undefined) return;
    claims.delete(request);
    try {
      if (reply.statusCode < 300 && typeof payload === 'string') {
        const location = reply.getHeader('location');
        const headers = typeof location === 'string' ? { location } : {};
        await store(db, claim, request, { status: reply.statusCode, headers, body: JSON.parse(payload) });
      } else {
        const { owner, key, lockedUntil } = claim;
        await db.idempotencyKey.deleteMany({ where: { owner, key, lockedUntil, answer: null } });
      }
    } catch (err) {
      request.log.warn(
        { err: err instanceof Error ? err.message : err },
        'the idempotency record could not be written',
      );
    }
  });
}

function makeClaim(request: FastifyRequest, key: string | string[]): Claim {
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key)) {
    throw new Problem('invalid_idempotency_key', 'an Idempotency-Key is 1 to 255 visible ASCII characters', {
      hint: 'use a UUID',
    });
  }
  const upload = request.body instanceof Readable;
  const hash = createHash('sha256');
  // A stream's bytes come later: an upload is told from another by its address and, when replayed, by its digest.
  const body = upload ? 'stream' : `json ${JSON.stringify(request.body ?? null)}`;
  for (const part of [request.method, request.url, String(request.headers['teremok-tenant'] ?? ''), body]) {
    hash.update(`${part.length}:${part}\n`);
  }
  return {
    owner: principalOf(request).owner,
    key,
    requestHash: hash.digest('hex'),
    lockedUntil: new Date(Date.now() + (upload ? UPLOAD_LOCK_MS : LOCK_MS)),
  };
}

/** Claims the key (null), or returns the answer of the request that had it before. */
async function claimOrWait(db: Database, claim: Claim): Promise<Stored | null> {
  const { owner, key, requestHash, lockedUntil } = claim;
  const expiresAt = new Date(Date.now() + KEEP_MS);
  const deadline = Date.now() + DUPLICATE_WAIT_MS;
  for (;;) {
    // Takes a new key, one that has expired, or one whose first request died before it had an answer.
    const claimed = await db.$queryRaw<unknown[]>`
      INSERT INTO idempotency_keys AS k (owner, key, request_hash, locked_until, expires_at)
      VALUES (${owner}, ${key}, ${requestHash}, ${lockedUntil}, ${expiresAt})
      ON CONFLICT (owner, key) DO UPDATE SET request_hash = excluded.request_hash, locked_until = excluded.locked_until,
        expires_at = excluded.expires_at, status = NULL, headers = NULL, answer = NULL
      WHERE k.expires_at < now() OR (k.answer IS NULL AND k.locked_until < now() AND k.request_hash = excluded.request_hash)
      RETURNING 1`;
    if (claimed.length > 0) return null;
    const stored = await db.idempotencyKey.findUnique({ where: { owner_key: { owner, key } } });
    if (stored !== null && stored.requestHash !== requestHash) throw reused();
    if (stored !== null && stored.answer !== null) return stored;
    if (Date.now() > deadline) {
      throw new Problem(
        'idempotency_in_progress',
        'the first request with this Idempotency-Key has no answer yet',
        {
          hint: 'send it again in a few seconds',
          headers: { 'retry-after': '5' },
        },
      );
    }
    await delay(DUPLICATE_POLL_MS);
  }
}

function reused(): Problem {
  return new Problem(
    'idempotency_key_reused',
    'this Idempotency-Key was used for a request that was not the same',
    {
      hint: 'use a new key for each request, and the old one only to repeat it',
    },
  );
}

async function store(
  tx: Transaction,
  claim: Claim,
  request: FastifyRequest,
  answer: SealedAnswer,
): Promise<void> {
  const { owner, key, lockedUntil } = claim;
  const text = Buffer.from(JSON.stringify(answer.body));
  const secret = request.routeOptions.config.secretAnswer === true;
  const headers: Prisma.InputJsonObject = { ...answer.headers };
  const { count } = await tx.idempotencyKey.updateMany({
    where: { owner, key, lockedUntil, answer: null },
    data: { status: answer.status, headers, answer: new Uint8Array(secret ? encrypt(text, request) : text) },
  });
  if (count > 0) return;
  // Either this request has stored its answer already, or it took so long that another took its place.
  const now = await tx.idempotencyKey.findUnique({ where: { owner_key: { owner, key } } });
  if (now?.lockedUntil?.getTime() === lockedUntil.getTime()) return;
  throw new Problem('idempotency_in_progress', 'another request with this Idempotency-Key has taken over');
}

async function replay(
  request: FastifyRequest,
  reply: FastifyReply,
  claim: Claim,
  stored: Stored,
): Promise<FastifyReply> {
  const secret = request.routeOptions.config.secretAnswer === true;
  const bytes = Buffer.from(stored.answer ?? []);
  const body: unknown = JSON.parse((secret ? decrypt(bytes, request) : bytes).toString('utf8'));
  if (request.body instanceof Readable) await requireSameUpload(request.body, body);
  request.log.info({ idempotencyKey: claim.key }, 'answered again');
  return reply
    .code(stored.status ?? 200)
    .headers({
      ...(typeof stored.headers === 'object' ? stored.headers : {}),
      'idempotency-replayed': 'true',
    })
    .send(body);
}

async function requireSameUpload(source: Readable, answer: unknown): Promise<void> {
  const hash = createHash('sha256');
  for await (const chunk of source) hash.update(chunk);
  const before = typeof answer === 'object' && answer !== null ? Reflect.get(answer, 'sha256') : undefined;
  if (before !== hash.digest('hex')) throw reused();
}

/** AES-256-GCM under a key derived from the caller's own API key or session: whoever reads the database cannot read it. */
function encrypt(text: Buffer, request: FastifyRequest): Buffer {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', answerKey(request), nonce);
  return Buffer.concat([nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(sealed: Buffer, request: FastifyRequest): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', answerKey(request), sealed.subarray(0, 12));
  decipher.setAuthTag(sealed.subarray(-16));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
  } catch (err) {
    throw new Problem(
      'idempotency_key_reused',
      'this Idempotency-Key was used with another API key or session',
      {
        hint: 'the answer held a secret, which only who asked can see again',
        cause: err,
      },
    );
  }
}

function answerKey(request: FastifyRequest): Buffer {
  if (request.credential === null) throw new Error(`${request.url}: a secret answer for nobody`);
  return Buffer.from(hkdfSync('sha256', request.credential, '', 'teremok idempotent answer', 32));
}
