/** Slots of the table; a power of two, well above the most colours counted. */
const SLOTS = 1024;

/** The different pixels of a piece, in the order in which they come; at most 256. */
export class Palette {
  readonly words = new Uint32Array(256);
  size = 0;
  readonly #slotWords = new Uint32Array(SLOTS);
  readonly #slotIndexes = new Uint16Array(SLOTS);
  /** A slot is in use when it has this number: so it need not be emptied. */
  readonly #slotRounds = new Uint32Array(SLOTS);
  #round = 0;

  /**
   * Counts the pixels of a rectangle of `words`, whose rows are `pitch` apart.
   * @param limit most that are wanted, 1 to 256
   * @returns false when there are more than that
   */
  count(
    words: Uint32Array,
    start: number,
    pitch: number,
    width: number,
    height: number,
    limit: number,
  ): boolean {
    this.size = 0;
    this.#round++;
    for (let y = 0; y < height; y++) {
      const from = start + y * pitch;
      // No pixel is like what is beside the first one of a row.
      let last = ~words[from] >>> 0;
      for (let i = from; i < from + width; i++) {
        const word = words[i];
        if (word === last) continue;
        last = word;
        if (!this.#add(word, limit)) return false;
      }
    }
    return true;
  }

  /** Of a pixel that was counted. */
  indexOf(word: number): number {
    return this.#slotIndexes[this.#slot(word)];
  }

  #add(word: number, limit: number): boolean {
    const slot = this.#slot(word);
    if (this.#slotRounds[slot] === this.#round) return true;
    if (this.size === limit) return false;
    this.#slotRounds[slot] = this.#round;
    this.#slotWords[slot] = word;
    this.#slotIndexes[slot] = this.size;
    this.words[this.size++] = word;
    return true;
  }

  /** Where the pixel is, or would be. */
  #slot(word: number): number {
    let slot = (Math.imul(word, 0x9e3779b1) >>> 16) & (SLOTS - 1);
    while (this.#slotRounds[slot] === this.#round && this.#slotWords[slot] !== word)
      slot = (slot + 1) & (SLOTS - 1);
    return slot;
  }
}
