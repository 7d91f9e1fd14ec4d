import { MXCSR, SSE } from '../../isa/sse-scratch.ts';
import { S, xmm } from '../../layout.ts';
import { type FunctionBuilder, type FunctionRef, I32, I64, type Local, V128 } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';

/** FXSAVE and XSAVE images (SDM vol. 1, 10.5.1 and 13.4). */

const AT = SSE.image;
const HEADER = 512;
const YMM = 576;
/** Bits of the x87 control word that can be set; bit 6 always reads as 1. */
const FCW_WRITABLE = 0x1f3f;
const FCW_FIXED = 0x40;
const FSW_TOP = 0x3800;
/** ES and B, which follow from the unmasked exceptions. */
const FSW_SUMMARY = 0x8080;

const physical = (f: FunctionBuilder, i: number): Value =>
  i32(S.fpr).add(f.load('i32.load', S.fpuTop).add(i).and(7).shl(4));

/** (wide): the legacy region from the state; with `wide`, FIP and FDP have 64 bits and no selectors. */
function defineSave(m: ModuleBuilder): FunctionRef {
  return m.fn('sseImageSave', [I32], [], (f) => {
    const wide = f.params[0] as Local;
    const top = f.load('i32.load', S.fpuTop).and(7).shl(11);
    f.store('i32.store16', AT, f.load('i32.load', S.fpuControl));
    f.store('i32.store16', AT + 2, f.load('i32.load', S.fpuStatus).and(~FSW_TOP).or(top));
    f.store('i32.store16', AT + 4, f.load('i32.load', S.fpuEmpty).xor(255).and(255));
    f.store('i32.store16', AT + 6, f.load('i32.load', S.fpuOpcode).and(0x7ff));
    for (const [offset, pointer, selector] of [
      [8, S.fpuIp, S.fpuCs],
      [16, S.fpuDp, S.fpuDs],
    ] as const) {
      const full = f.load('i64.load', pointer);
      const narrow = f.load('i64.load32_u', pointer).or(f.load('i64.load16_u', selector).shl(32));
      f.store('i64.store', AT + offset, select(wide, full, narrow));
    }
    f.store('i32.store', AT + 24, f.load('i32.load', S.mxcsr));
    f.store('i32.store', AT + 28, MXCSR.valid);
    for (let i = 0; i < 8; i += 1) {
      const at = f.let(physical(f, i));
      f.store('i64.store', AT + 32 + i * 16, f.load('i64.load', at));
      f.store('i64.store', AT + 40 + i * 16, f.load('i64.load16_u', at, 8));
    }
    for (let i = 0; i < 16; i += 1) f.store('v128.store', AT + 160 + i * 16, f.load('v128.load', xmm(i)));
  });
}

function restoreX87(f: FunctionBuilder, wide: Local): void {
  const control = f.let(f.load('i32.load16_u', AT).and(FCW_WRITABLE).or(FCW_FIXED));
  const status = f.let(f.load('i32.load16_u', AT + 2));
  f.store('i32.store', S.fpuControl, control);
  f.store('i32.store', S.fpuTop, status.shrU(11).and(7));
  const pending = status.and(control.xor(0x3f)).and(0x3f);
  f.store(
    'i32.store',
    S.fpuStatus,
    status.and(~(FSW_TOP | FSW_SUMMARY)).or(select(pending, i32(FSW_SUMMARY), i32(0))),
  );
  f.store('i32.store', S.fpuEmpty, f.load('i32.load8_u', AT + 4).xor(255));
  f.store('i32.store', S.fpuOpcode, f.load('i32.load16_u', AT + 6).and(0x7ff));
  for (const [offset, pointer, selector] of [
    [8, S.fpuIp, S.fpuCs],
    [16, S.fpuDp, S.fpuDs],
  ] as const) {
    f.if(
      wide,
      () => {
        f.store('i64.store', pointer, f.load('i64.load', AT + offset));
        f.store('i32.store', selector, 0);
      },
      () => {
        f.store('i64.store', pointer, f.load('i64.load32_u', AT + offset));
        f.store('i32.store', selector, f.load('i32.load16_u', AT + offset + 4));
      },
    );
  }
  for (let i = 0; i < 8; i += 1) {
    const at = f.let(physical(f, i));
    f.store('i64.store', at, f.load('i64.load', AT + 32 + i * 16));
    f.store('i32.store16', at, f.load('i32.load16_u', AT + 40 + i * 16), 8);
  }
}

/** The x87 state of FNINIT with empty, zero registers (SDM vol. 1, 13.6). */
function initX87(f: FunctionBuilder): void {
  f.store('i32.store', S.fpuControl, 0x37f);
  for (const word of [S.fpuStatus, S.fpuTop, S.fpuOpcode, S.fpuCs, S.fpuDs]) f.store('i32.store', word, 0);
  f.store('i32.store', S.fpuEmpty, 255);
  f.store('i64.store', S.fpuIp, 0);
  f.store('i64.store', S.fpuDp, 0);
  for (let i = 0; i < 8; i += 1) {
    f.store('i64.store', S.fpr + i * 16, 0);
    f.store('i32.store16', S.fpr + i * 16 + 8, 0);
  }
}

function raiseGeneralProtection(f: FunctionBuilder): void {
  f.store('i32.store', S.faultVector, 13);
  f.store('i32.store', S.faultHasCode, 1);
  f.store('i32.store', S.faultCode, 0);
  f.return(1);
}

/**
 * (wide, long, components to change, components in the image, whether MXCSR is
 * loaded) → 1 after #GP(0) for reserved bits of MXCSR. A component that is not in the image is initialized.
 */
function defineRestore(m: ModuleBuilder): FunctionRef {
  return m.fn('sseImageRestore', [I32, I32, I32, I32, I32], [I32], (f) => {
    const [wide, long, change, present, withMxcsr] = f.params as [Local, Local, Local, Local, Local];
    const control = f.let(f.load('i32.load', AT + 24));
    f.if(withMxcsr, () => {
      f.if(control.and(~MXCSR.valid), () => raiseGeneralProtection(f));
      f.store('i32.store', S.mxcsr, control);
    });
    f.if(change.and(1), () =>
      f.if(
        present.and(1),
        () => restoreX87(f, wide),
        () => initX87(f),
      ),
    );
    const zero = f.load('v128.load', SSE.result);
    f.store('i64.store', SSE.result, 0);
    f.store('i64.store', SSE.result, 0, 8);
    f.if(change.and(2), () => {
      const put = (from: number, to: number): void => {
        for (let i = from; i < to; i += 1) {
          f.store('v128.store', xmm(i), select(present.and(2), f.load('v128.load', AT + 160 + i * 16), zero));
        }
      };
      put(0, 8);
      f.if(long, () => put(8, 16));
    });
    f.if(change.and(4), () => {
      const put = (from: number, to: number): void => {
        for (let i = from; i < to; i += 1) {
          const saved = f.load('v128.load', AT + YMM + i * 16);
          f.store('v128.store', xmm(i) + 16, select(present.and(4), saved, zero));
        }
      };
      put(0, 8);
      f.if(long, () => put(8, 16));
    });
    f.return(0);
  });
}

/** (components asked for, wide, long): checks the header in the image (SDM vol. 1, 13.8), then restores. */
function defineXrstor(m: ModuleBuilder, restore: FunctionRef): FunctionRef {
  return m.fn('sseXrstor', [I32, I32, I32], [I32], (f) => {
    const [mask, wide, long] = f.params as [Local, Local, Local];
    const present = f.let(f.load('i64.load', AT + HEADER));
    const layout = f.let(f.load('i64.load', AT + HEADER + 8));
    const enabled = f.let(f.load('i64.load', S.xcr0));
    const outside = (bits: Value, allowed: Value): Value => bits.and(allowed.not()).ne(0);
    const words = (from: number, to: number): Value => {
      let all: Value = i64(0);
      for (let at = from; at < to; at += 8) all = all.or(f.load('i64.load', AT + HEADER + at));
      return all.ne(0);
    };
    const compact = f.let(layout.ltS(0));
    f.if(
      compact,
      () => {
        const listed = layout.and((1n << 63n) - 1n);
        f.if(outside(listed, enabled).or(outside(present, listed)).or(words(16, 64)), () =>
          raiseGeneralProtection(f),
        );
      },
      () => f.if(outside(present, enabled).or(words(8, 24)), () => raiseGeneralProtection(f)),
    );
    // In the standard form MXCSR is read even when the image has no SSE state, and with AVX state; in the compacted one
    // it is of SSE alone, and initialized without it.
    const sse = f.let(mask.and(select(compact, i32(2), i32(6))).ne(0));
    const held = f.let(present.wrap());
    const initial = sse.and(compact).and(held.shrU(1).xor(1));
    f.if(initial, () => f.store('i32.store', AT + 24, 0x1f80));
    f.return(f.call(restore, wide, long, mask, held, sse));
  });
}

/** Defines the state images' functions; `sseImageGet/Put` move 16 bytes at an offset, `avxImageSave` puts state component 2 in place. */
export function addStateImages(m: ModuleBuilder): Record<string, FunctionRef> {
  const restore = defineRestore(m);
  return {
    sseImageSave: defineSave(m),
    sseImageRestore: restore,
    sseXrstor: defineXrstor(m, restore),
    avxImageSave: m.fn('avxImageSave', [], [], (f) => {
      for (let i = 0; i < 16; i += 1)
        f.store('v128.store', AT + YMM + i * 16, f.load('v128.load', xmm(i) + 16));
    }),
    sseImageGet: m.fn('sseImageGet', [I32], [V128], (f) => {
      f.return(f.load('v128.load', f.params[0] as Local, AT));
    }),
    sseImageGet64: m.fn('sseImageGet64', [I32], [I64], (f) => {
      f.return(f.load('i64.load', f.params[0] as Local, AT));
    }),
    sseImagePut: m.fn('sseImagePut', [I32, V128], [], (f) => {
      f.store('v128.store', f.params[0] as Local, f.params[1] as Local, AT);
    }),
    mmxMark: m.fn('mmxMark', [I32], [], (f) => f.store('i32.store16', f.params[0] as Local, 0xffff, 8)),
  };
}
