/** Bits of input status register 1: not displaying, and in vertical retrace. */
const NOT_DISPLAYING = 0x01;
const RETRACING = 0x08;

/** Dot clocks by miscellaneous output register bits 2 and 3, in hertz. The last two have no oscillator on a PC. */
const DOT_CLOCKS: readonly number[] = [25_175_000, 28_322_000, 25_175_000, 25_175_000];
/** Frames that take less or more than this come from half-programmed registers, in nanoseconds. */
const FRAME = { least: 4e6, most: 5e7 } as const;

/** The course of a frame, in nanoseconds. */
export interface FrameTiming {
  readonly frame: number;
  readonly line: number;
  /** Of each line, from its start. */
  readonly displayed: number;
  /** Of each frame, in lines. */
  readonly displayedLines: number;
  readonly retraceStart: number;
  readonly retraceEnd: number;
}

/** 640 by 480 at 60 Hz: the frame of VBE modes, whose timing nobody programs. */
export const STANDARD_TIMING: FrameTiming = timing(800, 640, 525, 480, 490, 492, 1e9 / 25_175_000);

function timing(
  total: number,
  displayed: number,
  lines: number,
  displayedLines: number,
  retraceStart: number,
  retraceEnd: number,
  dot: number,
): FrameTiming {
  const line = total * dot;
  return {
    frame: line * lines,
    line,
    displayed: displayed * dot,
    displayedLines,
    retraceStart,
    retraceEnd,
  };
}

/**
 * The frame that the VGA's registers describe (IBM VGA Technical Reference,
 * "CRT Controller"); the standard one when that is none that a monitor shows.
 */
export function frameTiming(crtc: Uint8Array, clockingMode: number, misc: number): FrameTiming {
  const overflow = crtc[0x07];
  const high = (bit8: number, bit9: number): number =>
    (((overflow >> bit8) & 1) << 8) | (((overflow >> bit9) & 1) << 9);
  const dots = (clockingMode & 1 ? 8 : 9) * (clockingMode & 8 ? 2 : 1);
  const retraceStart = crtc[0x10] | high(2, 7);
  const found = timing(
    (crtc[0x00] + 5) * dots,
    (crtc[0x01] + 1) * dots,
    (crtc[0x06] | high(0, 5)) + 2,
    (crtc[0x12] | high(1, 6)) + 1,
    retraceStart,
    // The register has the lower four bits of the line at which it ends.
    retraceStart + ((crtc[0x11] - retraceStart) & 15 || 16),
    1e9 / DOT_CLOCKS[(misc >> 2) & 3],
  );
  const shown = found.frame >= FRAME.least && found.frame <= FRAME.most;
  return shown && found.retraceEnd * found.line <= found.frame ? found : STANDARD_TIMING;
}

/** Input status register 1 without its other bits, `now` nanoseconds after power-on. */
export function retraceStatus(t: FrameTiming, now: number): number {
  const time = now % t.frame;
  const line = Math.floor(time / t.line);
  const hidden = line >= t.displayedLines || time - line * t.line >= t.displayed;
  const retracing = line >= t.retraceStart && line < t.retraceEnd;
  return (hidden ? NOT_DISPLAYING : 0) | (retracing ? RETRACING : 0);
}
