import type { Wire } from './wire.ts';
import type { FromDisplay } from './worker-messages.ts';

/** A viewer whose stream is on the machine's thread: bytes go there as messages. */
export class PortWire implements Wire {
  backlog = 0;
  taken = 0;
  readonly #id: number;
  readonly #post: (message: FromDisplay, transfer?: ArrayBuffer[]) => void;
  #paused = false;
  #handled = 0;

  constructor(id: number, post: (message: FromDisplay, transfer?: ArrayBuffer[]) => void) {
    this.#id = id;
    this.#post = post;
  }

  write(bytes: Uint8Array<ArrayBuffer>): void {
    this.backlog += bytes.length;
    this.#post({ kind: 'bytes', id: this.#id, bytes }, [bytes.buffer]);
  }

  /** The stream has taken so many bytes. */
  take(count: number): void {
    this.backlog -= count;
    this.taken += count;
  }

  /** So many bytes from the stream were handled: the other thread lets more in unless this one paused. */
  handled(count: number): void {
    this.#handled += count;
    if (this.#paused || this.#handled === 0) return;
    this.#post({ kind: 'handled', id: this.#id, count: this.#handled });
    this.#handled = 0;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.handled(0);
  }

  close(): void {
    this.#post({ kind: 'end', id: this.#id });
  }
}
