import Type, { type Static } from 'typebox';
import { PRINTABLE } from './common.ts';

/** The most text typed by one request. */
const MAX_TEXT = 4096;
/** The most keys held down at once. */
const MAX_KEYS = 8;

const Layout = Type.String({
  minLength: 1,
  maxLength: 32,
  pattern: '^[A-Za-z0-9-]+$',
  description: 'The keyboard layout that the guest is set to, such as `us` or `de`; `us` by default.',
});

/** What is done to a VM's keyboard or mouse. */
export const VmInput = Type.Union(
  [
    Type.Object(
      {
        type: Type.Literal('text'),
        text: Type.String({ minLength: 1, maxLength: MAX_TEXT, pattern: '^[^\\p{Cs}]*$' }),
        layout: Type.Optional(Layout),
      },
      { additionalProperties: false, description: 'Types it, with the keys that `layout` has for it.' },
    ),
    Type.Object(
      {
        type: Type.Literal('keys'),
        keys: Type.Array(Type.String({ minLength: 1, maxLength: 32, pattern: PRINTABLE }), {
          minItems: 1,
          maxItems: MAX_KEYS,
        }),
        layout: Type.Optional(Layout),
      },
      {
        additionalProperties: false,
        description:
          'Presses keys in this order and lets them go in the other, as in `["ctrl","alt","delete"]`.',
      },
    ),
    Type.Object(
      {
        type: Type.Literal('pointer'),
        x: Type.Integer({ minimum: 0, maximum: 65535, description: 'In pixels of the screenshot.' }),
        y: Type.Integer({ minimum: 0, maximum: 65535 }),
        buttons: Type.Optional(
          Type.Integer({
            minimum: 0,
            maximum: 31,
            description:
              'Held down: 1 left, 2 middle, 4 right, 8 and 16 the side ones, added up; 0 by default.',
          }),
        ),
        wheel: Type.Optional(
          Type.Integer({ minimum: -100, maximum: 100, description: 'Notches, towards the user positive.' }),
        ),
      },
      {
        additionalProperties: false,
        description: 'Moves the pointer there, and holds the buttons as they are given.',
      },
    ),
  ],
  { title: 'VmInput' },
);
export type VmInput = Static<typeof VmInput>;

export const InputDone = Type.Object(
  {
    absolute: Type.Optional(
      Type.Boolean({
        description:
          'Of a pointer: whether the guest takes positions. If not it was moved there, and where it is depends on ' +
          'what the guest makes of movements.',
      }),
    ),
    serialPosition: Type.Integer({
      description:
        'Bytes that the guest had said on its serial line before: `after` of the `expect` that follows.',
    }),
  },
  { title: 'InputDone' },
);
export type InputDone = Static<typeof InputDone>;

/** The longest pattern, and the longest wait in seconds. */
const MAX_PATTERN = 1000;
const MAX_EXPECT_SECONDS = 300;

export const Expect = Type.Object(
  {
    on: Type.Union([Type.Literal('serial'), Type.Literal('screen')]),
    pattern: Type.String({
      minLength: 1,
      maxLength: MAX_PATTERN,
      pattern: '^[^\\p{Cs}]*$',
      description:
        'A regular expression in RE2’s syntax, without look-around and back-references; `^` and `$` are of lines. Of ' +
        'the serial line, a terminal’s control sequences are left out.',
    }),
    after: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: Number.MAX_SAFE_INTEGER,
        description: 'On the serial line: only what was said from this byte of the launch on counts.',
      }),
    ),
    timeoutSeconds: Type.Optional(Type.Number({ minimum: 0, maximum: MAX_EXPECT_SECONDS, default: 60 })),
  },
  { title: 'Expect', additionalProperties: false },
);
export type Expect = Static<typeof Expect>;

export const Expected = Type.Object(
  {
    text: Type.String({ description: 'What matched.' }),
    position: Type.Optional(
      Type.Integer({ description: 'On the serial line: the number of the byte after what matched.' }),
    ),
    groups: Type.Array(Type.Union([Type.String(), Type.Null()]), { description: 'Its parenthesized parts.' }),
  },
  { title: 'Expected' },
);
export type Expected = Static<typeof Expected>;

export const ScreenText = Type.Object(
  {
    lines: Type.Array(Type.String(), { description: 'Rows from the top, without blanks at their ends.' }),
  },
  { title: 'ScreenText' },
);
export type ScreenText = Static<typeof ScreenText>;
