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

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // Asked twice: what still runs gets its signal from the kernel when this process ends.
    if (supervisor.stopping) process.exit(130);
    say(`${signal}: shutting down`);
    void supervisor.stop().then(() => process.exit(0));
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
