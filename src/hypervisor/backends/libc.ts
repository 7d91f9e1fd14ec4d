/**
 * The calls of the host's C library that raw disk files want and Node does
 * not offer: flock(2) and Linux's fallocate(2) and preadv2(2). They are
 * optional: where they cannot be had, callers do without and say what is lost.
 */
export interface DiskCalls {
  /** Takes a whole-file lock that ends with the descriptor; 'held' when another open file has it. */
  lock(fd: number, shared: boolean): 'taken' | 'held' | 'unsupported';
  /** Gives the space of a byte range back, leaving zeroes; false when the file system cannot. */
  punchHole?(fd: number, offset: number, length: number): Promise<boolean>;
  /**
   * Reads what the host has in memory, at once and without ever waiting for a
   * disk. Returns the bytes read, or -1 when it would have to wait or cannot.
   */
  readCached?(fd: number, offset: number, target: Uint8Array): number;
}

/** Values of `operation` of flock(2): the same on Linux and the BSDs. */
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
/** FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, linux/falloc.h. */
const PUNCH_HOLE_KEEP_SIZE = 3;
/** RWF_NOWAIT, linux/fs.h. */
const NOWAIT = 8;
/** EWOULDBLOCK on Linux and on macOS. */
const WOULD_BLOCK = process.platform === 'darwin' ? 35 : 11;

let loaded: Promise<DiskCalls | undefined> | undefined;

/** The host's calls, or undefined where there is no such C library or no FFI. */
export function diskCalls(): Promise<DiskCalls | undefined> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<DiskCalls | undefined> {
  const library = { linux: 'libc.so.6', darwin: 'libSystem.B.dylib' }[process.platform as string];
  if (library === undefined) return undefined;
  try {
    const { default: koffi } = await import('koffi');
    const libc = koffi.load(library);
    const flock = libc.func('int flock(int fd, int operation)');
    const calls: DiskCalls = {
      lock(fd, shared) {
        if (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) === 0) return 'taken';
        return koffi.errno() === WOULD_BLOCK ? 'held' : 'unsupported';
      },
    };
    if (process.platform !== 'linux') return calls;
    const fallocate = libc.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
    calls.punchHole = (fd, offset, length) =>
      new Promise((resolve) => {
        fallocate.async(fd, PUNCH_HOLE_KEEP_SIZE, offset, length, (error: Error | null, result: number) => {
          resolve(error === null && result === 0);
        });
      });
    koffi.struct('iovec', { iov_base: 'void *', iov_len: 'size_t' });
    const preadv2 = libc.func('int64_t preadv2(int fd, iovec *iov, int iovcnt, int64_t offset, int flags)');
    calls.readCached = (fd, offset, target) =>
      Number(preadv2(fd, { iov_base: target, iov_len: target.length }, 1, offset, NOWAIT));
    return calls;
  } catch {
    return undefined;
  }
}
