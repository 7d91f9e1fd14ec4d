import { TestKernel } from './kit.ts';
import { changedCode } from './protected/changed-code.ts';
import { debug } from './protected/debug.ts';
import { exceptions } from './protected/exceptions.ts';
import { farTransfers } from './protected/far-transfers.ts';
import { privilege } from './protected/privilege.ts';
import { processor } from './protected/processor.ts';
import { segments } from './protected/segments.ts';
import { tasks } from './protected/tasks.ts';
import { toRealMode } from './protected/to-real-mode.ts';
import { units } from './protected/units.ts';
import { virtual8086 } from './protected/virtual-8086.ts';

/**
 * Protected mode without paging: exceptions with their vectors, error codes
 * and saved EIP, segments, gates, ring 3, tasks, virtual-8086 and real mode
 * (Intel SDM vol. 3, chapters 5, 6, 8, 21).
 */
export function protectedKernel(): Buffer {
  const kernel = new TestKernel(32);
  exceptions(kernel);
  units(kernel);
  window(kernel);
  segments(kernel);
  farTransfers(kernel);
  privilege(kernel);
  debug(kernel);
  tasks(kernel);
  virtual8086(kernel);
  toRealMode(kernel);
  changedCode(kernel);
  processor(kernel);
  return kernel.finish();
}

/** Memory for the cases to read, write and lay segments over: 8 KiB at `window`. */
function window(kernel: TestKernel): void {
  kernel.data(() => {
    kernel.asm.align(16);
    kernel.asm.label('window');
    kernel.asm.space(0x2000);
  });
}
