import type { WebSocket } from 'ws';

/** Closes a WebSocket with a reason, as much of it as a close frame holds. */
export function closeSocket(socket: WebSocket, code: number, reason: string): void {
  // A close frame holds 125 bytes: two of code, the rest of UTF-8 (RFC 6455 §5.5).
  let words = reason;
  while (Buffer.byteLength(words) > 123) words = words.slice(0, -1);
  socket.close(code, words);
  // A socket that rests cannot see the answer to its close.
  socket.resume();
}
