import type { Readable, Writable } from 'node:stream';

/** Where a device's output bytes go. */
export interface ByteSink {
  /** Takes the bytes; they are the sink's from then on. Never throws. */
  write(bytes: Uint8Array): void;
  /**
   * Asks to be told when the sink has more than it wants (`true`) and when it
   * has room again (`false`), at once if it is full now. Replaces an earlier
   * listener. A sink without this method always has room.
   */
  onPressure?(listener: (full: boolean) => void): void;
}

/** A device's way in for bytes of the host, with back-pressure. */
export interface ByteInput {
  /**
   * Offers bytes; returns how many of them, from the first, were taken. What
   * was not taken is offered again after the listener of `onDrained` ran.
   */
  offer(bytes: Uint8Array): number;
  /** Called, after `offer` took less than all, once there is room again. Replaces an earlier listener. */
  onDrained(listener: () => void): void;
}

/** A sink that forgets. */
export class NullSink implements ByteSink {
  write(): void {}
}

/** A sink that keeps the last `capacity` bytes, as a console's backlog does. */
export class RingSink implements ByteSink {
  readonly capacity: number;
  readonly #ring: Uint8Array;
  #total = 0;

  constructor(capacity = 65536) {
    this.capacity = capacity;
    this.#ring = new Uint8Array(capacity);
  }

  /** Bytes ever written. */
  get total(): number {
    return this.#total;
  }

  write(bytes: Uint8Array): void {
    const kept = bytes.length > this.capacity ? bytes.subarray(bytes.length - this.capacity) : bytes;
    const at = (this.#total + bytes.length - kept.length) % this.capacity;
    const first = Math.min(kept.length, this.capacity - at);
    this.#ring.set(kept.subarray(0, first), at);
    this.#ring.set(kept.subarray(first), 0);
    this.#total += bytes.length;
  }

  /** A copy of what is kept, oldest first. */
  snapshot(): Uint8Array {
    if (this.#total <= this.capacity) return this.#ring.slice(0, this.#total);
    const at = this.#total % this.capacity;
    const out = new Uint8Array(this.capacity);
    out.set(this.#ring.subarray(at), 0);
    out.set(this.#ring.subarray(0, at), this.capacity - at);
    return out;
  }
}

/** Writes to each of several sinks; full while any of them is. */
export class TeeSink implements ByteSink {
  readonly #sinks: readonly ByteSink[];

  constructor(...sinks: readonly ByteSink[]) {
    this.#sinks = sinks;
  }

  write(bytes: Uint8Array): void {
    for (const sink of this.#sinks) sink.write(bytes);
  }

  onPressure(listener: (full: boolean) => void): void {
    const full = new Set<ByteSink>();
    for (const sink of this.#sinks) {
      sink.onPressure?.((now) => {
        const before = full.size > 0;
        if (now) full.add(sink);
        else full.delete(sink);
        const after = full.size > 0;
        if (before !== after) listener(after);
      });
    }
  }
}

/**
 * A sink over a Node stream: a terminal, a file, a socket. Tells its device to
 * hold when the stream's own buffer is full. A stream that fails or closes
 * swallows what is written afterwards, so a guest never hangs on a gone viewer.
 */
export class StreamSink implements ByteSink {
  readonly #stream: Writable;
  #gone = false;
  #full = false;
  #listener: ((full: boolean) => void) | undefined;

  constructor(stream: Writable, onError?: (error: Error) => void) {
    this.#stream = stream;
    stream.on('drain', () => this.#setFull(false));
    stream.on('close', () => this.#leave());
    stream.on('error', (error: Error) => {
      this.#leave();
      onError?.(error);
    });
  }

  write(bytes: Uint8Array): void {
    if (this.#gone || this.#stream.destroyed || this.#stream.writableEnded) return;
    if (!this.#stream.write(bytes)) this.#setFull(true);
  }

  onPressure(listener: (full: boolean) => void): void {
    this.#listener = listener;
    if (this.#full) listener(true);
  }

  #leave(): void {
    this.#gone = true;
    this.#setFull(false);
  }

  #setFull(full: boolean): void {
    if (full === this.#full) return;
    this.#full = full;
    this.#listener?.(full);
  }
}

/**
 * Feeds a readable stream to a device's input, pausing the stream while the
 * device has no room. Returns a function that lets go of the stream.
 */
export function pipeToInput(source: Readable, input: ByteInput): () => void {
  let waiting: Uint8Array | undefined;
  const push = (bytes: Uint8Array): void => {
    const taken = input.offer(bytes);
    waiting = taken < bytes.length ? bytes.subarray(taken) : undefined;
    if (waiting === undefined) source.resume();
    else source.pause();
  };
  const onData = (chunk: Uint8Array | string): void => {
    const bytes = typeof chunk === 'string' ? new TextEncoder().encode(chunk) : Uint8Array.from(chunk);
    // A stream may hand over one more chunk after pause().
    push(waiting === undefined ? bytes : concat(waiting, bytes));
  };
  input.onDrained(() => {
    if (waiting !== undefined) push(waiting);
  });
  source.on('data', onData);
  return () => {
    source.off('data', onData);
    input.onDrained(() => {});
  };
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a, 0);
  out.set(b, a.length);
  return out;
}
