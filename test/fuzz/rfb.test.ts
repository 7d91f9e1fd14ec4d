import { test } from 'node:test';
import { hostileSession } from './rfb-sessions.ts';

const SESSIONS = 60;

test(`${SESSIONS} hostile RFB clients harm nobody but themselves`, async () => {
  for (let seed = 1; seed <= SESSIONS; seed++) await hostileSession(seed);
});
