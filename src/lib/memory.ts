import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What V8's `gc` extension takes (src/extensions/gc-extension.cc): `last-resort` gives free pages back at once. */
type CollectGarbage = (options: { readonly type: 'major'; readonly flavor: 'last-resort' }) => void;

/**
 * Collects this thread's garbage, and gives the pages of its heap that are free back to the system, which V8 else does
 * when it allocates. Takes some 30 ms, and longer where V8's own threads do not get to run.
 */
export function collectGarbage(): void {
  // The function is there in contexts that are made while the flag is set.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as CollectGarbage;
  collect({ type: 'major', flavor: 'last-resort' });
}

let trim: Promise<(() => void) | undefined> | undefined;

/**
 * Gives what the process has freed and its C library keeps back to the system: malloc_trim(3), of glibc. Without
 * glibc nothing happens. A few milliseconds, in which other threads may wait for memory.
 */
export async function trimAllocator(): Promise<void> {
  trim ??= load();
  (await trim)?.();
}

async function load(): Promise<(() => void) | undefined> {
  if (process.platform !== 'linux') return undefined;
  try {
    const { default: koffi } = await import('koffi');
    const call = koffi.load('libc.so.6').func('int malloc_trim(size_t pad)');
    return () => {
      call(0);
    };
  } catch {
    return undefined;
  }
}
