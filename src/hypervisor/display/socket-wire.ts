import type { Socket } from 'node:net';
import type { Wire } from './wire.ts';

/** Bytes handed to the socket at once: so it can be seen how far a long picture has come. */
const PIECE = 65_536;
/** For the last bytes of a connection that ends. Milliseconds. */
const LINGER_MS = 2_000;

/** A viewer on a socket of this thread. */
export class SocketWire implements Wire {
  backlog = 0;
  taken = 0;
  readonly #socket: Socket;
  readonly #onTaken: () => void;

  /** @param onTaken called when everything written was taken */
  constructor(socket: Socket, onTaken: () => void) {
    this.#socket = socket;
    this.#onTaken = onTaken;
    socket.setNoDelay(true);
  }

  write(bytes: Uint8Array<ArrayBuffer>): void {
    this.backlog += bytes.length;
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE);
      this.#socket.write(piece, () => {
        this.backlog -= piece.length;
        this.taken += piece.length;
        if (this.backlog === 0) this.#onTaken();
      });
    }
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
  }
}
