import { RAM } from '../layout.ts';

/** What decides where a linear address lies: the registers of paging at one moment. */
export interface PagingState {
  readonly cr0: number;
  readonly cr3: bigint;
  readonly cr4: number;
  readonly efer: number;
  /** The four top entries of PAE paging. */
  readonly pdptes: readonly bigint[];
  readonly a20Mask: bigint;
}

const CR0_PG = 2 ** 31;
const CR4_PSE = 1 << 4,
  CR4_PAE = 1 << 5;
const EFER_LMA = 1 << 10;
const PRESENT = 1n,
  LARGE = 0x80n;
/** Address bits of an entry. */
const FRAME = 0xf_ffff_ffff_f000n;

/**
 * Where code at a linear address lies by the page tables as they are in RAM
 * now (SDM vol. 3, ch. 4), rights and accessed bits left out of account: a
 * guess that translated code checks before it relies on it. The tables may
 * change meanwhile, for the processor goes on.
 *
 * @returns the page's guest-physical address, undefined where there is none below 4 GiB
 */
export function guessPage(
  memory: DataView,
  ramBytes: number,
  paging: PagingState,
  linear: bigint,
): number | undefined {
  const inRam = (physical: bigint): number | undefined => {
    const at = physical & paging.a20Mask;
    return at >= 0n && at < BigInt(ramBytes) ? Number(at) : undefined;
  };
  const below4GiB = (physical: bigint): number | undefined => {
    const at = physical & paging.a20Mask;
    return at >= 0n && at < 0x1_0000_0000n ? Number(at) : undefined;
  };
  const entry64 = (table: bigint, index: bigint): bigint => {
    const at = inRam(table + index * 8n);
    return at === undefined ? 0n : memory.getBigUint64(RAM + at, true);
  };
  const entry32 = (table: bigint, index: bigint): bigint => {
    const at = inRam(table + index * 4n);
    return at === undefined ? 0n : BigInt(memory.getUint32(RAM + at, true));
  };
  const page = BigInt.asUintN(64, linear) & ~0xfffn;
  if (paging.cr0 < CR0_PG) return below4GiB(page & 0xffff_ffffn);
  if ((paging.efer & EFER_LMA) === 0 && (paging.cr4 & CR4_PAE) === 0) {
    const top = entry32(paging.cr3 & 0xffff_f000n, (page >> 22n) & 0x3ffn);
    if ((top & PRESENT) === 0n) return undefined;
    if ((top & LARGE) !== 0n && (paging.cr4 & CR4_PSE) !== 0)
      return below4GiB((top & 0xffc0_0000n) | (page & 0x3f_f000n));
    const leaf = entry32(top & 0xffff_f000n, (page >> 12n) & 0x3ffn);
    return (leaf & PRESENT) === 0n ? undefined : below4GiB(leaf & 0xffff_f000n);
  }
  const long = (paging.efer & EFER_LMA) !== 0;
  if (long && BigInt.asIntN(48, page) !== BigInt.asIntN(64, page)) return undefined;
  const first = long ? paging.cr3 : (paging.pdptes[Number((page >> 30n) & 3n)] ?? 0n);
  if (!long && (first & PRESENT) === 0n) return undefined;
  let table = first & FRAME;
  for (let level = long ? 3 : 1; level >= 0; level--) {
    const shift = BigInt(12 + 9 * level);
    const entry = entry64(table, (page >> shift) & 0x1ffn);
    if ((entry & PRESENT) === 0n) return undefined;
    if (level > 0 && level < 3 && (entry & LARGE) !== 0n) {
      const offset = (1n << shift) - 1n;
      return below4GiB((entry & FRAME & ~offset) | (page & offset));
    }
    table = entry & FRAME;
  }
  return below4GiB(table);
}
