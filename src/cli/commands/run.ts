import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import type { Command } from '../command.ts';
import { parseRunOptions, RUN_OPTIONS } from '../run/options.ts';

export const runCommand: Command = {
  name: 'run',
  summary: 'Run one machine in this terminal, without any service.',
  arguments: '',
  arity: [0, 0],
  options: RUN_OPTIONS,
  notes:
    'Exit status: 0 after a power-off, 124 after --timeout, 3 after a triple fault or, with --no-reboot, a reset,\n' +
    '2 for wrong arguments or files. With --serial stdio on a terminal Ctrl-A X ends the machine.',
  async run({ options, environment }) {
    const checked = parseRunOptions(options);
    const cacheFolder = join(environment.cache, 'hypervisor');
    // The young generation stays as small as it is: what a machine allocates beside the guest's memory dies young.
    setFlagsFromString('--semi-space-growth-factor=1');
    // The hypervisor is loaded only when there is something to run.
    const { runMachine } = await import('../run/run-machine.ts');
    return runMachine(checked, cacheFolder);
  },
};
