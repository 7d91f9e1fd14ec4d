import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { encodeBytes, FRAME_TYPES } from '../../src/contracts/channel.ts';

/** A peer that takes nothing for this long is dropped. Milliseconds. */
const STALL_MS = 20_000;
/** What may wait on either side before the other is held up, in bytes. */
const HIGH_WATER_BYTES = 64 * 1024;

/**
 * The bytes of a connection, without its frames: what is written becomes
 * output frames, what arrives in input frames is read. Neither side holds more
 * than HIGH_WATER_BYTES and a frame; a peer that does not read for STALL_MS is
 * dropped.
 */
export class FramedStream extends Duplex {
  readonly #socket: Socket;
  readonly #stallMs: number;
  #stalled: NodeJS.Timeout | undefined;

  constructor(socket: Socket, stallMs = STALL_MS) {
    super({ highWaterMark: HIGH_WATER_BYTES });
    this.#socket = socket;
    this.#stallMs = stallMs;
    socket.once('close', () => this.destroy());
  }

  /** Takes the payload of an input frame. */
  feed(bytes: Uint8Array): void {
    if (!this.destroyed && !this.push(bytes)) this.#socket.pause();
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    let room = true;
    for (const frame of encodeBytes(FRAME_TYPES.output, chunk)) room = this.#socket.write(frame);
    if (room || this.#socket.destroyed) return done();
    this.#stalled = setTimeout(() => this.#socket.destroy(), this.#stallMs);
    this.#socket.once('drain', () => {
      clearTimeout(this.#stalled);
      done();
    });
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#stalled);
    this.#socket.destroy();
    done(error);
  }
}
