// `npm run console`: builds the web console into dist/console. With --dev it serves it from its source instead, before
// a service on PORT; with --pictures it makes the pictures of docs/pictures, in the sizes
// that are named: wide and phone, or huge.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { projectRoot, SetupError, say } from './bootstrap.js';
import { provideConsole, serveConsole } from './console-build.ts';
import { runProgram } from './program.ts';

/** Where the console is served from its source. */
const DEV_PORT = 5173;

await runProgram(async () => {
  const args = process.argv.slice(2);
  if (args.includes('--dev')) {
    const api = `http://127.0.0.1:${process.env.PORT ?? 8080}`;
    say(`the console, before ${api}: ${await serveConsole(api, DEV_PORT)}`);
    return;
  }
  await provideConsole({ force: !args.includes('--pictures') });
  if (!args.includes('--pictures')) return;
  const sizes = args.filter((arg) => !arg.startsWith('--'));
  const child = spawn(process.execPath, [join(projectRoot, 'test/console/pictures.ts'), ...sizes], {
    stdio: 'inherit',
    cwd: projectRoot,
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new SetupError(`the pictures were not made (status ${code})`);
});
