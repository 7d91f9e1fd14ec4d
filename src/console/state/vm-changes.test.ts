import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Vm } from '../../contracts/vms.ts';
import { afterAnswer, afterEvent } from './vm-changes.ts';

const vm = (change: Partial<Vm> = {}): Vm => ({
  id: 'vm_1',
  name: 'a',
  tenantId: 'ten_1',
  state: 'stopped',
  desired: 'stopped',
  engine: { requested: 'auto', actual: null },
  cpu: 'portable',
  memoryMiB: 64,
  vcpus: 1,
  image: null,
  imageId: null,
  boot: null,
  cdrom: null,
  disks: [],
  labels: {},
  restartPolicy: 'on-failure',
  restartCount: 0,
  host: null,
  hostId: null,
  generation: 1,
  createdAt: '',
  updatedAt: '',
  startedAt: null,
  lastError: null,
  ...change,
});

test('an event of a worker changes what it names and nothing else', () => {
  const known = vm({ labels: { team: 'red' }, memoryMiB: 128 });
  const changed = {
    state: 'running',
    startedAt: 'now',
    engine: { requested: 'auto', actual: 'kvm' },
  } as const;
  assert.deepEqual(afterEvent(known, { changed }), { ...known, ...changed });
  assert.equal(afterEvent(undefined, { changed }), undefined);
});

test('an event with the whole machine replaces it, unless it is of an older wish', () => {
  const known = vm({ generation: 3 });
  const renamed = vm({ generation: 3, name: 'b', labels: { team: 'blue' }, host: 'other' });
  assert.equal(afterEvent(known, { vm: renamed }), renamed);
  assert.equal(afterEvent(known, { vm: vm({ generation: 2, name: 'c' }) }), undefined);
  assert.equal(afterEvent(undefined, { vm: renamed }), renamed);
});

test('a failure is kept with the machine', () => {
  const error = { code: 'crash', message: 'it crashed' };
  assert.deepEqual(afterEvent(vm(), { error })?.lastError, error);
});

test('an answer that an event has overtaken changes only what was asked for', () => {
  const running = vm({ generation: 2, state: 'running', desired: 'running', startedAt: 'now' });
  const answer = vm({ generation: 2, state: 'stopped', desired: 'running', labels: { a: 'b' } });
  assert.deepEqual(afterAnswer(running, answer), { ...running, labels: { a: 'b' } });
  const next = vm({ generation: 3, desired: 'stopped' });
  assert.equal(afterAnswer(running, next), next);
  assert.equal(afterAnswer(running, vm({ generation: 1 })), running);
});
