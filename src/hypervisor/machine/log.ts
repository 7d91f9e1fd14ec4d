/** A log that a guest can reach only through a rate limit. */
export interface GuestLog {
  /** For what a guest provoked: limited to a few lines a second per machine, the rest counted. */
  guest(message: string, details?: Record<string, unknown>): void;
  /** For what the host did or failed to do. */
  host(message: string, details?: Record<string, unknown>): void;
}
