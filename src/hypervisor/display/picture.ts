/** Pixels that are nobody else's, row after row without gaps, each 0xRRGGBB. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint32Array;
}
