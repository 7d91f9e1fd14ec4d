import type { CodeMode } from '../../decode/decoder.ts';
import type { Block, Region } from '../blocks.ts';
import type { RegionCode } from '../code.ts';
import type { Anatomy, BlockCode, Site } from './anatomy.ts';
import type { SiteCounters } from './site-counters.ts';

/** A region that was emitted, and what of its surroundings tells why it ends where it does. */
interface Emitted {
  readonly name: string;
  readonly mode: CodeMode;
  readonly region: Region;
  readonly code: RegionCode;
  readonly sites: SiteCounters;
  readonly physical: (index: number) => number;
  /** Whether code at an offset has been run or decoded before. */
  readonly seen: (at: number) => boolean;
}

export function describeRegion(emitted: Emitted): Anatomy {
  const { name, mode, region, sites } = emitted;
  return {
    name,
    mode,
    counter: sites.first,
    sites: sites.sites.map((site) => explained(site, emitted)),
    blocks: region.blocks.map((block) => codeOf(block, emitted)),
  };
}

/** Why a branch leads out of the region. */
function explained(site: Site, { code, region, seen }: Emitted): Site {
  if (site.kind !== 'branch' || site.to === undefined) return site;
  return { ...site, why: reason(site.to) };

  function reason(to: number): string {
    if (!seen(to)) return 'code that had not run';
    const i = code.instruction(to);
    if (!i) return 'code on two pages, or none';
    if (i.effects.treatment === 'leave') return 'an instruction of the interpreter’s';
    if (i.effects.treatment === 'handler' && to >> 12 !== 0) return 'a handler’s instruction on another page';
    if (region.blocks.some((block) => block.at === to)) return 'the middle of a loop, or another call of it';
    return 'the limits of a region';
  }
}

/** The bytes of a block, from the copies that they were decoded from. */
function codeOf(block: Block, { code, physical }: Emitted): BlockCode {
  const last = block.instructions.at(-1);
  const end = last ? last.at + last.length : block.at;
  const bytes = Uint8Array.from({ length: end - block.at }, (_, n) => {
    const at = block.at + n;
    const frame = physical(at >> 12) + (at & 0xfff);
    return code.granule(frame - (frame % 64))[frame % 64] ?? 0;
  });
  return { at: block.at, depth: block.frame?.depth ?? 0, instructions: block.instructions.length, bytes };
}
