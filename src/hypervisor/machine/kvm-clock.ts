import type { Door } from './door.ts';
import type { GuestMemory } from './memory.ts';
import type { Stateful } from './state.ts';
import type { Tsc } from './tsc.ts';

/** MSRs of the KVM clock, and of what KVM has beside it (Linux Documentation/virt/kvm/x86/msr.rst). */
const MSR = { wallClock: 0x4b564d00, systemTime: 0x4b564d01, asyncPageFaults: 0x4b564d02 } as const;
/** Bits 5 and 4. */
const ASYNC_RESERVED = 0x30n;
const TSC_STABLE = 1;

export type KvmClockState = {
  readonly wallClock: bigint;
  readonly systemTime: bigint;
  readonly asyncPageFaults: bigint;
};

/**
 * The paravirtual clock: a structure in guest memory that turns the TSC into
 * nanoseconds of machine time. Since the TSC runs at a fixed rate, it is
 * written once for each write of its MSR, and again after a pause or restore.
 *
 * A guest may also ask for asynchronous page faults, although CPUID does not
 * offer them: KVM takes that, and none ever comes where guest memory is always
 * there.
 */
export class KvmClock implements Stateful<KvmClockState> {
  readonly stateVersion = 2;
  readonly #door: Door;
  readonly #memory: GuestMemory;
  readonly #tsc: Tsc;
  #wallClock = 0n;
  #systemTime = 0n;
  #asyncPageFaults = 0n;

  constructor(door: Door, memory: GuestMemory, tsc: Tsc) {
    this.#door = door;
    this.#memory = memory;
    this.#tsc = tsc;
  }

  read(index: number): bigint | undefined {
    if (index === MSR.wallClock) return this.#wallClock;
    if (index === MSR.systemTime) return this.#systemTime;
    if (index === MSR.asyncPageFaults) return this.#asyncPageFaults;
    return undefined;
  }

  /** False when the MSR is not one of these, or the value not one for it. */
  write(index: number, value: bigint): boolean {
    if (index === MSR.wallClock) {
      this.#wallClock = value;
      this.#writeWallClock(Number(value));
      return true;
    }
    if (index === MSR.systemTime) {
      this.#systemTime = value;
      this.refresh();
      return true;
    }
    if (index === MSR.asyncPageFaults && (value & ASYNC_RESERVED) === 0n) {
      this.#asyncPageFaults = value;
      return true;
    }
    return false;
  }

  /** Writes the time structure anew, if the guest asked for one. */
  refresh(): void {
    if ((this.#systemTime & 1n) === 0n) return;
    const at = Number(this.#systemTime & ~1n);
    const version = (this.#memory.readU32(at) & ~1) + 2;
    const { multiplier, shift } = this.#tsc.scale();
    const now = this.#door.clock.now();
    // An odd version says that the structure is being written.
    this.#memory.writeU32(at, version - 1);
    this.#memory.writeU64(at + 8, this.#tsc.at(now));
    this.#memory.writeU64(at + 16, BigInt(now));
    this.#memory.writeU32(at + 24, multiplier);
    this.#memory.writeU8(at + 28, shift & 0xff);
    this.#memory.writeU8(at + 29, TSC_STABLE);
    this.#memory.writeU32(at, version);
  }

  /** As at power-on: no structure is kept up to date. */
  reset(): void {
    this.#wallClock = 0n;
    this.#systemTime = 0n;
    this.#asyncPageFaults = 0n;
  }

  /** The calendar at machine time 0. */
  #writeWallClock(at: number): void {
    const milliseconds = this.#door.wallClock() - this.#door.clock.now() / 1e6;
    const seconds = Math.floor(milliseconds / 1000);
    this.#memory.writeU32(at, 1);
    this.#memory.writeU32(at + 4, seconds >>> 0);
    this.#memory.writeU32(at + 8, Math.floor((milliseconds - seconds * 1000) * 1e6));
    this.#memory.writeU32(at, 2);
  }

  save(): KvmClockState {
    return {
      wallClock: this.#wallClock,
      systemTime: this.#systemTime,
      asyncPageFaults: this.#asyncPageFaults,
    };
  }

  restore(state: KvmClockState): void {
    this.#wallClock = state.wallClock;
    this.#systemTime = state.systemTime;
    this.#asyncPageFaults = state.asyncPageFaults;
    this.refresh();
  }
}
