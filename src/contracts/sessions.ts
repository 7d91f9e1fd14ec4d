import Type, { type Static } from 'typebox';
import { Id, Nullable } from './common.ts';
import { Scope } from './tenants.ts';

/** The cookie that holds a session's token. It is HttpOnly, so no script of the page sees it. */
export const SESSION_COOKIE = 'teremok_session';

/** The header of every request of a session that is not a GET: the session's `csrfToken`. */
export const CSRF_HEADER = 'x-csrf-token';

export const SignIn = Type.Object(
  { key: Type.String({ minLength: 1, maxLength: 200, description: 'An API key, `tk_…`.' }) },
  { title: 'SignIn', additionalProperties: false },
);
export type SignIn = Static<typeof SignIn>;

/** Who a browser works as. */
export const Session = Type.Object(
  {
    principal: Type.Object({
      role: Type.Union([Type.Literal('operator'), Type.Literal('tenant')]),
      tenantId: Nullable(Type.String({ description: 'Null for an operator.' })),
      tenantName: Nullable(Type.String()),
      keyId: Id('key'),
      keyName: Type.String(),
      scopes: Type.Array(Scope),
      readOnly: Type.Boolean({ description: 'The key may look, and change nothing.' }),
    }),
    csrfToken: Type.String({ description: 'To be sent as `X-CSRF-Token` with whatever is not a GET.' }),
    expiresAt: Type.String({ format: 'date-time', description: 'Moves on with use.' }),
  },
  { title: 'Session' },
);
export type Session = Static<typeof Session>;
