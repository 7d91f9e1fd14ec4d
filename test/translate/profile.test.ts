// What a profile of translated code counts, by place, over a loop whose ways out of its regions are known.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gpr } from '../../src/hypervisor/cpu/layout.ts';
import type { SiteKind } from '../../src/hypervisor/cpu/translate/profile/anatomy.ts';
import { formatProfile } from '../../src/hypervisor/cpu/translate/profile/format-profile.ts';
import { TranslationProfile } from '../../src/hypervisor/cpu/translate/profile/translation-profile.ts';
import type { Assembler, Label } from './assembler.ts';
import { makeTranslator } from './engines.ts';
import { goldenProgram } from './golden-programs.ts';
import { CODE, DATA_BYTES, DEVICE } from './places.ts';
import type { Program } from './program.ts';

const ROUNDS = 5000;
const AT = CODE + 0x100;
/** Calls in one another: the region that begins in front of the first follows three, and the fourth leads out of it. */
const CALLS = 4;

interface Places {
  readonly program: Program;
  /** Addresses of the instructions that leave, and of where the fourth call leads. */
  readonly device: number;
  readonly indirect: number;
  readonly calls: number;
  readonly handler: number;
  readonly callOut: number;
  readonly callee: number;
}

/** A loop, R15 its count: a device, an indirect jump, a handler, calls in one another. */
function loop(): Places {
  let places: Omit<Places, 'program'> | undefined;
  const program = goldenProgram({
    name: 'profile',
    mode: 64,
    emit: (a: Assembler) => {
      const here = (): number => AT + a.bytes.length;
      const second = a.label();
      const third = a.label();
      const end = a.label();
      const functions: Label[] = Array.from({ length: CALLS }, () => a.label());
      const again = a.here();
      const device = here();
      a.emit(0x8b, 0x04, 0x25); // mov eax, [device]
      a.emit32(DEVICE);
      a.short(0xeb, second);
      a.bind(second);
      a.emit(0x4c, 0x8d, 0x05); // lea r8, [rip + third]
      a.relative(third, 0, 0);
      const indirect = here();
      a.emit(0x41, 0xff, 0xe0); // jmp r8
      a.bind(third);
      const calls = here();
      a.emit(0x48, 0x89, 0xdf, 0xb9, 2, 0, 0, 0); // mov rdi, rbx; mov ecx, 2
      const handler = here();
      a.emit(0xf3, 0x48, 0xab); // rep stosq
      a.near(functions[0] as Label, 0xe8);
      a.emit(0x41, 0xff, 0xcf); // dec r15d
      a.near(again, 0x0f, 0x85); // jnz
      a.near(end, 0xe9);
      let callOut = 0;
      for (const [n, label] of functions.entries()) {
        a.bind(label);
        const next = functions[n + 1];
        callOut = next ? here() : callOut;
        if (next) a.near(next, 0xe8);
        a.emit(0xc3);
      }
      places = { device, indirect, calls, handler, callOut, callee: here() - 1 };
      a.bind(end);
    },
  });
  program.gpr[15] = BigInt(ROUNDS);
  assert.ok(places);
  return { program, ...places };
}

/** Counts of all regions, or of those that begin at an address, by kind and address of the instruction. */
function countsOf(profile: TranslationProfile, begins?: number): (kind: SiteKind, address: number) => number {
  const counts = new Map<string, number>();
  for (const { made, anatomy, counts: own } of profile.hottestRegions(1000))
    for (const [n, { kind, at }] of anatomy.sites.entries()) {
      if (begins !== undefined && Number(made.linear) !== begins) continue;
      const key = `${kind} ${Number(made.linear & ~0xfffn) + at}`;
      counts.set(key, (counts.get(key) ?? 0) + (own[n] ?? 0));
    }
  return (kind, address) => counts.get(`${kind} ${address}`) ?? 0;
}

describe('a profile', () => {
  const profile = new TranslationProfile();
  const { machine } = makeTranslator({ threshold: 1, slice: 40, count: false, profile });
  const { program, device, indirect, calls, handler, callOut, callee } = loop();
  const regionAt = (address: number) =>
    profile.hottestRegions(1000).filter(({ made }) => Number(made.linear) === address);
  const counters = () => machine.guest.engine.counters();

  it('counts each way out once a round', () => {
    machine.load(program, new Uint8Array(DATA_BYTES), false);
    machine.begin(program);
    for (let n = 0; n < 1500; n++) machine.advance(1 + (n % 61));
    while (Number(machine.rip) !== device) machine.advance(1);
    assert.ok(
      regionAt(calls).some(({ made }) => made.level === 1),
      'the region with the calls has its full size',
    );
    const left = Number(machine.guest.state.getBigUint64(gpr(15), true));
    assert.ok(left > ROUNDS / 4, `${left} rounds are left`);
    const before = countsOf(profile);
    assert.ok(before('indirect', indirect) > 0);
    // Regions that come to the device in their middle leave it to the one that begins there.
    const bailsBefore = countsOf(profile, device)('interpreted', device);
    machine.advance(1_000_000);
    assert.ok(machine.halted);
    const after = countsOf(profile);
    const more = (kind: SiteKind, address: number): number => after(kind, address) - before(kind, address);
    assert.deepEqual(
      {
        device: countsOf(profile, device)('interpreted', device) - bailsBefore,
        indirect: more('indirect', indirect),
        handler: more('handler', handler),
        callOut: more('branch', callOut),
      },
      // The region of full size has the target of the jump, which has told where it goes.
      { device: left, indirect: 0, handler: left, callOut: left },
    );
  });

  it('tells why, and where to', () => {
    const [first] = regionAt(device);
    assert.ok(first);
    const why = first.anatomy.sites.filter(
      ({ kind }, n) => kind === 'interpreted' && (first.counts[n] ?? 0) > 0,
    );
    assert.deepEqual(
      why.map(({ why }) => why),
      ['a device, or no canonical address'],
    );
    const full = regionAt(calls).find(({ made }) => made.level === 1);
    const out = full?.anatomy.sites.find(({ kind }) => kind === 'branch');
    assert.deepEqual(out && [out.to, out.why], [callee & 0xfff, 'the limits of a region']);
  });

  it('is left as often as it is entered, and its counts are those of the whole', () => {
    const regions = profile.hottestRegions(1000);
    const sums = {
      entries: 0,
      instructions: 0,
      branch: 0,
      indirect: 0,
      interpreted: 0,
      budget: 0,
      handler: 0,
    };
    for (const { entries, instructions, anatomy, counts } of regions) {
      let left = 0;
      for (const [n, { kind }] of anatomy.sites.entries()) {
        const times = counts[n] ?? 0;
        if (kind !== 'handler') left += times;
        if (kind in sums) sums[kind as keyof typeof sums] += times;
      }
      assert.equal(left, entries, anatomy.name);
      sums.entries += entries;
      sums.instructions += instructions;
    }
    const all = counters();
    assert.deepEqual(sums, {
      entries: all['regionEntries'],
      instructions: all['regionInstructions'],
      branch: all['regionBranches'],
      indirect: all['regionIndirect'],
      interpreted: all['regionInterpreted'],
      budget: all['regionBudget'],
      handler: all['regionHandlers'],
    });
  });

  it('is written down with code, WebAssembly and each way out', () => {
    const { engine } = machine.guest;
    const text = formatProfile(profile, {
      stats: { instructions: engine.instructions, tiers: engine.tiers(), exits: engine.counters() },
      disassemble: (code, bits) => [{ length: code.length, text: `${code.length} bytes of ${bits} bits` }],
    });
    const hex = (n: number): string => n.toString(16);
    assert.match(text, new RegExp(`^\\d+\\. region_${hex(calls)}$`, 'm'));
    assert.match(text, new RegExp(`call of a handler at ${hex(handler)}$`, 'm'));
    assert.match(text, new RegExp(`branch out at ${hex(callOut)} to ${hex(callee)}: the limits of a region`));
    assert.match(text, new RegExp(`\\(func \\$region_${hex(calls)} \\(param i32\\) \\(result i32\\)`));
    assert.match(text, /HOTTEST PLACES THAT NO REGION BEGAN AT/);
  });
});
