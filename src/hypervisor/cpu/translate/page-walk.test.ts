import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RAM } from '../layout.ts';
import { guessPage, type PagingState } from './page-walk.ts';

const RAM_BYTES = 0x80_0000;
const PAGING = 2 ** 31 + 1;
const LONG: PagingState = {
  cr0: PAGING,
  cr3: 0x1000n,
  cr4: 0x20,
  efer: 0x500,
  pdptes: [0n, 0n, 0n, 0n],
  a20Mask: -1n,
};

/** Memory of which only what lies behind RAM's start and holds page tables is there. */
class Tables {
  readonly view = new DataView(new ArrayBuffer(RAM + 0x1_0000));
  put64(at: number, value: bigint): void {
    this.view.setBigUint64(RAM + at, value, true);
  }
  put32(at: number, value: number): void {
    this.view.setUint32(RAM + at, value, true);
  }
  at(paging: PagingState, linear: bigint): number | undefined {
    return guessPage(this.view, RAM_BYTES, paging, linear);
  }
}

describe('the page that code is guessed to lie on', () => {
  it('is its linear address without paging', () => {
    const tables = new Tables();
    const off = { ...LONG, cr0: 1 };
    assert.equal(tables.at(off, 0x5123n), 0x5000);
    assert.equal(tables.at(off, 0xffff_f123n), 0xffff_f000);
    assert.equal(tables.at({ ...off, a20Mask: ~0x10_0000n }, 0x10_5000n), 0x5000);
  });

  it('comes from four levels of tables, with large pages on two of them', () => {
    const tables = new Tables();
    tables.put64(0x1000 + 511 * 8, 0x2003n);
    tables.put64(0x2000 + 510 * 8, 0x3003n);
    tables.put64(0x3000, 0x40_00a3n | (1n << 63n));
    tables.put64(0x3008, 0x4003n);
    tables.put64(0x4000 + 5 * 8, 0x7003n);
    tables.put64(0x2000 + 511 * 8, 0x83n);
    assert.equal(tables.at(LONG, -0x8000_0000n + 0x12_3456n), 0x52_3000);
    assert.equal(tables.at(LONG, -0x8000_0000n + 0x20_5678n), 0x7000);
    assert.equal(tables.at(LONG, -0x4000_0000n + 0x6000n), 0x6000);
    assert.equal(tables.at(LONG, -0x8000_0000n + 0x20_6000n), undefined, 'not present');
    assert.equal(tables.at(LONG, 0x20_5678n), undefined, 'no table');
    assert.equal(tables.at(LONG, 0x8000_0000_0000n), undefined, 'not canonical');
  });

  it('comes from the registers of PAE, and two levels', () => {
    const tables = new Tables();
    const pae = { ...LONG, efer: 0, pdptes: [0n, 0n, 0n, 0x1001n] };
    tables.put64(0x1000, 0x2003n);
    tables.put64(0x1008, 0x20_0083n);
    tables.put64(0x2000 + 3 * 8, 0x9003n);
    assert.equal(tables.at(pae, 0xc000_3abcn), 0x9000);
    assert.equal(tables.at(pae, 0xc020_1000n), 0x20_1000);
    assert.equal(tables.at(pae, 0x3000n), undefined);
  });

  it('comes from two levels of 32 bits, with pages of 4 MiB where CR4.PSE is set', () => {
    const tables = new Tables();
    const narrow = { ...LONG, efer: 0, cr4: 0x10 };
    tables.put32(0x1000 + 4 * 768, 0x2003);
    tables.put32(0x1000 + 4 * 769, 0x40_0083);
    tables.put32(0x2000 + 4 * 5, 0x8003);
    assert.equal(tables.at(narrow, 0xc000_5123n), 0x8000);
    assert.equal(tables.at(narrow, 0xc041_2000n), 0x41_2000);
  });

  it('is none where tables lie outside of RAM, or the page above 4 GiB', () => {
    const tables = new Tables();
    tables.put64(0x1000, 0x100_0003n);
    assert.equal(tables.at(LONG, 0n), undefined);
    assert.equal(tables.at({ ...LONG, cr3: 0xf_ffff_f000n }, 0n), undefined);
    tables.put64(0x1000, 0x2003n);
    tables.put64(0x2000, 0x1_0000_0083n);
    assert.equal(tables.at(LONG, 0x1000n), undefined);
  });
});
