import type { Vm } from '../../contracts/vms.ts';

/** Whether there is a process whose console can be opened. */
export const hasProcess = ({ state }: Pick<Vm, 'state'>): boolean =>
  state === 'running' || state === 'paused' || state === 'stopping' || state === 'starting';

/** Machines that start from their firmware have a screen; those that are given a kernel have a serial line alone. */
export const hasScreen = ({ image, boot }: Pick<Vm, 'image' | 'boot'>): boolean =>
  image === null && !boot?.kernel;

/** What is said of a console whose key or session is over, until the page leads to the door. */
export const REFUSED = 'your key or session is over';
