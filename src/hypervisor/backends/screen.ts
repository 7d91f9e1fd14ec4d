/** A rectangle of pixels; `x`, `y` is its upper left corner. */
export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Pixels of a screen, in memory that threads may share: four bytes each, blue, green, red, and one without meaning. */
export interface Surface {
  /** In pixels; both at least 1. */
  readonly width: number;
  readonly height: number;
  /** Bytes from a row to the next, at least `4 * width`. */
  readonly stride: number;
  readonly memory: SharedArrayBuffer;
  /** In `memory`, of the first row's first byte. */
  readonly offset: number;
}

/** What changed since the last look. */
export interface ScreenChange {
  readonly surface: Surface;
  /** `surface` is another one than before, of another size perhaps: all of it is new. */
  readonly replaced: boolean;
  /** What may have other pixels than before; inside the surface, not overlapping, few. */
  readonly rects: readonly Rect[];
}

/** One looker at a screen. */
export interface ScreenWatch {
  /** Brings the surface up to date and says what changed for this watch; everything the first time. */
  update(): ScreenChange;
  /** Nothing is tracked for it any more. */
  close(): void;
}

/** What a video adapter shows. While nobody watches it tracks nothing and draws nothing. */
export interface Screen {
  watch(): ScreenWatch;
  /** The rows of text on it, without trailing blanks, when it is in a text mode. */
  text(): readonly string[] | undefined;
}
