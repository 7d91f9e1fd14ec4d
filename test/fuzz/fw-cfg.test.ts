import { test } from 'node:test';
import { fuzzFwCfg } from './fw-cfg.ts';

test('fw_cfg: requests and register accesses of any kind', { timeout: 60_000 }, () => fuzzFwCfg(1, 100));
