import { xmm } from '../../layout.ts';
import type { Builder, Val } from '../builder.ts';
import { type Instruction, instruction } from '../rows.ts';
import { fromLow, i32, low64, V128, zero128 } from '../sse-common.ts';
import {
  elementAt,
  forEachBit,
  type Halves,
  readHalves,
  signBits,
  withElement,
  withoutBefore,
  writeHalves,
} from './elements.ts';
import { AVX, AVX2, avx, ofLength } from './rows.ts';

/** Masked moves, gathers, VZEROALL and VZEROUPPER. */

const loadName = (bits: 32 | 64): 'i32.load' | 'i64.load' => (bits === 32 ? 'i32.load' : 'i64.load');

/** Address of element `i` of memory operand `index`: what the mask leaves out is not looked at, nor its address. */
const elementAddress = (b: Builder, index: number, i: Val, bits: 32 | 64, access: 'r' | 'w'): Val =>
  b.let(b.bitString(index, i.mul(bits / 8).extendU(), bits / 8, access));

/** Locals in the place of a vector's halves, so that a loop can change them. */
function variable(b: Builder, size: number): { value: Halves; set: (value: Halves) => void } {
  const low = b.local(V128);
  const high = size === 256 ? b.local(V128) : undefined;
  b.set(low, zero128());
  if (high) b.set(high, zero128());
  return {
    value: high ? [low, high] : [low],
    set: (value) => {
      b.set(low, value[0]);
      if (high && value[1]) b.set(high, value[1]);
    },
  };
}

/** Elements whose mask (operand 1) is negative come from memory (operand 2), the others are zero. */
function maskedLoad(bits: 32 | 64) {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const result = variable(b, size);
    forEachBit(b, signBits(readHalves(b, 1), bits, size / bits), (i) => {
      const value = b.load(loadName(bits), elementAddress(b, 2, i, bits, 'r'));
      result.set(withElement(result.value, i, bits, value));
    });
    writeHalves(b, 0, result.value);
  };
}

/** Elements of operand 2 whose mask (operand 1) is negative go to memory (operand 0). Every one is tried before the first is stored. */
function maskedStore(bits: 32 | 64) {
  return (b: Builder): void => {
    const count = b.operandSize(1) / bits;
    const value = readHalves(b, 2);
    const mask = b.let(signBits(readHalves(b, 1), bits, count));
    forEachBit(b, mask, (i) =>
      b.callFaulting('probeWrite', elementAddress(b, 0, i, bits, 'w'), i32(bits / 8)),
    );
    forEachBit(b, mask, (i) => {
      const name = bits === 32 ? 'i32.store' : 'i64.store';
      b.store(name, elementAddress(b, 0, i, bits, 'w'), elementAt(value, i, bits));
    });
  };
}

const masked = (
  name: string,
  load: string,
  store: string,
  w: string,
  bits: 32 | 64,
  options: typeof AVX | typeof AVX2,
): Instruction[] =>
  ([128, 256] as const).flatMap((length) => [
    instruction(name, ofLength(`VEX.*.66.0F38.${w} ${load} V*:w,H*,M*`, length), maskedLoad(bits), options),
    instruction(name, ofLength(`VEX.*.66.0F38.${w} ${store} M*:w,H*,V*`, length), maskedStore(bits), options),
  ]);

/**
 * Gathers (SDM vol. 2, VPGATHERDD): an element whose mask is negative comes
 * from memory. A fault leaves what was gathered so far and zeroes in the mask
 * before the element that faulted, so that the instruction goes on where it
 * was; until all is done the upper halves stay as they are. Operands:
 * destination, memory, mask, indices.
 */
function gather(bits: 32 | 64, indexBits: 32 | 64, count: number) {
  return (b: Builder): void => {
    const indices = readHalves(b, 3);
    const wanted = b.let(signBits(b.readPair(2), bits, count));
    forEachBit(b, wanted, (i) => {
      b.writePair(2, ...withoutBefore(b.readPair(2), i, bits));
      const index = b.let(elementAt(indices, i, indexBits).extendS());
      const value = b.load(loadName(bits), b.let(b.vsib(1, index, bits / 8)));
      const [low, high = zero128()] = withElement(b.readPair(0), i, bits, value);
      b.writePair(0, low, high);
    });
    b.writePair(2, zero128(), zero128());
    if (b.operandSize(0) === 256) return;
    const [low] = b.readPair(0);
    b.write(0, bits * count < 128 ? fromLow(low64(low)) : low);
  };
}

/** Name, opcode, W, element and index bits. */
const GATHERS = [
  ['vpgatherdd', '90', 'W0', 32, 32],
  ['vpgatherdq', '90', 'W1', 64, 32],
  ['vpgatherqd', '91', 'W0', 32, 64],
  ['vpgatherqq', '91', 'W1', 64, 64],
  ['vgatherdps', '92', 'W0', 32, 32],
  ['vgatherdpd', '92', 'W1', 64, 32],
  ['vgatherqps', '93', 'W0', 32, 64],
  ['vgatherqpd', '93', 'W1', 64, 64],
] as const;

const gathers: readonly Instruction[] = GATHERS.flatMap(([name, opcode, w, bits, indexBits]) =>
  ([128, 256] as const).map((length) => {
    // As many elements as the longer of the two vectors has.
    const count = length / Math.max(bits, indexBits);
    const width = (of: 32 | 64): string => (of * count > 128 ? 'qq' : 'u');
    const operands = `V${width(bits)}:rw,M${bits === 32 ? 'd' : 'q'},H${width(bits)}:rw,X${width(indexBits)}`;
    return instruction(
      name,
      `VEX.${length}.66.0F38.${w} ${opcode} ${operands}`,
      gather(bits, indexBits, count),
      AVX2,
    );
  }),
);

/** Bits 128 to 255, or all, of every register that the mode has. */
function clear(from: 0 | 16) {
  return (b: Builder): void => {
    for (let n = 0; n < (b.long ? 16 : 8); n += 1) {
      for (let at = from; at < 32; at += 16) b.setState('v128.store', xmm(n) + at, zero128());
    }
  };
}

export const memoryInstructions: readonly Instruction[] = [
  ...masked('vmaskmovps', '2C', '2E', 'W0', 32, AVX),
  ...masked('vmaskmovpd', '2D', '2F', 'W0', 64, AVX),
  ...masked('vpmaskmovd', '8C', '8E', 'W0', 32, AVX2),
  ...masked('vpmaskmovq', '8C', '8E', 'W1', 64, AVX2),
  ...gathers,
  avx('vzeroupper', 'VEX.128.0F 77', clear(16)),
  avx('vzeroall', 'VEX.256.0F 77', clear(0)),
];
