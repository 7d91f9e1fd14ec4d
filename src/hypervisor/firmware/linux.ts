import type { GuestMemory } from '../machine/memory.ts';
import { BootError, type BootRequest, type BootState } from './boot-state.ts';
import {
  alignDown,
  alignUp,
  BOOT_CMDLINE,
  BOOT_CMDLINE_LIMIT,
  BOOT_INFO,
  BOOT_STACK_TOP,
  commandLine,
  flatSegments,
  HIGH_RAM_START,
  identityPageTables,
  load,
  memoryMap,
  mib,
  PAGE,
  protectedState,
} from './memory-map.ts';

/** Offsets of the setup header, Documentation/arch/x86/boot.rst. */
const HDR_START = 0x1f1;
const HDR_SETUP_SECTS = 0x1f1;
const HDR_BOOT_FLAG = 0x1fe;
const HDR_JUMP_LENGTH = 0x201;
const HDR_MAGIC = 0x202;
const HDR_VERSION = 0x206;
const HDR_TYPE_OF_LOADER = 0x210;
const HDR_LOADFLAGS = 0x211;
const HDR_CODE32_START = 0x214;
const HDR_RAMDISK_IMAGE = 0x218;
const HDR_RAMDISK_SIZE = 0x21c;
const HDR_CMD_LINE_PTR = 0x228;
const HDR_INITRD_ADDR_MAX = 0x22c;
const HDR_KERNEL_ALIGNMENT = 0x230;
const HDR_RELOCATABLE = 0x234;
const HDR_XLOADFLAGS = 0x236;
const HDR_CMDLINE_SIZE = 0x238;
const HDR_PREF_ADDRESS = 0x258;
const HDR_INIT_SIZE = 0x260;
const HDR_MIN_END = 0x264;

const MAGIC_HDRS = 0x53726448;
const LOADED_HIGH = 0x01;
const XLF_KERNEL_64 = 0x0001;
/** First version with pref_address and init_size (Linux 2.6.31). */
const VERSION_MIN = 0x020a;
const LOADER_UNDEFINED = 0xff;
const ENTRY_64 = 0x200;

/** Offsets of the zero page, Documentation/arch/x86/zero-page.rst. */
const ZP_ACPI_RSDP = 0x070;
const ZP_E820_ENTRIES = 0x1e8;
const ZP_E820_TABLE = 0x2d0;

/** What a bzImage says of itself. */
export interface LinuxHeader {
  readonly version: number;
  /** Bytes of real-mode code before the kernel proper. */
  readonly setupBytes: number;
  readonly loadedHigh: boolean;
  /** Offset of the end of the header in the file. */
  readonly headerEnd: number;
  readonly initrdAddrMax: number;
  readonly alignment: number;
  readonly relocatable: boolean;
  readonly entry64: boolean;
  readonly cmdlineSize: number;
  readonly prefAddress: number;
  /** RAM that the kernel wants from its load address on until it has found its feet. */
  readonly initSize: number;
}

/** Whether a file starts as a bzImage does. */
export function isLinuxImage(file: Uint8Array): boolean {
  return file.length >= HDR_VERSION && dataView(file).getUint32(HDR_MAGIC, true) === MAGIC_HDRS;
}

/**
 * Reads the setup header of a bzImage.
 * @throws BootError for a file that is too short, no Linux kernel, too old or damaged
 */
export function parseLinuxHeader(file: Uint8Array): LinuxHeader {
  if (file.length < HDR_MIN_END) {
    throw new BootError(
      'KERNEL_TOO_SHORT',
      `the kernel file has ${file.length} bytes, too few for a Linux kernel`,
    );
  }
  const view = dataView(file);
  if (view.getUint32(HDR_MAGIC, true) !== MAGIC_HDRS || view.getUint16(HDR_BOOT_FLAG, true) !== 0xaa55) {
    throw new BootError(
      'KERNEL_NOT_RECOGNIZED',
      'the kernel file is not a Linux bzImage (no HdrS signature)',
    );
  }
  const version = view.getUint16(HDR_VERSION, true);
  if (version < VERSION_MIN) {
    const spelled = `${version >> 8}.${String(version & 0xff).padStart(2, '0')}`;
    throw new BootError(
      'KERNEL_TOO_OLD',
      `the kernel speaks boot protocol ${spelled}; 2.10 (Linux 2.6.31) or later is needed`,
    );
  }
  const setupBytes = 512 * ((view.getUint8(HDR_SETUP_SECTS) || 4) + 1);
  if (file.length <= setupBytes) {
    throw new BootError(
      'KERNEL_TOO_SHORT',
      `the kernel file ends at ${file.length} bytes, before the kernel proper`,
    );
  }
  const header: LinuxHeader = {
    version,
    setupBytes,
    loadedHigh: (view.getUint8(HDR_LOADFLAGS) & LOADED_HIGH) !== 0,
    headerEnd: Math.min(HDR_MAGIC + view.getUint8(HDR_JUMP_LENGTH), ZP_E820_TABLE, file.length),
    initrdAddrMax: view.getUint32(HDR_INITRD_ADDR_MAX, true),
    alignment: view.getUint32(HDR_KERNEL_ALIGNMENT, true),
    relocatable: view.getUint8(HDR_RELOCATABLE) !== 0,
    entry64: version >= 0x020c && (view.getUint16(HDR_XLOADFLAGS, true) & XLF_KERNEL_64) !== 0,
    cmdlineSize: view.getUint32(HDR_CMDLINE_SIZE, true),
    prefAddress: Number(view.getBigUint64(HDR_PREF_ADDRESS, true)),
    initSize: view.getUint32(HDR_INIT_SIZE, true),
  };
  if (!header.loadedHigh)
    throw new BootError('KERNEL_NO_ENTRY', 'the kernel is a zImage; only bzImage kernels can be started');
  if (header.headerEnd < HDR_MIN_END || header.initSize === 0) {
    throw new BootError('KERNEL_MALFORMED', 'the setup header of the kernel is damaged');
  }
  return header;
}

/**
 * Loads an unmodified bzImage and makes the state of its first instruction,
 * as the Linux/x86 boot protocol says: 64-bit where the kernel has that entry,
 * else 32-bit (boot.rst, "32-bit" and "64-bit boot protocol").
 *
 * @throws BootError with a message for the user
 */
export function loadLinux(memory: GuestMemory, request: BootRequest): BootState {
  const header = parseLinuxHeader(request.kernel);
  const address = placeKernel(memory, request.kernel, header);
  const kernelEnd = address + Math.max(header.initSize, request.kernel.length - header.setupBytes);
  const initrd = placeInitrd(memory, request.initrd, header, kernelEnd);
  const cmdline = commandLine(request.cmdline ?? '', Math.min(header.cmdlineSize, BOOT_CMDLINE_LIMIT - 1));

  load(memory, address, request.kernel.subarray(header.setupBytes));
  if (request.initrd !== undefined) load(memory, initrd, request.initrd);
  load(memory, BOOT_CMDLINE, cmdline);
  load(memory, BOOT_INFO, zeroPage(memory, request, header, address, initrd));

  const registers = { rsp: BOOT_STACK_TOP, rsi: BOOT_INFO };
  if (!header.entry64) return protectedState(memory, { ...registers, rip: address });
  return {
    ...registers,
    mode: 'long',
    rip: address + ENTRY_64,
    rax: 0,
    rbx: 0,
    rflags: 0x2,
    ...flatSegments(memory, 'long'),
    cr0: 0x80000011,
    cr3: identityPageTables(memory),
    // PAE; LME and LMA.
    cr4: 0x20,
    efer: 0x500,
  };
}

function placeKernel(memory: GuestMemory, file: Uint8Array, header: LinuxHeader): number {
  const { prefAddress, alignment } = header;
  const bytes = Math.max(header.initSize, file.length - header.setupBytes);
  const fits = (at: number): boolean => at >= HIGH_RAM_START && at + bytes <= memory.size;
  if (Number.isSafeInteger(prefAddress) && fits(prefAddress)) return prefAddress;
  const aligned = alignment >= PAGE && (alignment & (alignment - 1)) === 0;
  if (header.relocatable && aligned) {
    const lowest = alignUp(HIGH_RAM_START, alignment);
    if (fits(lowest)) return lowest;
  }
  throw new BootError(
    'MEMORY_TOO_SMALL',
    `the machine has ${mib(memory.size)} of memory; this kernel needs ${mib(bytes)} from ${mib(prefAddress)} on`,
  );
}

/** As high as the kernel and RAM allow: the kernel unpacks itself upwards from below. */
function placeInitrd(
  memory: GuestMemory,
  initrd: Uint8Array | undefined,
  header: LinuxHeader,
  kernelEnd: number,
): number {
  if (initrd === undefined) return 0;
  const limit = Math.min(memory.size, (header.initrdAddrMax || 0x37ffffff) + 1);
  const address = alignDown(limit - initrd.length, PAGE);
  if (address < kernelEnd) {
    throw new BootError(
      'INITRD_TOO_BIG',
      `the initrd has ${mib(initrd.length)}; below ${mib(limit)} the kernel leaves ${mib(Math.max(0, limit - kernelEnd))}`,
    );
  }
  return address;
}

function zeroPage(
  memory: GuestMemory,
  request: BootRequest,
  header: LinuxHeader,
  address: number,
  initrd: number,
): Uint8Array {
  const page = new Uint8Array(PAGE);
  page.set(request.kernel.subarray(HDR_START, header.headerEnd), HDR_START);
  const view = dataView(page);
  view.setUint8(HDR_TYPE_OF_LOADER, LOADER_UNDEFINED);
  view.setUint32(HDR_CODE32_START, address, true);
  view.setUint32(HDR_RAMDISK_IMAGE, initrd, true);
  view.setUint32(HDR_RAMDISK_SIZE, request.initrd?.length ?? 0, true);
  view.setUint32(HDR_CMD_LINE_PTR, BOOT_CMDLINE, true);
  view.setBigUint64(ZP_ACPI_RSDP, BigInt(request.rsdp ?? 0), true);
  const map = memoryMap(memory.size);
  view.setUint8(ZP_E820_ENTRIES, map.length);
  map.forEach((range, i) => {
    const at = ZP_E820_TABLE + 20 * i;
    view.setBigUint64(at, BigInt(range.base), true);
    view.setBigUint64(at + 8, BigInt(range.length), true);
    view.setUint32(at + 16, range.type, true);
  });
  return page;
}

function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
