/**
 * The one door for the outside world (time, input, completions, entropy).
 * Everything the guest could not compute by itself comes through here at a
 * known instruction count, so that it can be recorded.
 */
export interface Door {
  readonly clock: Clock;
  /** Milliseconds since the Unix epoch at this instant of machine time; what an RTC shows. */
  wallClock(): number;
  /** Fills `target` with entropy from the host. */
  random(target: Uint8Array): void;
  /**
   * Opens a named way in. What is posted by a back end, at any time, is handed
   * to `deliver` between two instructions of the guest, in the order posted.
   * Names are unique in a machine, such as `serial0.rx` or `virtio-blk0.done`.
   */
  port<T extends DoorPayload>(name: string, deliver: (payload: T) => void): DoorPort<T>;
}

/** What may pass the door: plain data, so that it can be written down. */
export type DoorPayload =
  | number
  | string
  | boolean
  | null
  | Uint8Array
  | { readonly [key: string]: DoorPayload | undefined }
  | readonly DoorPayload[];

export interface DoorPort<T extends DoorPayload> {
  post(payload: T): void;
}

/** Machine time: nanoseconds since power-on, not counting the time the machine was paused. */
export interface Clock {
  /** An integer ≥ 0 that never decreases. */
  now(): number;
  /** A timer that calls `fire` between two guest instructions, once `now()` has reached its deadline. */
  timer(name: string, fire: () => void): Timer;
}

export interface Timer {
  /** Absolute deadline in nanoseconds of machine time; a deadline in the past fires as soon as it can. Replaces an earlier one. */
  arm(deadline: number): void;
  cancel(): void;
  /** The armed deadline, or undefined. */
  readonly deadline: number | undefined;
}
