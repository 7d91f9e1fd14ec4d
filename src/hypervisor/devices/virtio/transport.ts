import type { AccessSize, BusDevice } from '../../machine/bus.ts';
import type { GuestLog } from '../../machine/log.ts';
import type { GuestMemory } from '../../machine/memory.ts';
import type { Stateful, StateValue } from '../../machine/state.ts';
import type { PciCapability, PciDescriptor, PciSlot } from '../pci.ts';
import type { VirtioDevice } from './device.ts';
import { RING_EVENT_IDX, RING_INDIRECT_DESC, Virtqueue, type VirtqueueState } from './queue.ts';

const VENDOR_VIRTIO = 0x1af4;
const DEVICE_ID_BASE = 0x1040;

export const VIRTIO_F_VERSION_1 = 1n << 32n;
const VIRTIO_F_RING_RESET = 1n << 40n;
const TRANSPORT_FEATURES = VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET | RING_INDIRECT_DESC | RING_EVENT_IDX;

const STATUS_DRIVER_OK = 0x04;
const STATUS_FEATURES_OK = 0x08;
const STATUS_NEEDS_RESET = 0x40;
const STATUS_DRIVER_BITS = 0x8f;

const NO_VECTOR = 0xffff;
const ISR_QUEUE = 1;
const ISR_CONFIG = 2;

/** Layout of the one BAR; a page for each, as guests may map them apart. */
const BAR = 0;
const MSIX_BAR = 1;
const BAR_SIZE = 0x4000;
const COMMON_AT = 0x0000;
const ISR_AT = 0x1000;
const CONFIG_AT = 0x2000;
const NOTIFY_AT = 0x3000;
const REGION = 0x1000;
const NOTIFY_MULTIPLIER = 4;
/** Through queue_reset, § 4.1.4.3. */
const COMMON_LENGTH = 0x3c;

/** § 4.1.4: cfg_type. */
const CAP_COMMON = 1;
const CAP_NOTIFY = 2;
const CAP_ISR = 3;
const CAP_DEVICE = 4;
const CAP_PCI = 5;
const CAP_ID_VENDOR = 0x09;

export type VirtioPciState = {
  readonly status: number;
  readonly deviceFeatureSelect: number;
  readonly driverFeatureSelect: number;
  readonly driverFeatures: bigint;
  readonly configVector: number;
  readonly queueSelect: number;
  readonly isr: number;
  readonly generation: number;
  readonly access: Uint8Array;
  readonly queues: readonly VirtqueueState[];
  readonly deviceVersion: number;
  readonly device: StateValue;
};

export interface VirtioPciOptions {
  readonly name: string;
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  readonly log: GuestLog;
}

/**
 * Virtio 1.2 over PCI (§ 4.1), modern interface only: the structures lie in
 * one memory BAR, vectors go by MSI-X or, while that is off, by INTx and ISR.
 *
 * The wiring makes a PCI function of `descriptor` and then calls `attach`.
 */
export class VirtioPci implements Stateful<VirtioPciState> {
  readonly stateVersion = 1;
  readonly descriptor: PciDescriptor;

  readonly #name: string;
  readonly #device: VirtioDevice;
  readonly #log: GuestLog;
  readonly #queues: readonly Virtqueue[];
  readonly #offered: bigint;
  readonly #vectors: number;
  #slot: PciSlot | undefined;

  #status = 0;
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #driverFeatures = 0n;
  #configVector = NO_VECTOR;
  #queueSelect = 0;
  #isr = 0;
  #generation = 0;
  /** Of the PCI configuration access capability: bytes 4 to 15, with bar, offset and length. */
  readonly #access = new DataView(new ArrayBuffer(12));

  constructor(options: VirtioPciOptions) {
    const { device } = options;
    this.#name = options.name;
    this.#device = device;
    this.#log = options.log;
    this.#offered = device.features | TRANSPORT_FEATURES;
    this.#vectors = device.queueSizes.length + 1;
    this.#queues = device.queueSizes.map(
      (size, i) => new Virtqueue(options.memory, size, (reason) => this.#fail(`queue ${i}: ${reason}`)),
    );
    const bar: BusDevice = {
      read: (offset, size) => this.#readBar(offset, size),
      write: (offset, size, value) => this.#writeBar(offset, size, value),
    };
    this.descriptor = {
      name: options.name,
      vendorId: VENDOR_VIRTIO,
      deviceId: DEVICE_ID_BASE + device.deviceType,
      revision: 1,
      classCode: device.classCode,
      subsystemVendorId: VENDOR_VIRTIO,
      subsystemId: DEVICE_ID_BASE + device.deviceType,
      interruptPin: 1,
      bars: [{ index: BAR, size: BAR_SIZE, device: bar }],
      capabilities: this.#capabilities(),
      msix: { vectors: this.#vectors, bar: MSIX_BAR },
    };
    device.connect({
      memory: options.memory,
      log: options.log,
      queue: (index) => this.#queues[index],
      complete: (queue, head, written) => this.#complete(queue, head, written),
      configChanged: () => this.#configChanged(),
      fail: (reason) => this.#fail(reason),
    });
  }

  /** Connects the interrupts of the PCI function made of `descriptor`. */
  attach(slot: PciSlot): void {
    this.#slot = slot;
  }

  /** A reset of the PCI bus: the device and what it keeps for configuration space. */
  pciReset(): void {
    new Uint8Array(this.#access.buffer).fill(0);
    this.reset();
  }

  /** § 2.4: the device back to power-on, as the driver asks for it by status 0. */
  reset(): void {
    this.#status = 0;
    this.#deviceFeatureSelect = 0;
    this.#driverFeatureSelect = 0;
    this.#driverFeatures = 0n;
    this.#configVector = NO_VECTOR;
    this.#queueSelect = 0;
    this.#clearIsr();
    for (const queue of this.#queues) queue.reset();
    this.#device.reset();
  }

  save(): VirtioPciState {
    return {
      status: this.#status,
      deviceFeatureSelect: this.#deviceFeatureSelect,
      driverFeatureSelect: this.#driverFeatureSelect,
      driverFeatures: this.#driverFeatures,
      configVector: this.#configVector,
      queueSelect: this.#queueSelect,
      isr: this.#isr,
      generation: this.#generation,
      access: new Uint8Array(this.#access.buffer).slice(),
      queues: this.#queues.map((queue) => queue.save()),
      deviceVersion: this.#device.stateVersion,
      device: this.#device.save(),
    };
  }

  /** After the state of the PCI function and of its MSI-X table was restored. */
  restore(state: VirtioPciState): void {
    if (state.deviceVersion !== this.#device.stateVersion || state.queues.length !== this.#queues.length) {
      throw new Error(`${this.#name}: the saved state is of another version (${state.deviceVersion})`);
    }
    this.#status = state.status;
    this.#deviceFeatureSelect = state.deviceFeatureSelect;
    this.#driverFeatureSelect = state.driverFeatureSelect;
    this.#driverFeatures = state.driverFeatures;
    this.#configVector = state.configVector;
    this.#queueSelect = state.queueSelect;
    this.#isr = state.isr;
    this.#generation = state.generation;
    new Uint8Array(this.#access.buffer).set(state.access.subarray(0, 12));
    this.#queues.forEach((queue, i) => {
      queue.setFeatures(this.#driverFeatures);
      queue.restore(state.queues[i]);
    });
    this.#slot?.setIntx(this.#isr !== 0 && !this.#slot.msixEnabled);
    if (this.#status & STATUS_DRIVER_OK) this.#device.activate(this.#driverFeatures);
    this.#device.restore(state.device);
  }

  // Capabilities

  #capabilities(): PciCapability[] {
    const configLength = Math.max(4, this.#device.configLength);
    const notifyLength = NOTIFY_MULTIPLIER * this.#queues.length;
    const window = capability(CAP_PCI, 0, 0, [0]);
    return [
      capability(CAP_COMMON, COMMON_AT, COMMON_LENGTH),
      capability(CAP_NOTIFY, NOTIFY_AT, notifyLength, [NOTIFY_MULTIPLIER]),
      capability(CAP_ISR, ISR_AT, 1),
      capability(CAP_DEVICE, CONFIG_AT, configLength),
      {
        ...window,
        writeMask: new Uint8Array(18).fill(0xff, 2),
        read: (offset, size) => this.#readWindow(offset, size),
        write: (offset, size, value) => this.#writeWindow(offset, size, value),
      },
    ];
  }

  /** § 4.1.4.9: `bar`, `offset` and `length` choose what `pci_cfg_data` stands for. */
  #readWindow(offset: number, size: AccessSize): number | undefined {
    if (offset >= 4 && offset + size <= 16) {
      let value = 0;
      for (let i = 0; i < size; i++) value += this.#access.getUint8(offset - 4 + i) * 2 ** (8 * i);
      return value;
    }
    return offset === 16 && this.#windowOpen(size) ? this.#readBar(this.#windowOffset, size) : undefined;
  }

  #writeWindow(offset: number, size: AccessSize, value: number): void {
    if (offset >= 4 && offset + size <= 16) {
      for (let i = 0; i < size; i++) this.#access.setUint8(offset - 4 + i, (value >>> (8 * i)) & 0xff);
    } else if (offset === 16 && this.#windowOpen(size)) {
      this.#writeBar(this.#windowOffset, size, value);
    }
  }

  get #windowOffset(): number {
    return this.#access.getUint32(4, true);
  }

  #windowOpen(size: AccessSize): boolean {
    const offset = this.#windowOffset;
    const length = this.#access.getUint32(8, true);
    const bar = this.#access.getUint8(0);
    return bar === BAR && length === size && offset % size === 0 && offset + size <= BAR_SIZE;
  }

  // The BAR

  #readBar(offset: number, size: AccessSize): number {
    const at = offset % REGION;
    switch (offset - at) {
      case COMMON_AT:
        return at + size <= COMMON_LENGTH ? this.#readCommon(at, size) : 0;
      case ISR_AT: {
        if (at !== 0) return 0;
        const isr = this.#isr;
        this.#clearIsr();
        return isr;
      }
      case CONFIG_AT:
        return at + size <= this.#device.configLength ? this.#device.readConfig(at, size) : 0;
      default:
        return 0;
    }
  }

  #writeBar(offset: number, size: AccessSize, value: number): void {
    const at = offset % REGION;
    switch (offset - at) {
      case COMMON_AT:
        this.#writeCommon(at, size, value);
        break;
      case CONFIG_AT:
        if (at + size <= this.#device.configLength) this.#device.writeConfig(at, size, value);
        break;
      case NOTIFY_AT: {
        const index = at / NOTIFY_MULTIPLIER;
        if (this.#queues[index]?.enabled && this.#running()) this.#device.notified(index);
        break;
      }
      default:
        break;
    }
  }

  #running(): boolean {
    return (this.#status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)) === STATUS_DRIVER_OK;
  }

  #readCommon(at: number, size: AccessSize): number {
    const image = new DataView(new ArrayBuffer(COMMON_LENGTH));
    const queue = this.#queues[this.#queueSelect];
    image.setUint32(0x00, this.#deviceFeatureSelect, true);
    image.setUint32(0x04, word(this.#offered, this.#deviceFeatureSelect), true);
    image.setUint32(0x08, this.#driverFeatureSelect, true);
    image.setUint32(0x0c, word(this.#driverFeatures, this.#driverFeatureSelect), true);
    image.setUint16(0x10, this.#configVector, true);
    image.setUint16(0x12, this.#queues.length, true);
    image.setUint8(0x14, this.#status);
    image.setUint8(0x15, this.#generation & 0xff);
    image.setUint16(0x16, this.#queueSelect, true);
    if (queue !== undefined) {
      image.setUint16(0x18, queue.size, true);
      image.setUint16(0x1a, queue.vector, true);
      image.setUint16(0x1c, queue.enabled ? 1 : 0, true);
      image.setUint16(0x1e, this.#queueSelect, true);
      [queue.desc, queue.driver, queue.device].forEach((register, i) => {
        image.setUint32(0x20 + 8 * i, register.low, true);
        image.setUint32(0x24 + 8 * i, register.high, true);
      });
      image.setUint16(0x38, this.#queueSelect, true);
    }
    if (size === 1) return image.getUint8(at);
    return size === 2 ? image.getUint16(at, true) : image.getUint32(at, true);
  }

  /** § 4.1.3.1: the driver writes each field at its own width, 64-bit ones as two halves. */
  #writeCommon(at: number, size: AccessSize, value: number): void {
    const before = (this.#status & STATUS_FEATURES_OK) === 0;
    switch (at * 8 + size) {
      case 0x00 * 8 + 4:
        this.#deviceFeatureSelect = value;
        break;
      case 0x08 * 8 + 4:
        this.#driverFeatureSelect = value;
        break;
      case 0x0c * 8 + 4:
        if (before) this.#setDriverFeatures(value);
        break;
      case 0x10 * 8 + 2:
        this.#configVector = this.#vector(value);
        break;
      case 0x14 * 8 + 1:
        this.#writeStatus(value);
        break;
      case 0x16 * 8 + 2:
        this.#queueSelect = value;
        break;
      default:
        if (at >= 0x18) this.#writeQueue(at, size, value);
        break;
    }
  }

  #writeQueue(at: number, size: AccessSize, value: number): void {
    const queue = this.#queues[this.#queueSelect];
    if (queue === undefined) return;
    if (at === 0x1a && size === 2) {
      queue.vector = this.#vector(value);
    } else if (at === 0x3a && size === 2) {
      if (value === 1 && this.#driverFeatures & VIRTIO_F_RING_RESET) {
        queue.reset();
        this.#device.resetQueue(this.#queueSelect);
      }
    } else if (queue.enabled) {
      // § 4.1.4.3.2: where an enabled queue lies does not change.
    } else if (at === 0x18 && size === 2) {
      queue.size = value;
    } else if (at === 0x1c && size === 2) {
      if (value === 1) {
        queue.setFeatures(this.#driverFeatures);
        queue.enable();
      }
    } else if (at >= 0x20 && at < 0x38 && size === 4 && at % 4 === 0) {
      const register = [queue.desc, queue.driver, queue.device][(at - 0x20) >> 3];
      if (at & 4) register.high = value;
      else register.low = value;
    }
  }

  #setDriverFeatures(value: number): void {
    if (this.#driverFeatureSelect > 1) return;
    const shift = BigInt(32 * this.#driverFeatureSelect);
    this.#driverFeatures &= ~(0xffffffffn << shift);
    this.#driverFeatures |= BigInt(value >>> 0) << shift;
  }

  /** § 3.1.1: bits are only ever added; 0 resets. */
  #writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    let added = value & STATUS_DRIVER_BITS & ~this.#status;
    if (added & STATUS_FEATURES_OK && !this.#featuresFit()) added &= ~STATUS_FEATURES_OK;
    if (added & STATUS_DRIVER_OK && ((this.#status | added) & STATUS_FEATURES_OK) === 0) {
      added &= ~STATUS_DRIVER_OK;
    }
    this.#status |= added;
    if (added & STATUS_DRIVER_OK) this.#start();
  }

  #featuresFit(): boolean {
    const wanted = this.#driverFeatures;
    return (wanted & ~this.#offered) === 0n && (wanted & VIRTIO_F_VERSION_1) !== 0n;
  }

  #start(): void {
    for (const queue of this.#queues) queue.setFeatures(this.#driverFeatures);
    this.#device.activate(this.#driverFeatures);
    // Buffers may have been made available before DRIVER_OK, when notifications do not count.
    this.#queues.forEach((queue, index) => {
      if (queue.enabled && this.#running()) this.#device.notified(index);
    });
    if (this.#status & STATUS_NEEDS_RESET) this.#interrupt(this.#configVector, ISR_CONFIG);
  }

  #vector(value: number): number {
    return value < this.#vectors ? value : NO_VECTOR;
  }

  // Interrupts

  #complete(index: number, head: number, written: number): void {
    const queue = this.#queues[index];
    if (queue.push(head, written)) this.#interrupt(queue.vector, ISR_QUEUE);
  }

  #configChanged(): void {
    this.#generation = (this.#generation + 1) & 0xff;
    if (this.#status & STATUS_DRIVER_OK) this.#interrupt(this.#configVector, ISR_CONFIG);
  }

  /** § 2.1.2: told to the driver as a configuration change. */
  #fail(reason: string): void {
    if (this.#status & STATUS_NEEDS_RESET) return;
    this.#status |= STATUS_NEEDS_RESET;
    for (const queue of this.#queues) queue.stop();
    this.#log.guest(`${this.#name}: the driver broke the rules, device needs reset`, { reason });
    if (this.#status & STATUS_DRIVER_OK) this.#interrupt(this.#configVector, ISR_CONFIG);
  }

  #interrupt(vector: number, isr: number): void {
    const slot = this.#slot;
    if (slot?.msixEnabled) {
      if (vector !== NO_VECTOR) slot.notify(vector);
      return;
    }
    this.#isr |= isr;
    slot?.setIntx(true);
  }

  #clearIsr(): void {
    this.#isr = 0;
    this.#slot?.setIntx(false);
  }
}

/** § 4.1.4, struct virtio_pci_cap, without its first two bytes. */
function capability(
  type: number,
  offset: number,
  length: number,
  more: readonly number[] = [],
): PciCapability {
  const bytes = 16 + 4 * more.length;
  const body = new Uint8Array(bytes - 2);
  const view = new DataView(body.buffer);
  view.setUint8(0, bytes);
  view.setUint8(1, type);
  view.setUint8(2, BAR);
  view.setUint32(6, offset, true);
  view.setUint32(10, length, true);
  more.forEach((value, i) => view.setUint32(14 + 4 * i, value, true));
  return { id: CAP_ID_VENDOR, body };
}

/** The 32-bit half of a feature set that a select register names; there are two. */
function word(features: bigint, select: number): number {
  return select > 1 ? 0 : Number((features >> BigInt(32 * select)) & 0xffffffffn);
}
