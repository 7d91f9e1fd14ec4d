import * as os from 'node:os';

/** Threads that Node has V8 compile with, if not told otherwise. */
const NODES_OWN = 4;

/**
 * Options of Node's for a process that runs a machine: V8 compiles with as many threads as there are processors beside
 * the guest's, where these are fewer than Node would take. On two processors four threads step back behind the guest and
 * still cost a boot 5 % (docs/performance.md). Node takes the number only when it starts. JavaScript, for launch.js runs
 * on any Node.
 * @param {string[]} given what it is told already
 * @returns {string[]} none where nothing needs to be said, or something was
 */
export function poolFlags(given = []) {
  if (given.some((option) => option.includes('--v8-pool-size'))) return [];
  const processors = os.availableParallelism?.() ?? os.cpus().length;
  const others = Math.max(1, processors - 1);
  return others < NODES_OWN ? [`--v8-pool-size=${others}`] : [];
}
