// `node test/fuzz/rfb.ts [--seed N] [--count M]`: hostile RFB clients, session after session, without end unless
// there is a count. A session that fails is named by its seed, which alone makes it again.
import { parseArgs } from 'node:util';
import { hostileSession } from './rfb-sessions.ts';

const REPORT_EVERY = 1000;

const { values } = parseArgs({ options: { seed: { type: 'string' }, count: { type: 'string' } } });
const first = Number(values.seed ?? Date.now() % 1_000_000_000);
const count = Number(values.count ?? Number.POSITIVE_INFINITY);
for (let i = 0; i < count; i++) {
  try {
    await hostileSession(first + i);
  } catch (error) {
    process.stderr.write(`seed ${first + i}\n`);
    throw error;
  }
  if ((i + 1) % REPORT_EVERY === 0) process.stdout.write(`${i + 1} sessions from seed ${first}\n`);
}
