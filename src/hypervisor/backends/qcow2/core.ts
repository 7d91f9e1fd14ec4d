import { DiskError } from '../disk.ts';
import type { ImageFile } from '../host-file.ts';
import { writeU64 } from './format.ts';
import { HEADER_INCOMPATIBLE, INCOMPATIBLE_CORRUPT, type Qcow2Header } from './header.ts';
import { MetadataPlaces } from './places.ts';

/** A run of clusters of the file. */
export interface Clusters {
  readonly first: number;
  readonly count: number;
}

/** What the parts of an open image share. */
export class Qcow2Core {
  readonly file: ImageFile;
  readonly header: Qcow2Header;
  readonly places = new MetadataPlaces();
  readonly #log: (message: string) => void;
  /** What was found wrong first. */
  #damage: string | undefined;
  #marking: Promise<void> = Promise.resolve();
  /** Clusters to which one reference fewer exists in memory, not yet in the file. */
  #dropped: Clusters[] = [];

  constructor(file: ImageFile, header: Qcow2Header, log: (message: string) => void) {
    this.file = file;
    this.header = header;
    this.#log = log;
  }

  /** Whether a cluster lies inside the file; the last may be there in part. */
  readonly inFile = (offset: number, bytes: number): boolean => {
    const { clusterSize } = this.header;
    return offset + bytes <= Math.ceil(this.file.length / clusterSize) * clusterSize;
  };

  /** @throws DiskError `DISK_CORRUPT` once damage has been found: what is there stays as it is */
  checkSound(): void {
    if (this.#damage !== undefined) throw this.#error(this.#damage);
  }

  /**
   * Notes damage: says so once, and marks an image that is open for writing,
   * so that nobody writes to it before it is repaired.
   *
   * @returns the error for the request that found it
   */
  damaged(what: string): DiskError {
    const error = this.#error(what);
    if (this.#damage === undefined) {
      this.#damage = what;
      this.#log(error.message);
      if (!this.file.readOnly && this.header.version === 3) this.#marking = this.#mark();
    }
    return error;
  }

  /** Resolves when a mark that was begun is in the file, or cannot be made. */
  marked(): Promise<void> {
    return this.#marking;
  }

  /** Gives up one reference to each of the clusters, as soon as the file no longer needs it. */
  drop(first: number, count: number): void {
    const last = this.#dropped.at(-1);
    if (last && last.first + last.count === first)
      this.#dropped[this.#dropped.length - 1] = { first: last.first, count: last.count + count };
    else this.#dropped.push({ first, count });
  }

  get droppedRuns(): number {
    return this.#dropped.length;
  }

  takeDropped(): Clusters[] {
    const dropped = this.#dropped;
    this.#dropped = [];
    return dropped;
  }

  giveBackDropped(dropped: Clusters[]): void {
    this.#dropped = [...dropped, ...this.#dropped];
  }

  #error(what: string): DiskError {
    const message = `disk image ${this.file.path} is damaged: ${what}; qemu-img check -r all may repair it`;
    return new DiskError('DISK_CORRUPT', message);
  }

  async #mark(): Promise<void> {
    // No other incompatible bit can be set: dirty was dealt with when the image was opened.
    const bits = INCOMPATIBLE_CORRUPT + (this.header.compression === 'zstd' ? 8 : 0);
    const field = new Uint8Array(8);
    writeU64(new DataView(field.buffer), 0, bits);
    try {
      await this.file.writeAt(HEADER_INCOMPATIBLE, field);
      await this.file.flush();
    } catch {
      // The image stays unmarked; it will be found out again.
    }
  }
}
