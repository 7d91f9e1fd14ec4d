/**
 * What CPUID tells, made from a set of feature names, so that a profile and
 * the instruction rows (their `cpuid` field) speak of the same things.
 * Intel SDM vol. 2, CPUID; the hypervisor leaves as Linux documents them
 * (Documentation/virt/kvm/x86/cpuid.rst).
 */

type Register = 'eax' | 'ebx' | 'ecx' | 'edx';

export interface CpuidResult {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** Feature name (the SDM's, as instruction rows write it) to its place: leaf, register, bit. Several places: the bit is shown in each. */
const FEATURES: Readonly<Record<string, readonly [leaf: number, register: Register, bit: number][]>> = {
  FPU: [[1, 'edx', 0]],
  VME: [[1, 'edx', 1]],
  DE: [[1, 'edx', 2]],
  PSE: [[1, 'edx', 3]],
  TSC: [[1, 'edx', 4]],
  MSR: [[1, 'edx', 5]],
  PAE: [[1, 'edx', 6]],
  MCE: [[1, 'edx', 7]],
  CX8: [[1, 'edx', 8]],
  APIC: [[1, 'edx', 9]],
  SEP: [[1, 'edx', 11]],
  MTRR: [[1, 'edx', 12]],
  PGE: [[1, 'edx', 13]],
  MCA: [[1, 'edx', 14]],
  CMOV: [[1, 'edx', 15]],
  PAT: [[1, 'edx', 16]],
  PSE36: [[1, 'edx', 17]],
  CLFSH: [[1, 'edx', 19]],
  MMX: [[1, 'edx', 23]],
  FXSR: [[1, 'edx', 24]],
  SSE: [[1, 'edx', 25]],
  SSE2: [[1, 'edx', 26]],
  SSE3: [[1, 'ecx', 0]],
  PCLMULQDQ: [[1, 'ecx', 1]],
  SSSE3: [[1, 'ecx', 9]],
  FMA: [[1, 'ecx', 12]],
  CX16: [[1, 'ecx', 13]],
  PCID: [[1, 'ecx', 17]],
  SSE4_1: [[1, 'ecx', 19]],
  SSE4_2: [[1, 'ecx', 20]],
  X2APIC: [[1, 'ecx', 21]],
  MOVBE: [[1, 'ecx', 22]],
  POPCNT: [[1, 'ecx', 23]],
  TSC_DEADLINE: [[1, 'ecx', 24]],
  AESNI: [[1, 'ecx', 25]],
  XSAVE: [[1, 'ecx', 26]],
  AVX: [[1, 'ecx', 28]],
  F16C: [[1, 'ecx', 29]],
  RDRAND: [[1, 'ecx', 30]],
  HYPERVISOR: [[1, 'ecx', 31]],
  ARAT: [[6, 'eax', 2]],
  // Leaf 0Dh, sub-leaf 1.
  XSAVEOPT: [[0xd, 'eax', 0]],
  XSAVEC: [[0xd, 'eax', 1]],
  FSGSBASE: [[7, 'ebx', 0]],
  TSC_ADJUST: [[7, 'ebx', 1]],
  BMI1: [[7, 'ebx', 3]],
  AVX2: [[7, 'ebx', 5]],
  SMEP: [[7, 'ebx', 7]],
  BMI2: [[7, 'ebx', 8]],
  ERMS: [[7, 'ebx', 9]],
  INVPCID: [[7, 'ebx', 10]],
  RDSEED: [[7, 'ebx', 18]],
  ADX: [[7, 'ebx', 19]],
  SMAP: [[7, 'ebx', 20]],
  SHA: [[7, 'ebx', 29]],
  UMIP: [[7, 'ecx', 2]],
  LAHF: [[0x8000_0001, 'ecx', 0]],
  LZCNT: [[0x8000_0001, 'ecx', 5]],
  PREFETCHW: [[0x8000_0001, 'ecx', 8]],
  SYSCALL: [[0x8000_0001, 'edx', 11]],
  NX: [[0x8000_0001, 'edx', 20]],
  PDPE1GB: [[0x8000_0001, 'edx', 26]],
  RDTSCP: [[0x8000_0001, 'edx', 27]],
  LM: [[0x8000_0001, 'edx', 29]],
  INVARIANT_TSC: [[0x8000_0007, 'edx', 8]],
};

/**
 * The profile `portable`: x86-64-v2 and what belongs to a PC of its time, and
 * of what came later AES-NI, PCLMULQDQ, MOVBE, LZCNT, BMI1, BMI2, ADX and SHA.
 * Left out on purpose: PSE-36 and 1 GiB pages (the page walk has neither),
 * MONITOR, VMX. AVX and its kin are for those who ask: programs that find them
 * work on 256 bits, which cost more than twice 128 here, and use FMA.
 */
export const PORTABLE_FEATURES: readonly string[] = [
  'FPU',
  'VME',
  'DE',
  'PSE',
  'TSC',
  'MSR',
  'PAE',
  'MCE',
  'CX8',
  'APIC',
  'SEP',
  'MTRR',
  'PGE',
  'MCA',
  'CMOV',
  'PAT',
  'CLFSH',
  'MMX',
  'FXSR',
  'SSE',
  'SSE2',
  'SSE3',
  'PCLMULQDQ',
  'SSSE3',
  'CX16',
  'PCID',
  'SSE4_1',
  'SSE4_2',
  'X2APIC',
  'MOVBE',
  'POPCNT',
  'TSC_DEADLINE',
  'AESNI',
  'XSAVE',
  'XSAVEOPT',
  'XSAVEC',
  'RDRAND',
  'HYPERVISOR',
  'ARAT',
  'FSGSBASE',
  'TSC_ADJUST',
  'BMI1',
  'SMEP',
  'BMI2',
  'INVPCID',
  'RDSEED',
  'ADX',
  'SMAP',
  'SHA',
  'UMIP',
  'LAHF',
  'LZCNT',
  'PREFETCHW',
  'SYSCALL',
  'NX',
  'RDTSCP',
  'LM',
  'INVARIANT_TSC',
];

/** What a guest may be told that its processor is, by the profile's name. */
export const CPU_PROFILES = {
  portable: PORTABLE_FEATURES,
  'x86-64-v3': [...PORTABLE_FEATURES, 'AVX', 'AVX2', 'F16C', 'FMA'],
} as const satisfies Readonly<Record<string, readonly string[]>>;
export type CpuProfile = keyof typeof CPU_PROFILES;
export const isCpuProfile = (name: string): name is CpuProfile => Object.hasOwn(CPU_PROFILES, name);

/** Width of a physical address; a page-table entry's bits above it are reserved. */
export const PHYSICAL_ADDRESS_BITS = 36;
const LINEAR_ADDRESS_BITS = 48;

/**
 * GenuineIntel, family 6, model 1Ch, stepping 10: the in-order Atom
 * ("Bonnell"). Its features are told by their bits, so only two things follow
 * from the name. The Intel forms of SYSENTER, SYSRET and of far transfers hold.
 * And guests know that processors of this model do not speculate, which is
 * true of ours: Linux lists the model as not affected by Meltdown, Spectre,
 * MDS and their kin and so spares us the page-table switches, retpolines and
 * buffer flushes that it would else put into every kernel entry. Stepping 10
 * is behind the model's page-size erratum (Linux disables PSE up to 2).
 */
const VENDOR = 'GenuineIntel';
/** CPUID.1:EAX; EDX after a reset. */
export const CPU_SIGNATURE = (6 << 8) | (1 << 16) | (0xc << 4) | 10;

export interface CpuidOptions {
  readonly features?: readonly string[];
  readonly tscHz: number;
  /** Bus clock of the local APIC's timer. */
  readonly apicHz: number;
  readonly apicId?: number;
  readonly vcpus?: number;
  /** At most 47 characters of ASCII. */
  readonly brand?: string;
}

/** State that a few leaves show. */
export interface CpuidState {
  /** CR4.OSXSAVE. */
  readonly osxsave: boolean;
  /** IA32_APIC_BASE.EN: without it leaf 1 shows no APIC (SDM vol. 3, 11.4.3). Set when not given. */
  readonly apic?: boolean;
  /** XCR0, which decides how long an XSAVE area is; x87 alone when not given. */
  readonly xcr0?: bigint;
}

const KVM_CLOCKSOURCE2 = 1 << 3;
const KVM_NOP_IO_DELAY = 1 << 1;
const KVM_CLOCKSOURCE_STABLE = 1 << 24;
const LAST_BASIC = 0x16;
const LAST_EXTENDED = 0x8000_0008;
const LAST_HYPERVISOR = 0x4000_0010;

const word = (text: string, at: number): number =>
  (text.charCodeAt(at) |
    (text.charCodeAt(at + 1) << 8) |
    (text.charCodeAt(at + 2) << 16) |
    (text.charCodeAt(at + 3) << 24)) >>>
  0;

/** The CPUID leaves of one vCPU. */
export class CpuidTable {
  readonly features: ReadonlySet<string>;
  readonly #masks = new Map<string, number>();
  readonly #options: CpuidOptions;
  readonly #brand: string;

  /** Throws RangeError for a feature that has no name here. */
  constructor(options: CpuidOptions) {
    this.#options = options;
    this.#brand = (options.brand ?? 'Teremok x86-64 processor').slice(0, 47).padEnd(48, '\0');
    this.features = new Set(options.features ?? PORTABLE_FEATURES);
    for (const name of this.features) {
      const places = FEATURES[name];
      if (!places) throw new RangeError(`no CPUID feature ${name}`);
      for (const [leaf, register, bit] of places) {
        const key = `${leaf}.${register}`;
        this.#masks.set(key, ((this.#masks.get(key) ?? 0) | (1 << bit)) >>> 0);
      }
    }
  }

  /** Throws RangeError for a name that no profile could have, so that a misspelt one is found. */
  has(name: string): boolean {
    if (!(name in FEATURES)) throw new RangeError(`no CPUID feature ${name}`);
    return this.features.has(name);
  }

  /** State components that XCR0 may enable. */
  get components(): bigint {
    return XCR0.x87 | XCR0.sse | (this.has('AVX') ? XCR0.avx : 0n);
  }

  /** What CPUID with EAX = `leaf` and ECX = `subleaf` returns. A leaf beyond the last is answered as the last basic one. */
  query(leaf: number, subleaf: number, state: CpuidState): CpuidResult {
    if (leaf >= 0x4000_0000 && leaf <= LAST_HYPERVISOR) return this.#hypervisor(leaf);
    if (leaf >= 0x8000_0000 && leaf <= LAST_EXTENDED) return this.#extended(leaf);
    return this.#basic(Math.min(leaf, LAST_BASIC), subleaf, state);
  }

  #mask(leaf: number, register: Register): number {
    return this.#masks.get(`${leaf}.${register}`) ?? 0;
  }

  #basic(leaf: number, subleaf: number, state: CpuidState): CpuidResult {
    const { tscHz, apicHz } = this.#options;
    switch (leaf) {
      case 0:
        return result(LAST_BASIC, word(VENDOR, 0), word(VENDOR, 8), word(VENDOR, 4));
      case 1:
        return this.#signature(state);
      // Leaf 2 in the form that points at leaf 4 for caches (descriptor FFh).
      case 2:
        return result(0x00ff_ff01, 0, 0, 0);
      case 4:
        return cacheLeaf(subleaf);
      case 6:
        return result(this.#mask(6, 'eax'), 0, 0, 0);
      case 7:
        return subleaf === 0 ? result(0, this.#mask(7, 'ebx'), this.#mask(7, 'ecx'), 0) : NOTHING;
      case 0xb:
        return this.#topology(subleaf);
      case 0xd:
        return this.has('XSAVE')
          ? xsaveLeaf(subleaf, this.#mask(0xd, 'eax'), this.components, state.xcr0 ?? XCR0.x87)
          : NOTHING;
      case 0x15:
        return ratioLeaf(tscHz, apicHz);
      case 0x16: {
        const mhz = Math.round(tscHz / 1e6);
        return result(mhz, mhz, Math.round(apicHz / 1e6), 0);
      }
      default:
        return NOTHING;
    }
  }

  #signature(state: CpuidState): CpuidResult {
    const { apicId = 0, vcpus = 1 } = this.#options;
    // EBX: initial APIC id, logical processors, CLFLUSH line in units of 8 bytes.
    const ebx = ((apicId & 0xff) << 24) | ((vcpus & 0xff) << 16) | (8 << 8);
    const osxsave = state.osxsave && this.has('XSAVE') ? 1 << 27 : 0;
    const htt = vcpus > 1 ? 1 << 28 : 0;
    const hidden = state.apic === false ? 1 << 9 : 0;
    const edx = (this.#mask(1, 'edx') & ~hidden) | htt;
    return result(CPU_SIGNATURE, ebx, this.#mask(1, 'ecx') | osxsave, edx);
  }

  /** Every vCPU is a core of its own in one package. */
  #topology(subleaf: number): CpuidResult {
    const { apicId = 0, vcpus = 1 } = this.#options;
    if (subleaf === 0) return result(0, 1, 1 << 8, apicId);
    if (subleaf === 1) return result(Math.ceil(Math.log2(Math.max(vcpus, 1))), vcpus, (2 << 8) | 1, apicId);
    return result(0, 0, subleaf & 0xff, apicId);
  }

  #extended(leaf: number): CpuidResult {
    switch (leaf) {
      case 0x8000_0000:
        return result(LAST_EXTENDED, 0, 0, 0);
      case 0x8000_0001:
        return result(0, 0, this.#mask(leaf, 'ecx'), this.#mask(leaf, 'edx'));
      case 0x8000_0002:
      case 0x8000_0003:
      case 0x8000_0004: {
        const at = (leaf - 0x8000_0002) * 16;
        return result(
          word(this.#brand, at),
          word(this.#brand, at + 4),
          word(this.#brand, at + 8),
          word(this.#brand, at + 12),
        );
      }
      // L2: 512 KiB, 8 ways, lines of 64 bytes.
      case 0x8000_0006:
        return result(0, 0, (512 << 16) | (6 << 12) | 64, 0);
      case 0x8000_0007:
        return result(0, 0, 0, this.#mask(leaf, 'edx'));
      case 0x8000_0008:
        return result((LINEAR_ADDRESS_BITS << 8) | PHYSICAL_ADDRESS_BITS, 0, 0, 0);
      default:
        return NOTHING;
    }
  }

  #hypervisor(leaf: number): CpuidResult {
    if (!this.has('HYPERVISOR')) return NOTHING;
    const { tscHz, apicHz } = this.#options;
    switch (leaf) {
      case 0x4000_0000: {
        const signature = 'KVMKVMKVM\0\0\0';
        return result(LAST_HYPERVISOR, word(signature, 0), word(signature, 4), word(signature, 8));
      }
      case 0x4000_0001:
        return result(KVM_CLOCKSOURCE2 | KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE_STABLE, 0, 0, 0);
      case 0x4000_0010:
        return result(Math.round(tscHz / 1000), Math.round(apicHz / 1000), 0, 0);
      default:
        return NOTHING;
    }
  }
}

const result = (eax: number, ebx: number, ecx: number, edx: number): CpuidResult => ({
  eax: eax >>> 0,
  ebx: ebx >>> 0,
  ecx: ecx >>> 0,
  edx: edx >>> 0,
});
const NOTHING = result(0, 0, 0, 0);

/** Leaf 4: 32 KiB instruction, 32 KiB data, 512 KiB unified, all 8 ways of 64-byte lines. */
function cacheLeaf(subleaf: number): CpuidResult {
  const caches = [
    [1, 1, 64],
    [2, 1, 64],
    [3, 2, 1024],
  ] as const;
  const cache = caches[subleaf];
  if (!cache) return NOTHING;
  const [type, level, sets] = cache;
  return result(type | (level << 5) | (1 << 8), (7 << 22) | 63, sets - 1, 0);
}

/** Components of XCR0: x87, SSE, and the upper halves of the YMM registers. */
export const XCR0 = { x87: 1n, sse: 2n, avx: 4n } as const;
/** Bytes of an XSAVE area without and with AVX's component, which lies at the end of the former. */
const XSAVE_AREA = 576;
const YMM_BYTES = 256;

function xsaveLeaf(subleaf: number, options: number, supported: bigint, enabled: bigint): CpuidResult {
  const bytes = (components: bigint): number =>
    (components & XCR0.avx) === 0n ? XSAVE_AREA : XSAVE_AREA + YMM_BYTES;
  if (subleaf === 0) return result(Number(supported), bytes(enabled), bytes(supported), 0);
  if (subleaf === 1) return result(options, bytes(enabled), 0, 0);
  return subleaf === 2 && (supported & XCR0.avx) !== 0n ? result(YMM_BYTES, XSAVE_AREA, 0, 0) : NOTHING;
}

/**
 * Leaf 15h: TSC = crystal × EBX / EAX. The crystal is the local APIC's clock:
 * Linux takes the APIC timer's frequency from it.
 */
function ratioLeaf(tscHz: number, apicHz: number): CpuidResult {
  let a = Math.round(tscHz);
  let b = Math.round(apicHz);
  while (b !== 0) [a, b] = [b, a % b];
  const divisor = a || 1;
  const numerator = Math.round(tscHz) / divisor;
  const denominator = Math.round(apicHz) / divisor;
  if (numerator > 0xffff_ffff || denominator > 0xffff_ffff || apicHz > 0xffff_ffff) return NOTHING;
  return result(denominator, numerator, Math.round(apicHz), 0);
}
