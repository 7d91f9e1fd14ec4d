import type { KeyCode } from '../backends/input.ts';
import type { PointerMove } from './viewer-pointer.ts';
import type { InputEvent } from './worker-messages.ts';

/** Collects what viewers do until the end of the turn; movements in between that change nothing else become one. */
export class InputBatch {
  readonly #send: (events: readonly InputEvent[]) => void;
  #events: InputEvent[] = [];

  constructor(send: (events: readonly InputEvent[]) => void) {
    this.#send = send;
  }

  key(code: KeyCode, down: boolean): void {
    this.#add({ kind: 'key', code, down });
  }

  move(move: PointerMove): void {
    const last = this.#events.at(-1);
    if (last?.kind === 'move' && last.buttons === move.buttons && last.wheel === 0 && move.wheel === 0) {
      this.#events[this.#events.length - 1] = {
        kind: 'move',
        ...move,
        dx: last.dx + move.dx,
        dy: last.dy + move.dy,
      };
    } else {
      this.#add({ kind: 'move', ...move });
    }
  }

  #add(event: InputEvent): void {
    if (this.#events.length === 0) {
      queueMicrotask(() => {
        const events = this.#events;
        this.#events = [];
        this.#send(events);
      });
    }
    this.#events.push(event);
  }
}
