// Draws the scenes under QEMU and keeps what its std VGA shows in expected.json: `node test/vga/record.ts`.
// With --compare nothing is written: it says what differs from what is kept, and exits 1 if anything does.
// With --pictures FOLDER the pictures, ours and QEMU's, are put there.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { pictureOf, png } from './picture.ts';
import { pictureCode } from './picture-code.ts';
import { qemuScreens } from './qemu-screens.ts';
import { VgaRig } from './rig.ts';
import { SCENES } from './scenes.ts';

const { values } = parseArgs({ options: { compare: { type: 'boolean' }, pictures: { type: 'string' } } });
const path = join(import.meta.dirname, 'expected.json');
const scenes = SCENES.filter(({ unlikeQemu }) => unlikeQemu === undefined);
const theirs = await qemuScreens(scenes);
const codes: Record<string, string> = {};
for (const [i, { name, program }] of scenes.entries()) {
  const rig = new VgaRig();
  rig.run(program.operations);
  const ours = pictureOf(rig.watch().update().surface);
  codes[name] = pictureCode(theirs[i]);
  console.log(
    `${name}: ${codes[name]}${pictureCode(ours) === codes[name] ? '' : `, ours is ${pictureCode(ours)}`}`,
  );
  if (values.pictures === undefined) continue;
  await writeFile(join(values.pictures, `${name}.png`), png(ours));
  await writeFile(join(values.pictures, `${name}.qemu.png`), png(theirs[i]));
}
const text = `${JSON.stringify(codes, undefined, 2)}\n`;
if (!values.compare) await writeFile(path, text);
else if (text !== (await readFile(path, 'utf8'))) {
  console.log(`QEMU's pictures are not those in ${path}`);
  process.exitCode = 1;
}
