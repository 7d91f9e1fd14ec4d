import { RE2JS, RE2JSException } from 're2js';

/** What is waited for: a text as it stands, or a regular expression in RE2's syntax. */
export type Pattern = { readonly text: string } | { readonly regex: string };

/** Characters of a pattern. */
const LONGEST = 1000;
/** Instructions of RE2's program: the time of a search is at most this and the length of what is searched, multiplied. */
const LARGEST = 500;

/** A pattern that cannot be used, told to the user. */
export class PatternError extends Error {}

export interface PatternMatch {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  /** What the groups of a regular expression matched, from the first on; null for one that took no part. */
  readonly groups: readonly (string | null)[];
}

/**
 * A pattern made ready. Regular expressions run in time linear in what is
 * searched (RE2 by re2js: no backtracking, no back-references or look-around),
 * so that nobody's pattern can hold a process.
 */
export class PatternFinder {
  readonly #find: (text: string, from: number) => PatternMatch | undefined;

  /** @throws PatternError */
  constructor(pattern: Pattern) {
    const source = 'text' in pattern ? pattern.text : pattern.regex;
    if (source === '') throw new PatternError('the pattern is empty');
    if (source.length > LONGEST)
      throw new PatternError(`the pattern has ${source.length} characters, more than ${LONGEST}`);
    this.#find = 'text' in pattern ? textFinder(source) : regexFinder(source);
  }

  /** The first match that begins at `from` or behind it. */
  find(text: string, from = 0): PatternMatch | undefined {
    return this.#find(text, from);
  }
}

function textFinder(wanted: string) {
  return (text: string, from: number): PatternMatch | undefined => {
    const start = text.indexOf(wanted, from);
    return start < 0 ? undefined : { start, end: start + wanted.length, text: wanted, groups: [] };
  };
}

function regexFinder(source: string) {
  const compiled = compile(source);
  return (text: string, from: number): PatternMatch | undefined => {
    const matcher = compiled.matcher(text);
    if (!matcher.find(from)) return undefined;
    const groups = Array.from({ length: matcher.groupCount() }, (_, i) => matcher.group(i + 1));
    return { start: matcher.start(), end: matcher.end(), text: matcher.group() ?? '', groups };
  };
}

function compile(source: string): RE2JS {
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(source, RE2JS.MULTILINE);
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    throw new PatternError(error.message.slice(0, 200));
  }
  const size = compiled.programSize();
  if (size > LARGEST)
    throw new PatternError(`the regular expression is too large: ${size} instructions, more than ${LARGEST}`);
  return compiled;
}
