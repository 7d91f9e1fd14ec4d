import type { WebSocket } from 'ws';
import { CONSOLE_CLOSE } from '../contracts/console.ts';
import type { Attachment } from './attachment.ts';
import { closeSocket } from './close-socket.ts';
import type { ConsoleClose } from './console-opener.ts';

/**
 * What may wait for a slow viewer before the VM's side is held up, and how little before it goes on, in bytes. Little,
 * since a picture that waits is old when it comes.
 */
const HIGH_WATER_BYTES = 256 * 1024;
const LOW_WATER_BYTES = 64 * 1024;
/** A viewer that takes nothing of what waits for it for so long is dropped. Milliseconds. */
const STALL_MS = 20_000;
const CHECK_MS = 5_000;
/** Checks between two pings. */
const PING_EVERY = 6;

/**
 * One viewer of a screen: RFB's bytes between its WebSocket and the VM, as
 * they are. RFB has no way to go on in the middle, so a viewer whose VM or
 * worker goes away is closed, and connects anew.
 */
export class DisplaySession {
  readonly #socket: WebSocket;
  readonly #attachment: Attachment;
  #answered = true;
  #checks = 0;
  /** When the viewer last took something. */
  #tookAt = performance.now();

  constructor(socket: WebSocket, attachment: Attachment) {
    this.#socket = socket;
    this.#attachment = attachment;
  }

  /** Serves the viewer until it leaves or the VM's side ends; `rest` then says why. Never rejects. */
  async run(rest: () => Promise<ConsoleClose>): Promise<void> {
    const socket = this.#socket;
    const attachment = this.#attachment;
    socket.on('message', (data: Buffer, isBinary: boolean) => this.#toVm(data, isBinary));
    socket.on('pong', () => {
      this.#answered = true;
    });
    socket.on('error', () => socket.terminate());
    const check = setInterval(() => this.#check(), CHECK_MS);
    socket.once('close', () => {
      clearInterval(check);
      attachment.close();
    });
    attachment.onDrained(() => socket.resume());
    attachment.listen((bytes) => this.#toViewer(bytes));
    await attachment.ended;
    if (socket.readyState !== socket.OPEN) return;
    const { code, reason } = await rest();
    this.close(code, reason);
  }

  close(code: number, reason: string): void {
    closeSocket(this.#socket, code, reason);
  }

  #toVm(data: Buffer, isBinary: boolean): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if (!isBinary) return this.close(CONSOLE_CLOSE.notBinary, 'RFB is bytes: send binary messages');
    if (!this.#attachment.send(data)) this.#socket.pause();
  }

  #toViewer(bytes: Uint8Array): void {
    const socket = this.#socket;
    if (socket.bufferedAmount === 0) this.#tookAt = performance.now();
    socket.send(bytes, { binary: true }, () => {
      this.#tookAt = performance.now();
      if (socket.bufferedAmount <= LOW_WATER_BYTES) this.#attachment.resume();
    });
    if (socket.bufferedAmount > HIGH_WATER_BYTES) this.#attachment.pause();
  }

  #check(): void {
    const socket = this.#socket;
    if (socket.bufferedAmount > 0 && performance.now() - this.#tookAt > STALL_MS) return socket.terminate();
    // A socket that rests because the VM does not read cannot show its pong.
    if (socket.isPaused || ++this.#checks % PING_EVERY !== 0) return;
    if (!this.#answered) return socket.terminate();
    this.#answered = false;
    socket.ping();
  }
}
