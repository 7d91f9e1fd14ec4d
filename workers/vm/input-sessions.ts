import type { InputPosition } from '../../src/contracts/channel.ts';

/** How many sessions without a connection are remembered. */
export const MAX_SESSIONS_AWAY = 64;

/** How much of one viewer's input has been taken, over all its connections. */
export interface InputSession {
  readonly id: string;
  /** The number of the session's next byte. */
  taken: number;
}

/** Remembers the input sessions of viewers that are away: the MAX_SESSIONS_AWAY that left last. */
export class InputSessions {
  /** In the order in which they left. */
  readonly #away = new Map<string, InputSession>();

  /** The session as it was left; one that is not known begins with what its viewer sends next. */
  open({ session, sent }: InputPosition): InputSession {
    const known = this.#away.get(session);
    this.#away.delete(session);
    return known ?? { id: session, taken: sent };
  }

  /** Remembers a session whose connection has ended. */
  leave(session: InputSession): void {
    this.#away.set(session.id, session);
    for (const id of this.#away.keys()) {
      if (this.#away.size <= MAX_SESSIONS_AWAY) break;
      this.#away.delete(id);
    }
  }
}
