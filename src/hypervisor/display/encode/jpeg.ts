import { createRequire } from 'node:module';
import type { Rect } from '../../backends/screen.ts';
import type { Picture } from '../picture.ts';

/** How much a viewer wants JPEG to lose. */
export interface JpegQuality {
  /** 1 to 100, as libjpeg counts. */
  readonly quality: number;
  /** Colour at half the resolution in both directions. */
  readonly halfColour: boolean;
}

export interface JpegEncoder {
  /** A baseline JPEG file; a view that is good until the next call. */
  encode(picture: Picture, rect: Rect, quality: JpegQuality): Uint8Array;
}

/** Of the quality levels 0 to 9 that a client asks for (rfbproto, "JPEG Quality Level Pseudo-encoding"). */
export const QUALITY_LEVELS: readonly JpegQuality[] = [
  ...[10, 15, 20, 30, 40, 50, 60, 70].map((quality) => ({ quality, halfColour: true })),
  { quality: 80, halfColour: false },
  { quality: 92, halfColour: false },
];

/** The codec's own numbers for how colour is sampled: TJSAMP of libjpeg-turbo. */
const FULL_COLOUR = 0;
const HALF_COLOUR = 2;

/** The part used of the package's module, which has no types. */
interface Codec {
  JPEGEncoder: new () => {
    getDecodedBuffer(frame: {
      width: number;
      height: number;
      bitsPerSample: number;
      componentCount: number;
      isSigned: boolean;
    }): Uint8Array;
    getEncodedBuffer(): Uint8Array;
    setProgressive(on: boolean): void;
    setQuality(quality: number): void;
    setSubSampling(sampling: number): void;
    encode(): void;
  };
}

/**
 * Loads libjpeg-turbo, compiled to WebAssembly; it takes some 40 ms.
 * @throws Error when the package is not there
 */
export async function loadJpeg(): Promise<JpegEncoder> {
  const require = createRequire(import.meta.url);
  const load = require('@cornerstonejs/codec-libjpeg-turbo-8bit/wasmjs') as () => Promise<Codec>;
  const encoder = new (await load()).JPEGEncoder();
  encoder.setProgressive(false);
  return {
    encode(picture, rect, { quality, halfColour }) {
      const { width, height } = rect;
      const frame = { width, height, bitsPerSample: 8, componentCount: 3, isSigned: false };
      copyRgb(picture, rect, encoder.getDecodedBuffer(frame));
      encoder.setQuality(quality);
      encoder.setSubSampling(halfColour ? HALF_COLOUR : FULL_COLOUR);
      encoder.encode();
      return encoder.getEncodedBuffer();
    },
  };
}

function copyRgb({ pixels, width }: Picture, rect: Rect, out: Uint8Array): void {
  let at = 0;
  for (let y = rect.y; y < rect.y + rect.height; y++) {
    const start = y * width + rect.x;
    for (let i = start; i < start + rect.width; i++) {
      const colour = pixels[i];
      out[at++] = colour >>> 16;
      out[at++] = colour >>> 8;
      out[at++] = colour;
    }
  }
}
