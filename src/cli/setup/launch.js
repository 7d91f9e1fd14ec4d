// Runs one of the project's TypeScript programs on any machine: `node launch.js PROGRAM [arguments]`.
// It first sees to the dependencies and to a recent enough Node, then becomes the program: in this process, which
// begins once more where Node needs options, or, when this Node is too old, in a child that gets the same terminal
// and signals.
import { spawn } from 'node:child_process';
import module from 'node:module';
import { constants } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { ENTRY_FLAG } from '../../lib/entry-flag.js';
import { poolFlags } from '../../lib/pool-flags.js';
import {
  cacheDirectory,
  ensureDependencies,
  ensureNode,
  homeDirectory,
  SetupError,
  say,
} from './bootstrap.js';

const FORWARDED = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']);

/**
 * Sets up what is missing and runs a program of the project.
 * @param {string} program path of a .ts file
 * @param {string[]} args
 * @param {{ machine?: boolean }} [what] whether it will run a machine in its own process
 */
export async function launch(program, args, { machine = false } = {}) {
  let node;
  try {
    node = ensureNode();
    ensureDependencies();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(error.message);
    process.exitCode = 1;
    return;
  }
  // What the program starts by the name "node" must be the same Node.
  process.env.PATH = `${dirname(node)}${delimiter}${process.env.PATH ?? ''}`;
  process.env.TEREMOK_HOME = homeDirectory();
  process.env.TEREMOK_CACHE = cacheDirectory();
  const flags = machine ? poolFlags([...process.execArgv, process.env.NODE_OPTIONS ?? '']) : [];
  const again = [...flags, fileURLToPath(import.meta.url), program, ...args];
  if (node === process.execPath) {
    // Of a Node that cannot do that, or a system: it goes on with Node's own number of threads.
    if (flags.length > 0) process.execve?.(node, [node, ...process.execArgv, ...again], process.env);
    setFlagsFromString(ENTRY_FLAG);
    // What is kept from the last run needs no compiler of TypeScript, which takes 20 MiB and half a second.
    module.enableCompileCache(join(cacheDirectory(), 'hypervisor', 'code'));
    await import('../../lib/own-imports.ts');
    process.argv.splice(1, process.argv.length - 1, program, ...args);
    await import(pathToFileURL(program).href);
    return;
  }
  const child = spawn(node, again, { stdio: 'inherit' });
  for (const signal of FORWARDED) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    say(`could not start ${node}: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + (signal ? constants.signals[signal] : 0);
    process.exit();
  });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [program, ...args] = process.argv.slice(2);
  if (program === undefined) {
    say('usage: node launch.js PROGRAM [arguments]');
    process.exitCode = 2;
  } else {
    await launch(resolve(program), args);
  }
}
