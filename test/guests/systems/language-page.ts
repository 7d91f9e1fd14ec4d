import type { Surface } from '../../../src/hypervisor/backends/screen.ts';

export function selectedRow(_s: Surface): number | undefined {
  return undefined;
}
export function looksLikeLanguagePage(_s: Surface): boolean {
  return false;
}
