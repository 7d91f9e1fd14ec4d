import { at, type Label, mem } from './assembler.ts';
import {
  type CaseOptions,
  type Expectation,
  NEEDS,
  type Requirement,
  TestKernel,
  USER_CODE,
  USER_CODE64,
} from './kit.ts';

/**
 * Paging (Intel SDM vol. 3, chapter 4): who may read, write and run what in
 * 32-bit paging, with 4 MiB pages, in PAE and 4-level paging, under WP, NX,
 * SMEP and SMAP; error codes, CR2, accessed and dirty bits, INVLPG, global
 * pages, PCID; strings that fault half way.
 *
 * The page under test is at 8 MiB; it holds INT 80h, so that running it ends a
 * case. The kernel's first 4 MiB are mapped for it alone, and again at 16 MiB
 * for ring 3.
 */
export type PagingMode = '32-bit' | 'PAE' | '4-level';

const TEST_PAGE = 0x80_0000;
const ALIAS = 0x100_0000;
const NX = 1n << 63n;
const CR0 = { plain: 0x8000_0033, wp: 0x8001_0033 } as const;
const CR4 = {
  pse: 0x10,
  pae: 0x20,
  pge: 0x80,
  osfxsr: 0x200,
  pcide: 0x20000,
  smep: 0x100000,
  smap: 0x200000,
} as const;
const FAULT = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;
const USER = 4;
const WRITE = 2;
const PRESENT = 1;

type Access = 'read' | 'write' | 'fetch';

interface PagingCase {
  readonly name: string;
  readonly access: Access;
  readonly user: boolean;
  /** Flags of the entry of the page, and of the one above. */
  readonly pte: number;
  readonly pde: number;
  readonly nx?: boolean;
  readonly large?: boolean;
  readonly reserved?: bigint;
  readonly wp?: boolean;
  readonly smep?: boolean;
  readonly smap?: boolean;
  readonly ac?: boolean;
}

/** What the manual says (4.6 and 4.7): undefined, or the error code. */
function expectedFault(c: PagingCase, mode: PagingMode): number | undefined {
  const wide = mode !== '32-bit';
  const tellsFetch = c.access === 'fetch' && (wide || c.smep === true);
  const base =
    (c.access === 'write' ? FAULT.write : 0) | (c.user ? FAULT.user : 0) | (tellsFetch ? FAULT.fetch : 0);
  if ((c.pte & c.pde & PRESENT) === 0) return base;
  if (c.reserved !== undefined) return base | FAULT.present | FAULT.reserved;
  const us = (c.pte & c.pde & USER) !== 0;
  const rw = (c.pte & c.pde & WRITE) !== 0;
  const denied =
    (c.user && !us) ||
    (c.access === 'write' && !rw && (c.user || c.wp !== false)) ||
    (c.access === 'fetch' && (c.nx === true || (c.smep === true && !c.user && us))) ||
    (c.access !== 'fetch' && c.smap === true && !c.user && us && c.ac !== true);
  return denied ? base | FAULT.present : undefined;
}

export function pagingKernel(mode: PagingMode): Buffer {
  const kernel = new TestKernel(mode === '4-level' ? 64 : 32);
  const rig = new PagingRig(kernel, mode);
  for (const c of permissionCases(mode)) rig.permission(c);
  if (mode !== '4-level') rig.modeCases();
  rig.caching();
  rig.strings();
  if (mode === '4-level') rig.pcid();
  return kernel.finish();
}

const ACCESSES: readonly Access[] = ['read', 'write', 'fetch'];

function* permissionCases(mode: PagingMode): Generator<PagingCase> {
  const flags = (value: number): string => `${value & USER ? 'U' : 'S'}${value & WRITE ? 'W' : 'R'}`;
  const wide = mode !== '32-bit';
  for (const user of [true, false]) {
    const who = user ? 'user' : 'supervisor';
    for (const access of ACCESSES) {
      for (const large of [false, true]) {
        const size = large ? 'large page ' : 'page ';
        for (const pte of [1, 3, 5, 7])
          yield { name: `${who} ${access}, ${size}${flags(pte)}`, access, user, pte, pde: 7, large };
        if (!large)
          for (const pde of [3, 5])
            yield { name: `${who} ${access}, page UW under ${flags(pde)}`, access, user, pte: 7, pde };
        yield { name: `${who} ${access}, ${size}not present`, access, user, pte: 6, pde: 7, large };
        if (wide) {
          yield {
            name: `${who} ${access}, ${size}UW with NX`,
            access,
            user,
            pte: 7,
            pde: 7,
            nx: true,
            large,
          };
          yield {
            name: `${who} ${access}, ${size}SW with NX`,
            access,
            user,
            pte: 3,
            pde: 7,
            nx: true,
            large,
          };
          if (large)
            yield {
              name: `${who} ${access}, large page, a reserved address bit`,
              access,
              user,
              pte: 7,
              pde: 7,
              large,
              reserved: 1n << 13n,
            };
        }
        for (const pte of [3, 7])
          yield {
            name: `${who} ${access}, ${size}${flags(pte)} under SMEP`,
            access,
            user,
            pte,
            pde: 7,
            large,
            smep: true,
          };
      }
      for (const ac of [false, true]) {
        for (const pte of [3, 7]) {
          yield {
            name: `${who} ${access}, page ${flags(pte)} under SMAP${ac ? ' with AC' : ''}`,
            access,
            user,
            pte,
            pde: 7,
            smap: true,
            ac,
          };
        }
      }
      yield { name: `${who} ${access}, page table not present`, access, user, pte: 7, pde: 6 };
      if (mode === 'PAE')
        yield {
          name: `${who} ${access}, bit 62 of the entry`,
          access,
          user,
          pte: 7,
          pde: 7,
          reserved: 1n << 62n,
        };
      if (wide)
        yield {
          name: `${who} ${access}, a reserved bit of the entry`,
          access,
          user,
          pte: 7,
          pde: 7,
          reserved: 1n << 51n,
        };
    }
  }
  for (const pte of [1, 5])
    yield {
      name: `supervisor write, page ${flags(pte)} without WP`,
      access: 'write',
      user: false,
      pte,
      pde: 7,
      wp: false,
    };
  yield {
    name: 'supervisor write, page SW under SR without WP',
    access: 'write',
    user: false,
    pte: 3,
    pde: 1,
    wp: false,
  };
  yield { name: 'user write, page UR without WP', access: 'write', user: true, pte: 5, pde: 7, wp: false };
}

class PagingRig {
  readonly #kernel: TestKernel;
  readonly #mode: PagingMode;
  readonly #wide: boolean;
  readonly #entryBytes: number;
  /** Entry of the directory that covers the page under test. */
  readonly #pde: Label;
  readonly #pte: Label;

  constructor(kernel: TestKernel, mode: PagingMode) {
    this.#kernel = kernel;
    this.#mode = mode;
    this.#wide = mode !== '32-bit';
    this.#entryBytes = this.#wide ? 8 : 4;
    const directory = mode === '4-level' ? 'pd' : 'directory';
    this.#pde = at(directory, (TEST_PAGE >>> (this.#wide ? 21 : 22)) * this.#entryBytes);
    this.#pte = at(mode === '4-level' ? 'pt' : 'table');
    this.#tables();
    this.#enable();
  }

  #tables(): void {
    const { asm } = this.#kernel;
    this.#kernel.data(() => {
      // The page under test, alone in the 4 MiB that a large page reaches.
      asm.align(4096);
      asm.label('testFrame');
      asm.db(0xcd, 0x80);
      asm.space(4094);
      asm.label('otherFrame');
      asm.db(0xcd, 0x81);
      asm.space(4094);
      if (this.#mode === '4-level') return;
      if (this.#mode === 'PAE') {
        asm.label('pointers');
        asm.dq(at('directory', 1), 0, 0, 0);
        asm.align(4096);
      }
      asm.label('directory');
      for (let i = 0; i < (this.#wide ? 512 : 1024); i++) {
        const size = this.#wide ? 0x20_0000 : 0x40_0000;
        const address = i * size;
        const entry =
          address < 0x40_0000
            ? address | 0x83
            : address >= ALIAS && address < ALIAS + 0x40_0000
              ? (address - ALIAS) | 0x87
              : 0;
        if (this.#wide) asm.dq(entry);
        else asm.dd(entry);
      }
      asm.label('table');
      asm.space(4096);
    });
  }

  #cr4Base(): number {
    return this.#mode === '32-bit' ? CR4.pse : CR4.pae;
  }

  #enable(): void {
    const { asm } = this.#kernel;
    // What a large page maps is wherever 4 MiB begins: INT 80h there too.
    if (this.#mode === '4-level') {
      this.#put(this.#pde, 0x40_0083, 0n);
      asm.mov(mem(TEST_PAGE), 0x80cd);
      return;
    }
    asm.mov(mem(0x40_0000), 0x80cd);
    this.#kernel.control('cr4', this.#cr4Base());
    this.#kernel.control('cr3', at(this.#mode === 'PAE' ? 'pointers' : 'directory'));
    if (this.#mode === 'PAE') asm.wrmsr(0xc000_0080, 0x800n);
    this.#kernel.control('cr0', CR0.wp);
  }

  /** Writes an entry: an address (a label, or 4 MiB for a large page) and flags. */
  #put(entry: Label, low: number | Label, high: bigint): void {
    const { asm } = this.#kernel;
    asm.mov(mem(entry), low);
    if (this.#wide) asm.mov(mem(at(entry.label, entry.plus + 4)), BigInt.asUintN(32, high));
  }

  /** Maps the page under test, 4 KiB or large. */
  #map(c: Pick<PagingCase, 'pte' | 'pde' | 'large' | 'nx' | 'reserved'>): void {
    const high = (((c.nx ? NX : 0n) | (c.reserved ?? 0n)) >> 32n) & 0xffff_ffffn;
    const low = Number((c.reserved ?? 0n) & 0xffff_ffffn);
    if (c.large) {
      this.#put(this.#pde, 0x40_0000 | c.pte | 0x80 | low, high);
    } else {
      this.#put(this.#pde, at(this.#pte.label, c.pde), 0n);
      this.#put(this.#pte, at('testFrame', c.pte | low), high);
    }
  }

  #flush(): void {
    const { asm } = this.#kernel;
    const register = this.#mode === '4-level' ? 'rax' : 'eax';
    asm.mov(register, 'cr3');
    asm.mov('cr3', register);
  }

  #access(access: Access): void {
    const { asm } = this.#kernel;
    if (access === 'read') asm.mov('ecx', mem(TEST_PAGE));
    else if (access === 'write') asm.mov(mem(TEST_PAGE), 0x80cd);
    else {
      asm.mov('eax', TEST_PAGE);
      asm.db(0xff, 0xe0); // jmp eax, or rax
    }
  }

  #control(cr0: number, cr4: number): void {
    const { asm } = this.#kernel;
    asm.mov('eax', cr4);
    asm.mov('cr4', this.#mode === '4-level' ? 'rax' : 'eax');
    asm.mov('eax', cr0);
    asm.mov('cr0', this.#mode === '4-level' ? 'rax' : 'eax');
  }

  #flags(value: number): void {
    const { asm } = this.#kernel;
    asm.push(value);
    asm.db(0x9d);
  }

  permission(c: PagingCase): void {
    const kernel = this.#kernel;
    const { asm } = kernel;
    const error = expectedFault(c, this.#mode);
    const place = asm.fresh('access');
    const entry = c.large ? this.#pde : this.#pte;
    const bits = c.access === 'write' ? 0x60 : 0x20;
    const cs = c.user ? (this.#mode === '4-level' ? USER_CODE64 : USER_CODE) : 8;
    const faultIp = c.access === 'fetch' ? TEST_PAGE : at(place, c.user ? ALIAS : 0);
    const expected: Expectation =
      error === undefined
        ? { vector: 0x80, cs, memory: [['entry', entry, { value: bits, mask: 0x60 }]] }
        : { vector: 14, error, cr2: TEST_PAGE, cs, ip: faultIp };
    const needs: Requirement | undefined = c.smep ? NEEDS.smep : c.smap ? NEEDS.smap : undefined;
    const options: CaseOptions = {
      needs,
      after: () => {
        this.#control(CR0.wp, this.#cr4Base());
        this.#flags(2);
      },
    };
    kernel.test(
      c.name,
      expected,
      () => {
        this.#map(c);
        this.#control(
          c.wp === false ? CR0.plain : CR0.wp,
          this.#cr4Base() | (c.smep ? CR4.smep : 0) | (c.smap ? CR4.smap : 0),
        );
        this.#flush();
        const flags = c.ac ? 0x40002 : 2;
        const act = (): void => {
          asm.label(place);
          this.#access(c.access);
          asm.db(0xcd, 0x80);
        };
        if (c.user) {
          kernel.user(act, { flags, alias: ALIAS, stack: at('userStackTop', ALIAS) });
        } else {
          this.#flags(flags);
          act();
        }
      },
      options,
    );
  }

  /** What 32-bit code alone can try: PSE off, PAE's registers. */
  modeCases(): void {
    const kernel = this.#kernel;
    const { asm } = kernel;
    if (this.#mode === 'PAE') {
      kernel.test(
        '#GP: reserved bits of a page-directory pointer, at the load of CR3',
        { vector: 13, error: 0 },
        () => {
          asm.mov(mem(at('pointers', 8)), 7);
          this.#flush();
        },
        { after: () => asm.mov(mem(at('pointers', 8)), 0) },
      );
      kernel.test(
        'a page-directory pointer that is not present: #PF',
        { vector: 14, error: 0, cr2: 0x4000_0000 },
        () => asm.mov('eax', mem(0x4000_0000)),
      );
      kernel.test(
        'directory pointers are loaded with CR3, not read again',
        { vector: 14, error: 0 },
        () => {
          asm.mov(mem(at('pointers', 8)), at('directory', 1));
          asm.mov('eax', mem(0x4000_0000));
        },
        { after: () => asm.mov(mem(at('pointers', 8)), 0) },
      );
    } else {
      kernel.test(
        'without CR4.PSE the size bit means nothing',
        { vector: 14, error: 0, cr2: TEST_PAGE },
        () => {
          // The kernel's own large page would mean nothing either: a table for it.
          asm.mov(mem(at('directory')), at('scratchTable', 3));
          asm.mov(mem(this.#pde), at('table', 0x87));
          asm.mov(mem(this.#pte), 0);
          this.#kernel.control('cr4', 0);
          this.#flush();
          asm.mov('eax', mem(TEST_PAGE));
        },
        {
          after: () => {
            this.#kernel.control('cr4', CR4.pse);
            asm.mov(mem(at('directory')), 0x83);
            this.#flush();
          },
        },
      );
      kernel.data(() => {
        asm.align(4096);
        asm.label('scratchTable');
        for (let page = 0; page < 1024; page++) asm.dd(page * 4096 + 3);
      });
    }
  }

  /** Stale translations: kept, dropped by INVLPG, by a load of CR3, kept when global. */
  caching(): void {
    const kernel = this.#kernel;
    const { asm } = kernel;
    const wide = this.#mode === '4-level';
    const remap = (global: boolean): void => {
      this.#map({ pte: 3 | (global ? 0x100 : 0), pde: 7 });
      asm.mov('eax', TEST_PAGE);
      asm.db(0x0f, 0x01, 0x38); // invlpg [eax]
      asm.mov('ecx', mem(TEST_PAGE));
      this.#put(this.#pte, at('otherFrame', 3 | (global ? 0x100 : 0)), 0n);
    };
    const look = (): void => {
      asm.mov('ecx', mem(TEST_PAGE));
      asm.mov(kernel.at('w0'), 'ecx');
    };
    const after = (): void => this.#control(CR0.wp, this.#cr4Base());
    kernel.test('INVLPG drops one page', { w0: 0x81cd }, () => {
      remap(false);
      asm.mov('eax', TEST_PAGE);
      asm.db(0x0f, 0x01, 0x38);
      look();
    });
    kernel.test('INVLPG by any address in the page', { w0: 0x81cd }, () => {
      remap(false);
      asm.mov('eax', TEST_PAGE + 0xabc);
      asm.db(0x0f, 0x01, 0x38);
      look();
    });
    kernel.test('a load of CR3 drops all', { w0: 0x81cd }, () => {
      remap(false);
      this.#flush();
      look();
    });
    kernel.test(
      'a load of CR3 keeps a global page',
      { w0: 0x80cd },
      () => {
        this.#control(CR0.wp, this.#cr4Base() | CR4.pge);
        remap(true);
        this.#flush();
        look();
      },
      { after },
    );
    kernel.test(
      'INVLPG drops a global page',
      { w0: 0x81cd },
      () => {
        this.#control(CR0.wp, this.#cr4Base() | CR4.pge);
        remap(true);
        asm.mov('eax', TEST_PAGE);
        asm.db(0x0f, 0x01, 0x38);
        look();
      },
      { after },
    );
    kernel.test(
      'a change of CR4.PGE drops global pages',
      { w0: 0x81cd },
      () => {
        this.#control(CR0.wp, this.#cr4Base() | CR4.pge);
        remap(true);
        this.#control(CR0.wp, this.#cr4Base());
        look();
      },
      { after },
    );
    kernel.test('what was not present needs no flush', { w0: 0x80cd }, () => {
      this.#put(this.#pde, at(this.#pte.label, 7), 0n);
      this.#put(this.#pte, 0, 0n);
      this.#flush();
      this.#map({ pte: 3, pde: 7 });
      look();
    });
    kernel.test(
      'the first write to a page that was read sets the dirty bit',
      { memory: [['entry', this.#pte, { value: 0x60, mask: 0x60 }]] },
      () => {
        this.#map({ pte: 3, pde: 7 });
        this.#flush();
        asm.mov('ecx', mem(TEST_PAGE));
        asm.mov(mem(TEST_PAGE), 'ecx');
      },
    );
    kernel.test(
      'accessed bits are set on the way',
      { memory: [['directory entry', this.#pde, { value: 0x20, mask: 0x60 }]] },
      () => {
        this.#map({ pte: 3, pde: 7 });
        this.#flush();
        asm.mov('ecx', mem(TEST_PAGE));
      },
    );
    kernel.test('code runs from where its page is mapped now', { vector: 0x81 }, () => {
      remap(false);
      asm.mov('eax', TEST_PAGE);
      asm.db(0x0f, 0x01, 0x38);
      this.#access('fetch');
    });
    if (wide) {
      kernel.test(
        '#GP: PCID on with a non-zero CR3[11:0]',
        { vector: 13, error: 0 },
        () => {
          asm.mov('rax', 'cr3');
          asm.alu('or', 'eax', 8);
          asm.mov('cr3', 'rax');
          asm.mov('eax', CR4.pae | CR4.pcide);
          asm.mov('cr4', 'rax');
        },
        {
          needs: NEEDS.pcid,
          after: () => {
            asm.mov('eax', at('pml4'));
            asm.mov('cr3', 'rax');
          },
        },
      );
    }
  }

  /** String instructions that meet a fault half way: registers tell how far they came, and they go on. */
  strings(): void {
    const kernel = this.#kernel;
    const { asm } = kernel;
    const second = at(this.#pte.label, this.#entryBytes);
    const spread = (): void => {
      this.#map({ pte: 3, pde: 7 });
      this.#put(second, 0, 0n);
      this.#flush();
    };
    const repeat = (
      name: string,
      bytes: readonly number[],
      unit: number,
      registers: () => void,
      expected: Expectation,
    ): void => {
      const ip = asm.fresh('rep');
      kernel.test(
        name,
        { vector: 14, ip: at(ip), cr2: TEST_PAGE + 0x1000, ...expected },
        () => {
          spread();
          asm.mov('esi', at('otherFrame'));
          asm.mov('edi', TEST_PAGE + 0x1000 - 16);
          asm.mov('ecx', 32 / unit);
          asm.mov('eax', 0x1111_1111);
          registers();
          asm.label(ip);
          asm.db(0xf3, ...bytes);
        },
        {
          after: () => {
            asm.mov(kernel.at('w0'), 'ecx');
            asm.mov(kernel.at('w1'), 'esi');
            asm.mov(kernel.at('w2'), 'edi');
          },
        },
      );
    };
    repeat('REP MOVSD over the edge of what is mapped', [0xa5], 4, () => {}, {
      error: 2,
      w0: 4,
      w1: at('otherFrame', 16),
      w2: TEST_PAGE + 0x1000,
    });
    repeat('REP MOVSB over the edge', [0xa4], 1, () => {}, {
      error: 2,
      w0: 16,
      w1: at('otherFrame', 16),
      w2: TEST_PAGE + 0x1000,
    });
    repeat('REP STOSD over the edge', [0xab], 4, () => {}, { error: 2, w0: 4, w2: TEST_PAGE + 0x1000 });
    repeat('REP LODSD over the edge', [0xad], 4, () => asm.mov('esi', TEST_PAGE + 0x1000 - 16), {
      error: 0,
      w0: 4,
      w1: TEST_PAGE + 0x1000,
    });
    repeat(
      'REP MOVSD from the edge',
      [0xa5],
      4,
      () => {
        asm.mov('esi', TEST_PAGE + 0x1000 - 16);
        asm.mov('edi', at('otherFrame', 64));
      },
      { error: 0, w0: 4, w1: TEST_PAGE + 0x1000, w2: at('otherFrame', 80) },
    );
    kernel.test(
      'a write over the edge leaves the first page as it was',
      { vector: 14, error: 2, cr2: TEST_PAGE + 0x1000, memory: [['first page', at('testFrame', 0xffc), 0]] },
      () => {
        spread();
        asm.mov(mem(at('testFrame', 0xffc)), 0);
        asm.mov(mem(TEST_PAGE + 0xffe), -1);
      },
    );
    kernel.test(
      'an instruction whose second half is not mapped: CR2 is the second page',
      { vector: 14, error: this.#wide ? 16 : 0, cr2: TEST_PAGE + 0x1000, ip: TEST_PAGE + 0xffe },
      () => {
        spread();
        asm.mov(mem(at('testFrame', 0xffe), { size: 2 }), 0x00b8);
        asm.mov('eax', TEST_PAGE + 0xffe);
        asm.db(0xff, 0xe0);
      },
    );
    kernel.test(
      'PUSH to a page that is not there leaves ESP',
      { vector: 14, error: 2, w0: TEST_PAGE + 0x1004 },
      () => {
        // Ring 3 has a stack of its own for the fault.
        this.#map({ pte: 7, pde: 7 });
        this.#flush();
        kernel.user(
          () => {
            asm.mov('esp', TEST_PAGE + 0x1004);
            asm.push(5);
          },
          { alias: ALIAS, stack: at('userStackTop', ALIAS) },
        );
      },
      {
        after: () => {
          asm.mov('eax', kernel.at('sp'));
          asm.mov(kernel.at('w0'), 'eax');
          // The error code of ring 3 has the user bit.
          asm.alu('and', kernel.at('error'), ~4);
        },
      },
    );
  }

  /** Process-context identifiers (4.10.1). */
  pcid(): void {
    const kernel = this.#kernel;
    const { asm } = kernel;
    const cr3 = (pcid: number, keep: boolean): void => {
      asm.mov('rax', at('pml4', pcid));
      if (keep) {
        asm.mov('rcx', 1n << 63n);
        asm.alu('or', 'rax', 'rcx');
      }
      asm.mov('cr3', 'rax');
    };
    const on = (): void => {
      asm.mov('eax', CR4.pae | CR4.pcide);
      asm.mov('cr4', 'rax');
    };
    const after = (): void => {
      cr3(0, false);
      asm.mov('eax', CR4.pae);
      asm.mov('cr4', 'rax');
    };
    const needs = NEEDS.pcid;
    const look = (): void => {
      asm.mov('ecx', mem(TEST_PAGE));
      asm.mov(kernel.at('w0'), 'ecx');
    };
    kernel.test(
      'CR3 shows its PCID, not bit 63',
      { w0: at('pml4', 5), w1: 0 },
      () => {
        on();
        cr3(5, true);
        asm.mov('rax', 'cr3');
        asm.mov(kernel.at('w0'), 'eax');
        asm.shift('shr', 'rax', 32);
        asm.mov(kernel.at('w1'), 'eax');
      },
      { after, needs },
    );
    kernel.test(
      'a load of CR3 without bit 63 drops what its PCID had',
      { w0: 0x81cd },
      () => {
        on();
        this.#map({ pte: 3, pde: 7 });
        cr3(1, false);
        asm.mov('ecx', mem(TEST_PAGE));
        this.#put(this.#pte, at('otherFrame', 3), 0n);
        cr3(1, false);
        look();
      },
      { after, needs },
    );
    kernel.test(
      'INVPCID of one PCID',
      { w0: 0x81cd },
      () => {
        on();
        this.#map({ pte: 3, pde: 7 });
        cr3(1, false);
        asm.mov('ecx', mem(TEST_PAGE));
        this.#put(this.#pte, at('otherFrame', 3), 0n);
        asm.mov(kernel.at('w4', 8), 1);
        asm.mov(kernel.at('w5', 8), 0);
        asm.mov('eax', 1);
        asm.db(0x66, 0x0f, 0x38, 0x82, 0x04, 0x25); // invpcid rax, [w4]
        asm.dd(kernel.field('w4'));
        look();
      },
      { after, needs: NEEDS.invpcid },
    );
    kernel.test(
      '#GP: INVPCID of a type that there is not',
      { vector: 13, error: 0 },
      () => {
        asm.mov('eax', 4);
        asm.db(0x66, 0x0f, 0x38, 0x82, 0x04, 0x25);
        asm.dd(kernel.field('w4'));
      },
      { needs: NEEDS.invpcid },
    );
  }
}
