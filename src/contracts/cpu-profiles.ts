/** Names of the processors that a guest can be shown; the hypervisor has what is in them (a test compares). */
export const CPU_PROFILE_NAMES = ['portable', 'x86-64-v3'] as const;
export type CpuProfileName = (typeof CPU_PROFILE_NAMES)[number];

export const isCpuProfileName = (name: string): name is CpuProfileName =>
  (CPU_PROFILE_NAMES as readonly string[]).includes(name);
