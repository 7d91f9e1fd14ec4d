import type { Rect } from '../backends/screen.ts';
import { PIXEL_FORMAT_LENGTH, type PixelFormat, readPixelFormat } from './pixel-format.ts';
import { ProtocolError } from './protocol-error.ts';

/** What a client says once it is in: RFC 6143 §7.5, rfbproto "Client to Server Messages". */
export type ClientMessage =
  | { readonly kind: 'pixel-format'; readonly format: PixelFormat }
  | { readonly kind: 'encodings'; readonly encodings: readonly number[] }
  | { readonly kind: 'update-request'; readonly incremental: boolean; readonly area: Rect }
  /** `code` is the key's place, from the QEMU extension; absent or 0 when the client does not know it. */
  | { readonly kind: 'key'; readonly down: boolean; readonly keysym: number; readonly code?: number }
  /** Buttons 1 to 9 as bits 0 to 8. */
  | { readonly kind: 'pointer'; readonly x: number; readonly y: number; readonly buttons: number }
  | { readonly kind: 'cut-text' }
  | { readonly kind: 'continuous'; readonly on: boolean; readonly area: Rect }
  | { readonly kind: 'fence'; readonly flags: number; readonly payload: Uint8Array }
  | { readonly kind: 'desktop-size' };

/** A message, the bytes of it that were looked at, and those behind them that nobody wants. */
export interface Parsed {
  readonly message: ClientMessage;
  readonly length: number;
  readonly skip: number;
}

/** Numbers of client messages. */
const MESSAGE = {
  pixelFormat: 0,
  encodings: 2,
  updateRequest: 3,
  key: 4,
  pointer: 5,
  cutText: 6,
  continuous: 150,
  fence: 248,
  desktopSize: 251,
  qemu: 255,
} as const;

/** More is no client's list. */
const MOST_ENCODINGS = 1024;
/** More text than this is an attack. Bytes. */
const MOST_TEXT = 1 << 20;
/** rfbproto, "ClientFence". Bytes. */
const MOST_FENCE = 64;
/** Button mask: a byte with buttons 8 and 9 follows the position (rfbproto, "Extended Mouse Buttons"). */
const EXTENDED_BUTTONS = 0x80;

/** Most bytes that `parseMessage` wants to see of one message. */
export const LONGEST_MESSAGE = 4 + 4 * MOST_ENCODINGS;

/**
 * Reads the message that the bytes begin with.
 * @param extendedButtons whether the server has agreed to them
 * @returns undefined while some of it is missing
 * @throws ProtocolError when it can never become one
 */
export function parseMessage(bytes: Uint8Array, extendedButtons: boolean): Parsed | undefined {
  if (bytes.length === 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const whole = (length: number, message: () => ClientMessage, skip = 0): Parsed | undefined =>
    bytes.length < length ? undefined : { message: message(), length, skip };
  const areaAt = (at: number): Rect => ({
    x: view.getUint16(at),
    y: view.getUint16(at + 2),
    width: view.getUint16(at + 4),
    height: view.getUint16(at + 6),
  });
  switch (bytes[0]) {
    case MESSAGE.pixelFormat:
      return whole(4 + PIXEL_FORMAT_LENGTH, () => ({
        kind: 'pixel-format',
        format: readPixelFormat(bytes, 4),
      }));
    case MESSAGE.encodings:
      return parseEncodings(view);
    case MESSAGE.updateRequest:
      return whole(10, () => ({ kind: 'update-request', incremental: bytes[1] !== 0, area: areaAt(2) }));
    case MESSAGE.key:
      return whole(8, () => ({ kind: 'key', down: bytes[1] !== 0, keysym: view.getUint32(4) }));
    case MESSAGE.pointer: {
      const extended = extendedButtons && ((bytes[1] ?? 0) & EXTENDED_BUTTONS) !== 0;
      return whole(extended ? 7 : 6, () => ({
        kind: 'pointer',
        x: view.getUint16(2),
        y: view.getUint16(4),
        buttons: extended ? (bytes[1] & 0x7f) | ((bytes[6] & 3) << 7) : bytes[1],
      }));
    }
    case MESSAGE.cutText:
      return parseCutText(view);
    case MESSAGE.continuous:
      return whole(10, () => ({ kind: 'continuous', on: bytes[1] !== 0, area: areaAt(2) }));
    case MESSAGE.fence:
      return parseFence(bytes, view);
    case MESSAGE.desktopSize:
      // The screens behind it are not looked at: the answer is no.
      return bytes.length < 8
        ? undefined
        : { message: { kind: 'desktop-size' }, length: 8, skip: 16 * bytes[6] };
    case MESSAGE.qemu:
      if (bytes.length < 2) return undefined;
      if (bytes[1] !== 0) throw new ProtocolError(`QEMU message ${bytes[1]}`);
      return whole(12, () => ({
        kind: 'key',
        down: view.getUint16(2) !== 0,
        keysym: view.getUint32(4),
        code: view.getUint32(8),
      }));
    default:
      throw new ProtocolError(`message ${bytes[0]}`);
  }
}

function parseEncodings(view: DataView): Parsed | undefined {
  if (view.byteLength < 4) return undefined;
  const count = view.getUint16(2);
  if (count > MOST_ENCODINGS) throw new ProtocolError(`${count} encodings`);
  const length = 4 + 4 * count;
  if (view.byteLength < length) return undefined;
  const encodings = Array.from({ length: count }, (_, i) => view.getInt32(4 + 4 * i));
  return { message: { kind: 'encodings', encodings }, length, skip: 0 };
}

function parseCutText(view: DataView): Parsed | undefined {
  if (view.byteLength < 8) return undefined;
  const skip = view.getUint32(4);
  if (skip > MOST_TEXT) throw new ProtocolError(`${skip} bytes of clipboard`);
  return { message: { kind: 'cut-text' }, length: 8, skip };
}

function parseFence(bytes: Uint8Array, view: DataView): Parsed | undefined {
  if (bytes.length < 9) return undefined;
  if (bytes[8] > MOST_FENCE) throw new ProtocolError(`a fence of ${bytes[8]} bytes`);
  const length = 9 + bytes[8];
  if (bytes.length < length) return undefined;
  const payload = bytes.slice(9, length);
  return { message: { kind: 'fence', flags: view.getUint32(4), payload }, length, skip: 0 };
}
