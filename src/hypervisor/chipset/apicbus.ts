/**
 * The interrupt bus: what carries messages between local APICs, I/O APICs and
 * message-signalled interrupts, and gives local APICs access to the 8259's
 * vector. Sources: Intel SDM vol. 3, 11.6 (interprocessor interrupts), 11.11
 * (message signalled interrupts), 11.12.10 (x2APIC destinations).
 *
 * Deviations:
 * - Lowest priority: the local APIC with the lowest processor priority wins;
 *   among equals they take turns.
 * - An I/O APIC or MSI message, whose destination has 8 bits, reaches local
 *   APICs in x2APIC mode with IDs 0-254; FFh in physical mode is a broadcast.
 */
import type { MsiSink } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';

/** Delivery modes as encoded in the ICR, LVT, redirection entries and MSI data. */
export const DeliveryMode = {
  fixed: 0,
  lowest: 1,
  smi: 2,
  nmi: 4,
  init: 5,
  startup: 6,
  extint: 7,
} as const;

/** Physical destination "all local APICs", in whatever width the sender has. */
export const APIC_BROADCAST = 0xffffffff;

export interface ApicMessage {
  /** 0-255. */
  readonly vector: number;
  /** 0-7, see DeliveryMode. */
  readonly mode: number;
  readonly logical: boolean;
  /** APIC ID (physical; APIC_BROADCAST for all) or logical destination, unsigned 32 bits. */
  readonly destination: number;
  readonly level: boolean;
}

/** Where interrupt messages are sent. */
export interface ApicBus {
  /** True when at least one local APIC took it (also when it merged with a pending one). */
  deliver(message: ApicMessage): boolean;
}

/** What the bus needs of a local APIC. */
export interface BusApic {
  /** Whether it is addressed; a local APIC that is disabled by IA32_APIC_BASE never is. */
  matches(destination: number, logical: boolean): boolean;
  /** Whether fixed interrupts are accepted at all (software-enabled). */
  readonly acceptsFixed: boolean;
  /** PPR, 0-255. */
  readonly processorPriority: number;
  accept(mode: number, vector: number, level: boolean): boolean;
}

interface EoiListener {
  endOfInterrupt(vector: number): void;
}

/** The controller that answers an ExtINT acknowledge cycle: the 8259 pair. */
export interface ExtIntSource {
  acknowledge(): number;
}

/** What a local APIC may ask of the bus. */
export interface LocalApicBus extends ApicBus {
  /** To every local APIC but `sender`. */
  deliverToOthers(sender: BusApic, mode: number, vector: number, level: boolean): void;
  deliverToAll(mode: number, vector: number, level: boolean): void;
  endOfInterrupt(vector: number): void;
  acknowledgeExtInt(): number;
}

export type InterruptBusState = { readonly turn: number };

export class InterruptBus implements LocalApicBus, MsiSink, Stateful<InterruptBusState> {
  readonly stateVersion = 1;
  readonly #apics: BusApic[] = [];
  readonly #ioApics: EoiListener[] = [];
  #extInt: ExtIntSource | undefined;
  /** Index of the local APIC that last won an arbitration among equals. */
  #turn = 0;

  addLocalApic(apic: BusApic): void {
    this.#apics.push(apic);
  }

  addIoApic(ioApic: EoiListener): void {
    this.#ioApics.push(ioApic);
  }

  /** Names the 8259 pair; without one an ExtINT acknowledge gives FFh, what a floating bus reads as. */
  connectPic(pic: ExtIntSource): void {
    this.#extInt = pic;
  }

  deliver(message: ApicMessage): boolean {
    if (message.mode === DeliveryMode.lowest) return this.#deliverLowest(message);
    let accepted = false;
    for (const apic of this.#apics) {
      if (!apic.matches(message.destination, message.logical)) continue;
      if (apic.accept(message.mode, message.vector, message.level)) accepted = true;
    }
    return accepted;
  }

  deliverToOthers(sender: BusApic, mode: number, vector: number, level: boolean): void {
    for (const apic of this.#apics) {
      if (apic !== sender && apic.matches(APIC_BROADCAST, false)) apic.accept(mode, vector, level);
    }
  }

  deliverToAll(mode: number, vector: number, level: boolean): void {
    this.deliver({ vector, mode, logical: false, destination: APIC_BROADCAST, level });
  }

  /**
   * A message-signalled interrupt (SDM vol. 3, 11.11). Address: bits 19-12
   * destination, bit 3 redirection hint, bit 2 destination mode. Data: bits
   * 7-0 vector, 10-8 delivery mode, 14 assert, 15 level-triggered. Writes
   * outside FEExxxxxh are no interrupts and are dropped.
   */
  send(address: number, data: number): void {
    if (address >>> 20 !== 0xfee) return;
    const level = (data & 0x8000) !== 0;
    if (level && !(data & 0x4000)) return;
    const logical = (address & 4) !== 0;
    const destination = (address >>> 12) & 0xff;
    const mode = (data >>> 8) & 7;
    const toOneOfMany = (address & 8) !== 0 && logical && mode === DeliveryMode.fixed;
    this.deliver({
      vector: data & 0xff,
      mode: toOneOfMany ? DeliveryMode.lowest : mode,
      logical,
      destination: !logical && destination === 0xff ? APIC_BROADCAST : destination,
      level,
    });
  }

  endOfInterrupt(vector: number): void {
    for (const ioApic of this.#ioApics) ioApic.endOfInterrupt(vector);
  }

  acknowledgeExtInt(): number {
    return this.#extInt ? this.#extInt.acknowledge() & 0xff : 0xff;
  }

  save(): InterruptBusState {
    return { turn: this.#turn };
  }

  restore(state: InterruptBusState): void {
    this.#turn = state.turn;
  }

  #deliverLowest(message: ApicMessage): boolean {
    const count = this.#apics.length;
    let winner = -1;
    let best = 0x100;
    for (let step = 1; step <= count; step++) {
      const index = (this.#turn + step) % count;
      const apic = this.#apics[index];
      if (!apic.acceptsFixed || !apic.matches(message.destination, message.logical)) continue;
      const priority = apic.processorPriority;
      if (priority < best) {
        best = priority;
        winner = index;
      }
    }
    if (winner < 0) return false;
    this.#turn = winner;
    return this.#apics[winner].accept(DeliveryMode.lowest, message.vector, message.level);
  }
}
