import { extractLane } from '../../wasm/value.ts';
import type { Builder, Val } from '../builder.ts';
import { type Instruction, instruction } from '../rows.ts';
import { bitsOf, i32 } from '../sse-common.ts';
import { FMA, SSE } from '../sse-scratch.ts';
import { withLow } from './halves.ts';
import { ofBothLengths } from './rows.ts';

/**
 * Fused multiplication and addition, rounded once (SDM vol. 1, 14.5). The
 * result is computed exactly in the runtime (interpret/runtime/fma.ts).
 */

/** Which operands are factors and which is added, by the digits in the name: operands 0, 1, 2 of the row are 1, 2, 3 there. */
const ORDERS = [
  ['132', 0x90, [0, 2, 1]],
  ['213', 0xa0, [1, 0, 2]],
  ['231', 0xb0, [1, 2, 0]],
] as const;

/** Name, last digit of the opcode of the packed form, signs; the scalar form is one on. */
const KINDS = [
  ['fmadd', 8, 0],
  ['fmsub', 0xa, FMA.subtractEven | FMA.subtractOdd],
  ['fnmadd', 0xc, FMA.negateProduct],
  ['fnmsub', 0xe, FMA.negateProduct | FMA.subtractEven | FMA.subtractOdd],
] as const;

/** Addition in odd elements and subtraction in even ones, or the other way round; packed alone. */
const ALTERNATING = [
  ['fmaddsub', 6, FMA.subtractEven],
  ['fmsubadd', 7, FMA.subtractOdd],
] as const;

type Order = (typeof ORDERS)[number][2];

function packed(bits: 32 | 64, order: Order, signs: number) {
  return (b: Builder): void => {
    // Memory, operand 2, is read first.
    const last = b.read(2);
    const read = [b.read(0), b.read(1), last];
    const operands = order.map((index) => read[index] ?? last);
    b.callFaulting(`fmaPacked${bits}`, i32(signs), ...operands);
    b.write(0, b.state('v128.load', SSE.result));
  };
}

function scalar(bits: 32 | 64, order: Order, signs: number) {
  return (b: Builder): void => {
    const last = b.read(2);
    const whole = b.read(0);
    const low = (v: Val): Val => extractLane(bits === 32 ? 'i32x4.extract_lane' : 'i64x2.extract_lane', v, 0);
    const read = [low(whole), low(b.read(1)), bitsOf(last)];
    const operands = order.map((index) => read[index] ?? last);
    b.callFaulting(`fmaScalar${bits}`, i32(signs), ...operands);
    const result = b.state(bits === 32 ? 'i32.load' : 'i64.load', SSE.result);
    b.write(0, withLow(whole, result, bits));
  };
}

const FEATURES = ['FMA', 'FMA'] as const;
const hex = (opcode: number): string => opcode.toString(16).toUpperCase();
const PRECISIONS = [
  [32, 's', 'W0'],
  [64, 'd', 'W1'],
] as const;

export const fmaInstructions: readonly Instruction[] = ORDERS.flatMap(([digits, group, order]) =>
  PRECISIONS.flatMap(([bits, letter, w]) => [
    ...[...KINDS, ...ALTERNATING].flatMap(([name, digit, signs]) =>
      ofBothLengths(
        `v${name}${digits}p${letter}`,
        `VEX.*.66.0F38.${w} ${hex(group + digit)} V*:rw,H*,W*`,
        packed(bits, order, signs),
        FEATURES,
        { placing: 'accumulated' },
      ),
    ),
    ...KINDS.map(([name, digit, signs]) =>
      instruction(
        `v${name}${digits}s${letter}`,
        `VEX.LIG.66.0F38.${w} ${hex(group + digit + 1)} Vu:rw,Hu,Ws${letter}`,
        scalar(bits, order, signs),
        { cpuid: 'FMA', unit: 'avx' },
      ),
    ),
  ]),
);
