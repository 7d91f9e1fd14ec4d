/**
 * An entry of a cpio archive. Permissions are the low twelve bits of the mode; owner and group are always root, so
 * that no privilege is needed to make an archive with device nodes in it.
 */
export type CpioEntry =
  | { type: 'directory'; path: string; permissions: number }
  | { type: 'file'; path: string; permissions: number; data: Uint8Array }
  | { type: 'link'; path: string; target: string }
  | { type: 'character'; path: string; permissions: number; major: number; minor: number };

/** File type bits of st_mode. */
const TYPE_BITS = { directory: 0o040000, file: 0o100000, link: 0o120000, character: 0o020000 };

const TRAILER = 'TRAILER!!!';

/**
 * Writes an archive in the "newc" format, the one that Linux unpacks as its initial RAM file system
 * (Documentation/driver-api/early-userspace/buffer-format.rst): a 110-byte ASCII header of hexadecimal fields, the
 * name with its closing zero, and the data, the last two padded to four bytes. Times are zero, so the same entries
 * give the same bytes.
 * @param entries in the order in which they are to be unpacked: a folder before what it holds
 * @throws RangeError for a path that is absolute, empty or longer than 4095 bytes
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Buffer[] = [];
  entries.forEach((entry, index) => {
    if (entry.path === '' || entry.path.startsWith('/') || Buffer.byteLength(entry.path) > 4095) {
      throw new RangeError(`not a path for a cpio archive: "${entry.path}"`);
    }
    const data = content(entry);
    const mode = TYPE_BITS[entry.type] | (entry.type === 'link' ? 0o777 : entry.permissions & 0o7777);
    const device = entry.type === 'character' ? entry : { major: 0, minor: 0 };
    parts.push(
      header(index + 1, mode, entry.type === 'directory' ? 2 : 1, data.length, device, entry.path),
      data,
    );
    parts.push(Buffer.alloc(-data.length & 3));
  });
  parts.push(header(0, 0, 1, 0, { major: 0, minor: 0 }, TRAILER));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  parts.push(Buffer.alloc(-length & 511));
  return Buffer.concat(parts);
}

function content(entry: CpioEntry): Buffer {
  if (entry.type === 'file')
    return Buffer.from(entry.data.buffer, entry.data.byteOffset, entry.data.byteLength);
  return entry.type === 'link' ? Buffer.from(entry.target) : Buffer.alloc(0);
}

function header(
  inode: number,
  mode: number,
  links: number,
  size: number,
  device: { major: number; minor: number },
  path: string,
): Buffer {
  const name = Buffer.from(`${path}\0`);
  // inode, mode, uid, gid, nlink, mtime, filesize, dev major and minor, rdev major and minor, name size, check
  const fields = [inode, mode, 0, 0, links, 0, size, 0, 0, device.major, device.minor, name.length, 0];
  const text = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([Buffer.from(text, 'ascii'), name, Buffer.alloc(-(text.length + name.length) & 3)]);
}
