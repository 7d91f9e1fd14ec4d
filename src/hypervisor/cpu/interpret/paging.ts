import { NOWHERE, RAM, S } from '../layout.ts';
import { PHYSICAL_ADDRESS_BITS } from '../system/cpuid.ts';
import type { FunctionBuilder, FunctionRef } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../wasm/value.ts';

/**
 * Access bits of a translation. `smap`: supervisor access that user pages
 * refuse. `peek`: no access, so accessed bits stay as they are; what has none
 * set counts as not there.
 */
export const ACCESS = { write: 1, user: 2, fetch: 4, smap: 8, peek: 16 } as const;

/** Physical address bits that CPUID reports; higher bits of an entry are reserved. */
export const PHYSICAL_BITS = PHYSICAL_ADDRESS_BITS;

const CR0_WP = 1 << 16;
const CR4 = { pse: 1 << 4, pae: 1 << 5, pge: 1 << 7, smep: 1 << 20 } as const;
const EFER = { lma: 1 << 10, nxe: 1 << 11 } as const;
const PTE = {
  present: 1,
  write: 2,
  user: 4,
  accessed: 0x20,
  dirty: 0x40,
  large: 0x80,
  global: 0x100,
} as const;
const ADDRESS_MASK = ((1n << BigInt(PHYSICAL_BITS)) - 1n) & ~0xfffn;
const RESERVED_HIGH = ((1n << 52n) - 1n) & ~((1n << BigInt(PHYSICAL_BITS)) - 1n);

const load32 = (f: FunctionBuilder, offset: number): Value => f.load('i32.load', offset);

/**
 * The page walk (SDM vol. 3, ch. 4): 32-bit paging with PSE, PAE, 4-level.
 *
 * `translate(linear: i64, access: i32) → i64`: the physical address of the
 * page, or -1 after a fault was recorded. Sets accessed and dirty bits, and
 * S.walkFlags. An address above 4 GiB is given as NOWHERE.
 */
export function addPaging(m: ModuleBuilder): { translate: FunctionRef } {
  const gated = (f: FunctionBuilder, physical: Value): Value => physical.and(f.load('i64.load', S.a20Mask));
  const physLoad64 = m.fn('pte64', [I64], [I64], (f, at) => {
    f.unlikely(at.geU(f.load('i64.load32_u', S.ramSize)), () => f.return(i64(0)));
    f.return(f.load('i64.load', at.wrap(), RAM));
  });
  const physLoad32 = m.fn('pte32', [I64], [I64], (f, at) => {
    f.unlikely(at.geU(f.load('i64.load32_u', S.ramSize)), () => f.return(i64(0)));
    f.return(f.load('i64.load32_u', at.wrap(), RAM));
  });

  /** (linear, access, code) → -1: records #PF. */
  const pageFault = m.fn('pageFault', [I64, I32, I32], [I64], (f, linear, access, present) => {
    f.store('i64.store', S.faultAddress, linear);
    f.store('i32.store', S.faultVector, i32(14));
    f.store('i32.store', S.faultHasCode, i32(1));
    const nx = load32(f, S.efer).and(EFER.nxe).ne(0).and(load32(f, S.cr4).and(CR4.pae).ne(0));
    const tellsFetch = nx.or(load32(f, S.cr4).and(CR4.smep).ne(0));
    const fetch = select(access.and(ACCESS.fetch).ne(0).and(tellsFetch), i32(0x10), i32(0));
    const code = present.or(access.and(ACCESS.write).shl(1)).or(access.and(ACCESS.user).shl(1)).or(fetch);
    f.store('i32.store', S.faultCode, code);
    f.return(i64(-1));
  });

  /**
   * (linear, access, entry, entryAddress, us, rw, nx, wide) → i64 0 when the access is
   * permitted, else -1. Sets accessed and dirty in the leaf.
   */
  const permit = m.fn(
    'permit',
    [I64, I32, I64, I64, I32, I32, I32, I32],
    [I64],
    (f, linear, access, entry, at, us, rw, nx, wide) => {
      const user = f.let(access.and(ACCESS.user));
      const write = f.let(access.and(ACCESS.write));
      const fetch = f.let(access.and(ACCESS.fetch));
      const deny = (): void => f.returnCall(pageFault, linear, access, i32(1));
      f.unlikely(user.ne(0).and(us.eqz()), deny);
      const mayWrite = f.let(rw.ne(0).or(user.eqz().and(load32(f, S.cr0).and(CR0_WP).eqz())));
      f.unlikely(write.ne(0).and(mayWrite.eqz()), deny);
      f.if(fetch, () => {
        f.unlikely(nx, deny);
        f.unlikely(user.eqz().and(us).and(load32(f, S.cr4).and(CR4.smep).ne(0)), deny);
      });
      f.unlikely(access.and(ACCESS.smap).ne(0).and(fetch.eqz()).and(us), deny);
      const dirty = f.let(select(write.ne(0), i64(PTE.accessed | PTE.dirty), i64(PTE.accessed)));
      f.if(entry.and(dirty).ne(dirty), () => {
        f.if(access.and(ACCESS.peek), () => f.return(i64(-1)));
        f.if(
          wide,
          () => f.store('i64.store', at.wrap(), entry.or(dirty), RAM),
          () => f.store('i32.store', at.wrap(), entry.or(dirty).wrap(), RAM),
        );
      });
      const global = entry.shrU(8).wrap().and(load32(f, S.cr4).shrU(7)).and(1);
      const writeToo = mayWrite.and(entry.or(dirty).shrU(6).wrap()).and(1);
      f.store(
        'i32.store',
        S.walkFlags,
        f.load('i32.load', S.walkFlags).and(12).or(global).or(writeToo.shl(1)),
      );
      f.return(i64(0));
    },
  );

  const clampPhysical = (page: Value): Value => select(page.gtU(0xffff_f000n), i64(NOWHERE), page);

  /** Walks 64-bit entries from `levels` down, starting at table. */
  const emitWide = (
    f: FunctionBuilder,
    linear: Value,
    access: Value,
    root: Value,
    levels: number,
    seed: { us: number; rw: number },
  ): void => {
    const table = f.local(I64, root);
    const us = f.local(I32, i32(seed.us));
    const rw = f.local(I32, i32(seed.rw));
    const nx = f.local(I32, i32(0));
    const nxe = f.let(load32(f, S.efer).and(EFER.nxe).ne(0));
    const entry = f.local(I64);
    const at = f.local(I64);
    const finish = (level: number): void => {
      const bits = BigInt(12 + 9 * level);
      const offsetMask = (1n << bits) - 1n;
      if (level > 0) {
        // Bits 12 (PAT) excepted, a large page's low address bits are reserved.
        const low = offsetMask & ~0x1fffn;
        f.unlikely(entry.and(low).ne(0n), () => f.returnCall(pageFault, linear, access, i32(9)));
        f.store('i32.store', S.walkFlags, i32(level === 2 ? 12 : 4));
      } else {
        f.store('i32.store', S.walkFlags, i32(0));
      }
      f.unlikely(f.call(permit, linear, access, entry, at, us, rw, nx, 1).ne(0n), () => f.return(i64(-1)));
      const frame = entry.and(ADDRESS_MASK & ~offsetMask);
      f.return(gated(f, clampPhysical(frame.or(linear.and(offsetMask & ~0xfffn)))));
    };
    for (let level = levels - 1; level >= 0; level--) {
      const index = linear
        .shrU(BigInt(12 + 9 * level))
        .and(level === 3 || levels === 4 || level < 2 ? 0x1ffn : 3n);
      f.set(at, gated(f, table.add(index.shl(3n))));
      f.set(entry, f.call(physLoad64, at));
      f.unlikely(entry.and(BigInt(PTE.present)).eqz(), () => f.returnCall(pageFault, linear, access, i32(0)));
      const badNx = entry.shrU(63).wrap().and(nxe.eqz());
      const high = entry.and(levels === 4 ? RESERVED_HIGH : RESERVED_HIGH | 0x7ff0_0000_0000_0000n).ne(0n);
      const badSize = level === 3 ? entry.and(BigInt(PTE.large)).ne(0n) : i32(0);
      f.unlikely(badNx.or(high).or(badSize), () => f.returnCall(pageFault, linear, access, i32(9)));
      f.set(us, us.and(entry.shrU(2).wrap()).and(1));
      f.set(rw, rw.and(entry.shrU(1).wrap()).and(1));
      f.set(nx, nx.or(entry.shrU(63).wrap()));
      if (level === 0) {
        finish(0);
      } else {
        if (level < 3) f.if(entry.and(BigInt(PTE.large)).ne(0n), () => finish(level));
        f.unlikely(entry.and(BigInt(PTE.accessed)).eqz(), () => {
          f.if(access.and(ACCESS.peek), () => f.return(i64(-1)));
          f.store('i64.store', at.wrap(), entry.or(BigInt(PTE.accessed)), RAM);
        });
        f.set(table, entry.and(ADDRESS_MASK));
      }
    }
  };

  const walk4 = m.fn('walk4', [I64, I32], [I64], (f, linear, access) => {
    f.unlikely(linear.shl(16n).shrS(16n).ne(linear), () => {
      f.store('i32.store', S.faultVector, i32(13));
      f.store('i32.store', S.faultHasCode, i32(1));
      f.store('i32.store', S.faultCode, i32(0));
      f.store('i32.store', S.faultCanonical, i32(1));
      f.return(i64(-1));
    });
    emitWide(f, linear, access, f.load('i64.load', S.cr3).and(ADDRESS_MASK), 4, { us: 1, rw: 1 });
  });

  const walkPae = m.fn('walkPae', [I64, I32], [I64], (f, linear, access) => {
    // The four top entries are registers, loaded with CR3; they hold no permissions.
    const index = linear.shrU(30n).wrap().and(3);
    const top = f.let(f.load('i64.load', index.shl(3), S.pdpte));
    f.if(top.and(1n).eqz(), () => f.returnCall(pageFault, linear, access, i32(0)));
    emitWide(f, linear, access, top.and(ADDRESS_MASK), 2, { us: 1, rw: 1 });
  });

  const walk2 = m.fn('walk2', [I64, I32], [I64], (f, linear, access) => {
    const root = f.load('i64.load', S.cr3).and(0xffff_f000n);
    const at = f.local(I64, gated(f, root.add(linear.shrU(22n).and(0x3ffn).shl(2n))));
    const entry = f.local(I64, f.call(physLoad32, at));
    const us = f.local(I32);
    const rw = f.local(I32);
    const absent = (): void => f.returnCall(pageFault, linear, access, i32(0));
    f.unlikely(entry.and(1n).eqz(), absent);
    f.set(us, entry.shrU(2n).wrap().and(1));
    f.set(rw, entry.shrU(1n).wrap().and(1));
    const large = load32(f, S.cr4)
      .and(CR4.pse)
      .ne(0)
      .and(entry.and(BigInt(PTE.large)).ne(0n));
    f.if(large, () => {
      // PSE-36 (SDM vol. 3, 4.3): bits 13-16 are address bits 32-35, bits 17-21 reserved.
      f.if(entry.and(0x3e_0000n).ne(0n), () => f.returnCall(pageFault, linear, access, i32(9)));
      f.store('i32.store', S.walkFlags, i32(4));
      f.unlikely(f.call(permit, linear, access, entry, at, us, rw, 0, 0).ne(0n), () => f.return(i64(-1)));
      const high = entry.shrU(13n).and(0xfn).shl(32n);
      f.return(gated(f, clampPhysical(high.or(entry.and(0xffc0_0000n)).or(linear.and(0x3f_f000n)))));
    });
    f.unlikely(entry.and(BigInt(PTE.accessed)).eqz(), () => {
      f.if(access.and(ACCESS.peek), () => f.return(i64(-1)));
      f.store('i32.store', at.wrap(), entry.or(BigInt(PTE.accessed)).wrap(), RAM);
    });
    f.set(at, gated(f, entry.and(0xffff_f000n).add(linear.shrU(12n).and(0x3ffn).shl(2n))));
    f.set(entry, f.call(physLoad32, at));
    f.unlikely(entry.and(1n).eqz(), absent);
    f.set(us, us.and(entry.shrU(2n).wrap()));
    f.set(rw, rw.and(entry.shrU(1n).wrap()));
    f.store('i32.store', S.walkFlags, i32(0));
    f.unlikely(f.call(permit, linear, access, entry, at, us, rw, 0, 0).ne(0n), () => f.return(i64(-1)));
    f.return(gated(f, entry.and(0xffff_f000n)));
  });

  const translate = m.fn('translate', [I64, I32], [I64], (f, linear, access) => {
    f.store('i32.store', S.faultCanonical, i32(0));
    f.if(load32(f, S.cr0).geS(0), () => {
      f.store('i32.store', S.walkFlags, i32(2));
      f.return(gated(f, linear.and(0xffff_f000n)));
    });
    f.if(load32(f, S.efer).and(EFER.lma), () => f.returnCall(walk4, linear, access));
    f.if(load32(f, S.cr4).and(CR4.pae), () => f.returnCall(walkPae, linear, access));
    f.returnCall(walk2, linear, access);
  });
  m.export(translate);
  return { translate };
}
