declare module '*.css';

/**
 * The parts of noVNC's RFB that the console uses: docs/API.md of the package, and those with an underscore, which are
 * its own affair and may change with its version (ui/relative-rfb.ts).
 */
declare module '@novnc/novnc' {
  /** Its side of the connection, as its messages want it. */
  interface Sock {
    readonly sQpush8: (value: number) => void;
  }

  export default class RFB extends EventTarget {
    constructor(target: HTMLElement, channel: string | WebSocket, options?: { shared?: boolean });
    static readonly messages: {
      clientEncodings(sock: Sock, encodings: readonly number[]): void;
      pointerEvent(sock: Sock, x: number, y: number, mask: number): void;
      extendedPointerEvent(sock: Sock, x: number, y: number, mask: number): void;
    };
    background: string;
    clipViewport: boolean;
    dragViewport: boolean;
    scaleViewport: boolean;
    viewOnly: boolean;
    qualityLevel: number;
    compressionLevel: number;
    showDotCursor: boolean;
    disconnect(): void;
    focus(): void;
    blur(): void;
    protected readonly _sock: Sock;
    protected readonly _FBU: { readonly encoding: number; readonly x: number };
    protected readonly _fbWidth: number;
    protected readonly _fbHeight: number;
    protected readonly _extendedPointerEventSupported: boolean;
    protected readonly _rfbConnectionState: string;
    protected _sendEncodings(): void;
    protected _handleRect(): boolean;
  }
}
