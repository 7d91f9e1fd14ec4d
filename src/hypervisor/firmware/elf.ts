import type { GuestMemory } from '../machine/memory.ts';
import { BootError } from './boot-state.ts';
import { clear, HIGH_RAM_START, load, mib } from './memory-map.ts';

/** A loadable segment, by physical address. */
export interface ElfSegment {
  readonly offset: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly physical: number;
  readonly virtual: number;
}

export interface ElfNote {
  readonly name: string;
  readonly type: number;
  readonly description: Uint8Array;
}

export interface ElfFile {
  readonly bits: 32 | 64;
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
  readonly notes: readonly ElfNote[];
}

const PT_LOAD = 1;
const PT_NOTE = 4;
const EM_386 = 3;
const EM_X86_64 = 62;
const HEADERS_LIMIT = 256;
const NOTES_LIMIT = 256;

export function isElf(file: Uint8Array): boolean {
  return file.length >= 4 && file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;
}

/**
 * Reads an ELF executable's program headers (System V ABI, chapter 5).
 * @throws BootError when it is damaged or for another processor
 */
export function parseElf(file: Uint8Array): ElfFile {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (!isElf(file)) throw new BootError('KERNEL_NOT_RECOGNIZED', 'the kernel file is not an ELF file');
  if (file.length < 64) throw new BootError('KERNEL_TOO_SHORT', 'the ELF kernel ends inside its header');
  const wide = file[4] === 2;
  if ((file[4] !== 1 && !wide) || file[5] !== 1) throw malformed('its class or byte order is unknown');
  const machine = view.getUint16(18, true);
  if (machine !== EM_386 && machine !== EM_X86_64) {
    throw new BootError('KERNEL_NO_ENTRY', `the ELF kernel is for another processor (e_machine ${machine})`);
  }
  const u = (at: number): number => (wide ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true));
  const entry = u(24);
  const table = wide ? u(32) : u(28);
  const entrySize = view.getUint16(wide ? 54 : 42, true);
  const count = view.getUint16(wide ? 56 : 44, true);
  if (count > HEADERS_LIMIT || entrySize < (wide ? 56 : 32))
    throw malformed('its program header table is unusable');
  if (table + entrySize * count > file.length) throw malformed('its program header table is cut off');

  const segments: ElfSegment[] = [];
  const notes: ElfNote[] = [];
  for (let i = 0; i < count; i++) {
    const at = table + entrySize * i;
    const type = view.getUint32(at, true);
    const header = wide
      ? {
          offset: u(at + 8),
          virtual: u(at + 16),
          physical: u(at + 24),
          fileSize: u(at + 32),
          memorySize: u(at + 40),
        }
      : {
          offset: u(at + 4),
          virtual: u(at + 8),
          physical: u(at + 12),
          fileSize: u(at + 16),
          memorySize: u(at + 20),
        };
    const align = wide ? u(at + 48) : u(at + 28);
    if (type !== PT_LOAD && type !== PT_NOTE) continue;
    if (header.offset + header.fileSize > file.length) throw malformed('a segment is cut off');
    if (type === PT_NOTE) {
      notes.push(
        ...parseNotes(file.subarray(header.offset, header.offset + header.fileSize), align === 8 ? 8 : 4),
      );
    } else if (header.memorySize > 0) {
      if (header.fileSize > header.memorySize)
        throw malformed('a segment is larger in the file than in memory');
      segments.push(header);
    }
  }
  return { bits: wide ? 64 : 32, entry, segments, notes };
}

function parseNotes(bytes: Uint8Array, align: number): ElfNote[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const up = (n: number): number => Math.ceil(n / align) * align;
  const notes: ElfNote[] = [];
  let at = 0;
  while (at + 12 <= bytes.length && notes.length < NOTES_LIMIT) {
    const nameSize = view.getUint32(at, true);
    const descriptionSize = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const nameAt = at + 12;
    const descriptionAt = at + up(12 + nameSize);
    const end = descriptionAt + descriptionSize;
    if (end > bytes.length) break;
    const name = String.fromCharCode(...bytes.subarray(nameAt, nameAt + Math.min(nameSize, 32))).replace(
      /\0.*$/s,
      '',
    );
    notes.push({ name, type, description: bytes.subarray(descriptionAt, end) });
    at = descriptionAt + up(descriptionSize);
  }
  return notes;
}

/**
 * Puts an ELF kernel's segments where their physical addresses say, zeroing
 * what the file leaves out. Returns the end of the last.
 */
export function loadElf(memory: GuestMemory, file: Uint8Array, elf: ElfFile): number {
  if (elf.segments.length === 0) throw malformed('it has nothing to load');
  let end = 0;
  let sum = 0;
  for (const { physical, memorySize } of elf.segments) {
    checkPlace(memory, physical, memorySize);
    end = Math.max(end, physical + memorySize);
    sum += memorySize;
  }
  if (sum > memory.size) throw malformed('its segments overlap');
  for (const { physical, memorySize, offset, fileSize } of elf.segments) {
    load(memory, physical, file.subarray(offset, offset + fileSize));
    clear(memory, physical + fileSize, memorySize - fileSize);
  }
  return end;
}

/** A kernel lies in conventional memory or above 1 MiB, and inside RAM. */
export function checkPlace(memory: GuestMemory, gpa: number, length: number): void {
  const end = gpa + length;
  if (!Number.isSafeInteger(end) || end > memory.size) {
    throw new BootError(
      'MEMORY_TOO_SMALL',
      `the machine has ${mib(memory.size)} of memory; this kernel needs it up to ${mib(end)}`,
    );
  }
  if (end > 0xa0000 && gpa < HIGH_RAM_START) {
    throw malformed(`it wants to lie at 0x${gpa.toString(16)}, where a PC has no memory for it`);
  }
}

function malformed(why: string): BootError {
  return new BootError('KERNEL_MALFORMED', `the ELF kernel is damaged: ${why}`);
}
