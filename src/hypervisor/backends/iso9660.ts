import type { ImageFile } from './host-file.ts';

/** What an ISO 9660 file system and its El Torito boot catalogue say about themselves. */
export interface IsoVolume {
  /** Printable ASCII, up to 32 characters. */
  readonly volume: string;
  /** Bytes that the volume says it has; the file may have less. */
  readonly bytes: number;
  /** There is a boot catalogue with an entry that a BIOS starts. */
  readonly bootsBios: boolean;
  /** There is one for UEFI. */
  readonly bootsUefi: boolean;
  readonly problems: readonly string[];
}

const SECTOR = 2048;
const FIRST_DESCRIPTOR = 16;
const MOST_DESCRIPTORS = 32;
const TYPE_BOOT = 0;
const TYPE_PRIMARY = 1;
const TYPE_END = 255;

const PLATFORM_X86 = 0;
const PLATFORM_EFI = 0xef;
const BOOTABLE = 0x88;
const SECTION_HEADER = 0x90;
const LAST_SECTION_HEADER = 0x91;

/**
 * Looks for an ISO 9660 volume: its descriptors (ECMA-119 § 8.4) and the first
 * sector of its boot catalogue (El Torito 1.0, § 2); 33 sectors at most are read.
 *
 * @returns undefined when there is none
 */
export async function readIso(file: ImageFile): Promise<IsoVolume | undefined> {
  const problems: string[] = [];
  let primary: DataView | undefined;
  let catalogue: number | undefined;
  for (let i = 0; i < MOST_DESCRIPTORS; i++) {
    const descriptor = await readSector(file, FIRST_DESCRIPTOR + i);
    if (ascii(descriptor, 1, 5) !== 'CD001') {
      if (i > 0) problems.push('its list of volume descriptors has no end');
      break;
    }
    const type = descriptor.getUint8(0);
    if (type === TYPE_END) break;
    if (type === TYPE_PRIMARY) primary ??= descriptor;
    if (type === TYPE_BOOT && /^EL TORITO SPECIFICATION\0*$/.test(ascii(descriptor, 7, 32)))
      catalogue ??= descriptor.getUint32(71, true);
  }
  if (!primary) return undefined;
  const bytes = primary.getUint32(80, true) * primary.getUint16(128, true);
  if (bytes > file.length) problems.push(`it ends early: ${file.length} of ${bytes} bytes are there`);
  const platforms =
    catalogue === undefined ? new Set<number>() : await readCatalogue(file, catalogue, problems);
  return {
    volume: ascii(primary, 40, 32)
      .replace(/[^ -~]/g, '?')
      .trim(),
    bytes,
    bootsBios: platforms.has(PLATFORM_X86),
    bootsUefi: platforms.has(PLATFORM_EFI),
    problems,
  };
}

/** @returns the platforms for which there is a bootable entry */
async function readCatalogue(file: ImageFile, sector: number, problems: string[]): Promise<Set<number>> {
  const platforms = new Set<number>();
  if (sector === 0 || (sector + 1) * SECTOR > file.length) {
    problems.push('its boot catalogue lies outside the file');
    return platforms;
  }
  const view = await readSector(file, sector);
  let sum = 0;
  for (let at = 0; at < 32; at += 2) sum += view.getUint16(at, true);
  if (view.getUint8(0) !== 1 || view.getUint16(30) !== 0x55aa || (sum & 0xffff) !== 0) {
    problems.push('its boot catalogue does not begin with a validation entry');
    return platforms;
  }
  let platform = view.getUint8(1);
  for (let at = 32; at < SECTOR; at += 32) {
    const indicator = view.getUint8(at);
    if (indicator === SECTION_HEADER || indicator === LAST_SECTION_HEADER) platform = view.getUint8(at + 1);
    else if (indicator === BOOTABLE) platforms.add(platform);
  }
  return platforms;
}

async function readSector(file: ImageFile, sector: number): Promise<DataView> {
  const bytes = new Uint8Array(SECTOR);
  await file.readAt(sector * SECTOR, bytes);
  return new DataView(bytes.buffer);
}

function ascii(view: DataView, at: number, length: number): string {
  return Buffer.from(view.buffer, view.byteOffset + at, length).toString('latin1');
}
