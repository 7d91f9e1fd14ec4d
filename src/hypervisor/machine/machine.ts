import type { DiskBackend } from '../backends/disk.ts';
import type { DriveTraffic } from '../backends/drive-traffic.ts';
import type { KeyboardInput, PointerInput } from '../backends/input.ts';
import type { Screen } from '../backends/screen.ts';
import type { ByteInput } from '../backends/streams.ts';
import type { CpuEngine, SliceEnd } from '../cpu/engine.ts';
import type { Tray } from '../devices/ide/tray.ts';
import type { InstructionClock } from './instruction-clock.ts';
import type { MachineDoor } from './machine-door.ts';
import type { PacedIo } from './paced-io.ts';
import type { Pc } from './pc.ts';

/** How a machine ended by itself. */
export type MachineExit =
  | { readonly kind: 'power-off' }
  /** The guest asked for a reset: a new machine takes this one's place. */
  | { readonly kind: 'reset' }
  | { readonly kind: 'triple-fault'; readonly detail: string }
  /** A write to isa-debug-exit; the status as a process would have it. */
  | { readonly kind: 'debug-exit'; readonly status: number }
  | { readonly kind: 'error'; readonly message: string };

export interface MachineStats {
  /** Since `start`, pauses included. */
  readonly wallSeconds: number;
  /** Host processor time of this process since then, user and system. */
  readonly cpuSeconds: number;
  /** Guest instructions retired. */
  readonly instructions: number;
  /** Instructions by engine tier. */
  readonly tiers: Readonly<Record<string, number>>;
  /** How often the engine was left, by reason. */
  readonly exits: Readonly<Record<string, number>>;
  /** Of the disks, in the order of the machine's configuration. */
  readonly disks: readonly DriveTraffic[];
  /** Undefined without a CD-ROM drive. */
  readonly cdrom: DriveTraffic | undefined;
}

/** A slice at least, and at most; between them, as long as until the next timer. Instructions. */
const SLICE = { least: 2_000, most: 400_000, first: 20_000 } as const;
/** Milliseconds of guest code between two turns of the event loop. */
const TURN_MS = 4;

export interface MachineParts {
  readonly door: MachineDoor;
  readonly pc: Pc;
  readonly engine: CpuEngine;
  readonly memory: WebAssembly.Memory;
  readonly disks: readonly DiskBackend[];
  /** What the guest's clock structures need after time stood still. */
  readonly onResume: () => void;
  /** Firmware's part at the end of a sleep: puts the processor where the guest wants to be woken; false when that is nowhere. */
  readonly onWake: () => boolean;
  /** The processor's position, for messages. */
  readonly whereabouts: () => string;
  /** Where time comes from when it is the processor's instructions and not the host's clock. */
  readonly own?: OwnTime | undefined;
}

/** Time that comes from the instructions run. */
export interface OwnTime {
  readonly clock: InstructionClock;
  readonly io: PacedIo;
}

/**
 * A machine: its parts and the loop that runs them. Between two slices of the
 * processor what came from outside is let in; a halted processor sleeps until
 * the next timer or arrival.
 */
export class Machine {
  /** Resolves once, when the machine ends by itself. */
  readonly exited: Promise<MachineExit>;
  /** Bytes for the serial line. */
  readonly serialInput: ByteInput;
  /** What it shows; undefined without a video adapter. */
  readonly screen: Screen | undefined;
  readonly keyboard: KeyboardInput;
  readonly pointer: PointerInput;
  /** The CD-ROM drive's; undefined without a drive. The disc in it is closed with the machine. */
  readonly tray: Tray | undefined;
  readonly #parts: MachineParts;
  readonly #resolveExit: (exit: MachineExit) => void;
  #exit: MachineExit | undefined;
  #state: 'new' | 'running' | 'paused' | 'ended' = 'new';
  /** The guest's own sleep (S3): asked for, then entered. */
  #suspend: 'no' | 'asked' | 'asleep' = 'no';
  /** Something has come that ends it. */
  #woken = false;
  #loop: Promise<void> = Promise.resolve();
  #wake: (() => void) | undefined;
  #startedAt = 0;
  #cpuAtStart: NodeJS.CpuUsage = process.cpuUsage();
  #halts = 0;
  #slices = 0;
  /** Instructions a millisecond, from the last slices. */
  #rate = SLICE.first;
  /** Ticks of the processor at which the machine pauses by itself. */
  #until = Number.POSITIVE_INFINITY;
  /** The guest waits for the host: the event loop's turn comes at once. */
  #yields = false;
  /** Machine time up to which the slice under way may last. */
  #sliceEnds = 0;

  constructor(parts: MachineParts) {
    this.#parts = parts;
    this.serialInput = parts.pc.serial.input;
    this.screen = parts.pc.screen;
    this.keyboard = parts.pc.keyboard;
    this.pointer = parts.pc.pointer;
    this.tray = parts.pc.tray;
    const { promise, resolve } = Promise.withResolvers<MachineExit>();
    this.exited = promise;
    this.#resolveExit = resolve;
    parts.door.onArrival(() => this.#wake?.());
    parts.own?.io.onRoom(() => this.#wake?.());
    // A timer that is armed within a slice and due before its end ends it: the next one lasts until the timer.
    parts.door.onArmed((deadline) => {
      if (deadline < this.#sliceEnds) parts.engine.requestStop();
    });
  }

  get state(): 'new' | 'running' | 'paused' | 'ended' {
    return this.#state;
  }

  start(): void {
    if (this.#state !== 'new') return;
    this.#startedAt = performance.now();
    this.#cpuAtStart = process.cpuUsage();
    this.#run();
  }

  /** Resolves when no instruction runs any more; machine time stands still then. */
  async pause(): Promise<void> {
    if (this.#state !== 'running') return;
    this.#state = 'paused';
    this.#parts.engine.requestStop();
    this.#wake?.();
    await this.#loop;
    this.#parts.door.pause();
  }

  resume(): void {
    if (this.#state === 'paused') this.#run();
  }

  /** Processor state and RAM where they lie (cpu/layout.ts), for tools that look into a machine that is paused. */
  get memory(): WebAssembly.Memory {
    return this.#parts.memory;
  }

  /** What time comes from in a machine with `icount`: see CpuEngine. */
  get ticks(): number {
    return this.#parts.engine.ticks;
  }

  /**
   * Starts or resumes a machine with `icount` until the processor has come to
   * so many ticks, exactly; it is paused then, unless it ended before.
   */
  async runTo(ticks: number): Promise<void> {
    if (!this.#parts.own) throw new Error('only a machine with icount stops at an instruction');
    if (ticks <= this.ticks) return;
    this.#until = ticks;
    if (this.#state === 'new') this.start();
    else this.resume();
    await this.#loop;
    this.#until = Number.POSITIVE_INFINITY;
  }

  /** The reset button. */
  reset(): void {
    this.end({ kind: 'reset' });
  }

  /** Presses the ACPI power button: a guest that listens shuts down. */
  powerButton(): void {
    this.#parts.pc.powerButton.post(null);
  }

  /** Pulls the plug and gives everything back. */
  async dispose(): Promise<void> {
    if (this.#state === 'running') this.#parts.engine.requestStop();
    this.#state = 'ended';
    this.#wake?.();
    await this.#loop;
    const { door, pc } = this.#parts;
    this.#parts.own?.io.release();
    // What is on its way to a disk arrives there first.
    door.onArrival(() => door.pump());
    door.pump();
    await pc.quiesce();
    pc.flush();
    await Promise.all([this.#parts.engine.dispose(), ...this.#parts.disks.map((disk) => disk.close())]);
    // It may have come later than the others.
    await pc.tray?.disc?.close();
  }

  /** Ends the machine from within; the first reason counts. */
  end(exit: MachineExit): void {
    if (this.#exit) return;
    this.#exit = exit;
    this.#parts.engine.requestStop();
    this.#wake?.();
    if (this.#state !== 'running') this.#finish(exit);
  }

  /** A device is asked again and again for what only the host can give it. Time of the machine's own does not wait for that. */
  yield(): void {
    if (this.#parts.own) return;
    this.#yields = true;
    this.#parts.engine.requestStop();
  }

  /** The guest suspends to RAM: nothing runs behind the instruction under way. */
  suspend(): void {
    if (this.#suspend !== 'no') return;
    this.#suspend = 'asked';
    this.#woken = false;
    this.#parts.engine.requestStop();
  }

  /** Whether it sleeps: nothing runs until the chipset wakes it. */
  get suspended(): boolean {
    return this.#suspend === 'asleep';
  }

  /** Ends that; may come right behind `suspend`. */
  wakeUp(): void {
    this.#woken = true;
    this.#wake?.();
  }

  stats(): MachineStats {
    const { engine, pc } = this.#parts;
    const cpu = process.cpuUsage(this.#cpuAtStart);
    return {
      wallSeconds: this.#startedAt === 0 ? 0 : (performance.now() - this.#startedAt) / 1000,
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      instructions: engine.instructions,
      tiers: engine.tiers(),
      exits: { slices: this.#slices, halts: this.#halts, pio: pc.pio.accesses, ...engine.counters() },
      disks: pc.disks.map(({ traffic }) => ({ ...traffic })),
      cdrom: pc.cdrom && { ...pc.cdrom.traffic },
    };
  }

  #run(): void {
    this.#state = 'running';
    this.#parts.door.resume();
    // Time that comes from instructions has not stood still for the guest.
    if (!this.#parts.own) this.#parts.onResume();
    this.#loop = this.#turns()
      .catch((error: unknown) => {
        this.#exit ??= {
          kind: 'error',
          message: error instanceof Error ? (error.stack ?? error.message) : String(error),
        };
      })
      .then(() => {
        if (this.#exit) this.#finish(this.#exit);
      });
  }

  #finish(exit: MachineExit): void {
    this.#state = 'ended';
    this.#parts.door.pause();
    this.#parts.pc.flush();
    this.#resolveExit(exit);
  }

  get #going(): boolean {
    return this.#state === 'running' && !this.#exit;
  }

  /** Turns of the event loop, each with a few milliseconds of slices, until the machine pauses or ends. */
  async #turns(): Promise<void> {
    const { door, pc, own } = this.#parts;
    while (this.#going) {
      const end = performance.now() + TURN_MS;
      let halted = false;
      this.#yields = false;
      while (this.#going && !halted) {
        door.pump();
        if (own && (own.io.due || own.io.full)) break;
        halted = (this.#suspended() || this.#slice() === 'halted') && !this.#skipIdle();
        if (performance.now() >= end || door.hasArrivals || this.#yields) break;
      }
      pc.flush();
      if (!this.#going) return;
      if (own?.io.due) await own.io.settle();
      else if (own?.io.full) await this.#room(own.io);
      else if (halted) await this.#sleep();
      else await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  /** Whether the guest is suspended to RAM, and so no instruction runs; falls asleep and wakes up. */
  #suspended(): boolean {
    if (this.#suspend === 'no') return false;
    const { pc } = this.#parts;
    if (this.#suspend === 'asked') {
      this.#suspend = 'asleep';
      pc.sleep();
    }
    if (!this.#woken) return true;
    this.#suspend = 'no';
    pc.wake();
    if (this.#parts.onWake()) return false;
    // A guest that left no waking vector starts anew, as on a PC.
    this.end({ kind: 'reset' });
    return true;
  }

  /** The processor waits: with time of its own the next timer comes at once. False when there is none. */
  #skipIdle(): boolean {
    const { door, own } = this.#parts;
    const { deadline } = door;
    if (!own || deadline === undefined || !this.#going) return false;
    own.clock.skip(deadline - door.clock.now());
    this.#halts += 1;
    return true;
  }

  /** Until no stream of the host's is full any more, or something else comes. */
  async #room(io: PacedIo): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    if (io.full) await promise;
    this.#wake = undefined;
  }

  #slice(): SliceEnd {
    const { door, engine, own } = this.#parts;
    const before = performance.now();
    const retired = engine.instructions;
    const deadline = door.deadline;
    const milliseconds = deadline === undefined ? 2 : Math.min(2, (deadline - door.clock.now()) / 1e6);
    const budget = Math.min(SLICE.most, Math.max(SLICE.least, Math.floor(milliseconds * this.#rate)));
    const end = own ? this.#exactly(own.clock, budget) : this.#about(budget);
    this.#slices += 1;
    const took = performance.now() - before;
    const done = engine.instructions - retired;
    if (end === 'budget' && took > 0.01) this.#rate += (done / took - this.#rate) / 8;
    if (end === 'triple-fault') {
      this.end({
        kind: 'triple-fault',
        detail: `a fault could not be delivered, nor the double fault; ${this.#parts.whereabouts()}`,
      });
    }
    return end;
  }

  /** Runs about so many instructions. */
  #about(budget: number): SliceEnd {
    const { door, engine } = this.#parts;
    this.#sliceEnds = door.clock.now() + (budget / this.#rate) * 1e6;
    door.beginSlice(() => engine.requestStop());
    try {
      return engine.run(budget);
    } finally {
      door.endSlice();
      this.#sliceEnds = 0;
    }
  }

  /** Runs until the next timer's instruction, or where it is to pause, and not longer than `most` ticks. */
  #exactly(clock: InstructionClock, most: number): SliceEnd {
    const { door, engine } = this.#parts;
    const now = door.clock.now();
    const { deadline } = door;
    const ticks = Math.min(
      most,
      this.#until - engine.ticks,
      deadline === undefined ? most : clock.ticksIn(deadline - now),
    );
    this.#sliceEnds = now + ticks * clock.nanoseconds;
    const end = engine.runExactly(ticks);
    this.#sliceEnds = 0;
    if (engine.ticks >= this.#until && this.#state === 'running') {
      this.#state = 'paused';
      door.pause();
    }
    return end;
  }

  /** Until the next timer, an arrival, or whatever else wakes the machine. */
  async #sleep(): Promise<void> {
    const { door } = this.#parts;
    if (door.hasArrivals) return;
    this.#halts += 1;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const deadline = door.deadline;
    const left = deadline === undefined ? undefined : (deadline - door.clock.now()) / 1e6;
    // Host timers have whole milliseconds; what is nearer than that waits for the next turn of the event loop.
    const near = left !== undefined && left < 0.5 ? setImmediate(resolve) : undefined;
    const timer =
      left !== undefined && !near ? setTimeout(resolve, Math.min(Math.ceil(left), 0x7fff_ffff)) : undefined;
    // Without a timer nothing would keep the process up for a guest that only waits for input.
    const alive = left === undefined ? setInterval(() => {}, 0x7fff_ffff) : undefined;
    try {
      await promise;
    } finally {
      this.#wake = undefined;
      clearImmediate(near);
      clearTimeout(timer);
      clearInterval(alive);
    }
  }
}
