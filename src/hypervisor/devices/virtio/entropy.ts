import type { AccessSize } from '../../machine/bus.ts';
import type { Door } from '../../machine/door.ts';
import type { VirtioDevice, VirtioHost } from './device.ts';

const DEVICE_TYPE = 4;
/** "Other" system peripheral is what entropy devices are given. */
const CLASS_CODE = 0x00ff00;
const QUEUE_SIZE = 64;
/** Most bytes for one request: a driver may get fewer than it asked for (virtio 1.2 § 5.4.6). */
const REQUEST_LIMIT = 4096;

/** The entropy device, virtio 1.2 § 5.4, fed by the door's random source. */
export class VirtioEntropy implements VirtioDevice<null> {
  readonly stateVersion = 1;
  readonly deviceType = DEVICE_TYPE;
  readonly classCode = CLASS_CODE;
  readonly features = 0n;
  readonly queueSizes: readonly number[] = [QUEUE_SIZE];
  readonly configLength = 0;
  readonly #door: Door;
  #host: VirtioHost | undefined;

  constructor(door: Door) {
    this.#door = door;
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  readConfig(_offset: number, _size: AccessSize): number {
    return 0;
  }

  writeConfig(): void {}

  activate(): void {}

  notified(index: number): void {
    const host = this.#host;
    if (host === undefined) return;
    const queue = host.queue(index);
    for (let n = 0; n < queue.maxSize; n++) {
      const chain = queue.pop();
      if (chain === undefined) return;
      const bytes = new Uint8Array(Math.min(chain.writableLength, REQUEST_LIMIT));
      this.#door.random(bytes);
      host.complete(index, chain.head, chain.write(0, bytes));
    }
  }

  resetQueue(): void {}

  reset(): void {}

  save(): null {
    return null;
  }

  restore(): void {}
}
