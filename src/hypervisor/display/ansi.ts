/** Longest control string that is followed to its end; a guest that never ends one is not believed. */
const LONGEST = 4096;

type Place = 'text' | 'escape' | 'intermediate' | 'sequence' | 'string' | 'stringEscape';

/**
 * Takes control sequences of terminals (ECMA-48, 5.3 to 5.6) out of a text
 * that comes in pieces. CR LF becomes LF; of other control characters, tab,
 * CR, backspace and LF stay.
 */
export class AnsiStripper {
  #place: Place = 'text';
  #length = 0;
  #carriageReturn = false;

  /** What is left of the next piece. */
  push(text: string): string {
    let out = '';
    for (const c of text) out += this.#step(c);
    return out;
  }

  #step(c: string): string {
    this.#length += 1;
    if (this.#place !== 'text' && this.#length > LONGEST) this.#place = 'text';
    switch (this.#place) {
      case 'text':
        return this.#text(c);
      case 'escape':
        this.#place = afterEscape(c);
        return '';
      case 'intermediate':
        if (c < ' ' || c > '/') this.#place = 'text';
        return '';
      case 'sequence':
        if (c >= '@' && c <= '~') this.#place = 'text';
        return '';
      case 'string':
        if (c === '\x1b') this.#place = 'stringEscape';
        else if (c === '\x07' || c === '\x9c') this.#place = 'text';
        return '';
      case 'stringEscape':
        this.#place = c === '\\' ? 'text' : afterEscape(c);
        return '';
    }
  }

  #text(c: string): string {
    const held = this.#carriageReturn;
    this.#carriageReturn = c === '\r';
    if (c === '\n') return '\n';
    const before = held ? '\r' : '';
    if (c === '\x1b') {
      this.#place = 'escape';
      this.#length = 0;
      return before;
    }
    if (c === '\r') return before;
    return (c >= ' ' && c !== '\x7f') || c === '\t' || c === '\b' ? before + c : before;
  }
}

function afterEscape(c: string): Place {
  if (c === '[') return 'sequence';
  if ('P]X^_'.includes(c)) return 'string';
  if (c === '\x1b') return 'escape';
  return c >= ' ' && c <= '/' ? 'intermediate' : 'text';
}
