import koffi from 'koffi';

/** MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE (linux/mman.h). */
const MAP_FLAGS = 0x02 | 0x20 | 0x100000;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/** What may be done with pages (linux/mman.h). */
export const PROT = { none: 0, read: 1, readWrite: 3, all: 7 } as const;

/** Maps fresh pages of the process at a fixed address, where nothing else lies. Throws when the host refuses. */
export function mapHostPages(address: number, bytes: number, protection: number): void {
  const libc = koffi.load('libc.so.6');
  const mmap: (
    address: bigint,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ) => bigint = libc.func(
    'uintptr_t mmap(uintptr_t address, size_t length, int prot, int flags, int fd, int64_t offset)',
  );
  const got = BigInt(mmap(BigInt(address), bytes, protection, MAP_FLAGS, -1, 0));
  if (got === BigInt(address)) return;
  const reason = got === MAP_FAILED ? `errno ${koffi.errno()}` : 'another address was given';
  const kind = protection === PROT.all ? 'executable memory' : 'memory';
  throw new Error(`no ${kind} at 0x${address.toString(16)}: ${reason}`);
}

/** Changes what may be done with mapped pages. Throws when the host refuses. */
export function protectHostPages(address: number, bytes: number, protection: number): void {
  const libc = koffi.load('libc.so.6');
  const mprotect: (address: bigint, length: number, protection: number) => number = libc.func(
    'int mprotect(uintptr_t address, size_t length, int prot)',
  );
  if (mprotect(BigInt(address), bytes, protection) !== 0)
    throw new Error(`mprotect failed: errno ${koffi.errno()}`);
}

/** Mapped memory of the process. */
export function hostMemory(address: number, bytes: number): ArrayBuffer {
  return koffi.view(BigInt(address), bytes);
}

const SYS_MODIFY_LDT = 154;

/** Selector of the first entry of the local descriptor table, for programs. */
export const LDT_DATA = 0x07;

/** Makes LDT_DATA a writable data segment of up to 64 KiB (modify_ldt(2)). Throws when the kernel has no such call. */
export function setDataSegment(base: number, limit: number): void {
  const libc = koffi.load('libc.so.6');
  const syscall: (number: number, func: number, pointer: Uint8Array, bytes: number) => number = libc.func(
    'long syscall(long number, long func, const uint8_t *pointer, long bytes)',
  );
  const entry = new DataView(new ArrayBuffer(16));
  entry.setUint32(4, base, true);
  entry.setUint32(8, limit, true);
  // 32-bit, data, writable, useable.
  entry.setUint32(12, 0x41, true);
  if (Number(syscall(SYS_MODIFY_LDT, 1, new Uint8Array(entry.buffer), 16)) !== 0)
    throw new Error('modify_ldt failed');
}
