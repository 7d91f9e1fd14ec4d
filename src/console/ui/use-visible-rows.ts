import { useLayoutEffect, useState } from 'preact/hooks';

export interface Rows {
  /** The first row. */
  readonly from: number;
  /** The row after the last. */
  readonly to: number;
}

/** Rows that are drawn beyond either edge of the window, at least. */
const BEYOND = 8;
/** In steps of how many the rows change: few at a time cost each frame little. */
const STEP = 2;

/**
 * Which rows of a list lie in the window, and some before and after.
 * @param top of the list from the window's top edge; negative when it is scrolled away
 */
export function rowsWithin(top: number, windowHeight: number, rowHeight: number, count: number): Rows {
  const step = (row: number) => Math.floor(row / STEP) * STEP;
  const from = step(-top / rowHeight) - BEYOND;
  const to = step((windowHeight - top) / rowHeight) + STEP + BEYOND;
  return { from: Math.min(Math.max(0, from), count), to: Math.min(Math.max(0, to), count) };
}

/** The rows of a list, all of the same height, to draw while the page is scrolled to where it is. */
export function useVisibleRows(
  list: { readonly current: HTMLElement | null },
  rowHeight: number,
  count: number,
): Rows {
  const [top, setTop] = useState(0);
  useLayoutEffect(() => {
    const look = () => {
      const found = list.current?.getBoundingClientRect().top ?? 0;
      // Anything in between shows the same rows.
      const step = STEP * rowHeight;
      setTop(Math.round(found / step) * step);
    };
    look();
    addEventListener('scroll', look, { passive: true });
    addEventListener('resize', look);
    return () => {
      removeEventListener('scroll', look);
      removeEventListener('resize', look);
    };
  }, [list, rowHeight]);
  return rowsWithin(top, innerHeight, rowHeight, count);
}
