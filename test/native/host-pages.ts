import koffi from 'koffi';

/** MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE (linux/mman.h). */
const MAP_FLAGS = 0x02 | 0x20 | 0x100000;
const PROT_READ_WRITE_EXEC = 7;
const FAILED = 0xffff_ffff_ffff_ffffn;

/** Readable, writable and executable pages of the process at a fixed address. Throws when the host refuses. */
export function mapHostPages(address: number, bytes: number): Uint8Array {
  const libc = koffi.load('libc.so.6');
  const mmap: (address: bigint, length: number, protection: number, flags: number, fd: number, offset: number) => bigint =
    libc.func('uintptr_t mmap(uintptr_t address, size_t length, int prot, int flags, int fd, int64_t offset)');
  const got = BigInt(mmap(BigInt(address), bytes, PROT_READ_WRITE_EXEC, MAP_FLAGS, -1, 0));
  if (got === FAILED || got !== BigInt(address)) throw new Error(`no executable memory at 0x${address.toString(16)}`);
  return new Uint8Array(koffi.view(BigInt(address), bytes));
}
