import type { Upload } from '../../contracts/uploads.ts';

/** What a browser tells of a file without reading it. */
export interface FileFacts {
  readonly name: string;
  readonly size: number;
  readonly lastModified: number;
}

/** Which file each upload is of, by the upload's id. It outlives the page. */
export type Remembered = Readonly<Record<string, FileFacts>>;

const KEY = 'teremok.uploads';

/** Reads what was remembered; nothing where that is damaged. Never throws. */
export function recall(storage: Pick<Storage, 'getItem'>): Remembered {
  try {
    const value: unknown = JSON.parse(storage.getItem(KEY) ?? '{}');
    return typeof value === 'object' && value !== null ? (value as Remembered) : {};
  } catch {
    return {};
  }
}

/** Remembers an upload's file, and forgets uploads that are no more. Never throws. */
export function remember(
  storage: Pick<Storage, 'getItem' | 'setItem'>,
  id: string,
  { name, size, lastModified }: FileFacts,
): void {
  try {
    const kept = Object.entries(recall(storage)).slice(-49);
    storage.setItem(KEY, JSON.stringify({ ...Object.fromEntries(kept), [id]: { name, size, lastModified } }));
  } catch {
    // Without a memory the upload goes on as long as the page is open.
  }
}

export function forget(storage: Pick<Storage, 'getItem' | 'setItem'>, id: string): void {
  try {
    const { [id]: _gone, ...kept } = recall(storage);
    storage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // As above.
  }
}

/** The upload that this file can go on with: the same size, and the same name and time as it had here. */
export function uploadOf(
  file: FileFacts,
  uploads: readonly Upload[],
  remembered: Remembered,
): Upload | undefined {
  return uploads.find((upload) => isSame(file, upload, remembered[upload.id]));
}

/** Whether a file may be what an upload began with. One that began elsewhere cannot be known. */
export function isSame(file: FileFacts, upload: Upload, known: FileFacts | undefined): boolean {
  if (!upload.resumable || upload.imageId !== null || upload.sizeBytes !== file.size) return false;
  return known !== undefined && known.name === file.name && known.lastModified === file.lastModified;
}
