import type { AcpiPlatform } from './platform.ts';
import { buildAcpi } from './tables.ts';

/** A file for firmware, by fw_cfg. */
export interface FirmwareFile {
  readonly name: string;
  readonly data: Uint8Array;
}

const RSDP_FILE = 'etc/acpi/rsdp';
const TABLES_FILE = 'etc/acpi/tables';
const LOADER_FILE = 'etc/table-loader';

const ENTRY_LENGTH = 128;
const NAME_LENGTH = 56;
const ALLOCATE = 1;
const ADD_POINTER = 2;
const ADD_CHECKSUM = 3;
/** Where a file is to lie: anywhere below 4 GiB, or where the RSDP is searched for. */
const ZONE = { high: 1, search: 2 } as const;

/**
 * The ACPI tables as firmware takes them: two files, and a script that says
 * where to put them, which of their fields are addresses in them, and which
 * bytes make sums right (QEMU, hw/acpi/bios-linker-loader.c). Numbers are
 * little-endian; an address is an offset in its file until it is added to.
 */
export function acpiFiles(platform: Partial<AcpiPlatform> = {}): FirmwareFile[] {
  const { rsdp, bytes, pointers, sums } = buildAcpi(platform, 0);
  const rsdpEnd = rsdp + 36;
  // One image: the RSDP is its beginning.
  const file = (at: number): { name: string; start: number } =>
    at < rsdpEnd ? { name: RSDP_FILE, start: rsdp } : { name: TABLES_FILE, start: 0 };
  const script: Uint8Array[] = [
    entry(ALLOCATE, [RSDP_FILE], [16], ZONE.search),
    entry(ALLOCATE, [TABLES_FILE], [64], ZONE.high),
  ];
  for (const { at, size } of pointers) {
    const { name, start } = file(at);
    script.push(entry(ADD_POINTER, [name, TABLES_FILE], [at - start], size));
  }
  for (const { at, start: from, length } of sums) {
    const { name, start } = file(at);
    script.push(entry(ADD_CHECKSUM, [name], [at - start, from - start, length]));
  }
  return [
    { name: RSDP_FILE, data: bytes.slice(rsdp, rsdpEnd) },
    { name: TABLES_FILE, data: bytes },
    { name: LOADER_FILE, data: Uint8Array.from(script.flatMap((part) => [...part])) },
  ];
}

/** A command with the names of its files, numbers of four bytes and perhaps one of one byte behind them. */
function entry(
  command: number,
  files: readonly string[],
  words: readonly number[],
  byte?: number,
): Uint8Array {
  const bytes = new Uint8Array(ENTRY_LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, command, true);
  let at = 4;
  for (const name of files) {
    bytes.set(new TextEncoder().encode(name), at);
    at += NAME_LENGTH;
  }
  for (const word of words) {
    view.setUint32(at, word, true);
    at += 4;
  }
  if (byte !== undefined) bytes[at] = byte;
  return bytes;
}
