/** MSR contents that have no place in the state block, by index. Unset ones read as their reset value. */
export class MsrStore {
  readonly #values = new Map<number, bigint>();

  get(index: number, reset = 0n): bigint {
    return this.#values.get(index) ?? reset;
  }

  set(index: number, value: bigint): void {
    this.#values.set(index, value);
  }

  clear(): void {
    this.#values.clear();
  }

  /** Index in hexadecimal to value in hexadecimal. */
  save(): Record<string, string> {
    return Object.fromEntries(
      [...this.#values].map(([index, value]) => [index.toString(16), value.toString(16)]),
    );
  }

  restore(saved: Readonly<Record<string, string>>): void {
    this.#values.clear();
    for (const [index, value] of Object.entries(saved))
      this.#values.set(Number.parseInt(index, 16), BigInt(`0x${value}`));
  }
}
