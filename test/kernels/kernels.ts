import { devicesKernel } from './devices.ts';
import { longModeKernel } from './long-mode.ts';
import { pagingKernel } from './paging.ts';
import { platformKernel } from './platform.ts';
import { protectedKernel } from './protected.ts';
import { realModeKernel } from './real-mode.ts';

/** The test kernels by name. */
export const KERNELS: Readonly<Record<string, () => Buffer>> = {
  'real-mode': realModeKernel,
  protected: protectedKernel,
  'paging-32-bit': () => pagingKernel('32-bit'),
  'paging-pae': () => pagingKernel('PAE'),
  'paging-4-level': () => pagingKernel('4-level'),
  'long-mode': longModeKernel,
  devices: devicesKernel,
  platform: platformKernel,
};
