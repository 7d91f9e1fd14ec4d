/** Tells those who wait for something to be said that more has been. */
export class SerialTap {
  readonly #listeners = new Set<() => void>();

  /** The guest has said something. */
  push(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` at each push until the returned function is called. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
