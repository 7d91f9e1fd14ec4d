// `npm run setup`: everything that `npm start` prepares, without starting anything.
import { cacheDirectory, homeDirectory, say } from './bootstrap.js';
import { prepare } from './prepare.ts';
import { runProgram } from './program.ts';

await runProgram(async () => {
  await prepare({ home: homeDirectory(), cache: cacheDirectory() });
  say('set-up is complete');
});
