const BLOCK = 2048;
/** The system area, then the volume descriptors, the path tables, the root directory and the files. */
const FIRST_DESCRIPTOR = 16;
const PATH_TABLES = 18;
const ROOT = 20;

/**
 * A disc with a few files in its root: ISO 9660 (ECMA-119), level 1, as small as a reader takes it.
 * @param files by name, such as `README.TXT`; all their directory records fit a block
 */
export function writeIso(label: string, files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const places: { name: string; data: Uint8Array; block: number }[] = [];
  let end = ROOT + 1;
  for (const [name, data] of Object.entries(files)) {
    places.push({ name, data, block: end });
    end += Math.ceil(data.length / BLOCK);
  }
  const disc = Buffer.alloc(end * BLOCK);
  const rootRecord = (name: string): Buffer => directoryRecord(name, ROOT, BLOCK, true);

  const primary = disc.subarray(FIRST_DESCRIPTOR * BLOCK);
  primary.write('\x01CD001\x01', 0, 'latin1');
  primary.write(' '.repeat(32), 8, 'latin1');
  primary.write(label.padEnd(32), 40, 'latin1');
  both32(primary, 80, end);
  both16(primary, 120, 1);
  both16(primary, 124, 1);
  both16(primary, 128, BLOCK);
  both32(primary, 132, 10);
  primary.writeUInt32LE(PATH_TABLES, 140);
  primary.writeUInt32BE(PATH_TABLES + 1, 148);
  rootRecord('\0').copy(primary, 156);
  primary.fill(0x20, 190, 813);
  primary[881] = 1;
  disc.write('\xffCD001\x01', (FIRST_DESCRIPTOR + 1) * BLOCK, 'latin1');

  // The root alone: one byte of name, its block, itself as its parent.
  Buffer.from([1, 0, ROOT, 0, 0, 0, 1, 0]).copy(disc, PATH_TABLES * BLOCK);
  Buffer.from([1, 0, 0, 0, 0, ROOT, 0, 1]).copy(disc, (PATH_TABLES + 1) * BLOCK);

  let at = ROOT * BLOCK;
  const records = places
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, data, block }) => directoryRecord(`${name};1`, block, data.length, false));
  for (const record of [rootRecord('\0'), rootRecord('\x01'), ...records]) at += record.copy(disc, at);
  if (at > (ROOT + 1) * BLOCK) throw new RangeError('too many files for one block of records');
  for (const { data, block } of places) disc.set(data, block * BLOCK);
  return disc;
}

/** ECMA-119 § 9.1. */
function directoryRecord(name: string, block: number, length: number, folder: boolean): Buffer {
  const record = Buffer.alloc((33 + name.length + 1) & ~1);
  record[0] = record.length;
  both32(record, 2, block);
  both32(record, 10, length);
  // The first of January 2026.
  Buffer.from([126, 1, 1, 0, 0, 0, 0]).copy(record, 18);
  record[25] = folder ? 2 : 0;
  both16(record, 28, 1);
  record[32] = name.length;
  record.write(name, 33, 'latin1');
  return record;
}

/** Numbers that are there twice, once in each byte order. */
function both16(buffer: Buffer, at: number, value: number): void {
  buffer.writeUInt16LE(value, at);
  buffer.writeUInt16BE(value, at + 2);
}

function both32(buffer: Buffer, at: number, value: number): void {
  buffer.writeUInt32LE(value, at);
  buffer.writeUInt32BE(value, at + 4);
}
