// An instruction whose memory operand faults leaves all as it was: registers, flags and memory.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CODE32, CODE64, Decoder } from '../../src/hypervisor/cpu/decode/decoder.ts';
import { type Encoding, OpcodeTable, operandBits } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { allInstructions } from '../../src/hypervisor/cpu/isa/index.ts';
import { memoryForms, operandSizes } from '../native/cases.ts';
import { disassemble } from '../native/differential.ts';
import { encode } from '../native/encoder.ts';
import { GuestMachine } from '../native/guest-machine.ts';
import { createHostState } from '../native/host-cpu.ts';
import { Random } from '../native/random.ts';
import { randomFx, randomUpper } from '../native/vector-state.ts';

const CODE = 0x60_0000,
  DATA = 0x80_0000,
  READ_ONLY = 0xa0_0000,
  PAGE = 0x1000;
const RBX = 3,
  RSP = 4;

/** Rows that take an address and do not touch memory. */
const ADDRESS_ONLY = /^(lea|nop|prefetch)/;
/** Only some of the bytes are touched. */
const MASKED = /^vp?maskmov/;
/** The operand is written first or read as a whole of its own size. */
const WHOLE_STATE = /^(f?x(save|rstor)|f(n?save|rstor|n?stenv|ldenv)|XSAVE)/i;

const table = new OpcodeTable(allInstructions);
const decoder = new Decoder(table);

/** Bytes that the operand surely touches from its address on. */
function bytesOf(e: Encoding, opsize: 16 | 32 | 64): number {
  const spec = e.operands.find((o) => o.what.kind === 'modrm-rm');
  if (!spec || spec.width === 'none') return 1;
  return spec.width === 80 ? 10 : operandBits(spec, opsize) / 8;
}

describe('a faulting memory operand', () => {
  const guest = new GuestMachine({
    ramBytes: 16 << 20,
    user: [
      { address: CODE, bytes: PAGE },
      { address: DATA, bytes: PAGE },
      { address: READ_ONLY, bytes: PAGE, readOnly: true },
    ],
  });
  const rng = new Random(1);
  for (const at of [DATA, READ_ONLY])
    for (let i = 0; i < PAGE; i += 8) guest.view.setBigUint64(at + i, rng.value(), true);
  const before = createHostState();
  const after = createHostState();

  /** Runs one form at an address; gives the fault after checking that nothing else happened. */
  function check(
    e: Encoding,
    mode: 32 | 64,
    opsize: 16 | 32 | 64,
    address: number,
  ): { vector: number; cr2: number } | undefined {
    const { bytes: code } = encode(
      e,
      {
        mode,
        opsize,
        addressOverride: false,
        prefixes: [],
        rex: false,
        reg: 1,
        rm: 0,
        memory: {
          base: RBX,
          index: undefined,
          scale: 0,
          displacement: 0,
          displacementBytes: 0,
          ripRelative: false,
        },
        immediates: e.immediates.map(() => rng.value()),
      },
      CODE,
    );
    if (
      decoder.decode(code, 0, code.length, mode === 64 ? CODE64 : CODE32) !== 'ok' ||
      decoder.encoding !== e
    )
      return undefined;
    for (let n = 0; n < 16; n++) before.gpr[n] = mode === 64 ? rng.value() : rng.value() & 0xffff_ffffn;
    before.gpr[RBX] = BigInt(address);
    before.gpr[RSP] = BigInt(DATA + 0x800);
    before.gpr[1] = 0n;
    before.rflags = (rng.below(0x1000) & 0x8d5) | 2;
    before.fx = randomFx(rng);
    // No floating-point exceptions.
    new DataView(before.fx.buffer).setUint32(24, 0x1f80, true);
    before.upper = randomUpper(rng);
    guest.ram.set(code, CODE);
    guest.ram.set([0xeb, 0xfe], CODE + code.length);
    const data = guest.ram.slice(DATA, DATA + PAGE);
    const readOnly = guest.ram.slice(READ_ONLY, READ_ONLY + PAGE);
    const ran = guest.run(mode, CODE, CODE + code.length, before, after, { budget: 100 });
    const what = `${e.instruction.name} (${e.text}), ${mode}-bit:\n${disassemble(code, mode, CODE)}`;
    if (!ran.fault) {
      guest.ram.set(data, DATA);
      assert.deepEqual(guest.ram.slice(READ_ONLY, READ_ONLY + PAGE), readOnly, what);
      return undefined;
    }
    assert.equal(ran.fault.rip, BigInt(CODE), what);
    assert.deepEqual(
      after.gpr.slice(0, mode === 64 ? 16 : 8),
      before.gpr.slice(0, mode === 64 ? 16 : 8),
      what,
    );
    assert.equal(after.rflags & 0xcd5, before.rflags & 0xcd5, what);
    assert.deepEqual(after.fx.subarray(160, 416), before.fx.subarray(160, 416), what);
    assert.deepEqual(after.upper, before.upper, what);
    assert.deepEqual(after.fx.subarray(24, 28), before.fx.subarray(24, 28), what);
    for (let n = 0; n < 8; n++)
      assert.deepEqual(
        after.fx.subarray(32 + n * 16, 42 + n * 16),
        before.fx.subarray(32 + n * 16, 42 + n * 16),
        what,
      );
    assert.deepEqual(guest.ram.slice(DATA, DATA + PAGE), data, what);
    assert.deepEqual(guest.ram.slice(READ_ONLY, READ_ONLY + PAGE), readOnly, what);
    return { vector: ran.fault.vector, cr2: Number(ran.fault.address ?? 0n) };
  }

  function* forms(mode: 32 | 64): Generator<{ e: Encoding; opsize: 16 | 32 | 64 }> {
    for (const e of table.encodings) {
      if (e.mode === (mode === 64 ? 'i64' : 'o64') || !memoryForms(e).includes(true)) continue;
      if (e.instruction.privilege === 0) continue;
      for (const opsize of operandSizes(e, mode)) yield { e, opsize };
    }
  }

  for (const mode of [64, 32] as const) {
    it(`that lies on no page, in ${mode}-bit mode`, (t) => {
      let faults = 0;
      for (const { e, opsize } of forms(mode)) {
        const fault = check(e, mode, opsize, DATA + 2 * PAGE);
        if (fault?.vector !== 14) continue;
        faults += 1;
        assert.ok(!ADDRESS_ONLY.test(e.instruction.name), e.text);
        assert.ok(
          fault.cr2 >= DATA + 2 * PAGE && fault.cr2 < DATA + 3 * PAGE,
          `${e.instruction.name} (${e.text}): ${fault.cr2.toString(16)}`,
        );
      }
      t.diagnostic(`${faults} forms`);
      assert.ok(faults > (mode === 64 ? 900 : 600));
    });

    it(`that goes over the end of the last page, in ${mode}-bit mode`, () => {
      for (const { e, opsize } of forms(mode)) {
        const bytes = bytesOf(e, opsize);
        if (bytes < 2 || WHOLE_STATE.test(e.instruction.name) || MASKED.test(e.instruction.name)) continue;
        for (const inside of [1, bytes - 1]) {
          const fault = check(e, mode, opsize, DATA + PAGE - inside);
          if (fault?.vector === 14) assert.equal(fault.cr2, DATA + PAGE, `${e.instruction.name} (${e.text})`);
        }
      }
    });

    it(`that may only be read, in ${mode}-bit mode`, (t) => {
      let faults = 0;
      for (const { e, opsize } of forms(mode)) {
        // What may be read here is no place to go to.
        if (e.instruction.name.includes('-indirect')) continue;
        const fault = check(e, mode, opsize, READ_ONLY + 0x100);
        if (fault?.vector === 14) faults += 1;
      }
      t.diagnostic(`${faults} forms`);
      assert.ok(faults > 150);
    });
  }
});
