import type { GuestMemory } from '../machine/memory.ts';
import { BootError, type BootRequest, type BootState } from './boot-state.ts';
import { isElf, parseElf } from './elf.ts';
import { isLinuxImage, loadLinux } from './linux.ts';
import { findMultibootHeader, loadMultiboot } from './multiboot.ts';
import { loadPvh, pvhEntry } from './pvh.ts';

export type KernelKind = 'linux' | 'multiboot' | 'pvh';

/** Less than this cannot hold the boot structures and the ACPI tables. */
const MEMORY_MIN = 2 * 1024 * 1024;

/**
 * Which boot protocol a kernel file is made for, by its content: Linux's setup
 * header, a multiboot header, or an ELF file with a PVH note.
 *
 * @throws BootError when it is none of them
 */
export function detectKernel(file: Uint8Array): KernelKind {
  if (file.length === 0) throw new BootError('KERNEL_TOO_SHORT', 'the kernel file is empty');
  if (isLinuxImage(file)) return 'linux';
  if (findMultibootHeader(file) !== undefined) return 'multiboot';
  if (!isElf(file)) {
    throw new BootError(
      'KERNEL_NOT_RECOGNIZED',
      'the kernel file is neither a Linux bzImage nor an ELF kernel with a multiboot or PVH entry',
    );
  }
  if (pvhEntry(parseElf(file)) !== undefined) return 'pvh';
  throw new BootError(
    'KERNEL_NO_ENTRY',
    'the ELF kernel has neither a multiboot header nor a PVH entry note',
  );
}

/**
 * Loads a kernel of any kind into RAM and returns the processor state of its
 * first instruction.
 *
 * @throws BootError with a message for the user
 */
export function loadKernel(memory: GuestMemory, request: BootRequest): BootState {
  const kind = detectKernel(request.kernel);
  if (memory.size < MEMORY_MIN) {
    throw new BootError('MEMORY_TOO_SMALL', 'a machine needs at least 2 MiB of memory');
  }
  const loaders = { linux: loadLinux, multiboot: loadMultiboot, pvh: loadPvh };
  return loaders[kind](memory, request);
}
