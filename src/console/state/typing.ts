import { LAYOUTS } from '../../lib/keyboard-layouts.ts';

const KEY = 'teremok.layout';

type Kept = Pick<Storage, 'getItem' | 'setItem'>;

/** The layout that was chosen last, or the American one. Never throws. */
export function lastLayout(storage: Kept): string {
  try {
    const name = storage.getItem(KEY);
    if (LAYOUTS.some(([known]) => known === name)) return name as string;
  } catch {
    // A browser that keeps nothing.
  }
  return 'us';
}

export function keepLayout(storage: Kept, name: string): void {
  try {
    storage.setItem(KEY, name);
  } catch {
    // Then it is chosen again.
  }
}

/** Characters that one request types: a second or two of typing, after which the page can tell how far it is. */
const PIECE = 100;

/** The first part of a text, to be typed in one request; never half a character. */
export function firstPiece(text: string): string {
  return [...text.slice(0, 2 * PIECE)].slice(0, PIECE).join('');
}
