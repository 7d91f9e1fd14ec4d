import type { FirmwareFile } from './acpi/loader.ts';

/** What the SMBIOS tables tell of the machine. */
export interface SmbiosMachine {
  readonly memoryMiB: number;
  readonly vcpus: number;
  /** 16 bytes, as SMBIOS 2.6 orders them; absent: zeroes, which means none. */
  readonly uuid?: Uint8Array;
  /** CPUID.1's EAX and EDX. */
  readonly signature: number;
  readonly features: number;
  readonly mhz: number;
}

const VERSION = { major: 2, minor: 8 } as const;
const ENTRY_POINT_LENGTH = 31;
const MAKER = 'Teremok';
const PRODUCT = 'PC (i440FX)';
const UNKNOWN = 2;
const PROCESSOR_OTHER = 1;

/** Handles of structures that others name. */
const HANDLE = { system: 0x100, chassis: 0x300, processor: 0x400, memory: 0x1000, device: 0x1100 } as const;

/**
 * The SMBIOS tables (DMTF DSP0134, 2.8) as SeaBIOS takes them: the structures,
 * and the entry point, whose table address and checksums it fills in. Its own
 * structure of type 0 (BIOS) comes before them.
 */
export function smbiosFiles(machine: SmbiosMachine): FirmwareFile[] {
  const structures = [
    system(machine),
    chassis(),
    ...Array.from({ length: machine.vcpus }, (_, i) => processor(machine, i)),
    memoryArray(machine),
    memoryDevice(machine),
    mappedMemory(machine),
    structure(32, 0x2000, [0, 0, 0, 0, 0, 0, 0], []),
    structure(127, 0x7f00, [], []),
  ];
  const tables = Uint8Array.from(structures.flat());
  const largest = Math.max(...structures.map((bytes) => bytes.length));
  return [
    { name: 'etc/smbios/smbios-tables', data: tables },
    { name: 'etc/smbios/smbios-anchor', data: entryPoint(tables.length, structures.length, largest) },
  ];
}

/** 5.2.1: without address and checksums. */
function entryPoint(length: number, count: number, largest: number): Uint8Array {
  const bytes = new Uint8Array(ENTRY_POINT_LENGTH);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode('_SM_'));
  bytes[5] = ENTRY_POINT_LENGTH;
  bytes[6] = VERSION.major;
  bytes[7] = VERSION.minor;
  view.setUint16(8, largest, true);
  bytes.set(new TextEncoder().encode('_DMI_'), 16);
  view.setUint16(22, length, true);
  view.setUint16(28, count, true);
  bytes[30] = (VERSION.major << 4) | VERSION.minor;
  return bytes;
}

const u16 = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff];
const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16(value >>> 16)];

/** 6.1: header, fields, and the strings that fields name by number from 1 on. */
function structure(
  type: number,
  handle: number,
  fields: readonly number[],
  strings: readonly string[],
): number[] {
  const texts = strings.flatMap((text) => [...new TextEncoder().encode(text), 0]);
  return [
    type,
    4 + fields.length,
    ...u16(handle),
    ...fields,
    ...texts,
    0,
    ...(texts.length === 0 ? [0] : []),
  ];
}

/** 7.2; wake-up type: power switch. */
function system({ uuid = new Uint8Array(16) }: SmbiosMachine): number[] {
  return structure(1, HANDLE.system, [1, 2, 0, 0, ...uuid, 6, 0, 0], [MAKER, PRODUCT]);
}

/** 7.4; states safe, nothing locked. */
function chassis(): number[] {
  return structure(3, HANDLE.chassis, [1, 1, 0, 0, 0, 3, 3, 3, UNKNOWN, ...u32(0), 0, 0, 0, 0, 0], [MAKER]);
}

/** 7.5: enabled, in a socket of its own. */
function processor({ signature, features, mhz }: SmbiosMachine, index: number): number[] {
  const none = u16(0xffff);
  const fields = [
    ...[1, 3, PROCESSOR_OTHER, 2],
    ...[...u32(signature), ...u32(features)],
    ...[0, 0, ...u16(0), ...u16(mhz), ...u16(mhz)],
    ...[0x41, 1, ...none, ...none, ...none],
    ...[0, 0, 0, 1, 1, 1, ...u16(4), ...u16(PROCESSOR_OTHER)],
  ];
  return structure(4, HANDLE.processor + index, fields, [`CPU ${index}`, MAKER]);
}

/** 7.17: on the board, system memory, no error correction, one device. */
function memoryArray({ memoryMiB }: SmbiosMachine): number[] {
  const fields = [1, 3, 3, ...u32(memoryMiB * 1024), ...u16(0xfffe), ...u16(1), ...u32(0), ...u32(0)];
  return structure(16, HANDLE.memory, fields, []);
}

/** 7.18: a DIMM of RAM; 15 bits hold its size in MiB. */
function memoryDevice({ memoryMiB }: SmbiosMachine): number[] {
  const fields = [
    ...[...u16(HANDLE.memory), ...u16(0xfffe), ...u16(64), ...u16(64), ...u16(memoryMiB), 9, 0, 1, 0],
    ...[7, ...u16(2), ...u16(0), 2, 0, 0, 0, 0, ...u32(0), ...u16(0), ...u16(0), ...u16(0), ...u16(0)],
  ];
  return structure(17, HANDLE.device, fields, ['DIMM 0', MAKER]);
}

/** 7.20. */
function mappedMemory({ memoryMiB }: SmbiosMachine): number[] {
  const fields = [...u32(0), ...u32(memoryMiB * 1024 - 1), ...u16(HANDLE.memory), 1, ...new Uint8Array(16)];
  return structure(19, 0x1300, fields, []);
}
