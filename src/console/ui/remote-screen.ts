// Loaded when the first screen is opened.
import { leaveByKey } from './leave-key.ts';
import { PointerLock } from './pointer-lock.ts';
import { RelativeRfb } from './relative-rfb.ts';

export interface RemoteScreen {
  setScaled(scaled: boolean): void;
  focus(): void;
  /** Gives it the mouse alone, in answer to a click. Rejects when the browser does not allow it. */
  lockPointer(): Promise<void>;
  close(): void;
}

export interface RemoteScreenOptions {
  readonly url: string;
  readonly viewOnly: boolean;
  readonly scaled: boolean;
  readonly onOpen: () => void;
  /** @param code of the WebSocket's close (RFC 6455 § 7.4) */
  readonly onClose: (code: number) => void;
  /** The mouse is the screen’s alone, or not any more. */
  readonly onPointerLock: (locked: boolean) => void;
}

/** Puts a machine's screen into an element: one connection, which does not come back by itself. */
export function openScreen(element: HTMLElement, options: RemoteScreenOptions): RemoteScreen {
  const socket = new WebSocket(options.url);
  let code = 0;
  // noVNC does not tell it; it listens after this.
  socket.addEventListener('close', (event) => {
    code = event.code;
  });
  const rfb = new RelativeRfb(element, socket, { shared: true });
  rfb.background = 'transparent';
  rfb.viewOnly = options.viewOnly;
  rfb.showDotCursor = true;
  const scale = (scaled: boolean) => {
    rfb.scaleViewport = scaled;
    rfb.clipViewport = false;
  };
  scale(options.scaled);
  const canvas = element.querySelector('canvas');
  if (canvas === null) throw new Error('noVNC has put no canvas into its element');
  const pointer = new PointerLock(canvas, rfb, options.onPointerLock);
  const stay = leaveByKey(canvas);
  let closed = false;
  rfb.addEventListener('connect', () => options.onOpen());
  rfb.addEventListener('disconnect', () => {
    pointer.dispose();
    if (!closed) options.onClose(code);
    closed = true;
  });
  return {
    setScaled: scale,
    focus: () => rfb.focus(),
    lockPointer: () => pointer.lock(),
    close() {
      pointer.dispose();
      stay();
      if (!closed) rfb.disconnect();
      closed = true;
    },
  };
}
