import { uleb } from './encode.ts';
import { OP, type ValType } from './opcodes.ts';

const NUMBER = (1 << 24) - 1;
const GET = 1 << 24;
const SET = 2 << 24;
const OPEN = 3 << 24;
const OTHERWISE = 4 << 24;
const END = 5 << 24;

/**
 * Symbols in the code of a function that is being emitted, greater than any byte: a use of a local, by the number it
 * has so far, and what opens and closes a structure.
 */
export const SYMBOL = {
  get: (local: number): number => GET | local,
  set: (local: number): number => SET | local,
  /** Of `block`, `loop` or `if`, without a result. */
  open: (op: number): number => OPEN | op,
  otherwise: OTHERWISE,
  end: END,
} as const;

/** Code without symbols. */
export interface AssignedCode {
  readonly code: readonly number[];
  /** Types of the locals behind the parameters. */
  readonly types: readonly ValType[];
  /** Where the code of the symbols asked for begins, in their order. */
  readonly places: readonly number[];
}

/**
 * Gives locals that are not in use at the same time one place, and leaves a value that is used at once on the stack.
 * Engines pay for each local at each branch: V8 takes about as long to compile a function as it has locals times
 * branches, and the code that it makes quickly keeps each of them in memory.
 *
 * A local is in use from its first write to its last use, and to the end of a loop that begins between them. It has a
 * place of its own when it is read first, or when its first write may have been passed by on the way to a use, which is
 * when it lies in a structure that is closed there: what it then holds is 0, or from an earlier round.
 *
 * @param types of all locals, the parameters first
 * @param parameters how many of them there are
 * @param symbols positions in `code`, ascending, whose places are wanted
 */
export function assignLocals(
  code: readonly number[],
  types: readonly ValType[],
  parameters: number,
  symbols: readonly number[],
): AssignedCode {
  const uses = findUses(code, types.length);
  const numbers = new Int32Array(types.length).fill(-1);
  const places: number[] = [];
  const assigned: ValType[] = [];
  const free = new Map<ValType, number[]>();
  const out: number[] = [];

  const numberOf = (local: number): number => {
    if (local < parameters) return local;
    const known = numbers[local] as number;
    if (known >= 0) return known;
    const type = types[local] as ValType;
    const shared = uses.alone[local] ? undefined : free.get(type)?.pop();
    return (numbers[local] = shared ?? parameters + assigned.push(type) - 1);
  };
  const release = (local: number): void => {
    if (local < parameters || uses.alone[local]) return;
    const type = types[local] as ValType;
    const list = free.get(type) ?? [];
    list.push(numbers[local] as number);
    free.set(type, list);
  };
  const use = (op: number, local: number, at: number): void => {
    const number = numberOf(local);
    if (number < 0x80) out.push(op, number);
    else out.push(op, ...uleb(number));
    if (uses.end[local] === at) release(local);
  };

  for (let at = 0, wanted = 0; at < code.length; at++) {
    if (at === symbols[wanted]) {
      places.push(out.length);
      wanted += 1;
    }
    const symbol = code[at] as number;
    const number = symbol & NUMBER;
    switch (symbol - number) {
      case GET:
        use(OP['local.get'], number, at);
        break;
      case SET:
        if (code[at + 1] !== (GET | number)) use(OP['local.set'], number, at);
        else {
          at += 1;
          // Nothing else wants it when these are its only uses.
          if (uses.count[number] !== 2) use(OP['local.tee'], number, at);
        }
        break;
      case OPEN:
        out.push(number, EMPTY);
        break;
      case OTHERWISE:
        out.push(OP.else);
        break;
      case END:
        out.push(OP.end);
        for (const local of uses.held.get(at) ?? []) release(local);
        break;
      default:
        out.push(symbol);
    }
  }
  return { code: out, types: assigned, places };
}

/** The type of a structure without a result. */
const EMPTY = 0x40;

interface Uses {
  /** How many there are, by local. */
  readonly count: Int32Array;
  /** The position of the last one, or of the end of the loop that the local is in use to. */
  readonly end: Int32Array;
  /** Locals that are in use to the end of a loop, by its position. */
  readonly held: ReadonlyMap<number, readonly number[]>;
  /** 1 for a local that has a place of its own. */
  readonly alone: Uint8Array;
}

/** A `block`, a `loop`, or an arm of an `if`. */
interface Structure {
  readonly from: number;
  readonly loop: boolean;
  /** The position of its end, 0 while it is open. */
  to: number;
}

function findUses(code: readonly number[], locals: number): Uses {
  const count = new Int32Array(locals);
  const first = new Int32Array(locals);
  const end = new Int32Array(locals);
  const alone = new Uint8Array(locals);
  /** By local: where its first use lies, and the last of the loops that begin within its use and have one. */
  const homes: (Structure | undefined)[] = [];
  const loops: (Structure | undefined)[] = [];
  const open: Structure[] = [{ from: 0, loop: false, to: 0 }];

  const close = (at: number): void => {
    const structure = open.pop();
    if (structure) structure.to = at;
  };
  const use = (local: number, at: number, read: boolean): void => {
    end[local] = at;
    count[local] = (count[local] as number) + 1;
    if (count[local] === 1) {
      first[local] = at;
      homes[local] = open.at(-1);
      if (read) alone[local] = 1;
      return;
    }
    if (homes[local]?.to !== 0) alone[local] = 1;
    const loop = open.find((structure) => structure.loop && structure.from > (first[local] as number));
    if (loop) loops[local] = loop;
  };

  for (let at = 0; at < code.length; at++) {
    const symbol = code[at] as number;
    const number = symbol & NUMBER;
    switch (symbol - number) {
      case GET:
      case SET:
        use(number, at, symbol < SET);
        break;
      case OPEN:
        open.push({ from: at, loop: number === OP.loop, to: 0 });
        break;
      case OTHERWISE:
        close(at);
        open.push({ from: at, loop: false, to: 0 });
        break;
      case END:
        close(at);
        break;
      default:
    }
  }

  const held = new Map<number, number[]>();
  loops.forEach((loop, local) => {
    if (!loop || loop.to < (end[local] as number)) return;
    end[local] = loop.to;
    const list = held.get(loop.to) ?? [];
    list.push(local);
    held.set(loop.to, list);
  });
  return { count, end, held, alone };
}
