// The WebAssembly of a few regions, as text, so that every change in emitted code shows in review. With --update
// (`node test/translate/golden.test.ts --update`) the files are written anew.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { stateName } from '../../src/hypervisor/cpu/translate/profile/state-names.ts';
import { moduleText } from '../../src/hypervisor/cpu/wasm/text.ts';
import { disassemble } from '../native/differential.ts';
import { Engines } from './engines.ts';
import { GOLDEN, type GoldenProgram, goldenProgram } from './golden-programs.ts';

const UPDATE = process.argv.includes('--update');
const FOLDER = new URL('golden/', import.meta.url);

/** The module that holds the first or the last region made while `run` runs. */
function moduleMade(which: 'first' | 'last', run: () => void): Uint8Array | undefined {
  const { Module } = WebAssembly;
  let made: Uint8Array | undefined;
  WebAssembly.Module = class extends Module {
    constructor(bytes: Uint8Array<ArrayBuffer>) {
      super(bytes);
      if (which === 'last' || !made) made = bytes.slice();
    }
  } as typeof Module;
  try {
    run();
  } finally {
    WebAssembly.Module = Module;
  }
  return made;
}

describe('the code of', () => {
  const engines = new Engines([{ threshold: 1, slice: 40, count: false }], false);
  const counting = new Engines([{ threshold: 1, slice: 40, count: true }], false);
  if (UPDATE) mkdirSync(FOLDER, { recursive: true });

  /** Functions that the modules of regions have beside the regions. */
  const helpers = new Set<string>();
  const isRegion = (text: string): boolean => /^\(func \$r\d/.test(text);

  const text = (golden: GoldenProgram): string => {
    const program = goldenProgram(golden);
    let what = '';
    const bytes = moduleMade(golden.first ? 'first' : 'last', () => {
      const verdict = engines.run(program);
      what =
        verdict.kind === 'different' ? verdict.what : verdict.kind === 'equal' ? verdict.ended : verdict.why;
    });
    assert.equal(what, 'end');
    assert.ok(bytes, 'a region was made');
    const functions = moduleText(bytes, {
      addressName: stateName,
      hidden: { resume: [1], invoke: [0] },
    }).split(/^(?=\(func )/m);
    for (const helper of functions.filter((f) => !isRegion(f))) helpers.add(helper);
    const listing = disassemble(program.code.subarray(0, program.end - program.at), program.mode, program.at);
    return [...listing.split('\n').map((line) => `;;${line}\n`), ...functions.filter(isRegion)].join('');
  };

  const compare = (name: string, now: string): void => {
    const file = new URL(`${name}.wat`, FOLDER);
    if (UPDATE) writeFileSync(file, now);
    const kept = existsSync(file) ? readFileSync(file, 'utf8') : '';
    assert.ok(
      now === kept,
      `the code of ${name} is another one: see what changed with "node test/translate/golden.test.ts --update" and git diff`,
    );
  };

  for (const golden of GOLDEN) {
    it(golden.name, () => {
      compare(golden.name, text(golden));
    });

    it(`${golden.name}, which stays in its region`, () => {
      const [translator] = counting.translators;
      assert.ok(translator);
      const { retired, inRegions } = counting.measure(goldenProgram(golden), translator);
      assert.ok(
        inRegions > retired * 0.95 && inRegions <= retired,
        `${inRegions} of ${retired} instructions in regions`,
      );
    });
  }

  it('what regions share', () => {
    compare(
      'shared',
      [...helpers]
        .map((text) => text.replace(/\$f\d+/g, '$f'))
        .filter((text, n, all) => all.indexOf(text) === n)
        .sort()
        .join(''),
    );
  });
});
