// Loaded into test processes (`node --import`): notes which rows of the instruction table are decoded into records to
// be run, and writes their names to TEREMOK_ROWS_DIRECTORY when the process ends.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Decoder } from '../../../src/hypervisor/cpu/decode/decoder.ts';
import type { Encoding } from '../../../src/hypervisor/cpu/decode/encoding.ts';
import { rowName } from './tested-rows.ts';

const directory = process.env['TEREMOK_ROWS_DIRECTORY'];
if (directory !== undefined) {
  const seen = new Set<Encoding>();
  const { write } = Decoder.prototype;
  Decoder.prototype.write = function recordingWrite(...args) {
    if (this.encoding) seen.add(this.encoding);
    return write.apply(this, args);
  };
  process.on('exit', () => {
    if (seen.size === 0) return;
    writeFileSync(
      join(directory, `${process.pid}.json`),
      JSON.stringify([...new Set([...seen].map(rowName))]),
    );
  });
}
