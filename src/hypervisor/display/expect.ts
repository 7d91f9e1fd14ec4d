import type { Screen } from '../backends/screen.ts';
import { AnsiStripper } from './ansi.ts';
import { type Pattern, PatternFinder, type PatternMatch } from './pattern.ts';
import type { ByteSource } from './stream-tap.ts';

/** Characters of a stream that are kept, and shown to whoever waited. */
const KEPT = 32_768;
/** A match is found if it is no longer than this, in characters. */
const LONGEST_MATCH = 4096;
/** Milliseconds between two looks at least; and a look takes at most a fifth of the time. */
const LOOK_MS = 50;
const REST = 4;

export interface ExpectOptions {
  /** Milliseconds; above 0. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface ExpectStreamOptions extends ExpectOptions {
  /** Take control sequences of terminals out first; true by default. */
  readonly stripAnsi?: boolean;
  /** Look at what came before, too; true by default. */
  readonly backlog?: boolean;
}

export interface Expected {
  readonly match: PatternMatch;
  /** What was seen up to the end of the match, the last 32,768 characters of it; the whole of a screen. */
  readonly seen: string;
}

/** It did not come in time. */
export class ExpectTimeoutError extends Error {
  /** What came instead; undefined where a screen was in no text mode. */
  readonly seen: string | undefined;

  constructor(timeoutMs: number, seen: string | undefined) {
    super(`the pattern was not seen within ${timeoutMs / 1000} s`);
    this.seen = seen;
  }
}

/** What has been seen of a stream. */
class Seen {
  readonly #finder: PatternFinder;
  readonly #decoder = new TextDecoder();
  readonly #stripper: AnsiStripper | undefined;
  #text = '';
  /** Where a match that was not there at the last look could begin. */
  #from = 0;
  #fresh = false;

  constructor(finder: PatternFinder, stripAnsi: boolean) {
    this.#finder = finder;
    this.#stripper = stripAnsi ? new AnsiStripper() : undefined;
  }

  push(bytes: Uint8Array): void {
    const piece = this.#decoder.decode(bytes, { stream: true });
    this.#text += this.#stripper?.push(piece) ?? piece;
    this.#fresh = true;
    const tooMany = this.#text.length - KEPT;
    // Not with every byte: cutting costs.
    if (tooMany < KEPT / 2) return;
    this.#text = this.#text.slice(tooMany);
    this.#from = Math.max(0, this.#from - tooMany);
  }

  look(): Expected | undefined {
    if (!this.#fresh) return undefined;
    this.#fresh = false;
    const match = this.#finder.find(this.#text, this.#from);
    if (match) return { match, seen: this.#text.slice(0, match.end).slice(-KEPT) };
    this.#from = Math.max(this.#from, this.#text.length - LONGEST_MATCH);
    return undefined;
  }

  get seen(): string {
    return this.#text.slice(-KEPT);
  }
}

/**
 * Waits for a pattern on a stream, such as a serial line. UTF-8; what is not
 * is replacement characters. In a regular expression `$` is the end of a line
 * or of what has come so far.
 *
 * @throws PatternError; ExpectTimeoutError with what was seen; the signal's reason
 */
export async function expectOnStream(
  source: ByteSource,
  pattern: Pattern,
  options: ExpectStreamOptions,
): Promise<Expected> {
  const seen = new Seen(new PatternFinder(pattern), options.stripAnsi ?? true);
  if (options.backlog ?? true) seen.push(source.backlog());
  const end = source.listen((bytes) => seen.push(bytes));
  try {
    return await lookUntil(
      () => seen.look(),
      () => seen.seen,
      options,
    );
  } finally {
    end();
  }
}

/**
 * Waits for a pattern in the text on a screen, its rows joined by line feeds.
 * While the screen is in no text mode there is nothing to find.
 *
 * @throws as `expectOnStream`
 */
export async function expectOnScreen(
  screen: Pick<Screen, 'text'>,
  pattern: Pattern,
  options: ExpectOptions,
): Promise<Expected> {
  const finder = new PatternFinder(pattern);
  let seen: string | undefined;
  const look = (): Expected | undefined => {
    const text = screen.text()?.join('\n');
    if (text === undefined || text === seen) return undefined;
    seen = text;
    const match = finder.find(text);
    return match && { match, seen: text };
  };
  return lookUntil(look, () => seen, options);
}

/** Looks again and again, never so often that it costs the machine much. */
async function lookUntil(
  look: () => Expected | undefined,
  seen: () => string | undefined,
  { timeoutMs, signal }: ExpectOptions,
): Promise<Expected> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    const before = performance.now();
    const found = look();
    if (found) return found;
    const after = performance.now();
    if (after >= deadline) throw new ExpectTimeoutError(timeoutMs, seen());
    const rest = Math.max(LOOK_MS, REST * (after - before));
    await wait(Math.min(rest, deadline - after), signal);
  }
}

async function wait(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const done = (): void => resolve();
  const timer = setTimeout(done, Math.ceil(milliseconds));
  signal?.addEventListener('abort', done, { once: true });
  await promise;
  clearTimeout(timer);
  signal?.removeEventListener('abort', done);
}
