import type { GuestMemory } from '../../machine/memory.ts';
import { ACPI_AREA, BOOT_GDT, load } from '../memory-map.ts';
import { dsdtBody } from './dsdt.ts';
import { type AcpiPlatform, DEFAULT_PLATFORM } from './platform.ts';

const HEADER_LENGTH = 36;
/** Of a table's header. */
const CHECKSUM = 9;
const RSDP = { sum: 8, rsdt: 16, xsdt: 24, wideSum: 32 } as const;
const FADT = { facs: 36, dsdt: 40, wideDsdt: 140 } as const;
const OEM_ID = 'TEREMK';
const OEM_TABLE_ID = 'TEREMOK ';
const CREATOR_ID = 'TRMK';

export interface AcpiImage {
  /** Guest-physical address of the RSDP. */
  readonly rsdp: number;
  /** And of the FACS, where a guest leaves its waking vector. */
  readonly facs: number;
  readonly base: number;
  readonly bytes: Uint8Array;
  /** Offsets in `bytes` of addresses in it, and their size in bytes. */
  readonly pointers: readonly { readonly at: number; readonly size: 4 | 8 }[];
  /** Offsets of bytes that make those of a span sum to zero, for who changes a pointer: inner ones first. */
  readonly sums: readonly { readonly at: number; readonly start: number; readonly length: number }[];
}

/**
 * Builds all ACPI tables for a platform, to lie at `base` (64-byte aligned,
 * below 4 GiB; within 0xE0000–0xFFFFF so that guests find the RSDP by search).
 *
 * @throws RangeError when they do not fit below the end of that range
 */
export function buildAcpi(platform: Partial<AcpiPlatform> = {}, base = ACPI_AREA): AcpiImage {
  const p: AcpiPlatform = { ...DEFAULT_PLATFORM, ...platform };
  const image = new Layout(base);
  const rsdp = image.reserve(36, 16);
  const facs = image.place(facsTable(), 64);
  const dsdt = image.place(table('DSDT', 2, dsdtBody(p)), 16);
  const fixed = image.place(fadt(p, facs, dsdt), 16);
  const listed = [
    fixed,
    image.place(madt(p), 16),
    ...(p.hpet === undefined ? [] : [image.place(hpetTable(p.hpet), 16)]),
    image.place(table('WAET', 1, words32(WAET_RTC_GOOD | WAET_PM_TIMER_GOOD)), 16),
  ];
  const rsdt = image.place(table('RSDT', 1, words32(...listed)), 16);
  const xsdt = image.place(table('XSDT', 1, words32(...listed.flatMap((at) => [at, 0]))), 16);
  image.put(rsdp, rsdpBytes(rsdt, xsdt));
  const bytes = image.bytes();
  if (base === ACPI_AREA && base + bytes.length > BOOT_GDT) {
    throw new RangeError(`the ACPI tables take ${bytes.length} bytes, more than there is room for`);
  }
  const at = (gpa: number, size: 4 | 8) => ({ at: gpa - base, size });
  const pointers = [
    at(fixed + FADT.facs, 4),
    at(fixed + FADT.dsdt, 4),
    at(fixed + FADT.wideDsdt, 8),
    ...listed.map((_, i) => at(rsdt + HEADER_LENGTH + 4 * i, 4)),
    ...listed.map((_, i) => at(xsdt + HEADER_LENGTH + 8 * i, 8)),
    at(rsdp + RSDP.rsdt, 4),
    at(rsdp + RSDP.xsdt, 8),
  ];
  const view = new DataView(bytes.buffer);
  const sums = [
    ...[fixed, rsdt, xsdt].map((gpa) => {
      const start = gpa - base;
      return { at: start + CHECKSUM, start, length: view.getUint32(start + 4, true) };
    }),
    { at: rsdp - base + RSDP.sum, start: rsdp - base, length: 20 },
    { at: rsdp - base + RSDP.wideSum, start: rsdp - base, length: 36 },
  ];
  return { rsdp, facs, base, bytes, pointers, sums };
}

/** Builds the tables and puts them into RAM. */
export function installAcpi(memory: GuestMemory, platform: Partial<AcpiPlatform> = {}): AcpiImage {
  const image = buildAcpi(platform);
  load(memory, image.base, image.bytes);
  return image;
}

/** Windows ACPI Emulated Devices Table: no need for the guest to work around RTC or PM timer flaws. */
const WAET_RTC_GOOD = 1;
const WAET_PM_TIMER_GOOD = 2;

class Layout {
  readonly #base: number;
  readonly #parts: { readonly at: number; readonly bytes: Uint8Array }[] = [];
  #end: number;

  constructor(base: number) {
    this.#base = base;
    this.#end = base;
  }

  reserve(length: number, alignment: number): number {
    const at = Math.ceil(this.#end / alignment) * alignment;
    this.#end = at + length;
    return at;
  }

  put(at: number, bytes: Uint8Array): void {
    this.#parts.push({ at, bytes });
  }

  place(bytes: Uint8Array, alignment: number): number {
    const at = this.reserve(bytes.length, alignment);
    this.put(at, bytes);
    return at;
  }

  bytes(): Uint8Array {
    const out = new Uint8Array(this.#end - this.#base);
    for (const { at, bytes } of this.#parts) out.set(bytes, at - this.#base);
    return out;
  }
}

/** A system description table: header (ACPI 6.5, 5.2.6) and body, summing to zero. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + body.length);
  const view = new DataView(bytes.buffer);
  ascii(bytes, 0, signature);
  view.setUint32(4, bytes.length, true);
  bytes[8] = revision;
  ascii(bytes, 10, OEM_ID);
  ascii(bytes, 16, OEM_TABLE_ID);
  view.setUint32(24, 1, true);
  ascii(bytes, 28, CREATOR_ID);
  view.setUint32(32, 1, true);
  bytes.set(body, HEADER_LENGTH);
  bytes[CHECKSUM] = checksum(bytes);
  return bytes;
}

/** 5.2.5.3: the first 20 bytes and the whole sum to zero each. */
function rsdpBytes(rsdt: number, xsdt: number): Uint8Array {
  const bytes = new Uint8Array(36);
  const view = new DataView(bytes.buffer);
  ascii(bytes, 0, 'RSD PTR ');
  ascii(bytes, 9, OEM_ID);
  bytes[15] = 2;
  view.setUint32(RSDP.rsdt, rsdt, true);
  view.setUint32(20, bytes.length, true);
  view.setUint32(RSDP.xsdt, xsdt, true);
  bytes[RSDP.sum] = checksum(bytes.subarray(0, 20));
  bytes[RSDP.wideSum] = checksum(bytes);
  return bytes;
}

/** 5.2.10. */
function facsTable(): Uint8Array {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  ascii(bytes, 0, 'FACS');
  view.setUint32(4, bytes.length, true);
  bytes[32] = 1;
  return bytes;
}

/** FADT flags, 5.2.9. */
const FADT_WBINVD = 1 << 0;
const FADT_C1 = 1 << 2;
/** No sleep button as a fixed feature; the power button is one, as its flag (bit 4) is clear. */
const FADT_NO_SLEEP_BUTTON = 1 << 5;
const FADT_TIMER_32 = 1 << 8;
const FADT_RESET_REGISTER = 1 << 10;

/** IA-PC boot architecture flags, 5.2.9.3. */
const BOOT_LEGACY_DEVICES = 1 << 0;
const BOOT_8042 = 1 << 1;
const BOOT_NO_VGA = 1 << 2;

/** Latencies above these say that C2 and C3 are not supported. */
const NO_C2 = 101;
const NO_C3 = 1001;

const SPACE_MEMORY = 0;
const SPACE_IO = 1;
const FADT_LENGTH = 244;
const CMOS_CENTURY = 0x32;

/** 5.2.9, in the 244 bytes of revision 3. The FACS is named by its 32-bit field alone. */
function fadt(p: AcpiPlatform, facs: number, dsdt: number): Uint8Array {
  const bytes = new Uint8Array(FADT_LENGTH - HEADER_LENGTH);
  const view = new DataView(bytes.buffer);
  const u8 = (at: number, value: number): void => view.setUint8(at - HEADER_LENGTH, value);
  const u16 = (at: number, value: number): void => view.setUint16(at - HEADER_LENGTH, value, true);
  const u32 = (at: number, value: number): void => view.setUint32(at - HEADER_LENGTH, value, true);
  const register = (at: number, port: number, bits: number, access: number): void => {
    u8(at, SPACE_IO);
    u8(at + 1, bits);
    u8(at + 3, access);
    u32(at + 4, port);
  };
  const timer32 = p.pm.timerBits === 32 ? FADT_TIMER_32 : 0;
  u32(FADT.facs, facs);
  u32(FADT.dsdt, dsdt);
  u16(46, p.sci);
  if (p.smi !== undefined) {
    u32(48, p.smi.port);
    u8(52, p.smi.enable);
    u8(53, p.smi.disable);
  }
  u32(56, p.pm.event);
  u32(64, p.pm.control);
  u32(76, p.pm.timer);
  u8(88, 4);
  u8(89, 2);
  u8(91, 4);
  u16(96, NO_C2);
  u16(98, NO_C3);
  u8(108, CMOS_CENTURY);
  u16(109, BOOT_LEGACY_DEVICES | (p.keyboard ? BOOT_8042 : 0) | (p.vga ? 0 : BOOT_NO_VGA));
  u32(
    112,
    // Its RTC flag (bit 6) is clear: an alarm shows in PM1_STS. There is no S4 to wake from (bit 7).
    FADT_WBINVD | FADT_C1 | FADT_NO_SLEEP_BUTTON | FADT_RESET_REGISTER | timer32,
  );
  register(116, p.reset.port, 8, 1);
  u8(128, p.reset.value);
  u32(FADT.wideDsdt, dsdt);
  register(148, p.pm.event, 32, 2);
  register(172, p.pm.control, 16, 2);
  register(208, p.pm.timer, 32, 3);
  if (p.pm.gpe0 !== undefined) {
    u32(80, p.pm.gpe0.base);
    u8(92, p.pm.gpe0.length);
    register(220, p.pm.gpe0.base, 8 * p.pm.gpe0.length, 1);
  }
  return table('FACP', 3, bytes);
}

/** IA-PC HPET specification 1.0a, 3.2.4: block, address, number, least ticks of a periodic timer. */
function hpetTable({ id, base, leastTicks }: NonNullable<AcpiPlatform['hpet']>): Uint8Array {
  const address = [SPACE_MEMORY, 64, 0, 0, ...le32(base), ...le32(0)];
  return table(
    'HPET',
    1,
    Uint8Array.from([...le32(id), ...address, 0, leastTicks & 0xff, leastTicks >> 8, 0]),
  );
}

/** MADT flags and interrupt polarity and trigger, 5.2.12. */
const MADT_8259_PRESENT = 1;
const BUS_DEFAULT = 0;
const HIGH_LEVEL = 0x000d;
const LAPIC_ENABLED = 1;
const ALL_PROCESSORS = 0xff;

function madt(p: AcpiPlatform): Uint8Array {
  const entries: number[][] = [];
  p.apicIds.forEach((id, uid) => entries.push([0, 8, uid, id, ...le32(LAPIC_ENABLED)]));
  entries.push([1, 12, p.ioApic.id, 0, ...le32(p.ioApic.base), ...le32(0)]);
  const override = (irq: number, gsi: number, flags: number): void => {
    entries.push([2, 10, 0, irq, ...le32(gsi), flags & 0xff, flags >> 8]);
  };
  override(0, 2, BUS_DEFAULT);
  for (const irq of [...new Set([p.sci, ...p.pirq])].sort((a, b) => a - b)) override(irq, irq, HIGH_LEVEL);
  // NMI at LINT1 of every processor.
  entries.push([4, 6, ALL_PROCESSORS, 0, 0, 1]);
  return table(
    'APIC',
    3,
    Uint8Array.from([...le32(p.localApic), ...le32(MADT_8259_PRESENT), ...entries.flat()]),
  );
}

function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function ascii(target: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) target[at + i] = text.charCodeAt(i);
}

function words32(...values: readonly number[]): Uint8Array {
  return Uint8Array.from(values.flatMap(le32));
}

function le32(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}
