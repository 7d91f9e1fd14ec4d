/** The mode pages of a CD-ROM drive: SFF-8020i § 10.8.6, MMC-3 § 5.5. */

const ALL_PAGES = 0x3f;
const CAPABILITIES = 0x2a;
/** The byte of that page, after its first two, that has the lock's state. */
const LOCK_BYTE = 4;
const LOCKED = 0x02;

/** Kilobytes a second that the drive says it does: 24 times an audio CD. */
const SPEED = 4234;
const word = (value: number): number[] => [value >> 8, value & 0xff];

/** Pages by code, without their first two bytes. */
const PAGES: ReadonlyMap<number, readonly number[]> = new Map([
  // Read error recovery: five retries.
  [0x01, [0x00, 0x05, 0, 0, 0, 0]],
  // CD-ROM parameters: 60 seconds a minute, 75 frames a second.
  [0x0d, [0, 0x0d, 0, 60, 0, 75]],
  // Audio control, of the outputs that there are not.
  [0x0e, [0x04, 0, 0, 0, 0, 75, 1, 0xff, 2, 0xff, 0, 0, 0, 0]],
  // Capabilities: reads CD-R, CD-RW and DVD-ROM; mode 2 forms and multisession; a tray that locks and ejects.
  [
    CAPABILITIES,
    [
      ...[0x0b, 0x00, 0x70, 0x00, 0x29, 0x00],
      ...word(SPEED),
      ...word(0),
      ...word(512),
      ...word(SPEED),
      ...[0, 0, 0, 0],
    ],
  ],
]);

export interface ModeSense {
  /** 3Fh for all. */
  readonly page: number;
  /** Asks which bits can be changed: none. */
  readonly changeable: boolean;
  /** With the header of the 6-byte command. */
  readonly short: boolean;
  readonly locked: boolean;
}

/**
 * A header and pages; there are no block descriptors.
 * @returns undefined when there is no such page
 */
export function modeSense({ page, changeable, short, locked }: ModeSense): Uint8Array | undefined {
  const wanted = [...PAGES].filter(([code]) => page === ALL_PAGES || code === page);
  if (wanted.length === 0) return undefined;
  const pages = wanted.flatMap(([code, bytes]) => {
    const now = bytes.map((byte, i) =>
      locked && code === CAPABILITIES && i === LOCK_BYTE ? byte | LOCKED : byte,
    );
    return [code, bytes.length, ...now.map((byte) => (changeable ? 0 : byte))];
  });
  const header = short ? [pages.length + 3, 0, 0, 0] : [...word(pages.length + 6), 0, 0, 0, 0, 0, 0];
  return Uint8Array.from([...header, ...pages]);
}
