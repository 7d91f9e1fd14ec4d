import type { AccessSize } from '../../machine/bus.ts';
import type { GuestLog } from '../../machine/log.ts';
import type { GuestMemory } from '../../machine/memory.ts';
import type { Stateful, StateValue } from '../../machine/state.ts';
import type { Virtqueue } from './queue.ts';

/** What a virtio device is behind its transport. */
export interface VirtioDevice<S extends StateValue = StateValue> extends Stateful<S> {
  /** Virtio 1.2 § 5. */
  readonly deviceType: number;
  /** PCI class code, 24 bits. */
  readonly classCode: number;
  /** Feature bits of the device type; the transport adds its own. */
  readonly features: bigint;
  /** Greatest size of each queue: powers of two, at most 1024. */
  readonly queueSizes: readonly number[];
  /** Length of the device configuration, in bytes. */
  readonly configLength: number;
  readConfig(offset: number, size: AccessSize): number;
  writeConfig(offset: number, size: AccessSize, value: number): void;
  /** The one call before all others. */
  connect(host: VirtioHost): void;
  /** The driver set DRIVER_OK with these features. */
  activate(features: bigint): void;
  /** The driver made buffers available; called after `activate` alone. */
  notified(queue: number): void;
  /** The queue is taken away: requests of it are dropped. */
  resetQueue(queue: number): void;
  /** Back to power-on; requests in flight are dropped. */
  reset(): void;
}

/** What the transport is to a device. */
export interface VirtioHost {
  readonly memory: GuestMemory;
  readonly log: GuestLog;
  queue(index: number): Virtqueue;
  /** Gives a request back and interrupts the driver as it asked. */
  complete(queue: number, head: number, written: number): void;
  /** The device configuration changed by itself. */
  configChanged(): void;
  /** Sets DEVICE_NEEDS_RESET: the driver broke the rules. */
  fail(reason: string): void;
}
