import { closeSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { LONGEST_LOG_BYTES, openLog } from './managed-process.ts';

/** A log file of lines that is put aside, as `.1`, when it has grown too long. */
export class LineLog {
  readonly #path: string;
  #descriptor: number;
  #written = 0;

  constructor(path: string) {
    this.#path = path;
    this.#descriptor = openLog(path);
  }

  write(line: string): void {
    this.#written += writeSync(this.#descriptor, `${line}\n`);
    if (this.#written < LONGEST_LOG_BYTES) return;
    closeSync(this.#descriptor);
    this.#descriptor = openLog(this.#path);
    this.#written = 0;
  }
}

/** pino's number for a warning. */
const WARNING = 40;

/**
 * What a person at the terminal should see of a line that a service wrote: plain lines as they are, structured log
 * records only from warnings up, as one readable line.
 * @param service for the readable line: "api"
 * @returns undefined for what belongs in the log file alone
 */
export function forTerminal(service: string, line: string): string | undefined {
  if (!line.startsWith('{')) return line;
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    return line;
  }
  const {
    level,
    msg,
    err,
    error = err,
  } = record as {
    level?: unknown;
    msg?: unknown;
    err?: unknown;
    error?: unknown;
  };
  if (typeof level !== 'number') return line;
  if (level < WARNING) return undefined;
  const reason = (error as { message?: unknown } | null)?.message ?? error;
  const cause = typeof reason !== 'string' || reason === msg ? '' : `: ${reason}`;
  return `teremok ${service}: ${String(msg ?? 'warning')}${cause}`;
}

/** A line that was just shown is not shown again for this long; how often it came is told afterwards. */
const REPEAT_MS = 10_000;

/**
 * Keeps a service that says the same thing over and over from filling the terminal.
 * @param write shows a line
 * @param now the time in milliseconds
 */
export function withoutRepeats(
  write: (line: string) => void,
  now = () => performance.now(),
): (line: string) => void {
  let last = '';
  let since = 0;
  let hidden = 0;
  return (line) => {
    if (line === last && now() - since < REPEAT_MS) {
      hidden++;
      return;
    }
    if (hidden > 0) write(`(the same ${hidden} times more)`);
    hidden = 0;
    last = line;
    since = now();
    write(line);
  };
}

/**
 * Passes a service's output on to its log file and, as far as it is for people, to the terminal.
 * @param onLine sees every line
 */
export function relay(
  service: string,
  source: Readable | null,
  log: LineLog,
  terminal: NodeJS.WritableStream,
  onLine: (line: string) => void = () => {},
): void {
  if (source === null) return;
  const show = withoutRepeats((line) => terminal.write(`${line}\n`));
  createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY }).on('line', (line) => {
    log.write(line);
    onLine(line);
    const shown = forTerminal(service, line);
    if (shown !== undefined) show(shown);
  });
}
