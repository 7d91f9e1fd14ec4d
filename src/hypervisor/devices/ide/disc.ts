/** A disc of one data track, as CD and DVD drives describe it: MMC-3 (T10/1363-D). */
import type { DiskBackend } from '../../backends/disk.ts';

export const BLOCK_BYTES = 2048;
/** Sync, header, user data, EDC and ECC of a mode 1 sector: ECMA-130 § 14. */
export const RAW_BLOCK_BYTES = 2352;
/** Blocks of 80 minutes: a larger disc is a DVD. */
const CD_BLOCKS = 80 * 60 * 75;
/** The lead-out track. */
const LEAD_OUT = 0xaa;
/** Digital data track, recorded uninterrupted, copying not permitted; position in the Q channel. */
const DATA_TRACK = 0x14;

/** A last block that is not whole counts: its rest reads as zeroes. */
export const blocksOf = (medium: DiskBackend): number => Math.ceil(medium.size / BLOCK_BYTES);

export const isDvd = (medium: DiskBackend): boolean => blocksOf(medium) > CD_BLOCKS;

/** Minute, second and frame of an address: two seconds are before block 0. */
function msf(lba: number): [number, number, number] {
  const frames = lba + 150;
  return [Math.min(0xff, Math.floor(frames / 4500)), Math.floor(frames / 75) % 60, frames % 75];
}

/** An address field of four bytes. */
function address(lba: number, asMsf: boolean): number[] {
  if (asMsf) return [0, ...msf(lba)];
  return [(lba >>> 24) & 0xff, (lba >> 16) & 0xff, (lba >> 8) & 0xff, lba & 0xff];
}

/** Puts the length of what follows it before a reply. */
export const withLength = (bytes: readonly number[]): Uint8Array =>
  Uint8Array.from([bytes.length >> 8, bytes.length & 0xff, ...bytes]);

/** READ TOC format 0: tracks from `first` on; undefined when there is no such track. */
export function tableOfContents(blocks: number, first: number, asMsf: boolean): Uint8Array | undefined {
  if (first > 1 && first !== LEAD_OUT) return undefined;
  const track = first <= 1 ? [0, DATA_TRACK, 1, 0, ...address(0, asMsf)] : [];
  return withLength([1, 1, ...track, 0, DATA_TRACK, LEAD_OUT, 0, ...address(blocks, asMsf)]);
}

/** Format 1: the only session. */
export function sessionInformation(asMsf: boolean): Uint8Array {
  return withLength([1, 1, 0, DATA_TRACK, 1, 0, ...address(0, asMsf)]);
}

/** Format 2: the entries of the lead-in, POINT A0, A1, A2 and the track. Times are in binary. */
export function rawTableOfContents(blocks: number): Uint8Array {
  const entry = (point: number, time: readonly number[]): number[] => [
    1,
    DATA_TRACK,
    0,
    point,
    0,
    0,
    0,
    0,
    ...time,
  ];
  return withLength([
    1,
    1,
    ...entry(0xa0, [1, 0, 0]),
    ...entry(0xa1, [1, 0, 0]),
    ...entry(0xa2, msf(blocks)),
    ...entry(1, msf(0)),
  ]);
}

/** READ DISC INFORMATION: complete, one session, one track. */
export function discInformation(): Uint8Array {
  const bytes = new Uint8Array(34);
  bytes[1] = 32;
  bytes[2] = 0x0e;
  bytes.fill(1, 3, 7);
  // No lead-in and no further session to write to.
  bytes.fill(0xff, 16, 24);
  return bytes;
}

/** READ TRACK INFORMATION of track 1: data, complete, `blocks` long. */
export function trackInformation(blocks: number): Uint8Array {
  const bytes = new Uint8Array(36);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 34);
  bytes[2] = 1;
  bytes[3] = 1;
  bytes[5] = 4;
  bytes[6] = 1;
  view.setUint32(24, blocks);
  return bytes;
}

/** READ DVD STRUCTURE format 0: a DVD-ROM of one layer. MMC-3 § 6.31.3.1. */
export function dvdPhysical(blocks: number): Uint8Array {
  const layer = new Uint8Array(2048);
  const view = new DataView(layer.buffer);
  // Book 0 (DVD-ROM), version 1; 120 mm, the rate is not told; one layer, embossed.
  layer[0] = 0x01;
  layer[1] = 0x0f;
  layer[2] = 0x01;
  view.setUint32(4, 0x30000);
  view.setUint32(8, 0x30000 + blocks - 1);
  return withLength([0, 0, ...layer]);
}

/** Format 1: not protected, every region. */
export const dvdCopyright = (): Uint8Array => withLength([0, 0, 0, 0, 0, 0]);

/** A block with what is around its user data on the disc. EDC and ECC are left at zero. */
export function rawBlock(lba: number, data: Uint8Array): Uint8Array {
  const raw = new Uint8Array(RAW_BLOCK_BYTES);
  raw.fill(0xff, 1, 11);
  const bcd = (n: number): number => (Math.floor(n / 10) << 4) | (n % 10);
  raw.set(msf(lba).map(bcd), 12);
  raw[15] = 1;
  raw.set(data.subarray(0, BLOCK_BYTES), 16);
  return raw;
}
