/** A timer that a busy guest arms comes when it is due, not when the machine looks up from running the guest anyway. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mem } from '../kernels/assembler.ts';
import { TestKernel } from '../kernels/kit.ts';
import { runKernel } from '../kernels/run-kernel.ts';
import { parseTap } from '../kernels/tap.ts';

const LAPIC = { eoi: 0xfee0_00b0, spurious: 0xfee0_00f0, lvtTimer: 0xfee0_0320 } as const;
const VECTOR = 0x62;
const DEADLINE_MODE = 0x4_0000;
const TSC_DEADLINE = 0x6e0;
const ROUNDS = 1000;
/** Ticks of 1 ns: a fraction of the longest slice. */
const LIMIT = 250_000;
/** A loaded host may take the processor away now and then. */
const ENOUGH = 600;

test('most waits for a deadline 3 µs away are short', { timeout: 60_000 }, async () => {
  const kernel = new TestKernel(32);
  const { asm } = kernel;
  const ticked = kernel.at('w1');
  asm.jmp('start');
  asm.label('tick');
  asm.mov(ticked, 1);
  asm.mov(mem(LAPIC.eoi), 0);
  asm.db(0xcf); // iret
  asm.label('start');
  kernel.handle(VECTOR, 'tick');
  kernel.test('most waits are short', { w0: 1 }, () => {
    asm.db(0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1); // mov al, FFh; out 21h, al; out A1h, al
    asm.mov(mem(LAPIC.spurious), 0x1ff);
    asm.mov(mem(LAPIC.lvtTimer), DEADLINE_MODE | VECTOR);
    asm.db(0x0f, 0xae, 0xf0); // mfence
    asm.mov('edi', ROUNDS);
    asm.mov('ebx', 0);
    asm.db(0xfb); // sti
    asm.label('round');
    asm.mov(ticked, 0);
    asm.db(0x0f, 0x31); // rdtsc
    asm.mov('esi', 'eax');
    asm.alu('add', 'eax', 3000);
    asm.alu('adc', 'edx', 0);
    asm.mov('ecx', TSC_DEADLINE);
    asm.db(0x0f, 0x30); // wrmsr
    asm.label('wait');
    asm.alu('cmp', ticked, 0);
    asm.j('e', 'wait');
    asm.db(0x0f, 0x31);
    asm.alu('sub', 'eax', 'esi');
    asm.alu('cmp', 'eax', LIMIT);
    asm.j('ae', 'longer');
    asm.alu('add', 'ebx', 1);
    asm.label('longer');
    asm.alu('sub', 'edi', 1);
    asm.j('ne', 'round');
    asm.db(0xfa); // cli
    asm.mov(kernel.at('w1'), 'ebx');
    asm.mov(kernel.at('w0'), 0);
    asm.alu('cmp', 'ebx', ENOUGH);
    asm.j('b', 'few');
    asm.mov(kernel.at('w0'), 1);
    asm.label('few');
  });
  const { exit, output } = await runKernel(kernel.finish(), { memoryMiB: 16 });
  assert.deepEqual(
    parseTap(output).map((result) => [result.verdict, ...result.differences]),
    [['ok']],
  );
  assert.deepEqual(exit, { kind: 'debug-exit', status: 1 });
});
