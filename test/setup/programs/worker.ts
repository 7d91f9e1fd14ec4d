// Stands for the worker process in the supervisor's tests.
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';

const journal = join(process.env.TEREMOK_HOME as string, 'journal');
process.on('SIGTERM', () => {
  appendFileSync(journal, 'worker ended\n');
  process.exit(0);
});
setInterval(() => {}, 60_000);
appendFileSync(journal, `worker ${process.pid}\n`);
