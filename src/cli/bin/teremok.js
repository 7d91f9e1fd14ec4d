#!/usr/bin/env node
// The `teremok` command: runs src/cli/teremok.ts on a Node that can.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { say } from '../setup/bootstrap.js';
import { launch } from '../setup/launch.js';

const program = fileURLToPath(new URL('../teremok.ts', import.meta.url));
if (existsSync(program)) {
  const args = process.argv.slice(2);
  await launch(program, args, { machine: args[0] === 'run' });
} else {
  say(
    'this checkout has no command-line client (src/cli/teremok.ts is missing); run "git status" to see why',
  );
  process.exitCode = 1;
}
