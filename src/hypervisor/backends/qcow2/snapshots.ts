import { DiskError } from '../disk.ts';
import type { ImageFile } from '../host-file.ts';
import { MOST_L1_BYTES, readU64 } from './format.ts';
import type { Qcow2Header } from './header.ts';

/** Bytes that the snapshot table may have: 65,536 snapshots with names of a usual length. */
const MOST_TABLE_BYTES = 16 << 20;
const ENTRY_BYTES = 40;

/** Where a snapshot's L1 table lies. */
export interface SnapshotTable {
  readonly l1Offset: number;
  /** Entries. */
  readonly l1Size: number;
}

export interface Snapshots {
  readonly tables: readonly SnapshotTable[];
  /** Bytes of the snapshot table itself. */
  readonly bytes: number;
}

/**
 * Reads the snapshot table (the specification, "Snapshots").
 *
 * @throws DiskError `DISK_CORRUPT` when it, or an L1 table that it names, is not inside the file
 */
export async function readSnapshots(file: ImageFile, header: Qcow2Header): Promise<Snapshots> {
  if (header.snapshotCount === 0) return { tables: [], bytes: 0 };
  const wrong = (what: string) =>
    new DiskError(
      'DISK_CORRUPT',
      `disk image ${file.path} is damaged: ${what}; qemu-img check -r all may repair it`,
    );
  const most = Math.min(MOST_TABLE_BYTES, file.length - header.snapshotsOffset);
  for (let bytes = Math.min(most, 1 << 16); ; bytes = Math.min(most, bytes * 4)) {
    const table = new Uint8Array(bytes);
    await file.readAt(header.snapshotsOffset, table);
    const found = parse(new DataView(table.buffer), header.snapshotCount);
    if (found) {
      for (const { l1Offset, l1Size } of found.tables) {
        const end = l1Offset + l1Size * 8;
        if (l1Offset % header.clusterSize !== 0 || l1Size * 8 > MOST_L1_BYTES || end > file.length)
          throw wrong('the L1 table of a snapshot lies outside the file');
      }
      return found;
    }
    if (bytes === most) throw wrong('its snapshot table is too long');
  }
}

/** @returns undefined when the table goes on behind what was read */
function parse(view: DataView, count: number): Snapshots | undefined {
  const tables: SnapshotTable[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > view.byteLength) return undefined;
    tables.push({ l1Offset: readU64(view, at), l1Size: view.getUint32(at + 8) });
    const bytes = ENTRY_BYTES + view.getUint32(at + 36) + view.getUint16(at + 12) + view.getUint16(at + 14);
    at += Math.ceil(bytes / 8) * 8;
  }
  return at > view.byteLength + 7 ? undefined : { tables, bytes: at };
}
