import { CODE16, CODE64, type CodeMode } from '../../decode/decoder.ts';
import { moduleText } from '../../wasm/text.ts';
import type { BlockCode, Site, SiteKind } from './anatomy.ts';
import { stateName } from './state-names.ts';
import type { HotPlace, HotRegion, TranslationProfile } from './translation-profile.ts';

export interface DisassembledInstruction {
  readonly length: number;
  readonly text: string;
}

/** Disassembles code at a linear address, to its end. */
export type Disassemble = (
  code: Uint8Array,
  bits: 16 | 32 | 64,
  address: bigint,
) => readonly DisassembledInstruction[];

export interface ProfileReportOptions {
  readonly disassemble: Disassemble;
  /** Of the machine, or of all that ran in a row: as Machine.stats() gives them. */
  readonly stats: {
    readonly instructions: number;
    readonly tiers: Readonly<Record<string, number>>;
    readonly exits: Readonly<Record<string, number>>;
  };
  /** Hottest regions, and hottest places without one, that are told in full. */
  readonly most?: number;
}

const MOST = 20;
/** Instructions that are shown of an interpreted place, to the first branch. */
const PLACE_INSTRUCTIONS = 12;
const BRANCH = /^(j|call|ret|iret|sys|loop|int|hlt)/;

const KINDS: Readonly<Record<SiteKind, string>> = {
  branch: 'branch out',
  indirect: 'indirect',
  budget: 'end of a slice',
  interpreted: 'left to the interpreter',
  moved: 'to a page that the fetch TLB does not have, or has elsewhere',
  handler: 'call of a handler',
  left: 'a handler that did not come back',
  rewritten: 'code overwritten behind a handler',
};

const number = new Intl.NumberFormat('en');
const count = (n: number): string => number.format(Math.round(n));
const share = (part: number, whole: number): string =>
  `${(whole > 0 ? (part / whole) * 100 : 0).toFixed(1)} %`.padStart(7);
const hex = (at: bigint): string => BigInt.asUintN(64, at).toString(16);
const privilegeOf = (levels: readonly number[]): string =>
  levels.length > 0 ? `privilege ${levels.join(' and ')}` : 'privilege not known';
const bitsOf = (mode: CodeMode): 16 | 32 | 64 => (mode === CODE64 ? 64 : mode === CODE16 ? 16 : 32);
const indented = (lines: readonly string[], by = 2): string[] => lines.map((line) => ' '.repeat(by) + line);

/** The report on a profile: totals, the hottest regions with what they are made of, and what is hot without being in one. */
export function formatProfile(profile: TranslationProfile, options: ProfileReportOptions): string {
  const { disassemble, most = MOST } = options;
  const regions = profile.hottestRegions(most);
  const places = profile.hottestPlaces(most);
  const whole = profile.weights.regions + profile.weights.places;
  const retired = options.stats.instructions;
  const sections = [
    totals(profile, options),
    overview(regions, whole, retired),
    ...regions.map((region, n) => regionSection(n + 1, region, whole, retired, disassemble)),
    ['HOTTEST PLACES THAT NO REGION BEGAN AT', ''],
    ...places.map((place) => placeSection(place, whole, disassemble)),
  ];
  return `${sections.map((lines) => lines.join('\n')).join('\n\n')}\n`;
}

function totals({ weights }: TranslationProfile, { stats }: ProfileReportOptions): string[] {
  const { exits, tiers, instructions } = stats;
  const of = (name: string): number => exits[name] ?? 0;
  const milliseconds = (name: string): number => of(name) / 1000;
  const rows: [string, string][] = [
    ['instructions', count(instructions)],
    ...Object.entries(tiers).map(([tier, n]): [string, string] => [
      `  ${tier}`,
      `${count(n)} (${share(n, instructions).trim()})`,
    ]),
    ['samples in regions', share(weights.regions, weights.regions + weights.places).trim()],
    ['regions put in place', count(of('regions'))],
    ['  larger or narrower ones of them', count(of('regionsEnlarged'))],
    ['  taken back', count(of('regionsDropped'))],
    ['  outdated before they were there', count(of('outdated'))],
    ['refused', count(of('refused'))],
    ['failures', count(of('translationsFailed'))],
    ['instructions in them', count(of('instructionsTranslated'))],
    ['modules', `${count(of('modules'))}, ${count(of('bytesCompiled'))} bytes`],
    [
      'milliseconds making',
      count(milliseconds('translateMicroseconds') - milliseconds('compileMicroseconds')),
    ],
    ['milliseconds compiling', count(milliseconds('compileMicroseconds'))],
    ['milliseconds installing', count(milliseconds('installMicroseconds'))],
    ['entries of regions', count(of('regionEntries'))],
    ['  left by a branch out', count(of('regionBranches'))],
    ['  left by an indirect branch', count(of('regionIndirect'))],
    ['  left to the interpreter', count(of('regionInterpreted'))],
    ['  left at the end of a slice', count(of('regionBudget'))],
    ['calls of handlers', count(of('regionHandlers'))],
    ['TLB misses', count(of('tlbMisses'))],
    ['writes over code', count(of('codeInvalidations'))],
    ['all code dropped', count(of('codeCacheFlushes'))],
  ];
  return ['TOTALS', '', ...rows.map(([name, value]) => `${name.padEnd(36)} ${value}`)];
}

function overview(regions: readonly HotRegion[], whole: number, retired: number): string[] {
  return [
    'HOTTEST REGIONS',
    '',
    '    instructions   samples      entered  per entry  name',
    ...regions.map((region, n) =>
      [
        `${n + 1}.`.padStart(3),
        share(region.instructions, retired).padStart(12),
        share(region.weight, whole).padStart(9),
        count(region.entries).padStart(12),
        (region.entries > 0 ? region.instructions / region.entries : 0).toFixed(1).padStart(10),
        ` ${region.anatomy.name}`,
      ].join(' '),
    ),
  ];
}

const REACHED = { block: 'a block', access: 'one access' } as const;

function regionSection(
  n: number,
  region: HotRegion,
  whole: number,
  retired: number,
  disassemble: Disassemble,
): string[] {
  const { anatomy, made, weight, samples, entries, instructions } = region;
  const { reach, level } = made;
  const kind = [
    `${bitsOf(anatomy.mode)}-bit code`,
    privilegeOf(region.privileges),
    `level ${level}`,
    ...(reach === 'region' ? [] : [`looks at the TLB reach over ${REACHED[reach]}`]),
    `${made.instructions} instructions in ${anatomy.blocks.length} blocks`,
    ...(region.times > 1 ? [`put in place ${region.times} times`] : []),
  ];
  const base = made.linear & ~0xfffn;
  return [
    `${n}. ${anatomy.name}`,
    ...indented(
      [
        `${kind.join(', ')}`,
        `${count(instructions)} instructions retired (${share(instructions, retired).trim()}) in ${count(entries)} entries; ${share(weight, whole).trim()} of the samples (${count(samples)})`,
        '',
        'left, and calls:',
        ...indented(siteLines(region, base)),
        '',
        'guest code:',
        ...indented(anatomy.blocks.flatMap((block, i) => blockLines(block, i, region, base, disassemble))),
        '',
        'WebAssembly (with the counters of this profile):',
        ...indented(wasmLines(region)),
      ],
      3,
    ),
  ];
}

function siteLines({ anatomy, counts, entries }: HotRegion, base: bigint): string[] {
  const met = anatomy.sites
    .map((site, n) => ({ site, times: counts[n] ?? 0 }))
    .filter(({ times }) => times > 0)
    .sort((a, b) => b.times - a.times);
  const never = anatomy.sites.length - met.length;
  return [
    ...met.map(
      ({ site, times }) => `${count(times).padStart(14)} ${share(times, entries)}  ${siteText(site, base)}`,
    ),
    ...(never > 0 ? [`${count(never)} other places never`] : []),
  ];
}

function siteText({ kind, at, to, why }: Site, base: bigint): string {
  const target = to === undefined ? '' : ` to ${hex(base + BigInt(to))}`;
  return `${KINDS[kind]} at ${hex(base + BigInt(at))}${target}${why === undefined ? '' : `: ${why}`}`;
}

function blockLines(
  { at, depth, bytes }: BlockCode,
  n: number,
  { anatomy, counts }: HotRegion,
  base: bigint,
  disassemble: Disassemble,
): string[] {
  const leaving = new Map<number, number>();
  for (const [i, site] of anatomy.sites.entries())
    leaving.set(site.at, (leaving.get(site.at) ?? 0) + (counts[i] ?? 0));
  const followed = depth === 0 ? '' : ` (${depth} ${depth === 1 ? 'call' : 'calls'} down)`;
  return [
    `block ${n} at ${hex(base + BigInt(at))}${followed}`,
    ...indented(
      instructionLines(bytes, bitsOf(anatomy.mode), base + BigInt(at), disassemble, (offset) => {
        const times = leaving.get(at + offset) ?? 0;
        return times > 0 ? `  ; ${count(times)} times left or called` : '';
      }),
    ),
  ];
}

function instructionLines(
  code: Uint8Array,
  bits: 16 | 32 | 64,
  address: bigint,
  disassemble: Disassemble,
  note: (offset: number) => string = () => '',
): string[] {
  let offset = 0;
  return disassemble(code, bits, address).map(({ length, text }) => {
    const bytes = Buffer.from(code.subarray(offset, offset + length)).toString('hex');
    const line = `${hex(address + BigInt(offset))}  ${bytes.padEnd(22)} ${text}${note(offset)}`;
    offset += length;
    return line;
  });
}

/** Functions of modules as text: many regions lie in one. */
const functionsOf = new WeakMap<Uint8Array, readonly string[]>();

function wasmLines({ wasm, ordinal, anatomy }: HotRegion): string[] {
  const functions =
    functionsOf.get(wasm) ?? moduleText(wasm, { addressName: stateName }).split(/^(?=\(func )/m);
  functionsOf.set(wasm, functions);
  const own = functions.find((text) => text.startsWith(`(func $r${ordinal} `)) ?? '';
  return own.trimEnd().replace(`$r${ordinal}`, `$${anatomy.name}`).split('\n');
}

function placeSection(
  { linear, mode, samples, weight, privileges, code, reasons }: HotPlace,
  whole: number,
  disassemble: Disassemble,
): string[] {
  const why = [...reasons]
    .sort(([, a], [, b]) => b - a)
    .map(([reason, part]) => `${reason} (${share(part, weight).trim()})`);
  const lines = instructionLines(code, bitsOf(mode), linear, disassemble);
  const end = disassemble(code, bitsOf(mode), linear).findIndex(({ text }) => BRANCH.test(text));
  return [
    `${hex(linear)}: ${share(weight, whole).trim()} of the samples (${count(samples)}), ${bitsOf(mode)}-bit code, ${privilegeOf(privileges)}`,
    ...indented(
      [
        `why: ${why.join(', ')}`,
        ...lines.slice(0, Math.min(PLACE_INSTRUCTIONS, end < 0 ? Infinity : end + 1)),
      ],
      3,
    ),
  ];
}
