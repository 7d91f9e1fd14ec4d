import type { Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import type { Duplex } from 'node:stream';
import type {
  ChannelRole,
  ClientMessage,
  ConsolePosition,
  Frame,
  InputPosition,
  ToolOperation,
  VmExit,
  VmOperation,
  VmStats,
  VmStatus,
} from '../../src/contracts/channel.ts';
import {
  CHANNEL_VERSION,
  ChannelError,
  encodeBytes,
  encodeControl,
  encodeFrame,
  FRAME_TYPES,
  FrameDecoder,
  parseClientMessage,
  TOOL_OPERATIONS,
} from '../../src/contracts/channel.ts';
import type { VmProcessRecord } from '../../src/contracts/vm-process.ts';
import { Backlog } from './backlog.ts';
import { FramedStream } from './framed-stream.ts';
import type { InputSession } from './input-sessions.ts';
import { InputSessions } from './input-sessions.ts';

/** How many connections of all kinds a VM process takes at once. */
const MAX_CONNECTIONS = 128;
/** How many of them may show the screen: each has buffers of its own. */
const MAX_DISPLAYS = 16;
/** A viewer that leaves this much unread is dropped; it may come back and go on from its position. */
const MAX_UNREAD_BYTES = 1024 * 1024;
/** How long a connection may stay silent before its hello. */
const HELLO_TIMEOUT_MS = 10_000;
/** Output is handed on at the latest when this much has gathered within one turn of the event loop. */
const FLUSH_BYTES = 16 * 1024;

export interface ChannelHandlers {
  status(): VmStatus;
  /** Takes what a viewer typed; false when no more is to come before `inputHasRoom`. */
  input(bytes: Uint8Array): boolean;
  perform(operation: VmOperation, args: unknown): Promise<VmStatus | VmStats>;
  /** What shows the screen to a viewer; undefined without a screen. */
  display(): ((stream: Duplex, viewOnly: boolean) => void) | undefined;
  /** Does what a tool asks for. Rejects with a ChannelError fit for whoever asked. */
  useTool(operation: ToolOperation, args: unknown, asker: Asker): Promise<unknown>;
  /** The worker came, or went. */
  agentPresent(present: boolean): void;
}

/** Who uses a tool. */
export interface Asker {
  /** Fires when nobody waits for the answer any more. */
  readonly gone: AbortSignal;
  /** Sends bytes ahead of the answer. */
  send(bytes: Uint8Array): void;
}

type Connection = {
  readonly socket: Socket;
  readonly decoder: FrameDecoder;
  role: 'new' | ChannelRole;
  /** A display's bytes. */
  stream: FramedStream | undefined;
  /** A tool has asked: it does so once. */
  asked: boolean;
  /** What is counted of a console's input, if its viewer wants to know. */
  input: InputSession | undefined;
  takenDue: boolean;
};

/** The VM process's end of the channel: takes connections, and keeps them from harming the machine or one another. */
export class ChannelServer {
  readonly #identity: VmProcessRecord;
  readonly #handlers: ChannelHandlers;
  readonly #backlog = new Backlog();
  readonly #connections = new Set<Connection>();
  readonly #sessions = new InputSessions();
  readonly #server: Server;
  #agent: Connection | undefined;
  #flushed = 0;
  #flushScheduled = false;

  constructor(identity: VmProcessRecord, handlers: ChannelHandlers) {
    this.#identity = identity;
    this.#handlers = handlers;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  get backlog(): Backlog {
    return this.#backlog;
  }

  get viewers(): number {
    let viewers = 0;
    for (const { role } of this.#connections) if (role === 'console') viewers++;
    return viewers;
  }

  /** Listens on a Unix socket. Rejects with the system's error when it cannot. */
  async listen(path: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }

  /** Takes bytes that the guest sent. They reach viewers at the end of this turn of the event loop. */
  output(bytes: Uint8Array): void {
    this.#backlog.append(bytes);
    if (this.#backlog.end - this.#flushed >= FLUSH_BYTES) {
      this.#flush();
    } else if (!this.#flushScheduled) {
      this.#flushScheduled = true;
      setImmediate(() => this.#flush());
    }
  }

  /** The machine takes input again: viewers that were held up go on. */
  inputHasRoom(): void {
    for (const { socket, role } of this.#connections) {
      if (role === 'console' && socket.isPaused()) socket.resume();
    }
  }

  statusChanged(): void {
    if (this.#agent !== undefined) {
      this.#agent.socket.write(encodeControl({ type: 'status', status: this.#handlers.status() }));
    }
  }

  /** Tells everyone how it ended and closes; resolves when all has been sent or a second has passed. */
  async close(exit: VmExit): Promise<void> {
    this.#flush();
    const farewell = encodeControl({ type: 'exited', exit });
    const closed = [...this.#connections].map(
      ({ socket, role }) =>
        new Promise<void>((resolve) => {
          socket.once('close', () => resolve());
          if (role === 'new' || role === 'log') socket.destroy();
          else socket.end(farewell);
        }),
    );
    this.#server.close();
    const deadline = new Promise<void>((resolve) => {
      setTimeout(resolve, 1000).unref();
    });
    await Promise.race([Promise.all(closed), deadline]);
  }

  #accept(socket: Socket): void {
    const connection: Connection = {
      socket,
      decoder: new FrameDecoder(),
      role: 'new',
      stream: undefined,
      asked: false,
      input: undefined,
      takenDue: false,
    };
    this.#connections.add(connection);
    socket.setTimeout(HELLO_TIMEOUT_MS, () => {
      if (connection.role === 'new') socket.destroy();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#forget(connection));
    socket.on('data', (chunk: Buffer) => {
      try {
        connection.decoder.push(chunk, (frame) => this.#receive(connection, frame));
      } catch (error) {
        this.#refuse(connection, error);
      }
    });
  }

  #forget(connection: Connection): void {
    this.#connections.delete(connection);
    if (connection.input !== undefined) this.#sessions.leave(connection.input);
    if (this.#agent === connection) {
      this.#agent = undefined;
      this.#handlers.agentPresent(false);
    }
  }

  #refuse({ socket }: Connection, error: unknown): void {
    const refusal =
      error instanceof ChannelError ? error : new ChannelError('internal', 'the request could not be read');
    socket.removeAllListeners('data');
    socket.resume();
    socket.end(encodeControl({ type: 'error', code: refusal.code, message: refusal.message }));
    socket.setTimeout(1000, () => socket.destroy());
  }

  #receive(connection: Connection, frame: Frame): void {
    if (connection.socket.writableEnded) return;
    if (frame.type === FRAME_TYPES.input && connection.role === 'console') {
      if (!this.#handlers.input(frame.payload)) connection.socket.pause();
      this.#took(connection, frame.payload.length);
      return;
    }
    if (frame.type === FRAME_TYPES.input && connection.stream !== undefined) {
      connection.stream.feed(frame.payload);
      return;
    }
    if (frame.type !== FRAME_TYPES.control) {
      throw new ChannelError('malformed', `no frame of type ${frame.type} was expected here`);
    }
    const message = parseClientMessage(frame.payload);
    if (message.type === 'hello' && connection.role === 'new') this.#hello(connection, message);
    else if (message.type === 'request' && isAsker(connection)) this.#request(connection, message);
    else throw new ChannelError('malformed', `no ${message.type} was expected here`);
  }

  #hello(connection: Connection, message: ClientMessage & { type: 'hello' }): void {
    if (message.version !== CHANNEL_VERSION) {
      throw new ChannelError('version', `this VM process speaks version ${CHANNEL_VERSION} of the channel`);
    }
    if (message.input !== undefined && message.role !== 'console') {
      throw new ChannelError('malformed', `a connection as ${message.role} has no input`);
    }
    const { socket } = connection;
    const show = message.role === 'display' ? this.#displayFor() : undefined;
    socket.setTimeout(0);
    // What has gathered goes to those who were here; the newcomer gets it as backlog.
    this.#flush();
    const listens = message.role === 'console' || message.role === 'log';
    const from = listens ? this.#startFor(message.resume) : this.#backlog.end;
    const { position, bytes } = this.#backlog.since(from);
    const status = this.#handlers.status();
    if (message.input !== undefined) connection.input = this.#openSession(message.input);
    const taken = connection.input === undefined ? {} : { taken: connection.input.taken };
    socket.write(
      encodeControl({
        type: 'hello',
        version: CHANNEL_VERSION,
        ...this.#identity,
        position,
        ...taken,
        status,
      }),
    );
    for (const part of encodeBytes(FRAME_TYPES.output, bytes)) socket.write(part);
    if (message.role === 'log') socket.end(encodeControl({ type: 'end' }));
    connection.role = message.role;
    if (show !== undefined) {
      connection.stream = new FramedStream(socket);
      connection.stream.on('error', () => socket.destroy());
      show(connection.stream, message.viewOnly === true);
    }
    if (message.role === 'agent') {
      const former = this.#agent;
      this.#agent = connection;
      former?.socket.destroy();
      this.#handlers.agentPresent(true);
    }
  }

  /** A session has one connection: the newest cuts off the one before, so that the count stands still. */
  #openSession(position: InputPosition): InputSession {
    for (const former of this.#connections) {
      const { input } = former;
      if (input?.id !== position.session) continue;
      former.input = undefined;
      former.socket.destroy();
      return input;
    }
    return this.#sessions.open(position);
  }

  /** Counts input; its viewer is told at the end of this turn of the event loop, at once for all that came. */
  #took(connection: Connection, bytes: number): void {
    const { input, socket } = connection;
    if (input === undefined) return;
    input.taken += bytes;
    if (connection.takenDue) return;
    connection.takenDue = true;
    setImmediate(() => {
      connection.takenDue = false;
      if (connection.input === undefined || !socket.writable) return;
      if (socket.writableLength > MAX_UNREAD_BYTES) socket.destroy();
      else socket.write(encodeControl({ type: 'taken', taken: input.taken }));
    });
  }

  #startFor(resume: ConsolePosition | undefined): number {
    return resume !== undefined && resume.launchId === this.#identity.launchId ? resume.position : 0;
  }

  #displayFor(): (stream: Duplex, viewOnly: boolean) => void {
    const show = this.#handlers.display();
    if (show === undefined) throw new ChannelError('no-screen', 'this VM has no screen');
    let displays = 0;
    for (const { role } of this.#connections) if (role === 'display') displays++;
    if (displays < MAX_DISPLAYS) return show;
    throw new ChannelError('too-many', `${displays} viewers look at this screen already`);
  }

  #request(connection: Connection, message: ClientMessage & { type: 'request' }): void {
    const { socket } = connection;
    const { id, operation } = message;
    this.#answer(connection, operation, message.arguments).then(
      (value) => socket.write(encodeControl({ type: 'reply', id, ok: true, value })),
      (error: unknown) => {
        const code = error instanceof ChannelError ? error.code : 'internal';
        const reason = error instanceof Error ? error.message : String(error);
        socket.write(encodeControl({ type: 'reply', id, ok: false, code, error: reason.slice(0, 1000) }));
      },
    );
  }

  async #answer(
    connection: Connection,
    operation: VmOperation | ToolOperation,
    args: unknown,
  ): Promise<unknown> {
    const { socket, role } = connection;
    if (!isTool(operation)) {
      if (role === 'agent') return this.#handlers.perform(operation, args);
      throw new ChannelError('malformed', `a ${role} cannot ask for ${operation}`);
    }
    connection.asked = true;
    const gone = new AbortController();
    socket.once('close', () => gone.abort());
    return this.#handlers.useTool(operation, args, {
      gone: gone.signal,
      send: (bytes) => {
        for (const frame of encodeBytes(FRAME_TYPES.output, bytes)) socket.write(frame);
      },
    });
  }

  #flush(): void {
    this.#flushScheduled = false;
    const { bytes } = this.#backlog.since(this.#flushed);
    this.#flushed = this.#backlog.end;
    if (bytes.length === 0) return;
    const frame = encodeFrame(FRAME_TYPES.output, bytes);
    for (const { socket, role } of this.#connections) {
      if (role !== 'console' || socket.writableEnded) continue;
      if (socket.writableLength > MAX_UNREAD_BYTES) socket.destroy();
      else socket.write(frame);
    }
  }
}

function isAsker({ role, asked }: Connection): boolean {
  return role === 'agent' || (role === 'tool' && !asked);
}

function isTool(operation: VmOperation | ToolOperation): operation is ToolOperation {
  return (TOOL_OPERATIONS as readonly string[]).includes(operation);
}
