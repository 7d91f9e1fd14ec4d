// `npm start`: the whole of Teremok on this machine, until Ctrl-C or SIGTERM.
import { cacheDirectory, homeDirectory, say } from './bootstrap.js';
import { runProgram } from './program.ts';
import { API, Supervisor, WORKER } from './supervisor.ts';

const supervisor = new Supervisor({
  home: homeDirectory(),
  cache: cacheDirectory(),
  api: API,
  worker: WORKER,
});

/** One Ctrl-C comes several times: from the terminal itself, from npm and from the launcher, each passing it on. */
const SAME_REQUEST_MS = 2000;
let asked: number | undefined;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (asked !== undefined) {
      // Asked again: what still runs gets its signal from the kernel when this process ends.
      if (performance.now() - asked > SAME_REQUEST_MS) process.exit(130);
      return;
    }
    asked = performance.now();
    say(`${signal}: shutting down (once more to do it at once)`);
    void supervisor.stop().then(() => {
      say('stopped');
      process.exit(0);
    });
  });
}

await runProgram(async () => {
  try {
    await supervisor.start();
  } catch (error) {
    await supervisor.stop();
    throw error;
  }
});
