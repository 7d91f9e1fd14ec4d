import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FLAT_TLB, gpr, RAM, S, TLB, TLB_VIEW_BYTES } from '../layout.ts';
import { Guest, KERNEL, TABLES } from '../system/guestbed.ts';
import { CR4 } from '../system/registers.ts';

/** Where the guest's page tables and pages are, and the linear addresses that they are for. */
const TABLE = 0x20000,
  FRAMES = 0x200000,
  WINDOW = 0x40_0000;
const PAGES = 64;
/** Pages that meet in one entry of the TLB. */
const ALIAS = TLB.entries * 4096;

const ACTIONS: readonly (readonly [string, string])[] = [
  ['a load', '8B 06 F4'],
  ['a store', '89 06 F4'],
  ['INVLPG', '0F 01 3E F4'],
  ['a load of CR3', '0F 20 D8 0F 22 D8 F4'],
  ['a toggle of CR4.PGE', '0F 20 E0 34 80 0F 22 E0 F4'],
  // What is there is HLT.
  ['a jump to it', 'FF E6'],
];

/** What the TLB has of the first 4 GiB, by view and page. */
function entries(view: DataView): string[] {
  const found: string[] = [];
  for (let n = 0; n < TLB.views * TLB.entries; n++) {
    const entry = TLB.base + n * TLB.stride;
    const tag = view.getBigUint64(entry + TLB.readTag, true);
    if (tag >> 32n !== 0n) continue;
    const host = (view.getInt32(entry + TLB.addend, true) - 1) >>> 0;
    const write = view.getBigUint64(entry + TLB.writeTag, true) === tag ? host : 0;
    found.push(`view ${Math.floor(n / TLB.entries)} page ${tag >> 12n}: ${host} ${write}`);
  }
  return found.sort();
}

function flatEntries(view: DataView): string[] {
  const found: string[] = [];
  const words = new Uint32Array(view.buffer, FLAT_TLB.base, FLAT_TLB.bytes / 4);
  const ofView = (TLB_VIEW_BYTES * FLAT_TLB.scale) / 4;
  words.forEach((word, n) => {
    if (n % 2 !== 0) {
      assert.ok(word === 0 || words[n - 1] === word, 'a page that may be written and not read');
    } else if (word !== 0)
      found.push(
        `view ${Math.floor(n / ofView)} page ${(n % ofView) / 2}: ${word} ${words[n + FLAT_TLB.write / 4]}`,
      );
  });
  return found.sort();
}

/** A guest with pages of all kinds, global ones among them, and a handler of page faults that halts. */
function prepared(): Guest {
  const guest = new Guest().protected32(0, KERNEL + 0x2000);
  for (const alias of [0, ALIAS]) {
    const at = WINDOW + alias;
    guest.view.setUint32(RAM + TABLES + (at >>> 22) * 4, TABLE | 7, true);
  }
  for (let n = 0; n < PAGES; n++) {
    const flags = [0x07, 0x05, 0x67, 0x107, 0x167, 0x00][n % 6] ?? 0;
    guest.view.setUint32(RAM + TABLE + n * 4, (FRAMES + n * 4096) | flags, true);
    guest.code(FRAMES + n * 4096, 'F4');
  }
  guest.code(KERNEL + 0xf00, 'F4');
  guest.gate32(14, KERNEL + 0xf00);
  guest.set(S.cr4, CR4.PSE | CR4.PGE | CR4.DE | CR4.OSFXSR);
  guest.cpu.stateChanged();
  return guest;
}

describe('the flat tables', () => {
  it('have what the TLB has, whatever a guest does to its pages', () => {
    const guest = prepared();
    let seed = 20261130;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    let most = 0;
    for (let round = 0; round < 25; round++) {
      const done: string[] = [];
      for (let n = 0; n < 40; n++) {
        // What drops everything comes seldom.
        const [name, code] = ACTIONS[random(10) === 0 ? random(6) : ([0, 1, 5, 2][random(4)] ?? 0)] ?? [
          '',
          '',
        ];
        const page = random(PAGES);
        guest.setReg(6, WINDOW + (random(4) === 0 ? ALIAS : 0) + page * 4096);
        guest.setReg(4, 0x8800);
        guest.setReg(0, 0xf4f4_f4f4); // what is stored is HLT too
        guest.code(KERNEL + 0x2000, code);
        guest.cpu.memoryWritten(KERNEL + 0x2000, 16);
        guest.set(S.rip, KERNEL + 0x2000);
        guest.view.setInt32(S.halted, 0, true);
        guest.untilHalt();
        done.push(`${name} at ${guest.view.getUint32(gpr(6), true).toString(16)}`);
      }
      const expected = entries(guest.view);
      most = Math.max(most, expected.length);
      assert.deepEqual(flatEntries(guest.view), expected, done.join('\n'));
    }
    assert.ok(most > 20, `${most} entries at most`);
  });
});
