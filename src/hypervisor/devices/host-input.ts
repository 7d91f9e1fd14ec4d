import type { ByteInput } from '../backends/streams.ts';
import type { DoorPort } from '../machine/door.ts';

/** Most host bytes that may wait for a guest to take them. */
export const HOST_INPUT_LIMIT = 65536;

/** A condition on the wire that takes a place among the bytes, such as a break; any number. */
export type Mark = { readonly mark: number };

export type HostInputState = readonly (Uint8Array | Mark)[];

/**
 * The bounded queue of a character device's input. The host offers bytes on
 * its side of the door; the guest's side takes them out at its own pace. What
 * finds no room stays with the host, which hears when half has been taken.
 */
export class HostInput implements ByteInput {
  readonly #post: (item: Uint8Array | Mark) => void;
  #waiting: (Uint8Array | Mark)[] = [];
  /** Bytes and marks offered and not yet taken, on either side of the door. */
  #outstanding = 0;
  #refused = false;
  #drained: (() => void) | undefined;

  /** @param port where the device's way through the door begins; its end calls `arrived` */
  constructor(port: DoorPort<Uint8Array | Mark>) {
    this.#post = (item) => port.post(item);
  }

  offer(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, HOST_INPUT_LIMIT - this.#outstanding);
    if (taken < bytes.length) this.#refused = true;
    if (taken > 0) {
      this.#outstanding += taken;
      this.#post(bytes.slice(0, taken));
    }
    return taken;
  }

  /** Offers a mark; false when there is no room. */
  offerMark(mark: number): boolean {
    if (this.#outstanding >= HOST_INPUT_LIMIT) return false;
    this.#outstanding += 1;
    this.#post({ mark });
    return true;
  }

  onDrained(listener: () => void): void {
    this.#drained = listener;
  }

  /** What the door delivered. */
  arrived(item: Uint8Array | Mark): void {
    if (!(item instanceof Uint8Array) || item.length > 0) this.#waiting.push(item);
  }

  get empty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Takes the next mark, or up to `length` bytes that follow one another; undefined when nothing waits. */
  take(length: number): Uint8Array | Mark | undefined {
    const first = this.#waiting[0];
    if (first === undefined || length <= 0) return undefined;
    if (!(first instanceof Uint8Array)) {
      this.#waiting.shift();
      this.#outstanding -= 1;
      return first;
    }
    const part = first.subarray(0, length);
    if (part.length < first.length) this.#waiting[0] = first.subarray(part.length);
    else this.#waiting.shift();
    this.#outstanding -= part.length;
    return part;
  }

  /** To be called after taking: tells a host that was refused that there is room. */
  relieve(): void {
    if (!this.#refused || this.#outstanding > HOST_INPUT_LIMIT / 2) return;
    this.#refused = false;
    this.#drained?.();
  }

  save(): HostInputState {
    return this.#waiting.map((item) => (item instanceof Uint8Array ? item.slice() : item));
  }

  restore(state: HostInputState): void {
    this.#waiting = state.map((item) => (item instanceof Uint8Array ? item.slice() : item));
    this.#outstanding = this.#waiting.reduce(
      (n, item) => n + (item instanceof Uint8Array ? item.length : 1),
      0,
    );
  }
}
