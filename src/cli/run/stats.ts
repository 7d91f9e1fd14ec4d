import { addTraffic, type DriveTraffic } from '../../hypervisor/index.ts';

/** What a run took, as `--stats` writes it. */
export interface RunStats {
  readonly wallSeconds: number;
  /** Host processor time, user and system. */
  readonly cpuSeconds: number;
  /** Guest instructions retired. */
  readonly instructions: number;
  /** By engine tier. */
  readonly tiers: Readonly<Record<string, number>>;
  /** How often the engine was left, by reason. */
  readonly exits: Readonly<Record<string, number>>;
  /** What the disks moved, in the order of their options. */
  readonly disks: readonly DriveTraffic[];
  /** The same of the CD-ROM drive, when there is one. */
  readonly cdrom: DriveTraffic | undefined;
}

function addCounts(
  one: Readonly<Record<string, number>>,
  other: Readonly<Record<string, number>>,
): Record<string, number> {
  const sum: Record<string, number> = { ...one };
  for (const [name, count] of Object.entries(other)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}

const sum = (one: DriveTraffic | undefined, other: DriveTraffic | undefined): DriveTraffic | undefined =>
  one && other ? addTraffic(one, other) : (one ?? other);

/** Two machines' figures, one after the other, as one run's. */
export function addStats(one: RunStats, other: RunStats): RunStats {
  return {
    wallSeconds: one.wallSeconds + other.wallSeconds,
    cpuSeconds: one.cpuSeconds + other.cpuSeconds,
    instructions: one.instructions + other.instructions,
    tiers: addCounts(one.tiers, other.tiers),
    exits: addCounts(one.exits, other.exits),
    disks: one.disks.map((disk, n) => sum(disk, other.disks[n]) ?? disk),
    cdrom: sum(one.cdrom, other.cdrom),
  };
}

/** The figures as JSON, with `mips`: millions of guest instructions a second of host processor time. */
export function formatStats(stats: RunStats): string {
  const { wallSeconds, cpuSeconds, instructions, tiers, exits, disks, cdrom } = stats;
  const mips = cpuSeconds > 0 ? instructions / cpuSeconds / 1e6 : 0;
  return `${JSON.stringify({ wallSeconds, cpuSeconds, instructions, mips, tiers, exits, disks, cdrom }, null, 2)}\n`;
}
