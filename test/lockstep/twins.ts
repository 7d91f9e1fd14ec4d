import { join } from 'node:path';
import { TRANSLATION, type TranslatorOptions } from '../../src/hypervisor/cpu/translate/translator.ts';
import { type CpuProfile, createMachine, type Machine } from '../../src/hypervisor/index.ts';
import { firstDifference, ProcessorState, ramOf } from './state.ts';

export interface TwinOptions {
  /** Folder of an image: vmlinuz and initrd. */
  readonly folder: string;
  readonly cmdline?: string;
  readonly memoryMiB?: number;
  readonly cpu?: CpuProfile;
}

/** Translated at once, so that two runs translate the same. */
const EAGER: TranslatorOptions = {
  ...TRANSLATION,
  threshold: 2,
  immediate: true,
  sliceInstructions: 2_000,
};

/** What two machines do not agree on. */
export interface Difference {
  /** They agreed there, in ticks. */
  readonly after: number;
  /** They differ there. */
  readonly at: number;
  readonly lines: readonly string[];
}

/** One machine in two copies, the first interpreted, the second translated, with time that comes from instructions. */
export class Twins {
  readonly interpreted: Machine;
  readonly translated: Machine;
  readonly #output: readonly [() => string, () => string];
  /** How machines ended by themselves. */
  readonly #ends: string[] = [];
  #agreed = 0;

  private constructor(machines: readonly [Machine, Machine], output: readonly [() => string, () => string]) {
    [this.interpreted, this.translated] = machines;
    this.#output = output;
    for (const { exited } of machines) void exited.then((exit) => this.#ends.push(JSON.stringify(exit)));
  }

  static async boot(options: TwinOptions): Promise<Twins> {
    const { folder, cmdline = 'console=ttyS0 quiet', memoryMiB = 128, cpu = 'portable' } = options;
    const one = async (engine: 'interpret' | 'translate'): Promise<readonly [Machine, () => string]> => {
      let text = '';
      const machine = await createMachine(
        {
          memoryMiB,
          boot: { kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd'), cmdline },
          engine,
          cpu,
          icount: 1,
        },
        {
          serial: {
            write: (bytes) => {
              text += Buffer.from(bytes).toString('latin1');
            },
          },
          translation: EAGER,
        },
      );
      return [machine, () => text];
    };
    const [first, second] = [await one('interpret'), await one('translate')];
    return new Twins([first[0], second[0]], [first[1], second[1]]);
  }

  /** What the guest printed. */
  get output(): string {
    return this.#output[0]();
  }

  /** Ticks up to which both are known to be the same. */
  get agreed(): number {
    return this.#agreed;
  }

  get ended(): boolean {
    return this.interpreted.state === 'ended' || this.translated.state === 'ended';
  }

  /** Of the translated machine: how many slices ended where a region begins, and where none does. */
  get samples(): { readonly inRegions: number; readonly interpreted: number } {
    const { samplesInRegions = 0, samplesInterpreted = 0 } = this.translated.stats().exits;
    return { inRegions: samplesInRegions, interpreted: samplesInterpreted };
  }

  /** Types into both, at the same tick. */
  type(text: string): void {
    for (const { serialInput } of [this.interpreted, this.translated]) serialInput.offer(Buffer.from(text));
  }

  /** Runs both to a tick without a look at them. */
  async skipTo(ticks: number): Promise<void> {
    await this.interpreted.runTo(ticks);
    await this.translated.runTo(ticks);
    this.#agreed = ticks;
  }

  /** Runs both to a tick and compares them there; their RAM only when asked to, for that takes its time. */
  async runTo(ticks: number, withRam: boolean): Promise<Difference | undefined> {
    await this.interpreted.runTo(ticks);
    await this.translated.runTo(ticks);
    const lines = this.#compare(withRam);
    if (lines.length > 0) return { after: this.#agreed, at: ticks, lines };
    this.#agreed = ticks;
    return undefined;
  }

  #compare(withRam: boolean): string[] {
    const { interpreted, translated } = this;
    if (interpreted.ticks !== translated.ticks || interpreted.state !== translated.state)
      return [
        `stopped at ${interpreted.ticks} ${interpreted.state} / ${translated.ticks} ${translated.state}`,
        ...this.#ends,
      ];
    const states = [interpreted, translated].map(({ memory }) => new ProcessorState(memory)) as [
      ProcessorState,
      ProcessorState,
    ];
    const lines = states[0].differences(states[1]);
    if (interpreted.stats().instructions !== translated.stats().instructions)
      lines.push(`instructions: ${interpreted.stats().instructions} / ${translated.stats().instructions}`);
    if (this.#output[0]() !== this.#output[1]()) lines.push('the serial output');
    if (lines.length === 0 && !withRam) return lines;
    const rams = [ramOf(interpreted.memory), ramOf(translated.memory)] as const;
    const at = firstDifference(...rams);
    if (at !== undefined) {
      const word = (ram: Buffer): string => ram.subarray(at & ~7, (at & ~7) + 8).toString('hex');
      lines.push(`RAM at ${at.toString(16)}: ${word(rams[0])} / ${word(rams[1])}`);
    }
    return lines;
  }

  async dispose(): Promise<void> {
    await this.interpreted.dispose();
    await this.translated.dispose();
  }
}
