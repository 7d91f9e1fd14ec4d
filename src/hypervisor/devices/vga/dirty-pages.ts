/** Bytes of a page of video memory, as far as writes to it are told apart. */
export const VRAM_PAGE = 4096;

/**
 * Which pages of video memory the processor has written by itself, through a
 * mapping that the device does not see. Nothing is tracked, and nothing costs
 * anything, until it is switched on.
 */
export interface DirtyPages {
  /** Tracks writes from now on, or no longer. What was written before does not count. */
  enable(on: boolean): void;
  /**
   * Sets `pages[n]` to 1 for each page `n` of video memory that was written
   * since the last call or since tracking began, leaves the others as they
   * are, and forgets them. At least those pages: more are allowed.
   */
  take(pages: Uint8Array): void;
}

/** For a machine in which every access to video memory comes through the device. */
export const NO_DIRECT_WRITES: DirtyPages = { enable() {}, take() {} };
