import { type JpegQuality, QUALITY_LEVELS } from './encode/jpeg.ts';
import { ENCODING } from './encode/rect-encoder.ts';

/** Numbers of pseudo-encodings: RFC 6143 §7.8, rfbproto "Pseudo-encodings". */
export const PSEUDO = {
  desktopSize: -223,
  pointerMotion: -257,
  qemuKeys: -258,
  qemuLeds: -261,
  extendedDesktopSize: -308,
  fence: -312,
  continuousUpdates: -313,
  extendedButtons: -316,
} as const;

/** Levels 0 to 9 of compression and of JPEG's quality, and quality from 0 to 100, are ranges of encodings. */
const COMPRESSION = { from: -256, to: -247 } as const;
const QUALITY = { from: -32, to: -23 } as const;
const FINE_QUALITY = { from: -512, to: -412 } as const;
/** Of a client that asks for no level. */
const DEFAULT_LEVEL = 6;

/** The encodings for pixels that there are encoders for, besides CopyRect. */
export type PixelEncoding = 'raw' | 'hextile' | 'tight' | 'zrle';

/** What a client said it can do: its last SetEncodings. */
export interface Capabilities {
  /** The first one in its list. */
  readonly encoding: PixelEncoding;
  readonly copyRect: boolean;
  /** For zlib, 1 to 9. */
  readonly level: number;
  /** Absent: it wants no JPEG. */
  readonly jpeg: JpegQuality | undefined;
  readonly has: (pseudo: number) => boolean;
}

const PIXEL_ENCODINGS: ReadonlyMap<number, PixelEncoding> = new Map([
  [ENCODING.raw, 'raw'],
  [ENCODING.hextile, 'hextile'],
  [ENCODING.tight, 'tight'],
  [ENCODING.zrle, 'zrle'],
]);

/** Of a client that has sent no list yet. */
export const NO_CAPABILITIES: Capabilities = capabilitiesOf([]);

/** @param encodings in the client's order of preference */
export function capabilitiesOf(encodings: readonly number[]): Capabilities {
  const all = new Set(encodings);
  const first = encodings.find((encoding) => PIXEL_ENCODINGS.has(encoding));
  const level = offsetIn(encodings, COMPRESSION);
  const quality = offsetIn(encodings, QUALITY);
  const fine = offsetIn(encodings, FINE_QUALITY);
  return {
    encoding: first === undefined ? 'raw' : (PIXEL_ENCODINGS.get(first) ?? 'raw'),
    copyRect: all.has(ENCODING.copyRect),
    level: level === undefined ? DEFAULT_LEVEL : Math.max(1, level),
    jpeg:
      fine === undefined
        ? quality === undefined
          ? undefined
          : QUALITY_LEVELS[quality]
        : { quality: Math.max(1, fine), halfColour: fine < 80 },
    has: (pseudo) => all.has(pseudo),
  };
}

function offsetIn(encodings: readonly number[], range: { readonly from: number; readonly to: number }) {
  const found = encodings.find((encoding) => encoding >= range.from && encoding <= range.to);
  return found === undefined ? undefined : found - range.from;
}
