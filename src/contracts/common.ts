import Type, { type Static, type TSchema, type TSchemaOptions } from 'typebox';
import { type IdPrefix, idPattern } from '../lib/ids.ts';

/** A string without control characters or halves of surrogate pairs, which neither logs nor databases like. */
export const PRINTABLE = '^[^\\p{Cc}\\p{Cs}]*$';

export const Id = (prefix: IdPrefix) =>
  Type.String({ pattern: idPattern(prefix), examples: [`${prefix}_019a3b5c-0000-7000-8000-000000000000`] });

export const IdParams = (prefix: IdPrefix) =>
  Type.Object({ id: Id(prefix) }, { additionalProperties: false });

/** A name for people: 1 to 63 characters, not beginning or ending with a space. */
export const Name = Type.String({
  minLength: 1,
  maxLength: 63,
  pattern: '^[^\\p{Cc}\\p{Cs}\\p{Z}]([^\\p{Cc}\\p{Cs}]*[^\\p{Cc}\\p{Cs}\\p{Z}])?$',
});

export const Timestamp = Type.String({ format: 'date-time' });

export const Nullable = <T extends TSchema>(schema: T, options: TSchemaOptions = {}) =>
  Type.Union([schema, Type.Null()], options);

export const Labels = Type.Record(
  Type.String({ pattern: '^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$' }),
  Type.String({ maxLength: 255, pattern: PRINTABLE }),
  {
    maxProperties: 32,
    additionalProperties: false,
    description: 'At most 32; keys as in `team` or `app.kubernetes.io/name`.',
  },
);

/** `?limit=&cursor=` of every list. */
export const pageQuery = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, default: 50 })),
  cursor: Type.Optional(
    Type.String({ minLength: 1, maxLength: 200, description: 'The `nextCursor` of the page before.' }),
  ),
};
export const PageQuery = Type.Object(pageQuery, { additionalProperties: false });
export type PageQuery = Static<typeof PageQuery>;

export const Page = <T extends TSchema>(item: T) =>
  Type.Object({ items: Type.Array(item), nextCursor: Nullable(Type.String()) });

/** `?timeout=` of the wait endpoints. Seconds. */
export const WaitTimeout = Type.Optional(
  Type.Number({ minimum: 0, maximum: 300, default: 60, description: 'Seconds to wait.' }),
);

/** RFC 9457, with `code`, `requestId` and, where there is one, `hint`. */
export const ProblemSchema = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    code: Type.String(),
    requestId: Type.String(),
    hint: Type.Optional(Type.String()),
    errors: Type.Optional(Type.Array(Type.Object({ path: Type.String(), message: Type.String() }))),
  },
  { title: 'Problem' },
);

/** For routes without a query: anything there is a mistake. */
export const NoQuery = Type.Object({}, { additionalProperties: false });
