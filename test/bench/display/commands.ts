/** What a drawing guest is told over its serial line: fourteen bytes, little-endian; it answers with the first. */
export interface Command {
  /**
   * `m`: mode of `width` × `height`, 32 bits. `f`: fill with the colour `argument`. `b`: copy from the texture, from
   * its byte `argument` on. `s`: all rows up by `argument`. `r`: so many console lines of `width`.
   */
  readonly op: 'm' | 'f' | 'b' | 's' | 'r';
  readonly x?: number;
  readonly y?: number;
  readonly width?: number;
  readonly height?: number;
  readonly argument?: number;
}

export const COMMAND_LENGTH = 13;
/** Sent once by a guest that is ready. */
export const READY = '!';

export function encodeCommand({ op, x = 0, y = 0, width = 0, height = 0, argument = 0 }: Command): Buffer {
  const bytes = Buffer.alloc(COMMAND_LENGTH);
  bytes.write(op, 0, 'latin1');
  [x, y, width, height].forEach((value, i) => void bytes.writeUInt16LE(value, 1 + 2 * i));
  bytes.writeUInt32LE(argument >>> 0, 9);
  return bytes;
}
