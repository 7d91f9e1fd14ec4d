/** Slices of exactly so many instructions, and interrupts at the same one, whatever runs the code. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RUN_LENGTH } from '../../src/hypervisor/cpu/interpret/run-decoder.ts';
import type { Tier, TierHost } from '../../src/hypervisor/cpu/interpret/tier.ts';
import { RAM, S } from '../../src/hypervisor/cpu/layout.ts';
import { DOORBELL, Guest, KERNEL, TABLES, USER } from '../../src/hypervisor/cpu/system/guestbed.ts';
import { LIMITS, TRANSLATION, Translator } from '../../src/hypervisor/cpu/translate/translator.ts';
import { Random } from '../native/random.ts';
import { ProcessorState } from './state.ts';

const HANDLERS = KERNEL + 0x8000;
const TEXT = KERNEL + 0x10000;
const VECTOR = 0x30;
const DE = 0;
/** Of a page-table entry. */
const ACCESSED = 0x20;
/** What XADD leaves where all ones are read, twice. */
const XADD_VECTOR = 0xfe;

/** Translates at once what is met a second time. */
const eager = (host: TierHost): Tier =>
  new Translator(host, { ...TRANSLATION, threshold: 1, immediate: true, sliceInstructions: 500 });

const hex32 = (value: number): string =>
  [0, 8, 16, 24].map((shift) => ((value >>> shift) & 0xff).toString(16)).join(' ');

/**
 * A loop of all that counts in its own way: memory, a division by zero whose
 * handler steps over it, string instructions short and long, devices that ask
 * for an interrupt from ports and from memory, flags and branches.
 */
const PROGRAM = [
  // again: inc r8; mov rax,r8; and eax,7; add r9,rax; cmp eax,3; jne +3; xor r10,r9
  '49 FF C0',
  '4C 89 C0',
  '83 E0 07',
  '49 01 C1',
  '83 F8 03',
  '75 03',
  '4D 31 CA',
  // mov ebx,TEXT; mov [rbx],r9; add r11,[rbx]
  `BB ${hex32(TEXT)}`,
  '4C 89 0B',
  '4C 03 1B',
  // mov ecx,20: the inner loop: rol r11,3; dec ecx; jnz -8
  `B9 ${hex32(20)}`,
  '49 C1 C3 03',
  'FF C9',
  '75 F8',
  // test eax,eax; jne +2; div eax (by zero)
  '85 C0',
  '75 02',
  'F7 F0',
  // cmp eax,5; jne over the strings
  '83 F8 05',
  '75 24',
  // mov edi,TEXT+100h; mov ecx,40000; rep stosb; mov esi,TEXT+100h; mov edi,TEXT+4001h; mov ecx,900; rep movsd
  `BF ${hex32(TEXT + 0x100)}`,
  `B9 ${hex32(40000)}`,
  'F3 AA',
  `BE ${hex32(TEXT + 0x100)}`,
  `BF ${hex32(TEXT + 0x4001)}`,
  `B9 ${hex32(900)}`,
  'F3 A5',
  // mov ecx,3; repne scasb
  `B9 ${hex32(3)}`,
  'F2 AE',
  // cmp eax,6; jne +4; mov al,30h; out 80h,al
  '83 F8 06',
  '75 04',
  'B0 30',
  'E6 80',
  // cmp r8b,11h (mod 100h); jne over; mov edi,DOORBELL; mov eax,30h; stosd; mov eax,[rdi]; lock xadd [rdi-4],eax
  '41 80 F8 11',
  '75 12',
  `BF ${hex32(DOORBELL)}`,
  `B8 ${hex32(VECTOR)}`,
  'AB',
  '8B 07',
  'F0 0F C1 47 FC',
] as const;

/** As written, with the branch back and the branches over the strings and the device checked against the text. */
function program(): string {
  const length = (lines: readonly string[]): number => lines.join(' ').split(' ').length;
  const strings = PROGRAM.indexOf('75 24');
  assert.equal(length(PROGRAM.slice(strings + 1, PROGRAM.indexOf('83 F8 06'))), 0x24);
  assert.equal(length(PROGRAM.slice(PROGRAM.indexOf('75 12') + 1)), 0x12);
  return `${PROGRAM.join(' ')} E9 ${hex32(-(length(PROGRAM) + 5))}`;
}

function guest(tier?: (host: TierHost) => Tier): Guest {
  const made = new Guest(tier).long(0, KERNEL);
  made.code(KERNEL, program());
  // The interrupt: mov ebx,TEXT+8; add [rbx],r8; inc r14; iretq.
  made.code(HANDLERS, `BB ${hex32(TEXT + 8)} 4C 01 03 49 FF C6 48 CF`);
  // The division: add qword [rsp],2; inc r15; iretq.
  made.code(HANDLERS + 0x40, '48 83 04 24 02 49 FF C7 48 CF');
  for (const vector of [VECTOR, XADD_VECTOR]) made.gate(vector, HANDLERS);
  made.gate(DE, HANDLERS + 0x40);
  return made;
}

/** Runs to a tick, or to the first instruction behind it: a string instruction that gives way takes many at once. */
function runTo({ cpu }: Guest, tick: number): void {
  if (cpu.ticks >= tick) return;
  assert.equal(cpu.runExactly(tick - cpu.ticks), 'budget');
  assert.ok(cpu.ticks >= tick);
}

function same(one: Guest, other: Guest, when: string): void {
  const states = [one, other].map(({ cpu }) => new ProcessorState(cpu.view)) as [
    ProcessorState,
    ProcessorState,
  ];
  assert.deepEqual(states[0].differences(states[1]), [], when);
  assert.deepEqual([one.cpu.ticks, one.cpu.instructions], [other.cpu.ticks, other.cpu.instructions], when);
  assert.deepEqual(one.accesses, other.accesses, when);
  const [text, text2] = [one, other].map(({ view }) => Buffer.from(view.buffer, RAM + TEXT, 0x6000));
  assert.ok(text?.equals(text2 as Buffer), `memory ${when}`);
}

describe('slices of exactly so many ticks', () => {
  it('end at the same state, interpreted, translated, and one instruction at a time', () => {
    const random = new Random(1);
    const [interpreted, translated, stepped] = [guest(), guest(eager), guest()];
    for (let at = 0; at < 250_000; ) {
      const ticks = 1 + random.below(at % 3 === 0 ? 20 : 3000);
      at += ticks;
      runTo(interpreted, at);
      runTo(translated, at);
      while (stepped.cpu.ticks < at) runTo(stepped, stepped.cpu.ticks + 1);
      same(interpreted, stepped, `at ${at}, interpreted`);
      same(translated, stepped, `at ${at}, translated`);
    }
    // All parts of the program were met.
    for (const register of [14, 15]) assert.ok(stepped.reg(register) > 10n, `r${register}`);
    assert.ok(stepped.accesses.length > 50);
    const { samplesInRegions = 0, samplesInterpreted = 0 } = translated.cpu.counters();
    assert.ok(samplesInRegions > samplesInterpreted, `${samplesInRegions} to ${samplesInterpreted}`);
  });

  it('an interrupt that comes from outside is taken at its instruction', () => {
    const random = new Random(2);
    const [interpreted, translated] = [guest(), guest(eager)];
    for (let n = 0; n < 100; n++) {
      const ticks = 1 + random.below(2000);
      for (const each of [interpreted, translated]) {
        runTo(each, each.cpu.ticks + ticks);
        each.pending = VECTOR;
        each.cpu.interruptsChanged();
        runTo(each, each.cpu.ticks + 1);
      }
      // The interrupted RIP is on the stack.
      same(interpreted, translated, `interrupt ${n}`);
      const frames = [interpreted, translated].map((each) => each.peek(Number(each.reg(4))));
      assert.equal(frames[0], frames[1], `interrupt ${n}`);
    }
  });

  it('end early when the processor halts, and at once when there is nothing to run', () => {
    const halting = new Guest(eager).long(0, KERNEL);
    halting.code(KERNEL, '90 90 F4');
    assert.equal(halting.cpu.runExactly(2), 'budget');
    assert.equal(halting.cpu.runExactly(100), 'halted');
    assert.equal(halting.cpu.ticks, 3);
    assert.equal(halting.cpu.runExactly(0), 'budget');
    assert.equal(halting.cpu.ticks, 3);
  });

  it('a guest that faults without an end comes to the end of its slice', () => {
    const faulting = new Guest(eager).long(0, KERNEL);
    // ud2, whose handler is a ud2 too
    faulting.code(KERNEL, '0F 0B');
    faulting.gate(6, KERNEL);
    assert.equal(faulting.cpu.runExactly(50), 'budget');
    assert.deepEqual([faulting.cpu.ticks, faulting.cpu.instructions], [50, 0]);
  });
});

describe('translation', () => {
  it('leaves no trace in page tables of pages that the guest has not run', () => {
    const looping = new Guest(eager).long(0, KERNEL);
    // inc rax; jz USER (never, and on another page); jmp back
    looping.code(KERNEL, `48 FF C0 0F 84 ${hex32(USER - KERNEL - 9)} EB F5`);
    for (let n = 0; n < 50; n++) looping.cpu.run(2000);
    assert.ok((looping.cpu.counters()['samplesInRegions'] ?? 0) > 10);
    const [used, unused] = [TABLES + 0x2000, TABLES + 0x2008].map(
      (at) => Number(looping.peek(at)) & ACCESSED,
    );
    assert.deepEqual([used, unused], [ACCESSED, 0]);
  });
});

describe('how late an interrupt can be', () => {
  it('a region goes on behind the budget by its instructions at most, and by those of a run', () => {
    // A path as long as a region may be, without a branch; every instruction is three bytes: inc rax.
    const long = new Guest(eager).long(0, KERNEL);
    const path = LIMITS.instructions - 1;
    long.code(KERNEL, `${'48 FF C0 '.repeat(path)}E9 ${hex32(-(path * 3 + 5))}`);
    for (let n = 0; n < 50; n++) long.cpu.run(2000);
    assert.ok((long.cpu.counters()['samplesInRegions'] ?? 0) > 10);
    let latest = 0;
    for (let budget = 1; budget < 600; budget++) {
      const before = long.cpu.instructions;
      long.cpu.run(budget);
      latest = Math.max(latest, long.cpu.instructions - before - budget);
    }
    assert.ok(latest > RUN_LENGTH, `a region was run: ${latest}`);
    assert.ok(latest < RUN_LENGTH + LIMITS.instructions, `${latest} instructions late`);
    assert.equal(long.view.getInt32(S.budget, true) <= 0, true);
  });
});
