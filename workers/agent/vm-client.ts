import type { Socket } from 'node:net';
import type { VmExit, VmMessage, VmOperation, VmStats, VmStatus } from '../../src/contracts/channel.ts';
import {
  CHANNEL_VERSION,
  ChannelError,
  encodeControl,
  FRAME_TYPES,
  FrameDecoder,
  parseStats,
  parseStatus,
  parseVmMessage,
} from '../../src/contracts/channel.ts';
import { withTimeout } from '../../src/lib/time.ts';
import { connectUnix } from './unix-socket.ts';

/** How long a VM process may take to say hello. */
const HELLO_TIMEOUT_MS = 10_000;
/** How long it may take to answer a request; after that it hangs. */
const REQUEST_TIMEOUT_MS = 30_000;

export type Hello = VmMessage & { readonly type: 'hello' };

/** One connection, as the agent, to a VM process. */
export class VmClient {
  readonly hello: Hello;
  /** Settles when the connection is over, with the farewell if there was one. */
  readonly closed: Promise<VmExit | undefined>;
  readonly #socket: Socket;
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #started = Promise.withResolvers<void>();
  #nextId = 1;
  #status: VmStatus;

  private constructor(socket: Socket, hello: Hello, wire: Wire) {
    this.#socket = socket;
    this.hello = hello;
    this.#status = hello.status;
    this.#setStatus(hello.status);
    const closed = Promise.withResolvers<VmExit | undefined>();
    this.closed = closed.promise;
    let farewell: VmExit | undefined;
    const receive = (message: VmMessage): void => {
      if (message.type === 'status') this.#setStatus(message.status);
      else if (message.type === 'exited') farewell = message.exit;
      else if (message.type === 'reply') this.#settle(message);
    };
    wire.receive = receive;
    for (const message of wire.early.splice(0)) receive(message);
    const over = (): void => {
      for (const { reject } of this.#pending.values()) reject(new Error('the VM process has gone'));
      this.#pending.clear();
      this.#started.resolve();
      closed.resolve(farewell);
    };
    if (socket.closed) over();
    else socket.once('close', over);
  }

  /** Connects to a VM process's socket. Rejects when nobody, or somebody else, answers. */
  static async connect(path: string): Promise<VmClient> {
    const socket = connectUnix(path);
    const wire: Wire = { receive: () => {}, early: [] };
    const greeted = Promise.withResolvers<Hello>();
    const decoder = new FrameDecoder();
    wire.receive = (message) => {
      if (message.type === 'hello') greeted.resolve(message);
      else if (message.type === 'error') greeted.reject(new ChannelError(message.code, message.message));
      else wire.early.push(message);
    };
    socket.on('data', (chunk: Buffer) => {
      try {
        decoder.push(chunk, (frame) => {
          if (frame.type === FRAME_TYPES.control) wire.receive(parseVmMessage(frame.payload));
        });
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)));
      }
    });
    socket.on('error', (error) => greeted.reject(error));
    socket.once('close', () => greeted.reject(new Error('the VM process closed the connection')));
    socket.write(encodeControl({ type: 'hello', version: CHANNEL_VERSION, role: 'agent' }));
    try {
      const hello = await withTimeout(greeted.promise, HELLO_TIMEOUT_MS, 'the VM process’s hello');
      return new VmClient(socket, hello, wire);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  get status(): VmStatus {
    return this.#status;
  }

  /** Resolves once the machine is built, or the connection is over. */
  get started(): Promise<void> {
    return this.#started.promise;
  }

  /** Asks for something to be done. Rejects when it was refused, the process is gone or it hangs. */
  async request(operation: Exclude<VmOperation, 'stats'>, args?: unknown): Promise<VmStatus> {
    const status = parseStatus(await this.#ask(operation, args));
    this.#setStatus(status);
    return status;
  }

  async stats(): Promise<VmStats> {
    return parseStats(await this.#ask('stats'));
  }

  close(): void {
    this.#socket.destroy();
  }

  async #ask(operation: VmOperation, args?: unknown): Promise<unknown> {
    if (this.#socket.destroyed) throw new Error('the VM process has gone');
    const id = this.#nextId++;
    const answer = Promise.withResolvers<unknown>();
    this.#pending.set(id, answer);
    this.#socket.write(encodeControl({ type: 'request', id, operation, arguments: args }));
    try {
      return await withTimeout(answer.promise, REQUEST_TIMEOUT_MS, `the VM process’s answer to ${operation}`);
    } finally {
      this.#pending.delete(id);
    }
  }

  #setStatus(status: VmStatus): void {
    this.#status = status;
    if (status.state !== 'starting') this.#started.resolve();
  }

  #settle(message: VmMessage & { type: 'reply' }): void {
    const pending = this.#pending.get(message.id);
    if (message.ok) pending?.resolve(message.value);
    else pending?.reject(new ChannelError(message.code, message.error));
  }
}

/** Where messages go: to the greeting first, then to the client. */
interface Wire {
  receive: (message: VmMessage) => void;
  /** What came close behind the hello, before the client was there. */
  readonly early: VmMessage[];
}
