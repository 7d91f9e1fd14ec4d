import { open } from 'node:fs/promises';
import { type ImageFinding, parseImageQuestion } from '../../src/contracts/image-check.ts';
import { openImage } from './disks.ts';

/**
 * The process that looks into an uploaded disc or disk, for a worker: it gets
 * the question on standard input and answers on standard output, holds no
 * credentials, and looks at one file in its life. Whatever the file does to
 * it, it does to it alone.
 */

/** 2 TiB: the largest disk a VM may have. */
const MAX_DISK_BYTES = 2 ** 41;

/** ISO 9660 (ECMA-119) §8.4: the volume descriptors begin at sector 16; fields of the primary one, by byte. */
const DESCRIPTOR = { at: 16 * 2048, bytes: 2048, type: 0, id: 1, blocks: 80, blockBytes: 128 } as const;
const PRIMARY = 1;

/** A disc that has a file system has all of it. */
async function checkDisc(path: string): Promise<ImageFinding> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const descriptor = Buffer.alloc(DESCRIPTOR.bytes);
    const { bytesRead } = await file.read(descriptor, 0, DESCRIPTOR.bytes, DESCRIPTOR.at);
    if (bytesRead < DESCRIPTOR.bytes) return { problem: `${size} bytes are too few for a disc` };
    const isIso9660 = descriptor.toString('latin1', DESCRIPTOR.id, DESCRIPTOR.id + 5) === 'CD001';
    if (!isIso9660 || descriptor[DESCRIPTOR.type] !== PRIMARY) return {};
    const bytes = descriptor.readUInt32LE(DESCRIPTOR.blocks) * descriptor.readUInt16LE(DESCRIPTOR.blockBytes);
    if (bytes > size)
      return { problem: `it is cut off: its file system has ${bytes} bytes, the file ${size}` };
    return {};
  } finally {
    await file.close();
  }
}

async function checkDisk(path: string, format: 'raw' | 'qcow2'): Promise<ImageFinding> {
  const disk = await openImage({ path, format }, () => {});
  const { size } = disk;
  await disk.close();
  if (size > MAX_DISK_BYTES) return { problem: `a disk of ${size} bytes is larger than 2 TiB` };
  return { diskBytes: size };
}

async function main(): Promise<void> {
  let json = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) json += String(chunk);
  const { path, format } = parseImageQuestion(json);
  let finding: ImageFinding;
  try {
    finding = format === undefined ? await checkDisc(path) : await checkDisk(path, format);
  } catch (error) {
    // A path of the host's is of no use to who uploaded the file.
    const message = error instanceof Error ? error.message : String(error);
    finding = { problem: message.replaceAll(path, 'file') };
  }
  process.stdout.write(JSON.stringify(finding));
}

await main();
