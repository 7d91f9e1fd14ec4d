/** What the interrupt controllers have for the processor. */
export type InterruptKind = 'none' | 'extint' | 'fixed' | 'nmi' | 'smi' | 'init' | 'sipi';

/** Bits of what the processor cannot take now, for `poll`: maskable interrupts, NMI. */
export const BLOCKED = { maskable: 1, nmi: 2 } as const;

/** The processor's side of its local APIC. */
export interface InterruptSource {
  /** The most urgent thing to deliver that is not `blocked` (bits of BLOCKED); what TPR holds back is not told. */
  poll(blocked?: number): InterruptKind;
  /** Takes what `poll` told and gives its vector. */
  acknowledge(kind?: InterruptKind): number;
}

/** Why a slice ended. */
export type SliceEnd =
  /** The instructions asked for were run. */
  | 'budget'
  /** The processor waits for an interrupt. */
  | 'halted'
  /** `requestStop` was called. */
  | 'stopped'
  /** A fault while delivering a double fault. */
  | 'triple-fault';

/**
 * A processor: runs a slice, takes an interrupt, has a whole architectural
 * state. The state block in the machine's memory is the state; an engine that
 * keeps registers elsewhere writes them there before a slice ends.
 */
export interface CpuEngine {
  readonly name: 'interpret' | 'translate' | 'kvm';
  /** Runs at most about `instructions`; sooner when halted or asked to stop. */
  run(instructions: number): SliceEnd;
  /**
   * Runs until `ticks` has grown by so much, not one instruction more, or
   * sooner: when halted or asked to stop.
   */
  runExactly(ticks: number): SliceEnd;
  /** Asks a running slice to end behind the current instruction; called by devices from within it. */
  requestStop(): void;
  /** Tells that the interrupt source may have something new. */
  interruptsChanged(): void;
  /** Bytes of RAM were written by somebody else than the processor. */
  memoryWritten(gpa: number, length: number): void;
  /** Brings everything cached into line with a state block that was written from outside (reset, restore, firmware). */
  stateChanged(): void;
  /** Instructions retired since the engine was made. */
  readonly instructions: number;
  /**
   * Time in instructions, up to date within a slice too: one for each that is
   * retired, one for an exception, and what a long string instruction costs
   * each time that it gives way. The same for every engine at the same place
   * of the same program.
   */
  readonly ticks: number;
  /** Gives back what the engine has beside the machine's memory; it runs nothing any more. */
  dispose(): Promise<void>;
  counters(): Readonly<Record<string, number>>;
  /** The same instructions by tier; by the engine's name where tiers are not counted. */
  tiers(): Readonly<Record<string, number>>;
}
