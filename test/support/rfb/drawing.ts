import type { PaintedScreen } from './painted-screen.ts';

/** Numbers that a seed foretells, from 0 to `below` - 1. */
export type Random = (below: number) => number;

/** Mulberry32. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** One random change of the kinds that screens see. */
export function scribble(screen: PaintedScreen, random: Random): void {
  const { width, height } = screen.surface;
  const w = 1 + random(width);
  const h = 1 + random(height);
  const rect = { x: random(width - w + 1), y: random(height - h + 1), width: w, height: h };
  const a = random(1 << 24);
  const b = random(1 << 24);
  switch (random(7)) {
    case 0:
      return screen.paint(rect, () => a);
    case 1:
      return screen.paint(rect, () => (random(4) === 0 ? a : b));
    case 2:
      return screen.paint(
        rect,
        (x, y) => ((x * 5) & 0xff) * 65536 + ((y * 3) & 0xff) * 256 + ((x + y) & 0xff),
      );
    case 3:
      return screen.paint(rect, () => random(1 << 24));
    case 4: {
      const colours = Array.from({ length: 2 + random(200) }, () => random(1 << 24));
      return screen.paint(rect, (x, y) => colours[((x >> 2) + y) % colours.length]);
    }
    case 5:
      return screen.scroll(1 + random(Math.min(height, 40)));
    default:
      // Touched, but not changed; the byte without meaning is another one.
      return screen.touch(rect);
  }
}
