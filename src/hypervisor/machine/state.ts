/** State as a device writes it down: named fields, plain data. */
export type StateValue =
  | number
  | bigint
  | string
  | boolean
  | null
  | Uint8Array
  | readonly StateValue[]
  | { readonly [name: string]: StateValue };

/**
 * A part of the machine that can be written down and brought back. Live
 * handles (buses, lines, back ends) are constructor arguments, never state.
 */
export interface Stateful<S extends StateValue = StateValue> {
  /** Of this device's state alone; raised when its fields change meaning. */
  readonly stateVersion: number;
  save(): S;
  /** Brings back what `save` wrote, re-arms timers and re-drives lines. */
  restore(state: S): void;
}
