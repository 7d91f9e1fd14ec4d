import assert from 'node:assert/strict';
import { test } from 'node:test';
import { summary } from './python.ts';

test('what a Python test prints is counted over all its suites', () => {
  const output = `test_a (test.test_x.A.test_a) ... skipped 'no such thing'
Ran 12 tests in 0.250s
Ran 1 test in 3.1s
`;
  assert.deepEqual(summary(output), { tests: 13, skipped: 1, failed: [] });
});

test('a failure that comes again in the second run is one failure', () => {
  const output = `FAIL: test_b (test.test_x.A.test_b)
Ran 12 tests in 0.250s
FAIL: test_b (test.test_x.A.test_b)
ERROR: test_c (test.test_x.A.test_c)
Ran 1 test in 0.1s
`;
  const { failed } = summary(output);
  assert.deepEqual(failed, ['FAIL: test_b (test.test_x.A.test_b)', 'ERROR: test_c (test.test_x.A.test_c)']);
});
