import { S } from '../layout.ts';
import type { Builder, Val } from './builder.ts';
import { type Instruction, instruction } from './rows.ts';
import { I32, I64, i32, i64 } from './sse-common.ts';
import { MXCSR } from './sse-scratch.ts';

/**
 * Saving and restoring x87, MMX, SSE and AVX state (SDM vol. 1, 10.5 and chapter 13), MXCSR, prefetches and fences.
 * An image is put together in SSE.image by the runtime (interpret/runtime/sse-state.ts) and travels in 16-byte blocks.
 * Every component is reported in use (XINUSE = XCR0), which the SDM allows (vol. 1, 13.6).
 */

const CR0_EM = 4;
const CR0_TS = 8;
const CR4_OSXSAVE = 1 << 18;

/** Blocks of the legacy region: control words, MXCSR, ST0-7, XMM; outside 64-bit mode only XMM0-7 are seen. */
const FIRST_ST = 2;
const FIRST_XMM = 10;
const endOfXmm = (b: Builder): number => (b.long ? 26 : 18);
const HEADER = 512;
/** State component 2, the upper halves of the YMM registers: the same place in the standard and the compacted form. */
const YMM = { at: 576, bytes: 256 } as const;
const blocksOfYmm = (b: Builder): number => (b.long ? 16 : 8);
const longFlag = (b: Builder): Val => i32(b.long ? 1 : 0);

function storeBlocks(b: Builder, linear: Val, from: number, to: number): void {
  const at = b.local(I32, from * 16);
  b.loop((again) => {
    b.store('v128.store', linear.add(at.extendU()), b.call('sseImageGet', at));
    b.set(at, at.add(16));
    b.brIf(again, at.ltU(to * 16));
  });
}

function loadBlocks(b: Builder, linear: Val, from: number, to: number): void {
  const at = b.local(I32, from * 16);
  b.loop((again) => {
    b.run('sseImagePut', at, b.load('v128.load', linear.add(at.extendU())));
    b.set(at, at.add(16));
    b.brIf(again, at.ltU(to * 16));
  });
}

function storeQuad(b: Builder, linear: Val, offset: number): void {
  b.store('i64.store', linear.add(offset), b.call('sseImageGet64', i32(offset)));
}

/** Address of state component 2 behind the header. */
const ymmAddress = (b: Builder, access: 'r' | 'w'): Val =>
  b.let(b.bitString(0, i64(YMM.at), YMM.bytes, access).sub(YMM.at));

/** #NM as x87 instructions have it, without looking at pending x87 exceptions. */
function checkFxsr(b: Builder): void {
  b.if(b.state('i32.load', S.cr0).and(CR0_EM | CR0_TS), () => b.raise(7));
}

function checkXsave(b: Builder): void {
  b.if(b.state('i32.load', S.cr4).and(CR4_OSXSAVE).eqz(), () => b.raise(6));
  b.if(b.state('i32.load', S.cr0).and(CR0_TS), () => b.raise(7));
}

function address(b: Builder, bytes: number, alignment: number, access: 'r' | 'w' | 'rw'): Val {
  const linear = b.let(b.linear(0, bytes, access));
  b.checkAligned(linear, alignment);
  return linear;
}

const wideFlag = (b: Builder): Val => i32(b.opsize === 64 ? 1 : 0);

function fxsave(b: Builder): void {
  checkFxsr(b);
  const linear = address(b, 512, 16, 'w');
  b.run('sseImageSave', wideFlag(b));
  storeBlocks(b, linear, 0, endOfXmm(b));
}

function fxrstor(b: Builder): void {
  checkFxsr(b);
  const linear = address(b, 512, 16, 'r');
  loadBlocks(b, linear, 0, endOfXmm(b));
  b.callFaulting('sseImageRestore', wideFlag(b), longFlag(b), i32(3), i32(3), i32(1));
}

/** EDX:EAX masked by XCR0, whose upper half is zero. */
function requested(b: Builder): Val {
  return b.let(b.gpr(0, 32).and(b.state('i32.load', S.xcr0)));
}

function xsave(b: Builder, compacted: boolean): void {
  checkXsave(b);
  const linear = address(b, 576, 64, 'rw');
  const mask = requested(b);
  // All that follows only writes; what is kept of the header is read first.
  const bits = b.local(I64);
  if (compacted) b.set(bits, mask.extendU());
  else b.set(bits, b.load('i64.load', linear.add(HEADER)).or(mask.extendU()));
  b.run('sseImageSave', wideFlag(b));
  b.if(mask.and(1), () => {
    storeBlocks(b, linear, 0, 1);
    storeQuad(b, linear, 16);
    storeBlocks(b, linear, FIRST_ST, FIRST_XMM);
  });
  // MXCSR belongs to AVX as well, but in the compacted form.
  b.if(mask.and(compacted ? 2 : 6), () => storeQuad(b, linear, 24));
  b.if(mask.and(2), () => storeBlocks(b, linear, FIRST_XMM, endOfXmm(b)));
  b.if(mask.and(4), () => {
    b.run('avxImageSave');
    const from = YMM.at / 16;
    storeBlocks(b, ymmAddress(b, 'w'), from, from + blocksOfYmm(b));
  });
  b.store('i64.store', linear.add(HEADER), bits);
  if (compacted) b.store('i64.store', linear.add(HEADER + 8), bits.or(-1n << 63n));
}

function xrstor(b: Builder): void {
  checkXsave(b);
  const linear = address(b, 576, 64, 'r');
  const mask = requested(b);
  loadBlocks(b, linear, 0, endOfXmm(b));
  loadBlocks(b, linear, HEADER / 16, HEADER / 16 + 4);
  const present = b.call('sseImageGet64', i32(HEADER)).wrap();
  b.if(mask.and(present).and(4), () => {
    const from = YMM.at / 16;
    loadBlocks(b, ymmAddress(b, 'r'), from, from + blocksOfYmm(b));
  });
  b.callFaulting('sseXrstor', mask, wideFlag(b), longFlag(b));
}

const XSAVE = { cpuid: 'XSAVE' } as const;
const FXSR = { cpuid: 'FXSR' } as const;
const SSE1 = { cpuid: 'SSE', unit: 'sse' } as const;
const nothing = (): void => {};

export const fxsaveInstructions: readonly Instruction[] = [
  instruction('fxsave', 'NP 0F AE /0 M mem', fxsave, FXSR),
  instruction('fxrstor', 'NP 0F AE /1 M mem', fxrstor, FXSR),
  instruction(
    'ldmxcsr',
    'NP 0F AE /2 Md:r mem',
    (b) => {
      const value = b.read(0);
      b.if(value.and(~MXCSR.valid), () => b.raise(13, 0));
      b.setState('i32.store', S.mxcsr, value);
    },
    SSE1,
  ),
  instruction('stmxcsr', 'NP 0F AE /3 Md:w mem', (b) => b.write(0, b.state('i32.load', S.mxcsr)), SSE1),
  instruction('xsave', 'NP 0F AE /4 M mem', (b) => xsave(b, false), XSAVE),
  instruction('xrstor', 'NP 0F AE /5 M mem', xrstor, XSAVE),
  instruction('xsaveopt', 'NP 0F AE /6 M mem', (b) => xsave(b, false), { cpuid: 'XSAVEOPT' }),
  instruction('xsavec', 'NP 0F C7 /4 M mem', (b) => xsave(b, true), { cpuid: 'XSAVEC' }),
  instruction(
    'xgetbv',
    'NP 0F 01 /m=D0',
    (b) => {
      b.if(b.state('i32.load', S.cr4).and(CR4_OSXSAVE).eqz(), () => b.raise(6));
      b.if(b.gpr(1, 32), () => b.raise(13, 0));
      const value = b.state('i64.load', S.xcr0);
      b.setGpr(0, 32, value.wrap());
      b.setGpr(2, 32, value.shrU(32).wrap());
    },
    XSAVE,
  ),
  instruction('lfence', 'NP 0F AE /5 reg', nothing, { cpuid: 'SSE2' }),
  instruction('mfence', 'NP 0F AE /6 reg', nothing, { cpuid: 'SSE2' }),
  instruction('sfence', 'NP 0F AE /7 reg', nothing, { cpuid: 'SSE' }),
  instruction('prefetchnta', '0F 18 /0 M mem', nothing, { cpuid: 'SSE' }),
  instruction('prefetcht0', '0F 18 /1 M mem', nothing, { cpuid: 'SSE' }),
  instruction('prefetcht1', '0F 18 /2 M mem', nothing, { cpuid: 'SSE' }),
  instruction('prefetcht2', '0F 18 /3 M mem', nothing, { cpuid: 'SSE' }),
  instruction('prefetch', '0F 0D /0 M mem', nothing, { cpuid: 'PREFETCHW' }),
  instruction('prefetchw', '0F 0D /1 M mem', nothing, { cpuid: 'PREFETCHW' }),
];
