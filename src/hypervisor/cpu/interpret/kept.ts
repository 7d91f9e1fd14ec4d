import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { keepFile } from '../../../lib/keep-file.ts';
import { collectGarbage } from '../../../lib/memory.ts';
import {
  type DescribedInterpreter,
  describeInterpreter,
  type GeneratedInterpreter,
  generateInterpreter,
  reviveInterpreter,
} from './generate.ts';

/** Of the file's beginning: the lengths of the description and the module behind it, in bytes, two u32. */
const HEAD = 8;

/**
 * The interpreter, which is the same for all machines and takes a third of a
 * second to generate: out of a folder when it was kept there, else generated
 * and kept. A folder that cannot be read or written costs that third of a second.
 */
export function keptInterpreter(folder: string | undefined): GeneratedInterpreter {
  if (folder === undefined) return generateInterpreter();
  const path = join(folder, `interpreter-${sourcesDigest()}.bin`);
  const kept = read(path);
  if (kept) return kept;
  const generated = generateInterpreter();
  write(path, generated);
  // Generating leaves 30 MiB behind, and the guest does not wait yet.
  collectGarbage();
  return generated;
}

/** Of all that the generated module depends on. */
function sourcesDigest(): string {
  const hash = createHash('sha256');
  const cpu = join(import.meta.dirname, '..');
  for (const part of ['.', 'isa', 'decode', 'interpret', 'wasm', 'system'])
    for (const file of sources(join(cpu, part), part !== '.')) hash.update(readFileSync(file));
  return hash.digest('hex').slice(0, 32);
}

function sources(folder: string, deep: boolean): string[] {
  const entries = readdirSync(folder, { withFileTypes: true, recursive: deep });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function read(path: string): GeneratedInterpreter | undefined {
  try {
    const file = new Uint8Array(readFileSync(path));
    const head = new DataView(file.buffer);
    const length = head.getUint32(0, true);
    if (file.length !== HEAD + length + head.getUint32(4, true)) return undefined;
    const description = JSON.parse(
      new TextDecoder().decode(file.subarray(HEAD, HEAD + length)),
    ) as DescribedInterpreter; // written below, under a digest of the sources
    return reviveInterpreter(description, file.slice(HEAD + length));
  } catch {
    // Not there, or not whole: it is generated.
    return undefined;
  }
}

function write(path: string, generated: GeneratedInterpreter): void {
  const description = new TextEncoder().encode(JSON.stringify(describeInterpreter(generated)));
  const head = new Uint8Array(HEAD);
  const lengths = new DataView(head.buffer);
  lengths.setUint32(0, description.length, true);
  lengths.setUint32(4, generated.bytes.length, true);
  keepFile(path, Buffer.concat([head, description, generated.bytes]));
}
