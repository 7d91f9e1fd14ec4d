import { randomFillSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { DiskBackend } from '../backends/disk.ts';
import { type OpenDiskOptions, openDisk } from '../backends/open-disk.ts';
import { type ByteSink, NullSink } from '../backends/streams.ts';
import { Interpreter } from '../cpu/interpret/engine.ts';
import { CS, FRAMES, gpr, RAM, S, SEG, segment } from '../cpu/layout.ts';
import type { CpuPlatform } from '../cpu/system/context.ts';
import { CPU_PROFILES, CpuidTable, type CpuProfile } from '../cpu/system/cpuid.ts';
import { CodeHistory } from '../cpu/translate/code-history.ts';
import { setV8Flags } from '../cpu/translate/maker-start.ts';
import type { TranslationProfile } from '../cpu/translate/profile/translation-profile.ts';
import { TRANSLATION, Translator, type TranslatorOptions } from '../cpu/translate/translator.ts';
import { debugExitStatus } from '../devices/debug-exit.ts';
import type { BootRequest } from '../firmware/boot-state.ts';
import { detectKernel } from '../firmware/detect.ts';
import { parseModuleList } from '../firmware/multiboot.ts';
import type { BootDevice } from './boot-order.ts';
import { firmwareFiles } from './firmware.ts';
import { FirmwareStart } from './firmware-start.ts';
import { type LogSink, RateLimitedLog } from './guest-log.ts';
import { MOST_IDE_DISKS } from './ide.ts';
import { INSTRUCTION_NS, InstructionClock } from './instruction-clock.ts';
import { KernelStart } from './kernel-start.ts';
import { KvmClock } from './kvm-clock.ts';
import { Machine } from './machine.ts';
import { type HostSource, MachineDoor } from './machine-door.ts';
import type { MemoryMapping } from './mapping.ts';
import { PacedIo } from './paced-io.ts';
import { buildPc, type Pc, type PcDisk, type PcFirmware, type PcVideo } from './pc.ts';
import { Ram } from './ram.ts';
import { fitsRom, ROM_LIMIT, ShadowRam } from './shadow-ram.ts';
import type { Start } from './start.ts';
import { Tsc } from './tsc.ts';
import { VideoMemory } from './video-memory.ts';

const MIB = 1 << 20;
const WASM_PAGE = 1 << 16;
/** In the order of their numbers. */
const REGISTERS = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'];
export const MEMORY_MIB = { least: 1, most: 3072 } as const;
const FIRMWARE_MIB = 4;

export interface MachineFirmware {
  /** Path of the image: whole pages, 64 KiB to 4 MiB, whose end is at 4 GiB. */
  readonly bios: string;
  /** Path of the VGA's BIOS, an option ROM. */
  readonly vgaBios?: string;
  /** Disks before the CD by default. */
  readonly order?: readonly BootDevice[];
  /** Offer a menu, for so many milliseconds, 1 to 60000. */
  readonly menuWait?: number;
  /** Firmware shows its text on the serial line too, and takes keys from there; false by default. */
  readonly serialConsole?: boolean;
}

export interface MachineDisk extends Omit<OpenDiskOptions, 'readOnly' | 'log'> {
  readonly readonly?: boolean;
  /** `virtio` when not given; up to three may be on `ide`. */
  readonly bus?: 'virtio' | 'ide';
}

/** A disk that is open already. It is closed with the machine, which is the only one to use it. */
interface OpenMachineDisk extends Pick<MachineDisk, 'bus'> {
  readonly backend: DiskBackend;
}

export interface MachineConfig {
  /** 1 to 3072; at least 4 with firmware. */
  readonly memoryMiB: number;
  /** Start from firmware, at the reset vector; else `boot` names a kernel. */
  readonly firmware?: MachineFirmware;
  readonly boot?: {
    /** Path of a bzImage, or of an ELF with a PVH note or a multiboot header. */
    readonly kernel: string;
    /** Path; for a multiboot kernel, a comma-separated list of `path arguments`. */
    readonly initrd?: string;
    readonly cmdline?: string;
  };
  /** A video adapter in a machine that starts from a kernel, as a reset leaves it; with firmware there always is one. */
  readonly video?: boolean;
  readonly disks?: readonly (MachineDisk | OpenMachineDisk)[];
  /** Path of the disc in a CD-ROM drive, an image or a drive of the host's, or the disc itself; null for a drive without. */
  readonly cdrom?: string | DiskBackend | null;
  readonly engine?: 'auto' | 'interpret' | 'translate';
  /** Have translated code count its instructions and exits, for statistics; it costs a few per cent. */
  readonly countRegions?: boolean;
  /** QEMU's isa-debug-exit at port 0xf4. */
  readonly debugExit?: boolean;
  /** QEMU's pc-testdev. */
  readonly testDevice?: boolean;
  /** The processor that the guest sees; `portable` when not given. */
  readonly cpu?: CpuProfile;
  /** Ticks of the guest's TSC a second. */
  readonly tscHz?: number;
  /**
   * Nanoseconds of machine time that one instruction takes, 1 to 1000. Time
   * then comes from the instructions alone: without input from outside two
   * runs are the same, instruction for instruction, under every engine. The
   * calendar starts on a fixed day and random numbers can be foretold.
   */
  readonly icount?: number;
}

export interface MachineBackends {
  /** Where the serial line's output goes. */
  readonly serial?: ByteSink;
  /** With it, the machine has a virtio console too. */
  readonly console?: ByteSink;
  /** Lines of the machine and, at a bounded rate, of what the guest provokes. */
  readonly log?: (message: string) => void;
  /** Lines that firmware writes to port 402h, all of them; they go to the log when it is not given, as many as that takes. */
  readonly firmwareLog?: (line: string) => void;
  /** The host's clocks and entropy; the real ones when not given. */
  readonly host?: HostSource;
  /** A folder for what takes long to generate and is the same for all machines; without it each process generates it. */
  readonly cacheFolder?: string;
  /**
   * A file for what is learned of guests' code: which of it was worth translating. How soon code is translated tells what
   * ran in the machines before, so those that are not to know of one another have files of their own.
   */
  readonly codeHistory?: string;
  /** How eagerly code is translated, for tests. */
  readonly translation?: TranslatorOptions;
  /** Collects what translated code does, place by place; it costs some of its speed. */
  readonly profile?: TranslationProfile;
}

/** What cannot be built, told to the user. */
export class MachineConfigError extends Error {}

const REAL_HOST: HostSource = {
  monotonic: () => Math.floor(performance.now() * 1e6),
  calendar: () => Date.now(),
  random: (target) => {
    randomFillSync(target);
  },
};

async function readBootFile(what: string, path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new MachineConfigError(`the ${what} ${path} cannot be read (${code})`);
  }
}

async function bootRequest(boot: NonNullable<MachineConfig['boot']>): Promise<BootRequest> {
  const request: BootRequest = {
    kernel: await readBootFile('kernel', boot.kernel),
    kernelName: boot.kernel,
    cmdline: boot.cmdline ?? '',
  };
  if (boot.initrd === undefined) return request;
  if (detectKernel(request.kernel) !== 'multiboot')
    return { ...request, initrd: await readBootFile('initrd', boot.initrd) };
  const modules = parseModuleList(boot.initrd).map(async ({ path, cmdline }) => ({
    data: await readBootFile('initrd', path),
    cmdline,
  }));
  return { ...request, modules: await Promise.all(modules) };
}

/** Gives the bytes of the boot files back, which are in RAM now: V8 does not collect them while its own heap is small. */
function releaseFiles({ kernel, initrd, modules = [] }: BootRequest): void {
  // What shares its memory with others, as small files through a pipe do with Node's pool, stays.
  for (const bytes of [kernel, initrd, ...modules.map(({ data }) => data)])
    if (bytes?.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength)
      bytes.buffer.transfer(0);
}

interface FirmwareImages {
  readonly bios: Uint8Array;
  readonly vgaBios: Uint8Array | undefined;
}

async function readFirmware({ bios, vgaBios }: MachineFirmware): Promise<FirmwareImages> {
  const image = await readBootFile('firmware', bios);
  if (!fitsRom(image.length))
    throw new MachineConfigError(
      `the firmware ${bios} has ${image.length} bytes: an image has whole pages of 4096, 64 KiB to ${ROM_LIMIT / MIB} MiB`,
    );
  return {
    bios: image,
    vgaBios: vgaBios === undefined ? undefined : await readBootFile('VGA BIOS', vgaBios),
  };
}

/** What the machine's first instruction comes from. */
async function readStart({ boot, firmware }: MachineConfig): Promise<FirmwareImages | BootRequest> {
  if (firmware && !boot) return readFirmware(firmware);
  if (boot && !firmware) return bootRequest(boot);
  throw new MachineConfigError('a machine starts either from a kernel or from firmware');
}

function discOf(disc: string | DiskBackend): OpenDiskOptions | DiskBackend {
  return typeof disc === 'string' ? { path: disc, readOnly: true, format: 'raw' } : disc;
}

function allocate(ramBytes: number): WebAssembly.Memory {
  const pages = (RAM + ramBytes) / WASM_PAGE;
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch {
    throw new MachineConfigError(
      `the host has no ${ramBytes / MIB} MiB of address space for this machine's memory`,
    );
  }
}

/** Frames that are not RAM: they lie before it. */
function framesAt(
  memory: WebAssembly.Memory,
  { base, bytes }: { readonly base: number; readonly bytes: number },
): Uint8Array<SharedArrayBuffer> {
  const { buffer } = memory;
  if (!(buffer instanceof SharedArrayBuffer)) throw new Error('the memory of a machine is shared');
  return new Uint8Array(buffer, (RAM + base) >>> 0, bytes);
}

function cpuPlatform(pc: Pc, door: MachineDoor, tsc: Tsc, clock: KvmClock, cpuid: CpuidTable): CpuPlatform {
  const entropy = new DataView(new ArrayBuffer(8));
  const bytes = new Uint8Array(entropy.buffer);
  return {
    ioRead: (port, size) => pc.pio.read(port, size),
    ioWrite: (port, size, value) => pc.pio.write(port, size, value),
    strings: {
      takes: (port) => pc.pio.takesMany(port),
      read: (port, size, target) => pc.pio.readMany(port, size, target),
      write: (port, size, source) => pc.pio.writeMany(port, size, source),
    },
    msrRead: (index) => clock.read(index) ?? pc.lapic.readMsr(index),
    msrWrite: (index, value) => clock.write(index, value) || pc.lapic.writeMsr(index, value),
    tsc: () => tsc.now(),
    elapsed: tsc.elapsed,
    setTsc: (value) => {
      tsc.set(value);
      pc.lapic.tscChanged();
      clock.refresh();
    },
    random64: () => {
      door.random(bytes);
      return entropy.getBigUint64(0, true);
    },
    tprGet: () => pc.lapic.cr8,
    tprSet: (value) => {
      pc.lapic.cr8 = value;
    },
    cpuid,
  };
}

function checkConfig(config: MachineConfig): void {
  const { memoryMiB } = config;
  if (!Number.isInteger(memoryMiB) || memoryMiB < MEMORY_MIB.least || memoryMiB > MEMORY_MIB.most) {
    throw new MachineConfigError(
      `a machine has ${MEMORY_MIB.least} to ${MEMORY_MIB.most} MiB of memory, not ${memoryMiB}`,
    );
  }
  if (config.firmware && memoryMiB < FIRMWARE_MIB)
    throw new MachineConfigError(`a machine with firmware has at least ${FIRMWARE_MIB} MiB of memory`);
  if ((config.disks ?? []).filter(({ bus }) => bus === 'ide').length > MOST_IDE_DISKS)
    throw new MachineConfigError(`a machine has at most ${MOST_IDE_DISKS} disks on IDE`);
  const { icount } = config;
  const { least, most } = INSTRUCTION_NS;
  if (icount !== undefined && !(Number.isInteger(icount) && icount >= least && icount <= most))
    throw new MachineConfigError(`icount is ${least} to ${most} ns an instruction, not ${icount}`);
}

/**
 * Builds a machine and loads its kernel; `start` runs it.
 *
 * @throws MachineConfigError, BootError or DiskError with a message for the user
 */
export async function createMachine(config: MachineConfig, backends: MachineBackends = {}): Promise<Machine> {
  checkConfig(config);
  setV8Flags();
  const ramBytes = config.memoryMiB * MIB;
  const memory = allocate(ramBytes);
  const ram = new Ram(memory.buffer, RAM, ramBytes);
  let engine: Interpreter | undefined;
  const ownClock =
    config.icount === undefined ? undefined : new InstructionClock(config.icount, () => engine?.ticks ?? 0);
  const door = new MachineDoor(ownClock ?? backends.host ?? REAL_HOST);
  const own = ownClock && { clock: ownClock, io: new PacedIo(door.clock) };
  const tsc = new Tsc(door.clock, config.tscHz ?? 1e9);
  const sink: LogSink = ({ message, details }) =>
    backends.log?.(details ? `${message} ${JSON.stringify(details)}` : message);
  const log = new RateLimitedLog(sink, () => door.clock.now() / 1e6);
  const clock = new KvmClock(door, ram, tsc);
  const source = await readStart(config);
  const features = CPU_PROFILES[config.cpu ?? 'portable'];
  const cpuid = new CpuidTable({ tscHz: tsc.hz, apicHz: 1e9, features });
  const disks: DiskBackend[] = [];
  const sinkOf = (sink: ByteSink): ByteSink => own?.io.sink(sink) ?? sink;
  try {
    const open = async (given: OpenDiskOptions | DiskBackend): Promise<DiskBackend> => {
      const disk = 'path' in given ? await openDisk({ ...given, log: (line) => log.host(line) }) : given;
      disks.push(disk);
      return own ? own.io.disk(disk) : disk;
    };
    const plugged: PcDisk[] = [];
    for (const { bus = 'virtio', ...disk } of config.disks ?? []) {
      const given = 'backend' in disk ? disk.backend : { ...disk, readOnly: disk.readonly ?? false };
      plugged.push({ backend: await open(given), bus });
    }
    const { cdrom } = config;
    const drive =
      cdrom === undefined ? undefined : { medium: cdrom === null ? undefined : await open(discOf(cdrom)) };
    let machine: Machine | undefined;
    let shadow: ShadowRam | undefined;
    const vgaBios = 'bios' in source ? source.vgaBios : undefined;
    const platform = { keyboard: true, vga: 'bios' in source || config.video === true };
    const firmware: PcFirmware | undefined = config.firmware && {
      files: (bootOrder) =>
        firmwareFiles({
          ramBytes,
          tscHz: tsc.hz,
          cpuid,
          platform,
          bootOrder,
          bootMenuWait: config.firmware?.menuWait,
        }),
      bootFrom: config.firmware.order,
      bootMenu: config.firmware.menuWait !== undefined,
      serialConsole: config.firmware.serialConsole ?? false,
      message: (line) => {
        if (backends.firmwareLog) backends.firmwareLog(line);
        else log.guest(`firmware: ${line}`);
      },
      onShadow: (segments) => shadow?.route(segments),
    };
    const mapping: MemoryMapping = {
      mapMemory: (range) => engine?.mapMemory(range),
      unmapMemory: (base, length) => engine?.unmapMemory(base, length),
      writtenPages: (range) => engine?.writtenPages(range) ?? [],
      forgetWrites: (range) => engine?.forgetWrites(range),
    };
    const videoMemory = new VideoMemory(mapping);
    const video: PcVideo | undefined = platform.vga
      ? {
          vram: framesAt(memory, FRAMES.video),
          dirty: videoMemory,
          onFramebuffer: (base) => videoMemory.place(base),
          bios: vgaBios,
        }
      : undefined;
    const pc = buildPc({
      door,
      memory: ram,
      tsc,
      log,
      disks: plugged,
      cdrom: drive,
      serial: sinkOf(backends.serial ?? new NullSink()),
      console: backends.console && sinkOf(backends.console),
      debugExit: config.debugExit ?? false,
      testDevice: config.testDevice ?? false,
      firmware,
      video,
      registers: {
        read: (name) => engine?.view.getUint32(gpr(REGISTERS.indexOf(name)), true) ?? 0,
        write: (name, value) => engine?.view.setBigUint64(gpr(REGISTERS.indexOf(name)), BigInt(value), true),
      },
      events: {
        powerOff: () => machine?.end({ kind: 'power-off' }),
        reset: () => machine?.end({ kind: 'reset' }),
        suspend: () => machine?.suspend(),
        resume: () => machine?.wakeUp(),
        debugExit: (value) => machine?.end({ kind: 'debug-exit', status: debugExitStatus(value) }),
        wake: () => engine?.interruptsChanged(),
        a20: (open) => engine?.setA20(open),
        polls: () => machine?.yield(),
      },
    });
    engine = new Interpreter({
      memory,
      ramBytes,
      mmio: pc.mmio,
      interrupts: pc.lapic,
      cacheFolder: backends.cacheFolder,
      platform: cpuPlatform(pc, door, tsc, clock, cpuid),
      ...(config.engine !== 'interpret' && {
        tier: (host) =>
          new Translator(host, {
            ...(backends.translation ?? { ...TRANSLATION, count: config.countRegions ?? false }),
            profile: backends.profile,
            history: backends.codeHistory === undefined ? undefined : new CodeHistory(backends.codeHistory),
          }),
      }),
    });
    const processor = engine;
    tsc.onOffset((offset) => processor.view.setBigInt64(S.tscOffset, BigInt.asIntN(64, offset), true));
    ram.onWritten((gpa, length) => processor.memoryWritten(gpa, length));
    const parts = { ram, pc, engine, log, platform };
    let start: Start;
    if ('bios' in source) {
      shadow = new ShadowRam(engine, ram, framesAt(memory, FRAMES.rom), source.bios);
      start = new FirmwareStart(parts, shadow);
    } else {
      start = new KernelStart(parts, source);
      releaseFiles(source);
    }
    start.begin();
    const wake = (): boolean => {
      if (!start.wake()) return false;
      tsc.set(0n);
      clock.reset();
      return true;
    };
    machine = new Machine({
      door,
      pc,
      engine,
      memory,
      disks,
      onResume: () => clock.refresh(),
      onWake: wake,
      whereabouts: () => whereabouts(processor.view),
      own,
    });
    return machine;
  } catch (error) {
    await Promise.all(disks.map((disk) => disk.close()));
    throw error;
  }
}

function whereabouts(view: DataView): string {
  const hex = (offset: number): string => view.getBigUint64(offset, true).toString(16);
  return `CS ${view.getUint16(segment(CS) + SEG.selector, true).toString(16)} RIP ${hex(S.rip)} CR2 ${hex(S.cr2)} CR3 ${hex(S.cr3)}`;
}
