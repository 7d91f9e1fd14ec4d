import { BACKLOG_BYTES } from '../../src/contracts/channel.ts';

/** The last bytes of a serial line, each known by its number since launch. */
export class Backlog {
  readonly #ring = Buffer.alloc(BACKLOG_BYTES);
  #end = 0;

  /** How many bytes there have been: the number of the next one. */
  get end(): number {
    return this.#end;
  }

  append(bytes: Uint8Array): void {
    const kept = bytes.length > BACKLOG_BYTES ? bytes.subarray(bytes.length - BACKLOG_BYTES) : bytes;
    this.#end += bytes.length - kept.length;
    const at = this.#end % BACKLOG_BYTES;
    const first = Math.min(kept.length, BACKLOG_BYTES - at);
    this.#ring.set(kept.subarray(0, first), at);
    this.#ring.set(kept.subarray(first), 0);
    this.#end += kept.length;
  }

  /** A copy of what came at `position` or later and is still kept, and the number of its first byte. */
  since(position: number): { position: number; bytes: Buffer } {
    const from = Math.min(Math.max(position, this.#end - BACKLOG_BYTES, 0), this.#end);
    const bytes = Buffer.allocUnsafe(this.#end - from);
    const at = from % BACKLOG_BYTES;
    const first = Math.min(bytes.length, BACKLOG_BYTES - at);
    bytes.set(this.#ring.subarray(at, at + first), 0);
    bytes.set(this.#ring.subarray(0, bytes.length - first), first);
    return { position: from, bytes };
  }
}
