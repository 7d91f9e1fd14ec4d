import { constants, deflateRawSync } from 'node:zlib';

/** How far back a deflated stream may refer: RFC 1951 §2. */
const WINDOW = 32768;
/** More of it than so many times what is to be compressed costs more time than it saves bytes. */
const WINDOW_SHARE = 16;
const LEAST_WINDOW = 4096;
/** Of a zlib stream with that window (RFC 1950 §2.2). */
const HEADER = Uint8Array.of(0x78, 0x9c);

/**
 * A zlib stream that lasts as long as a viewer and is flushed after each piece, as Tight and ZRLE want it. Node's
 * streams work on other threads, a turn of the event loop for each piece; its synchronous functions compress one
 * whole. So each piece is a deflated stream of its own whose dictionary is the end of what went before, ended by a
 * flush and not as a last block: one after the other they are one stream.
 */
export class ZlibStream {
  readonly #window = new Uint8Array(WINDOW);
  #filled = 0;
  #started = false;

  /**
   * Compresses a piece, which the reader can then decompress in full.
   * @param level 1, fast, to 9, small
   */
  compress(data: Uint8Array, level: number): Uint8Array {
    const back = Math.min(this.#filled, Math.max(WINDOW_SHARE * data.length, LEAST_WINDOW));
    const deflated = deflateRawSync(data, {
      level,
      finishFlush: constants.Z_SYNC_FLUSH,
      ...(back === 0 ? {} : { dictionary: this.#window.subarray(this.#filled - back, this.#filled) }),
    });
    this.#remember(data);
    if (this.#started) return deflated;
    this.#started = true;
    return Buffer.concat([HEADER, deflated]);
  }

  #remember(data: Uint8Array): void {
    const kept = data.length > WINDOW ? data.subarray(data.length - WINDOW) : data;
    const before = Math.min(this.#filled, WINDOW - kept.length);
    this.#window.copyWithin(0, this.#filled - before, this.#filled);
    this.#window.set(kept, before);
    this.#filled = before + kept.length;
  }
}
