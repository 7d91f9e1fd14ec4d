/** Guests that mean harm end by themselves or run on; the process, and the machine next to them, notice nothing. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createMachine, type Machine } from '../../src/hypervisor/index.ts';
import { ECHO_BANNER, writeEchoGuest } from '../guests/echo-guest.ts';
import { runKernel } from '../kernels/run-kernel.ts';
import * as hostile from './hostile-kernels.ts';

const MEMORY_MIB = 16;
/** For one guest; what spins is stopped then. */
const SECONDS = 10;

/** A well-behaved guest in the same process, which echoes. */
class Neighbour {
  readonly #machine: Machine;
  #output = '';
  #printed = (): void => {};

  private constructor(machine: Machine) {
    this.#machine = machine;
  }

  static async start(kernel: string): Promise<Neighbour> {
    let neighbour: Neighbour | undefined;
    const machine = await createMachine(
      { memoryMiB: 16, boot: { kernel } },
      {
        serial: { write: (bytes) => neighbour?.print(Buffer.from(bytes).toString('latin1')) },
      },
    );
    neighbour = new Neighbour(machine);
    machine.start();
    await neighbour.#until(ECHO_BANNER);
    return neighbour;
  }

  print(text: string): void {
    this.#output += text;
    this.#printed();
  }

  async #until(text: string): Promise<void> {
    while (!this.#output.includes(text)) {
      await new Promise<void>((resolve) => {
        this.#printed = resolve;
      });
    }
  }

  /** Resolves when the guest has answered. */
  async ping(): Promise<void> {
    this.#output = '';
    this.#machine.serialInput.offer(Buffer.from('hello'));
    await this.#until('hello');
    assert.equal(this.#machine.state, 'running');
  }

  dispose(): Promise<void> {
    return this.#machine.dispose();
  }
}

describe('hostile guests', { timeout: 150_000 }, () => {
  let directory: string;
  let disk: string;
  let neighbour: Neighbour;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'teremok-hostile-'));
    disk = join(directory, 'disk');
    await writeFile(disk, '');
    await truncate(disk, 1 << 20);
    const kernel = join(directory, 'echo.elf');
    await writeEchoGuest(kernel);
    neighbour = await Neighbour.start(kernel);
  });
  after(async () => {
    await neighbour?.dispose();
    await rm(directory, { recursive: true, force: true });
  });

  const run = async (kernel: Buffer, seconds = SECONDS) => {
    const running = runKernel(kernel, { memoryMiB: MEMORY_MIB, seconds, disks: [disk], console: true });
    await neighbour.ping();
    const result = await running;
    await neighbour.ping();
    return result;
  };
  /** Without `ends`, any way to end will do, except one that is our own failure. */
  const survives = (
    name: string,
    make: hostile.HostileKernel,
    seeds: readonly number[],
    ends?: string,
    seconds = SECONDS,
  ): void => {
    for (const seed of seeds) {
      test(`${name}, seed ${seed}`, async () => {
        const { exit } = await run(make(seed), seconds);
        assert.notEqual(exit.kind, 'error', JSON.stringify(exit));
        if (ends !== undefined) assert.equal(exit.kind, ends);
      });
    }
  };
  const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

  survives('every port, every size', hostile.everyPort, [1, 2], 'debug-exit');
  survives('random ports', hostile.randomPorts, SEEDS, 'debug-exit');
  survives('the device window', hostile.deviceWindow, [1, 2, 3], 'debug-exit');
  survives('PCI configuration space', hostile.pciConfiguration, SEEDS, 'debug-exit');
  survives('virtqueues of garbage', hostile.virtioGarbage, SEEDS, 'debug-exit');
  survives('every MSR', hostile.everyMsr, [1, 2, 3], 'debug-exit');
  survives('control, debug and segment registers', hostile.controlRegisters, SEEDS, undefined, 0.4);
  survives('a storm of timers', hostile.timerStorm, [1, 2], undefined, 1);
  survives('random 64-bit code', hostile.randomCode64, SEEDS, undefined, 0.4);
  survives('random code', hostile.randomCode, SEEDS, undefined, 0.4);
  survives('page tables of garbage', hostile.garbageTables, SEEDS);
  survives('page tables outside of memory', hostile.tablesNowhere, [1, 2], 'triple-fault');
  survives('code that runs off the end of memory', hostile.endOfMemory(MEMORY_MIB), [1]);

  test('a triple fault ends the machine', async () => {
    assert.equal((await run(hostile.tripleFault(1))).exit.kind, 'triple-fault');
  });

  test('a jump to nowhere, without handlers, ends the machine', async () => {
    const { exit } = await run(hostile.jumpNowhere(1));
    assert.ok(exit.kind === 'triple-fault' || exit.kind === 'timeout', JSON.stringify(exit));
  });

  test('a guest that spins with interrupts off is stopped from outside', async () => {
    const { exit, instructions } = await run(hostile.spin(1), 1);
    assert.equal(exit.kind, 'timeout');
    assert.ok(instructions > 1e6);
  });

  test('a guest that halts for ever costs nothing', async () => {
    const { exit, instructions } = await run(hostile.haltForever(1), 1);
    assert.equal(exit.kind, 'timeout');
    assert.ok(instructions < 1e6, `${instructions} instructions`);
  });

  test('code that rewrites itself is run as it stands', async () => {
    const { exit } = await run(hostile.rewriteItself(1), 10);
    assert.deepEqual(exit, { kind: 'debug-exit', status: 1 });
  });
});
