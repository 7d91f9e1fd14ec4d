import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, describe, isPassing, toApiError, Unreachable } from './api-error.ts';

test('a problem document becomes an error with its code, hint and fields', async () => {
  const error = await toApiError(
    Response.json(
      {
        detail: 'the name is taken',
        code: 'name_taken',
        hint: 'take another',
        requestId: 'r1',
        errors: [{ path: '/name', message: 'taken' }],
      },
      { status: 409 },
    ),
  );
  assert.equal(error.status, 409);
  assert.equal(error.code, 'name_taken');
  assert.equal(error.requestId, 'r1');
  assert.deepEqual(error.errors, [{ path: '/name', message: 'taken' }]);
  assert.equal(describe(error), 'The name is taken. Take another.');
});

test('an answer of something else is told by its status', async () => {
  for (const body of ['<html>Bad Gateway</html>', '', 'null', '"text"']) {
    const error = await toApiError(new Response(body, { status: 502 }));
    assert.equal(error.code, 'unknown');
    assert.match(describe(error), /502/);
  }
});

test('what passes is told from what stays', () => {
  assert.equal(isPassing(new Unreachable()), true);
  assert.equal(isPassing(new ApiError(503, {})), true);
  assert.equal(isPassing(new ApiError(409, { code: 'upload_busy' })), true);
  assert.equal(isPassing(new ApiError(409, { code: 'name_taken' })), false);
  assert.equal(isPassing(new TypeError('x')), false);
});
