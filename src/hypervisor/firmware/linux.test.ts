import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type BzImageParts, bzImage } from '../../../test/support/kernel-images.ts';
import { FlatMemory } from '../../../test/support/machine-parts.ts';
import { BootError, type BootErrorCode } from './boot-state.ts';
import { detectKernel, loadKernel } from './detect.ts';
import { loadLinux } from './linux.ts';

const MIB = 1 << 20;
const text = (s: string): Uint8Array => new TextEncoder().encode(s);

function string(memory: FlatMemory, gpa: number): string {
  return new TextDecoder().decode(memory.bytes.subarray(gpa, memory.bytes.indexOf(0, gpa)));
}

test('64-bit entry: kernel, command line, initrd, zero page and processor state', () => {
  const memory = new FlatMemory(64 * MIB);
  const payload = Uint8Array.from({ length: 5000 }, (_, i) => i);
  const initrd = new Uint8Array(10_000).fill(0x77);
  const state = loadLinux(memory, {
    kernel: bzImage({ payload }),
    initrd,
    cmdline: 'console=ttyS0 ü',
    rsdp: 0xe0000,
  });

  assert.deepEqual(
    [state.mode, state.rip, state.cr0 >>> 0, state.cr4, state.efer, state.rflags],
    ['long', 0x1000200, 0x80000011, 0x20, 0x500, 2],
  );
  assert.deepEqual([state.cs.selector, state.ds.selector], [0x10, 0x18]);
  assert.deepEqual(memory.view(0x1000000, 5000), payload);
  assert.deepEqual(memory.readU64(state.gdt.base + 0x10), 0x00af9b000000ffffn);
  assert.deepEqual(memory.readU64(state.gdt.base + 0x18), 0x00cf93000000ffffn);

  const zp = state.rsi;
  assert.equal(memory.readU32(zp + 0x202), 0x53726448);
  assert.equal(memory.readU16(zp + 0x206), 0x020f);
  assert.equal(memory.readU8(zp + 0x210), 0xff);
  assert.equal(memory.readU64(zp + 0x070), 0xe0000n);
  assert.equal(string(memory, memory.readU32(zp + 0x228)), 'console=ttyS0 ü');
  const at = memory.readU32(zp + 0x218);
  assert.equal(memory.readU32(zp + 0x21c), 10_000);
  assert.equal(at, 64 * MIB - 12288);
  assert.deepEqual(memory.view(at, 10_000), initrd);
  const map = Array.from({ length: memory.readU8(zp + 0x1e8) }, (_, i) => {
    const entry = zp + 0x2d0 + 20 * i;
    return [Number(memory.readU64(entry)), Number(memory.readU64(entry + 8)), memory.readU32(entry + 16)];
  });
  assert.deepEqual(map, [
    [0, 0x9fc00, 1],
    [0x9fc00, 0x400, 2],
    [0xe0000, 0x20000, 2],
    [0x100000, 63 * MIB, 1],
  ]);
});

test('identity paging covers the first 4 GiB in 2 MiB pages', () => {
  const memory = new FlatMemory(32 * MIB);
  const { cr3 } = loadLinux(memory, { kernel: bzImage() });
  const walk = (gva: number): number => {
    let table = cr3;
    for (const shift of [39, 30, 21]) {
      const entry = Number(memory.readU64(table + 8 * (Math.floor(gva / 2 ** shift) % 512)));
      assert.equal(entry & 3, 3);
      if (entry & 0x80) return entry - (entry % 2 ** shift) + (gva % 2 ** shift);
      table = entry - (entry % 4096);
    }
    return -1;
  };
  for (const gva of [0, 0x1000200, 0x3fffffff, 0x40000000, 0xfee00000, 0xffffffff])
    assert.equal(walk(gva), gva);
});

test('32-bit entry where the kernel has no other', () => {
  const memory = new FlatMemory(64 * MIB);
  const state = loadLinux(memory, { kernel: bzImage({ xloadflags: 0 }) });
  assert.deepEqual([state.mode, state.rip, state.cr0, state.efer], ['protected', 0x1000000, 0x11, 0]);
  assert.equal(memory.readU64(state.gdt.base + 0x10), 0x00cf9b000000ffffn);
});

test('a relocatable kernel that does not fit where it would like to be goes lower', () => {
  const memory = new FlatMemory(8 * MIB);
  assert.equal(loadLinux(memory, { kernel: bzImage() }).rip, 0x200200);
});

test('the initrd stays below initrd_addr_max', () => {
  const memory = new FlatMemory(64 * MIB);
  const kernel = bzImage({ initrdAddrMax: 48 * MIB - 1 });
  const state = loadLinux(memory, { kernel, initrd: new Uint8Array(4096) });
  assert.equal(memory.readU32(state.rsi + 0x218), 48 * MIB - 4096);
});

test('the setup header is copied up to where it says it ends, and never over the memory map', () => {
  const kernel = bzImage();
  kernel[0x201] = 0xff;
  kernel.fill(0xee, 0x268, 0x400);
  const memory = new FlatMemory(64 * MIB);
  const { rsi } = loadLinux(memory, { kernel });
  assert.equal(memory.readU8(rsi + 0x2cf), 0xee);
  assert.equal(memory.readU64(rsi + 0x2d0), 0n);
});

const refusals: [
  string,
  BootErrorCode,
  BzImageParts | Uint8Array,
  { initrd?: number; cmdline?: string; mib?: number }?,
][] = [
  ['an empty file', 'KERNEL_TOO_SHORT', new Uint8Array()],
  ['a file without any signature', 'KERNEL_NOT_RECOGNIZED', new Uint8Array(100_000)],
  ['a header that is cut off', 'KERNEL_TOO_SHORT', bzImage().subarray(0, 0x210)],
  ['setup code without a kernel', 'KERNEL_TOO_SHORT', bzImage({ payload: new Uint8Array() })],
  ['boot protocol 2.09', 'KERNEL_TOO_OLD', { version: 0x0209 }],
  ['a zImage', 'KERNEL_NO_ENTRY', { loadflags: 0 }],
  ['init_size 0', 'KERNEL_MALFORMED', { initSize: 0 }],
  ['a kernel larger than memory', 'MEMORY_TOO_SMALL', { initSize: 100 * MIB }],
  ['a fixed kernel beyond memory', 'MEMORY_TOO_SMALL', { relocatable: false, prefAddress: 0x8000000n }],
  [
    'an absurd preferred address',
    'MEMORY_TOO_SMALL',
    { relocatable: false, prefAddress: 0xffffffffffffffffn },
  ],
  ['an initrd larger than memory', 'INITRD_TOO_BIG', {}, { initrd: 64 * MIB }],
  ['an initrd that reaches into the kernel', 'INITRD_TOO_BIG', {}, { initrd: 47 * MIB }],
  ['a command line that is too long', 'CMDLINE_TOO_LONG', { cmdlineSize: 10 }, { cmdline: '01234567890' }],
  ['a zero in the command line', 'CMDLINE_INVALID', {}, { cmdline: 'a\0b' }],
  ['hardly any memory', 'MEMORY_TOO_SMALL', {}, { mib: 1 }],
];

for (const [what, code, kernel, rest = {}] of refusals) {
  test(`refused with one clear line: ${what}`, () => {
    const memory = new FlatMemory((rest.mib ?? 64) * MIB);
    const request = {
      kernel: kernel instanceof Uint8Array ? kernel : bzImage(kernel),
      cmdline: rest.cmdline ?? '',
      ...(rest.initrd === undefined ? {} : { initrd: new Uint8Array(rest.initrd) }),
    };
    assert.throws(
      () => loadKernel(memory, request),
      (error) => error instanceof BootError && error.code === code && /^[^\n]{10,160}$/.test(error.message),
    );
  });
}

test('a damaged header is refused or loaded inside RAM, never anything else', () => {
  const memory = new FlatMemory(24 * MIB);
  const damage = fc.array(fc.tuple(fc.integer({ min: 0x1f1, max: 0x270 }), fc.nat(255)), { maxLength: 12 });
  fc.assert(
    fc.property(damage, fc.nat(6000), (changes, cut) => {
      const kernel = bzImage().slice(0, cut < 3000 ? undefined : cut);
      for (const [at, byte] of changes) if (at < kernel.length) kernel[at] = byte;
      try {
        assert.ok(detectKernel(kernel));
        const state = loadKernel(memory, { kernel, initrd: text('initrd'), cmdline: 'x' });
        assert.ok(state.rip >= 0x100000 && state.rip < memory.size);
      } catch (error) {
        assert.ok(error instanceof BootError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
