/**
 * The channel between a VM process and whoever talks to it: the worker, which
 * controls it, and those who reach it through the worker: viewers of its
 * serial console and of its screen, and tools that look at the screen, type or
 * wait for something to be said.
 *
 * A stream of frames, each a 32-bit big-endian length, a type byte and a
 * payload; the length counts type and payload. Control frames carry one JSON
 * object in UTF-8. The others carry bytes as they are, from the VM (`output`)
 * and to it (`input`): of a console the serial line's, of a display RFB's, and
 * for a tool what its request asked for, before the reply. Either side ends
 * the connection at the first malformed frame, and nothing else suffers from
 * it.
 *
 * A console's input arrives once, even when the worker between a viewer and the VM dies
 * with some of it under way. A viewer that wants this names its input session
 * as it attaches and numbers the bytes of its input from 0, over all its
 * connections. The VM process counts what it has taken of the session: it says
 * so in its `hello` and, as more comes, in `taken`. The viewer keeps what has
 * not been taken and, attached again, goes on from there; the connection that
 * the session had before is cut off, and what is unread on it is not taken. A
 * VM process that does not know the session (a new launch, or one that was away
 * for long while many others came and went) begins it at the viewer's `sent`:
 * what may have reached a guest before is never typed a second time, and what
 * was typed while there was no VM and has never been sent is kept for the next.
 */

/** Raised when messages change meaning; both sides say theirs in `hello`. */
export const CHANNEL_VERSION = 3;

/** The most that type byte and payload of one frame may take, in bytes. */
export const MAX_FRAME_BYTES = 64 * 1024 + 1;

/** Bytes of serial output that a VM process keeps for viewers that come later. */
export const BACKLOG_BYTES = 64 * 1024;

export const FRAME_TYPES = { control: 1, output: 2, input: 3 } as const;
export type FrameType = (typeof FRAME_TYPES)[keyof typeof FRAME_TYPES];

export interface Frame {
  readonly type: FrameType;
  readonly payload: Uint8Array;
}

export type ChannelErrorCode =
  | 'malformed'
  | 'version'
  | 'denied'
  | 'not-running'
  | 'too-many'
  | 'too-slow'
  | 'no-screen'
  | 'no-text'
  | 'no-device'
  | 'invalid'
  | 'timeout'
  | 'internal';

const ERROR_CODES: readonly ChannelErrorCode[] = [
  'malformed',
  'version',
  'denied',
  'not-running',
  'too-many',
  'too-slow',
  'no-screen',
  'no-text',
  'no-device',
  'invalid',
  'timeout',
  'internal',
];

/** What was wrong with what the other side sent, or with what it asked for. */
export class ChannelError extends Error {
  readonly code: ChannelErrorCode;
  constructor(code: ChannelErrorCode, message: string) {
    super(message);
    this.name = 'ChannelError';
    this.code = code;
  }
}

const HEADER_BYTES = 4;
const knownTypes: ReadonlySet<number> = new Set(Object.values(FRAME_TYPES));

function isFrameType(value: number): value is FrameType {
  return knownTypes.has(value);
}

/** One frame as bytes. Throws a ChannelError when the payload does not fit in a frame. */
export function encodeFrame(type: FrameType, payload: Uint8Array): Buffer {
  if (payload.length + 1 > MAX_FRAME_BYTES) {
    throw new ChannelError('malformed', `a frame of ${payload.length} bytes is over the limit`);
  }
  const frame = Buffer.allocUnsafe(HEADER_BYTES + 1 + payload.length);
  frame.writeUInt32BE(payload.length + 1, 0);
  frame[HEADER_BYTES] = type;
  frame.set(payload, HEADER_BYTES + 1);
  return frame;
}

/** One control message as a frame. */
export function encodeControl(message: ClientMessage | VmMessage): Buffer {
  return encodeFrame(FRAME_TYPES.control, Buffer.from(JSON.stringify(message)));
}

/** Bytes as frames, as many as it takes. */
export function encodeBytes(
  type: typeof FRAME_TYPES.output | typeof FRAME_TYPES.input,
  bytes: Uint8Array,
): Buffer[] {
  const frames: Buffer[] = [];
  for (let from = 0; from < bytes.length; from += MAX_FRAME_BYTES - 1) {
    frames.push(encodeFrame(type, bytes.subarray(from, from + MAX_FRAME_BYTES - 1)));
  }
  return frames;
}

/**
 * Cuts a stream into frames. Holds at most one unfinished frame, so a peer can
 * make it keep no more than MAX_FRAME_BYTES.
 */
export class FrameDecoder {
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerFilled = 0;
  #body: Buffer | undefined;
  #bodyFilled = 0;

  /** Whether everything pushed so far was whole frames. */
  get idle(): boolean {
    return this.#body === undefined && this.#headerFilled === 0;
  }

  /** Hands each frame completed by `chunk` to `deliver`. Throws a ChannelError at a malformed one. */
  push(chunk: Uint8Array, deliver: (frame: Frame) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#body === undefined) {
        const taken = Math.min(HEADER_BYTES - this.#headerFilled, chunk.length - at);
        this.#header.set(chunk.subarray(at, at + taken), this.#headerFilled);
        this.#headerFilled += taken;
        at += taken;
        if (this.#headerFilled < HEADER_BYTES) return;
        this.#open(this.#header.readUInt32BE(0));
        continue;
      }
      const taken = Math.min(this.#body.length - this.#bodyFilled, chunk.length - at);
      this.#body.set(chunk.subarray(at, at + taken), this.#bodyFilled);
      this.#bodyFilled += taken;
      at += taken;
      if (this.#bodyFilled === this.#body.length) deliver(this.#close(this.#body));
    }
  }

  #open(length: number): void {
    if (length < 1 || length > MAX_FRAME_BYTES) {
      throw new ChannelError('malformed', `a frame says it has ${length} bytes`);
    }
    this.#body = Buffer.allocUnsafe(length);
    this.#bodyFilled = 0;
  }

  #close(body: Buffer): Frame {
    this.#body = undefined;
    this.#headerFilled = 0;
    const type = body[0];
    if (type === undefined || !isFrameType(type)) {
      throw new ChannelError('malformed', `a frame has the unknown type ${type}`);
    }
    return { type, payload: body.subarray(1) };
  }
}

/** Why a machine is no longer running. `stop` is the plug pulled by its owner. */
export type VmExit =
  | { readonly kind: 'power-off' }
  | { readonly kind: 'stop' }
  | { readonly kind: 'orphaned' }
  | { readonly kind: 'triple-fault'; readonly detail: string }
  | { readonly kind: 'debug-exit'; readonly status: number }
  /** The machine could not be built: a kernel that is none, memory that is not there. Trying again is no use. */
  | { readonly kind: 'not-started'; readonly message: string }
  | { readonly kind: 'error'; readonly message: string };

/** What a connection to a VM process is for. The newest agent replaces the one before it. */
export type ChannelRole = 'agent' | 'console' | 'log' | 'display' | 'tool';

/** Where a viewer's picture of the output ended: byte `position` of launch `launchId`. */
export interface ConsolePosition {
  readonly launchId: string;
  readonly position: number;
}

/** A viewer's input session, which outlives its connections, and how many bytes of it were ever sent. */
export interface InputPosition {
  readonly session: string;
  readonly sent: number;
}

/** What the agent may ask for. All but `stats` answer with the status. */
export const VM_OPERATIONS = [
  'status',
  'stats',
  'pause',
  'resume',
  'reset',
  'powerButton',
  'changeDisc',
  'stop',
] as const;
export type VmOperation = (typeof VM_OPERATIONS)[number];

/** What a tool may ask for: one request a connection. Its arguments and answers are those of contracts/screen.ts. */
export const TOOL_OPERATIONS = ['screenshot', 'screenText', 'input', 'expect'] as const;
export type ToolOperation = (typeof TOOL_OPERATIONS)[number];

export interface VmStats {
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly instructions: number;
  readonly guestMiB: number;
  readonly rssBytes: number;
  readonly viewers: number;
  /** Bytes that the guest sent on its serial line, and that it was sent. */
  readonly serialSentBytes: number;
  readonly serialReceivedBytes: number;
  /** Its disks in the order of its configuration, then its CD-ROM drive. */
  readonly drives: readonly DriveStats[];
}

/** What a drive has moved for the guest since launch, resets included; of what failed, nothing is counted. */
export interface DriveStats {
  /** The disk's id, or `cdrom`. */
  readonly id: string;
  readonly readBytes: number;
  readonly readOperations: number;
  readonly writtenBytes: number;
  readonly writeOperations: number;
}

/** `id` of the CD-ROM drive among DriveStats. */
export const CDROM_ID = 'cdrom';

/** No VM has more drives than this. */
const MOST_DRIVES = 64;

export interface VmStatus {
  /** `starting` until the machine is built. */
  readonly state: 'starting' | 'running' | 'paused';
  readonly engine: string;
  /** How often the guest has reset the machine in this launch. */
  readonly resets: number;
  readonly cdrom?: CdromStatus;
}

export interface CdromStatus {
  /** Of the last wish that was acted upon. */
  readonly epoch: number;
  /** The guest had locked the tray against it. The disc goes in when the machine is next reset. */
  readonly refused: boolean;
  /** The guest left the tray open when the machine was last reset, or ended: the disc stays out. */
  readonly ejected: boolean;
}

/** What a client sends. `attach` is for the worker's endpoint, `hello` for a VM process itself. */
export type ClientMessage =
  | {
      readonly type: 'hello';
      readonly version: number;
      readonly role: ChannelRole;
      readonly resume?: ConsolePosition;
      /** Of a console only. */
      readonly input?: InputPosition;
      /** Of a display only: what it sends reaches neither keyboard nor mouse. */
      readonly viewOnly?: boolean;
    }
  | {
      readonly type: 'attach';
      readonly version: number;
      readonly token: string;
      readonly resume?: ConsolePosition;
      readonly input?: InputPosition;
    }
  | {
      readonly type: 'request';
      readonly id: number;
      readonly operation: VmOperation | ToolOperation;
      /** Checked by whoever does it. */
      readonly arguments?: unknown;
    };

/** What a VM process sends; the worker's endpoint sends `error`, `hello` and `end` too. */
export type VmMessage =
  | {
      readonly type: 'hello';
      readonly version: number;
      readonly vmId: string;
      readonly launchId: string;
      readonly pid: number;
      /** Field 22 of /proc/PID/stat: with the pid it names one process for ever. */
      readonly startTicks: string;
      /** Number, since launch, of the first console byte that follows. */
      readonly position: number;
      /** To a viewer that named an input session: the number of the first byte of input to send. */
      readonly taken?: number;
      readonly status: VmStatus;
    }
  /** All input of the session before byte `taken` is in the VM process's hands. */
  | { readonly type: 'taken'; readonly taken: number }
  /** `value` is checked by whoever asked. */
  | { readonly type: 'reply'; readonly id: number; readonly ok: true; readonly value: unknown }
  | {
      readonly type: 'reply';
      readonly id: number;
      readonly ok: false;
      readonly code: ChannelErrorCode;
      readonly error: string;
    }
  | { readonly type: 'status'; readonly status: VmStatus }
  | { readonly type: 'exited'; readonly exit: VmExit }
  | { readonly type: 'end' }
  | { readonly type: 'error'; readonly code: ChannelErrorCode; readonly message: string };

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseObject(payload: Uint8Array): Fields {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch {
    throw new ChannelError('malformed', 'a control frame is not JSON');
  }
  if (!isFields(value)) throw new ChannelError('malformed', 'a control frame is not an object');
  return value;
}

function wrong(field: string): never {
  throw new ChannelError('malformed', `a control message has a wrong ${field}`);
}

function text(fields: Fields, name: string, limit = 4096): string {
  const value = fields[name];
  return typeof value === 'string' && value.length <= limit ? value : wrong(name);
}

function count(fields: Fields, name: string): number {
  const value = fields[name];
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : wrong(name);
}

function measure(fields: Fields, name: string): number {
  const value = fields[name];
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : wrong(name);
}

function group(fields: Fields, name: string): Fields {
  const value = fields[name];
  return isFields(value) ? value : wrong(name);
}

function oneOf<T extends string>(fields: Fields, name: string, allowed: readonly T[]): T {
  const value = fields[name];
  return allowed.find((candidate) => candidate === value) ?? wrong(name);
}

function position(fields: Fields): { resume?: ConsolePosition } {
  if (fields.resume === undefined) return {};
  const resume = group(fields, 'resume');
  return { resume: { launchId: text(resume, 'launchId', 64), position: count(resume, 'position') } };
}

function inputPosition(fields: Fields): { input?: InputPosition } {
  if (fields.input === undefined) return {};
  const input = group(fields, 'input');
  return { input: { session: text(input, 'session', 64), sent: count(input, 'sent') } };
}

/** Reads a client's control frame. Throws a ChannelError when it is not one. */
export function parseClientMessage(payload: Uint8Array): ClientMessage {
  const fields = parseObject(payload);
  switch (fields.type) {
    case 'hello':
      return {
        type: 'hello',
        version: count(fields, 'version'),
        role: oneOf(fields, 'role', ['agent', 'console', 'log', 'display', 'tool'] as const),
        ...position(fields),
        ...inputPosition(fields),
        ...(fields.viewOnly === true ? { viewOnly: true } : {}),
      };
    case 'attach':
      return {
        type: 'attach',
        version: count(fields, 'version'),
        token: text(fields, 'token'),
        ...position(fields),
        ...inputPosition(fields),
      };
    case 'request':
      return {
        type: 'request',
        id: count(fields, 'id'),
        operation: oneOf(fields, 'operation', [...VM_OPERATIONS, ...TOOL_OPERATIONS]),
        ...(fields.arguments === undefined ? {} : { arguments: fields.arguments }),
      };
    default:
      return wrong('type');
  }
}

/** Reads a status. Throws a ChannelError. */
export function parseStatus(value: unknown): VmStatus {
  const fields = isFields(value) ? value : wrong('status');
  return {
    state: oneOf(fields, 'state', ['starting', 'running', 'paused'] as const),
    engine: text(fields, 'engine', 64),
    resets: count(fields, 'resets'),
    ...(fields.cdrom === undefined ? {} : { cdrom: parseCdrom(group(fields, 'cdrom')) }),
  };
}

function parseCdrom(fields: Fields): CdromStatus {
  return {
    epoch: count(fields, 'epoch'),
    refused: fields.refused === true,
    ejected: fields.ejected === true,
  };
}

/** Reads figures. Throws a ChannelError. */
export function parseStats(value: unknown): VmStats {
  const fields = isFields(value) ? value : wrong('stats');
  return {
    wallSeconds: measure(fields, 'wallSeconds'),
    cpuSeconds: measure(fields, 'cpuSeconds'),
    instructions: measure(fields, 'instructions'),
    guestMiB: measure(fields, 'guestMiB'),
    rssBytes: measure(fields, 'rssBytes'),
    viewers: count(fields, 'viewers'),
    serialSentBytes: measure(fields, 'serialSentBytes'),
    serialReceivedBytes: measure(fields, 'serialReceivedBytes'),
    // A process that an older version has launched does not tell of them.
    drives: fields.drives === undefined ? [] : parseDrives(fields.drives),
  };
}

function parseDrives(value: unknown): DriveStats[] {
  if (!Array.isArray(value) || value.length > MOST_DRIVES) return wrong('drives');
  return value.map((drive: unknown) => {
    const fields = isFields(drive) ? drive : wrong('drives');
    return {
      id: text(fields, 'id', 80),
      readBytes: count(fields, 'readBytes'),
      readOperations: count(fields, 'readOperations'),
      writtenBytes: count(fields, 'writtenBytes'),
      writeOperations: count(fields, 'writeOperations'),
    };
  });
}

/** Reads why a machine ended, from a message or from the file it leaves. Throws a ChannelError. */
export function parseExit(value: unknown): VmExit {
  if (!isFields(value)) throw new ChannelError('malformed', 'an exit is not an object');
  switch (value.kind) {
    case 'power-off':
    case 'stop':
    case 'orphaned':
      return { kind: value.kind };
    case 'triple-fault':
      return { kind: 'triple-fault', detail: text(value, 'detail', 65_536) };
    case 'debug-exit':
      return { kind: 'debug-exit', status: count(value, 'status') };
    case 'not-started':
    case 'error':
      return { kind: value.kind, message: text(value, 'message', 65_536) };
    default:
      return wrong('kind');
  }
}

function parseReply(fields: Fields): VmMessage {
  const id = count(fields, 'id');
  if (fields.ok === true) return { type: 'reply', id, ok: true, value: fields.value };
  const code = oneOf(fields, 'code', ERROR_CODES);
  return { type: 'reply', id, ok: false, code, error: text(fields, 'error') };
}

/** Reads a VM process's control frame. Throws a ChannelError when it is not one. */
export function parseVmMessage(payload: Uint8Array): VmMessage {
  const fields = parseObject(payload);
  switch (fields.type) {
    case 'hello':
      return {
        type: 'hello',
        version: count(fields, 'version'),
        vmId: text(fields, 'vmId', 128),
        launchId: text(fields, 'launchId', 64),
        pid: count(fields, 'pid'),
        startTicks: text(fields, 'startTicks', 32),
        position: count(fields, 'position'),
        ...(fields.taken === undefined ? {} : { taken: count(fields, 'taken') }),
        status: parseStatus(fields.status),
      };
    case 'taken':
      return { type: 'taken', taken: count(fields, 'taken') };
    case 'reply':
      return parseReply(fields);
    case 'status':
      return { type: 'status', status: parseStatus(fields.status) };
    case 'exited':
      return { type: 'exited', exit: parseExit(fields.exit) };
    case 'end':
      return { type: 'end' };
    case 'error':
      return {
        type: 'error',
        code: oneOf(fields, 'code', ERROR_CODES),
        message: text(fields, 'message'),
      };
    default:
      return wrong('type');
  }
}
