import { a20 } from './real-mode/a20.ts';
import { arithmetic } from './real-mode/arithmetic.ts';
import { devices } from './real-mode/devices.ts';
import { exceptions } from './real-mode/exceptions.ts';
import { farTransfers } from './real-mode/far-transfers.ts';
import { interrupts } from './real-mode/interrupts.ts';
import { RealModeProgram } from './real-mode/program.ts';
import { segments } from './real-mode/segments.ts';
import { stack } from './real-mode/stack.ts';
import { strings } from './real-mode/strings.ts';
import { wide } from './real-mode/wide.ts';

/**
 * A program of 16-bit code that has the machine to itself, as DOS or a boot
 * loader does: the few instructions of 32-bit code that the boot protocol asks
 * for put it at 1000:0000 and take the processor back to real mode. It then
 * prints TAP on COM1 and ends through isa-debug-exit, like the other test
 * kernels (Intel SDM vol. 3, chapters 9.9 and 21; IBM PC/AT Technical
 * Reference for the interrupt controllers and timers).
 *
 * A case leaves its answer in AX.
 */
export function realModeKernel(): Buffer {
  const program = new RealModeProgram();
  segments(program);
  farTransfers(program);
  stack(program);
  strings(program);
  arithmetic(program);
  interrupts(program);
  exceptions(program);
  wide(program);
  devices(program);
  a20(program);
  return program.finish();
}
