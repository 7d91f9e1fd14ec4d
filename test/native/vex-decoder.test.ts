// VEX prefixes against iced-x86: what is an instruction, which, and how long.
// TEREMOK_TEST_SEED and TEREMOK_TEST_DECODES (byte strings of each mode) ask for others and for more.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Code, CpuidFeature, DecoderOptions, Decoder as Iced, Mnemonic } from 'iced-x86';
import { CODE16, CODE32, CODE64, Decoder } from '../../src/hypervisor/cpu/decode/decoder.ts';
import { OpcodeTable } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { allInstructions } from '../../src/hypervisor/cpu/isa/index.ts';
import { Random } from './random.ts';

const seed = Number(process.env['TEREMOK_TEST_SEED'] ?? 1);
const count = Number(process.env['TEREMOK_TEST_DECODES'] ?? 80_000);

const table = new OpcodeTable(allInstructions);
const decoder = new Decoder(table);
const rows = table.encodings.filter((e) => e.vex !== undefined);
/** Of an instruction with several features, such as AES and AVX, all must be there. */
const features = new Set(['AES', 'PCLMULQDQ', ...rows.map((e) => e.instruction.cpuid?.toUpperCase())]);
const nameOf = (names: object, value: number): string =>
  (names as Readonly<Record<number, string>>)[value] ?? String(value);

const MODES = [
  [16, CODE16],
  [32, CODE32],
  [64, CODE64],
] as const;
const BEFORE = [0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x2e, 0x65];
const REX = [0x40, 0x48];

/** A VEX prefix near a row's, and an operand. */
function randomVex(rng: Random, bits: 16 | 32 | 64): Uint8Array {
  const e = rng.pick(rows);
  const pp = ['none', '66', 'F3', 'F2'].indexOf(e.prefix ?? 'none');
  const out = rng.chance(0.2) ? [rng.pick(bits === 64 ? [...BEFORE, ...REX] : BEFORE)] : [];
  const map = rng.chance(0.9) ? e.map : rng.below(32);
  const vvvv = rng.chance(0.3) ? 15 : rng.below(16);
  const last =
    (rng.below(2) << 7) |
    (vvvv << 3) |
    ((rng.chance(0.8) ? (e.vex === 1 ? 1 : 0) : rng.below(2)) << 2) |
    (rng.chance(0.9) ? pp : rng.below(4));
  if (rng.chance(0.1)) out.push(0xc5, last);
  else out.push(0xc4, ((rng.chance(0.5) ? 7 : rng.below(8)) << 5) | map, last);
  const opcode = rng.chance(0.95) ? e.opcode : rng.below(256);
  const extension = e.extension !== undefined && rng.chance(0.8) ? e.extension : rng.below(8);
  out.push(opcode, (rng.below(4) << 6) | (extension << 3) | rng.below(8));
  while (out.length < 24) out.push(rng.below(256));
  return Uint8Array.from(out);
}

/** iced tells VPCMPESTRI with 64-bit lengths apart. */
const mnemonic = (value: number): string =>
  nameOf(Mnemonic, value)
    .toLowerCase()
    .replace(/^(vpcmpestr[im])64$/, '$1');

/** What iced makes of it: a row's instruction with its length, or nothing that the table has. */
function expected(bytes: Uint8Array, bits: 16 | 32 | 64): { name: string; length: number } | undefined {
  const iced = new Iced(bits, bytes.subarray(0, 15), DecoderOptions.None);
  const instruction = iced.decode();
  try {
    if (instruction.code === Code.INVALID) return undefined;
    const known = [...instruction.cpuidFeatures()].every((f) =>
      features.has(nameOf(CpuidFeature, f).toUpperCase()),
    );
    // LES and LDS outside 64-bit mode.
    const legacy = bits !== 64 && /^(Les|Lds)$/.test(nameOf(Mnemonic, instruction.mnemonic));
    return known || legacy ? { name: mnemonic(instruction.mnemonic), length: instruction.length } : undefined;
  } finally {
    instruction.free();
    iced.free();
  }
}

describe('VEX prefixes against iced-x86', () => {
  for (const [bits, mode] of MODES) {
    it(`in ${bits}-bit mode`, () => {
      const rng = new Random(seed * 8 + bits);
      const found = new Set<string>();
      const seen = new Set<string>();
      for (let i = 0; i < count; i++) {
        const bytes = randomVex(rng, bits);
        const wanted = expected(bytes, bits);
        const result = decoder.decode(bytes, 0, bytes.length, mode);
        const got =
          result === 'ok'
            ? { name: decoder.encoding?.instruction.name ?? '', length: decoder.length }
            : undefined;
        if (wanted) seen.add(wanted.name);
        if (got?.name !== wanted?.name || got?.length !== wanted?.length) {
          found.add(
            `${JSON.stringify(got)} for ${JSON.stringify(wanted)}: ${Buffer.from(bytes.subarray(0, 15)).toString('hex')}`,
          );
        }
      }
      assert.deepEqual([...found].slice(0, 10), [], `${found.size} differ, seed ${seed}`);
      for (const { instruction, mode: only, vsib } of rows)
        if ((only !== 'o64' || bits === 64) && !(vsib && bits === 16))
          assert.ok(seen.has(instruction.name), `${instruction.name} was never made`);
    });
  }

  const invalid: readonly (readonly [string, string])[] = [
    ['66 before it', '66c4e270f2c0'],
    ['F3 before it', 'f3c4e270f2c0'],
    ['F2 before it', 'f2c4e270f2c0'],
    ['LOCK before it', 'f0c4e270f200'],
    ['REX before it', '48c4e270f2c0'],
    ['VEX.L for a scalar', 'c4e274f2c0'],
    ['a reserved map', 'c4e070f2c0'],
    ['VEX.vvvv where no operand uses it', 'c4e373f0c001'],
  ];
  for (const [what, hex] of invalid) {
    it(`#UD: ${what}`, () => {
      const bytes = Buffer.from(hex, 'hex');
      assert.equal(decoder.decode(bytes, 0, bytes.length, CODE64), 'invalid');
    });
  }

  it('segment and address-size prefixes may stand before it', () => {
    const bytes = Buffer.from('6567c4e270f201', 'hex');
    assert.equal(decoder.decode(bytes, 0, bytes.length, CODE64), 'ok');
    assert.equal(decoder.encoding?.instruction.name, 'andn');
    assert.equal(decoder.length, bytes.length);
    assert.equal(decoder.addressSize, 32);
  });

  it('VEX.W makes operands of 64 bits in 64-bit mode alone', () => {
    const bytes = Buffer.from('c4e2f0f2c0', 'hex');
    assert.equal(decoder.decode(bytes, 0, bytes.length, CODE64), 'ok');
    assert.equal(decoder.opsize, 64);
    assert.equal(decoder.decode(bytes, 0, bytes.length, CODE32), 'ok');
    assert.equal(decoder.opsize, 32);
    assert.equal(decoder.decode(bytes, 0, bytes.length, CODE16), 'ok');
    assert.equal(decoder.opsize, 32);
  });

  it('goes on behind the bytes that there are', () => {
    const bytes = Buffer.from('c4e270f201', 'hex');
    for (let n = 1; n < bytes.length; n++)
      assert.equal(decoder.decode(bytes, 0, n, CODE64), 'short', `${n} bytes`);
  });
});
