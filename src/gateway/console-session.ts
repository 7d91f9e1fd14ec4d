import type { WebSocket } from 'ws';
import type { ConsolePosition } from '../contracts/channel.ts';
import type { Attachment } from './attachment.ts';
import { closeSocket } from './close-socket.ts';
import type { ConsoleOpener } from './console-opener.ts';
import type { PendingInput } from './pending-input.ts';

/** What may wait for a slow viewer before the VM's side is held up, and how little before it goes on. */
const HIGH_WATER_BYTES = 1024 * 1024;
const LOW_WATER_BYTES = 256 * 1024;
const PING_INTERVAL_MS = 30_000;

/**
 * One viewer of a serial console: bytes between its WebSocket and the VM.
 * When the worker or the VM process is restarted, the viewer stays and is
 * attached again, from the byte at which it was cut off, and what it typed
 * meanwhile is sent then.
 */
export class ConsoleSession {
  readonly #socket: WebSocket;
  readonly #vmId: string;
  readonly #opener: ConsoleOpener;
  readonly #gone = new AbortController();
  #attachment: Attachment | undefined;
  /** When it is full the viewer's socket rests, so it grows by little more than one message. */
  readonly #input: PendingInput;
  /** The viewer may only watch. */
  readonly #readOnly: boolean;
  #answered = true;

  constructor(
    socket: WebSocket,
    vmId: string,
    opener: ConsoleOpener,
    input: PendingInput,
    readOnly: boolean,
  ) {
    this.#socket = socket;
    this.#vmId = vmId;
    this.#opener = opener;
    this.#input = input;
    this.#readOnly = readOnly;
  }

  /** Serves the viewer until it leaves or the VM comes to rest. Never rejects. */
  async run(first: Attachment): Promise<void> {
    this.#listenToViewer();
    let attachment: Attachment | undefined = first;
    while (attachment !== undefined) attachment = await this.#serve(attachment);
  }

  close(code: number, reason: string): void {
    closeSocket(this.#socket, code, reason);
  }

  /** Bytes flow until the attachment ends. Resolves with the next one, if there is to be one. */
  async #serve(attachment: Attachment): Promise<Attachment | undefined> {
    if (this.#gone.signal.aborted) {
      attachment.close();
      return undefined;
    }
    this.#attachment = attachment;
    this.#input.resume(attachment.taken);
    attachment.send(this.#input.takeUnsent());
    attachment.onTaken((taken) => {
      this.#input.acknowledge(taken);
      this.#holdOrGoOn();
    });
    this.#holdOrGoOn();
    attachment.listen((bytes) => this.#toViewer(attachment, bytes));
    await attachment.ended;
    this.#attachment = undefined;
    if (this.#gone.signal.aborted) return undefined;
    return this.#next(attachment.position);
  }

  async #next(position: ConsolePosition): Promise<Attachment | undefined> {
    const viewer = { resume: position, input: this.#input.position };
    const next = await this.#opener.reopen(this.#vmId, { purpose: 'serial' }, viewer, this.#gone.signal);
    if (!('code' in next)) return next;
    this.close(next.code, next.reason);
    return undefined;
  }

  #toViewer(attachment: Attachment, bytes: Uint8Array): void {
    this.#socket.send(bytes, { binary: true }, () => {
      if (this.#socket.bufferedAmount <= LOW_WATER_BYTES) attachment.resume();
    });
    if (this.#socket.bufferedAmount > HIGH_WATER_BYTES) attachment.pause();
  }

  #listenToViewer(): void {
    const socket = this.#socket;
    // A text message is taken as what it says in UTF-8, for clients that only have text.
    socket.on('message', (data: Buffer) => this.#toVm(data));
    socket.on('pong', () => {
      this.#answered = true;
    });
    socket.on('error', () => socket.terminate());
    const ping = setInterval(() => this.#checkAlive(), PING_INTERVAL_MS);
    socket.once('close', () => {
      clearInterval(ping);
      this.#gone.abort();
      this.#attachment?.close();
    });
  }

  #checkAlive(): void {
    // A socket that rests because the guest does not read cannot show its pong.
    if (this.#socket.isPaused) return;
    if (!this.#answered) return this.#socket.terminate();
    this.#answered = false;
    this.#socket.ping();
  }

  #toVm(data: Buffer): void {
    // What still comes between our close and the viewer's answer has nowhere to go.
    if (this.#readOnly || this.#socket.readyState !== this.#socket.OPEN) return;
    this.#input.push(data);
    this.#attachment?.send(this.#input.takeUnsent());
    this.#holdOrGoOn();
  }

  #holdOrGoOn(): void {
    if (this.#input.isFull) this.#socket.pause();
    else this.#socket.resume();
  }
}
