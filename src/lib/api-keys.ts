import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { newId } from './ids.ts';

/** A key that was just made: `token` is what its owner keeps, the rest is what the database keeps. */
export interface FreshKey {
  readonly id: string;
  readonly token: string;
  readonly secretHash: Uint8Array<ArrayBuffer>;
}

/**
 * Makes an API key `tk_<id>_<secret>`: the id (32 hexadecimal digits) finds the row, the secret is 256 random
 * bits. A secret of that size cannot be guessed, so one SHA-256 protects it as well as a slow hash protects a
 * password, and checking it costs microseconds.
 */
export function makeApiKey(): FreshKey {
  const id = newId('key');
  const secret = randomBytes(32).toString('hex');
  return { id, token: `tk_${id.slice(4).replaceAll('-', '')}_${secret}`, secretHash: hashSecret(secret) };
}

/** The parts of a token, or null when it does not have the form of one. */
export function parseApiKey(token: string): { readonly id: string; readonly secret: string } | null {
  const match = /^tk_([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})_([0-9a-f]{64})$/.exec(
    token,
  );
  if (match === null) return null;
  return { id: `key_${match.slice(1, 6).join('-')}`, secret: match[6] ?? '' };
}

/** SHA-256 (FIPS 180-4) of a secret's text. */
export function hashSecret(secret: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash('sha256').update(secret).digest());
}

/** Compares in a time that does not depend on where the two differ. */
export function secretMatches(secret: string, hash: Uint8Array): boolean {
  const given = hashSecret(secret);
  return given.length === hash.length && timingSafeEqual(given, hash);
}
