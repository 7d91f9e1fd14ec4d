import type { DiskBackend } from '../../backends/disk.ts';
import { type DriveTraffic, TrafficCounter } from '../../backends/drive-traffic.ts';
import type { AccessSize } from '../../machine/bus.ts';
import type { Door, DoorPort } from '../../machine/door.ts';
import { readBytes } from './config.ts';
import type { VirtioDevice, VirtioHost } from './device.ts';
import type { DescriptorChain } from './queue.ts';

const DEVICE_TYPE = 2;
/** Mass storage controller, SCSI: what guests are used to see a virtio disk as. */
const CLASS_CODE = 0x010000;
const QUEUE = 0;
const QUEUE_SIZE = 256;
export const SECTOR_BYTES = 512;

const F_SEG_MAX = 1n << 2n;
const F_RO = 1n << 5n;
const F_BLK_SIZE = 1n << 6n;
const F_FLUSH = 1n << 9n;
const F_TOPOLOGY = 1n << 10n;
const F_CONFIG_WCE = 1n << 11n;
const F_DISCARD = 1n << 13n;
const F_WRITE_ZEROES = 1n << 14n;

/** Request types and status, virtio 1.2 § 5.2.6. */
const T_IN = 0;
const T_OUT = 1;
const T_FLUSH = 4;
const T_GET_ID = 8;
const T_DISCARD = 11;
const T_WRITE_ZEROES = 13;
const S_OK = 0;
const S_IOERR = 1;
const S_UNSUPP = 2;

const HEADER_BYTES = 16;
const SEGMENT_BYTES = 16;
const ID_BYTES = 20;
const FLAG_UNMAP = 1;

/** Room for the header and the status in an indirect table of the queue's size. */
const SEG_MAX = QUEUE_SIZE - 2;
const MAX_DISCARD_SECTORS = 1 << 21;
const MAX_DISCARD_SEGMENTS = 16;
const CONFIG_LENGTH = 60;
const CONFIG_WRITEBACK = 32;

/** A larger request is carried out in pieces of this size, one after the other. */
const PIECE_BYTES = 1 << 20;
/** Bytes of data that all requests in flight may hold in the host's memory at once. */
const IN_FLIGHT_BYTES = 16 << 20;

export interface VirtioBlockOptions {
  /** Names the way in through the door: `<name>.done`. */
  readonly name: string;
  readonly door: Door;
  readonly disk: DiskBackend;
  /** What GET_ID answers: up to 20 ASCII characters. Default: the name. */
  readonly serial?: string;
}

export type VirtioBlockState = {
  readonly writeback: boolean;
  /** First descriptors of the requests in flight; they are begun again. */
  readonly inFlight: readonly number[];
};

/** A range of the disk that a discard or write-zeroes request names. */
interface Segment {
  readonly offset: number;
  readonly length: number;
  readonly unmap: boolean;
}

interface Request {
  readonly id: number;
  readonly head: number;
  readonly chain: DescriptorChain;
  readonly type: number;
  /** Byte offset on the disk. */
  readonly offset: number;
  /** Bytes of data. */
  readonly length: number;
  readonly segments: readonly Segment[];
  readonly held: number;
  done: number;
}

/** A piece of work came to its end: what passes the door. */
type Completion = { readonly id: number; readonly ok: boolean; readonly data: Uint8Array | null };

/**
 * The block device, virtio 1.2 § 5.2. Requests run side by side on the back
 * end; data passes through host buffers, so guest memory changes only when a
 * completion comes through the door.
 */
export class VirtioBlock implements VirtioDevice<VirtioBlockState> {
  readonly stateVersion = 1;
  readonly deviceType = DEVICE_TYPE;
  readonly classCode = CLASS_CODE;
  readonly features: bigint;
  readonly queueSizes: readonly number[] = [QUEUE_SIZE];
  readonly configLength = CONFIG_LENGTH;

  readonly #traffic = new TrafficCounter();
  readonly #disk: DiskBackend;
  readonly #id: Uint8Array;
  readonly #done: DoorPort<Completion>;
  #host: VirtioHost | undefined;
  #active = false;
  #features = 0n;
  #writeback = true;
  #nextId = 1;
  readonly #requests = new Map<number, Request>();
  #heldBytes = 0;
  /** Back-end calls of requests that a reset dropped: what comes after waits for them. */
  #dropped = 0;
  #underWay = new Set<number>();
  #idle: (() => void)[] = [];

  constructor(options: VirtioBlockOptions) {
    this.#disk = options.disk;
    this.#id = new Uint8Array(ID_BYTES);
    new TextEncoder().encodeInto((options.serial ?? options.name).replace(/[^ -~]/g, '?'), this.#id);
    this.#done = options.door.port<Completion>(`${options.name}.done`, (c) => this.#completed(c));
    const writable = F_DISCARD | F_WRITE_ZEROES;
    const access = this.#disk.readOnly ? F_RO : writable;
    this.features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE | access;
  }

  get traffic(): DriveTraffic {
    return this.#traffic;
  }

  /** Resolves when no request is in flight: for a snapshot or an orderly close of the back end. */
  quiesce(): Promise<void> {
    if (this.#underWay.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  connect(host: VirtioHost): void {
    this.#host = host;
  }

  /** struct virtio_blk_config, § 5.2.4. */
  readConfig(offset: number, size: AccessSize): number {
    const image = new Uint8Array(CONFIG_LENGTH);
    const view = new DataView(image.buffer);
    view.setBigUint64(0, BigInt(this.#capacity()), true);
    view.setUint32(12, SEG_MAX, true);
    view.setUint32(20, SECTOR_BYTES, true);
    // Topology: physical blocks of 2^3 sectors, aligned; the best request is such a block or more.
    view.setUint8(24, 3);
    view.setUint16(26, 8, true);
    view.setUint32(28, 0, true);
    view.setUint8(CONFIG_WRITEBACK, this.#writeback ? 1 : 0);
    view.setUint16(34, 1, true);
    if (!this.#disk.readOnly) {
      view.setUint32(36, MAX_DISCARD_SECTORS, true);
      view.setUint32(40, MAX_DISCARD_SEGMENTS, true);
      view.setUint32(44, 8, true);
      view.setUint32(48, MAX_DISCARD_SECTORS, true);
      view.setUint32(52, MAX_DISCARD_SEGMENTS, true);
      view.setUint8(56, 1);
    }
    return readBytes(image, offset, size);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    if (offset === CONFIG_WRITEBACK && size === 1 && this.#features & F_CONFIG_WCE) {
      this.#writeback = (value & 1) !== 0;
    }
  }

  /** § 5.2.5.2: a driver that took neither FLUSH nor CONFIG_WCE gets a write-through disk. */
  activate(features: bigint): void {
    this.#active = true;
    this.#features = features;
    if ((features & F_CONFIG_WCE) === 0n) this.#writeback = (features & F_FLUSH) !== 0n;
  }

  notified(): void {
    this.#take();
  }

  resetQueue(): void {
    this.#drop();
  }

  reset(): void {
    this.#active = false;
    this.#features = 0n;
    this.#writeback = true;
    this.#drop();
  }

  save(): VirtioBlockState {
    return { writeback: this.#writeback, inFlight: [...this.#requests.values()].map((r) => r.head) };
  }

  restore(state: VirtioBlockState): void {
    this.#drop();
    this.#writeback = state.writeback;
    const queue = this.#host?.queue(QUEUE);
    for (const head of state.inFlight.slice(0, QUEUE_SIZE)) {
      const chain = queue?.open(head);
      if (chain !== undefined) this.#accept(chain);
    }
    this.#take();
  }

  #capacity(): number {
    return Math.floor(this.#disk.size / SECTOR_BYTES);
  }

  /** Begins what the driver made available, as far as buffers go. */
  #take(): void {
    const host = this.#host;
    if (host === undefined || !this.#active || this.#dropped > 0) return;
    const queue = host.queue(QUEUE);
    for (let n = 0; n < QUEUE_SIZE; n++) {
      // A driver that makes a descriptor available twice cannot have more in flight than there are.
      if (this.#heldBytes >= IN_FLIGHT_BYTES || this.#requests.size >= QUEUE_SIZE) return;
      const chain = queue.pop();
      if (chain === undefined) return;
      this.#accept(chain);
    }
  }

  #accept(chain: DescriptorChain): void {
    if (chain.readableLength < HEADER_BYTES || chain.writableLength < 1) {
      this.#host?.fail('block request without header or status');
      return;
    }
    const header = new DataView(chain.read(0, HEADER_BYTES).buffer);
    const type = header.getUint32(0, true);
    const sector = header.getUint32(8, true) + header.getUint32(12, true) * 2 ** 32;
    const out = chain.readableLength - HEADER_BYTES;
    const room = chain.writableLength - 1;
    switch (type) {
      case T_IN:
        return this.#transfer(chain, type, sector, room);
      case T_OUT:
        return this.#disk.readOnly
          ? this.#finish(chain, S_IOERR, 0)
          : this.#transfer(chain, type, sector, out);
      case T_FLUSH:
        return this.#begin(chain, type, 0, 0, []);
      case T_GET_ID:
        if (room < ID_BYTES) return this.#finish(chain, S_IOERR, 0);
        return this.#finish(chain, S_OK, chain.write(0, this.#id));
      case T_DISCARD:
      case T_WRITE_ZEROES:
        return this.#ranges(chain, type, out);
      default:
        return this.#finish(chain, S_UNSUPP, 0);
    }
  }

  #transfer(chain: DescriptorChain, type: number, sector: number, length: number): void {
    const end = sector + length / SECTOR_BYTES;
    if (length % SECTOR_BYTES !== 0 || end > this.#capacity()) return this.#finish(chain, S_IOERR, 0);
    if (length === 0) return this.#finish(chain, S_OK, 0);
    this.#begin(chain, type, sector * SECTOR_BYTES, length, []);
  }

  /** § 5.2.6.2: struct virtio_blk_discard_write_zeroes, one or more. */
  #ranges(chain: DescriptorChain, type: number, length: number): void {
    if (this.#disk.readOnly) return this.#finish(chain, S_IOERR, 0);
    const count = length / SEGMENT_BYTES;
    if (!Number.isInteger(count) || count < 1 || count > MAX_DISCARD_SEGMENTS) {
      return this.#finish(chain, S_IOERR, 0);
    }
    const view = new DataView(chain.read(HEADER_BYTES, length).buffer);
    const segments: Segment[] = [];
    for (let i = 0; i < count; i++) {
      const at = SEGMENT_BYTES * i;
      const sector = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
      const sectors = view.getUint32(at + 8, true);
      const flags = view.getUint32(at + 12, true);
      const known = type === T_WRITE_ZEROES ? FLAG_UNMAP : 0;
      if (flags & ~known) return this.#finish(chain, S_UNSUPP, 0);
      if (sectors > MAX_DISCARD_SECTORS || sector + sectors > this.#capacity()) {
        return this.#finish(chain, S_IOERR, 0);
      }
      segments.push({
        offset: sector * SECTOR_BYTES,
        length: sectors * SECTOR_BYTES,
        unmap: (flags & FLAG_UNMAP) !== 0,
      });
    }
    this.#begin(chain, type, 0, 0, segments);
  }

  #begin(
    chain: DescriptorChain,
    type: number,
    offset: number,
    length: number,
    segments: readonly Segment[],
  ): void {
    const id = this.#nextId++;
    const held = Math.min(length, PIECE_BYTES);
    this.#heldBytes += held;
    const request: Request = { id, head: chain.head, chain, type, offset, length, segments, held, done: 0 };
    this.#requests.set(id, request);
    this.#step(request);
  }

  /** Starts the next piece of a request on the back end. */
  #step(request: Request): void {
    const { id } = request;
    const work = this.#work(request);
    this.#underWay.add(id);
    work.then(
      (data) => this.#done.post({ id, ok: true, data }),
      (error: unknown) => {
        this.#host?.log.host('disk request failed', { type: request.type, error: String(error) });
        this.#done.post({ id, ok: false, data: null });
      },
    );
  }

  async #work(request: Request): Promise<Uint8Array | null> {
    const { type, offset, length, done } = request;
    const piece = Math.min(PIECE_BYTES, length - done);
    switch (type) {
      case T_IN: {
        const data = new Uint8Array(piece);
        await this.#disk.readAt(offset + done, data);
        return data;
      }
      case T_OUT:
        await this.#disk.writeAt(offset + done, request.chain.read(HEADER_BYTES + done, piece));
        if (!this.#writeback && done + piece === length) await this.#disk.flush();
        return null;
      case T_FLUSH:
        await this.#disk.flush();
        return null;
      default: {
        for (const segment of request.segments) {
          if (type === T_DISCARD) await this.#disk.discard(segment.offset, segment.length);
          else await this.#disk.writeZeroes(segment.offset, segment.length, segment.unmap);
        }
        if (!this.#writeback) await this.#disk.flush();
        return null;
      }
    }
  }

  #completed({ id, ok, data }: Completion): void {
    this.#underWay.delete(id);
    const request = this.#requests.get(id);
    if (request === undefined) {
      if (this.#dropped > 0) this.#dropped -= 1;
    } else {
      this.#advance(request, ok, data);
    }
    this.#take();
    if (this.#underWay.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #advance(request: Request, ok: boolean, data: Uint8Array | null): void {
    if (data !== null) request.chain.write(request.done, data);
    const piece = Math.min(PIECE_BYTES, request.length - request.done);
    request.done += piece;
    if (ok) this.#count(request, piece);
    if (ok && request.done < request.length) return this.#step(request);
    this.#requests.delete(request.id);
    this.#heldBytes -= request.held;
    const written = ok && request.type === T_IN ? request.length : 0;
    this.#finish(request.chain, ok ? S_OK : S_IOERR, written);
  }

  #count({ type, done, length }: Request, piece: number): void {
    if (type === T_IN) this.#traffic.read(piece, done === length);
    else if (type === T_OUT) this.#traffic.wrote(piece, done === length);
  }

  /** The status is the last writable byte. */
  #finish(chain: DescriptorChain, status: number, written: number): void {
    chain.write(chain.writableLength - 1, Uint8Array.of(status));
    this.#host?.complete(QUEUE, chain.head, written + 1);
  }

  #drop(): void {
    // A request between two pieces has a call under way too: each has exactly one.
    this.#dropped += this.#requests.size;
    this.#requests.clear();
    this.#heldBytes = 0;
  }
}
