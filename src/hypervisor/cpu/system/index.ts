import { controlRoutines } from './control.ts';
import { farRoutines } from './far.ts';
import { generalRoutines } from './general.ts';
import type { SystemRoutine } from './instruction.ts';
import { interruptRoutines } from './interrupts.ts';
import { ioRoutines } from './io.ts';
import { segmentRoutines } from './segment-instructions.ts';

/** Every routine that an instruction row may leave to, by the name it gives `b.system`. */
export const systemRoutines: Readonly<Record<string, SystemRoutine>> = {
  ...segmentRoutines,
  ...controlRoutines,
  ...generalRoutines,
  ...interruptRoutines,
  ...farRoutines,
  ...ioRoutines,
};

export { GuestFault, TripleFault, VECTOR, type CpuContext, type CpuPlatform } from './context.ts';
export { CpuidTable, PHYSICAL_ADDRESS_BITS, PORTABLE_FEATURES, type CpuidOptions } from './cpuid.ts';
export { enabledBreakpoints } from './control.ts';
export { deliver, faultEvent, type DeliveredEvent } from './delivery.ts';
export { SystemInstruction, type FormInfo, type OperandInfo, type SystemRoutine } from './instruction.ts';
export { MsrStore } from './msr-store.ts';
export { initState, resetState } from './reset.ts';
export { restoreArchitecturalState, saveArchitecturalState, type ArchitecturalState } from './snapshot.ts';
