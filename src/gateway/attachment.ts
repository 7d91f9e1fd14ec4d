import type { Socket } from 'node:net';
import { connect } from 'node:net';
import type {
  ConsolePosition,
  Frame,
  InputPosition,
  ToolOperation,
  VmExit,
  VmMessage,
} from '../contracts/channel.ts';
import {
  CHANNEL_VERSION,
  ChannelError,
  encodeBytes,
  encodeControl,
  FRAME_TYPES,
  FrameDecoder,
  parseVmMessage,
} from '../contracts/channel.ts';

const ATTACH_TIMEOUT_MS = 5_000;

/** Where a viewer stands: in the output, and in its own input. */
export interface ViewerPosition {
  readonly resume?: ConsolePosition;
  readonly input?: InputPosition;
}

export interface AttachTarget extends ViewerPosition {
  /** `host:port` of the worker. */
  readonly endpoint: string;
  readonly token: string;
}

/** How the bytes of an attachment ended: with the machine, as asked (a log), or by a broken connection. */
export type AttachmentEnd =
  | { readonly kind: 'exited'; readonly exit: VmExit }
  | { readonly kind: 'end' }
  | { readonly kind: 'lost' };

/** What a tool answered. */
export interface ToolAnswer {
  readonly value: unknown;
  /** What it sent ahead of that. */
  readonly bytes: Buffer;
}

/** One console or screen of a VM, or a tool that is used on it, through the worker that runs it. */
export class Attachment {
  readonly #socket: Socket;
  readonly #decoder = new FrameDecoder();
  readonly #opened = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<AttachmentEnd>();
  /** What came before somebody listened; the socket rests meanwhile, which bounds it. */
  #early: Uint8Array[] = [];
  #listener: ((bytes: Uint8Array) => void) | undefined;
  #end: AttachmentEnd = { kind: 'lost' };
  #launchId = '';
  #position = 0;
  /** Whether input is counted: a session was named. */
  readonly #counted: boolean;
  /** Of the session's input, what the VM has taken and where what was sent ends. */
  #taken = 0;
  #sent: number;
  #onTaken: (taken: number) => void = () => {};
  readonly #reply = Promise.withResolvers<unknown>();

  private constructor(target: AttachTarget) {
    const { hostname, port } = new URL(`tcp://${target.endpoint}`);
    this.#socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port), noDelay: true });
    this.#socket.setTimeout(ATTACH_TIMEOUT_MS, () => this.#socket.destroy(new Error('no answer in time')));
    this.#socket.on('error', (error) => this.#opened.reject(error));
    // Only a tool waits for its reply.
    this.#reply.promise.catch(() => {});
    this.#socket.once('close', () => {
      const lost = new Error('the worker closed the connection');
      this.#opened.reject(lost);
      this.#reply.reject(lost);
      this.#ended.resolve(this.#end);
    });
    this.#socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#counted = target.input !== undefined;
    this.#sent = target.input?.sent ?? 0;
    const resume = target.resume === undefined ? {} : { resume: target.resume };
    const input = target.input === undefined ? {} : { input: target.input };
    this.#socket.write(
      encodeControl({ type: 'attach', version: CHANNEL_VERSION, token: target.token, ...resume, ...input }),
    );
  }

  /**
   * Opens what the token is for. Rejects with a ChannelError (`not-running`,
   * `denied` …) when the worker refuses, and with the system's error when it
   * cannot be reached.
   */
  static async open(target: AttachTarget): Promise<Attachment> {
    const attachment = new Attachment(target);
    try {
      await attachment.#opened.promise;
    } catch (error) {
      attachment.close();
      throw error;
    }
    return attachment;
  }

  /** Settles when nothing more comes. */
  get ended(): Promise<AttachmentEnd> {
    return this.#ended.promise;
  }

  /** What has been handed on so far ends here. */
  get position(): ConsolePosition {
    return { launchId: this.#launchId, position: this.#position };
  }

  /** Hands what came and what comes to `listener`. */
  listen(listener: (bytes: Uint8Array) => void): void {
    this.#listener = listener;
    for (const bytes of this.#early.splice(0)) this.#hand(listener, bytes);
    this.#socket.resume();
  }

  /** Of the named session's input, how many bytes the VM has taken: what is sent first has this number. */
  get taken(): number {
    return this.#taken;
  }

  /** Calls back whenever the VM has taken more. */
  onTaken(listener: (taken: number) => void): void {
    this.#onTaken = listener;
  }

  /**
   * Sends what was typed. The sender of a console bounds what is under way by `taken`; that of a display, by waiting
   * for `onDrained` when this gives false.
   */
  send(bytes: Uint8Array): boolean {
    this.#sent += bytes.length;
    let room = true;
    for (const frame of encodeBytes(FRAME_TYPES.input, bytes)) room = this.#socket.write(frame);
    return room;
  }

  /** Calls back whenever all that was sent is on its way. */
  onDrained(listener: () => void): void {
    this.#socket.on('drain', listener);
  }

  /**
   * Uses a tool, and closes. Rejects with a ChannelError when the VM refuses, with another when it is lost, and when
   * it sends more than `mostBytes`.
   */
  async useTool(operation: ToolOperation, args: unknown, mostBytes: number): Promise<ToolAnswer> {
    const parts: Uint8Array[] = [];
    let size = 0;
    this.listen((bytes) => {
      size += bytes.length;
      if (size > mostBytes) this.#socket.destroy();
      else parts.push(bytes);
    });
    this.#socket.write(encodeControl({ type: 'request', id: 1, operation, arguments: args }));
    try {
      const value = await this.#reply.promise;
      return { value, bytes: Buffer.concat(parts) };
    } finally {
      this.close();
    }
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    try {
      this.#decoder.push(chunk, (frame) => this.#receive(frame));
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
    if (this.#listener === undefined && this.#early.length > 0) this.#socket.pause();
  }

  #receive(frame: Frame): void {
    if (frame.type === FRAME_TYPES.control) this.#control(parseVmMessage(frame.payload));
    else if (frame.type === FRAME_TYPES.input) throw new ChannelError('malformed', 'input came back');
    else if (this.#listener === undefined) this.#early.push(frame.payload);
    else this.#hand(this.#listener, frame.payload);
    // The saved log of a VM that does not run comes without a hello.
    if (frame.type === FRAME_TYPES.output) this.#open();
  }

  #hand(listener: (bytes: Uint8Array) => void, bytes: Uint8Array): void {
    this.#position += bytes.length;
    listener(bytes);
  }

  #control(message: VmMessage): void {
    if (message.type === 'hello') {
      this.#launchId = message.launchId;
      this.#position = message.position;
      if (this.#counted) this.#count(message.taken ?? -1);
      // What follows is numbered from there.
      this.#sent = this.#taken;
      this.#open();
    } else if (message.type === 'taken') {
      this.#count(message.taken);
      this.#onTaken(message.taken);
    } else if (message.type === 'exited') {
      this.#end = { kind: 'exited', exit: message.exit };
    } else if (message.type === 'end') {
      this.#end = { kind: 'end' };
      this.#open();
    } else if (message.type === 'error') {
      this.#opened.reject(new ChannelError(message.code, message.message));
    } else if (message.type === 'reply') {
      if (message.ok) this.#reply.resolve(message.value);
      else this.#reply.reject(new ChannelError(message.code, message.error));
    }
  }

  #count(taken: number): void {
    if (!this.#counted || taken < this.#taken || taken > this.#sent) {
      throw new ChannelError('malformed', 'the VM counts its input wrongly');
    }
    this.#taken = taken;
  }

  #open(): void {
    this.#socket.setTimeout(0);
    this.#opened.resolve();
  }
}
