// Stands for the API process in the supervisor's tests: says what it was given, and ends in order.
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';

const journal = join(process.env.TEREMOK_HOME as string, 'journal');
process.on('SIGTERM', () => {
  appendFileSync(journal, 'api ended\n');
  process.exit(0);
});
setInterval(() => {}, 60_000);
appendFileSync(journal, `api ${process.env.DATABASE_URL} ${process.env.REDIS_URL}\n`);
console.log('teremok ready on http://127.0.0.1:0');
