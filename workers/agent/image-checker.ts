import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type ImageFinding, type ImageQuestion, parseImageFinding } from '../../src/contracts/image-check.ts';
import type { Database, Image } from '../../src/infra/prisma.ts';
import type { Logger } from '../../src/lib/log.ts';

const CHECK_MAIN = join(import.meta.dirname, '..', 'vm', 'image-check.ts');
/** The JavaScript heap of a check. */
const HEAP_MIB = 128;
/** How long a check may take. Milliseconds. */
const TIMEOUT_MS = 60_000;
/** How many images are looked into by one look, one after the other. */
const AT_ONCE = 8;
const MAX_ANSWER_BYTES = 64 * 1024;

export interface ImageCheckerDeps {
  readonly database: Database;
  readonly imagesDir: string;
  readonly log: Logger;
}

/**
 * Looks into discs and disks that were uploaded, each in a process of its own
 * that parses nothing else, and writes down whether VMs may use them. Any
 * number of hosts may do so: doing it twice changes nothing.
 */
export class ImageChecker {
  readonly #deps: ImageCheckerDeps;

  constructor(deps: ImageCheckerDeps) {
    this.#deps = deps;
  }

  /** Looks into what waits. Rejects in an outage of the database. */
  async look(): Promise<void> {
    const waiting = await this.#deps.database.image.findMany({
      where: { state: 'checking' },
      orderBy: { id: 'asc' },
      take: AT_ONCE,
    });
    for (const image of waiting) await this.#check(image);
  }

  async #check(image: Image): Promise<void> {
    const path = resolve(this.#deps.imagesDir, image.mediaPath ?? '');
    // Another host may have the file.
    if ((await stat(path).catch(() => null)) === null) return;
    const question = image.format === null ? { path } : { path, format: image.format as 'raw' | 'qcow2' };
    const { problem, diskBytes } = await lookInto(question);
    await this.#deps.database.image.updateMany({
      where: { id: image.id, state: 'checking' },
      data: {
        state: problem === undefined ? 'ready' : 'unusable',
        problem: problem ?? null,
        ...(diskBytes === undefined ? {} : { diskBytes }),
      },
    });
    this.#deps.log.info({ imageId: image.id, problem }, 'image looked into');
  }
}

async function lookInto(question: ImageQuestion): Promise<ImageFinding> {
  const child = spawn(
    process.execPath,
    [`--max-old-space-size=${HEAP_MIB}`, '--disable-warning=ExperimentalWarning', CHECK_MAIN],
    { cwd: '/', env: {}, stdio: ['pipe', 'pipe', 'ignore'], timeout: TIMEOUT_MS, killSignal: 'SIGKILL' },
  );
  const ended = Promise.withResolvers<void>();
  child.once('error', () => ended.resolve());
  child.once('close', () => ended.resolve());
  let answer = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    answer += text;
    if (answer.length > MAX_ANSWER_BYTES) child.kill('SIGKILL');
  });
  // A process that ends early breaks the pipe; that it has not answered is what counts.
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify(question));
  await ended.promise;
  try {
    return parseImageFinding(answer);
  } catch {
    return { problem: 'it could not be read: looking into it took too long or too much memory' };
  }
}
