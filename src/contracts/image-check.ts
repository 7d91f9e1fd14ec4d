import { ChannelError } from './channel.ts';

/** What a worker asks the process that looks into an image. */
export interface ImageQuestion {
  readonly path: string;
  /** Of a disk; a disc has none. */
  readonly format?: 'raw' | 'qcow2';
}

/** What it found: a problem fit for the image's owner, or none. */
export interface ImageFinding {
  readonly problem?: string;
  /** What a guest sees of a disk. */
  readonly diskBytes?: number;
}

function parseFields(json: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(json);
  if (typeof value === 'object' && value !== null) return value as Readonly<Record<string, unknown>>;
  throw new ChannelError('malformed', 'not an object');
}

/** Throws when it is not one. */
export function parseImageQuestion(json: string): ImageQuestion {
  const { path, format } = parseFields(json);
  if (typeof path !== 'string') throw new ChannelError('malformed', 'path is not a string');
  return format === 'raw' || format === 'qcow2' ? { path, format } : { path };
}

/** Throws when it is not one. */
export function parseImageFinding(json: string): ImageFinding {
  const { problem, diskBytes } = parseFields(json);
  if (typeof problem === 'string') return { problem: problem.slice(0, 1000) };
  if (diskBytes === undefined) return {};
  if (typeof diskBytes === 'number' && Number.isSafeInteger(diskBytes) && diskBytes > 0) return { diskBytes };
  throw new ChannelError('malformed', 'diskBytes is not a size');
}
