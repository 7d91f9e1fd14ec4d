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
  const { level, msg, err } = record as { level?: unknown; msg?: unknown; err?: { message?: unknown } };
  if (typeof level !== 'number') return line;
  if (level < WARNING) return undefined;
  const cause = err?.message === undefined || err.message === msg ? '' : `: ${String(err.message)}`;
  return `teremok ${service}: ${String(msg ?? 'warning')}${cause}`;
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
  createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY }).on('line', (line) => {
    log.write(line);
    onLine(line);
    const shown = forTerminal(service, line);
    if (shown !== undefined) terminal.write(`${shown}\n`);
  });
}
