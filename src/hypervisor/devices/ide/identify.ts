/** The 256 words by which drives describe themselves: ATA/ATAPI-6 § 8.15 (IDENTIFY DEVICE) and § 8.16 (… PACKET DEVICE). */

export const IDENTIFY_BYTES = 512;

/** Geometry for addressing by cylinder, head and sector. */
export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
}

/** Transfer modes selected by SET FEATURES; undefined where another kind of mode is. */
export interface TransferModes {
  readonly multiword: number | undefined;
  readonly ultra: number | undefined;
}

export interface Identity {
  /** Up to 40 ASCII characters. */
  readonly model: string;
  /** Up to 20. */
  readonly serial: string;
}

/** Highest modes: PIO 4, multiword DMA 2, Ultra DMA 5. */
export const HIGHEST = { pio: 4, multiword: 2, ultra: 5 } as const;

const FIRMWARE = '1.0';
/** ATA/ATAPI-4 to -6. */
const MAJOR_VERSION = 0x0070;

class Words {
  readonly bytes = new Uint8Array(IDENTIFY_BYTES);
  readonly #view = new DataView(this.bytes.buffer);

  set(index: number, value: number): void {
    this.#view.setUint16(2 * index, value, true);
  }

  set32(index: number, value: number): void {
    this.#view.setUint32(2 * index, value, true);
  }

  /** The first character of each pair is the high byte. */
  text(index: number, words: number, text: string): void {
    const padded = text.replace(/[^ -~]/g, '?').padEnd(2 * words);
    for (let i = 0; i < words; i++) {
      this.set(index + i, (padded.charCodeAt(2 * i) << 8) | padded.charCodeAt(2 * i + 1));
    }
  }

  common({ model, serial }: Identity, modes: TransferModes): void {
    this.text(10, 10, serial);
    this.text(23, 4, FIRMWARE);
    this.text(27, 20, model);
    // Words 64 to 70 and 88 are valid.
    this.set(53, 0x0006);
    this.set(63, 0x0007 | selected(modes.multiword));
    // PIO 3 and 4; cycle times in ns.
    this.set(64, 0x0003);
    for (let i = 65; i <= 68; i++) this.set(i, 120);
    this.set(80, MAJOR_VERSION);
    this.set(88, 0x003f | selected(modes.ultra));
    // Reset as device 0 or 1 by jumper, with the cable of 80 wires.
    this.set(93, 0x6001);
  }
}

const selected = (mode: number | undefined): number => (mode === undefined ? 0 : 0x100 << mode);

export interface DiskFeatures {
  readonly sectors: number;
  readonly defaultGeometry: Geometry;
  readonly geometry: Geometry;
  /** Sectors a block of READ MULTIPLE, 0 while there are none; and the most there may be. */
  readonly multiple: number;
  readonly mostMultiple: number;
  readonly writeCache: boolean;
  readonly lookAhead: boolean;
  readonly modes: TransferModes;
}

/** Sectors that 28 bits can name. */
export const LBA28_SECTORS = 0x0fff_ffff;

export function identifyDisk(identity: Identity, disk: DiskFeatures): Uint8Array {
  const words = new Words();
  const { defaultGeometry, geometry } = disk;
  words.common(identity, disk.modes);
  // Not removable.
  words.set(0, 0x0040);
  words.set(1, defaultGeometry.cylinders);
  words.set(3, defaultGeometry.heads);
  words.set(6, defaultGeometry.sectors);
  words.set(47, 0x8000 | disk.mostMultiple);
  // DMA, LBA, IORDY and its disabling, standard standby timer.
  words.set(49, 0x2f00);
  words.set(50, 0x4000);
  // Words 54 to 58 too.
  words.set(53, 0x0007);
  words.set(54, geometry.cylinders);
  words.set(55, geometry.heads);
  words.set(56, geometry.sectors);
  words.set32(57, geometry.cylinders * geometry.heads * geometry.sectors);
  words.set(59, disk.multiple > 0 ? 0x100 | disk.multiple : 0);
  words.set32(60, Math.min(disk.sectors, LBA28_SECTORS));
  // NOP, look-ahead, write cache, power management; FLUSH CACHE (EXT), 48 bits; WRITE FUA.
  words.set(82, 0x4068);
  words.set(83, 0x7400);
  words.set(84, 0x4040);
  words.set(85, 0x4008 | (disk.writeCache ? 0x20 : 0) | (disk.lookAhead ? 0x40 : 0));
  words.set(86, 0x3400);
  words.set(87, 0x4040);
  words.set32(100, disk.sectors % 2 ** 32);
  words.set32(102, Math.floor(disk.sectors / 2 ** 32));
  return words.bytes;
}

export function identifyCdrom(identity: Identity, modes: TransferModes): Uint8Array {
  const words = new Words();
  words.common(identity, modes);
  // ATAPI, CD-ROM, removable, DRQ within 50 µs without an interrupt, packets of 12 bytes.
  words.set(0, 0x85c0);
  // DMA, LBA, IORDY and its disabling.
  words.set(49, 0x0f00);
  // PACKET, DEVICE RESET, power management.
  words.set(82, 0x4218);
  words.set(83, 0x4000);
  words.set(84, 0x4000);
  words.set(85, 0x4218);
  words.set(87, 0x4000);
  return words.bytes;
}
