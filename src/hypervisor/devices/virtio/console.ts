import type { ByteInput, ByteSink } from '../../backends/streams.ts';
import type { AccessSize } from '../../machine/bus.ts';
import type { Door, DoorPort } from '../../machine/door.ts';
import { HostInput, type HostInputState, type Mark } from '../host-input.ts';
import { readBytes } from './config.ts';
import type { VirtioDevice, VirtioHost } from './device.ts';

const DEVICE_TYPE = 3;
/** Communication controller, other. */
const CLASS_CODE = 0x078000;
const QUEUE_SIZE = 128;
const RECEIVE = 0;
const TRANSMIT = 1;

const F_SIZE = 1n << 0n;
const F_EMERG_WRITE = 1n << 2n;

/** Offsets of struct virtio_console_config, virtio 1.2 § 5.3.4. */
const CONFIG_LENGTH = 12;
const CONFIG_EMERG_WRITE = 8;

const OUTPUT_BATCH = 16384;
/** Of one request: drivers send a page or a few; a chain could name RAM many times over. */
const TRANSMIT_LIMIT = 1 << 20;

export interface VirtioConsoleOptions {
  /** Names the ways in through the door: `<name>.rx`, `<name>.tx` and `<name>.size`. */
  readonly name: string;
  readonly door: Door;
  readonly sink: ByteSink;
  readonly columns?: number;
  readonly rows?: number;
}

export type VirtioConsoleState = {
  readonly columns: number;
  readonly rows: number;
  readonly waiting: HostInputState;
};

/**
 * The console device with one port, virtio 1.2 § 5.3. Host bytes wait, up to
 * 64 KiB, for the driver's receive buffers; while the sink asks to hold, the
 * driver's transmit buffers stay in the queue.
 */
export class VirtioConsole implements VirtioDevice<VirtioConsoleState> {
  readonly stateVersion = 1;
  readonly deviceType = DEVICE_TYPE;
  readonly classCode = CLASS_CODE;
  readonly features = F_SIZE | F_EMERG_WRITE;
  readonly queueSizes: readonly number[] = [QUEUE_SIZE, QUEUE_SIZE];
  readonly configLength = CONFIG_LENGTH;
  /** The host's end of the receive direction. */
  readonly input: ByteInput;

  readonly #sink: ByteSink;
  readonly #waiting: HostInput;
  readonly #size: DoorPort<readonly number[]>;
  #host: VirtioHost | undefined;
  #active = false;
  #columns: number;
  #rows: number;
  #held = false;
  #output: Uint8Array[] = [];
  #outputLength = 0;

  constructor(options: VirtioConsoleOptions) {
    this.#sink = options.sink;
    this.#columns = options.columns ?? 80;
    this.#rows = options.rows ?? 25;
    const { door, name } = options;
    const receive = door.port<Uint8Array | Mark>(`${name}.rx`, (bytes) => {
      this.#waiting.arrived(bytes);
      this.#receive();
    });
    const hold = door.port<boolean>(`${name}.tx`, (full) => {
      this.#held = full;
      if (!full) this.#transmit();
    });
    this.#size = door.port<readonly number[]>(`${name}.size`, ([columns, rows]) => {
      this.#columns = columns & 0xffff;
      this.#rows = rows & 0xffff;
      this.#host?.configChanged();
    });
    this.#sink.onPressure?.((full) => hold.post(full));
    this.#waiting = new HostInput(receive);
    this.input = this.#waiting;
  }

  /** Tells the guest the size of the host's terminal, in characters. */
  resize(columns: number, rows: number): void {
    this.#size.post([columns, rows]);
  }

  /** Hands what the guest has sent to the sink; to be called once per slice. */
  flush(): void {
    if (this.#outputLength === 0) return;
    const parts = this.#output;
    this.#output = [];
    this.#outputLength = 0;
    for (const part of parts) this.#sink.write(part);
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  readConfig(offset: number, size: AccessSize): number {
    const image = new Uint8Array(CONFIG_LENGTH);
    const view = new DataView(image.buffer);
    view.setUint16(0, this.#columns, true);
    view.setUint16(2, this.#rows, true);
    return readBytes(image, offset, size);
  }

  /** § 5.3.4: an emergency write works before the driver is up. */
  writeConfig(offset: number, _size: AccessSize, value: number): void {
    if (offset === CONFIG_EMERG_WRITE) this.#emit(Uint8Array.of(value & 0xff));
  }

  activate(): void {
    this.#active = true;
  }

  notified(queue: number): void {
    if (queue === RECEIVE) this.#receive();
    else this.#transmit();
  }

  resetQueue(): void {}

  reset(): void {
    this.#active = false;
  }

  save(): VirtioConsoleState {
    return { columns: this.#columns, rows: this.#rows, waiting: this.#waiting.save() };
  }

  restore(state: VirtioConsoleState): void {
    this.#columns = state.columns;
    this.#rows = state.rows;
    this.#waiting.restore(state.waiting);
    this.#held = false;
    this.#transmit();
  }

  #receive(): void {
    const host = this.#host;
    if (host === undefined || !this.#active) return;
    while (!this.#waiting.empty) {
      const chain = host.queue(RECEIVE).pop();
      if (chain === undefined) break;
      // A buffer with no room would otherwise be asked for again and again.
      if (chain.writableLength === 0) return host.fail('receive buffer without a writable part');
      let filled = 0;
      for (;;) {
        const bytes = this.#waiting.take(chain.writableLength - filled);
        if (!(bytes instanceof Uint8Array)) break;
        filled += chain.write(filled, bytes);
      }
      host.complete(RECEIVE, chain.head, filled);
    }
    this.#waiting.relieve();
  }

  #transmit(): void {
    const host = this.#host;
    if (host === undefined || !this.#active) return;
    const queue = host.queue(TRANSMIT);
    for (let n = 0; n < queue.maxSize && !this.#held; n++) {
      const chain = queue.pop();
      if (chain === undefined) return;
      const length = chain.readableLength;
      if (length > TRANSMIT_LIMIT) return host.fail(`transmit request of ${length} bytes`);
      for (let at = 0; at < length; at += OUTPUT_BATCH) {
        this.#emit(chain.read(at, Math.min(OUTPUT_BATCH, length - at)));
      }
      host.complete(TRANSMIT, chain.head, 0);
    }
  }

  #emit(bytes: Uint8Array): void {
    this.#output.push(bytes);
    this.#outputLength += bytes.length;
    if (this.#outputLength >= OUTPUT_BATCH) this.flush();
  }
}
