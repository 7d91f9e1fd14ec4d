import koffi from 'koffi';

/** MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE (linux/mman.h). */
const MAP_FLAGS = 0x02 | 0x20 | 0x100000;
const PROT_READ_WRITE_EXEC = 7;
const FAILED = 0xffff_ffff_ffff_ffffn;

/** Readable, writable and executable pages of the process at a fixed address. Throws when the host refuses. */
export function mapHostPages(address: number, bytes: number): Uint8Array {
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
  const got = BigInt(mmap(BigInt(address), bytes, PROT_READ_WRITE_EXEC, MAP_FLAGS, -1, 0));
  if (got === FAILED || got !== BigInt(address))
    throw new Error(`no executable memory at 0x${address.toString(16)}`);
  return new Uint8Array(koffi.view(BigInt(address), bytes));
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
