import { type Signal, signal } from '@preact/signals';
import type { Image } from '../../contracts/images.ts';
import type { CreateUpload, Upload } from '../../contracts/uploads.ts';
import { request } from '../api/api.ts';
import { ApiError, describe, isPassing } from '../api/api-error.ts';
import { BackOff } from '../api/back-off.ts';
import { checksumOf } from './checksum.ts';
import { forget, remember } from './resume.ts';

/** Bytes of one request: progress is shown, and lost when a connection breaks, in such steps. */
const PART_BYTES = 4 * 1024 * 1024;

/** How often in a row a part may arrive damaged before it is given up. */
const MOST_DAMAGED = 3;

export interface UploadProgress {
  readonly state: 'sending' | 'waiting' | 'paused' | 'failed' | 'done';
  /** Bytes that the service has. */
  readonly offset: number;
  /** Why it waits or failed. */
  readonly problem: string;
}

/** Sends one file, as far as the service does not have it yet. */
export class FileUpload {
  readonly upload: Upload;
  readonly progress: Signal<UploadProgress>;
  readonly #file: File;
  readonly #onDone: (image: Image | null) => void;
  #running: AbortController | undefined;

  constructor(upload: Upload, file: File, onDone: (image: Image | null) => void) {
    this.upload = upload;
    this.#file = file;
    this.#onDone = onDone;
    this.progress = signal({ state: 'sending', offset: upload.offset, problem: '' });
    remember(localStorage, upload.id, file);
    this.resume();
  }

  pause(): void {
    this.#running?.abort();
    this.#running = undefined;
    this.#tell({ state: 'paused', problem: '' });
  }

  resume(): void {
    if (this.#running !== undefined) return;
    this.#running = new AbortController();
    this.#tell({ state: 'sending', problem: '' });
    void this.#run(this.#running.signal);
  }

  /** Gives it up, here and at the service. */
  async cancel(): Promise<void> {
    this.#running?.abort();
    forget(localStorage, this.upload.id);
    await request('DELETE', `uploads/${this.upload.id}`);
  }

  async #run(signal: AbortSignal): Promise<void> {
    const backOff = new BackOff();
    let damaged = 0;
    while (!signal.aborted) {
      try {
        let { offset } = await request<Upload>('GET', `uploads/${this.upload.id}`, { signal });
        for (;;) {
          this.#tell({ state: 'sending', offset, problem: '' });
          const { upload, image } = await this.#send(offset, signal);
          backOff.reset();
          damaged = 0;
          if (upload.imageId !== null) return this.#finish(image);
          offset = upload.offset;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && error.code === 'upload_complete') return this.#finish(null);
        const code = error instanceof ApiError ? error.code : '';
        const again = code === 'upload_offset' || (code === 'checksum_mismatch' && ++damaged <= MOST_DAMAGED);
        if (!isPassing(error) && !again) {
          this.#running = undefined;
          return this.#tell({ state: 'failed', problem: describe(error) });
        }
        this.#tell({ state: 'waiting', problem: describe(error) });
        await new Promise((resolve) => setTimeout(resolve, backOff.next()));
      }
    }
  }

  async #send(offset: number, signal: AbortSignal): Promise<{ upload: Upload; image: Image | null }> {
    const content = await this.#read(offset);
    const checksum = await checksumOf(content);
    return request('PATCH', `uploads/${this.upload.id}`, {
      raw: { type: 'application/offset+octet-stream', content },
      headers: {
        'upload-offset': String(offset),
        ...(checksum === undefined ? {} : { 'upload-checksum': checksum }),
      },
      signal,
    });
  }

  /** A file that has changed since it was chosen is no longer the browser's to read. */
  async #read(offset: number): Promise<ArrayBuffer> {
    try {
      return await this.#file.slice(offset, offset + PART_BYTES).arrayBuffer();
    } catch (cause) {
      throw new Error(`${this.#file.name} was changed, or cannot be read any more`, { cause });
    }
  }

  #finish(image: Image | null): void {
    this.#running = undefined;
    forget(localStorage, this.upload.id);
    this.#tell({ state: 'done', offset: this.upload.sizeBytes, problem: '' });
    this.#onDone(image);
  }

  #tell(change: Partial<UploadProgress>): void {
    this.progress.value = { ...this.progress.value, ...change };
  }
}

/** What is being sent from this page. It goes on while other pages are looked at. */
export const sending = signal<readonly FileUpload[]>([]);

export async function beginUpload(body: CreateUpload): Promise<Upload> {
  return request('POST', 'uploads', { body });
}

export function send(upload: Upload, file: File, onDone: (image: Image | null) => void): void {
  if (sending.value.some((other) => other.upload.id === upload.id)) return;
  const item = new FileUpload(upload, file, (image) => {
    drop(item);
    onDone(image);
  });
  sending.value = [...sending.value, item];
}

/** Stops all sending: another may sign in, and would go on with it. What has arrived is kept. */
export function stopSending(): void {
  for (const item of sending.value) item.pause();
  sending.value = [];
}

export function drop(item: FileUpload): void {
  sending.value = sending.value.filter((other) => other !== item);
}
