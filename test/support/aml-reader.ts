/**
 * A reader of the part of ACPI Machine Language that tables without code use
 * (ACPI 6.5, chapter 20): scopes, devices, names, packages, buffers, strings,
 * integers, and methods whose bodies it keeps as bytes.
 */
export type AmlValue = number | string | Uint8Array | { readonly ref: string } | readonly AmlValue[];

export interface AmlMethod {
  readonly args: number;
  readonly body: Uint8Array;
}

/** Objects by absolute path, such as `\_SB.PCI0._CRS`. */
export interface AmlNamespace {
  readonly names: Map<string, AmlValue>;
  readonly methods: Map<string, AmlMethod>;
  readonly devices: string[];
}

export function readAml(bytes: Uint8Array): AmlNamespace {
  const space: AmlNamespace = { names: new Map(), methods: new Map(), devices: [] };
  new Reader(bytes, space).terms(bytes.length, '\\');
  return space;
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #space: AmlNamespace;
  #at = 0;

  constructor(bytes: Uint8Array, space: AmlNamespace) {
    this.#bytes = bytes;
    this.#space = space;
  }

  terms(end: number, scope: string): void {
    while (this.#at < end) this.#term(scope);
    if (this.#at !== end) throw new Error(`AML: a term ends at ${this.#at}, its package at ${end}`);
  }

  #term(scope: string): void {
    const op = this.#byte();
    if (op === 0x10) {
      const end = this.#packageEnd();
      this.terms(end, join(scope, this.#name()));
    } else if (op === 0x5b && this.#bytes[this.#at] === 0x82) {
      this.#at += 1;
      const end = this.#packageEnd();
      const path = join(scope, this.#name());
      this.#space.devices.push(path);
      this.terms(end, path);
    } else if (op === 0x08) {
      const path = join(scope, this.#name());
      if (this.#space.names.has(path)) throw new Error(`AML: ${path} is defined twice`);
      this.#space.names.set(path, this.#value());
    } else if (op === 0x14) {
      const end = this.#packageEnd();
      const path = join(scope, this.#name());
      const args = this.#byte() & 7;
      this.#space.methods.set(path, { args, body: this.#bytes.slice(this.#at, end) });
      this.#at = end;
    } else {
      throw new Error(`AML: opcode 0x${op.toString(16)} at ${this.#at - 1}`);
    }
  }

  #value(): AmlValue {
    const op = this.#byte();
    switch (op) {
      case 0x00:
        return 0;
      case 0x01:
        return 1;
      case 0x0a:
        return this.#integer(1);
      case 0x0b:
        return this.#integer(2);
      case 0x0c:
        return this.#integer(4);
      case 0x0e:
        return this.#integer(8);
      case 0x0d: {
        let text = '';
        for (let c = this.#byte(); c !== 0; c = this.#byte()) text += String.fromCharCode(c);
        return text;
      }
      case 0x11: {
        const end = this.#packageEnd();
        const length = this.#value();
        if (length !== end - this.#at) throw new Error('AML: a buffer is not as long as it says');
        const bytes = this.#bytes.slice(this.#at, end);
        this.#at = end;
        return bytes;
      }
      case 0x12: {
        const end = this.#packageEnd();
        const values = Array.from({ length: this.#byte() }, () => this.#value());
        if (this.#at !== end) throw new Error('AML: a package is not as long as it says');
        return values;
      }
      default:
        this.#at -= 1;
        return { ref: this.#name() };
    }
  }

  #name(): string {
    let prefix = '';
    if (this.#bytes[this.#at] === 0x5c) {
      prefix = '\\';
      this.#at += 1;
    }
    const lead = this.#bytes[this.#at];
    let count = 1;
    if (lead === 0x2e || lead === 0x2f) {
      this.#at += 1;
      count = lead === 0x2e ? 2 : this.#byte();
    }
    const segments = Array.from({ length: count }, () => {
      const text = String.fromCharCode(...this.#bytes.subarray(this.#at, this.#at + 4));
      if (!/^[A-Z_][A-Z0-9_]{3}$/.test(text)) throw new Error(`AML: name segment ${JSON.stringify(text)}`);
      this.#at += 4;
      return text.replace(/_+$/, '');
    });
    return prefix + segments.join('.');
  }

  #packageEnd(): number {
    const start = this.#at;
    const lead = this.#byte();
    const more = lead >> 6;
    let length = more === 0 ? lead & 0x3f : lead & 0x0f;
    for (let i = 0; i < more; i++) length += this.#byte() * 2 ** (4 + 8 * i);
    return start + length;
  }

  #integer(width: number): number {
    let value = 0;
    for (let i = 0; i < width; i++) value += this.#byte() * 2 ** (8 * i);
    return value;
  }

  #byte(): number {
    if (this.#at >= this.#bytes.length) throw new Error('AML: cut off');
    return this.#bytes[this.#at++];
  }
}

function join(scope: string, name: string): string {
  if (name.startsWith('\\')) return name;
  return scope === '\\' ? `\\${name}` : `${scope}.${name}`;
}
