import { randomBytes } from 'node:crypto';

/** What an id can name. The prefix tells a reader, and a log, what kind of object it is. */
export type IdPrefix =
  | 'vm'
  | 'op'
  | 'img'
  | 'upl'
  | 'dsk'
  | 'vol'
  | 'snap'
  | 'net'
  | 'ten'
  | 'key'
  | 'ses'
  | 'host'
  | 'req';

let lastMs = 0;
let counter = 0;

/**
 * A version 7 UUID (RFC 9562 §5.7): 48 bits of Unix milliseconds, a 12-bit counter that keeps ids of one
 * process in order within a millisecond (§6.2, method 1), and 62 random bits.
 */
export function uuidv7(): string {
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    counter = randomBytes(2).readUInt16BE() & 0x7ff; // the top bit stays free, so that there is room to count
  } else if (++counter > 0xfff) {
    lastMs++;
    counter = 0;
  }
  const bytes = randomBytes(16);
  bytes.writeUIntBE(lastMs, 0, 6);
  bytes.writeUInt16BE(0x7000 | counter, 6);
  bytes[8] = 0x80 | (bytes.readUInt8(8) & 0x3f);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** A new id such as `vm_019ab…`: ids of one kind sort by time of creation. */
export function newId(prefix: IdPrefix): string {
  return `${prefix}_${uuidv7()}`;
}

/** The pattern, for schemas, of ids with this prefix. */
export function idPattern(prefix: IdPrefix): string {
  return `^${prefix}_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`;
}
