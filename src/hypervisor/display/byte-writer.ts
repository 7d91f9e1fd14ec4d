const FIRST_CAPACITY = 4096;

/** Bytes in the order of the wire, big-endian as RFB's integers are (RFC 6143 §7), in a buffer that grows. */
export class ByteWriter {
  #bytes = new Uint8Array(FIRST_CAPACITY);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  u8(value: number): void {
    this.reserve(1);
    this.#bytes[this.#length++] = value;
  }

  u16(value: number): void {
    this.reserve(2);
    this.#view.setUint16(this.#length, value);
    this.#length += 2;
  }

  /** 32 bits, signed or not. */
  u32(value: number): void {
    this.reserve(4);
    this.#view.setUint32(this.#length, value);
    this.#length += 4;
  }

  bytes(bytes: ArrayLike<number>): void {
    this.reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  text(text: string): void {
    this.bytes(Buffer.from(text, 'utf8'));
  }

  /** The lowest `count` bytes of each word, lowest first: pixels of `PixelPacker`. */
  pixels(words: Uint32Array, from: number, to: number, count: number): void {
    this.reserve((to - from) * count);
    const bytes = this.#bytes;
    let at = this.#length;
    for (let i = from; i < to; i++) {
      let word = words[i];
      for (let k = 0; k < count; k++, word >>>= 8) bytes[at++] = word;
    }
    this.#length = at;
  }

  pixel(word: number, count: number): void {
    this.reserve(count);
    for (let k = 0, rest = word; k < count; k++, rest >>>= 8) this.#bytes[this.#length++] = rest;
  }

  /** Puts 16 bits over what was written at `at`. */
  patchU16(at: number, value: number): void {
    this.#view.setUint16(at, value);
  }

  /** Takes back what was written from `length` on. */
  truncate(length: number): void {
    this.#length = Math.min(this.#length, length);
  }

  /** What was written, as a view that is good until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** What was written, as bytes of its own; the writer is empty then. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = this.#bytes.slice(0, this.#length);
    this.#length = 0;
    return taken;
  }

  /** Makes room for `count` more bytes. */
  reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
