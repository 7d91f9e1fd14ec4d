// What has to be there before any of the project's TypeScript can run: its dependencies and a Node that
// runs TypeScript. This file and launch.js run on whatever Node the machine has (18 or newer) with nothing
// installed, hence plain JavaScript and only Node's own modules.
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The first Node that runs the project's TypeScript as it is and has fast WebAssembly instantiation. */
export const MINIMUM_NODE_MAJOR = 24;
/** The Node that set-up fetches from npm when the machine's own is older. */
export const NODE_VERSION = '26.10.0';

/** The checkout's root folder. */
export const projectRoot = fileURLToPath(new URL('../../../', import.meta.url)).replace(/\/$/, '');

/** An error whose message is all that the user needs to see: no stack is printed for it. */
export class SetupError extends Error {
  /** @param {string} message one or more lines: what failed and what to do about it */
  constructor(message) {
    super(message);
    this.name = 'SetupError';
  }
}

/**
 * Where Teremok keeps its data: TEREMOK_HOME, by default `.teremok` in the checkout.
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string} an absolute path
 */
export function homeDirectory(env = process.env) {
  return resolve(env.TEREMOK_HOME || join(projectRoot, '.teremok'));
}

/**
 * Where fetched programs are kept; several homes may share it through TEREMOK_CACHE.
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string} an absolute path
 */
export function cacheDirectory(env = process.env) {
  return resolve(env.TEREMOK_CACHE || join(homeDirectory(env), 'cache'));
}

/**
 * A progress line of set-up, on standard error, so that standard output stays the program's own.
 * @param {string} message
 */
export function say(message) {
  process.stderr.write(`teremok: ${message}\n`);
}

/**
 * Reads a JSON file.
 * @param {string} path
 * @returns {any} its value, or undefined when it is missing or broken
 */
function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Tells whether node_modules holds exactly what package-lock.json names. npm keeps its own record of what it
 * installed; comparing the two also recognises what a developer's `npm install` has just brought.
 * @param {string} root the checkout
 * @returns {boolean}
 */
export function dependenciesAreCurrent(root) {
  const wanted = readJson(join(root, 'package-lock.json'))?.packages;
  const installed = readJson(join(root, 'node_modules/.package-lock.json'))?.packages;
  if (!wanted || !installed) return false;
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '') continue;
    const present = installed[path];
    if (present === undefined) {
      // An optional package for another platform is rightly absent.
      if (entry.optional || entry.devOptional || entry.peer) continue;
      return false;
    }
    if (present.version !== entry.version || present.integrity !== entry.integrity) return false;
  }
  return true;
}

/**
 * Runs npm with the arguments given, quietly.
 * @param {string[]} args
 * @param {string} cwd
 * @param {string} purpose for the error message: "install the dependencies"
 */
function npm(args, cwd, purpose) {
  const script = process.env.npm_execpath;
  const viaScript = script !== undefined && /npm-cli\.[cm]?js$/.test(script) && existsSync(script);
  const [command, leading] = viaScript ? [process.execPath, [script]] : ['npm', []];
  const common = ['--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error', '--no-progress'];
  const result = spawnSync(command, [...leading, ...args, ...common], { cwd, encoding: 'utf8' });
  if (result.error) {
    throw new SetupError(`could not ${purpose}: npm did not start (${result.error.message}). Install npm.`);
  }
  if (result.status !== 0) {
    const output = `${result.stdout}${result.stderr}`.trim();
    throw new SetupError(
      `could not ${purpose}: "npm ${args.join(' ')}" failed.\n${output}\n` +
        "Check that npm's registry can be reached (npm ping) and that the disk is not full, then try again.",
    );
  }
}

/**
 * Tells whether a process with this id exists.
 * @param {number} pid
 * @returns {boolean}
 */
export function processExists(pid) {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/**
 * Runs a step while holding a lock file, so that two commands started at once on a fresh checkout do not
 * install over each other. A lock whose process is gone is taken over.
 * @template T
 * @param {string} path the lock file
 * @param {() => T} step
 * @returns {T}
 */
export function withLock(path, step) {
  mkdirSync(dirname(path), { recursive: true });
  const deadline = Date.now() + 10 * 60_000;
  let told = false;
  for (;;) {
    try {
      const descriptor = openSync(path, 'wx', 0o600);
      writeSync(descriptor, String(process.pid));
      closeSync(descriptor);
      break;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
    }
    const holder = lockHolder(path);
    if (holder === 'gone') {
      rmSync(path, { force: true });
      continue;
    }
    if (Date.now() > deadline) {
      throw new SetupError(
        `process ${holder} has been doing set-up for over ten minutes; end it or delete ${path}`,
      );
    }
    if (!told) say(`waiting for process ${holder}, which is doing the same set-up`);
    told = true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
  try {
    return step();
  } finally {
    rmSync(path, { force: true });
  }
}

/**
 * @param {string} path
 * @returns {number | 'gone'} the process that holds the lock
 */
function lockHolder(path) {
  let pid;
  try {
    pid = Number(readFileSync(path, 'utf8'));
  } catch {
    return 'gone';
  }
  return processExists(pid) && pid !== process.pid ? pid : 'gone';
}

/**
 * Installs the dependencies that package-lock.json names, when they are not there already.
 * @param {string} [root] the checkout
 */
export function ensureDependencies(root = projectRoot) {
  if (dependenciesAreCurrent(root)) return;
  withLock(join(root, '.teremok/locks/dependencies'), () => {
    if (dependenciesAreCurrent(root)) return;
    say('installing dependencies (npm install)');
    // Not "npm ci": that refuses a lock file that lacks an optional package for some other platform, and a lock
    // file lacks those that the registry of whoever made it did not have.
    npm(['install', '--no-save', '--include=dev', '--include=optional'], root, 'install the dependencies');
    linkOwnCommand(root);
  });
}

/**
 * Puts the project's own command where npx looks first, so that `npx teremok` needs no look-up.
 * @param {string} root the checkout
 */
function linkOwnCommand(root) {
  const link = join(root, 'node_modules/.bin/teremok');
  rmSync(link, { force: true });
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync('../../src/cli/bin/teremok.js', link);
}

/**
 * Finds a Node that runs the project: the running one if it is recent enough, else one fetched from npm.
 * @param {{version?: string, cache?: string}} [options] the running version and the place of fetched programs
 * @returns {string} the path of its binary
 */
export function ensureNode(options = {}) {
  const version = options.version ?? process.versions.node;
  if (Number.parseInt(version, 10) >= MINIMUM_NODE_MAJOR) return process.execPath;
  const cache = options.cache ?? cacheDirectory();
  const packageName = `node-${process.platform}-${process.arch}`;
  const folder = join(cache, `node-${NODE_VERSION}-${process.platform}-${process.arch}`);
  const binary = join(folder, 'bin/node');
  if (isExecutable(binary)) return binary;
  return withLock(join(cache, 'node.lock'), () => {
    if (isExecutable(binary)) return binary;
    say(`this machine's Node is ${version}; fetching Node ${NODE_VERSION} from npm`);
    const work = `${folder}.${process.pid}`;
    rmSync(work, { recursive: true, force: true });
    mkdirSync(work, { recursive: true });
    writeFileSync(join(work, 'package.json'), '{"private":true}\n');
    try {
      const name = `${packageName}@${NODE_VERSION}`;
      npm(
        ['install', '--prefix', work, '--no-save', '--no-package-lock', name],
        work,
        `fetch Node ${NODE_VERSION}`,
      );
      rmSync(folder, { recursive: true, force: true });
      renameSync(join(work, 'node_modules', packageName), folder);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
    const probe = spawnSync(binary, ['--version'], { encoding: 'utf8' });
    if (probe.status !== 0) {
      rmSync(folder, { recursive: true, force: true });
      throw new SetupError(
        `the Node ${NODE_VERSION} from npm does not run on this machine (${probe.stderr || probe.error}). ` +
          `Install Node ${MINIMUM_NODE_MAJOR} or newer and try again.`,
      );
    }
    return binary;
  });
}

/**
 * @param {string} path
 * @returns {boolean}
 */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
