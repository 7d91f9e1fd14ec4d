import type { GuestMemory } from '../machine/memory.ts';
import { BIOS_CHIPSET, REAL_MODE_IDT, writeRealModeInterrupts } from './bios-state.ts';
import { BootError, type BootModule, type BootRequest, type BootState } from './boot-state.ts';
import { checkPlace, loadElf, parseElf } from './elf.ts';
import {
  alignUp,
  BOOT_CMDLINE_LIMIT,
  clear,
  commandLine,
  HIGH_RAM_START,
  KIB,
  LOW_RAM_END,
  load,
  memoryMap,
  mib,
  PAGE,
  protectedState,
} from './memory-map.ts';

/** Multiboot Specification 0.6.96, 3.1. */
const HEADER_MAGIC = 0x1badb002;
const HEADER_SEARCH = 8192;
const FLAG_ADDRESSES = 0x10000;
/** Of the 16 bits that a loader must understand: page-aligned modules, memory information, video. */
const FLAGS_UNDERSTOOD = 0x0007;
const LOADER_MAGIC = 0x2badb002;
const LOADER_NAME = 'teremok';

/** 3.3: which fields of the information structure are valid. */
const INFO_MEMORY = 0x001;
const INFO_BOOT_DEVICE = 0x002;
const INFO_CMDLINE = 0x004;
const INFO_MODULES = 0x008;
const INFO_MMAP = 0x040;
const INFO_LOADER_NAME = 0x200;
const INFO_LENGTH = 0x78;
/** First hard disk, no partitions. */
const BOOT_DEVICE = 0x8000ffff;
const MODULE_LENGTH = 16;
const MMAP_ENTRY_LENGTH = 24;
const MODULES_LIMIT = 256;

interface MultibootHeader {
  /** Offset in the file. */
  readonly at: number;
  readonly flags: number;
}

/** The header of a multiboot kernel, or undefined when the file has none. */
export function findMultibootHeader(file: Uint8Array): MultibootHeader | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const last = Math.min(HEADER_SEARCH, file.length) - 12;
  for (let at = 0; at <= last; at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    const flags = view.getUint32(at + 4, true);
    if (((HEADER_MAGIC + flags + view.getUint32(at + 8, true)) & 0xffffffff) === 0) return { at, flags };
  }
  return undefined;
}

/**
 * Splits the list of modules that QEMU's `-initrd` takes: `file args,file args`,
 * where `,,` is a comma. `path` is the first word of `cmdline`.
 */
export function parseModuleList(list: string): { path: string; cmdline: string }[] {
  return (list.match(/(?:,,|[^,])+/g) ?? [])
    .map((part) => part.replaceAll(',,', ',').trim())
    .filter((part) => part !== '')
    .map((cmdline) => ({ path: cmdline.split(' ', 1)[0], cmdline }));
}

/**
 * Loads a Multiboot 1 kernel: by its address fields or as ELF, 32 or 64 bit,
 * its entry being 32-bit code in either case. The information structure lies
 * behind the kernel and its modules. A kernel may go back to real mode: it finds
 * interrupts and the chipset there as a BIOS leaves them.
 *
 * @throws BootError with a message for the user
 */
export function loadMultiboot(memory: GuestMemory, request: BootRequest): BootState {
  const header = findMultibootHeader(request.kernel);
  if (header === undefined)
    throw new BootError('KERNEL_NOT_RECOGNIZED', 'the kernel file has no multiboot header');
  const unknown = header.flags & 0xffff & ~FLAGS_UNDERSTOOD;
  if (unknown !== 0) {
    throw new BootError(
      'KERNEL_NO_ENTRY',
      `the multiboot kernel asks for unknown features (0x${unknown.toString(16)})`,
    );
  }
  writeRealModeInterrupts(memory);
  const { entry, end } = loadKernel(memory, request.kernel, header);
  const info = writeInfo(memory, request, Math.max(end, HIGH_RAM_START));
  return {
    ...protectedState(memory, { rip: entry, rax: LOADER_MAGIC, rbx: info }),
    idt: REAL_MODE_IDT,
    chipset: BIOS_CHIPSET,
  };
}

function loadKernel(
  memory: GuestMemory,
  file: Uint8Array,
  header: MultibootHeader,
): { entry: number; end: number } {
  if ((header.flags & FLAG_ADDRESSES) === 0) {
    const elf = parseElf(file);
    const end = loadElf(memory, file, elf);
    return { entry: physicalEntry(elf.entry, elf.segments), end };
  }
  // 3.1.3: the address fields follow the checksum.
  if (header.at + 32 > file.length) throw malformed('its header is cut off');
  const view = new DataView(file.buffer, file.byteOffset + header.at, 32);
  const field = (at: number): number => view.getUint32(at, true);
  const [headerAt, loadAt, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map(field);
  const start = header.at - (headerAt - loadAt);
  if (loadAt > headerAt || start < 0) throw malformed('its load address lies behind its header');
  const length = loadEnd === 0 ? file.length - start : loadEnd - loadAt;
  if (length <= 0 || start + length > file.length) throw malformed('it ends before its load end');
  const end = Math.max(bssEnd, loadAt + length);
  checkPlace(memory, loadAt, end - loadAt);
  load(memory, loadAt, file.subarray(start, start + length));
  clear(memory, loadAt + length, end - loadAt - length);
  return { entry, end };
}

/** An ELF entry may be a virtual address; the protocol starts without paging. */
function physicalEntry(
  entry: number,
  segments: readonly { virtual: number; physical: number; memorySize: number }[],
): number {
  if (segments.some((s) => entry >= s.physical && entry < s.physical + s.memorySize)) return entry;
  const segment = segments.find((s) => entry >= s.virtual && entry < s.virtual + s.memorySize);
  if (segment === undefined) throw malformed('its entry point lies outside what it loads');
  return entry - segment.virtual + segment.physical;
}

/** Modules, then the information structure with all that it points to. Returns its address. */
function writeInfo(memory: GuestMemory, request: BootRequest, after: number): number {
  const modules = modulesOf(request);
  const places: number[] = [];
  let at = alignUp(after, PAGE);
  for (const module of modules) {
    if (at + module.data.length > memory.size) throw noRoom('INITRD_TOO_BIG', 'its modules', memory);
    load(memory, at, module.data);
    places.push(at);
    at = alignUp(at + module.data.length, PAGE);
  }

  const name = request.kernelName ?? 'kernel';
  const line = [name, request.cmdline ?? ''].filter((part) => part !== '').join(' ');
  const strings = [line, LOADER_NAME, ...modules.map((m) => m.cmdline)].map((s) =>
    commandLine(s, BOOT_CMDLINE_LIMIT - 1),
  );
  const map = memoryMap(memory.size);
  const modulesAt = at + INFO_LENGTH;
  const mapAt = modulesAt + MODULE_LENGTH * modules.length;
  let stringAt = mapAt + MMAP_ENTRY_LENGTH * map.length;
  const stringsAt = strings.map((bytes) => {
    const here = stringAt;
    stringAt += bytes.length;
    return here;
  });
  if (stringAt > memory.size) throw noRoom('MEMORY_TOO_SMALL', 'its boot information', memory);

  const block = new Uint8Array(stringAt - at);
  const view = new DataView(block.buffer);
  const u32 = (gpa: number, value: number): void => view.setUint32(gpa - at, value, true);
  const flags = INFO_MEMORY | INFO_BOOT_DEVICE | INFO_CMDLINE | INFO_MODULES | INFO_MMAP | INFO_LOADER_NAME;
  u32(at, flags);
  u32(at + 4, Math.floor(LOW_RAM_END / KIB));
  u32(at + 8, Math.max(0, Math.floor((memory.size - HIGH_RAM_START) / KIB)));
  u32(at + 12, BOOT_DEVICE);
  u32(at + 16, stringsAt[0]);
  u32(at + 20, modules.length);
  u32(at + 24, modulesAt);
  u32(at + 44, MMAP_ENTRY_LENGTH * map.length);
  u32(at + 48, mapAt);
  u32(at + 64, stringsAt[1]);
  modules.forEach((module, i) => {
    const entry = modulesAt + MODULE_LENGTH * i;
    u32(entry, places[i]);
    u32(entry + 4, places[i] + module.data.length);
    u32(entry + 8, stringsAt[2 + i]);
  });
  map.forEach((range, i) => {
    const entry = mapAt + MMAP_ENTRY_LENGTH * i;
    // The size field does not count itself.
    u32(entry, MMAP_ENTRY_LENGTH - 4);
    u32(entry + 4, range.base);
    u32(entry + 12, range.length);
    u32(entry + 20, range.type);
  });
  strings.forEach((bytes, i) => block.set(bytes, stringsAt[i] - at));
  load(memory, at, block);
  return at;
}

function modulesOf(request: BootRequest): readonly BootModule[] {
  const modules =
    request.modules ?? (request.initrd === undefined ? [] : [{ data: request.initrd, cmdline: 'initrd' }]);
  if (modules.length > MODULES_LIMIT) {
    throw new BootError(
      'INITRD_TOO_BIG',
      `${modules.length} modules; at most ${MODULES_LIMIT} can be loaded`,
    );
  }
  return modules;
}

function noRoom(code: 'INITRD_TOO_BIG' | 'MEMORY_TOO_SMALL', what: string, memory: GuestMemory): BootError {
  return new BootError(
    code,
    `the machine's ${mib(memory.size)} of memory have no room for the kernel and ${what}`,
  );
}

function malformed(why: string): BootError {
  return new BootError('KERNEL_MALFORMED', `the multiboot kernel is damaged: ${why}`);
}
