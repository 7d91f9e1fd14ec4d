import { ChannelError } from './channel.ts';
import type { Expect, VmInput } from './screen.ts';

/**
 * Arguments of tools as a VM process reads them. The API has checked them by
 * their schemas; here they are only made sure of, without the weight of a
 * validator in every VM process.
 */

type Fields = Readonly<Record<string, unknown>>;

function group(value: unknown): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
  throw new ChannelError('malformed', 'a tool’s arguments are not an object');
}

function wrong(name: string): never {
  throw new ChannelError('malformed', `a tool has a wrong ${name}`);
}

function text(fields: Fields, name: string): string {
  const value = fields[name];
  return typeof value === 'string' && value.length <= 8192 ? value : wrong(name);
}

function number(fields: Fields, name: string): number {
  const value = fields[name];
  return typeof value === 'number' && Number.isFinite(value) ? value : wrong(name);
}

function optional<T, N extends string>(
  read: (fields: Fields, name: N) => T,
  fields: Fields,
  name: N,
): { readonly [K in N]?: T } {
  return fields[name] === undefined ? {} : ({ [name]: read(fields, name) } as { readonly [K in N]: T });
}

/** Reads arguments of `input`. Throws a ChannelError. */
export function parseInput(value: unknown): VmInput {
  const fields = group(value);
  const layout = optional(text, fields, 'layout');
  switch (fields.type) {
    case 'text':
      return { type: 'text', text: text(fields, 'text'), ...layout };
    case 'keys': {
      const { keys } = fields;
      const named = Array.isArray(keys) && keys.length <= 8 && keys.every((key) => typeof key === 'string');
      return { type: 'keys', keys: named ? keys : wrong('keys'), ...layout };
    }
    case 'pointer':
      return {
        type: 'pointer',
        x: number(fields, 'x'),
        y: number(fields, 'y'),
        ...optional(number, fields, 'buttons'),
        ...optional(number, fields, 'wheel'),
      };
    default:
      return wrong('type');
  }
}

/** Reads arguments of `expect`. Throws a ChannelError. */
export function parseExpect(value: unknown): Expect {
  const fields = group(value);
  const { on } = fields;
  return {
    on: on === 'serial' || on === 'screen' ? on : wrong('on'),
    pattern: text(fields, 'pattern'),
    ...optional(number, fields, 'after'),
    ...optional(number, fields, 'timeoutSeconds'),
  };
}
