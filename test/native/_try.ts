import { OpcodeTable } from '/work/main/src/hypervisor/cpu/decode/encoding.ts';
import { arithmeticInstructions } from '/work/main/src/hypervisor/cpu/isa/integer/arithmetic.ts';
import { flowInstructions } from '/work/main/src/hypervisor/cpu/isa/integer/flow.ts';
import { moveInstructions } from '/work/main/src/hypervisor/cpu/isa/integer/move.ts';
import { shiftInstructions } from '/work/main/src/hypervisor/cpu/isa/integer/shift.ts';
import { stringInstructions } from '/work/main/src/hypervisor/cpu/isa/integer/string.ts';
import { Differential } from '/work/main/test/native/differential.ts';
import { Random } from '/work/main/test/native/random.ts';
import { makeCase, memoryForms, operandSizes } from '/work/main/test/native/cases.ts';
import { undefinedFlagsMask, undefinedResult } from '/work/main/test/native/undefined-flags.ts';
import { operandBits } from '/work/main/src/hypervisor/cpu/decode/encoding.ts';
const mode = Number(process.argv[2] ?? 64) as 32|64;
const N = Number(process.argv[3] ?? 50);
const only = process.argv[4];
const rng = new Random(Number(process.env.SEED ?? 1));
let t0 = performance.now();
const d = new Differential();
console.log('made', performance.now()-t0);
d.fillScratch(rng);
const table = new OpcodeTable([...arithmeticInstructions, ...flowInstructions, ...moveInstructions, ...shiftInstructions, ...stringInstructions]);
let runs = 0, bad = 0, skipped=0; t0 = performance.now();
const faults: Record<string, number> = {};
const SHOW = Number(process.env.SHOW ?? 1);
for (const e of table.encodings) {
  if (e.mode === (mode === 64 ? 'i64' : 'o64')) continue;
  if (only && e.instruction.name !== only) continue;
  for (const opsize of operandSizes(e, mode)) for (const memory of memoryForms(e)) {
    let failed = 0, first = '';
    for (let i = 0; i < N; i++) {
      const c = makeCase(rng, e, mode, opsize, memory);
      if (!c) break;
      if (process.env.TRACE) require('fs').writeSync(2, Buffer.from(c.code).toString('hex') + ' ' + e.text + '\n');
      const size = e.operands[0] ? operandBits(e.operands[0], opsize) : opsize;
      const o = d.run(c, { undefinedFlags: undefinedFlagsMask(e.instruction.name, e.instruction.undefinedFlags, c.count, size), ...(undefinedResult(e.instruction.name, c.count, size) ? {} : {}) });
      runs++;
      if (o.kind === 'equal' && o.fault) faults[o.fault.vector] = (faults[o.fault.vector] ?? 0) + 1;
      if (o.kind === 'skipped') { skipped++; }
      if (o.kind === 'different') { failed++; if (failed <= SHOW) first += o.what + '\n'; }
    }
    if (failed) { bad++; console.log(`== ${e.instruction.name} ${e.text} os${opsize} ${memory ? 'mem' : 'reg'}: ${failed}/${N}\n${first}`); }
  }
}
console.log({ runs, bad, skipped, faults, ms: performance.now() - t0 });
