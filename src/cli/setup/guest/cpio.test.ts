import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type CpioEntry, writeCpio } from './cpio.ts';

/** Reads an archive back, by the format's description, independently of the writer. */
function readCpio(archive: Uint8Array) {
  const bytes = Buffer.from(archive);
  const entries: { path: string; mode: number; data: Buffer; major: number; minor: number; links: number }[] =
    [];
  for (let at = 0; ; ) {
    assert.equal(bytes.toString('ascii', at, at + 6), '070701');
    const field = (index: number) =>
      Number.parseInt(bytes.toString('ascii', at + 6 + index * 8, at + 14 + index * 8), 16);
    const nameAt = at + 110;
    const path = bytes.toString('utf8', nameAt, nameAt + field(11) - 1);
    assert.equal(bytes[nameAt + field(11) - 1], 0);
    const dataAt = (nameAt + field(11) + 3) & ~3;
    if (path === 'TRAILER!!!') return entries;
    const data = bytes.subarray(dataAt, dataAt + field(6));
    entries.push({ path, mode: field(1), data, major: field(9), minor: field(10), links: field(4) });
    at = (dataAt + field(6) + 3) & ~3;
  }
}

describe('writeCpio', () => {
  const entries: CpioEntry[] = [
    { type: 'directory', path: 'dev', permissions: 0o755 },
    { type: 'character', path: 'dev/console', permissions: 0o600, major: 5, minor: 1 },
    { type: 'file', path: 'a', permissions: 0o4755, data: Buffer.from('12345') },
    { type: 'file', path: 'empty', permissions: 0o644, data: Buffer.alloc(0) },
    { type: 'link', path: 'bin/sh', target: 'busybox' },
  ];

  it('writes what a reader of the format finds again', () => {
    const found = readCpio(writeCpio(entries));
    assert.deepEqual(
      found.map(({ path, mode }) => [path, mode.toString(8)]),
      [
        ['dev', '40755'],
        ['dev/console', '20600'],
        ['a', '104755'],
        ['empty', '100644'],
        ['bin/sh', '120777'],
      ],
    );
    assert.deepEqual([found[1]?.major, found[1]?.minor], [5, 1]);
    assert.equal(found[2]?.data.toString(), '12345');
    assert.equal(found[4]?.data.toString(), 'busybox');
    assert.deepEqual([found[0]?.links, found[2]?.links], [2, 1]);
  });

  it('fills whole blocks and gives the same bytes for the same entries', () => {
    const archive = writeCpio(entries);
    assert.equal(archive.length % 512, 0);
    assert.deepEqual(writeCpio(entries), archive);
  });

  it('refuses paths that an unpacker would take for something else', () => {
    for (const path of ['', '/etc/passwd', 'x'.repeat(5000)]) {
      assert.throws(() => writeCpio([{ type: 'directory', path, permissions: 0o755 }]), RangeError);
    }
  });
});
