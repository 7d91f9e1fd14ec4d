import assert from 'node:assert/strict';
import { it } from 'node:test';
import { CPU_PROFILE_NAMES } from '../../../contracts/cpu-profiles.ts';
import { CPU_PROFILES } from './cpuid.ts';

it('the processor profiles that can be asked for are those that there are', () => {
  assert.deepEqual([...CPU_PROFILE_NAMES], Object.keys(CPU_PROFILES));
});
