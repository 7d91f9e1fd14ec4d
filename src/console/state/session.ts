import { signal } from '@preact/signals';
import type { Session } from '../../contracts/sessions.ts';
import { request, setSession } from '../api/api.ts';
import { ApiError } from '../api/api-error.ts';

/** Who is signed in, and what that key may do. */
export type Principal = Session['principal'];

/** Undefined while it is not known yet, null when nobody is signed in. */
export const principal = signal<Principal | null | undefined>(undefined);

const OVER = 'Your session is over. Sign in again.';

/** Why somebody is at the door again. */
export const signedOutBecause = signal('');

export const mayWrite = () => principal.value?.readOnly === false;
export const isOperator = () => principal.value?.role === 'operator';

/**
 * Finds out who is signed in.
 * @param because what is told at the door when it is nobody any more
 * @throws {Unreachable}
 */
export async function restoreSession(because = OVER): Promise<void> {
  try {
    accept(await request<Session>('GET', 'session'));
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
    if (principal.value) leave(because);
    else principal.value = null;
  }
}

/** @throws {ApiError} unauthenticated for a key that is none */
export async function signIn(key: string): Promise<void> {
  accept(await request<Session>('POST', 'session', { body: { key } }));
}

export async function signOut(): Promise<void> {
  await request('DELETE', 'session');
  leave('');
}

function accept({ principal: who, csrfToken }: Session): void {
  setSession(csrfToken, () => leave(OVER));
  signedOutBecause.value = '';
  // The same one again changes nothing for what follows it.
  if (JSON.stringify(who) !== JSON.stringify(principal.value)) principal.value = who;
}

function leave(why: string): void {
  if (principal.value === null) return;
  signedOutBecause.value = why;
  principal.value = null;
}
