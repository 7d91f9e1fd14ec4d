import type { VmExit } from '../../src/contracts/channel.ts';
import type { VmProcessConfig } from '../../src/contracts/vm-process.ts';
import type { MachineConfig } from '../../src/hypervisor/index.ts';
import { createMachine, isCpuProfile } from '../../src/hypervisor/index.ts';

/** What a VM process needs of a machine; the hypervisor's own face is adapted to it here and nowhere else. */
export interface VmMachine {
  readonly engine: string;
  /** How it ended by itself: `reset` asks for a new machine in its place. */
  readonly exited: Promise<VmExit | { readonly kind: 'reset' }>;
  start(): void;
  pause(): Promise<void>;
  resume(): void;
  reset(): void;
  powerButton(): void;
  dispose(): Promise<void>;
  /** Offers bytes to the serial line; returns how many, from the first, it took. */
  offerInput(bytes: Uint8Array): number;
  /** Calls back once there is room again after `offerInput` took less than all. */
  onInputDrained(listener: () => void): void;
  stats(): { readonly wallSeconds: number; readonly cpuSeconds: number; readonly instructions: number };
}

function isEngine(name: string): name is NonNullable<MachineConfig['engine']> {
  return name === 'auto' || name === 'interpret';
}

/**
 * Builds the machine of a VM. Rejects with an error fit for the VM's owner
 * when its kernel cannot be read or loaded or its memory cannot be had.
 */
export async function openMachine(
  config: VmProcessConfig,
  output: (bytes: Uint8Array) => void,
  log: (message: string) => void,
): Promise<VmMachine> {
  const { memoryMiB, boot, engine, cpu, cacheFolder } = config;
  if (!isEngine(engine)) throw new Error(`the engine ${engine} is not available on this host`);
  if (!isCpuProfile(cpu)) throw new Error(`the processor profile ${cpu} is not known on this host`);
  const machine = await createMachine(
    { memoryMiB, boot, engine, cpu },
    { serial: { write: output }, log, cacheFolder },
  );
  return {
    engine: 'interpret',
    exited: machine.exited,
    start: () => machine.start(),
    pause: () => machine.pause(),
    resume: () => machine.resume(),
    reset: () => machine.reset(),
    powerButton: () => machine.powerButton(),
    dispose: () => machine.dispose(),
    offerInput: (bytes) => machine.serialInput.offer(bytes),
    onInputDrained: (listener) => machine.serialInput.onDrained(listener),
    stats: () => machine.stats(),
  };
}
