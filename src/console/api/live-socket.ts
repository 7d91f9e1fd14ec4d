import { CONSOLE_CLOSE } from '../../contracts/console.ts';
import { BackOff } from './back-off.ts';

/** `refused`: cut off because the key or session is over. It tries again all the same, as somebody may have signed in. */
export type SocketState = 'connecting' | 'open' | 'lost' | 'refused' | 'ended';

export interface LiveSocketOptions {
  /** Asked before each try, so that it can say where to go on. */
  readonly url: () => string;
  readonly onState: (state: SocketState, reason: string) => void;
  readonly onOpen?: () => void;
  readonly onMessage: (data: string | ArrayBuffer) => void;
  /** Whether a close with this code is the end, not a break. */
  readonly isEnd?: (code: number) => boolean;
}

/** A WebSocket that comes back by itself: with growing waits, or at once when the network returns. */
export class LiveSocket {
  readonly #options: LiveSocketOptions;
  readonly #backOff = new BackOff();
  #socket: WebSocket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(options: LiveSocketOptions) {
    this.#options = options;
    globalThis.addEventListener('online', this.#again);
    this.#connect();
  }

  /** @returns whether it was sent; while there is no connection nothing is kept. */
  send(data: Uint8Array<ArrayBuffer>): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(data);
    return true;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    globalThis.removeEventListener('online', this.#again);
    this.#socket?.close();
  }

  readonly #again = (): void => {
    if (this.#closed || this.#socket?.readyState === WebSocket.OPEN) return;
    this.#backOff.reset();
    clearTimeout(this.#timer);
    this.#connect();
  };

  #connect(): void {
    const before = this.#socket;
    const socket = new WebSocket(this.#options.url());
    this.#socket = socket;
    before?.close();
    socket.binaryType = 'arraybuffer';
    this.#options.onState('connecting', '');
    socket.onopen = () => {
      if (this.#socket !== socket || this.#closed) return;
      this.#backOff.reset();
      this.#options.onState('open', '');
      this.#options.onOpen?.();
    };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (this.#socket === socket && !this.#closed) this.#options.onMessage(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.#socket !== socket || this.#closed) return;
      if (this.#options.isEnd?.(code)) {
        this.close();
        this.#options.onState('ended', reason);
        return;
      }
      this.#options.onState(code === CONSOLE_CLOSE.unauthorized ? 'refused' : 'lost', reason);
      this.#timer = setTimeout(() => this.#connect(), this.#backOff.next());
    };
  }
}
