import { xmm } from '../../layout.ts';
import { fxsaveInstructions } from '../fxsave.ts';
import type { Instruction } from '../rows.ts';
import { comparisons, sseArithmeticInstructions } from '../sse-arith.ts';
import { imm8, zero128 } from '../sse-common.ts';
import { sseConvertInstructions } from '../sse-convert.ts';
import { sseElementInstructions } from '../sse-element.ts';
import { sseMoveInstructions } from '../sse-move.ts';
import { ssePackedInstructions } from '../sse-packed.ts';
import { SSE } from '../sse-scratch.ts';
import { sseStringInstructions } from '../sse-string.ts';
import { type DeriveOptions, vexForms } from './derive.ts';
import { avx } from './rows.ts';

/** What AVX and AVX2 have of MMX, SSE to SSE4.2, AES and PCLMULQDQ (SDM vol. 1, 14.1 and 14.9). */

const FLOAT: DeriveOptions = { wide: 'AVX' };
const INTEGER: DeriveOptions = { wide: 'AVX2' };
const ALIGNED: DeriveOptions = { wide: 'AVX', aligned: true };
const SCALAR: DeriveOptions = { scalar: true };
/** 128 bits alone. */
const NARROW: DeriveOptions = {};
const immediate = (bits: number, options: DeriveOptions): DeriveOptions => ({
  ...options,
  immediateShift: bits,
});

/** How a row's VEX forms are, by its name; every other row that has only XMM operands is INTEGER or, of arithmetic, FLOAT. */
const FORMS: Readonly<Record<string, DeriveOptions | 'none'>> = {
  movaps: ALIGNED,
  movapd: ALIGNED,
  movdqa: ALIGNED,
  movntps: ALIGNED,
  movntpd: ALIGNED,
  movntdq: ALIGNED,
  movntdqa: { wide: 'AVX2', aligned: true },
  movups: FLOAT,
  movupd: FLOAT,
  movdqu: FLOAT,
  lddqu: FLOAT,
  movss: SCALAR,
  movsd: SCALAR,
  movd: NARROW,
  movq: NARROW,
  movlps: NARROW,
  movhlps: NARROW,
  movlpd: NARROW,
  movhps: NARROW,
  movlhps: NARROW,
  movhpd: NARROW,
  movsldup: FLOAT,
  movshdup: FLOAT,
  // In 256 bits it takes the low elements of either half.
  movddup: NARROW,
  shufps: FLOAT,
  shufpd: immediate(2, FLOAT),
  blendps: immediate(4, FLOAT),
  blendpd: immediate(2, FLOAT),
  // The mask is an operand of its own there.
  blendvps: 'none',
  blendvpd: 'none',
  pblendvb: 'none',
  insertps: NARROW,
  extractps: NARROW,
  movmskps: { wide: 'AVX', result: 4 },
  movmskpd: { wide: 'AVX', result: 2 },
  maskmovdqu: NARROW,
  pmovmskb: { wide: 'AVX2', result: 16 },
  ptest: NARROW,
  mpsadbw: immediate(3, INTEGER),
  phminposuw: NARROW,
  // Its steps raise their exceptions for both halves at once: see `dot`.
  dpps: NARROW,
  dppd: NARROW,
  cvtdq2pd: { wide: 'AVX', source: 'widened' },
  cvtps2pd: { wide: 'AVX', source: 'widened' },
  cvtpd2ps: { wide: 'AVX', result: 'narrow' },
  cvtpd2dq: { wide: 'AVX', result: 'narrow' },
  cvttpd2dq: { wide: 'AVX', result: 'narrow' },
  crc32: 'none',
};

const EXTRACTS_OR_INSERTS = /^p(insr|extr)/;
const EXTENDS = /^pmov[sz]x/;
/** Shifts by a count in a register: the same count for either half. */
const isCounted = (row: Instruction): boolean =>
  /^ps(ll|r[al])[wdq]$/.test(row.name) && row.encodings.every((text) => text.endsWith('Wx'));
const hasScalar = (row: Instruction): boolean => row.encodings.some((text) => /[VW]s[sd]\b/.test(text));

function formsOf(row: Instruction, otherwise: DeriveOptions): DeriveOptions | 'none' {
  const known = FORMS[row.name];
  if (known) return known;
  if (EXTRACTS_OR_INSERTS.test(row.name) || hasScalar(row)) return NARROW;
  if (EXTENDS.test(row.name)) return { wide: 'AVX2', source: 'widened' };
  return isCounted(row) ? { wide: 'AVX2', source: 'shared' } : otherwise;
}

function derived(rows: readonly Instruction[], otherwise: DeriveOptions): Instruction[] {
  return rows.flatMap((row) => {
    const touchesMmx = row.encodings.some((text) => /\b[PQN][dq]\b/.test(text));
    const options = formsOf(row, otherwise);
    if (row.unit !== 'sse' || touchesMmx || /^cvtpi2p/.test(row.name) || options === 'none') return [];
    return vexForms(row, options);
  });
}

/** PCMPESTRM and PCMPISTRM write XMM0 by name. */
function clearingXmm0(row: Instruction): Instruction {
  if (!/^vpcmp[ei]strm$/.test(row.name)) return row;
  return {
    ...row,
    semantics: (b) => {
      row.semantics(b);
      b.setState('v128.store', xmm(0) + 16, zero128());
    },
  };
}

const dot = avx('vdpps', 'VEX.256.66.0F3A 40 Vqq:w,Hqq,Wqq,Ib', (b) => {
  const [yLow, yHigh] = b.readPair(2);
  const [xLow, xHigh] = b.readPair(1);
  b.callFaulting('avxDot32', xLow, yLow, xHigh, yHigh, imm8(b, 3));
  b.writePair(0, b.state('v128.load', SSE.result), b.state('v128.load', SSE.result + 16));
});

export const fromSseInstructions: readonly Instruction[] = [
  ...derived(sseMoveInstructions, FLOAT),
  ...derived(ssePackedInstructions, INTEGER),
  ...derived(sseElementInstructions, INTEGER),
  ...derived(
    sseArithmeticInstructions.filter((row) => !/^cmp/.test(row.name)),
    FLOAT,
  ),
  ...derived(comparisons(32), FLOAT),
  dot,
  ...derived(sseConvertInstructions, FLOAT),
  ...derived(sseStringInstructions, NARROW).map(clearingXmm0),
  ...derived(
    fxsaveInstructions.filter((row) => /mxcsr$/.test(row.name)),
    NARROW,
  ),
];
