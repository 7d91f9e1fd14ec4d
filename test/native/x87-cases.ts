import type { Encoding } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { createHostState, type HostState } from './host-cpu.ts';

/** Random x87 states and the machine code of rows, for comparison with the host's processor. */

/** A small generator of its own, so that a failure can be had again by its seed (xorshift64*). */
export class Random {
  #state: bigint;
  constructor(seed: bigint) {
    this.#state = seed || 1n;
  }
  u64(): bigint {
    let s = this.#state;
    s ^= s >> 12n;
    s = (s ^ (s << 25n)) & 0xffff_ffff_ffff_ffffn;
    s ^= s >> 27n;
    this.#state = s;
    return (s * 0x2545_f491_4f6c_dd1dn) & 0xffff_ffff_ffff_ffffn;
  }
  /** 0 … below - 1. */
  below(below: number): number {
    return Number((this.u64() >> 32n) % BigInt(below));
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

const TOP = 1n << 63n;

/** A significand: random, or one of the patterns that rounding is sensitive to. */
function significand(r: Random): bigint {
  switch (r.below(6)) {
    case 0:
      return TOP | (r.u64() & (r.u64() | (r.u64() << 40n)));
    case 1:
      return TOP | ((1n << BigInt(r.below(64))) - 1n);
    case 2:
      return (-1n << BigInt(r.below(63))) & 0xffff_ffff_ffff_ffffn;
    case 3:
      return TOP | (1n << BigInt(r.below(64)));
    default:
      return TOP | r.u64();
  }
}

const EXPONENTS = [
  1, 2, 64, 0x3f80, 0x3fbf, 0x3fc0, 0x3ffd, 0x3ffe, 0x3fff, 0x4000, 0x4001, 0x400e, 0x401e, 0x403d, 0x403e,
  0x403f, 0x407e, 0x407f, 0x3f81, 0x3f6a, 0x3c01, 0x3c00, 0x3bcd, 0x43fe, 0x43ff, 0x7ffd, 0x7ffe,
];

/** Significand and sign with exponent. */
export function number(r: Random): [bigint, number] {
  const sign = r.below(2) << 15;
  switch (r.below(16)) {
    case 0:
      return [0n, sign];
    case 1:
      return [TOP, sign | 0x7fff];
    case 2:
      return [significand(r) | (1n << 62n), sign | 0x7fff];
    case 3:
      return [TOP | (r.u64() & 0x3fff_ffff_ffff_ffffn), sign | 0x7fff];
    case 4:
      return [r.u64() >> BigInt(1 + r.below(63)), sign];
    case 5:
      return r.chance(50) ? [significand(r), sign] : [r.u64() & ~TOP, sign | (1 + r.below(0x7fff))];
    case 6:
      return [TOP, sign | 0x3fff];
    case 7:
    case 8:
      return [significand(r), sign | r.pick(EXPONENTS)];
    case 9:
      return [significand(r), sign | (1 + r.below(0x7ffe))];
    case 10: {
      const value = BigInt(1 + r.below(1000)) << BigInt(r.below(50));
      const shift = 64 - value.toString(2).length;
      return [value << BigInt(shift), sign | (0x403e - shift)];
    }
    default:
      return [significand(r), sign | (0x3fff - 40 + r.below(110))];
  }
}

export interface StateOptions {
  /** Percentage of states with random masks, precision control, empty registers, pending flags. */
  readonly unusual?: number;
  readonly value?: (r: Random) => [bigint, number];
}

export function randomState(r: Random, options: StateOptions = {}): HostState {
  const { unusual = 25, value = number } = options;
  const state = createHostState();
  const view = new DataView(state.fx.buffer);
  let control = 0x37f;
  if (r.chance(60)) control = (control & ~0xc00) | (r.below(4) << 10);
  if (r.chance(unusual)) control = (control & ~0x300) | (r.below(4) << 8);
  if (r.chance(unusual)) control = (control & ~0x3f) | r.below(64);
  if (r.chance(5)) control |= 0x1000;
  const top = r.below(8);
  let status = (top << 11) | (r.below(8) << 8) | (r.below(2) << 14);
  // Sticky flags; unmasked ones make the instruction raise #MF.
  if (r.chance(unusual)) status |= r.below(128) & (r.chance(80) ? control | 0x40 : 0x7f);
  if ((status & ~control & 0x3f) !== 0) status |= 0x8080;
  view.setUint16(0, control, true);
  view.setUint16(2, status, true);
  state.fx[4] = r.chance(unusual) ? r.below(256) : r.chance(50) ? 0xff & ~(1 << ((top + 7) & 7)) : 0xff;
  for (let i = 0; i < 8; i++) {
    const [m, e] = value(r);
    view.setBigUint64(32 + i * 16, m, true);
    view.setUint16(40 + i * 16, e, true);
  }
  if (r.chance(10)) {
    // Operands of one magnitude, or equal.
    view.setBigUint64(48, view.getBigUint64(32, true) ^ (r.chance(50) ? 0n : BigInt(r.below(4))), true);
    view.setUint16(56, view.getUint16(40, true) ^ (r.below(2) << 15), true);
  }
  for (let i = 0; i < 16; i++) state.gpr[i] = r.u64();
  state.rflags = [0x1, 0x4, 0x10, 0x40, 0x80, 0x800].reduce(
    (sum, bit) => (r.chance(50) ? sum | bit : sum),
    2,
  );
  return state;
}

/** Operand bytes for the loads: any bits, or a number in the format that is read most. */
export function fillMemory(r: Random, memory: Uint8Array, bytes: number): void {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  for (let i = 0; i < bytes; i += 8) view.setBigUint64(i, r.u64(), true);
  switch (r.below(8)) {
    case 0:
      view.setFloat32(0, Math.fround((r.below(2000) - 1000) / 8), true);
      break;
    case 1:
      view.setFloat64(0, (r.below(2000) - 1000) / 8, true);
      break;
    case 2:
      view.setUint32(
        0,
        (r.below(2) << 31) | r.pick([0, 0x7f80_0000, 0x7fc0_0001, 0x7f80_0001, 1, 0x7f_ffff]),
        true,
      );
      break;
    case 3: {
      const bits = r.pick([0n, 0x7ff0n << 48n, 0x7ff8n << 48n, (0x7ff0n << 48n) | 1n, 1n, (1n << 52n) - 1n]);
      view.setBigUint64(0, bits | (BigInt(r.below(2)) << 63n), true);
      break;
    }
    case 4:
      view.setBigInt64(0, BigInt.asIntN(64, BigInt(r.below(200) - 100)), true);
      break;
    default:
      break;
  }
}

/** Instruction bytes of a row, ST(i) or [RBX] as the operand. */
export function codeOf(encoding: Encoding, i: number): number[] {
  if (!encoding.hasModrm) return [encoding.opcode];
  if (encoding.modrm !== undefined) return [encoding.opcode, encoding.modrm];
  const reg = (encoding.extension ?? 0) << 3;
  return [encoding.opcode, encoding.mod === 'mem' ? reg | 3 : 0xc0 | reg | i];
}

/** The state in words, for messages. */
export function describeFx(fx: Uint8Array): string {
  const view = new DataView(fx.buffer, fx.byteOffset);
  const registers = Array.from(
    { length: 8 },
    (_, i) =>
      `${view
        .getUint16(40 + 16 * i, true)
        .toString(16)
        .padStart(4, '0')}:${view
        .getBigUint64(32 + 16 * i, true)
        .toString(16)
        .padStart(16, '0')}`,
  );
  const word = (at: number): string => view.getUint16(at, true).toString(16).padStart(4, '0');
  return `FCW ${word(0)} FSW ${word(2)} tags ${view.getUint8(4).toString(16)} | ${registers.slice(0, 4).join(' ')}`;
}
