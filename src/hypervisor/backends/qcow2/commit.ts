import type { Clusters, Qcow2Core } from './core.ts';
import { type InFlight, Together } from './locks.ts';
import type { Mapping } from './mapping.ts';
import type { MetadataWrite, Refcounts } from './refcounts.ts';
import type { TableCache } from './tables.ts';

/** Runs of dropped clusters that may wait for a commit. */
const MOST_DROPPED_RUNS = 16384;

/** What one commit writes, taken at one instant, so that it fits together. */
interface Batch {
  /** Reference counts, and L2 tables that nothing refers to yet. */
  readonly unreferenced: MetadataWrite[];
  /** What makes new refcount blocks known. */
  readonly refcountTable: MetadataWrite[];
  /** What refers to clusters: entries of L2 tables and of the L1 table. */
  readonly references: MetadataWrite[];
  readonly dropped: Clusters[];
  readonly epoch: number;
  /** Has what was taken come again; `there`: the unreferenced tables are in the file. */
  undo(there: boolean): void;
  done(): void;
}

/** Clusters that the file no longer refers to, and the last epoch whose requests may still use them. */
interface Unreferenced {
  readonly epoch: number;
  readonly clusters: Clusters[];
}

/**
 * Writes changed metadata into the file in an order that a power cut at any
 * moment cannot turn into corruption, at most into clusters that count as used
 * and are not:
 *
 * 1. data (written by the requests themselves), reference counts, new L2 tables;
 *    flush;
 * 2. if there are new refcount blocks, the entries that point to them; flush;
 * 3. L2 and L1 entries; flush;
 * 4. clusters that these no longer refer to become free once no request that
 *    began before can still read or write them.
 */
export class Committer {
  readonly #core: Qcow2Core;
  readonly #refcounts: Refcounts;
  readonly #mapping: Mapping;
  readonly #inFlight: InFlight;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #unreferenced: Unreferenced[] = [];
  #freeing: Promise<void> | undefined;

  constructor(core: Qcow2Core, refcounts: Refcounts, mapping: Mapping, inFlight: InFlight) {
    this.#core = core;
    this.#refcounts = refcounts;
    this.#mapping = mapping;
    this.#inFlight = inFlight;
  }

  /** So much waits in memory that it should be written. */
  get due(): boolean {
    return (
      this.#mapping.cache.crowded ||
      this.#refcounts.cache.crowded ||
      this.#core.droppedRuns > MOST_DROPPED_RUNS
    );
  }

  /** Resolves once all that had been changed when it was called survives a power cut. */
  commit(): Promise<void> {
    if (!this.#running) return this.#start();
    const ignore = () => {};
    this.#next ??= this.#running.then(ignore, ignore).then(() => {
      this.#next = undefined;
      return this.commit();
    });
    return this.#next;
  }

  /** Frees what nobody uses any more; to be called when a request has ended. */
  requestEnded(): void {
    if (this.#unreferenced.length > 0) this.#free();
  }

  /** For closing: everything is written, and what was dropped is free in the file. */
  async finish(): Promise<void> {
    await this.commit();
    this.#free();
    await this.#freeing;
    await this.commit();
  }

  #start(): Promise<void> {
    const run = this.#run().finally(() => {
      if (this.#running === run) this.#running = undefined;
    });
    this.#running = run;
    return run;
  }

  async #run(): Promise<void> {
    const batch = this.#take();
    const { file } = this.#core;
    let there = false;
    try {
      await this.#write(batch.unreferenced);
      await file.flush();
      there = true;
      if (batch.refcountTable.length > 0) {
        await this.#write(batch.refcountTable);
        await file.flush();
      }
      if (batch.references.length > 0) {
        await this.#write(batch.references);
        await file.flush();
      }
    } catch (error) {
      batch.undo(there);
      throw error;
    } finally {
      batch.done();
    }
    if (batch.dropped.length > 0) {
      this.#unreferenced.push({ epoch: batch.epoch, clusters: batch.dropped });
      this.#free();
    }
  }

  #take(): Batch {
    const counts = takeTables(this.#refcounts.cache);
    const table = this.#refcounts.takeTableWrites();
    const l2 = takeTables(this.#mapping.cache);
    const l1 = this.#mapping.takeL1Writes();
    const dropped = this.#core.takeDropped();
    return {
      unreferenced: [...counts.fresh, ...counts.known, ...table.table, ...l2.fresh],
      refcountTable: table.header,
      references: [...l2.known, ...l1.writes],
      dropped,
      epoch: this.#inFlight.turn(),
      undo: (there) => {
        counts.undo(there);
        table.undo();
        l2.undo(there);
        l1.undo();
        this.#core.giveBackDropped(dropped);
      },
      done: () => {
        counts.done();
        l2.done();
      },
    };
  }

  async #write(writes: readonly MetadataWrite[]): Promise<void> {
    const together = new Together();
    for (const { offset, bytes } of writes) await together.add(this.#core.file.writeAt(offset, bytes));
    await together.end();
  }

  #free(): void {
    if (this.#freeing || !this.#inFlight.over(this.#unreferenced[0]?.epoch ?? Number.POSITIVE_INFINITY))
      return;
    this.#freeing = this.#freeAll().finally(() => {
      this.#freeing = undefined;
    });
  }

  async #freeAll(): Promise<void> {
    for (
      let next = this.#unreferenced[0];
      next && this.#inFlight.over(next.epoch);
      next = this.#unreferenced[0]
    ) {
      this.#unreferenced.shift();
      // What fails stays in use for good, as after a power cut: damage has been said, and a host's error does no harm.
      await this.#refcounts.drop(next.clusters).catch(() => {});
    }
  }
}

interface Taken {
  readonly fresh: MetadataWrite[];
  readonly known: MetadataWrite[];
  undo(there: boolean): void;
  done(): void;
}

/** Takes what was changed in tables; they count as unchanged from here on, and stay in memory until `done`. */
function takeTables(cache: TableCache): Taken {
  const taken = [...cache.dirty].map((table) => ({
    table,
    fresh: table.fresh,
    low: table.low,
    high: table.high,
    write: { offset: table.offset + table.low, bytes: table.bytes.slice(table.low, table.high) },
  }));
  for (const { table } of taken) {
    table.writing = true;
    table.fresh = false;
    cache.clean(table);
  }
  const undo = (there: boolean) => {
    for (const { table, fresh, low, high } of taken) {
      table.fresh = fresh && !there;
      cache.touch(table, low, high);
    }
  };
  const done = () => {
    for (const { table } of taken) table.writing = false;
  };
  const writes = (fresh: boolean) => taken.filter((each) => each.fresh === fresh).map(({ write }) => write);
  return { fresh: writes(true), known: writes(false), undo, done };
}
