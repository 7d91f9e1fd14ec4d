import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  createHostCpu,
  createHostState,
  type HostCpu,
  type HostState,
  hostCpuUnavailable,
} from '../../../../test/native/host-cpu.ts';
import { createTestbed, type Testbed } from '../../../../test/native/sse-testbed.ts';
import type { Encoding } from '../decode/encoding.ts';
import { sseInstructions } from './sse-instructions.ts';

/**
 * Every row of the table runs on the host's own processor and on ours from the same states, and everything is
 * compared bit by bit. TEREMOK_TEST_ROUNDS sets the runs of each form (default 60).
 */
const ROUNDS = Number(process.env['TEREMOK_TEST_ROUNDS'] ?? 60);
const MEMORY = 0x70000000;
const MEMORY_BYTES = 65536;
const WINDOW = 1024;
const MEM_AT = 0x1000;

const host = createHostCpu();
const skip = host === undefined ? (hostCpuUnavailable() ?? 'no host processor') : false;

/** Reproducible: xorshift64*. */
function generator(seed: bigint): {
  u64(): bigint;
  below(n: number): number;
  pick<T>(items: readonly T[]): T;
} {
  let s = BigInt.asUintN(64, seed * 0x9e3779b97f4a7c15n + 1n);
  const u64 = (): bigint => {
    s ^= s >> 12n;
    s = BigInt.asUintN(64, s ^ (s << 25n));
    s ^= s >> 27n;
    return BigInt.asUintN(64, s * 0x2545f4914f6cdd1dn);
  };
  const below = (n: number): number => Number((u64() >> 11n) % BigInt(n));
  return { u64, below, pick: (items) => items[below(items.length)] as (typeof items)[number] };
}
type Random = ReturnType<typeof generator>;

const SINGLES = [
  0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x00400000, 0x00800000, 0x80800000, 0x00800001,
  0x01000000, 0x3f800000, 0xbf800000, 0x3f800001, 0x3f7fffff, 0x3f000000, 0x3fc00000, 0x40200000, 0xc0200000,
  0x40490fdb, 0x3effffff, 0x4effffff, 0x4f000000, 0xcf000000, 0xcf000001, 0x5effffff, 0x5f000000, 0xdf000000,
  0x7f7fffff, 0xff7fffff, 0x7f000000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7fc12345, 0xffd00001,
  0x7f800001, 0xff800001, 0x7fa5a5a5, 0xffbfffff, 0x4b000001, 0x4b7fffff, 0x1f800000, 0x20000000, 0x5f7fffff,
].map(BigInt);
const DOUBLES = [
  0x0000000000000000n,
  0x8000000000000000n,
  0x0000000000000001n,
  0x8000000000000001n,
  0x000fffffffffffffn,
  0x0008000000000000n,
  0x0010000000000000n,
  0x8010000000000000n,
  0x0010000000000001n,
  0x0020000000000000n,
  0x3ff0000000000000n,
  0xbff0000000000000n,
  0x3ff0000000000001n,
  0x3fefffffffffffffn,
  0x3fe0000000000000n,
  0x3ff8000000000000n,
  0x4004000000000000n,
  0xc004000000000000n,
  0x400921fb54442d18n,
  0x41dfffffffc00000n,
  0x41dfffffffdfffffn,
  0x41dfffffffe00000n,
  0x41e0000000000000n,
  0xc1e0000000000000n,
  0xc1e0000000100000n,
  0xc1e0000000200000n,
  0x43dfffffffffffffn,
  0x43e0000000000000n,
  0xc3e0000000000000n,
  0xc3e0000000000001n,
  0x7fefffffffffffffn,
  0xffefffffffffffffn,
  0x7fe0000000000000n,
  0x7ff0000000000000n,
  0xfff0000000000000n,
  0x7ff8000000000000n,
  0xfff8000000000000n,
  0x7ff8123456789abcn,
  0xfffa000000000001n,
  0x7ff0000000000001n,
  0xfff0000000000001n,
  0x7ff5a5a5a5a5a5a5n,
  0xfff7ffffffffffffn,
  0x36a0000000000000n,
  0x3690000000000000n,
  0x380fffffffffffffn,
  0x3810000000000000n,
  0x380ffffff0000000n,
  0x47efffffe0000000n,
  0x47efffffefffffffn,
  0x47effffff0000000n,
  0x47f0000000000000n,
  0x1ff0000000000000n,
  0x1e60000000000000n,
  0x5ff0000000000000n,
];
const TEXT = Buffer.from('abcabcaab bcaA\0zZ-0azaz\0\0aabbcc\0caba');

function quadword(r: Random): bigint {
  switch (r.below(8)) {
    case 0:
    case 1:
      return r.pick(SINGLES) | (r.pick(SINGLES) << 32n);
    case 2:
    case 3:
      return r.pick(DOUBLES);
    case 4: {
      // Numbers of like size, with few or many bits.
      const exponent = BigInt(1000 + r.below(46)) << 52n;
      return (r.u64() & 0x800fffffffffffffn & (r.below(2) ? ~0xffffffn : ~0n)) | exponent;
    }
    case 5: {
      const single = (): bigint =>
        (r.u64() & 0x807fffffn & (r.below(2) ? ~0xfffn : ~0n)) |
        (BigInt(r.below(8) ? 110 + r.below(34) : r.below(256)) << 23n);
      return single() | (single() << 32n);
    }
    case 6: {
      const from = r.below(TEXT.length - 8);
      return TEXT.readBigUInt64LE(from);
    }
    default:
      return r.below(4) ? r.u64() : BigInt.asUintN(64, BigInt(r.below(64) - 32));
  }
}

function mxcsr(r: Random): number {
  const base = r.pick([0x1f80, 0x1fa0, 0x1f80 | r.below(64), 0x1fa0 | r.below(64), 0x1fbf]);
  const control = r.pick([
    0,
    0,
    0,
    r.below(4) << 13,
    r.below(4) << 13,
    0x8040,
    0x40,
    0x8000,
    (r.below(4) << 13) | 0x8040,
  ]);
  const unmasked = r.below(6) === 0 ? 1 << (7 + r.below(6)) : 0;
  return (base | control) & ~unmasked;
}

function randomState(r: Random): HostState {
  const state = createHostState();
  const fx = new DataView(state.fx.buffer);
  for (let i = 0; i < 16; i += 1) {
    state.gpr[i] = r.below(2) ? r.u64() : BigInt.asUintN(64, BigInt(r.below(40) - 20));
    // Some registers hold the same, so that operands meet.
    const same = i > 0 && r.below(5) === 0;
    fx.setBigUint64(160 + i * 16, same ? fx.getBigUint64(144 + i * 16, true) : quadword(r), true);
    fx.setBigUint64(168 + i * 16, same ? fx.getBigUint64(152 + i * 16, true) : quadword(r), true);
  }
  // Now and then an x87 exception is pending, which MMX instructions must tell first.
  const pending = r.below(16) === 0 ? 0x8081 : 0;
  if (pending) fx.setUint16(0, 0x37e, true);
  fx.setUint16(2, (r.below(8) << 11) | (r.below(2) << 8) | pending, true);
  fx.setUint8(4, r.below(256));
  fx.setUint32(24, mxcsr(r), true);
  for (let i = 0; i < 8; i += 1) {
    fx.setBigUint64(32 + i * 16, quadword(r), true);
    fx.setUint16(40 + i * 16, r.below(65536), true);
  }
  state.rflags = 2 | (Number(r.u64() & 0xffffn) & 0x8d5);
  return state;
}

interface Shape {
  readonly encoding: Encoding;
  readonly wide: boolean;
  readonly memory: boolean;
}

function shapesOf(encoding: Encoding): Shape[] {
  const rm = encoding.operands.find((o) => o.what.kind === 'modrm-rm')?.what;
  const takesMemory = rm?.kind === 'modrm-rm' ? rm.memory && encoding.mod !== 'reg' : encoding.mod === 'mem';
  const takesRegister =
    rm?.kind === 'modrm-rm' ? rm.register && encoding.mod !== 'mem' : encoding.mod !== 'mem';
  const wides = encoding.rexW === undefined ? [false, true] : [encoding.rexW === 1];
  return wides.flatMap((wide) => [
    ...(takesMemory ? [{ encoding, wide, memory: true }] : []),
    ...(takesRegister ? [{ encoding, wide, memory: false }] : []),
  ]);
}

/** Machine code of a shape; memory operands are at [RBX + 0]. */
function assemble({ encoding, wide, memory }: Shape, r: Random): Uint8Array {
  const mmx = (index: number): boolean =>
    encoding.operands.some((o) => o.what.kind === (index ? 'modrm-rm' : 'modrm-reg') && o.file === 'mmx');
  const reg = encoding.extension ?? r.below(mmx(0) ? 8 : 16);
  // RBX and RSP are left to the harness.
  const rm = memory ? 3 : r.below(mmx(1) ? 8 : 16);
  const rex = (wide ? 8 : 0) | (reg > 7 ? 4 : 0) | (rm > 7 ? 1 : 0);
  const bytes: number[] = [];
  if (encoding.prefix === '66' || encoding.prefix === 'F3' || encoding.prefix === 'F2')
    bytes.push(Number.parseInt(encoding.prefix, 16));
  if (rex !== 0) bytes.push(0x40 | rex);
  bytes.push(0x0f, ...(encoding.map === 2 ? [0x38] : encoding.map === 3 ? [0x3a] : []), encoding.opcode);
  if (encoding.modrm !== undefined) bytes.push(encoding.modrm);
  else if (encoding.hasModrm && memory) bytes.push(0x80 | ((reg & 7) << 3) | 3, 0, 0, 0, 0);
  else if (encoding.hasModrm) bytes.push(0xc0 | ((reg & 7) << 3) | (rm & 7));
  for (const _ of encoding.immediates) bytes.push(r.below(4) ? r.below(256) : r.below(16));
  return Uint8Array.from(bytes);
}

const IMAGES = /^(fx|x)(save|rstor)/;

/** Where the memory operand lies: aligned as the row asks, now and then not. */
function memoryOffset(shape: Shape, r: Random): number {
  const { name } = shape.encoding.instruction;
  // Processors with misaligned SSE have one bit of MXCSR more; it stays clear in the dwords prepared.
  if (name === 'ldmxcsr') return MEM_AT + 4 * r.below(32);
  if (IMAGES.test(name)) return r.below(12) ? MEM_AT : MEM_AT + 8;
  if (shape.encoding.operands.some((o) => o.aligned && o.what.kind === 'modrm-rm'))
    return MEM_AT + (r.below(12) ? r.below(8) * 16 : r.below(128));
  return MEM_AT + r.below(128);
}

function prepareMemory(name: string, memory: Uint8Array, r: Random): void {
  const view = new DataView(memory.buffer, memory.byteOffset + MEM_AT, WINDOW);
  for (let i = 0; i < WINDOW; i += 8) view.setBigUint64(i, quadword(r), true);
  if (name === 'ldmxcsr')
    for (let i = 0; i < 256; i += 4) view.setUint32(i, r.below(4) ? r.below(65536) : r.below(0x20000), true);
  if (!name.endsWith('rstor')) return;
  view.setUint32(24, r.below(8) ? r.below(65536) : 0x10000, true);
  // Nothing pending in x87: the host's next x87 instruction would tell.
  const present = r.below(8) ? r.below(4) : r.below(4) | (r.below(2) << 30);
  view.setBigUint64(512, BigInt(present), true);
  for (let i = 520; i < 576; i += 8) view.setBigUint64(i, r.below(20) ? 0n : 1n, true);
  const compact = r.below(3) === 0;
  if (compact) view.setBigUint64(520, (1n << 63n) | BigInt(r.below(8) ? 3 : r.below(4)), true);
}

function prepareRegisters(name: string, state: HostState, r: Random, at: number): void {
  state.gpr[3] = BigInt(at);
  state.gpr[4] = BigInt(MEMORY + 0x8000);
  if (name.startsWith('maskmov')) state.gpr[7] = BigInt(MEMORY + MEM_AT + r.below(512));
  if (name.startsWith('x')) {
    state.gpr[0] = BigInt(r.below(4));
    state.gpr[2] = 0n;
    state.gpr[1] = 0n;
  }
  if (name.startsWith('pcmp') && r.below(4)) {
    state.gpr[0] = BigInt.asUintN(64, BigInt(r.below(40) - 20));
    state.gpr[2] = BigInt.asUintN(64, BigInt(r.below(40) - 20));
  }
}

/** Bytes of an FXSAVE image that are not the architecture's or that processors differ in. */
function maskImage(image: Uint8Array): void {
  image.fill(0, 5, 24);
  image.fill(0, 28, 32);
  for (let i = 0; i < 8; i += 1) image.fill(0, 42 + i * 16, 48 + i * 16);
}

const APPROXIMATE = /^(rcp|rsqrt)/;

/** Two approximations of one number (SDM: each within 1.5 × 2^-12); infinities, zeroes and NaNs must be the same. */
function closeEnough(ours: Uint8Array, theirs: Uint8Array): boolean {
  const a = new DataView(ours.buffer, ours.byteOffset + 160, 256);
  const b = new DataView(theirs.buffer, theirs.byteOffset + 160, 256);
  for (let at = 0; at < 256; at += 4) {
    if (a.getUint32(at, true) === b.getUint32(at, true)) continue;
    const x = a.getFloat32(at, true);
    const y = b.getFloat32(at, true);
    // At the smallest normal number one of the two may have been flushed.
    const flushed =
      (x === 0 || y === 0) &&
      Math.abs(x - y) <= 2 ** -126 * (1 + 2 ** -11) &&
      Object.is(Math.sign(1 / x), Math.sign(1 / y));
    if (!flushed && !(Math.abs(x - y) <= Math.abs(y) * 3 * 2 ** -12)) return false;
  }
  return true;
}

function describeDifference(label: string, ours: Uint8Array, theirs: Uint8Array): string | undefined {
  if (Buffer.compare(ours, theirs) === 0) return undefined;
  for (let i = 0; i < ours.length; i += 8) {
    const a = Buffer.from(ours.subarray(i, i + 8))
      .reverse()
      .toString('hex');
    const b = Buffer.from(theirs.subarray(i, i + 8))
      .reverse()
      .toString('hex');
    if (a !== b) return `${label}+${i}: ours ${a}, the host's ${b}`;
  }
  return undefined;
}

function runOnce(cpu: HostCpu, bed: Testbed, shape: Shape, r: Random): string | undefined {
  const { name } = shape.encoding.instruction;
  const code = assemble(shape, r);
  const state = randomState(r);
  const at = MEMORY + memoryOffset(shape, r);
  prepareRegisters(name, state, r, at);
  const memory = cpu.memory.subarray(MEM_AT, MEM_AT + WINDOW);
  prepareMemory(name, cpu.memory, r);
  const before = memory.slice();
  const ourMemory = bed.memory.subarray(MEM_AT, MEM_AT + WINDOW);
  ourMemory.set(before);

  const theirs = cpu.run(code, state);
  const ours = bed.run(code, state);
  const inputs = (): string => {
    const hex = (bytes: Uint8Array): string =>
      Buffer.from(bytes).toString('hex').match(/.{16}/g)?.join(' ') ?? '';
    return (
      `code ${Buffer.from(code).toString('hex')} mxcsr ${new DataView(state.fx.buffer).getUint32(24, true).toString(16)} ` +
      `mem ${hex(before.slice(at - MEMORY - MEM_AT, at - MEMORY - MEM_AT + 16))}\n    mmx ${hex(state.fx.subarray(32, 160))}\n    xmm ${hex(state.fx.subarray(160, 416))}\n    gpr ${[...state.gpr].map((g) => g.toString(16))}`
    );
  };
  const fail = (what: string): string =>
    `${shape.encoding.text}${shape.wide ? ' REX.W' : ''}${shape.memory ? ' memory' : ''}: ${what}\n    ${inputs()}`;
  if (ours.fault?.vector !== theirs.fault?.vector)
    return fail(`exception ${ours.fault?.vector}, the host's ${theirs.fault?.vector}`);
  if (ours.fault?.vector === 13 && ours.fault.errorCode !== 0)
    return fail(`error code ${ours.fault.errorCode}`);
  for (const image of [ours.fx, theirs.fx]) maskImage(image);
  if (/^(fx|x)save/.test(name) && !ours.fault) for (const m of [memory, ourMemory]) maskImage(m);
  if (APPROXIMATE.test(name) && closeEnough(ours.fx, theirs.fx)) theirs.fx.set(ours.fx);
  if (((ours.rflags ^ theirs.rflags) & 0x8d5) !== 0) {
    return fail(
      `flags ${(ours.rflags & 0x8d5).toString(16)}, the host's ${(theirs.rflags & 0x8d5).toString(16)}`,
    );
  }
  if (/^xgetbv/.test(name)) return undefined;
  const difference =
    describeDifference('state', ours.fx, theirs.fx) ??
    describeDifference('gpr', new Uint8Array(ours.gpr.buffer), new Uint8Array(theirs.gpr.buffer)) ??
    describeDifference('memory', ourMemory, memory);
  return difference === undefined ? undefined : fail(difference);
}

describe('MMX and SSE rows against the host processor', { skip }, () => {
  const cpu = host as HostCpu;
  const bed = createTestbed(sseInstructions, MEMORY, MEMORY_BYTES);
  for (const [index, encoding] of bed.table.encodings.entries()) {
    it(`${encoding.instruction.name} ${encoding.text}`, () => {
      const r = generator(BigInt(index + 1));
      for (const shape of shapesOf(encoding)) {
        const failures: string[] = [];
        for (let round = 0; round < ROUNDS; round += 1) {
          const failure = runOnce(cpu, bed, shape, r);
          if (failure !== undefined) failures.push(failure);
        }
        assert.equal(
          failures.length,
          0,
          `${failures.length} of ${ROUNDS} runs differ; the first: ${failures[0]}`,
        );
      }
    });
  }
});

describe('rows whose immediate is known when code is emitted, as a translator has it', () => {
  const rows = sseInstructions.filter((row) => row.encodings.some((encoding) => /\bIb\b/.test(encoding)));
  const dynamic = createTestbed(rows, MEMORY, MEMORY_BYTES);
  for (const immediate of [0, 1, 4, 7, 14, 27, 31, 0x4d, 0x80, 0xe4, 0xff]) {
    it(`computes the same with ${immediate}`, () => {
      const fixed = createTestbed(rows, MEMORY, MEMORY_BYTES, immediate);
      const r = generator(BigInt(immediate + 1));
      for (const shape of fixed.table.encodings.flatMap(shapesOf).filter((s) => !s.memory)) {
        for (let round = 0; round < 8; round += 1) {
          const state = randomState(r);
          const code = assemble(shape, r);
          code[code.length - 1] = immediate;
          const expected = dynamic.run(code, state);
          assert.deepEqual(fixed.run(code, state), expected, shape.encoding.text);
        }
      }
    });
  }
});
