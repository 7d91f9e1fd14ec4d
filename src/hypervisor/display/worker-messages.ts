import type { KeyboardLeds, KeyCode } from '../backends/input.ts';
import type { ScreenChange } from '../backends/screen.ts';
import type { PointerMove } from './viewer-pointer.ts';

/** Where viewers may connect: a TCP port, 0 for any, or a Unix socket. */
export type ListenAddress = { readonly port: number; readonly host?: string } | { readonly path: string };

/** What the display's thread is started with. */
export interface DisplaySettings {
  readonly name: string;
  readonly keymap: string;
  readonly listen: ListenAddress | undefined;
}

/** From the machine's thread to the display's. Viewers that are attached there are numbered. */
export type ToDisplay =
  /** `answers`: the last look that had been asked for when this one was made. */
  | { readonly kind: 'change'; readonly change: ScreenChange; readonly answers: number }
  | { readonly kind: 'guest'; readonly absolute: boolean; readonly leds: KeyboardLeds }
  | { readonly kind: 'attach'; readonly id: number; readonly viewOnly: boolean }
  | { readonly kind: 'bytes'; readonly id: number; readonly bytes: Uint8Array<ArrayBuffer> }
  /** The stream has taken so many bytes. */
  | { readonly kind: 'taken'; readonly id: number; readonly count: number }
  | { readonly kind: 'ended'; readonly id: number }
  | { readonly kind: 'close' };

/** From the display's thread to the machine's. */
export type FromDisplay =
  /** `port` is there for TCP. */
  | { readonly kind: 'listening'; readonly port?: number }
  | { readonly kind: 'failed'; readonly message: string }
  /** `asks` counts the looks that are wanted whether anything has changed or not. */
  | { readonly kind: 'want'; readonly afterMs: number | undefined; readonly asks: number }
  | { readonly kind: 'viewers'; readonly count: number }
  | { readonly kind: 'input'; readonly events: readonly InputEvent[] }
  | { readonly kind: 'log'; readonly message: string; readonly details: Record<string, unknown> | undefined }
  | { readonly kind: 'bytes'; readonly id: number; readonly bytes: Uint8Array<ArrayBuffer> }
  /** So many of the stream's bytes are handled: more may come. */
  | { readonly kind: 'handled'; readonly id: number; readonly count: number }
  | { readonly kind: 'end'; readonly id: number }
  | { readonly kind: 'closed' };

/** What a viewer did. */
export type InputEvent =
  | { readonly kind: 'key'; readonly code: KeyCode; readonly down: boolean }
  | ({ readonly kind: 'move' } & PointerMove);
