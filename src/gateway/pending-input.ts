import { randomUUID } from 'node:crypto';
import type { InputPosition } from '../contracts/channel.ts';
import { BACKLOG_BYTES } from '../contracts/channel.ts';

/**
 * What a viewer has typed and the VM has not said that it took. Bytes are
 * numbered from 0 over the life of the viewer; see contracts/channel.ts.
 */
export class PendingInput {
  readonly #session = randomUUID();
  #kept: Buffer = Buffer.alloc(0);
  /** The number of the first byte of #kept: all before it have been taken, or given up. */
  #taken = 0;
  /** The number of the first byte that no VM was sent. */
  #sent = 0;

  /** What to attach with. */
  get position(): InputPosition {
    return { session: this.#session, sent: this.#sent };
  }

  /** Whether the viewer is to be held up until more is taken. */
  get isFull(): boolean {
    return this.#kept.length >= BACKLOG_BYTES;
  }

  push(bytes: Uint8Array): void {
    this.#kept = Buffer.concat([this.#kept, bytes]);
  }

  /** A VM process has all before byte `taken`, which is at most what was sent. */
  acknowledge(taken: number): void {
    if (taken <= this.#taken) return;
    this.#kept = this.#kept.subarray(taken - this.#taken);
    this.#taken = taken;
  }

  /** A new attachment goes on from byte `taken`: what was sent after it has not arrived, and never will. */
  resume(taken: number): void {
    this.acknowledge(taken);
    this.#sent = this.#taken;
  }

  /** What is to be sent now; it counts as sent from here on. */
  takeUnsent(): Buffer {
    const unsent = this.#kept.subarray(this.#sent - this.#taken);
    this.#sent += unsent.length;
    return unsent;
  }
}
