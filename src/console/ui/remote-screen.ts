// Loaded when the first screen is opened.
import RFB from '@novnc/novnc';

export interface RemoteScreen {
  setScaled(scaled: boolean): void;
  focus(): void;
  close(): void;
}

export interface RemoteScreenOptions {
  readonly url: string;
  readonly viewOnly: boolean;
  readonly scaled: boolean;
  readonly onOpen: () => void;
  readonly onClose: () => void;
}

/** Puts a machine's screen into an element: one connection, which does not come back by itself. */
export function openScreen(element: HTMLElement, options: RemoteScreenOptions): RemoteScreen {
  const rfb = new RFB(element, options.url, { shared: true });
  rfb.background = 'transparent';
  rfb.viewOnly = options.viewOnly;
  rfb.showDotCursor = true;
  const scale = (scaled: boolean) => {
    rfb.scaleViewport = scaled;
    rfb.clipViewport = false;
  };
  scale(options.scaled);
  let closed = false;
  rfb.addEventListener('connect', () => options.onOpen());
  rfb.addEventListener('disconnect', () => {
    if (!closed) options.onClose();
    closed = true;
  });
  return {
    setScaled: scale,
    focus: () => rfb.focus(),
    close() {
      if (!closed) rfb.disconnect();
      closed = true;
    },
  };
}
