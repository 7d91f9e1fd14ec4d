import { findBackingFile, MOST_IMAGES } from './backing-file.ts';
import { DiskError } from './disk.ts';
import { type HostFile, type ImageFile, openHostFile } from './host-file.ts';
import { type IsoVolume, readIso } from './iso9660.ts';
import { checkQcow2 } from './qcow2/check.ts';
import { looksLikeQcow2, type Qcow2Header, readHeader } from './qcow2/header.ts';

export interface ProbeOptions {
  /** Backing files outside this folder are a problem, and are not looked at. Not given: anywhere. */
  readonly allowedFolder?: string;
  /** Check all tables of a qcow2 image too, which reads all of its metadata. */
  readonly check?: boolean;
}

/** What lies in a file, as far as its content tells: for files that are uploaded, not for choosing how to open a disk. */
export interface ImageProbe {
  /** Undefined when it is nothing that a machine can use; `problems` says why. */
  readonly format: 'raw' | 'qcow2' | 'iso9660' | undefined;
  /** Bytes of the file. */
  readonly fileBytes: number;
  /** Bytes of the disk that a guest sees; 0 when that cannot be told. */
  readonly virtualSize: number;
  /** The backing files under a qcow2 image, the nearest first, as the images name them. */
  readonly backingChain: readonly { readonly name: string; readonly format: string | undefined }[];
  readonly iso: Omit<IsoVolume, 'problems'> | undefined;
  /** In the user's words; none when the image can be used. */
  readonly problems: readonly string[];
}

/** Beginnings of files that are sent by mistake: offset, bytes in hexadecimal, what to say. */
const STRANGERS: readonly (readonly [number, string, string])[] = [
  [0, '4b444d56', 'a VMDK image'],
  [0x40, '7f10dabe', 'a VDI image'],
  [0, '7668647866696c65', 'a VHDX image'],
  [0, '636f6e6563746978', 'a VHD image'],
  [0, '1f8b08', 'compressed by gzip'],
  [0, 'fd377a585a00', 'compressed by xz'],
  [0, '28b52ffd', 'compressed by zstd'],
  [0, '425a68', 'compressed by bzip2'],
  [0, '504b0304', 'a ZIP archive'],
];

/**
 * Looks into an image file. It reads a bounded part of it (with `check`, a
 * qcow2 image's metadata) and does not throw: what is wrong stands in `problems`.
 */
export async function probeImage(path: string, options: ProbeOptions = {}): Promise<ImageProbe> {
  let file: HostFile;
  try {
    file = await openHostFile(path, { readOnly: true, exclusive: false });
  } catch (error) {
    return { ...NOTHING, problems: [messageOf(error)] };
  }
  try {
    return await probe(file, options);
  } catch (error) {
    return { ...NOTHING, fileBytes: file.length, problems: [messageOf(error)] };
  } finally {
    await file.close();
  }
}

const NOTHING: ImageProbe = {
  format: undefined,
  fileBytes: 0,
  virtualSize: 0,
  backingChain: [],
  iso: undefined,
  problems: [],
};

function messageOf(error: unknown): string {
  if (error instanceof DiskError) return error.message;
  return `the image cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`;
}

async function probe(file: HostFile, options: ProbeOptions): Promise<ImageProbe> {
  const found = { ...NOTHING, fileBytes: file.length };
  if (file.length === 0) return { ...found, problems: [`disk image ${file.path} is empty`] };
  const start = new Uint8Array(512);
  await file.readAt(0, start);
  if (looksLikeQcow2(start)) return { ...found, ...(await probeQcow2(file, options)) };
  const virtualSize = Math.ceil(file.length / 512) * 512;
  const volume = await readIso(file);
  if (volume) {
    const { problems, ...iso } = volume;
    return { ...found, format: 'iso9660', virtualSize, iso, problems };
  }
  const stranger = STRANGERS.find(([at, bytes]) => Buffer.from(start).toString('hex', at).startsWith(bytes));
  if (!stranger) return { ...found, format: 'raw', virtualSize };
  return {
    ...found,
    problems: [`the file is ${stranger[2]}; raw and qcow2 images can be used, and ISO files`],
  };
}

async function probeQcow2(file: HostFile, options: ProbeOptions): Promise<Partial<ImageProbe>> {
  const problems: string[] = [];
  const header = await readHeader(file);
  if (header.size === 0) problems.push('the image is a disk of 0 bytes');
  if (header.corrupt) problems.push('the image is marked as damaged: qemu-img check -r all may repair it');
  if (options.check) problems.push(...(await tableProblems(file)));
  const { chain, problem } = await backingChain(file, header, options);
  if (problem !== undefined) problems.push(problem);
  const virtualSize = Math.ceil(header.size / 512) * 512;
  return { format: 'qcow2', virtualSize, backingChain: chain, problems };
}

async function tableProblems(file: ImageFile): Promise<string[]> {
  try {
    const { corruptions, messages } = await checkQcow2(file);
    if (corruptions === 0) return [];
    return [`the image is damaged in ${corruptions} places, such as: ${messages[0]}`];
  } catch (error) {
    return [messageOf(error)];
  }
}

type Backing = ImageProbe['backingChain'][number];

async function backingChain(
  top: HostFile,
  first: Qcow2Header,
  { allowedFolder }: ProbeOptions,
): Promise<{ readonly chain: Backing[]; readonly problem?: string }> {
  const chain: Backing[] = [];
  const seen = new Set([top.identity]);
  let image = top.path;
  let header: Qcow2Header | undefined = first;
  while (header?.backingName !== undefined) {
    chain.push({ name: header.backingName, format: header.backingFormat });
    if (chain.length >= MOST_IMAGES)
      return { chain, problem: `there are more than ${MOST_IMAGES} images under one another` };
    try {
      const next = await findBackingFile(header, image, allowedFolder);
      const file = await openHostFile(next.path, { readOnly: true, exclusive: false, noFollow: true });
      try {
        if (seen.has(file.identity))
          return { chain, problem: `disk image ${image} is its own backing file in the end` };
        seen.add(file.identity);
        header = next.format === 'qcow2' ? await readHeader(file) : undefined;
        image = next.path;
      } finally {
        await file.close();
      }
    } catch (error) {
      return { chain, problem: messageOf(error) };
    }
  }
  return { chain };
}
