/** Why a packet command ended with CHECK CONDITION: MMC-3 (T10/1363-D) annex F, SPC-2 § 7.23. */
export interface Sense {
  readonly key: number;
  /** Additional sense code and its qualifier. */
  readonly code: number;
  readonly qualifier: number;
}

const sense = (key: number, code: number, qualifier = 0): Sense => ({ key, code, qualifier });

export const SENSE = {
  none: sense(0, 0),
  noMedium: sense(2, 0x3a, 1),
  trayOpen: sense(2, 0x3a, 2),
  unreadable: sense(3, 0x11),
  unknownCommand: sense(5, 0x20),
  outOfRange: sense(5, 0x21),
  invalidField: sense(5, 0x24),
  savingNotSupported: sense(5, 0x39),
  removalPrevented: sense(5, 0x53, 2),
  wrongTrackMode: sense(5, 0x64),
  mediumChanged: sense(6, 0x28),
  poweredOn: sense(6, 0x29),
} as const;

/** Fixed format, 18 bytes. */
export function senseBytes({ key, code, qualifier }: Sense): Uint8Array {
  const bytes = new Uint8Array(18);
  bytes[0] = 0x70;
  bytes[2] = key;
  bytes[7] = 10;
  bytes[12] = code;
  bytes[13] = qualifier;
  return bytes;
}
