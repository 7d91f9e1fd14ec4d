import { extractLane } from '../../wasm/value.ts';
import type { Builder, Val } from '../builder.ts';
import type { Instruction } from '../rows.ts';
import { bitsOf, high64, I32, i32, low64, setHigh64, setLow32, setLow64 } from '../sse-common.ts';
import { SSE } from '../sse-scratch.ts';

type Semantics = Instruction['semantics'];

/**
 * `b` with some methods of its own kind put in their place: how semantics that
 * were written for one row serve another, without knowing which builder it is.
 */
function seenAs(b: Builder, own: Partial<Builder>): Builder {
  return new Proxy(b, {
    get(target, name) {
      const found: unknown = Reflect.get(own, name) ?? Reflect.get(target, name, target);
      return typeof found === 'function' ? found.bind(target) : found;
    },
  });
}

/**
 * Semantics over (destination and first source, second source, …) as a row of
 * three operands has them: destination, first source, second source, …
 */
export function threeOperands(semantics: Semantics): Semantics {
  return (b) => {
    const at = (index: number): number => (index === 0 ? 0 : index + 1);
    semantics(
      seenAs(b, {
        operandSize: (index) => b.operandSize(at(index)),
        isMemory: (index) => b.isMemory(at(index)),
        read: (index) => b.read(index + 1),
        immediate: (index, type) => b.immediate(at(index), type),
      }),
    );
  };
}

/**
 * Scalar semantics over the low element of (destination and first source,
 * second source): the elements above come from the first source, operand 1.
 */
export function scalarOperands(semantics: Semantics, bits: 32 | 64): Semantics {
  const lane = bits === 32 ? 'f32x4.extract_lane' : 'f64x2.extract_lane';
  return (b) => {
    const at = (index: number): number => (index === 0 ? 0 : index + 1);
    const first = b.read(1);
    semantics(
      seenAs(b, {
        operandSize: (index) => (index === 0 ? bits : b.operandSize(at(index))),
        isMemory: (index) => b.isMemory(at(index)),
        read: (index) => (index === 0 ? b.let(extractLane(lane, first, 0)) : b.read(index + 1)),
        write: (_index, value) => b.write(0, withLow(first, value, bits)),
        immediate: (index, type) => b.immediate(at(index), type),
      }),
    );
  };
}

/** `v` with another low element, a float or its bits. */
export function withLow(v: Val, value: Val, bits: 32 | 64): Val {
  return bits === 32 ? setLow32(v, bitsOf(value)) : setLow64(v, bitsOf(value));
}

type Placing = 'three' | 'same' | 'accumulated';

export interface HalvesOptions {
  /** The semantics' first source is operand 1 (default), the operands are the semantics' own, or so and the destination is a source. */
  readonly placing?: Placing;
  /**
   * How the halves' results become one: two of 128 bits (default); the low quadwords of both; numbers of so
   * many bits each.
   */
  readonly result?: 'pair' | 'narrow' | 8 | 16 | 2 | 4;
  /** The last vector source is half as wide and is divided up, or is 128 bits for either half. */
  readonly source?: 'widened' | 'shared';
  /** The upper half's immediate is the immediate shifted right by this. */
  readonly immediateShift?: number;
}

/** A source of half the width that the lower half's semantics take: the share of `half`. */
function share(b: Builder, value: Val, size: number, half: 0 | 1): Val {
  if (size === 128) return b.let(half === 0 ? low64(value) : high64(value));
  if (size === 64) return b.let((half === 0 ? value : value.shrU(32)).wrap());
  return b.let((half === 0 ? value : value.shrU(16)).and(0xffff));
}

/**
 * 128-bit semantics on both halves of 256 bits. All operands are read before
 * the first half is worked on; the results are written behind the second.
 * Floating-point exceptions of the lower half are held back until those of the upper one are
 * known, for an instruction raises all of its exceptions at once.
 */
export function bothHalves(semantics: Semantics, options: HalvesOptions = {}): Semantics {
  const { placing = 'three', result = 'pair', source, immediateShift = 0 } = options;
  return (b) => {
    const read = readSources(b, placing, source);
    const held = b.local(I32, 0);
    let holds = false;
    const results = ([0, 1] as const).map((half) => {
      let written: Val | undefined;
      const at = (index: number): number => (placing === 'three' && index > 0 ? index + 1 : index);
      semantics(
        seenAs(b, {
          operandSize: (index) => halfSize(b.operandSize(at(index))),
          isMemory: (index) => b.isMemory(at(index)),
          read: (index) => {
            const value = read(placing === 'three' ? index + 1 : index, half);
            if (!value) throw new TypeError(`operand ${index} was not read`);
            return value;
          },
          write: (_index, value) => {
            written = b.let(value);
          },
          immediate: (index, type) => {
            if (half === 0 || immediateShift === 0) return b.immediate(at(index), type);
            return b.immediate(at(index), I32).and(0xff).shrU(immediateShift);
          },
          callFaulting: (name, ...args) => {
            if (half === 1) return b.callFaulting(name, ...args);
            b.setState('i32.store', SSE.hold, i32(1));
            b.run(name, ...args);
            b.setState('i32.store', SSE.hold, i32(0));
            b.set(held, 1);
            holds = true;
          },
        }),
      );
      if (!written) throw new TypeError('semantics that write nothing have no halves');
      return written;
    });
    if (holds) b.if(held, () => b.callFaulting('sseDeliver'));
    writeResults(b, results as [Val, Val], result);
  };
}

const halfSize = (size: ReturnType<Builder['operandSize']>): typeof size => (size === 256 ? 128 : size);

type HalfReader = (index: number, half: 0 | 1) => Val | undefined;

/** Reads every vector source; gives each half's share of operand `index`. */
function readSources(b: Builder, placing: Placing, source: HalvesOptions['source']): HalfReader {
  const found = new Map<number, readonly [Val, Val]>();
  for (let index = b.operandCount - 1; index >= (placing === 'accumulated' ? 0 : 1); index -= 1) {
    const size = b.operandSize(index);
    // An immediate.
    if (size === 8) continue;
    if (size === 256) found.set(index, b.readPair(index));
    else if (source === undefined) continue;
    else {
      const value = b.read(index);
      found.set(
        index,
        source === 'shared' ? [value, value] : [share(b, value, size, 0), share(b, value, size, 1)],
      );
    }
  }
  return (index, half) => found.get(index)?.[half];
}

function writeResults(b: Builder, [low, high]: [Val, Val], result: HalvesOptions['result']): void {
  if (result === 'pair') b.writePair(0, low, high);
  else if (result === 'narrow') b.write(0, setHigh64(low, low64(high)));
  else if (typeof result === 'number') b.write(0, low.or(high.shl(result)));
}
