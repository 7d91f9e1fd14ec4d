import { writeFile } from 'node:fs/promises';

const SECTOR = 512;
/** Of a CD. */
const BLOCK = 2048;
const ORIGIN = 0x7c00;

/**
 * A boot sector in real mode that writes `text` by the BIOS, and after that
 * whatever is typed.
 */
export function bootSector(text: string): Uint8Array {
  const code = [
    0xfa, // cli
    ...[0x31, 0xc0, 0x8e, 0xd8], // xor ax, ax; mov ds, ax
    ...[0x8e, 0xd0, 0xbc, 0x00, 0x7c], // mov ss, ax; mov sp, 7c00h
    ...[0xea, 0x10, 0x7c, 0x00, 0x00], // jmp 0:7c10h, for some BIOSes start at 7c0h:0
    0x90,
    ...[0xfb, 0xfc, 0xbe, 0x2b, 0x7c], // sti; cld; mov si, message
    ...[0xac, 0x84, 0xc0, 0x74, 0x06], // next: lodsb; test al, al; jz keys
    ...[0xb4, 0x0e, 0xcd, 0x10, 0xeb, 0xf5], // mov ah, 0eh; int 10h; jmp next
    ...[0x31, 0xc0, 0xcd, 0x16], // keys: xor ax, ax; int 16h
    ...[0xb4, 0x0e, 0xcd, 0x10, 0xeb, 0xf6], // mov ah, 0eh; int 10h; jmp keys
    0x90,
  ];
  const sector = new Uint8Array(SECTOR);
  sector.set([...code, ...new TextEncoder().encode(text), 0]);
  if (code.length !== 0x7c2b - ORIGIN) throw new Error(`the code has ${code.length} bytes`);
  sector.set([0x55, 0xaa], SECTOR - 2);
  return sector;
}

/** Where `sleepSector` wants to be woken. */
export const WAKING_VECTOR = 0x7c40;

/**
 * A boot sector that suspends to RAM. From WAKING_VECTOR on it writes `!` to the
 * serial line and suspends again.
 */
export function sleepSector(): Uint8Array {
  const suspend = [
    ...[0xba, 0x04, 0x06, 0xb8, 0x00, 0x24, 0xef], // mov dx, 604h; mov ax, 2400h; out dx, ax
    ...[0xeb, 0xfe], // jmp $
  ];
  const sector = new Uint8Array(SECTOR);
  sector.set(suspend);
  sector.set([0xba, 0xf8, 0x03, 0xb0, 0x21, 0xee, ...suspend], WAKING_VECTOR - ORIGIN); // mov dx, 3f8h; mov al, '!'; out dx, al
  sector.set([0x55, 0xaa], SECTOR - 2);
  return sector;
}

/** A disk image of 1 MiB that starts with a boot sector. */
export async function writeBootDisk(path: string, sector: Uint8Array): Promise<void> {
  const disk = new Uint8Array(1 << 20);
  disk.set(sector);
  await writeFile(path, disk);
}

/**
 * A CD image of nothing but a boot sector, without emulation (ISO 9660;
 * "El Torito" Bootable CD-ROM Format 1.0): descriptors from block 16 on, the
 * boot catalogue in block 19, the sector in block 20.
 */
export function bootDisc(text: string): Uint8Array<ArrayBuffer> {
  const disc = new Uint8Array(32 * BLOCK);
  const put = (block: number, at: number, bytes: ArrayLike<number> | string): void =>
    disc.set(typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes, block * BLOCK + at);
  for (const [i, type] of [1, 0, 255].entries())
    put(16 + i, 0, [type, ...new TextEncoder().encode('CD001'), 1]);
  put(17, 7, 'EL TORITO SPECIFICATION');
  put(17, 0x47, [19]);
  const validation = new Uint8Array(32);
  validation.set([1]);
  validation.set([0x55, 0xaa], 30);
  const words = new DataView(validation.buffer);
  let sum = 0;
  for (let at = 0; at < 32; at += 2) sum += words.getUint16(at, true);
  words.setUint16(28, -sum & 0xffff, true);
  put(19, 0, validation);
  // Bootable, no emulation, one sector of 512 bytes.
  put(19, 32, [0x88, 0, 0, 0, 0, 0, 1, 0, 20]);
  put(20, 0, bootSector(text));
  return disc;
}

export async function writeBootDisc(path: string, text: string): Promise<void> {
  await writeFile(path, bootDisc(text));
}
