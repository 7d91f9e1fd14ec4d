/** The bytes from and to one viewer, whatever carries them. */
export interface Wire {
  /** Bytes written and not yet taken by the other side's system. */
  readonly backlog: number;
  /** Bytes taken, ever: how a slow viewer differs from one that stands still. */
  readonly taken: number;
  write(bytes: Uint8Array<ArrayBuffer>): void;
  /** Asks for no more bytes for now; a few may still come. */
  pause(): void;
  resume(): void;
  /** Ends it once what was written is taken, or at once when that does not happen soon. */
  close(): void;
}
