import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError, loadConfig } from './index.ts';

const needed = { DATABASE_URL: 'postgresql://u:p@127.0.0.1/db', REDIS_URL: 'redis://127.0.0.1' };

test('what is not set has a default that is safe', () => {
  const config = loadConfig(needed);
  assert.deepEqual(
    [config.host, config.port, config.engine, config.logLevel],
    ['127.0.0.1', 8080, 'auto', 'info'],
  );
  assert.ok(config.home.startsWith('/') && config.imagesDir === `${config.home}/images`);
  assert.ok(config.capacity.memoryMiB > 0 && config.capacity.vcpus > 0 && config.rateLimitPerMinute > 0);
  assert.deepEqual(loadConfig({ ...needed, PORT: '', HOST: '' }).port, 8080);
});

test('everything that is wrong is named at once, without its value when that may hold a password', () => {
  const wrong = {
    DATABASE_URL: 'mysql://root:secret@x',
    PORT: '80a',
    TEREMOK_ENGINE: 'qemu',
    LOG_LEVEL: 'loud',
    TEREMOK_CAPACITY_MEMORY_MIB: '-1',
    TEREMOK_RATE_LIMIT: '0',
  };
  assert.throws(
    () => loadConfig(wrong),
    (err: Error) => {
      assert.ok(err instanceof ConfigError);
      for (const name of [...Object.keys(wrong), 'REDIS_URL']) assert.ok(err.message.includes(name), name);
      assert.ok(!err.message.includes('secret'));
      return true;
    },
  );
});
