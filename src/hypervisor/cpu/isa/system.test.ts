import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { generateInterpreter } from '../interpret/generate.ts';
import { CpuidTable } from '../system/cpuid.ts';
import { systemRoutines } from '../system/index.ts';
import { allInstructions } from './index.ts';
import { systemInstructions } from './system.ts';

describe('the instruction table and cpu/system', () => {
  it('every routine that a row leaves to exists, and every routine is left to', () => {
    const { routines } = generateInterpreter();
    for (const name of routines) assert.ok(name in systemRoutines, `no routine ${name}`);
    for (const name of Object.keys(systemRoutines))
      assert.ok(routines.includes(name), `${name} is of no row`);
  });

  it('every feature that a row asks for has a place in CPUID', () => {
    const table = new CpuidTable({ tscHz: 1e9, apicHz: 1e9 });
    for (const row of allInstructions)
      if (row.cpuid !== undefined) assert.doesNotThrow(() => table.has(row.cpuid ?? ''), row.name);
  });

  it('a feature that the profile shows for instructions of this file is one that they name', () => {
    const named = new Set(systemInstructions.map((row) => row.cpuid));
    for (const feature of [
      'FSGSBASE',
      'INVPCID',
      'SMAP',
      'RDRAND',
      'RDSEED',
      'RDTSCP',
      'SYSCALL',
      'SEP',
      'CLFSH',
    ]) {
      assert.ok(named.has(feature), feature);
    }
  });
});
