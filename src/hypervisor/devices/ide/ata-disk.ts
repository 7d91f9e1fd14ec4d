import type { DiskBackend } from '../../backends/disk.ts';
import { type DriveOptions, IdeDrive, PIECE_BYTES } from './drive.ts';
import { type Geometry, type Identity, identifyDisk, LBA28_SECTORS } from './identify.ts';
import { ERROR, REGISTER, STATUS } from './registers.ts';
import { POWER_ON_MODES, selectMode } from './transfer-modes.ts';

export const SECTOR_BYTES = 512;
/** Sectors a block of READ MULTIPLE may have. */
const MOST_MULTIPLE = 16;
const MAX_LBA48_SECTORS = 2 ** 48;
const PIECE_SECTORS = PIECE_BYTES / SECTOR_BYTES;

/** What a command that reaches the disk does there. */
const ACTIONS = ['none', 'read', 'write', 'verify', 'flush'] as const;
type Action = (typeof ACTIONS)[number];

/** How its data reach the guest. */
type Way = 'pio' | 'multiple' | 'dma';

interface Access {
  readonly action: Action;
  readonly way: Way;
  /** 48-bit addressing. */
  readonly extended: boolean;
  /** Written through to the disk, whatever the cache is set to. */
  readonly through?: boolean;
}

/** ATA/ATAPI-6, table of command codes (annex B); `W` with retries as without. */
const ACCESSES: ReadonlyMap<number, Access> = new Map<number, Access>([
  [0x20, { action: 'read', way: 'pio', extended: false }],
  [0x21, { action: 'read', way: 'pio', extended: false }],
  [0x24, { action: 'read', way: 'pio', extended: true }],
  [0x25, { action: 'read', way: 'dma', extended: true }],
  [0x29, { action: 'read', way: 'multiple', extended: true }],
  [0x30, { action: 'write', way: 'pio', extended: false }],
  [0x31, { action: 'write', way: 'pio', extended: false }],
  [0x34, { action: 'write', way: 'pio', extended: true }],
  [0x35, { action: 'write', way: 'dma', extended: true }],
  [0x39, { action: 'write', way: 'multiple', extended: true }],
  [0x3d, { action: 'write', way: 'dma', extended: true, through: true }],
  [0xce, { action: 'write', way: 'multiple', extended: true, through: true }],
  [0x40, { action: 'verify', way: 'pio', extended: false }],
  [0x41, { action: 'verify', way: 'pio', extended: false }],
  [0x42, { action: 'verify', way: 'pio', extended: true }],
  [0xc4, { action: 'read', way: 'multiple', extended: false }],
  [0xc5, { action: 'write', way: 'multiple', extended: false }],
  [0xc8, { action: 'read', way: 'dma', extended: false }],
  [0xc9, { action: 'read', way: 'dma', extended: false }],
  [0xca, { action: 'write', way: 'dma', extended: false }],
  [0xcb, { action: 'write', way: 'dma', extended: false }],
]);

export interface AtaDiskOptions extends DriveOptions {
  readonly disk: DiskBackend;
  /** What IDENTIFY DEVICE tells: up to 20 ASCII characters. Default: the name. */
  readonly serial?: string;
}

export type AtaDiskState = {
  readonly action: string;
  readonly dma: boolean;
  readonly extended: boolean;
  readonly through: boolean;
  readonly lba: number;
  readonly left: number;
  readonly block: number;
  readonly heads: number;
  readonly sectors: number;
  readonly multiple: number;
  readonly writeCache: boolean;
  readonly lookAhead: boolean;
  readonly keepSettings: boolean;
  readonly multiword: number | null;
  readonly ultra: number | null;
  readonly standby: boolean;
};

/**
 * An ATA disk: ATA/ATAPI-6 (T13/1410D), the general feature set with 48-bit
 * addressing, power management and the write cache.
 *
 * Deviations:
 * - When the back end fails within a transfer, the address told is that of the
 *   first sector of the piece (up to 1 MiB) that failed.
 * - Writes to a read-only disk are aborted; ATA has no write protection that
 *   the host could see beforehand.
 * - Standby and idle take no time, and their timers never fire.
 * - No SMART, security, host protected area, media card or streaming sets:
 *   their commands are aborted, as by a drive without them.
 */
export class AtaDisk extends IdeDrive {
  readonly #disk: DiskBackend;
  readonly #sectors: number;
  readonly #identity: Identity;
  readonly #defaultGeometry: Geometry;
  #geometry: Geometry;
  #multiple = 0;
  #writeCache = true;
  #lookAhead = true;
  /** Settings survive a software reset: SET FEATURES 66h. */
  #keepSettings = false;
  #modes = POWER_ON_MODES;
  #standby = false;

  // The command under way.
  #action: Action = 'none';
  #dma = false;
  #extended = false;
  #through = false;
  /** First sector of the piece that the back end or the guest has now. */
  #lba = 0;
  /** Sectors from there on. */
  #left = 0;
  /** Sectors a block of the data port. */
  #block = 1;

  constructor(options: AtaDiskOptions) {
    super(options);
    this.#disk = options.disk;
    this.#sectors = Math.min(Math.floor(options.disk.size / SECTOR_BYTES), MAX_LBA48_SECTORS);
    this.#identity = { model: 'TEREMOK HARDDISK', serial: options.serial ?? options.name };
    this.#defaultGeometry = geometryOf(this.#sectors);
    this.#geometry = this.#defaultGeometry;
    this.endReset(true);
  }

  protected signature(): boolean {
    this.registers.setSignature(0, 0);
    return true;
  }

  protected resetOwn(power: boolean): void {
    this.#action = 'none';
    this.#standby = false;
    if (this.#keepSettings && !power) return;
    this.#keepSettings = false;
    this.#geometry = this.#defaultGeometry;
    this.#multiple = 0;
    this.#writeCache = true;
    this.#lookAhead = true;
    if (power) this.#modes = POWER_ON_MODES;
  }

  protected execute(command: number): void {
    const access = ACCESSES.get(command);
    if (access) return this.#access(access);
    switch (command) {
      case 0xe7: // FLUSH CACHE
      case 0xea: // FLUSH CACHE EXT
        this.#action = 'flush';
        return this.callHost();
      case 0xec: // IDENTIFY DEVICE
        this.#action = 'none';
        return this.send(this.#identify(), SECTOR_BYTES);
      case 0xef:
        return this.#setFeatures();
      case 0xc6:
        return this.#setMultiple();
      case 0x91:
        return this.#initializeParameters();
      case 0x27: // READ NATIVE MAX ADDRESS EXT
        this.registers.setLba(this.#sectors - 1, true);
        return this.succeed();
      case 0xf8: // READ NATIVE MAX ADDRESS
        this.registers.setLba(Math.min(this.#sectors, LBA28_SECTORS) - 1, false);
        return this.succeed();
      default:
        return this.#immediate(command);
    }
  }

  /** Commands that have nothing to do but to end. */
  #immediate(command: number): void {
    if ((command & 0xf0) === 0x10) return this.succeed(); // RECALIBRATE
    if ((command & 0xf0) === 0x70) return this.#seek();
    switch (command) {
      case 0x94: // STANDBY IMMEDIATE
      case 0x96: // STANDBY
      case 0x99: // SLEEP: a reset ends it, and so does whatever comes
      case 0xe0:
      case 0xe2:
      case 0xe6:
        this.#standby = true;
        return this.succeed();
      case 0x95: // IDLE IMMEDIATE
      case 0x97: // IDLE
      case 0xe1:
      case 0xe3:
        this.#standby = false;
        return this.succeed();
      case 0x98: // CHECK POWER MODE
      case 0xe5:
        this.registers.set(REGISTER.count, this.#standby ? 0x00 : 0xff);
        return this.succeed();
      default: // NOP (00h) among them: it ends with an abort
        return this.fail();
    }
  }

  // Reading and writing.

  #access({ action, way, extended, through = false }: Access): void {
    if (action === 'write' && this.#disk.readOnly) return this.fail();
    if (way === 'multiple' && this.#multiple === 0) return this.fail();
    this.#extended = extended;
    const lba = this.#address(extended);
    const sectors = this.registers.sectors(extended);
    if (lba === undefined || lba + sectors > this.#sectors) return this.#notFound(lba);
    this.#standby = false;
    this.#action = action;
    this.#dma = way === 'dma';
    this.#through = through;
    this.#lba = lba;
    this.#left = sectors;
    this.#block = way === 'multiple' ? this.#multiple : 1;
    if (action === 'write') this.#ask(true);
    else this.callHost();
  }

  /** The first sector that is not there. */
  #notFound(lba: number | undefined): void {
    if (lba !== undefined && lba < this.#sectors) this.#tellAddress(this.#sectors, this.#extended);
    this.fail(ERROR.notFound);
  }

  /** The address in the registers; undefined when cylinder, head or sector is none. */
  #address(extended: boolean): number | undefined {
    const { registers } = this;
    if (extended || registers.addressesBlocks) return registers.lba(extended);
    const { cylinders, heads, sectors } = this.#geometry;
    const sector = registers.read(REGISTER.lbaLow);
    const { byteCount: cylinder, head } = registers;
    if (sector < 1 || sector > sectors || head >= heads || cylinder >= cylinders) return undefined;
    return (cylinder * heads + head) * sectors + sector - 1;
  }

  #tellAddress(lba: number, extended: boolean): void {
    const { registers } = this;
    if (extended || registers.addressesBlocks) return registers.setLba(lba, extended);
    const { heads, sectors } = this.#geometry;
    registers.set(REGISTER.lbaLow, (lba % sectors) + 1);
    const track = Math.floor(lba / sectors);
    registers.byteCount = Math.floor(track / heads);
    registers.set(REGISTER.device, (registers.device & 0xf0) | (track % heads));
  }

  get #pieceSectors(): number {
    // A block of READ MULTIPLE lies in one piece.
    return Math.min(this.#left, PIECE_SECTORS - (PIECE_SECTORS % this.#block));
  }

  /** Asks the guest for the next piece to write. */
  #ask(first: boolean): void {
    const bytes = this.#pieceSectors * SECTOR_BYTES;
    if (this.#dma) this.receiveByDma(bytes);
    else this.receive(bytes, this.#block * SECTOR_BYTES, first);
  }

  protected received(): void {
    this.callHost();
  }

  protected async work(buffer: Uint8Array): Promise<Uint8Array | null> {
    const offset = this.#lba * SECTOR_BYTES;
    switch (this.#action) {
      case 'read':
      case 'verify': {
        const data = new Uint8Array(this.#pieceSectors * SECTOR_BYTES);
        await this.#disk.readAt(offset, data);
        return this.#action === 'read' ? data : null;
      }
      case 'write': {
        const flush = (this.#through || !this.#writeCache) && this.#pieceSectors === this.#left;
        await this.#disk.writeAt(offset, buffer);
        if (flush) await this.#disk.flush();
        return null;
      }
      default:
        await this.#disk.flush();
        return null;
    }
  }

  protected called(ok: boolean, data: Uint8Array | null): void {
    if (this.#action === 'flush') return ok ? this.succeed() : this.fail(ERROR.abort, STATUS.fault);
    if (!ok) {
      this.#tellAddress(this.#lba, this.#extended);
      if (this.#action === 'write') return this.fail(ERROR.abort, STATUS.fault);
      return this.fail(ERROR.uncorrectable);
    }
    this.#count();
    if (this.#action === 'read' && data !== null) {
      if (this.#dma) this.sendByDma(data);
      else this.send(data, this.#block * SECTOR_BYTES);
      return;
    }
    this.#pieceDone();
  }

  #count(): void {
    const bytes = this.#pieceSectors * SECTOR_BYTES;
    const last = this.#pieceSectors === this.#left;
    if (this.#action === 'read') this.counter.read(bytes, last);
    else if (this.#action === 'write') this.counter.wrote(bytes, last);
  }

  protected sent(): void {
    if (this.#action === 'read') this.#pieceDone();
    else this.succeed(false);
  }

  #pieceDone(): void {
    const sectors = this.#pieceSectors;
    this.#lba += sectors;
    this.#left -= sectors;
    if (this.#left > 0) {
      if (this.#action === 'write') this.#ask(false);
      else this.callHost();
      return;
    }
    this.#tellAddress(this.#lba - 1, this.#extended);
    this.registers.set(REGISTER.count, 0);
    if (this.#extended) this.registers.setPrevious(REGISTER.count, 0);
    this.succeed(this.#action !== 'read' || this.#dma);
  }

  // Settings.

  #seek(): void {
    const lba = this.#address(false);
    if (lba === undefined || lba >= this.#sectors) this.fail(ERROR.notFound);
    else this.succeed();
  }

  /** § 8.46. */
  #setFeatures(): void {
    switch (this.registers.feature) {
      case 0x02:
        this.#writeCache = true;
        return this.succeed();
      case 0x82:
        // What is cached is on the disk before the command ends.
        this.#writeCache = false;
        this.#action = 'flush';
        return this.callHost();
      case 0x03: {
        const modes = selectMode(this.registers.count, this.#modes);
        if (modes === undefined) return this.fail();
        this.#modes = modes;
        return this.succeed();
      }
      case 0x55:
        this.#lookAhead = false;
        return this.succeed();
      case 0xaa:
        this.#lookAhead = true;
        return this.succeed();
      case 0x66:
        this.#keepSettings = true;
        return this.succeed();
      case 0xcc:
        this.#keepSettings = false;
        return this.succeed();
      default:
        return this.fail();
    }
  }

  /** § 8.49: a power of two, or 0 for none. */
  #setMultiple(): void {
    const { count } = this.registers;
    if (count > MOST_MULTIPLE || (count & (count - 1)) !== 0) return this.fail();
    this.#multiple = count;
    this.succeed();
  }

  /** INITIALIZE DEVICE PARAMETERS, ATA/ATAPI-5 § 8.16: heads less one, and sectors of a track. */
  #initializeParameters(): void {
    const heads = this.registers.head + 1;
    const sectors = this.registers.count;
    if (sectors === 0) return this.fail();
    this.#geometry = withCylinders(this.#sectors, heads, sectors);
    this.succeed();
  }

  #identify(): Uint8Array {
    return identifyDisk(this.#identity, {
      sectors: this.#sectors,
      defaultGeometry: this.#defaultGeometry,
      geometry: this.#geometry,
      multiple: this.#multiple,
      mostMultiple: MOST_MULTIPLE,
      writeCache: this.#writeCache,
      lookAhead: this.#lookAhead,
      modes: this.#modes,
    });
  }

  // State.

  protected saveOwn(): AtaDiskState {
    return {
      action: this.#action,
      dma: this.#dma,
      extended: this.#extended,
      through: this.#through,
      lba: this.#lba,
      left: this.#left,
      block: this.#block,
      heads: this.#geometry.heads,
      sectors: this.#geometry.sectors,
      multiple: this.#multiple,
      writeCache: this.#writeCache,
      lookAhead: this.#lookAhead,
      keepSettings: this.#keepSettings,
      multiword: this.#modes.multiword ?? null,
      ultra: this.#modes.ultra ?? null,
      standby: this.#standby,
    };
  }

  protected restoreOwn(state: AtaDiskState): void {
    this.#action = ACTIONS.find((action) => action === state.action) ?? 'none';
    this.#dma = state.dma;
    this.#extended = state.extended;
    this.#through = state.through;
    this.#lba = state.lba;
    this.#left = state.left;
    this.#block = Math.max(1, state.block);
    this.#geometry =
      state.heads === this.#defaultGeometry.heads && state.sectors === this.#defaultGeometry.sectors
        ? this.#defaultGeometry
        : withCylinders(this.#sectors, state.heads, state.sectors);
    this.#multiple = state.multiple;
    this.#writeCache = state.writeCache;
    this.#lookAhead = state.lookAhead;
    this.#keepSettings = state.keepSettings;
    this.#modes = { multiword: state.multiword ?? undefined, ultra: state.ultra ?? undefined };
    this.#standby = state.standby;
  }
}

/** § 6.2.1 of ATA/ATAPI-5 and annex C of -6: what disks of some size have by default. */
function geometryOf(sectors: number): Geometry {
  return withCylinders(sectors, 16, 63);
}

function withCylinders(total: number, heads: number, sectors: number): Geometry {
  const cylinders = Math.floor(total / (heads * sectors));
  return { heads, sectors, cylinders: Math.max(1, Math.min(cylinders, heads === 16 ? 16383 : 65535)) };
}
