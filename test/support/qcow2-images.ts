import type { DiskBackend } from '../../src/hypervisor/backends/disk.ts';
import { type Qcow2Layout, writeQcow2 } from '../../src/hypervisor/backends/qcow2/create.ts';
import { openQcow2 } from '../../src/hypervisor/backends/qcow2/open.ts';
import { MemoryFile } from './memory-file.ts';

/** The bytes of an empty image. */
export async function emptyImage(layout: Qcow2Layout): Promise<Uint8Array> {
  const file = new MemoryFile(new Uint8Array());
  await writeQcow2(file, layout);
  return file.bytes;
}

/** Opens an image; what it logs is collected. */
export async function openImage(
  file: MemoryFile,
  backing?: DiskBackend,
  log: string[] = [],
): Promise<DiskBackend> {
  return openQcow2(file, {
    backing: async () => {
      if (backing) return backing;
      throw new Error('the image names a backing file');
    },
    log: (message) => log.push(message),
  });
}

export async function readAll(disk: DiskBackend): Promise<Uint8Array> {
  const all = new Uint8Array(disk.size);
  await disk.readAt(0, all);
  return all;
}
