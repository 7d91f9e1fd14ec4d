import { Assembler } from './assembler.ts';
import { CODE, D, DATA } from './places.ts';
import type { Program } from './program.ts';

/** A loop as compilers write it, whose region's code is kept. */
export interface GoldenProgram {
  readonly name: string;
  readonly mode: 32 | 64;
  /** Emits it; registers hold what `gpr` says. */
  readonly emit: (a: Assembler) => void;
  /** Offset of the first instruction from a page's start. */
  readonly offset?: number;
  /** Of the region as it is made at first, not of the one of full size that takes its place. */
  readonly first?: boolean;
}

const back = (a: Assembler, from: number): number => (from - (a.bytes.length + 2)) & 0xff;

/** RCX is a count of 2000; RSI and RDI lie in the numbers, RBX too; XMM1 to XMM3 are plain doubles. */
export const GOLDEN: readonly GoldenProgram[] = [
  {
    name: 'counted-loop',
    mode: 64,
    emit: (a) => {
      a.emit(0x48, 0x01, 0xc8, 0x48, 0x31, 0xc2, 0xff, 0xc9);
      a.emit(0x75, back(a, 0));
    },
  },
  {
    name: 'copy-loop',
    mode: 64,
    emit: (a) => {
      a.emit(0x8a, 0x04, 0x0e, 0x88, 0x04, 0x0f, 0xff, 0xc9); // mov al, [rsi+rcx]; mov [rdi+rcx], al; dec ecx; jnz
      a.emit(0x75, back(a, 0));
    },
  },
  {
    name: 'copy-loop-at-first',
    mode: 64,
    first: true,
    emit: (a) => {
      a.emit(0x8a, 0x04, 0x0e, 0x88, 0x04, 0x0f, 0xff, 0xc9);
      a.emit(0x75, back(a, 0));
    },
  },
  {
    name: 'flags-across-a-merge',
    mode: 64,
    emit: (a) => {
      a.emit(0x38, 0xc8, 0x72, 0x02, 0x29, 0xd0, 0x48, 0x83, 0xd2, 0x03, 0x0f, 0x9f, 0xc0, 0xff, 0xc9);
      a.emit(0x75, back(a, 0));
    },
  },
  {
    name: 'call-and-return',
    mode: 64,
    emit: (a) => {
      const callee = a.label();
      const end = a.label();
      a.near(callee, 0xe8);
      a.emit(0xff, 0xc9);
      a.emit(0x75, back(a, 0));
      a.near(end, 0xe9);
      a.bind(callee);
      a.emit(0x48, 0x8d, 0x04, 0x48, 0xc3);
      a.bind(end);
    },
  },
  {
    name: 'doubles',
    mode: 64,
    emit: (a) => {
      a.emit(
        0x66,
        0x0f,
        0x28,
        0xc1,
        0xf2,
        0x0f,
        0x59,
        0xc2,
        0xf2,
        0x0f,
        0x58,
        0xc3,
        0xf2,
        0x0f,
        0x11,
        0x03,
        0xff,
        0xc9,
      );
      a.emit(0x75, back(a, 0));
    },
  },
  {
    name: 'repeated-store',
    mode: 64,
    emit: (a) => {
      a.emit(
        0x41,
        0x89,
        0xc8,
        0x48,
        0x89,
        0xdf,
        0xb9,
        24,
        0,
        0,
        0,
        0xf3,
        0x48,
        0xab,
        0x44,
        0x89,
        0xc1,
        0xff,
        0xc9,
      );
      a.emit(0x75, back(a, 0));
    },
  },
  {
    name: 'loop-of-32-bit-code',
    mode: 32,
    emit: (a) => {
      a.emit(0x50, 0x03, 0x43, 0x10, 0x6b, 0xd0, 0x07, 0x5a, 0x00, 0xd4, 0x49);
      a.emit(0x75, back(a, 0));
    },
  },
  {
    name: 'edge-to-another-page',
    mode: 64,
    offset: 0x1000 - 3,
    emit: (a) => {
      a.emit(0x48, 0x01, 0xc8, 0x48, 0x29, 0xc2, 0xff, 0xc9);
      a.emit(0x75, back(a, 0));
    },
  },
];

const ROUNDS = 2000n;

/** The program around a golden loop, for machines. */
export function goldenProgram({ mode, emit, offset = 0x100 }: GoldenProgram): Program {
  const a = new Assembler();
  emit(a);
  const length = a.bytes.length;
  a.emit(...new Array<number>(8).fill(0x90));
  const at = CODE + offset;
  const gpr = new BigUint64Array(16);
  gpr[1] = ROUNDS;
  gpr[2] = 0x1234_5678n;
  gpr[3] = BigInt(DATA + D.numbers + 0x100);
  gpr[4] = BigInt(DATA + D.stack + 0x800);
  gpr[6] = BigInt(DATA + D.numbers + 0x100);
  gpr[7] = BigInt(DATA + D.numbers + 0x900);
  const fx = new Uint8Array(512);
  const view = new DataView(fx.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint32(24, 0x1fa0, true);
  for (let n = 1; n < 4; n++) view.setFloat64(160 + n * 16, n + 0.5, true);
  return {
    seed: 0,
    mode,
    native: false,
    start: at,
    end: at + length,
    at,
    code: a.link(at),
    pads: [at + length],
    patches: [],
    gpr,
    rflags: 2,
    fx,
    upper: new Uint8Array(256),
  };
}
