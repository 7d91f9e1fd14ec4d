import { closeSync, writeFileSync, writeSync } from 'node:fs';
import { setPriority } from 'node:os';
import type { VmProcessConfig } from '../../src/contracts/vm-process.ts';
import {
  EXIT_BAD_CONFIG,
  EXIT_FAILED,
  parseVmProcessConfig,
  READY_DESCRIPTOR,
} from '../../src/contracts/vm-process.ts';
import { VmProcess } from './vm-process.ts';

/**
 * The VM process: the hypervisor, its channel and nothing else. It gets its
 * configuration on standard input and holds no credentials. What goes wrong in
 * it ends it, and it alone.
 */

/** Neither a host full of memory nor one full of work should lose its worker to a VM. */
const OOM_SCORE = '500';
const NICENESS = 5;
/** A process writes no more than this about itself. */
const MAX_LOG_BYTES = 1024 * 1024;
const MAX_CONFIG_BYTES = 1024 * 1024;

let logged = 0;

function log(message: string): void {
  const line = `${new Date().toISOString()} ${message}\n`;
  if (logged + line.length > MAX_LOG_BYTES) return;
  logged += line.length;
  process.stderr.write(line);
}

async function readConfig(): Promise<VmProcessConfig> {
  let json = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) {
    json += String(chunk);
    if (json.length > MAX_CONFIG_BYTES) throw new Error('the configuration is too long');
  }
  return parseVmProcessConfig(json);
}

function stepBack(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', OOM_SCORE);
    setPriority(NICENESS);
  } catch (error) {
    log(`could not lower this process’s priority: ${String(error)}`);
  }
}

function sayReady(): void {
  try {
    writeSync(READY_DESCRIPTOR, 'ready\n');
    closeSync(READY_DESCRIPTOR);
  } catch {
    log('nobody waited for this process to be ready');
  }
}

async function main(): Promise<void> {
  let config: VmProcessConfig;
  try {
    config = await readConfig();
    process.chdir(config.directory);
  } catch (error) {
    log(`no usable configuration: ${String(error)}`);
    process.exit(EXIT_BAD_CONFIG);
  }
  process.title = `teremok-vm ${config.vmId}`;
  stepBack();
  const vm = new VmProcess(config, log);
  const failed = (error: unknown): void => {
    log(error instanceof Error ? (error.stack ?? error.message) : String(error));
    void vm.end({ kind: 'error', message: `the VM process failed: ${String(error)}` });
  };
  process.on('uncaughtException', failed);
  process.on('unhandledRejection', failed);
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => void vm.end({ kind: 'stop' }));
  await vm.start();
  sayReady();
  await vm.power();
  const exit = await vm.ended;
  process.exit(exit.kind === 'error' || exit.kind === 'not-started' ? EXIT_FAILED : 0);
}

await main();
