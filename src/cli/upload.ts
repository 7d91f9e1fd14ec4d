import { createHash } from 'node:crypto';
import { createReadStream, openAsBlob } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { imageNameOf, kindOfFile } from '../lib/image-file-name.ts';
import type { Api, Json } from './api.ts';
import { ApiError } from './api.ts';
import { CommandError, EXIT } from './command.ts';
import { bytes, printable } from './output.ts';
import { objectOf, textOf } from './resources.ts';

/** A request's part of the file: progress is shown, and lost when a connection breaks, in such steps. */
const PART_BYTES = 16 * 1024 * 1024;
/** Tries of one part, and the wait between two: longer than a writer that died is waited for. */
const TRIES = 20;
const RETRY_MS = { first: 500, most: 5_000 } as const;
/** How long a worker may take to look into an image. Milliseconds. */
const CHECK_MS = 120_000;
const CHECK_POLL_MS = 300;

export interface ImageFile {
  readonly path: string;
  readonly name: string;
  readonly kind: string;
  readonly format: string | undefined;
}

/** What a file is by its name; undefined when that does not say. */
export const kindOf = (path: string): string | undefined => kindOfFile(basename(path));

/** An image's name made of a file's. */
export const nameOf = (path: string): string => imageNameOf(basename(path));

/**
 * Uploads a file, or goes on with an upload of the same file that broke off, and waits until VMs may use the image.
 * A service or a connection that is away for a while is waited for.
 */
export async function uploadFile(api: Api, file: ImageFile, progress: Progress): Promise<Json> {
  const content = await openFile(file.path);
  const sha256 = await digest(file.path, content.size, progress);
  const id = await beginOrFind(api, file, content.size, sha256);
  const path = `uploads/${id}`;
  let image: Json | undefined;
  let offset = Number((await patiently(() => api.request('GET', path))).offset);
  while (image === undefined) {
    progress.show('sent', offset, content.size);
    const answer = await sendPart(api, path, content, offset);
    offset = Number(objectOf(answer, 'upload').offset);
    if (answer.image !== null && answer.image !== undefined) image = objectOf(answer, 'image');
  }
  progress.show('sent', content.size, content.size);
  progress.end();
  return untilChecked(api, image);
}

async function openFile(path: string): Promise<Blob> {
  try {
    return await openAsBlob(path);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new CommandError(`${path} cannot be read (${reason})`, { status: EXIT.usage });
  }
}

async function digest(path: string, size: number, progress: Progress): Promise<string> {
  const hash = createHash('sha256');
  let done = 0;
  try {
    for await (const chunk of createReadStream(path)) {
      hash.update(chunk);
      done += chunk.length;
      progress.show('read', done, size);
    }
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new CommandError(`${path} cannot be read (${reason})`, { status: EXIT.usage });
  }
  return hash.digest('hex');
}

async function beginOrFind(api: Api, file: ImageFile, sizeBytes: number, sha256: string): Promise<string> {
  const { name, kind, format } = file;
  const same = (await api.list('uploads')).find(
    (upload) =>
      upload.resumable === true &&
      upload.imageId === null &&
      upload.name === name &&
      upload.kind === kind &&
      upload.sizeBytes === sizeBytes &&
      upload.sha256 === sha256,
  );
  if (same !== undefined) return textOf(same, 'id');
  const body = { name, kind, ...(format === undefined ? {} : { format }), sizeBytes, sha256 };
  return textOf(await api.request('POST', 'uploads', { body }), 'id');
}

/** Sends the part at `offset`, or learns where to go on. */
async function sendPart(api: Api, path: string, content: Blob, offset: number): Promise<Json> {
  const part = content.slice(offset, offset + PART_BYTES);
  return patiently(async () => {
    try {
      return await api.request('PATCH', path, {
        headers: { 'upload-offset': String(offset) },
        raw: { type: 'application/offset+octet-stream', content: part },
      });
    } catch (error) {
      // The part has arrived, all of it or some, and its answer was lost.
      if (!(error instanceof ApiError) || !['upload_offset', 'upload_complete'].includes(error.code ?? ''))
        throw error;
      const upload = await api.request('GET', path);
      if (typeof upload.imageId !== 'string') return { upload, image: null };
      return { upload, image: await api.request('GET', `images/${upload.imageId}`) };
    }
  });
}

/** Tries again while the service is away, or another writer has not let go. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      const passing =
        error instanceof CommandError &&
        (error.status === EXIT.unreachable ||
          (error instanceof ApiError &&
            (error.code === 'upload_busy' || [502, 503, 504].includes(error.httpStatus))));
      if (!passing || tries >= TRIES) throw error;
    }
    await delay(Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** (tries - 1)));
  }
}

async function untilChecked(api: Api, image: Json): Promise<Json> {
  const path = `images/${textOf(image, 'id')}`;
  let now = image;
  for (const deadline = Date.now() + CHECK_MS; now.state === 'checking'; ) {
    if (Date.now() > deadline) {
      throw new CommandError(`no worker has looked into ${textOf(image, 'name')} yet`, {
        hint: `teremok image show ${textOf(image, 'name')} tells its state`,
        status: EXIT.timeout,
      });
    }
    await delay(CHECK_POLL_MS);
    now = await patiently(() => api.request('GET', path));
  }
  if (now.state === 'ready') return now;
  throw new CommandError(
    `${textOf(now, 'name')} cannot be used: ${printable(textOf(now, 'problem', 'it is not known why'))}`,
    { hint: `teremok image rm ${textOf(now, 'name')} deletes it` },
  );
}

/** How far it is, on stderr: in place on a terminal, a line every tenth elsewhere. */
export class Progress {
  readonly #stream: NodeJS.WriteStream;
  #what = '';
  #shown = -1;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  show(what: 'read' | 'sent', done: number, size: number): void {
    const percent = size === 0 ? 100 : Math.floor((100 * done) / size);
    const step = this.#stream.isTTY ? percent : Math.floor(percent / 10) * 10;
    if (what === this.#what && step === this.#shown) return;
    // Reading is quick, and of interest only to who watches.
    if (what === 'read' && !this.#stream.isTTY) return;
    this.#what = what;
    this.#shown = step;
    const line = `${what} ${bytes(done)} of ${bytes(size)} (${percent} %)`;
    this.#stream.write(this.#stream.isTTY ? `\r${line}\x1b[K` : `${line}\n`);
  }

  end(): void {
    if (this.#stream.isTTY && this.#shown >= 0) this.#stream.write('\n');
  }
}
