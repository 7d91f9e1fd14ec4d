import { type ByteSink, RingSink } from '../backends/streams.ts';

/** Bytes that come as time goes by, and those that came last. */
export interface ByteSource {
  /** What is kept, oldest first. */
  backlog(): Uint8Array;
  /** Has the listener called with what comes from now on; returns what ends that. */
  listen(listener: (bytes: Uint8Array) => void): () => void;
}

/** A sink, beside others of a stream, from which its bytes can be had. */
export class StreamTap implements ByteSink, ByteSource {
  readonly #ring: RingSink;
  readonly #listeners = new Set<(bytes: Uint8Array) => void>();

  /** @param capacity bytes of the backlog */
  constructor(capacity?: number) {
    this.#ring = new RingSink(capacity);
  }

  write(bytes: Uint8Array): void {
    this.#ring.write(bytes);
    for (const listener of [...this.#listeners]) listener(bytes);
  }

  backlog(): Uint8Array {
    return this.#ring.snapshot();
  }

  listen(listener: (bytes: Uint8Array) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
