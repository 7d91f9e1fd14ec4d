declare module '*.css';

/** The parts of noVNC's RFB that the console uses: docs/API.md of the package. */
declare module '@novnc/novnc' {
  export default class RFB extends EventTarget {
    constructor(target: HTMLElement, channel: string | WebSocket, options?: { shared?: boolean });
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
  }
}
