import type { GuestMemory } from '../machine/memory.ts';
import { BootError, type BootRequest, type BootState } from './boot-state.ts';
import { type ElfFile, loadElf, parseElf } from './elf.ts';
import {
  alignDown,
  BOOT_CMDLINE,
  BOOT_CMDLINE_LIMIT,
  BOOT_INFO,
  BOOT_STACK_TOP,
  commandLine,
  load,
  memoryMap,
  mib,
  PAGE,
  protectedState,
} from './memory-map.ts';

/** XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h. */
const NOTE_PHYS32_ENTRY = 18;
const START_MAGIC = 0x336ec578;
const START_LENGTH = 56;
const MODULE_LENGTH = 32;
const MAP_ENTRY_LENGTH = 24;

/** The PVH entry point of an ELF kernel, or undefined when it has none. */
export function pvhEntry(elf: ElfFile): number | undefined {
  const note = elf.notes.find((n) => n.name === 'Xen' && n.type === NOTE_PHYS32_ENTRY);
  if (note === undefined || note.description.length < 4) return undefined;
  const view = new DataView(
    note.description.buffer,
    note.description.byteOffset,
    note.description.byteLength,
  );
  return view.getUint32(0, true);
}

/**
 * Loads an ELF kernel with a PVH note: 32-bit protected mode, paging off, EBX
 * pointing to the start info (Xen's x86/HVM direct boot ABI, docs/misc/pvh).
 *
 * @throws BootError with a message for the user
 */
export function loadPvh(memory: GuestMemory, request: BootRequest): BootState {
  const elf = parseElf(request.kernel);
  const entry = pvhEntry(elf);
  if (entry === undefined) throw new BootError('KERNEL_NO_ENTRY', 'the ELF kernel has no PVH entry note');
  const infoEnd = BOOT_CMDLINE + BOOT_CMDLINE_LIMIT;
  if (elf.segments.some((s) => s.physical < infoEnd && s.physical + s.memorySize > BOOT_INFO)) {
    throw new BootError(
      'KERNEL_MALFORMED',
      'the PVH kernel wants to lie where its start information is put, below 192 KiB',
    );
  }
  const end = loadElf(memory, request.kernel, elf);
  const cmdline = commandLine(request.cmdline ?? '', BOOT_CMDLINE_LIMIT - 1);
  load(memory, BOOT_CMDLINE, cmdline);

  const { initrd } = request;
  let initrdAt = 0;
  if (initrd !== undefined) {
    initrdAt = alignDown(memory.size - initrd.length, PAGE);
    if (initrdAt < end) {
      throw new BootError(
        'INITRD_TOO_BIG',
        `the initrd has ${mib(initrd.length)}; the kernel leaves ${mib(Math.max(0, memory.size - end))}`,
      );
    }
    load(memory, initrdAt, initrd);
  }
  writeStartInfo(memory, request, initrdAt);
  return protectedState(memory, { rip: entry, rsp: BOOT_STACK_TOP, rbx: BOOT_INFO });
}

/** struct hvm_start_info, version 1, with its module list and memory map. */
function writeStartInfo(memory: GuestMemory, request: BootRequest, initrdAt: number): void {
  const map = memoryMap(memory.size);
  const modulesAt = START_LENGTH;
  const mapAt = modulesAt + MODULE_LENGTH;
  const view = new DataView(new ArrayBuffer(mapAt + MAP_ENTRY_LENGTH * map.length));
  const u64 = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), true);
  const modules = request.initrd === undefined ? 0 : 1;
  view.setUint32(0, START_MAGIC, true);
  view.setUint32(4, 1, true);
  view.setUint32(12, modules, true);
  u64(16, modules === 0 ? 0 : BOOT_INFO + modulesAt);
  u64(24, BOOT_CMDLINE);
  u64(32, request.rsdp ?? 0);
  u64(40, BOOT_INFO + mapAt);
  view.setUint32(48, map.length, true);
  u64(modulesAt, initrdAt);
  u64(modulesAt + 8, request.initrd?.length ?? 0);
  map.forEach((range, i) => {
    const at = mapAt + MAP_ENTRY_LENGTH * i;
    u64(at, range.base);
    u64(at + 8, range.length);
    view.setUint32(at + 16, range.type, true);
  });
  load(memory, BOOT_INFO, new Uint8Array(view.buffer));
}
