import type { Surface } from '../../backends/screen.ts';
import { Damage } from './damage.ts';

/** A surface with memory of its own, black at first. */
export interface OwnSurface extends Surface {
  /** Its pixels, row after row without gaps. */
  readonly pixels: Uint32Array;
}

export function makeSurface(width: number, height: number): OwnSurface {
  const memory = new SharedArrayBuffer(width * height * 4);
  return { width, height, stride: width * 4, memory, offset: 0, pixels: new Uint32Array(memory) };
}

/** What the pictures of the modes draw on, and where they note what they changed. */
export interface Canvas {
  readonly surface: OwnSurface;
  readonly damage: Damage;
}

/** What the pictures of the modes draw from. */
export interface VideoMemory {
  readonly bytes: Uint8Array;
  /** The same memory: the four planes of an address. */
  readonly words: Uint32Array;
  /** One for each 4 KiB, 1 when it was written since the last drawing. */
  readonly pages: Uint8Array;
}

export function makeCanvas(width: number, height: number): Canvas {
  return { surface: makeSurface(width, height), damage: new Damage(width, height) };
}

/** Makes the whole surface black. */
export function darken({ surface, damage }: Canvas): void {
  const { pixels, width, height } = surface;
  for (let row = 0; row < height; row++) {
    const at = row * width;
    for (let x = 0; x < width; x++) {
      if (pixels[at + x] === 0) continue;
      pixels.fill(0, at + x, at + width);
      damage.add(row, x, width);
    }
  }
}

/** Whether any page with bytes of `[from, to)` was written. */
export function written(pages: Uint8Array, from: number, to: number): boolean {
  for (let page = from >>> 12; page <= (to - 1) >>> 12; page++) if (pages[page] !== 0) return true;
  return false;
}
