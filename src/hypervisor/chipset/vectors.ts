/** A set of interrupt vectors 0-255 laid out as eight 32-bit registers, with its highest member at hand. */
export class VectorSet {
  readonly #words = new Uint32Array(8);
  #highest = -1;

  /** -1 when empty. */
  get highest(): number {
    return this.#highest;
  }

  has(vector: number): boolean {
    return (this.#words[vector >> 5] & (1 << (vector & 31))) !== 0;
  }

  add(vector: number): void {
    this.#words[vector >> 5] |= 1 << (vector & 31);
    if (vector > this.#highest) this.#highest = vector;
  }

  remove(vector: number): void {
    this.#words[vector >> 5] &= ~(1 << (vector & 31));
    if (vector === this.#highest) this.#find();
  }

  clear(): void {
    this.#words.fill(0);
    this.#highest = -1;
  }

  /** Register `index`, 0-7. */
  word(index: number): number {
    return this.#words[index];
  }

  save(): readonly number[] {
    return [...this.#words];
  }

  restore(words: readonly number[]): void {
    this.#words.fill(0);
    this.#words.set(words.slice(0, 8));
    this.#find();
  }

  #find(): void {
    let index = 7;
    while (index >= 0 && this.#words[index] === 0) index--;
    this.#highest = index < 0 ? -1 : index * 32 + 31 - Math.clz32(this.#words[index]);
  }
}
