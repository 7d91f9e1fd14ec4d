/** Small kernel files made for tests: real headers around little code. */

export interface BzImageParts {
  readonly version?: number;
  readonly setupSects?: number;
  readonly loadflags?: number;
  readonly xloadflags?: number;
  readonly alignment?: number;
  readonly relocatable?: boolean;
  readonly cmdlineSize?: number;
  readonly prefAddress?: bigint;
  readonly initSize?: number;
  readonly initrdAddrMax?: number;
  readonly payload?: Uint8Array;
}

/** A bzImage with a setup header of boot protocol 2.15 and `payload` as the kernel proper. */
export function bzImage(parts: BzImageParts = {}): Uint8Array {
  const setupSects = parts.setupSects ?? 3;
  const payload = parts.payload ?? new Uint8Array(4096).fill(0xf4);
  const file = new Uint8Array(512 * ((setupSects || 4) + 1) + payload.length);
  const view = new DataView(file.buffer);
  file[0x1f1] = setupSects;
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, parts.version ?? 0x020f, true);
  file[0x211] = parts.loadflags ?? 1;
  view.setUint32(0x22c, parts.initrdAddrMax ?? 0x7fffffff, true);
  view.setUint32(0x230, parts.alignment ?? 0x200000, true);
  file[0x234] = (parts.relocatable ?? true) ? 1 : 0;
  view.setUint16(0x236, parts.xloadflags ?? 3, true);
  view.setUint32(0x238, parts.cmdlineSize ?? 2047, true);
  view.setBigUint64(0x258, parts.prefAddress ?? 0x1000000n, true);
  view.setUint32(0x260, parts.initSize ?? 0x200000, true);
  file.set(payload, file.length - payload.length);
  return file;
}

export interface ElfParts {
  readonly bits?: 32 | 64;
  readonly machine?: number;
  readonly entry?: number;
  readonly segments?: readonly {
    readonly physical: number;
    readonly virtual?: number;
    readonly data: Uint8Array;
    readonly memorySize?: number;
  }[];
  /** Description of a Xen note of type 18. */
  readonly pvhEntry?: number;
}

/** An ELF executable with the given segments, 32-bit unless told otherwise. */
export function elfImage(parts: ElfParts = {}): Uint8Array {
  const wide = parts.bits === 64;
  const segments = parts.segments ?? [{ physical: 0x100000, data: new Uint8Array(64).fill(0xf4) }];
  const note = parts.pvhEntry === undefined ? undefined : xenNote(parts.pvhEntry, wide);
  const headerSize = wide ? 64 : 52;
  const entrySize = wide ? 56 : 32;
  const count = segments.length + (note === undefined ? 0 : 1);
  let offset = headerSize + entrySize * count;
  const bodies = [...segments.map((s) => s.data), ...(note === undefined ? [] : [note])];
  const places = bodies.map((body) => {
    const at = (offset + 15) & ~15;
    offset = at + body.length;
    return at;
  });
  const file = new Uint8Array(offset);
  const view = new DataView(file.buffer);
  const u = (at: number, value: number): void =>
    wide ? view.setBigUint64(at, BigInt(value), true) : view.setUint32(at, value, true);
  file.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, parts.machine ?? (wide ? 62 : 3), true);
  view.setUint32(20, 1, true);
  u(24, parts.entry ?? segments[0].physical);
  u(wide ? 32 : 28, headerSize);
  view.setUint16(wide ? 54 : 42, entrySize, true);
  view.setUint16(wide ? 56 : 44, count, true);
  bodies.forEach((body, i) => {
    const at = headerSize + entrySize * i;
    const segment = segments[i] as (typeof segments)[number] | undefined;
    const physical = segment?.physical ?? 0;
    const fields = [
      places[i],
      segment?.virtual ?? physical,
      physical,
      body.length,
      segment?.memorySize ?? body.length,
    ];
    view.setUint32(at, segment === undefined ? 4 : 1, true);
    if (wide) fields.forEach((value, f) => u(at + 8 + 8 * f, value));
    else fields.forEach((value, f) => u(at + 4 + 4 * f, value));
    file.set(body, places[i]);
  });
  return file;
}

function xenNote(entry: number, wide: boolean): Uint8Array {
  const note = new Uint8Array(wide ? 24 : 20);
  const view = new DataView(note.buffer);
  view.setUint32(0, 4, true);
  view.setUint32(4, wide ? 8 : 4, true);
  view.setUint32(8, 18, true);
  note.set([0x58, 0x65, 0x6e, 0], 12);
  view.setUint32(16, entry, true);
  return note;
}

/** A multiboot header; with `addresses` (header, load, load end, bss end, entry) it says where to load. */
export function multibootHeader(flags: number, addresses: readonly number[] = []): Uint8Array {
  const view = new DataView(new ArrayBuffer(12 + 4 * addresses.length));
  view.setUint32(0, 0x1badb002, true);
  view.setUint32(4, flags, true);
  view.setUint32(8, -(0x1badb002 + flags) >>> 0, true);
  addresses.forEach((value, i) => view.setUint32(12 + 4 * i, value, true));
  return new Uint8Array(view.buffer);
}
