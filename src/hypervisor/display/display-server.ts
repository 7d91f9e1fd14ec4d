import type { Duplex } from 'node:stream';
import { Worker } from 'node:worker_threads';
import type { KeyboardInput, PointerInput } from '../backends/input.ts';
import type { Screen, ScreenWatch } from '../backends/screen.ts';
import { keymapNamed } from './keymaps/keymap.ts';
import type {
  DisplaySettings,
  FromDisplay,
  InputEvent,
  ListenAddress,
  ToDisplay,
} from './worker-messages.ts';

/** Between two looks at a screen that does not change, in milliseconds. */
const LOOK_MS = 8;
/** The same once it has been still for a while. */
const STILL = { afterMs: 1000, lookMs: 16 } as const;
/** Bytes of a stream that the display's thread has not yet handled; then the stream waits. */
const MOST_UNHANDLED = 65_536;
/** For the last bytes of a stream that ends. Milliseconds. */
const LINGER_MS = 2_000;
/** For the thread to say good-bye to its viewers. Milliseconds. */
const CLOSE_MS = 3_000;
/** A hostile viewer's memory is bounded by this. MiB. */
const HEAP_MIB = 256;

export interface DisplayOptions {
  readonly screen: Screen;
  readonly keyboard: KeyboardInput;
  readonly pointer: PointerInput;
  /** Absent: viewers come by `attach` alone. Over TCP, only this machine can reach it unless `host` says otherwise. */
  readonly listen?: ListenAddress | undefined;
  /** What viewers show as the title. */
  readonly name?: string;
  /** The guest's keyboard layout, for viewers that know no places of keys: one of keymaps/, "us" by default. */
  readonly keymap?: string;
  readonly log?: (message: string, details?: Record<string, unknown>) => void;
}

/**
 * Starts a display: an RFB 3.8 server for any number of viewers of one screen. There is no authentication in it.
 * @throws Error with `message` for the user when the address cannot be listened at or there is no such keymap
 */
export async function serveDisplay(options: DisplayOptions): Promise<DisplayServer> {
  const server = new DisplayServer(options);
  await server.ready;
  return server;
}

interface Stream {
  readonly duplex: Duplex;
  unhandled: number;
}

/**
 * The machine's side of a display: looks at the screen while somebody waits for a change, and hands on keys and
 * pointer. Everything else is done by a thread of its own (worker.ts), which shares the pixels.
 */
export class DisplayServer {
  /** Resolves when viewers can connect. */
  readonly ready: Promise<void>;
  readonly #options: DisplayOptions;
  readonly #worker: Worker;
  readonly #streams = new Map<number, Stream>();
  #nextId = 1;
  #port: number | undefined;
  #viewers = 0;
  #watch: ScreenWatch | undefined;
  #looking: NodeJS.Timeout | undefined;
  #lookedAt = 0;
  #changedAt = 0;
  /** Looks that viewers asked for whatever they bring, and those that were made. */
  #asks = 0;
  #answered = 0;
  #absolute: boolean | undefined;
  #closed: Promise<void> | undefined;
  #onClosed: () => void = () => {};

  constructor(options: DisplayOptions) {
    this.#options = options;
    const settings: DisplaySettings = {
      name: options.name ?? 'Teremok',
      keymap: options.keymap ?? 'us',
      listen: options.listen,
    };
    keymapNamed(settings.keymap);
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: settings,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB },
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#worker.on('message', (message: FromDisplay) => {
      if (message.kind === 'listening') {
        this.#port = message.port;
        resolve();
      } else if (message.kind === 'failed') {
        reject(new Error(message.message));
        void this.#worker.terminate();
      } else {
        this.#receive(message);
      }
    });
    this.#worker.on('error', (error: Error) => {
      reject(error);
      options.log?.('the display failed', { error: error.message });
    });
    this.#worker.on('exit', () => this.#gone());
    options.keyboard.onLeds(() => this.#tellGuest());
    this.#tellGuest();
  }

  /** The TCP port, when it listens at one. */
  get port(): number | undefined {
    return this.#port;
  }

  /** How many watch now. */
  get viewers(): number {
    return this.#viewers;
  }

  /**
   * Takes a viewer that has come on a stream of bytes; the stream is the display's from then on. Nothing is read of it
   * faster than it is handled, and no more than one picture waits in it.
   */
  attach(duplex: Duplex, { viewOnly = false }: { readonly viewOnly?: boolean } = {}): void {
    if (this.#closed !== undefined) {
      duplex.destroy();
      return;
    }
    const id = this.#nextId++;
    const stream: Stream = { duplex, unhandled: 0 };
    this.#streams.set(id, stream);
    this.#post({ kind: 'attach', id, viewOnly });
    duplex.on('data', (chunk: Uint8Array) => {
      const bytes = Uint8Array.from(chunk);
      stream.unhandled += bytes.length;
      if (stream.unhandled > MOST_UNHANDLED) duplex.pause();
      this.#post({ kind: 'bytes', id, bytes }, [bytes.buffer]);
    });
    duplex.on('error', () => duplex.destroy());
    const ended = (): void => {
      if (!this.#streams.delete(id)) return;
      this.#post({ kind: 'ended', id });
      duplex.destroy();
    };
    duplex.on('end', ended);
    duplex.on('close', ended);
  }

  /** Ends all viewers; resolves when the thread is gone. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#stopLooking();
    const closed = new Promise<void>((resolve) => {
      this.#onClosed = resolve;
    });
    this.#post({ kind: 'close' });
    const limit = Promise.withResolvers<void>();
    const timer = setTimeout(limit.resolve, CLOSE_MS);
    await Promise.race([closed, limit.promise]);
    clearTimeout(timer);
    await this.#worker.terminate();
  }

  #receive(message: FromDisplay): void {
    switch (message.kind) {
      case 'want':
        this.#asks = message.asks;
        this.#want(message.afterMs);
        break;
      case 'viewers':
        this.#setViewers(message.count);
        break;
      case 'input':
        for (const event of message.events) this.#input(event);
        break;
      case 'log':
        this.#options.log?.(message.message, message.details);
        break;
      case 'bytes':
        this.#write(message.id, message.bytes);
        break;
      case 'handled':
        this.#handled(message.id, message.count);
        break;
      case 'end':
        this.#end(message.id);
        break;
      case 'closed':
        this.#onClosed();
        break;
    }
  }

  // The screen

  #setViewers(count: number): void {
    this.#viewers = count;
    // Nobody watches: the adapter need not keep track of anything.
    if (count === 0) this.#stopLooking();
  }

  #want(afterMs: number | undefined): void {
    clearTimeout(this.#looking);
    if (afterMs === undefined || this.#closed !== undefined) return;
    this.#lookIn(Math.max(0, this.#lookedAt + afterMs - performance.now()));
  }

  #lookIn(ms: number): void {
    this.#looking = setTimeout(() => this.#look(), ms);
    this.#looking.unref();
  }

  /** Looks whether the screen has changed; again after a while if not, unless somebody has to know that too. */
  #look(): void {
    this.#watch ??= this.#options.screen.watch();
    const now = performance.now();
    const change = this.#watch.update();
    this.#lookedAt = now;
    if (this.#options.pointer.absolute !== this.#absolute) this.#tellGuest();
    const changed = change.replaced || change.rects.length > 0;
    if (changed) this.#changedAt = now;
    else if (this.#answered === this.#asks) {
      this.#lookIn(now - this.#changedAt > STILL.afterMs ? STILL.lookMs : LOOK_MS);
      return;
    }
    this.#answered = this.#asks;
    this.#post({ kind: 'change', change, answers: this.#asks });
  }

  #stopLooking(): void {
    clearTimeout(this.#looking);
    this.#watch?.close();
    this.#watch = undefined;
  }

  // The guest

  #tellGuest(): void {
    const { keyboard, pointer } = this.#options;
    this.#absolute = pointer.absolute;
    const { scroll, num, caps } = keyboard.leds;
    this.#post({ kind: 'guest', absolute: this.#absolute, leds: { scroll, num, caps } });
  }

  #input(event: InputEvent): void {
    const { keyboard, pointer } = this.#options;
    if (event.kind === 'key') keyboard.key(event.code, event.down);
    else if (pointer.absolute) pointer.place(event.x, event.y, event.wheel, event.buttons);
    else pointer.move(event.dx, event.dy, event.wheel, event.buttons);
  }

  // Viewers on streams

  #write(id: number, bytes: Uint8Array<ArrayBuffer>): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.duplex.write(bytes, (error) => {
      if (!error) this.#post({ kind: 'taken', id, count: bytes.length });
    });
  }

  #handled(id: number, count: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.unhandled -= count;
    if (stream.unhandled <= MOST_UNHANDLED) stream.duplex.resume();
  }

  #end(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.duplex.end();
    setTimeout(() => stream.duplex.destroy(), LINGER_MS).unref();
  }

  /** The thread is no more: nobody can be served. */
  #gone(): void {
    this.#stopLooking();
    this.#viewers = 0;
    this.#closed ??= Promise.resolve();
    for (const { duplex } of this.#streams.values()) duplex.destroy();
    this.#streams.clear();
    this.#onClosed();
  }

  #post(message: ToDisplay, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }
}
