import { closeSync, createWriteStream, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ByteInput, ByteSink } from '../../hypervisor/backends/streams.ts';
import { NullSink, pipeToInput, StreamSink } from '../../hypervisor/backends/streams.ts';
import type { Machine, MachineBackends, MachineConfig, MachineExit } from '../../hypervisor/index.ts';
import { createMachine, TranslationProfile } from '../../hypervisor/index.ts';
import { CommandError, EXIT, UsageError } from '../command.ts';
import { cacheDirectory } from '../setup/bootstrap.js';
import { FIRMWARE, provideDebianFiles } from '../setup/guest/debian-files.ts';
import { Terminal } from '../terminal.ts';
import { ESCAPE_HELP, EscapeReader } from './escape.ts';
import type { RunOptions } from './options.ts';
import { saveProfile } from './profile.ts';
import { RunScreen } from './run-display.ts';
import type { RunStats } from './stats.ts';
import { addStats, formatStats } from './stats.ts';

/** How a triple fault, or a reset with --no-reboot, ends. */
const EXIT_RESET = 3;

/** What ends a run besides the guest. */
type Ending =
  | MachineExit
  | { readonly kind: 'timeout' }
  | { readonly kind: 'quit' }
  | { readonly kind: 'signal'; readonly status: number };

/** One run of a machine in this terminal. Resolves with the exit status. `cacheFolder`: see MachineBackends. */
export async function runMachine(options: RunOptions, cacheFolder: string): Promise<number> {
  const asked = Promise.withResolvers<Ending>();
  const console = new RunConsole(options, asked.resolve);
  const timer =
    options.timeoutSeconds === undefined
      ? undefined
      : setTimeout(() => asked.resolve({ kind: 'timeout' }), options.timeoutSeconds * 1000);
  const onInterrupt = (): void => asked.resolve({ kind: 'signal', status: 130 });
  const onTerminate = (): void => asked.resolve({ kind: 'signal', status: 143 });
  process.on('SIGINT', onInterrupt).on('SIGTERM', onTerminate).on('SIGHUP', onTerminate);
  let stats: RunStats | undefined;
  const profile = options.profile && new TranslationProfile();
  const screen = new RunScreen();
  const log = options.firmwareLog === undefined ? undefined : openSync(options.firmwareLog, 'w');
  try {
    if (options.display !== undefined) await screen.open(options.display);
    for (;;) {
      const machine = await build(options, {
        serial: console.sink,
        cacheFolder,
        codeHistory: join(cacheFolder, 'code-history.bin'),
        ...(profile && { profile }),
        ...(log !== undefined && { firmwareLog: (line) => writeSync(log, `${line}\n`) }),
      });
      console.connect(machine.serialInput);
      screen.show(machine);
      machine.start();
      const ending = await Promise.race([machine.exited, asked.promise]);
      const figures = machine.stats();
      stats = stats === undefined ? figures : addStats(stats, figures);
      await machine.dispose();
      if (ending.kind === 'reset' && !options.noReboot) continue;
      return await conclude(ending, console);
    }
  } finally {
    clearTimeout(timer);
    process.off('SIGINT', onInterrupt).off('SIGTERM', onTerminate).off('SIGHUP', onTerminate);
    console.close();
    await screen.close();
    if (log !== undefined) closeSync(log);
    if (options.stats !== undefined && stats !== undefined) saveStats(options.stats, stats);
    if (options.profile && profile && stats) await saveProfile(options.profile, profile, stats);
  }
}

async function build(options: RunOptions, backends: MachineBackends): Promise<Machine> {
  const config: MachineConfig = {
    memoryMiB: options.memoryMiB,
    ...(await startOf(options)),
    disks: options.disks.map(({ path, readonly, format, bus }) => ({
      path,
      readonly,
      bus,
      ...(format && { format }),
    })),
    ...(options.cdrom === undefined ? {} : { cdrom: options.cdrom }),
    video: options.display !== undefined,
    engine: options.engine,
    cpu: options.cpu,
    ...(options.icount === undefined ? {} : { icount: options.icount }),
    countRegions: options.stats !== undefined,
    debugExit: options.debugExit,
    testDevice: options.testDevice,
  };
  try {
    return await createMachine(config, backends);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const { kernel } = options;
    // What loads a kernel has its bytes and not its name.
    throw new UsageError(kernel === undefined || reason.includes(kernel) ? reason : `${kernel}: ${reason}`);
  }
}

/** A kernel, or firmware: the one given, or SeaBIOS. */
async function startOf(options: RunOptions): Promise<Pick<MachineConfig, 'boot' | 'firmware'>> {
  const { kernel, initrd, append, firmware, bootFrom } = options;
  if (kernel !== undefined) {
    return {
      boot: {
        kernel,
        ...(initrd === undefined ? {} : { initrd }),
        ...(append === undefined ? {} : { cmdline: append }),
      },
    };
  }
  const folder = await provideDebianFiles(FIRMWARE, cacheDirectory());
  return {
    firmware: {
      bios: firmware ?? join(folder, 'bios-256k.bin'),
      vgaBios: join(folder, 'vgabios-stdvga.bin'),
      ...(bootFrom === undefined ? {} : { order: [bootFrom] }),
      // Without a screen the serial line shows what firmware has to say.
      serialConsole: options.display === undefined,
    },
  };
}

async function conclude(ending: Ending, console: RunConsole): Promise<number> {
  await console.flush();
  switch (ending.kind) {
    case 'power-off':
    case 'quit':
      return EXIT.ok;
    case 'timeout':
      return EXIT.timeout;
    case 'reset':
      return EXIT_RESET;
    case 'triple-fault':
      console.note(`the guest triple-faulted: ${ending.detail}`);
      return EXIT_RESET;
    case 'debug-exit':
      return ending.status;
    case 'signal':
      return ending.status;
    case 'error':
      throw new CommandError(`the machine failed: ${ending.message}`);
  }
}

function saveStats(path: string, stats: RunStats): void {
  try {
    writeFileSync(path, formatStats(stats));
  } catch (error) {
    process.stderr.write(`teremok: the statistics were not written to ${path}: ${String(error)}\n`);
  }
}

/** The serial line's end in this terminal: where its bytes go, and where what is typed comes from. */
class RunConsole {
  readonly sink: ByteSink;
  readonly #end: (ending: Ending) => void;
  readonly #stream: NodeJS.WritableStream | undefined;
  readonly #terminal: Terminal | undefined;
  readonly #escapes = new EscapeReader();
  #input: ByteInput | undefined;
  #waiting: Uint8Array = new Uint8Array(0);
  #release: (() => void) | undefined;

  constructor({ serial }: RunOptions, end: (ending: Ending) => void) {
    this.#end = end;
    if (serial.kind === 'none') {
      this.sink = new NullSink();
      return;
    }
    const stream = serial.kind === 'file' ? createWriteStream(serial.path) : process.stdout;
    this.#stream = stream;
    // Nobody reads any more: without its only viewer the machine has no purpose.
    this.sink = new StreamSink(stream, () => end({ kind: 'quit' }));
    if (serial.kind === 'stdio') this.#terminal = new Terminal(process.stdin);
    if (this.#terminal?.isTty === true) {
      process.stderr.write(`[${ESCAPE_HELP}]\n`);
      this.#terminal.start((bytes) => this.#typed(bytes));
    }
  }

  /** Leads what is typed to a machine's serial line; a machine after a reset takes the place of the one before. */
  connect(input: ByteInput): void {
    this.#input = input;
    if (this.#terminal === undefined) return;
    if (!this.#terminal.isTty) {
      this.#release?.();
      this.#release = pipeToInput(process.stdin, input);
      return;
    }
    input.onDrained(() => this.#offer());
    this.#offer();
  }

  note(text: string): void {
    this.#terminal?.stop();
    process.stderr.write(`teremok: ${text}\n`);
  }

  /** Resolves when what the guest wrote is on its way. */
  async flush(): Promise<void> {
    const stream = this.#stream;
    if (stream === undefined || !stream.writable) return;
    await new Promise<void>((resolve) => {
      stream.once('error', () => resolve());
      stream.write('', () => resolve());
    });
  }

  close(): void {
    this.#release?.();
    this.#terminal?.stop();
    process.stdin.pause();
    if (this.#stream !== undefined && this.#stream !== process.stdout) this.#stream.end();
  }

  #typed(typed: Uint8Array): void {
    const { bytes, quit, help } = this.#escapes.read(typed);
    if (help) process.stderr.write(`\r\n[${ESCAPE_HELP}]\r\n`);
    if (bytes.length > 0) {
      this.#waiting = Buffer.concat([this.#waiting, bytes]);
      this.#offer();
    }
    if (quit) this.#end({ kind: 'quit' });
  }

  #offer(): void {
    const taken = this.#input?.offer(this.#waiting) ?? 0;
    this.#waiting = this.#waiting.subarray(taken);
    if (this.#waiting.length > 0) this.#terminal?.pause();
    else this.#terminal?.resume();
  }
}
