import { LANES, LOADS, NUMERIC, OP, SIMD, STORES, TYPE_NAMES, type ValType } from './opcodes.ts';

export interface TextOptions {
  /** A name for a constant address of memory, such as a field of the state block. */
  readonly addressName?: (address: number) => string | undefined;
  /** Imports by name whose constant arguments are this run's alone, and so not written out: by position. */
  readonly hidden?: Readonly<Record<string, readonly number[]>>;
}

interface FunctionType {
  readonly params: readonly string[];
  readonly results: readonly string[];
}

/** Names of operators by opcode: one byte, and behind 0xfc and 0xfd. */
const PLAIN = new Map([...NUMERIC].filter(([, op]) => op <= 0xff).map(([name, op]) => [op, name]));
const SATURATING = new Map([...NUMERIC].filter(([, op]) => op > 0xff).map(([name, op]) => [op & 0xff, name]));
const VECTOR = new Map(Object.entries(SIMD).map(([name, op]) => [op, name]));
const LANE = new Map(Object.entries(LANES).map(([name, [op]]) => [op as number, name]));
const ACCESS = new Map<number, { readonly name: string; readonly store: boolean }>([
  ...Object.entries(LOADS).map(([name, [op]]) => [op as number, { name, store: false }] as const),
  ...Object.entries(STORES).map(([name, [op]]) => [op as number, { name, store: true }] as const),
]);

const UNARY =
  /\.(eqz|clz|ctz|popcnt|wrap|extend|trunc|convert|promote|demote|reinterpret|abs|neg|sqrt|ceil|floor|nearest|not|any_true|all_true|bitmask|splat|extadd)/;
const arity = (name: string): number =>
  UNARY.test(name) ? 1 : /bitselect|madd|relaxed_laneselect/.test(name) ? 3 : 2;

/** Reads a module's bytes. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  get done(): boolean {
    return this.at >= this.#bytes.length;
  }
  byte(): number {
    const value = this.#bytes[this.at++];
    if (value === undefined) throw new RangeError('the module ends in the middle');
    return value;
  }
  unsigned(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }
  signed(): bigint {
    let value = 0n;
    for (let shift = 0n; ; ) {
      const byte = this.byte();
      value |= BigInt(byte & 127) << shift;
      shift += 7n;
      if (byte < 128) return BigInt.asIntN(Number(shift), value);
    }
  }
  f32(): number {
    this.at += 4;
    return this.#view.getFloat32(this.at - 4, true);
  }
  f64(): number {
    this.at += 8;
    return this.#view.getFloat64(this.at - 8, true);
  }
  take(bytes: number): Uint8Array {
    this.at += bytes;
    return this.#bytes.subarray(this.at - bytes, this.at);
  }
  name(): string {
    return new TextDecoder().decode(this.take(this.unsigned()));
  }
  type(): string {
    return TYPE_NAMES[this.byte() as ValType] ?? '?';
  }
  list<T>(item: () => T): T[] {
    return Array.from({ length: this.unsigned() }, item);
  }
}

/**
 * The functions of a module of ours in the text format (Core Specification
 * §6.5), operands folded into what uses them, a statement a line: for golden
 * files and profiles. Knows what the emitter writes, and throws a RangeError
 * at anything else.
 */
export function moduleText(bytes: Uint8Array, options: TextOptions = {}): string {
  return new ModuleText(bytes, options).text();
}

/** (ref null …) in front of a heap type. */
const REFERENCE = 0x63;

class ModuleText {
  readonly #r: Reader;
  readonly #options: TextOptions;
  #types: FunctionType[] = [];
  readonly #functions: { readonly name: string; readonly type: FunctionType }[] = [];
  #imported = 0;
  readonly #lines: string[] = [];
  #stack: string[] = [];
  #indent = 0;

  constructor(bytes: Uint8Array, options: TextOptions) {
    this.#r = new Reader(bytes);
    this.#options = options;
  }

  text(): string {
    const r = this.#r;
    r.take(8);
    while (!r.done) {
      const id = r.byte();
      const size = r.unsigned();
      const end = r.at + size;
      if (id === 1) this.#types = r.list(() => this.#functionType());
      else if (id === 2) this.#imports();
      else if (id === 3) this.#declarations();
      else if (id === 7) this.#exports();
      else if (id === 10) for (let n = r.unsigned(), i = 0; i < n; i++) this.#body(i);
      r.at = end;
    }
    return `${this.#lines.join('\n')}\n`;
  }

  #functionType(): FunctionType {
    const r = this.#r;
    r.byte();
    return { params: r.list(() => r.type()), results: r.list(() => r.type()) };
  }
  #typeAt(index: number): FunctionType {
    const type = this.#types[index];
    if (!type) throw new RangeError(`no type ${index}`);
    return type;
  }
  #imports(): void {
    const r = this.#r;
    for (let n = r.unsigned(); n > 0; n--) {
      r.name();
      const name = r.name();
      const kind = r.byte();
      if (kind === 0) {
        this.#functions.push({ name, type: this.#typeAt(r.unsigned()) });
        this.#imported += 1;
      } else if (kind === 3) r.take(2);
      else {
        // A table of references to a type, or a memory: then limits, the maximum only where the flags say so.
        if (kind === 1 && r.byte() === REFERENCE) r.unsigned();
        const flags = r.byte();
        r.unsigned();
        if ((flags & 1) !== 0) r.unsigned();
      }
    }
  }
  #declarations(): void {
    this.#r.list(() => {
      this.#functions.push({
        name: `f${this.#functions.length - this.#imported}`,
        type: this.#typeAt(this.#r.unsigned()),
      });
    });
  }
  #exports(): void {
    const r = this.#r;
    for (let n = r.unsigned(); n > 0; n--) {
      const name = r.name();
      const kind = r.byte();
      const index = r.unsigned();
      const known = this.#functions[index];
      if (kind === 0 && known && index >= this.#imported) this.#functions[index] = { ...known, name };
    }
  }

  #line(text: string): void {
    this.#lines.push(`${'  '.repeat(this.#indent)}${text}`);
  }
  #pop(): string {
    const value = this.#stack.pop();
    if (value === undefined) throw new RangeError('an operand is missing');
    return value;
  }
  #operands(count: number): string[] {
    const taken = this.#stack.splice(this.#stack.length - count, count);
    if (taken.length !== count) throw new RangeError('operands are missing');
    return taken;
  }
  #push(...parts: readonly (string | number | bigint)[]): void {
    this.#stack.push(`(${parts.join(' ')})`);
  }

  #body(index: number): void {
    const r = this.#r;
    const size = r.unsigned();
    const end = r.at + size;
    const known = this.#functions[this.#imported + index];
    if (!known) throw new RangeError(`no function ${index}`);
    const locals = r.list(() => `${r.unsigned()} × ${r.type()}`);
    const list = (what: string, types: readonly string[]): string =>
      types.length > 0 ? ` (${what} ${types.join(' ')})` : '';
    this.#line(
      `(func $${known.name}${list('param', known.type.params)}${list('result', known.type.results)}`,
    );
    this.#indent += 1;
    if (locals.length > 0) this.#line(`;; locals: ${locals.join(', ')}`);
    this.#stack = [];
    while (r.at < end - 1) this.#instruction();
    r.at = end;
    this.#indent = 0;
    this.#line(')');
  }

  #instruction(): void {
    const r = this.#r;
    const op = r.byte();
    if (this.#structure(op) || this.#leaving(op) || this.#value(op)) return;
    const access = ACCESS.get(op);
    const plain = PLAIN.get(op);
    if (access) this.#access(access);
    else if (plain) this.#push(plain, ...this.#operands(arity(plain)));
    else if (op === 0xfc) this.#bulk();
    else if (op === 0xfd) this.#vector();
    else throw new RangeError(`opcode ${op.toString(16)}`);
  }

  #structure(op: number): boolean {
    const r = this.#r;
    switch (op) {
      case OP.block:
      case OP.loop:
      case OP.if: {
        r.byte();
        const condition = op === OP.if ? ` ${this.#pop()}` : '';
        this.#line(`(${op === OP.block ? 'block' : op === OP.loop ? 'loop' : 'if'}${condition}`);
        this.#indent += 1;
        return true;
      }
      case OP.else:
        this.#indent -= 1;
        this.#line('else');
        this.#indent += 1;
        return true;
      case OP.end:
        this.#indent -= 1;
        this.#line(')');
        return true;
      default:
        return false;
    }
  }

  #leaving(op: number): boolean {
    const r = this.#r;
    switch (op) {
      case OP.unreachable:
        this.#line('(unreachable)');
        return true;
      case OP.br:
        this.#line(`(br ${r.unsigned()})`);
        return true;
      case OP.br_if:
        this.#line(`(br_if ${r.unsigned()} ${this.#pop()})`);
        return true;
      case OP.br_table:
        this.#line(`(br_table ${r.list(() => r.unsigned()).join(' ')} ${r.unsigned()} ${this.#pop()})`);
        return true;
      case OP.return:
        this.#line(`(${['return', ...this.#stack.splice(0)].join(' ')})`);
        return true;
      case OP.call:
      case OP.return_call:
        this.#call(op === OP.call ? 'call' : 'return_call', r.unsigned());
        return true;
      case OP.call_indirect:
      case OP.return_call_indirect: {
        const type = this.#typeAt(r.unsigned());
        const table = r.unsigned();
        const operands = this.#operands(type.params.length + 1);
        const tail = op === OP.return_call_indirect;
        const text = [tail ? 'return_call_indirect' : 'call_indirect', table, ...operands];
        if (tail || type.results.length === 0) this.#line(`(${text.join(' ')})`);
        else this.#push(...text);
        return true;
      }
      case OP.drop:
        this.#line(`(drop ${this.#pop()})`);
        return true;
      case OP['local.set']:
        this.#line(`(local.set ${r.unsigned()} ${this.#pop()})`);
        return true;
      case OP['global.set']:
        this.#line(`(global.set ${r.unsigned()} ${this.#pop()})`);
        return true;
      default:
        return false;
    }
  }

  #call(kind: string, index: number): void {
    const target = this.#functions[index];
    if (!target) throw new RangeError(`no function ${index}`);
    const hidden = this.#options.hidden?.[target.name] ?? [];
    const operands = this.#operands(target.type.params.length).map((text, n) =>
      hidden.includes(n) && text.includes('.const ') ? '(…)' : text,
    );
    const text = [kind, `$${target.name}`, ...operands];
    if (kind === 'call' && target.type.results.length > 0) this.#push(...text);
    else this.#line(`(${text.join(' ')})`);
  }

  #value(op: number): boolean {
    const r = this.#r;
    switch (op) {
      case OP['local.get']:
        this.#push('local.get', r.unsigned());
        return true;
      case OP['local.tee']:
        this.#push('local.tee', r.unsigned(), this.#pop());
        return true;
      case OP['global.get']:
        this.#push('global.get', r.unsigned());
        return true;
      case OP['i32.const']:
        this.#push('i32.const', r.signed());
        return true;
      case OP['i64.const']:
        this.#push('i64.const', r.signed());
        return true;
      case OP['f32.const']:
        this.#push('f32.const', r.f32());
        return true;
      case OP['f64.const']:
        this.#push('f64.const', r.f64());
        return true;
      case OP.select:
        this.#push('select', ...this.#operands(3));
        return true;
      case 0x1c:
        r.list(() => r.byte());
        this.#push('select', ...this.#operands(3));
        return true;
      default:
        return false;
    }
  }

  #access({ name, store }: { readonly name: string; readonly store: boolean }): void {
    const r = this.#r;
    r.unsigned();
    const offset = r.unsigned();
    const value = store ? [this.#pop()] : [];
    const address = this.#pop();
    const constant = /^\(i32\.const (-?\d+)\)$/.exec(address)?.[1];
    const field = constant === undefined ? undefined : this.#options.addressName?.(Number(constant) + offset);
    const where =
      field === undefined ? [...(offset === 0 ? [] : [`offset=${offset}`]), address] : [`$${field}`];
    if (store) this.#line(`(${[name, ...where, ...value].join(' ')})`);
    else this.#push(name, ...where);
  }

  #bulk(): void {
    const r = this.#r;
    const sub = r.unsigned();
    const saturating = SATURATING.get(sub);
    if (saturating) return this.#push(saturating, ...this.#operands(1));
    if (sub !== 10 && sub !== 11) throw new RangeError(`opcode fc ${sub}`);
    r.take(sub === 10 ? 2 : 1);
    this.#line(`(memory.${sub === 10 ? 'copy' : 'fill'} ${this.#operands(3).join(' ')})`);
  }

  #vector(): void {
    const r = this.#r;
    const sub = r.unsigned();
    const access = ACCESS.get(0xfd00 | sub);
    const lane = LANE.get(sub);
    const name = VECTOR.get(sub);
    if (access) this.#access(access);
    else if (sub === 12) this.#push('v128.const', `0x${Buffer.from(r.take(16)).reverse().toString('hex')}`);
    else if (sub === 13) this.#push('i8x16.shuffle', ...r.take(16), ...this.#operands(2));
    else if (lane) this.#push(lane, r.byte(), ...this.#operands(lane.includes('replace') ? 2 : 1));
    else if (name) this.#push(name, ...this.#operands(arity(name)));
    else throw new RangeError(`opcode fd ${sub}`);
  }
}
