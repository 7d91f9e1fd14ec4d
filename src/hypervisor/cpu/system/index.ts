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
