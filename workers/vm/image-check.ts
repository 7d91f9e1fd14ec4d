import { dirname } from 'node:path';
import {
  type ImageFinding,
  type ImageQuestion,
  parseImageQuestion,
} from '../../src/contracts/image-check.ts';
import { probeImage } from '../../src/hypervisor/backends/probe-image.ts';

/**
 * The process that looks into an uploaded disc or disk, for a worker: it gets
 * the question on standard input and answers on standard output, holds no
 * credentials, and looks at one file in its life. Whatever the file does to
 * it, it does to it alone.
 */

/** 2 TiB: the largest disk a VM may have. */
const MAX_DISK_BYTES = 2 ** 41;
/** Sixteen sectors that a disc keeps for systems, and one descriptor: ECMA-119 §7.2. */
const LEAST_DISC_BYTES = 17 * 2048;

async function look({ path, format }: ImageQuestion): Promise<ImageFinding> {
  const probe = await probeImage(path, { allowedFolder: dirname(path), check: format === 'qcow2' });
  const { fileBytes, virtualSize, backingChain, problems } = probe;
  // Said to be raw, it is: what a guest has written to it is nobody's business.
  if (format === 'raw' && probe.format === 'qcow2') return sized(Math.ceil(fileBytes / 512) * 512);
  if (format === 'qcow2' && backingChain.length > 0)
    return { problem: 'it names a backing file, which an uploaded image cannot have' };
  // A path of the host's is of no use to who uploaded the file.
  const [problem] = problems;
  if (problem !== undefined) return { problem: problem.replaceAll(path, 'file') };
  if (format !== undefined) return sized(virtualSize);
  return fileBytes < LEAST_DISC_BYTES ? { problem: `${fileBytes} bytes are too few for a disc` } : {};
}

function sized(bytes: number): ImageFinding {
  if (bytes > MAX_DISK_BYTES) return { problem: `a disk of ${bytes} bytes is larger than 2 TiB` };
  return { diskBytes: bytes };
}

async function main(): Promise<void> {
  let json = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) json += String(chunk);
  process.stdout.write(JSON.stringify(await look(parseImageQuestion(json))));
}

await main();
