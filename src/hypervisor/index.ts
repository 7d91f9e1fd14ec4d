/** The hypervisor: machines, with nothing of services around them. */
export {
  createMachine, MachineConfigError, MEMORY_MIB, type MachineBackends, type MachineConfig,
} from './machine/build.ts';
export type { Machine, MachineExit, MachineStats } from './machine/machine.ts';
export type { HostSource } from './machine/machine-door.ts';
