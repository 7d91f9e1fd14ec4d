/** What GET CONFIGURATION tells: MMC-3 § 5 (features) and § 6.6. */

/** DVD-ROM and CD-ROM. */
const PROFILES = [0x0010, 0x0008];

interface Feature {
  readonly code: number;
  readonly version: number;
  readonly persistent: boolean;
  readonly current: boolean;
  /** A multiple of four bytes. */
  readonly bytes: readonly number[];
}

function features(profile: number): Feature[] {
  const feature = (
    code: number,
    version: number,
    persistent: boolean,
    current: boolean,
    bytes: number[],
  ) => ({
    code,
    version,
    persistent,
    current,
    bytes,
  });
  const cd = profile === 0x08;
  const dvd = profile === 0x10;
  const list = PROFILES.flatMap((p) => [p >> 8, p & 0xff, p === profile ? 1 : 0, 0]);
  return [
    feature(0x0000, 0, true, true, list),
    // Core: the physical interface is ATAPI.
    feature(0x0001, 0, true, true, [0, 0, 0, 2]),
    // Morphing: events by polling.
    feature(0x0002, 0, true, true, [0, 0, 0, 0]),
    // Removable medium: a tray, that ejects and locks.
    feature(0x0003, 0, true, true, [0x29, 0, 0, 0]),
    // Random readable: blocks of 2048, one at a time.
    feature(0x0010, 0, false, cd || dvd, [0, 0, 8, 0, 0, 1, 0, 0]),
    feature(0x001d, 0, false, cd || dvd, []),
    feature(0x001e, 0, false, cd, [0, 0, 0, 0]),
    feature(0x001f, 0, false, dvd, []),
    feature(0x0100, 0, true, true, []),
    feature(0x0105, 0, true, true, []),
  ];
}

/**
 * @param profile of the disc, 0 without one
 * @param first the first feature wanted
 * @param which 0 all, 1 those that are current, 2 `first` alone
 */
export function configuration(profile: number, first: number, which: number): Uint8Array {
  const wanted = features(profile).filter(({ code, current }) =>
    which === 2 ? code === first : code >= first && (which === 0 || current),
  );
  const body = wanted.flatMap(({ code, version, persistent, current, bytes }) => [
    ...[code >> 8, code & 0xff, (version << 2) | (persistent ? 2 : 0) | (current ? 1 : 0), bytes.length],
    ...bytes,
  ]);
  const length = body.length + 4;
  return Uint8Array.from([0, 0, length >> 8, length & 0xff, 0, 0, profile >> 8, profile & 0xff, ...body]);
}
