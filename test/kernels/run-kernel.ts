import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMachine, type MachineConfig, type MachineExit } from '../../src/hypervisor/index.ts';

export interface KernelRun {
  readonly exit: MachineExit | { readonly kind: 'timeout' };
  readonly output: string;
  readonly instructions: number;
}

/** Runs a kernel in a machine of its own; what it printed on COM1, and how it ended. */
export async function runKernel(
  image: Uint8Array,
  options: {
    memoryMiB?: number;
    seconds?: number;
    disks?: readonly string[];
    console?: boolean;
    config?: Pick<MachineConfig, 'engine' | 'icount'>;
  } = {},
): Promise<KernelRun> {
  const directory = await mkdtemp(join(tmpdir(), 'teremok-kernel-'));
  let timer: NodeJS.Timeout | undefined;
  try {
    const kernel = join(directory, 'kernel');
    await writeFile(kernel, image);
    let output = '';
    const machine = await createMachine(
      {
        memoryMiB: options.memoryMiB ?? 64,
        boot: { kernel },
        debugExit: true,
        disks: (options.disks ?? []).map((path) => ({ path })),
        ...options.config,
      },
      {
        serial: {
          write: (bytes) => {
            output += Buffer.from(bytes).toString('latin1');
          },
        },
        ...(options.console ? { console: { write: () => {} } } : {}),
      },
    );
    machine.start();
    const { promise, resolve } = Promise.withResolvers<{ kind: 'timeout' }>();
    timer = setTimeout(() => resolve({ kind: 'timeout' }), (options.seconds ?? 30) * 1000);
    const exit = await Promise.race([machine.exited, promise]);
    const { instructions } = machine.stats();
    await machine.dispose();
    return { exit, output, instructions };
  } finally {
    clearTimeout(timer);
    await rm(directory, { recursive: true, force: true });
  }
}
