/** What hangs on one of the controller's two connectors. */
export interface Ps2Device {
  /** Whether it has a byte to send. */
  readonly ready: boolean;
  /** Sends a byte, when it has one. */
  take(): number | undefined;
  /** Receives a byte from the controller. */
  receive(byte: number): void;
  /** Has the controller told when there is a byte to take. */
  onReady(listener: () => void): void;
}

/** Replies that keyboard and mouse have in common. */
export const REPLY = { ack: 0xfa, resend: 0xfe, failed: 0xfc, selfTestPassed: 0xaa } as const;
