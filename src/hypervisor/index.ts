/** The hypervisor: machines, with nothing of services around them. */
export { type CreateDiskOptions, createDisk } from './backends/create-disk.ts';
export { DiskError, type DiskErrorCode } from './backends/disk.ts';
export { addTraffic, type DriveTraffic } from './backends/drive-traffic.ts';
export { type DiskFormat, type OpenDiskOptions, openDisk } from './backends/open-disk.ts';
export { type ImageProbe, type ProbeOptions, probeImage } from './backends/probe-image.ts';
export { CPU_PROFILES, type CpuProfile, isCpuProfile } from './cpu/system/cpuid.ts';
export {
  type Disassemble,
  type DisassembledInstruction,
  formatProfile,
} from './cpu/translate/profile/format-profile.ts';
export { TranslationProfile } from './cpu/translate/profile/translation-profile.ts';
export { type DisplayOptions, type DisplayServer, serveDisplay } from './display/display-server.ts';
export { encodePng } from './display/png.ts';
export { SwitchedKeyboard, SwitchedPointer } from './display/switched-input.ts';
export { SwitchedScreen } from './display/switched-screen.ts';
export {
  createMachine,
  type MachineBackends,
  type MachineConfig,
  MachineConfigError,
  MEMORY_MIB,
} from './machine/build.ts';
export type { Machine, MachineExit, MachineStats } from './machine/machine.ts';
export type { HostSource } from './machine/machine-door.ts';
