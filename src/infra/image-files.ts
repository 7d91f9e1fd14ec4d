import type { DiskFormat, FileKind } from '../contracts/images.ts';
import { Problem } from '../lib/errors.ts';

/**
 * Bytes of a file's beginning that are looked at for signatures: the Linux header's ends at 0x206. More than that is
 * never read of a file by the API; what parses discs and disks is a process of a worker's.
 */
export const HEAD_BYTES = 0x206;

const SECTOR = 512;

/** What is known of a file by its size and its signature alone. */
export interface FileFacts {
  readonly format: DiskFormat | null;
  /** What a guest sees of a raw disk. */
  readonly diskBytes: number | null;
}

/**
 * Refuses a file whose signature says that it is something else.
 * @throws {Problem} unusable_file
 */
export function examineHead(
  file: { readonly sizeBytes: number; readonly head: Buffer },
  kind: FileKind,
  format: DiskFormat | undefined,
): FileFacts {
  const { sizeBytes, head } = file;
  if (sizeBytes === 0) throw new Problem('unusable_file', 'the file is empty');
  if (kind !== 'disk') {
    if (kind === 'kernel') requireKernel(head);
    return { format: null, diskBytes: null };
  }
  const looks = isQcow2(head) ? 'qcow2' : 'raw';
  if (format === 'qcow2' && looks !== 'qcow2') {
    throw new Problem('unusable_file', 'the file does not begin as a qcow2 disk does', {
      hint: 'a plain image is `format=raw`; other formats are converted with `qemu-img convert`',
    });
  }
  const actual = format ?? looks;
  return { format: actual, diskBytes: actual === 'raw' ? Math.ceil(sizeBytes / SECTOR) * SECTOR : null };
}

function requireKernel(head: Buffer): void {
  if (isBzImage(head) || isElf(head)) return;
  throw new Problem('unusable_file', 'the file is neither a Linux bzImage nor an ELF kernel', {
    hint: 'a bzImage is /boot/vmlinuz-… of a distribution; PVH and multiboot kernels are ELF files',
  });
}

/** "HdrS" at 0x202: the Linux boot protocol's header, version 2.00 or later. */
const isBzImage = (head: Buffer): boolean =>
  head.length >= 0x206 && head.toString('latin1', 0x202, 0x206) === 'HdrS';
const isElf = (head: Buffer): boolean => head.toString('latin1', 0, 4) === '\x7fELF';
/** The magic of QEMU's docs/interop/qcow2.rst, Header. */
const isQcow2 = (head: Buffer): boolean => head.toString('latin1', 0, 4) === 'QFI\xfb';
