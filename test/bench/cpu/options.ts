import { parseArgs } from 'node:util';
import type { Bits, Host } from './build.ts';
import { choosePrograms, type Program } from './programs.ts';
import type { Clock } from './rows.ts';

export interface CpuBenchOptions {
  readonly programs: readonly Program[];
  readonly bits: readonly Bits[];
  /** Below the programs that need no kernel; by default Linux with 64 bits and none with 32. */
  readonly host?: Host;
  readonly engine?: string;
  readonly runs: number;
  readonly clock: Clock;
  readonly skipQemu: boolean;
  readonly skipV86: boolean;
  readonly skipPrograms: boolean;
  readonly skipMachine: boolean;
  /** For one program. */
  readonly limitSeconds: number;
  /** File for all figures as JSON. */
  readonly json?: string;
  /** File for the statistics of Teremok's last machine. */
  readonly stats?: string;
}

export const USAGE = `npm run bench -- cpu [OPTION …]
  --only NAME,…       only these programs, or groups of them (see --list); not the machine as a whole
  --bits 64|32|both   width of the programs (both)
  --engine ENGINE     Teremok's engine: auto, interpret, translate or kvm (auto)
  --runs N            how often; the machines take turns, figures are medians (1)
  --clock wall|cpu    what is compared: time that passed, or processor time of the process, which is
                      steadier where other programs run; short programs need --scale for it (wall)
  --scale FACTOR      for the amount of work, the same on all machines; 0.1 suits slow engines (1)
  --host linux|bare   what is below programs that need no kernel (64 bits: linux; 32 bits: bare)
  --limit SECONDS     for one program (60)
  --skip-qemu         without QEMU
  --skip-v86          without v86
  --skip-machine      without boot, idle and memory
  --skip-programs     nothing but boot, idle and memory
  --json FILE         writes all figures
  --stats FILE        what Teremok's --stats says of its last machine
  --list              names the programs`;

/** Reads the command line. @throws Error with a line for the user */
export function readOptions(args: readonly string[]): CpuBenchOptions | 'list' | 'help' {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { ...text, multiple: true },
      bits: { ...text, default: 'both' },
      engine: text,
      runs: { ...text, short: 'n', default: '1' },
      scale: { ...text, default: '1' },
      clock: { ...text, default: 'wall' },
      host: text,
      limit: { ...text, default: '60' },
      json: text,
      stats: text,
      'skip-qemu': flag,
      'skip-v86': flag,
      'skip-machine': flag,
      'skip-programs': flag,
      list: flag,
      help: { ...flag, short: 'h' },
    },
  });
  if (values.help) return 'help';
  if (values.list) return 'list';
  const only = (values.only ?? []).flatMap((names) => names.split(',')).filter((name) => name !== '');
  const factor = number('scale', values.scale, 0.0001, 1000);
  const host = values.host === undefined ? {} : { host: oneOf('host', values.host, ['linux', 'bare']) };
  return {
    programs: values['skip-programs'] ? [] : choosePrograms(only, factor),
    bits: { 64: [64], 32: [32], both: [64, 32] }[oneOf('bits', values.bits, ['64', '32', 'both'])] as Bits[],
    runs: Math.round(number('runs', values.runs, 1, 100)),
    clock: oneOf('clock', values.clock, ['wall', 'cpu']),
    limitSeconds: number('limit', values.limit, 0.1, 3600),
    skipQemu: values['skip-qemu'],
    skipV86: values['skip-v86'],
    skipPrograms: values['skip-programs'],
    skipMachine: values['skip-machine'] || only.length > 0,
    ...host,
    ...(values.engine === undefined ? {} : { engine: values.engine }),
    ...(values.json === undefined ? {} : { json: values.json }),
    ...(values.stats === undefined ? {} : { stats: values.stats }),
  };
}

function number(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text === '' || !(value >= least && value <= most))
    throw new Error(`--${name} takes a number from ${least} to ${most}, not "${text}"`);
  return value;
}

function oneOf<const T extends string>(name: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === text);
  if (found === undefined) throw new Error(`--${name} takes ${allowed.join(' or ')}, not "${text}"`);
  return found;
}
