/** A multiboot kernel that goes back to real mode finds interrupts there as a PC's BIOS leaves them. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createMachine } from '../../src/hypervisor/index.ts';
import { multibootHeader } from '../support/kernel-images.ts';

const BASE = 0x8000;
const HEADER = 0x20;
const TABLES = BASE + 0x80;
const DEBUG_EXIT = 0xf4;
const TICKS = 0x46c;

const le = (value: number, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff);

/** Ends with the count of timer ticks after one HLT as its exit value. */
function image(): Uint8Array {
  const entry = BASE + HEADER;
  const protected16 = entry + 14;
  const real = protected16 + 20;
  const code = [
    ...[0x0f, 0x01, 0x15, ...le(TABLES, 4)], // lgdt
    ...[0xea, ...le(protected16, 4), 8, 0], // far jump to 16-bit code
    ...[0xb8, 0x10, 0, 0x8e, 0xd8, 0x8e, 0xd0], // mov ax, 10h; mov ds, ax; mov ss, ax
    ...[0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0], // CR0.PE off
    ...[0xea, ...le(real, 2), 0, 0], // far jump to real mode
    ...[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0, 0x70], // ds = ss = 0, sp = 7000h
    ...[0xcd, 0x11, 0xfb, 0xf4], // int 11h; sti; hlt
    ...[0xfa, 0xa0, ...le(TICKS, 2), 0xba, ...le(DEBUG_EXIT, 2), 0xee], // cli; mov al, ticks; out dx, al
    ...[0xf4, 0xeb, 0xfd],
  ];
  const file = new Uint8Array(0x100);
  file.set(multibootHeader(0x10000, [BASE, BASE, BASE + file.length, 0, entry]));
  file.set(code, HEADER);
  const descriptors = new DataView(file.buffer, TABLES - BASE);
  descriptors.setUint16(0, 23, true);
  descriptors.setUint32(2, TABLES + 8, true);
  descriptors.setBigUint64(16, 0x0000_9b00_0000_ffffn, true);
  descriptors.setBigUint64(24, 0x0000_9300_0000_ffffn, true);
  return file;
}

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-real-mode-'));
});
after(async () => rm(directory, { recursive: true, force: true }));

test('INT returns and the timer ends HLT in real mode behind a multiboot entry', {
  timeout: 30_000,
}, async () => {
  const path = join(directory, 'kernel');
  await writeFile(path, image());
  const machine = await createMachine({ memoryMiB: 16, boot: { kernel: path }, debugExit: true });
  machine.start();
  const exit = await machine.exited;
  await machine.dispose();
  assert.equal(exit.kind, 'debug-exit');
  assert.ok(exit.kind === 'debug-exit' && exit.status >> 1 >= 1, 'at least one tick was counted');
});
