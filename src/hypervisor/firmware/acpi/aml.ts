/**
 * A small emitter of ACPI Machine Language (ACPI 6.5, chapter 20). A term is
 * its bytes; terms are put together by nesting calls.
 */
export type Aml = readonly number[];

const ONES8 = 0xff;

/** Integers take the shortest form. @param value an unsigned integer below 2^53 */
export function integer(value: number): Aml {
  if (value === 0) return [0x00];
  if (value === 1) return [0x01];
  if (value <= 0xff) return [0x0a, value];
  if (value <= 0xffff) return [0x0b, ...le(value, 2)];
  if (value <= 0xffffffff) return [0x0c, ...le(value, 4)];
  return [0x0e, ...le(value, 8)];
}

/** An ASCII string. */
export function string(text: string): Aml {
  return [0x0d, ...ascii(text), 0];
}

/** A path such as `\_SB`, `PCI0` or `_SB.PCI0`; segments are padded to four characters. */
export function name(path: string): Aml {
  const root = path.startsWith('\\') ? [0x5c] : [];
  const segments = path.replace(/^\\/, '').split('.');
  const bytes = segments.flatMap((segment) => ascii(segment.padEnd(4, '_').slice(0, 4)));
  if (segments.length === 1) return [...root, ...(segments[0] === '' ? [0] : bytes)];
  if (segments.length === 2) return [...root, 0x2e, ...bytes];
  return [...root, 0x2f, segments.length, ...bytes];
}

/** `Name (path, value)`. */
export function define(path: string, value: Aml): Aml {
  return [0x08, ...name(path), ...value];
}

export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return [0x10, ...sized([...name(path), ...terms.flat()])];
}

export function device(path: string, ...terms: readonly Aml[]): Aml {
  return [0x5b, 0x82, ...sized([...name(path), ...terms.flat()])];
}

/** A method without concurrency control. @param args 0 to 7 */
export function method(path: string, args: number, ...terms: readonly Aml[]): Aml {
  return [0x14, ...sized([...name(path), args & 7, ...terms.flat()])];
}

/** At most 255 elements. */
export function pack(...elements: readonly Aml[]): Aml {
  return [0x12, ...sized([elements.length & ONES8, ...elements.flat()])];
}

export function buffer(bytes: Aml): Aml {
  return [0x11, ...sized([...integer(bytes.length), ...bytes])];
}

/** A compressed EISA identifier such as `PNP0A03` (19.3.4). */
export function eisaId(id: string): Aml {
  const letters = [0, 1, 2].map((i) => id.charCodeAt(i) - 0x40);
  const vendor = (letters[0] << 10) | (letters[1] << 5) | letters[2];
  const product = Number.parseInt(id.slice(3), 16);
  const value =
    ((vendor >> 8) | ((vendor & 0xff) << 8) | ((product >> 8) << 16) | ((product & 0xff) << 24)) >>> 0;
  return [0x0c, ...le(value, 4)];
}

/** A resource template of descriptors, with its end tag (6.4). */
export function resources(...descriptors: readonly Aml[]): Aml {
  return buffer([...descriptors.flat(), 0x79, 0]);
}

/** 6.4.2.5: a fixed range of 16-bit decoded ports. */
export function ioPorts(base: number, length: number): Aml {
  return [0x47, 0x01, ...le(base, 2), ...le(base, 2), 1, length];
}

/** 6.4.2.1: edge-triggered, active high, exclusive ISA interrupt. */
export function isaIrq(irq: number): Aml {
  return [0x22, ...le(1 << irq, 2)];
}

/** 6.4.3.6: level-triggered, active high, shared interrupt that the device consumes. */
export function levelInterrupt(gsi: number): Aml {
  return [0x89, 6, 0, 0x09, 1, ...le(gsi, 4)];
}

/** 6.4.3.4: a fixed range of 32-bit memory, not writable. */
export function fixedMemory(base: number, length: number): Aml {
  return [0x86, 9, 0, 0, ...le(base, 4), ...le(length, 4)];
}

type AddressKind = 'memory' | 'io' | 'bus';
const ADDRESS_TYPE: Record<AddressKind, number> = { memory: 0, io: 1, bus: 2 };

/** 6.4.3.5.3: a word-sized window that a bridge passes on, `[first, last]`. */
export function wordWindow(kind: 'io' | 'bus', first: number, last: number): Aml {
  // Entire range for ports; nothing for bus numbers.
  const specific = kind === 'io' ? 0x03 : 0;
  return [0x88, 13, 0, ADDRESS_TYPE[kind], 0x0c, specific, ...window(2, first, last)];
}

/** 6.4.3.5.2: a 32-bit window of read-write memory that a bridge passes on, not cached. */
export function dwordMemoryWindow(first: number, last: number): Aml {
  return [0x87, 23, 0, ADDRESS_TYPE.memory, 0x0c, 0x01, ...window(4, first, last)];
}

function window(width: number, first: number, last: number): number[] {
  return [0, first, last, 0, last - first + 1].flatMap((value) => le(value, width));
}

/** 20.2.4: a package length counts itself. */
function sized(body: Aml): Aml {
  const length = body.length;
  if (length + 1 < 0x40) return [length + 1, ...body];
  for (let more = 1; more <= 3; more++) {
    const total = length + 1 + more;
    if (total < 2 ** (4 + 8 * more)) {
      return [(more << 6) | (total & 0x0f), ...le(Math.floor(total / 16), more), ...body];
    }
  }
  throw new RangeError(`an AML package of ${length} bytes`);
}

function le(value: number, width: number): number[] {
  return Array.from({ length: width }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);
}

function ascii(text: string): number[] {
  return Array.from(text, (c) => c.charCodeAt(0));
}
