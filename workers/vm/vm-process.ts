import { renameSync, writeFileSync } from 'node:fs';
import type { DriveStats, VmExit, VmOperation, VmStats, VmStatus } from '../../src/contracts/channel.ts';
import { CDROM_ID, ChannelError } from '../../src/contracts/channel.ts';
import type {
  DiscChange,
  DiscConfig,
  VmExitRecord,
  VmProcessConfig,
  VmProcessRecord,
} from '../../src/contracts/vm-process.ts';
import { parseDiscChange, VM_FILES } from '../../src/contracts/vm-process.ts';
import { addTraffic } from '../../src/hypervisor/index.ts';
import { ownIdentity } from '../../src/lib/process-identity.ts';
import { ChannelServer } from './channel-server.ts';
import { throwAway } from './disks.ts';
import type { VmMachine } from './machine.ts';
import { openMachine } from './machine.ts';
import { SerialLine } from './serial-line.ts';
import { Sides } from './sides.ts';
import { Tools } from './tools.ts';

/** How soon after it was written output is on the disk, for those who ask when the process is gone. */
const CONSOLE_SAVE_MS = 1000;

type Used = Pick<VmStats, 'cpuSeconds' | 'instructions'> & { readonly drives: readonly DriveStats[] };

/** One machine, its channel and its files, from launch to exit. */
export class VmProcess {
  readonly #config: VmProcessConfig;
  readonly #channel: ChannelServer;
  readonly #record: VmProcessRecord;
  readonly #log: (message: string) => void;
  readonly #attended = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<VmExit>();
  /** What outlives a reset: the screen, the keyboard, the mouse and who looks at them. */
  readonly #sides: Sides;
  readonly #serial: SerialLine;
  readonly #tools: Tools;
  #machine: VmMachine | undefined;
  /** What should lie in the CD-ROM drive. */
  #cdrom: DiscConfig | undefined;
  /** The guest had locked the tray against it. */
  #refused = false;
  /** The guest left the tray open at the last reset, or the end. */
  #ejected = false;
  #paused: boolean;
  #resets = 0;
  #ending = false;
  #receivedBytes = 0;
  /** What viewers sent and the machine has no room for yet; they are held up meanwhile, which bounds it. */
  readonly #waitingInput: Uint8Array[] = [];
  #orphanTimer: NodeJS.Timeout | undefined;
  #saveTimer: NodeJS.Timeout | undefined;
  /** What machines before a reset of this launch had used. */
  #usedBefore: Used = { cpuSeconds: 0, instructions: 0, drives: [] };
  readonly #launchedAt = performance.now();

  constructor(config: VmProcessConfig, log: (message: string) => void) {
    this.#config = config;
    this.#log = log;
    this.#paused = config.paused;
    this.#record = { vmId: config.vmId, launchId: config.launchId, ...ownIdentity() };
    this.#cdrom = config.cdrom;
    this.#sides = new Sides(config.vmId, 'firmware' in config.boot, log);
    this.#channel = new ChannelServer(this.#record, {
      status: () => this.#status(),
      input: (bytes) => this.#input(bytes),
      perform: (operation, args) => this.#perform(operation, args),
      display: () => this.#sides.display,
      useTool: (operation, args, asker) => this.#tools.use(operation, args, asker),
      agentPresent: (present) => {
        if (present) this.#attended.resolve();
        this.#watchForOrphan(present);
      },
    });
    this.#serial = new SerialLine(this.#channel.backlog);
    this.#tools = new Tools(this.#sides, this.#serial);
  }

  /** Settles when the machine has ended and its last words are written down. */
  get ended(): Promise<VmExit> {
    return this.#ended.promise;
  }

  /** Opens the socket. Rejects when it cannot be had. */
  async start(): Promise<void> {
    this.#save(VM_FILES.process, JSON.stringify(this.#record));
    await throwAway(this.#config.disks);
    await this.#channel.listen(VM_FILES.socket);
    this.#watchForOrphan(false);
  }

  /**
   * Once a worker is there to see it, builds the machine and sets it going; a
   * machine that cannot be built ends the process.
   */
  async power(): Promise<void> {
    await Promise.race([this.#attended.promise, this.#ended.promise]);
    if (this.#ending) return;
    try {
      await this.#build();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      await this.end({ kind: 'not-started', message });
    }
  }

  /** Ends the machine and writes down why. Later calls change nothing. */
  async end(exit: VmExit): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    clearTimeout(this.#orphanTimer);
    clearTimeout(this.#saveTimer);
    this.#log(`ended: ${JSON.stringify(exit)}`);
    const record: VmExitRecord = { launchId: this.#config.launchId, exit };
    this.#save(VM_FILES.console, this.#channel.backlog.since(0).bytes);
    this.#save(VM_FILES.exit, JSON.stringify(record));
    this.#lookAtTray();
    await this.#channel.close(exit);
    void this.#sides.close();
    await this.#machine?.dispose();
    await throwAway(this.#config.disks);
    this.#ended.resolve(exit);
  }

  async #build(): Promise<void> {
    const machine = await openMachine({
      config: this.#config,
      disc: this.#ejected ? null : (this.#cdrom?.path ?? null),
      output: (bytes) => this.#output(bytes),
      log: this.#log,
    });
    if (this.#ending) return machine.dispose();
    this.#machine = machine;
    this.#refused = false;
    this.#sides.use(machine);
    machine.onInputDrained(() => this.#offerInput());
    this.#offerInput();
    machine.exited.then(
      (exit) => (exit.kind === 'reset' ? this.#rebuild(machine) : this.end(exit)),
      (error: unknown) => this.end({ kind: 'error', message: String(error) }),
    );
    machine.start();
    if (this.#paused) await machine.pause();
    this.#channel.statusChanged();
  }

  /** A reset, by the guest or by its owner: a new machine takes the old one's place. */
  async #rebuild(old: VmMachine): Promise<void> {
    if (this.#ending) return;
    this.#usedBefore = this.#used();
    this.#lookAtTray();
    this.#machine = undefined;
    this.#resets++;
    await old.dispose();
    await this.power();
  }

  /** What all machines of this launch have used. */
  #used(): Used {
    const before = this.#usedBefore;
    if (this.#machine === undefined) return before;
    const { cpuSeconds, instructions, disks, cdrom } = this.#machine.stats();
    const ids = this.#config.disks.map(({ id }) => id);
    const now = [...disks, ...(cdrom === undefined ? [] : [cdrom])].map((traffic, n) => ({
      id: ids[n] ?? CDROM_ID,
      ...traffic,
    }));
    return {
      cpuSeconds: before.cpuSeconds + cpuSeconds,
      instructions: before.instructions + instructions,
      drives: now.map((drive) => {
        const former = before.drives.find(({ id }) => id === drive.id);
        return former === undefined ? drive : { id: drive.id, ...addTraffic(former, drive) };
      }),
    };
  }

  #status(): VmStatus {
    return {
      state: this.#machine === undefined ? 'starting' : this.#paused ? 'paused' : 'running',
      engine: this.#machine?.engine ?? 'none',
      resets: this.#resets,
      ...(this.#cdrom === undefined
        ? {}
        : { cdrom: { epoch: this.#cdrom.epoch, refused: this.#refused, ejected: this.#ejected } }),
    };
  }

  /** A tray that the guest leaves open has no disc in it for what comes next. */
  #lookAtTray(): void {
    if (this.#ejected || this.#cdrom?.path == null || this.#machine?.cdrom?.isOpen !== true) return;
    this.#ejected = true;
    this.#channel.statusChanged();
  }

  async #changeDisc(change: DiscChange): Promise<void> {
    if (this.#cdrom === undefined) throw new ChannelError('no-device', 'this VM has no CD-ROM drive');
    const { epoch, path, force } = change;
    this.#cdrom = { epoch, path };
    this.#ejected = false;
    this.#refused = false;
    // A machine that is being built will have it. One that is paused sees it when it goes on.
    const changing = this.#machine?.cdrom?.change(path, force).then(
      (done) => {
        if (this.#cdrom?.epoch === epoch) this.#refused = !done;
      },
      (error: unknown) => {
        throw new ChannelError('invalid', error instanceof Error ? error.message : String(error));
      },
    );
    if (!this.#paused) return changing;
    changing?.catch((error: unknown) => this.#log(`the disc was not changed: ${String(error)}`));
  }

  #stats(): VmStats {
    return {
      ...this.#used(),
      wallSeconds: (performance.now() - this.#launchedAt) / 1000,
      guestMiB: this.#config.memoryMiB,
      viewers: this.#channel.viewers,
      rssBytes: process.memoryUsage.rss(),
      serialSentBytes: this.#channel.backlog.end,
      serialReceivedBytes: this.#receivedBytes,
    };
  }

  async #perform(operation: VmOperation, args: unknown): Promise<VmStatus | VmStats> {
    if (operation === 'stats') return this.#stats();
    if (operation === 'stop') {
      // The answer goes out before the farewell.
      setImmediate(() => this.end({ kind: 'stop' }));
      return this.#status();
    }
    const machine = this.#machine;
    if (operation === 'pause') {
      this.#paused = true;
      await machine?.pause();
    } else if (operation === 'resume') {
      this.#paused = false;
      machine?.resume();
    } else if (operation === 'reset') {
      machine?.reset();
    } else if (operation === 'powerButton') {
      machine?.powerButton();
    } else if (operation === 'changeDisc') {
      await this.#changeDisc(parseDiscChange(args));
    }
    return this.#status();
  }

  /** False when the guest does not read as fast as it is written to: the rest waits, and so must the sender. */
  #input(bytes: Uint8Array): boolean {
    this.#receivedBytes += bytes.length;
    this.#waitingInput.push(bytes);
    this.#offerInput();
    return this.#waitingInput.length === 0;
  }

  #offerInput(): void {
    const machine = this.#machine;
    while (machine !== undefined && this.#waitingInput.length > 0) {
      const [bytes = new Uint8Array(0)] = this.#waitingInput;
      const taken = machine.offerInput(bytes);
      if (taken < bytes.length) {
        this.#waitingInput[0] = bytes.subarray(taken);
        return;
      }
      this.#waitingInput.shift();
    }
    if (this.#waitingInput.length === 0) this.#channel.inputHasRoom();
  }

  #output(bytes: Uint8Array): void {
    this.#channel.output(bytes);
    this.#serial.push(bytes);
    this.#saveTimer ??= setTimeout(() => this.#saveConsole(), CONSOLE_SAVE_MS);
  }

  #saveConsole(): void {
    this.#saveTimer = undefined;
    this.#save(VM_FILES.console, this.#channel.backlog.since(0).bytes);
  }

  #watchForOrphan(agentPresent: boolean): void {
    clearTimeout(this.#orphanTimer);
    if (agentPresent || this.#ending) return;
    this.#orphanTimer = setTimeout(() => {
      this.#log(`no worker for ${this.#config.orphanSeconds} s`);
      void this.end({ kind: 'orphaned' });
    }, this.#config.orphanSeconds * 1000);
  }

  /** Replaces a file of this VM's directory, which is the current directory. A full disk must not end the guest. */
  #save(name: string, content: string | Uint8Array): void {
    try {
      writeFileSync(`${name}.new`, content, { mode: 0o600 });
      renameSync(`${name}.new`, name);
    } catch (error) {
      this.#log(`${name} was not saved: ${String(error)}`);
    }
  }
}
