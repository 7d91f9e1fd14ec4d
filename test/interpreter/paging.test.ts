// Page walks, permissions, accessed and dirty bits, and what of the TLB must go when (SDM vol. 3, chapter 4).
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { A, type Control, D, G, NX, P, type Paging, PS, Rig, U, W } from './rig.ts';

const RBX = 3;
/** mov eax, [rbx] and mov [rbx], eax; both then stand still. */
const READ = [0x8b, 0x03, 0xeb, 0xfe],
  WRITE = [0x89, 0x03, 0xeb, 0xfe];
/** Physical page of the tested access, and the code pages: one for CPL 0, one for CPL 3. */
const DATA = 0x30_0000,
  KERNEL_CODE = 0x20_0000,
  USER_CODE = 0x20_1000;
type Access = 'read' | 'write' | 'fetch';

/** Tables in which `linear` leads to DATA; each level's entry at `entries`, root first. */
interface Mapping {
  readonly root: number;
  readonly entries: number[];
  readonly entryBytes: 4 | 8;
}

const LEVELS: Readonly<Record<Exclude<Paging, 'none'>, readonly number[]>> = {
  '32-bit': [22, 12],
  pae: [30, 21, 12],
  '4-level': [39, 30, 21, 12],
};

function write(rig: Rig, mapping: { entryBytes: 4 | 8 }, at: number, value: bigint): void {
  if (mapping.entryBytes === 8) rig.set64(at, value);
  else rig.view.setUint32(at, Number(value), true);
}

const readEntry = (rig: Rig, m: Mapping, level: number): bigint => {
  const at = m.entries[level] ?? 0;
  return m.entryBytes === 8 ? rig.view.getBigUint64(at, true) : BigInt(rig.view.getUint32(at, true));
};

/** Maps one page at `linear` into tables at `root`, making tables as needed; gives the entries' places. */
function map(
  rig: Rig,
  paging: Exclude<Paging, 'none'>,
  root: number,
  linear: bigint,
  leaf: bigint,
  upper: bigint,
  leafLevel?: number,
): number[] {
  const shifts = LEVELS[paging];
  const entryBytes = paging === '32-bit' ? 4 : 8;
  const last = leafLevel ?? shifts.length - 1;
  const entries: number[] = [];
  let table = root;
  for (let level = 0; level <= last; level++) {
    const bits = paging === '32-bit' ? 0x3ffn : paging === 'pae' && level === 0 ? 3n : 0x1ffn;
    const at = table + Number((linear >> BigInt(shifts[level] ?? 12)) & bits) * entryBytes;
    entries.push(at);
    if (level === last) {
      write(rig, { entryBytes }, at, leaf);
      break;
    }
    const present = entryBytes === 8 ? rig.view.getBigUint64(at, true) : BigInt(rig.view.getUint32(at, true));
    if ((present & P) === 0n) {
      table = rig.table();
      // A PAE directory-pointer entry has no permissions.
      write(rig, { entryBytes }, at, BigInt(table) | (paging === 'pae' && level === 0 ? P : upper));
    } else {
      table = Number(present & 0xf_ffff_f000n);
    }
  }
  return entries;
}

/** Tables with the code pages and `linear`. */
function prepare(
  rig: Rig,
  paging: Exclude<Paging, 'none'>,
  linear: bigint,
  leaf: bigint,
  upper: bigint,
  leafLevel?: number,
): Mapping {
  rig.resetTables();
  const root = rig.table();
  map(rig, paging, root, BigInt(KERNEL_CODE), BigInt(KERNEL_CODE) | P, P | W | U);
  map(rig, paging, root, BigInt(USER_CODE), BigInt(USER_CODE) | P | U, P | W | U);
  const entries = map(rig, paging, root, linear, leaf, upper, leafLevel);
  return { root, entries, entryBytes: paging === '32-bit' ? 4 : 8 };
}

/** Runs one access; true when it came through. */
function access(rig: Rig, control: Control, root: number, kind: Access, linear: bigint): boolean {
  const codePage = control.cpl === 3 ? USER_CODE : KERNEL_CODE;
  rig.code(codePage, ...(kind === 'write' ? WRITE : READ));
  rig.configure(control, root);
  rig.setGpr(RBX, linear);
  rig.jump(kind === 'fetch' ? linear : codePage);
  return rig.engine.run(4) === 'budget';
}

describe('permissions', () => {
  /** SDM vol. 3, 4.6.1, as written there. */
  const allowed = (
    c: Required<Pick<Control, 'wp' | 'smep' | 'smap' | 'ac'>> & { cpl: 0 | 3 },
    kind: Access,
    user: boolean,
    writable: boolean,
    nx: boolean,
  ): boolean => {
    if (c.cpl === 0) {
      if (kind === 'fetch') return !nx && !(user && c.smep);
      if (user && c.smap && !c.ac) return false;
      return kind === 'read' || writable || !c.wp;
    }
    if (!user) return false;
    if (kind === 'fetch') return !nx;
    return kind === 'read' || writable;
  };

  const flags = (bits: number): boolean[] => Array.from({ length: 12 }, (_, i) => ((bits >> i) & 1) !== 0);

  for (const paging of ['4-level', 'pae', '32-bit'] as const) {
    it(`of every combination in ${paging} paging, with error codes, CR2 and the accessed and dirty bits`, () => {
      const rig = new Rig();
      const linear = paging === '4-level' ? 0x40_8000_5000n : 0x4000_5000n;
      rig.code(DATA, 0x90, 0xeb, 0xfe);
      const combinations = 1 << 10;
      for (let bits = 0; bits < combinations; bits++) {
        const [
          us = false,
          rw = false,
          upperUs = false,
          upperRw = false,
          nx = false,
          wp = false,
          smep = false,
          smap = false,
          ac = false,
          nxe = false,
        ] = flags(bits);
        if (nx && !nxe) continue;
        if (paging === '32-bit' && (nx || nxe)) continue;
        const leaf = BigInt(DATA) | P | (us ? U : 0n) | (rw ? W : 0n) | (nx ? NX : 0n);
        const upper = P | (upperUs ? U : 0n) | (upperRw ? W : 0n);
        for (const cpl of [0, 3] as const) {
          for (const kind of ['read', 'write', 'fetch'] as const) {
            const mapping = prepare(rig, paging, linear, leaf, upper);
            const control = { paging, cpl, wp, smep, smap, ac, nxe };
            const what = JSON.stringify({ us, rw, upperUs, upperRw, nx, kind, ...control });
            const user = us && upperUs;
            const expected = allowed(control, kind, user, rw && upperRw, nx);
            assert.equal(access(rig, control, mapping.root, kind, linear), expected, what);
            const final = readEntry(rig, mapping, mapping.entries.length - 1);
            if (expected) {
              assert.equal(final & (A | D), kind === 'write' ? A | D : A, what);
              for (let level = paging === 'pae' ? 1 : 0; level < mapping.entries.length - 1; level++)
                assert.equal(readEntry(rig, mapping, level) & (A | D), A, what);
            } else {
              assert.equal(final & (A | D), 0n, what);
              const told = kind === 'fetch' && (nxe || smep) ? 0x10 : 0;
              const errorCode = 1 | (kind === 'write' ? 2 : 0) | (cpl === 3 ? 4 : 0) | told;
              assert.deepEqual(rig.fault, { vector: 14, errorCode, cr2: linear }, what);
            }
          }
        }
      }
    });
  }
});

describe('walks', () => {
  const all = P | W | U;

  /** An address that shares no entry with the code pages. */
  const far = (paging: Paging): bigint => (paging === '4-level' ? 0x80_4000_5000n : 0x4000_5000n);

  /** What a read of `linear` gives, or the fault. */
  const readBack = (rig: Rig, control: Control, root: number, linear: bigint): number | string => {
    if (access(rig, control, root, 'read', linear)) return Number(rig.gpr(0));
    const { vector, errorCode, cr2 } = rig.fault;
    return `#${vector}(${errorCode?.toString(16)}) ${cr2.toString(16)}`;
  };

  it('4-level: 4 KiB, 2 MiB and 1 GiB pages, at addresses all over', () => {
    const rig = new Rig();
    rig.view.setUint32(DATA + 0x234, 0x1234_5678, true);
    for (const base of [0x40_0000n, 0x7fff_ffff_f000n, 0xffff_8000_0000_0000n, 0xffff_ffff_ffff_f000n]) {
      const mapping = prepare(rig, '4-level', base, BigInt(DATA) | all, all);
      assert.equal(readBack(rig, { paging: '4-level' }, mapping.root, base + 0x234n), 0x1234_5678);
    }
    rig.view.setUint32(0x61_2344, 77, true);
    let m = prepare(rig, '4-level', 0x8000_0000n, 0x60_0000n | all | PS, all, 2);
    assert.equal(readBack(rig, { paging: '4-level' }, m.root, 0x8000_0000n + 0x1_2344n), 77);
    assert.equal(readEntry(rig, m, 2) & (A | D), A);
    m = prepare(rig, '4-level', 0x40_0000_0000n, all | PS, all, 1);
    assert.equal(readBack(rig, { paging: '4-level' }, m.root, 0x40_0061_2344n), 77);
  });

  it('PAE: 4 KiB and 2 MiB pages under each directory pointer', () => {
    const rig = new Rig();
    rig.view.setUint32(DATA + 8, 99, true);
    rig.view.setUint32(0x61_2344, 78, true);
    for (const top of [0n, 1n, 2n, 3n]) {
      const linear = (top << 30n) + 0x123_4000n;
      let m = prepare(rig, 'pae', linear, BigInt(DATA) | all, all);
      assert.equal(readBack(rig, { paging: 'pae' }, m.root, linear + 8n), 99);
      m = prepare(rig, 'pae', (top << 30n) + 0x80_0000n, 0x60_0000n | all | PS, all, 1);
      assert.equal(readBack(rig, { paging: 'pae' }, m.root, (top << 30n) + 0x81_2344n), 78);
    }
    assert.equal(
      readBack(rig, { paging: 'pae' }, prepare(rig, 'pae', 0x40_0000n, 0n, all).root, 0xc000_1000n),
      '#14(0) c0001000',
    );
  });

  it('32-bit: 4 KiB pages, 4 MiB pages with PSE, and PS ignored without', () => {
    const rig = new Rig();
    rig.view.setUint32(DATA + 8, 99, true);
    rig.view.setUint32(0x81_2344, 79, true);
    let m = prepare(rig, '32-bit', 0xffc0_3000n, BigInt(DATA) | all, all);
    assert.equal(readBack(rig, { paging: '32-bit' }, m.root, 0xffc0_3008n), 99);
    m = prepare(rig, '32-bit', 0x4000_0000n, 0x80_0000n | all | PS, all, 0);
    assert.equal(readBack(rig, { paging: '32-bit', pse: true }, m.root, 0x4001_2344n), 79);
    // Without CR4.PSE the same entry leads to a table, here one of zeroes.
    rig.ram.fill(0, 0x80_0000, 0x80_1000);
    assert.equal(readBack(rig, { paging: '32-bit' }, m.root, 0x4001_2344n), '#14(0) 40012344');
  });

  it('an entry that is not present faults at each level', () => {
    const rig = new Rig();
    for (const paging of ['4-level', 'pae', '32-bit'] as const) {
      const linear = far(paging);
      for (let level = 0; level < LEVELS[paging].length; level++) {
        for (const cpl of [0, 3] as const) {
          const m = prepare(rig, paging, linear, BigInt(DATA) | all, all);
          write(rig, m, m.entries[level] ?? 0, 0n);
          assert.equal(access(rig, { paging, cpl }, m.root, 'write', linear + 4n), false);
          assert.deepEqual(
            rig.fault,
            { vector: 14, errorCode: cpl === 3 ? 6 : 2, cr2: linear + 4n },
            `${paging} level ${level}`,
          );
        }
      }
    }
  });

  it('reserved bits fault with the RSVD bit of the error code', () => {
    const rig = new Rig();
    const reserved: [Exclude<Paging, 'none'>, number, bigint, boolean][] = [
      ['4-level', 0, PS, false],
      ['4-level', 0, 1n << 51n, false],
      ['4-level', 1, 1n << 45n, false],
      ['4-level', 2, 1n << 40n, false],
      ['4-level', 3, 1n << 36n, false],
      ['4-level', 3, NX, false],
      ['4-level', 1, NX, false],
      ['pae', 1, 1n << 62n, true],
      ['pae', 2, 1n << 52n, true],
      ['pae', 2, 1n << 51n, false],
      ['pae', 2, NX, false],
    ];
    for (const [paging, level, bit, nxe] of reserved) {
      const linear = far(paging);
      const m = prepare(rig, paging, linear, BigInt(DATA) | all, all);
      write(rig, m, m.entries[level] ?? 0, readEntry(rig, m, level) | bit);
      assert.equal(
        access(rig, { paging, nxe, cpl: 3 }, m.root, 'read', linear),
        false,
        `${paging} ${level} ${bit.toString(16)}`,
      );
      assert.deepEqual(
        rig.fault,
        { vector: 14, errorCode: 0xd, cr2: linear },
        `${paging} ${level} ${bit.toString(16)}`,
      );
    }
    // The low address bits of a large page but for PAT.
    const m = prepare(rig, '4-level', 0x8000_0000n, 0x60_0000n | 0x2000n | all | PS, all, 2);
    assert.equal(readBack(rig, { paging: '4-level' }, m.root, 0x8000_0000n), '#14(9) 80000000');
    const pat = prepare(rig, '4-level', 0x8000_0000n, 0x60_0000n | 0x1000n | all | PS, all, 2);
    assert.equal(typeof readBack(rig, { paging: '4-level' }, pat.root, 0x8000_0000n), 'number');
  });

  it('a non-canonical address is #GP, on the stack #SS', () => {
    const rig = new Rig();
    const m = prepare(rig, '4-level', 0x40_0000n, BigInt(DATA) | all, all);
    for (const linear of [0x8000_0000_0000n, 0xffff_7fff_ffff_fff0n, 0x4000_0000_0000_0000n]) {
      assert.equal(access(rig, { paging: '4-level' }, m.root, 'read', linear), false);
      assert.equal(rig.fault.vector, 13);
      assert.equal(rig.fault.errorCode, 0);
    }
  });

  it('an access over two pages needs both, and tells the one that fails', () => {
    const rig = new Rig();
    const m = prepare(rig, '4-level', 0x40_0000n, BigInt(DATA) | all, all);
    assert.equal(access(rig, { paging: '4-level' }, m.root, 'write', 0x40_0ffen), false);
    assert.deepEqual(rig.fault, { vector: 14, errorCode: 2, cr2: 0x40_1000n });
    map(rig, '4-level', m.root, 0x40_1000n, 0x50_0000n | all, all);
    rig.ram.fill(0, DATA + 0xff0, DATA + 0x1000);
    rig.setGpr(0, 0x4433_2211);
    assert.equal(access(rig, { paging: '4-level' }, m.root, 'write', 0x40_0ffen), true);
    assert.deepEqual(
      [...rig.ram.subarray(DATA + 0xffe, DATA + 0x1000), ...rig.ram.subarray(0x50_0000, 0x50_0002)],
      [0x11, 0x22, 0x33, 0x44],
    );
  });
});

describe('what is kept of translations', () => {
  const all = P | W | U;
  const linear = 0x40_0000n;
  const OTHER = 0x50_0000;

  function prepared(flags: bigint, control: Control): { rig: Rig; m: Mapping } {
    const rig = new Rig();
    const m = prepare(rig, '4-level', linear, BigInt(DATA) | all | flags, all);
    rig.view.setUint32(DATA, 1, true);
    rig.view.setUint32(OTHER, 2, true);
    rig.configure(control, m.root);
    rig.setGpr(RBX, linear);
    return { rig, m };
  }
  /** Runs code that ends in HLT. */
  const run = (rig: Rig, ...code: number[]): void =>
    assert.equal(rig.execute(KERNEL_CODE, ...code), 'halted');
  const READ_EAX = [0x8b, 0x03];

  it('INVLPG drops one page, global or not', () => {
    for (const flags of [0n, G]) {
      const { rig, m } = prepared(flags, { paging: '4-level', pge: true });
      run(rig, ...READ_EAX);
      rig.set64(m.entries[3] ?? 0, BigInt(OTHER) | all | flags);
      run(rig, 0x0f, 0x01, 0x3b, ...READ_EAX); // invlpg [rbx]
      assert.equal(rig.gpr(0), 2n);
    }
  });

  it('INVLPG drops all of a large page', () => {
    const rig = new Rig();
    const m = prepare(rig, '4-level', 0x8000_0000n, 0x60_0000n | all | PS, all, 2);
    rig.view.setUint32(0x61_0000, 1, true);
    rig.view.setUint32(0x81_0000, 2, true);
    rig.configure({ paging: '4-level' }, m.root);
    rig.setGpr(RBX, 0x8001_0000n);
    rig.setGpr(1, 0x801f_f000n);
    run(rig, ...READ_EAX);
    assert.equal(rig.gpr(0), 1n);
    rig.set64(m.entries[2] ?? 0, 0x80_0000n | all | PS);
    run(rig, 0x0f, 0x01, 0x39, ...READ_EAX); // invlpg [rcx]: elsewhere in the page
    assert.equal(rig.gpr(0), 2n);
  });

  it('INVLPG drops all of a page of 1 GiB', () => {
    const rig = new Rig();
    const m = prepare(rig, '4-level', 0x8000_0000n, all | PS, all, 1);
    rig.view.setUint32(0x61_0000, 1, true);
    rig.configure({ paging: '4-level' }, m.root);
    rig.setGpr(RBX, 0x8061_0000n);
    rig.setGpr(1, 0xb000_0000n);
    run(rig, ...READ_EAX);
    assert.equal(rig.gpr(0), 1n);
    rig.set64(m.entries[1] ?? 0, 0x4000_0000n | all | PS);
    run(rig, 0x0f, 0x01, 0x39, ...READ_EAX); // invlpg [rcx]: far away in the page
    assert.equal(rig.gpr(0), 0xffff_ffffn, 'no RAM is there');
  });

  it('a write to CR3 drops what is not global, and the global pages when PGE is clear', () => {
    for (const [flags, pge] of [
      [0n, true],
      [0n, false],
      [G, false],
    ] as const) {
      const { rig, m } = prepared(flags, { paging: '4-level', pge });
      run(rig, ...READ_EAX);
      rig.set64(m.entries[3] ?? 0, BigInt(OTHER) | all | flags);
      run(rig, 0x0f, 0x20, 0xda, 0x0f, 0x22, 0xda, ...READ_EAX); // mov rdx, cr3; mov cr3, rdx
      assert.equal(rig.gpr(0), 2n, `global ${flags !== 0n}, PGE ${pge}`);
    }
  });

  it('a change of CR4.PGE drops the global pages too', () => {
    const { rig, m } = prepared(G, { paging: '4-level', pge: true });
    run(rig, ...READ_EAX);
    rig.set64(m.entries[3] ?? 0, BigInt(OTHER) | all | G);
    run(rig, 0x0f, 0x20, 0xe2, 0x80, 0xf2, 0x80, 0x0f, 0x22, 0xe2, ...READ_EAX); // mov rdx, cr4; xor dl, 80h; mov cr4, rdx
    assert.equal(rig.gpr(0), 2n);
  });

  it('a global page stays over a write to CR3', () => {
    const { rig, m } = prepared(G, { paging: '4-level', pge: true });
    run(rig, ...READ_EAX);
    rig.set64(m.entries[3] ?? 0, BigInt(OTHER) | all | G);
    run(rig, 0x0f, 0x20, 0xda, 0x0f, 0x22, 0xda, ...READ_EAX);
    assert.equal(rig.gpr(0), 1n);
  });

  it('a page read first is walked again for its first write, which sets the dirty bit', () => {
    const { rig, m } = prepared(0n, { paging: '4-level' });
    run(rig, ...READ_EAX);
    assert.equal(readEntry(rig, m, 3) & (A | D), A);
    run(rig, 0x89, 0x03);
    assert.equal(readEntry(rig, m, 3) & (A | D), A | D);
  });

  it('a change of CR0.WP counts for pages that are in the TLB', () => {
    const rig = new Rig();
    const m = prepare(rig, '4-level', linear, BigInt(DATA) | P | D, all);
    rig.configure({ paging: '4-level' }, m.root);
    rig.setGpr(RBX, linear);
    run(rig, 0x89, 0x03);
    // mov rdx, cr0; bts edx, 16; mov cr0, rdx; mov [rbx], eax
    const code = [0x0f, 0x20, 0xc2, 0x0f, 0xba, 0xea, 16, 0x0f, 0x22, 0xc2, 0x89, 0x03];
    assert.equal(rig.execute(KERNEL_CODE, ...code), 'triple-fault');
    assert.deepEqual(rig.fault, { vector: 14, errorCode: 3, cr2: linear });
  });

  it('STAC and CLAC count at once', () => {
    const { rig } = prepared(0n, { paging: '4-level', smap: true });
    run(rig, 0x0f, 0x01, 0xcb, ...READ_EAX, 0x0f, 0x01, 0xca);
    assert.equal(rig.gpr(0), 1n);
    const code = [0x0f, 0x01, 0xcb, ...READ_EAX, 0x0f, 0x01, 0xca, ...READ_EAX];
    assert.equal(rig.execute(KERNEL_CODE, ...code), 'triple-fault');
    assert.deepEqual(rig.fault, { vector: 14, errorCode: 1, cr2: linear });
  });

  it('thousands of pages, flushed and used again', () => {
    const rig = new Rig();
    rig.resetTables();
    const m = prepare(rig, '4-level', linear, BigInt(DATA) | all, all);
    // 6000 pages that all lead to a handful of physical ones.
    const pages = 6000;
    for (let i = 0; i < pages; i++)
      map(
        rig,
        '4-level',
        m.root,
        0x1000_0000n + BigInt(i) * 4096n,
        BigInt(0x70_0000 + (i % 5) * 4096) | all,
        all,
      );
    for (let i = 0; i < 5; i++) rig.view.setUint32(0x70_0000 + i * 4096, i + 1, true);
    rig.configure({ paging: '4-level' }, m.root);
    for (const round of [1, 2]) {
      rig.setGpr(RBX, 0x1000_0000n);
      rig.setGpr(1, pages);
      rig.setGpr(2, 0);
      // L: add edx, [rbx]; add rbx, 4096; dec ecx; jnz L; mov rax, cr3; mov cr3, rax; hlt
      rig.code(
        KERNEL_CODE,
        0x03,
        0x13,
        0x48,
        0x81,
        0xc3,
        0,
        0x10,
        0,
        0,
        0xff,
        0xc9,
        0x75,
        0xf3,
        0x0f,
        0x20,
        0xd8,
        0x0f,
        0x22,
        0xd8,
        0xf4,
      );
      assert.equal(rig.go(KERNEL_CODE, 100_000), 'halted');
      assert.equal(rig.gpr(2), BigInt((pages / 5) * 15), `round ${round}`);
    }
  });
});
