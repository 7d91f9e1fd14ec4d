import { setTimeout as delay } from 'node:timers/promises';
import type { VmExit, VmStats, VmStatus } from '../../src/contracts/channel.ts';
import type { DiscChange, VmProcessRecord } from '../../src/contracts/vm-process.ts';
import { isAlive, signalProcess } from '../../src/lib/process-identity.ts';
import { VmClient } from './vm-client.ts';
import type { VmDirectory } from './vm-directory.ts';

/** How a VM process ended: as it said, or by what killed it. */
export type VmEnd = VmExit | { readonly kind: 'killed'; readonly message: string };

/** How long a process that has said farewell, or was told to stop, may take to be gone. */
const LAST_WORDS_MS = 5_000;
/** How long building a machine may take: reading its kernel, and making its memory. */
const START_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
const RECONNECTS = 3;

/** A live VM process in the worker's hands. */
export class VmHandle {
  readonly process: VmProcessRecord;
  /** Settles once the process is surely gone. */
  readonly ended: Promise<VmEnd>;
  readonly #directory: VmDirectory;
  #client: VmClient;
  #clientIsOpen = true;
  /** What the system reported of a child of ours: a signal's name, or an exit status. */
  #reported: string | undefined;
  #killedFor: string | undefined;

  private constructor(directory: VmDirectory, process: VmProcessRecord, client: VmClient) {
    this.#directory = directory;
    this.process = process;
    this.#client = client;
    this.ended = this.#watch();
  }

  /** Takes hold of a process through its socket. Rejects when it is not the process of the record. */
  static async take(directory: VmDirectory, record: VmProcessRecord): Promise<VmHandle> {
    return new VmHandle(directory, record, await connectTo(directory, record));
  }

  get status(): VmStatus {
    return this.#client.status;
  }

  /** Waits until the machine is built. False when the process ended first. */
  async started(): Promise<boolean> {
    const timer = setTimeout(() => this.kill('did not build its machine in time'), START_TIMEOUT_MS);
    await Promise.race([this.#client.started, this.ended]);
    clearTimeout(timer);
    return this.#clientIsOpen && this.status.state !== 'starting';
  }

  /** Says what the system reported when this child of the worker ended. */
  report(signal: NodeJS.Signals | null, code: number | null): void {
    this.#reported = signal === null ? `ended with status ${code}` : `was killed by ${signal}`;
  }

  async request(operation: 'pause' | 'resume' | 'reset' | 'powerButton'): Promise<VmStatus> {
    return this.#client.request(operation);
  }

  /** Changes the disc in the CD-ROM drive. Rejects with a ChannelError when it cannot be read. */
  async changeDisc(change: DiscChange): Promise<VmStatus> {
    return this.#client.request('changeDisc', change);
  }

  /** The process's figures. One that does not answer in time hangs, and is killed. */
  async stats(): Promise<VmStats> {
    try {
      return await this.#client.stats();
    } catch (error) {
      if (isAlive(this.process) && this.#clientIsOpen) this.kill('did not answer and was ended');
      throw error;
    }
  }

  /** Ends the process: asks it, and kills it when it takes too long. Resolves when it is gone. */
  async stop(): Promise<VmEnd> {
    this.#client.request('stop').catch(() => signalProcess(this.process, 'SIGTERM'));
    const timer = setTimeout(() => this.kill('did not stop in time'), LAST_WORDS_MS);
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  kill(reason: string): void {
    this.#killedFor ??= reason;
    signalProcess(this.process, 'SIGKILL');
  }

  /** Lets go of the process without ending it: another worker may take it. */
  release(): void {
    this.#client.close();
  }

  async #watch(): Promise<VmEnd> {
    for (let lost = 0; ; lost++) {
      const farewell = await this.#client.closed;
      this.#clientIsOpen = false;
      if (farewell !== undefined || lost >= RECONNECTS) {
        if (!(await this.#gone(LAST_WORDS_MS))) this.kill('did not end');
      }
      if (await this.#gone(POLL_MS * 5)) return this.#explain(farewell);
      try {
        this.#client = await connectTo(this.#directory, this.process);
        this.#clientIsOpen = true;
      } catch {
        // The loop looks again whether it is gone, and gives it up after some tries.
      }
    }
  }

  /** Whether the process is gone, waiting for it up to `ms`. */
  async #gone(ms: number): Promise<boolean> {
    for (let waited = 0; isAlive(this.process); waited += POLL_MS) {
      if (waited >= ms) return false;
      await delay(POLL_MS);
    }
    return true;
  }

  async #explain(farewell: VmExit | undefined): Promise<VmEnd> {
    if (this.#killedFor !== undefined)
      return { kind: 'killed', message: `the VM process ${this.#killedFor}` };
    if (farewell !== undefined) return farewell;
    const record = await this.#directory.readExit(this.process.launchId);
    if (record !== undefined) return record.exit;
    return { kind: 'killed', message: `the VM process ${this.#reported ?? 'died without a word'}` };
  }
}

async function connectTo(directory: VmDirectory, record: VmProcessRecord): Promise<VmClient> {
  const client = await VmClient.connect(directory.socketPath);
  const { launchId, pid, startTicks } = client.hello;
  if (launchId === record.launchId && pid === record.pid && startTicks === record.startTicks) return client;
  client.close();
  throw new Error('another VM process answers at this socket');
}
