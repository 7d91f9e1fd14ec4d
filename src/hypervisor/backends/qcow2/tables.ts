import type { ImageFile } from '../host-file.ts';

/** An L2 table or a refcount block in memory: one cluster of metadata. */
export class Table {
  /** In the file. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Nothing in the file refers to it yet, so it must be there whole before anything does. */
  fresh: boolean;
  /** Bytes to be written: from `low` up to `high`. */
  low = Number.POSITIVE_INFINITY;
  high = 0;
  /** A commit is writing it. */
  writing = false;

  constructor(offset: number, bytes: Uint8Array, fresh: boolean) {
    this.offset = offset;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.fresh = fresh;
  }

  get dirty(): boolean {
    return this.low < this.high;
  }
}

/**
 * Tables in memory, the least recently used dropped first. Changed ones stay
 * until they are written, so whoever changes many must have them written: see
 * `crowded`.
 *
 * A caller that has waited for anything looks its table up again with `peek`:
 * what `peek` returns is good until the next `await`.
 */
export class TableCache {
  readonly #file: ImageFile;
  readonly #tableBytes: number;
  readonly #most: number;
  readonly #tables = new Map<number, Table>();
  readonly #loading = new Map<number, Promise<void>>();
  readonly #dirty = new Set<Table>();

  /** @param maxBytes of memory for tables; at least four are kept */
  constructor(file: ImageFile, tableBytes: number, maxBytes: number) {
    this.#file = file;
    this.#tableBytes = tableBytes;
    this.#most = Math.max(4, Math.floor(maxBytes / tableBytes));
  }

  /** The changed tables. */
  get dirty(): ReadonlySet<Table> {
    return this.#dirty;
  }

  /** Half of the room is taken by changed tables: it is time to write them. */
  get crowded(): boolean {
    return this.#dirty.size * 2 >= this.#most;
  }

  peek(offset: number): Table | undefined {
    const table = this.#tables.get(offset);
    if (table && this.#tables.size >= this.#most) {
      this.#tables.delete(offset);
      this.#tables.set(offset, table);
    }
    return table;
  }

  /** Brings a table in from the file; the caller has checked that `offset` is a cluster of it. */
  load(offset: number): Promise<void> {
    const underWay = this.#loading.get(offset);
    if (underWay) return underWay;
    if (this.#tables.has(offset)) return Promise.resolve();
    const loading = this.#read(offset).finally(() => this.#loading.delete(offset));
    this.#loading.set(offset, loading);
    return loading;
  }

  async #read(offset: number): Promise<void> {
    const bytes = new Uint8Array(this.#tableBytes);
    await this.#file.readAt(offset, bytes);
    if (!this.#tables.has(offset)) this.#insert(new Table(offset, bytes, false));
  }

  /** Adds a new table that has yet to be written, in a cluster that nothing refers to. */
  add(offset: number, bytes: Uint8Array): Table {
    const table = new Table(offset, bytes, true);
    this.#insert(table);
    this.touch(table, 0, bytes.length);
    return table;
  }

  /** Notes that bytes of a table were changed. */
  touch(table: Table, from: number, to: number): void {
    table.low = Math.min(table.low, from);
    table.high = Math.max(table.high, to);
    this.#dirty.add(table);
  }

  /** Notes that what was changed in a table is on its way into the file. */
  clean(table: Table): void {
    table.low = Number.POSITIVE_INFINITY;
    table.high = 0;
    this.#dirty.delete(table);
  }

  /** Drops a table that is no longer in use, written or not. */
  forget(offset: number): void {
    const table = this.#tables.get(offset);
    if (!table) return;
    this.clean(table);
    this.#tables.delete(offset);
  }

  #insert(table: Table): void {
    this.#tables.set(table.offset, table);
    for (const [offset, old] of this.#tables) {
      if (this.#tables.size <= this.#most) break;
      if (old !== table && !old.dirty && !old.writing) this.#tables.delete(offset);
    }
  }
}
