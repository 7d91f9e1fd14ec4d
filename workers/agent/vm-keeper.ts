import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { VmStatus } from '../../src/contracts/channel.ts';
import { ChannelError } from '../../src/contracts/channel.ts';
import { MAX_RESTARTS, RESTART_RESET_MS, restartDelayMs } from '../../src/contracts/reconcile.ts';
import type { StoredError, VmState } from '../../src/contracts/states.ts';
import type { VmProcessConfig } from '../../src/contracts/vm-process.ts';
import type { Vm } from '../../src/infra/prisma.ts';
import { isDatabaseOutage, Prisma } from '../../src/infra/prisma.ts';
import { findDisc, findVmFiles } from '../../src/infra/vm-files.ts';
import type { Logger } from '../../src/lib/log.ts';
import { isAlive, signalProcess } from '../../src/lib/process-identity.ts';
import { launch } from './launcher.ts';
import type { Semaphore } from './semaphore.ts';
import { VmDirectory } from './vm-directory.ts';
import type { VmEnd } from './vm-handle.ts';
import { VmHandle } from './vm-handle.ts';
import type { VmRecords } from './vm-records.ts';

/** How soon to look again when the database or the system did not let the worker do its work. */
const RETRY_MS = 1000;

/** How far a start is, per cent: a host launches a few VMs at a time, and a launched one builds its machine. */
const PROGRESS = { itsTurn: 30, launched: 70 } as const;

export interface KeeperDeps {
  readonly records: VmRecords;
  /** Where the VMs' directories are. */
  readonly runDir: string;
  readonly imagesDir: string;
  readonly firmwareDir: string;
  /** The engine of a VM that asks for `auto`. */
  readonly engine: string;
  readonly orphanSeconds: number;
  /** See VmProcessConfig. */
  readonly cacheFolder: string;
  /** Where there is a file for each tenant of what is learned of its guests' code. */
  readonly historyDir: string;
  /** How many VMs are launched at once. */
  readonly launches: Semaphore;
  readonly log: Logger;
  /** The VM is gone for good and its keeper with it. */
  readonly forget: (vmId: string) => void;
}

/** Brings one VM to where the database wants it. Looks as often as it is asked to, one look at a time. */
export class VmKeeper {
  readonly #vmId: string;
  readonly #deps: KeeperDeps;
  readonly #directory: VmDirectory;
  readonly #log: Logger;
  #handle: VmHandle | undefined;
  /** How the last process ended, until that is written down. */
  #unrecorded: VmEnd | undefined;
  /** What it said last. */
  #lastStatus: VmStatus | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #closing = false;
  #timer: NodeJS.Timeout | undefined;
  #adopted = false;

  constructor(vmId: string, deps: KeeperDeps) {
    this.#vmId = vmId;
    this.#deps = deps;
    this.#directory = new VmDirectory(deps.runDir, vmId);
    this.#log = deps.log.child({ vmId });
  }

  get handle(): VmHandle | undefined {
    return this.#handle;
  }

  get directory(): VmDirectory {
    return this.#directory;
  }

  /** Looks at the VM now, or again when a look is under way. Resolves when that look is over; never rejects. */
  async look(): Promise<void> {
    this.#again = true;
    this.#looking ??= this.#lookRepeatedly();
    await this.#looking;
  }

  /** Lets the VM's process end (`stop`) or leaves it to the next worker; nothing is looked at afterwards. */
  async close(how: 'stop' | 'leave'): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#timer);
    // A look under way may wait for the very process that is to end.
    const stopping = how === 'stop' && this.#handle !== undefined;
    if (stopping) await this.#handle?.stop();
    await this.#looking;
    if (how === 'leave') return this.#handle?.release();
    await this.#handle?.stop();
    const end = this.#unrecorded;
    const row = end === undefined ? null : await this.#deps.records.find(this.#vmId);
    if (end === undefined || row === null) return;
    // What the VM should be stays as it is when this was the worker's doing: the next worker starts it again.
    await this.#recordEnd(row, stopping && end.kind === 'killed' ? { kind: 'stop' } : end);
  }

  async #lookRepeatedly(): Promise<void> {
    while (this.#again && !this.#closing) {
      this.#again = false;
      clearTimeout(this.#timer);
      try {
        await this.#reconcile();
      } catch (error) {
        const err = error instanceof Error ? error.message : String(error);
        // An outage of the database is told once, by its pool, not by every VM at every try.
        if (isDatabaseOutage(error)) this.#log.debug({ err }, 'VM: will look again');
        else this.#log.warn({ err }, 'VM: will look again');
        this.#lookAfter(RETRY_MS);
      }
    }
    this.#looking = undefined;
  }

  #lookAfter(ms: number): void {
    clearTimeout(this.#timer);
    if (!this.#closing) this.#timer = setTimeout(() => void this.look(), Math.max(0, ms));
  }

  async #reconcile(): Promise<void> {
    await this.#adopt();
    const row = await this.#deps.records.find(this.#vmId);
    if (row === null) return this.#abandon();
    await this.#noteEjection(row, this.#lastStatus);
    this.#lastStatus = undefined;
    if (row.desired === 'deleted') return this.#remove(row);
    if (row.desired === 'stopped') return this.#settleStopped(row);
    if (this.#handle === undefined) {
      const gone = this.#unrecorded ?? (await this.#unseenEnd(row));
      if (gone !== undefined) return this.#recordEnd(row, gone);
      const started = await this.#start(row);
      if (!started) return;
    }
    await this.#bringRunning(row);
  }

  /** On the first look after the worker's start: takes hold of a process that an earlier worker left. */
  async #adopt(): Promise<void> {
    if (this.#adopted) return;
    const record = await this.#directory.readProcess();
    if (record !== undefined && isAlive(record)) {
      try {
        this.#hold(await VmHandle.take(this.#directory, record));
        this.#log.info({ pid: record.pid }, 'VM process taken over');
      } catch (error) {
        this.#log.warn({ err: String(error), pid: record.pid }, 'a VM process that does not answer is ended');
        signalProcess(record, 'SIGKILL');
      }
    }
    this.#adopted = true;
  }

  #hold(handle: VmHandle): void {
    this.#handle = handle;
    void handle.ended.then((end) => {
      if (this.#handle !== handle) return;
      this.#handle = undefined;
      this.#unrecorded = end;
      this.#lastStatus = handle.status;
      this.#log.info({ end }, 'VM process ended');
      if (!this.#closing) void this.look();
    });
  }

  /** Ends the process, if there is one, as what was wanted: that is no end to be recorded. */
  async #end(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    this.#unrecorded = undefined;
    if (handle !== undefined) await handle.stop();
    this.#lastStatus = handle?.status;
  }

  /** The row is gone, or is another host's now: nothing of it stays here. */
  async #abandon(): Promise<void> {
    await this.#end();
    await this.#directory.remove();
    this.#deps.forget(this.#vmId);
  }

  async #remove(row: Vm): Promise<void> {
    await this.#deps.records.begin(row);
    if (this.#handle !== undefined) await this.#write(row, 'stopping', {});
    await this.#end();
    await this.#directory.remove();
    await this.#deps.records.remove(row);
    this.#deps.forget(this.#vmId);
  }

  async #settleStopped(row: Vm): Promise<void> {
    const newWish = row.generation > row.observedGeneration;
    if (newWish) await this.#deps.records.begin(row);
    const wasRunning = this.#handle !== undefined;
    if (wasRunning) await this.#write(row, 'stopping', {});
    await this.#end();
    await this.#noteEjection(row, this.#lastStatus);
    // A VM that was given up stays failed until its owner asks for something else.
    if (!wasRunning && !newWish && !row.reserved && (row.state === 'stopped' || row.state === 'failed'))
      return;
    await this.#deps.records.write(row, {
      data: {
        state: row.state === 'failed' && !newWish && !wasRunning ? 'failed' : 'stopped',
        ...atRest(row),
      },
      onlyIfCurrent: true,
      reached: 'stopped',
      releaseCapacity: true,
    });
  }

  /** The row says that a process runs and there is none: it ended while no worker looked. */
  async #unseenEnd(row: Vm): Promise<VmEnd | undefined> {
    if (row.state !== 'running' && row.state !== 'paused' && row.state !== 'stopping') return undefined;
    const record = await this.#directory.readProcess();
    const left = record === undefined ? undefined : await this.#directory.readExit(record.launchId);
    return left?.exit ?? { kind: 'killed', message: 'the VM process was gone when the worker came back' };
  }

  async #recordEnd(row: Vm, end: VmEnd): Promise<void> {
    const gone = { pid: null, startedAt: null };
    const startAgain = row.restartPolicy === 'always' && row.shutdownRequestedAt === null;
    if (end.kind === 'stop' || end.kind === 'orphaned') {
      await this.#write(row, 'stopped', gone);
    } else if (end.kind !== 'power-off') {
      await this.#recordFailure(row, errorOf(end), end.kind === 'killed' || end.kind === 'error');
    } else if (startAgain) {
      const before = restartsBefore(row);
      await this.#write(row, 'stopped', { ...gone, ...restartAfter(before) });
    } else {
      await this.#rest(row, 'stopped');
    }
    this.#unrecorded = undefined;
    this.#again = true;
  }

  /** The VM has come to rest by itself: that becomes what it should be, unless its owner has asked for more since. */
  async #rest(row: Vm, state: 'stopped' | 'failed', error?: StoredError): Promise<void> {
    const written = await this.#deps.records.write(row, {
      data: {
        state,
        desired: 'stopped',
        ...atRest(row),
        ...(error === undefined ? {} : { lastError: { ...error } }),
      },
      onlyIfCurrent: true,
      releaseCapacity: true,
      ...(state === 'stopped' ? { reached: 'stopped' } : {}),
      ...(error === undefined ? {} : { failed: error }),
    });
    if (!written) await this.#write(row, state, { pid: null, startedAt: null });
  }

  /** `transient`: what failed was the process, not what it was given, so starting it again may help. */
  async #recordFailure(row: Vm, error: StoredError, transient: boolean): Promise<void> {
    this.#log.warn({ error }, 'VM failed');
    const before = restartsBefore(row);
    const restarts = row.restartPolicy === 'always' || (row.restartPolicy === 'on-failure' && transient);
    if (!restarts || before >= MAX_RESTARTS) return this.#rest(row, 'failed', error);
    await this.#deps.records.write(row, {
      data: {
        state: 'failed',
        lastError: { ...error },
        pid: null,
        startedAt: null,
        ...restartAfter(before),
      },
    });
  }

  /** Starts the process when its time has come. False when it has not, or the start failed. */
  async #start(row: Vm): Promise<boolean> {
    const newWish = row.generation > row.observedGeneration;
    const wait = row.nextRestartAt === null || newWish ? 0 : row.nextRestartAt.getTime() - Date.now();
    if (wait > 0) {
      this.#lookAfter(wait);
      return false;
    }
    if (newWish) await this.#deps.records.begin(row);
    await this.#write(
      row,
      'starting',
      newWish ? { lastError: Prisma.DbNull, restartCount: 0, nextRestartAt: null } : {},
    );
    let error: StoredError;
    try {
      const config = await this.#configure(row);
      if (config !== undefined) {
        return await this.#deps.launches.run(async () => {
          await this.#tell(row, PROGRESS.itsTurn);
          const handle = await launch(this.#directory, config);
          this.#hold(handle);
          await this.#tell(row, PROGRESS.launched);
          // A machine that cannot be built ends its process: the next look sees that.
          return handle.started();
        });
      }
      error = errorAt('no-kernel', 'the VM has no kernel: its image is gone or has none');
    } catch (cause) {
      error = errorAt('launch-failed', cause instanceof Error ? cause.message : String(cause));
    }
    const current = {
      ...row,
      state: 'starting',
      startedAt: null,
      restartCount: newWish ? 0 : row.restartCount,
    };
    await this.#recordFailure(current, error, error.code === 'launch-failed');
    this.#again = true;
    return false;
  }

  /** What is told on the way helps nobody enough to fail for it. */
  async #tell(row: Vm, progress: number): Promise<void> {
    if (row.generation > row.observedGeneration)
      await this.#deps.records.advance(row, progress).catch(() => {});
  }

  async #configure(row: Vm): Promise<VmProcessConfig | undefined> {
    const files = await findVmFiles(this.#deps.records.database, row, this.#deps);
    if (files === null) return undefined;
    return {
      vmId: row.id,
      launchId: randomUUID(),
      directory: this.#directory.path,
      memoryMiB: row.memoryMiB,
      engine: row.engineRequested === 'auto' ? this.#deps.engine : row.engineRequested,
      cpu: row.cpuProfile,
      ...files,
      paused: row.desired === 'paused',
      orphanSeconds: this.#deps.orphanSeconds,
      cacheFolder: this.#deps.cacheFolder,
      codeHistory: join(this.#deps.historyDir, `${row.tenantId}.bin`),
    };
  }

  /** With a process there: paused or not, reset and power button as asked for, and the row says so. */
  async #bringRunning(row: Vm): Promise<void> {
    const handle = this.#handle;
    if (handle === undefined || !(await handle.started())) return;
    const startedNow = row.pid !== handle.process.pid || row.startedAt === null;
    if (row.bootEpoch > row.observedBootEpoch && !startedNow) await handle.request('reset');
    await this.#changeDisc(row, handle);
    await this.#pressButton(row, handle);
    const target = row.desired === 'paused' ? 'paused' : 'running';
    if (handle.status.state !== target) await handle.request(target === 'paused' ? 'pause' : 'resume');
    if (this.#handle !== handle) return;
    const settled =
      row.state === target &&
      row.observedGeneration === row.generation &&
      row.observedBootEpoch === row.bootEpoch;
    if (settled && !startedNow) return;
    await this.#deps.records.write(row, {
      data: {
        state: target,
        engineActual: handle.status.engine,
        pid: handle.process.pid,
        ...(startedNow ? { startedAt: new Date() } : {}),
        nextRestartAt: null,
        observedGeneration: row.generation,
        observedBootEpoch: row.bootEpoch,
      },
      reached: target,
    });
  }

  /** Brings the disc that the row names into the drive, or learns that the guest has taken it out. */
  async #changeDisc(row: Vm, handle: VmHandle): Promise<void> {
    const { cdrom } = handle.status;
    if (cdrom === undefined) return;
    if (cdrom.epoch === row.cdromEpoch) return this.#noteEjection(row, handle.status);
    await this.#deps.records.begin(row);
    const disc = await findDisc(this.#deps.records.database, row, this.#deps.imagesDir);
    let error: StoredError | undefined;
    try {
      const status = await handle.changeDisc({ ...disc, force: row.cdromForce });
      if (status.cdrom?.refused === true)
        error = errorAt(
          'tray-locked',
          'the guest has locked the tray; the disc changes when it is next reset',
        );
    } catch (cause) {
      if (!(cause instanceof ChannelError)) throw cause;
      error = errorAt('disc-unusable', cause.message);
    }
    if (error !== undefined) await this.#deps.records.fail(row, 'cdrom', error);
  }

  /** A guest that leaves its tray open at a reset or at the end has no disc in it any more. */
  async #noteEjection(row: Vm, status: VmStatus | undefined): Promise<void> {
    if (status?.cdrom?.ejected !== true || row.cdromImageId === null) return;
    await this.#deps.records.ejectDisc(row, status.cdrom.epoch);
  }

  async #pressButton(row: Vm, handle: VmHandle): Promise<void> {
    if (row.shutdownRequestedAt === null) return;
    const requested = row.shutdownRequestedAt.toISOString();
    if ((await this.#directory.readButton()) === requested) return;
    await this.#deps.records.begin(row);
    await handle.request('powerButton');
    await this.#directory.writeButton(requested);
  }

  async #write(row: Vm, state: VmState, data: Prisma.VmUpdateManyMutationInput): Promise<void> {
    await this.#deps.records.write(row, { data: { state, ...data } });
  }
}

/** How often the VM has been restarted in a row; a run of some length ends the row. */
function restartsBefore({ startedAt, restartCount }: Vm): number {
  const ranMs = startedAt === null ? 0 : Date.now() - startedAt.getTime();
  return ranMs >= RESTART_RESET_MS ? 0 : restartCount;
}

/** Fields of a row whose VM is at rest and has all that was asked for. */
function atRest({ generation, bootEpoch }: Vm): Prisma.VmUpdateManyMutationInput {
  return {
    observedGeneration: generation,
    observedBootEpoch: bootEpoch,
    pid: null,
    startedAt: null,
    restartCount: 0,
    nextRestartAt: null,
    shutdownRequestedAt: null,
  };
}

function restartAfter(before: number): { nextRestartAt: Date; restartCount: number } {
  return { nextRestartAt: new Date(Date.now() + restartDelayMs(before)), restartCount: before + 1 };
}

function errorAt(code: string, message: string): StoredError {
  return { code, message, at: new Date().toISOString() };
}

function errorOf(end: VmEnd): StoredError {
  switch (end.kind) {
    case 'triple-fault':
      return errorAt('triple-fault', `the guest triple-faulted: ${end.detail}`);
    case 'debug-exit':
      return errorAt('debug-exit', `the guest ended the machine with status ${end.status}`);
    case 'not-started':
      return errorAt('not-started', end.message);
    case 'killed':
      return errorAt('vm-process-died', end.message);
    case 'error':
      return errorAt('vm-process-failed', end.message);
    default:
      return errorAt('ended', `the machine ended: ${end.kind}`);
  }
}
