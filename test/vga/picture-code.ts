import { createHash } from 'node:crypto';
import type { Picture } from './picture.ts';

/**
 * A picture as its size and the start of a digest of the upper five bits of
 * its components: below these, adapters differ in how they make 8 bits of
 * 5 or 6.
 */
export function pictureCode({ width, height, rgb }: Picture): string {
  const upper = rgb.map((component) => component >> 3);
  return `${width}x${height} ${createHash('sha256').update(upper).digest('hex').slice(0, 16)}`;
}
