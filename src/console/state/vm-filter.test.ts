import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matches } from './vm-filter.ts';

const vm = {
  id: 'vm_1',
  name: 'Web Front',
  state: 'running' as const,
  image: 'debian-busybox',
  host: 'attic',
  labels: { team: 'Red', env: 'test' },
};

test('words and labels must all hold', () => {
  for (const search of ['', ' ', 'front', 'WEB run', 'team=red', 'env= attic', 'team=red env=test busybox'])
    assert.equal(matches(vm, search), true, search);
  for (const search of ['back', 'web stopped', 'team=blue', 'owner=', 'team=re'])
    assert.equal(matches(vm, search), false, search);
});
