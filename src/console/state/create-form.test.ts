import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Compile } from 'typebox/compile';
import { CreateVm, MEMORY_MIB } from '../../contracts/vms.ts';
import {
  type CreateForm,
  emptyForm,
  LIMITS,
  parseLabels,
  problemsOf,
  toCreateVm,
  toCurl,
} from './create-form.ts';

const contract = Compile(CreateVm);
const form = (change: Partial<CreateForm>): CreateForm => ({
  ...emptyForm('a'),
  image: 'debian-busybox',
  ...change,
});

test('what the form lets through is what the contract takes', () => {
  const forms = [
    form({}),
    form({ source: 'iso', iso: 'debian', diskMiB: '4096', diskBus: 'ide' }),
    form({ source: 'disk', diskImage: 'd', throwAway: true }),
    form({ source: 'kernel', kernel: 'k', initrd: 'i', cmdline: 'console=ttyS0' }),
    form({
      engine: 'interpret',
      cpu: 'x86-64-v3',
      labels: 'team=red, x',
      restartPolicy: 'never',
      start: false,
    }),
    form({ memoryMiB: String(MEMORY_MIB.minimum) }),
    form({ memoryMiB: String(MEMORY_MIB.maximum) }),
  ];
  for (const each of forms) {
    assert.deepEqual(problemsOf(each), {});
    assert.equal(contract.Check(toCreateVm(each)), true, JSON.stringify(toCreateVm(each)));
  }
  assert.deepEqual(LIMITS.memoryMiB, [MEMORY_MIB.minimum, MEMORY_MIB.maximum]);
});

test('what the contract refuses is said beside its field', () => {
  const wrong: [keyof CreateForm, Partial<CreateForm>][] = [
    ['name', { name: '' }],
    ['name', { name: ' a' }],
    ['name', { name: 'x'.repeat(64) }],
    ['memoryMiB', { memoryMiB: '15' }],
    ['memoryMiB', { memoryMiB: '1.5' }],
    ['memoryMiB', { memoryMiB: '' }],
    ['vcpus', { vcpus: '2' }],
    ['labels', { labels: '-x=1' }],
    ['image', { image: '' }],
    ['iso', { source: 'iso' }],
    ['diskImage', { source: 'disk' }],
    ['kernel', { source: 'kernel' }],
    ['cmdline', { source: 'kernel', kernel: 'k', cmdline: 'ü' }],
    ['diskMiB', { diskMiB: '0' }],
  ];
  for (const [field, change] of wrong) assert.deepEqual(Object.keys(problemsOf(form(change))), [field]);
});

test('labels are read from one line', () => {
  assert.deepEqual(parseLabels(' team = red,env=a=b\nx').labels, { team: 'red', env: 'a=b', x: '' });
});

test('a quote in a name does not end the shell’s', () => {
  assert.match(toCurl('http://h', 'vms', { name: "it's" }), /-d '\{"name":"it'\\''s"\}'$/);
});
