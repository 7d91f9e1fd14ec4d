import type { FloatLanes } from '../isa/builder.ts';

const ALL = ['ss', 'sd', 'ps', 'pd'] as const satisfies readonly FloatLanes[];
/** Moves between vector registers, and the lanes that keep what is known of them. */
const MOVES = new Map<string, readonly FloatLanes[]>([
  ['movaps', ALL],
  ['movapd', ALL],
  ['movups', ALL],
  ['movupd', ALL],
  ['movdqa', ALL],
  ['movdqu', ALL],
  ['movss', ['ss']],
  ['movsd', ['sd']],
]);

/** Vector registers that hold numbers, none of them denormal, in some of their lanes: see Builder.holdsNumbers. */
export class KnownNumbers {
  /** Bits by number of the register. */
  readonly #bits: Record<FloatLanes, number>;

  constructor(from?: KnownNumbers) {
    this.#bits = from ? { ...from.#bits } : { ss: 0, sd: 0, ps: 0, pd: 0 };
  }

  /** Whether a register does; all lanes have the lowest among them. */
  holds(n: number, lanes: FloatLanes): boolean {
    const { ss, sd, ps, pd } = this.#bits;
    const bits = { ss: ss | ps, sd: sd | pd, ps, pd }[lanes];
    return ((bits >> n) & 1) !== 0;
  }
  add(n: number, lanes: FloatLanes): void {
    this.#bits[lanes] |= 1 << n;
  }
  /** A register is written. */
  forget(n: number): void {
    for (const lanes of ALL) this.#bits[lanes] &= ~(1 << n);
  }
  forgetAll(): void {
    for (const lanes of ALL) this.#bits[lanes] = 0;
  }
  /** Behind an instruction that writes register `to` and reads `from`: what it moves keeps what is known of it. */
  moved(instruction: string, to: number, from: number): void {
    for (const lanes of MOVES.get(instruction) ?? [])
      if ((this.#bits[lanes] >> from) & 1) this.#bits[lanes] |= 1 << to;
  }
  /** What is known on another way too. */
  keepCommon(other: KnownNumbers): void {
    for (const lanes of ALL) this.#bits[lanes] &= other.#bits[lanes];
  }
}
