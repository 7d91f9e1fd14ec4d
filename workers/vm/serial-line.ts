import { AnsiStripper } from '../../src/hypervisor/display/ansi.ts';
import type { ByteSource } from '../../src/hypervisor/display/stream-tap.ts';
import type { Backlog } from './backlog.ts';

/** Characters of which `expectOnStream` remembers all, so that it can be told where in the bytes it found something. */
const SURELY_KEPT = 32_768;

/** What was said from some byte on, and what is still said. */
export interface SerialSource extends ByteSource {
  /** The number of the byte after the first so many characters, as `expectOnStream` counts them. */
  positionAfter(characters: number): number;
}

/** What a guest says on its serial line, for those who wait for something in it. */
export class SerialLine {
  readonly #backlog: Backlog;
  readonly #listeners = new Set<(bytes: Uint8Array) => void>();

  /** @param backlog has each byte before it is pushed here */
  constructor(backlog: Backlog) {
    this.#backlog = backlog;
  }

  /** The number of the next byte, since launch. */
  get position(): number {
    return this.#backlog.end;
  }

  push(bytes: Uint8Array): void {
    for (const listener of this.#listeners) listener(bytes);
  }

  /** From byte `after` on, or from the first that is kept. */
  from(after: number): SerialSource {
    const { position: start, bytes } = this.#backlog.since(after);
    return {
      backlog: () => bytes,
      listen: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      positionAfter: (characters) => {
        const all = this.#backlog.since(start);
        const known = all.position === start && readable(all.bytes).length <= SURELY_KEPT;
        return known ? start + prefixWith(all.bytes, characters) : this.#backlog.end;
      },
    };
  }
}

/** What is left of a terminal's bytes for whoever looks for a pattern. */
function readable(bytes: Uint8Array): string {
  return new AnsiStripper().push(new TextDecoder().decode(bytes, { stream: true }));
}

/** How many bytes it takes to have so many readable characters. */
function prefixWith(bytes: Uint8Array, characters: number): number {
  let least = 0;
  let most = bytes.length;
  while (least < most) {
    const middle = (least + most) >> 1;
    if (readable(bytes.subarray(0, middle)).length >= characters) most = middle;
    else least = middle + 1;
  }
  return least;
}
