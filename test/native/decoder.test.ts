// The decoder against iced-x86: what is an instruction, and how long it is.
// TEREMOK_TEST_SEED and TEREMOK_TEST_DECODES (byte strings of each mode and kind) ask for others and for more.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Code, CpuidFeature, DecoderOptions, Decoder as Iced, Mnemonic } from 'iced-x86';
import { CODE16, CODE32, CODE64, Decoder } from '../../src/hypervisor/cpu/decode/decoder.ts';
import { type Encoding, OpcodeTable } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { generateInterpreter, isGeneratedLate } from '../../src/hypervisor/cpu/interpret/generate.ts';
import { allInstructions } from '../../src/hypervisor/cpu/isa/index.ts';
import { memoryForms, operandSizes } from './cases.ts';
import { encode } from './encoder.ts';
import { Random } from './random.ts';

const seed = Number(process.env['TEREMOK_TEST_SEED'] ?? 1);
const count = Number(process.env['TEREMOK_TEST_DECODES'] ?? 25_000);

const table = new OpcodeTable(allInstructions);
const decoder = new Decoder(table);
const PREFIXES = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x40, 0x41, 0x48, 0x4f];
const MODES = [
  [16, CODE16],
  [32, CODE32],
  [64, CODE64],
] as const;

/** Features whose instructions iced knows and this processor's CPUID does not report: any of these explains a #UD. */
const BEYOND = new RegExp(
  '^(AVX|AES_?VAES|VAES|VPCLMUL|GFNI|F16C|FMA|XOP|TBM|SHA512|SM3|SM4|SSE4A|D3NOW|CMPCCXADD|RAO_INT|AESKLE|WIDE_KL|' +
    'MOVDIR|ENQCMD|CLWB|CLFLUSHOPT|CLZERO|CLDEMOTE|MONITOR|MWAIT|WAITPKG|PTWRITE|PCONFIG|PKU|OSPKE|RDPRU|RDPID|RTM|HLE|' +
    'SERIALIZE|SGX|SMX|VMX|SVM|SKINIT|SMM|INVLPGB|MCOMMIT|SNP|SEV|SEAM|TDX|TLBSYNC|UINTR|WRMSRNS|MSRLIST|LKGS|FRED|HRESET|' +
    'CET|PADLOCK|CCS|GMI|XSAVES|PBNDKB|WBNOINVD|AMX|MPX|CL1INVMB|PREFETCHITI|OSS|TSE|KL|TSXLDTRK|MSR_IMM|USER_MSR|KNC|CYRIX|CENTAUR|FXSR_OPT)',
);

/** Mnemonics that iced gives and this processor refuses, with the reason. */
const REFUSED: Readonly<Record<string, string>> = {
  Syscall: 'outside 64-bit mode only on AMD',
  Sysret: 'outside 64-bit mode only on AMD',
  Sysretq: 'outside 64-bit mode only on AMD',
  Femms: '3DNow!',
  Rsm: 'only in system management mode',
  Getsec: 'safer mode extensions',
  Getsecq: 'safer mode extensions',
  Undoc: 'VIA',
  Xstore: 'VIA',
  Ccs_encrypt: 'VIA',
  Ccs_hash: 'VIA',
  Clflushopt: 'not reported',
  Reservednop: 'not of this opcode',
};

/** Rows that decode although iced refuses them: their routines or a later check raise #UD. */
const LATER: Readonly<Record<string, string>> = {
  'mov-from-cr': 'CR1, CR5 and the like: the routine raises #UD',
  'mov-to-cr': 'the same',
  'mov-from-dr': 'DR8 and above: the routine raises #UD',
  'mov-to-dr': 'the same',
  'mov-from-sreg': 'segment registers 6 and 7: the routine raises #UD',
  'mov-to-sreg': 'the same, and CS',
  rdrand: 'F2 and F3 are ignored',
  rdseed: 'F2 is ignored',
  rdpid: 'raises #UD',
  ud: 'raises #UD',
};

const nameOf = (names: object, value: number): string =>
  (names as Readonly<Record<number, string>>)[value] ?? String(value);

/** What the two disagree about, as a line; undefined when they agree or the difference is explained. */
function difference(bytes: Uint8Array, bits: 16 | 32 | 64, mode: 0 | 1 | 2): string | undefined {
  const result = decoder.decode(bytes, 0, bytes.length, mode);
  const iced = new Iced(bits, bytes.subarray(0, 15), DecoderOptions.None);
  const instruction = iced.decode();
  try {
    const valid = instruction.code !== Code.INVALID;
    const mnemonic = nameOf(Mnemonic, instruction.mnemonic);
    const row = decoder.encoding;
    if (result === 'ok') {
      if (!valid)
        return row && row.instruction.name in LATER
          ? undefined
          : `only here: ${row?.instruction.name} ${row?.text}`;
      return instruction.length === decoder.length
        ? undefined
        : `${row?.text}: ${decoder.length} bytes here, ${instruction.length} there`;
    }
    if (!valid || mnemonic in REFUSED) return undefined;
    const features = [...instruction.cpuidFeatures()].map((f) => nameOf(CpuidFeature, f));
    if (features.some((f) => BEYOND.test(f.toUpperCase()))) return undefined;
    return `only there: ${mnemonic} (${features.join(' ')})`;
  } finally {
    instruction.free();
    iced.free();
  }
}

function randomBytes(rng: Random, bytes: Uint8Array): void {
  let at = 0;
  while (at < 4 && rng.chance(0.35)) bytes[at++] = rng.pick(PREFIXES);
  const opcode = at;
  for (; at < bytes.length; at++) bytes[at] = rng.below(256);
  if (!rng.chance(0.5)) return;
  bytes[opcode] = 0x0f;
  if (rng.chance(0.3)) bytes[opcode + 1] = rng.pick([0x38, 0x3a, 0x00, 0x01, 0x18, 0x1f, 0xae, 0xc7]);
}

/** An instruction of the table, with a byte or two changed in most. */
function mutated(rng: Random, encodings: readonly Encoding[], bits: 16 | 32 | 64, bytes: Uint8Array): void {
  const mode = bits === 64 ? 64 : 32;
  const e = rng.pick(encodings);
  const opsize = rng.pick(operandSizes(e, mode));
  const memory = rng.pick(memoryForms(e));
  const code = encode(
    e,
    {
      mode,
      opsize,
      addressOverride: rng.chance(0.2),
      prefixes: rng.chance(0.2) ? [rng.pick(PREFIXES)] : [],
      rex: mode === 64 && rng.chance(0.2),
      reg: rng.below(mode === 64 ? 16 : 8),
      rm: rng.below(mode === 64 ? 16 : 8),
      memory: memory
        ? {
            base: rng.below(4),
            index: undefined,
            scale: 0,
            displacement: 0,
            displacementBytes: rng.pick([0, 1, 4] as const),
            ripRelative: false,
          }
        : undefined,
      immediates: e.immediates.map(() => rng.u64()),
    },
    0,
  ).bytes;
  for (let at = 0; at < bytes.length; at++) bytes[at] = code[at] ?? rng.below(256);
  for (let i = rng.below(3); i > 0; i--) bytes[rng.below(code.length)] = rng.below(256);
}

describe('the decoder against iced-x86', () => {
  for (const [bits, mode] of MODES) {
    for (const kind of ['random', 'mutated'] as const) {
      it(`${kind} bytes in ${bits}-bit mode`, () => {
        const rng = new Random(seed * 8 + bits);
        const encodings = table.encodings.filter(
          (e) =>
            e.mode !== (bits === 64 ? 'i64' : 'o64') &&
            operandSizes(e, bits === 64 ? 64 : 32).length > 0 &&
            memoryForms(e).length > 0,
        );
        const found = new Map<string, string>();
        const bytes = new Uint8Array(24);
        for (let i = 0; i < count; i++) {
          if (kind === 'random') randomBytes(rng, bytes);
          else mutated(rng, encodings, bits, bytes);
          const what = difference(bytes, bits, mode);
          if (what !== undefined && !found.has(what))
            found.set(what, Buffer.from(bytes.subarray(0, 15)).toString('hex'));
        }
        assert.deepEqual(
          [...found].map(([what, hex]) => `${what}: ${hex}`),
          [],
          `seed ${seed}`,
        );
      });
    }
  }

  it('finds a handler for whatever it decodes', () => {
    const interpreter = generateInterpreter();
    for (const encoding of interpreter.table.encodings.filter(isGeneratedLate)) interpreter.extend(encoding);
    const generated = new Decoder(interpreter.table);
    const rng = new Random(seed * 8);
    const bytes = new Uint8Array(24);
    const without = new Set<string>();
    for (const [bits, mode] of MODES) {
      for (let i = 0; i < count; i++) {
        randomBytes(rng, bytes);
        if (generated.decode(bytes, 0, bytes.length, mode) !== 'ok' || generated.handler(mode) !== 0)
          continue;
        without.add(
          `${bits}-bit: ${generated.encoding?.instruction.name} ${generated.encoding?.text}, operand size ${generated.opsize}`,
        );
      }
    }
    assert.deepEqual([...without], [], `seed ${seed}`);
  });

  it('tells what is too long from what is no instruction', () => {
    const long = new Uint8Array(16).fill(0x66);
    assert.equal(decoder.decode(long, 0, 16, CODE64), 'too-long');
    const just = new Uint8Array(16).fill(0x66);
    just[14] = 0x90;
    assert.equal(decoder.decode(just, 0, 16, CODE64), 'ok');
    assert.equal(decoder.length, 15);
    assert.equal(decoder.decode(Uint8Array.of(0x48, 0x8b), 0, 2, CODE64), 'short');
    assert.equal(decoder.decode(Uint8Array.of(0x0e), 0, 1, CODE64), 'invalid');
  });
});
