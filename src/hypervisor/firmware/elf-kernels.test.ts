import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { elfImage, multibootHeader } from '../../../test/support/kernel-images.ts';
import { FlatMemory } from '../../../test/support/machine-parts.ts';
import { BootError, type BootErrorCode } from './boot-state.ts';
import { detectKernel, loadKernel } from './detect.ts';
import { parseModuleList } from './multiboot.ts';

const MIB = 1 << 20;
const text = (s: string): Uint8Array => new TextEncoder().encode(s);

function string(memory: FlatMemory, gpa: number): string {
  return new TextDecoder().decode(memory.bytes.subarray(gpa, memory.bytes.indexOf(0, gpa)));
}

function refused(code: BootErrorCode, run: () => unknown): void {
  assert.throws(run, (error) => error instanceof BootError && error.code === code);
}

function joined(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

test('PVH: segments, zeroed bss, start info with command line, module, memory map and RSDP', () => {
  for (const bits of [32, 64] as const) {
    const memory = new FlatMemory(32 * MIB);
    memory.bytes.fill(0xcc);
    const data = text('kernel text');
    const kernel = elfImage({
      bits,
      segments: [{ physical: 0x1000000, data, memorySize: 5000 }],
      pvhEntry: 0x1000040,
    });
    assert.equal(detectKernel(kernel), 'pvh');
    const initrd = text('initrd');
    const state = loadKernel(memory, { kernel, initrd, cmdline: 'quiet', rsdp: 0xe1230 });
    assert.deepEqual(
      [state.mode, state.rip, state.cr0, state.cr4, state.efer],
      ['protected', 0x1000040, 0x11, 0, 0],
    );
    assert.deepEqual([state.cs.limit, state.tr.limit, state.tr.rights], [0xffffffff, 0x67, 0x8b]);
    assert.deepEqual(memory.view(0x1000000, data.length), data);
    assert.ok(memory.view(0x1000000 + data.length, 5000 - data.length)?.every((byte) => byte === 0));
    assert.equal(memory.readU8(0x1000000 + 5000), 0xcc);

    const info = state.rbx;
    assert.deepEqual(
      [memory.readU32(info), memory.readU32(info + 4), memory.readU32(info + 12)],
      [0x336ec578, 1, 1],
    );
    assert.equal(string(memory, Number(memory.readU64(info + 24))), 'quiet');
    assert.equal(memory.readU64(info + 32), 0xe1230n);
    const module = Number(memory.readU64(info + 16));
    assert.deepEqual(memory.view(Number(memory.readU64(module)), 6), initrd);
    assert.equal(memory.readU64(module + 8), 6n);
    const map = Number(memory.readU64(info + 40));
    assert.equal(memory.readU32(info + 48), 4);
    assert.deepEqual(
      [memory.readU64(map + 72), memory.readU64(map + 80), memory.readU32(map + 88)],
      [0x100000n, BigInt(31 * MIB), 1],
    );
  }
});

test('multiboot by ELF: information structure as the specification and QEMU have it', () => {
  const memory = new FlatMemory(16 * MIB);
  const kernel = elfImage({
    segments: [{ physical: 0x100000, data: joined(multibootHeader(3), text('code')), memorySize: 9000 }],
    entry: 0x10000c,
  });
  assert.equal(detectKernel(kernel), 'multiboot');
  const modules = [
    { data: text('first'), cmdline: 'a.mod x=1' },
    { data: text('second'), cmdline: 'b.mod' },
  ];
  const state = loadKernel(memory, { kernel, kernelName: 'test.flat', cmdline: 'one two', modules });
  assert.deepEqual([state.mode, state.rip, state.rax], ['protected', 0x10000c, 0x2badb002]);
  const info = state.rbx;
  assert.equal(memory.readU32(info), 0x24f);
  assert.equal(memory.readU32(info + 4), 639);
  assert.equal(memory.readU32(info + 8), 15 * 1024);
  assert.equal(string(memory, memory.readU32(info + 16)), 'test.flat one two');
  assert.equal(string(memory, memory.readU32(info + 64)), 'teremok');
  assert.equal(memory.readU32(info + 20), 2);
  const list = memory.readU32(info + 24);
  modules.forEach((module, i) => {
    const start = memory.readU32(list + 16 * i);
    assert.equal(start % 4096, 0);
    assert.ok(start >= 0x100000 + 9000);
    assert.deepEqual(memory.view(start, memory.readU32(list + 16 * i + 4) - start), module.data);
    assert.equal(string(memory, memory.readU32(list + 16 * i + 8)), module.cmdline);
  });
  const map = memory.readU32(info + 48);
  const ranges = [];
  for (let at = map; at < map + memory.readU32(info + 44); at += 4 + memory.readU32(at)) {
    ranges.push([Number(memory.readU64(at + 4)), Number(memory.readU64(at + 12)), memory.readU32(at + 20)]);
  }
  assert.deepEqual(ranges[0], [0, 0x9fc00, 1]);
  assert.deepEqual(ranges[3], [0x100000, 15 * MIB, 1]);
});

test('multiboot by address fields, and a 64-bit ELF whose entry is virtual', () => {
  const memory = new FlatMemory(4 * MIB);
  const lead = new Uint8Array(64).fill(1);
  const flat = joined(
    lead,
    multibootHeader(0x10000, [0x200040, 0x200000, 0x200100, 0x200800, 0x200060]),
    new Uint8Array(400).fill(7),
  );
  memory.bytes.fill(0xcc);
  assert.equal(loadKernel(memory, { kernel: flat }).rip, 0x200060);
  assert.deepEqual(memory.view(0x200000, 0x100), flat.subarray(0, 0x100));
  assert.deepEqual([memory.readU8(0x200100), memory.readU8(0x2007ff), memory.readU8(0x200800)], [0, 0, 0xcc]);

  const high = elfImage({
    bits: 64,
    entry: 0x7fff80000010,
    segments: [
      { physical: 0x100000, virtual: 0x7fff80000000, data: joined(multibootHeader(0), new Uint8Array(64)) },
    ],
  });
  assert.equal(loadKernel(memory, { kernel: high }).rip, 0x100010);
});

test('a kernel in low memory is left whole by the boot structures', () => {
  const memory = new FlatMemory(4 * MIB);
  const data = joined(multibootHeader(0), new Uint8Array(0x80000).fill(0x5a));
  const kernel = elfImage({ segments: [{ physical: 0x4000, data }] });
  loadKernel(memory, { kernel, cmdline: 'x', initrd: text('i') });
  assert.deepEqual(memory.view(0x4000, data.length), data);
});

test('module lists are split at commas; two commas are one', () => {
  assert.deepEqual(parseModuleList('a.bin x y,b,,c.bin,, ,d'), [
    { path: 'a.bin', cmdline: 'a.bin x y' },
    { path: 'b,c.bin,', cmdline: 'b,c.bin,' },
    { path: 'd', cmdline: 'd' },
  ]);
  assert.deepEqual(parseModuleList(''), []);
});

test('what cannot be started is refused with its reason', () => {
  const memory = new FlatMemory(4 * MIB);
  const start = (kernel: Uint8Array, initrd?: Uint8Array) => () =>
    loadKernel(memory, { kernel, ...(initrd === undefined ? {} : { initrd }) });
  const headed = (flags: number): Uint8Array => joined(multibootHeader(flags), new Uint8Array(16));
  refused('KERNEL_NO_ENTRY', start(elfImage()));
  refused('KERNEL_NO_ENTRY', start(elfImage({ machine: 183, pvhEntry: 1 })));
  refused('KERNEL_TOO_SHORT', start(elfImage({ pvhEntry: 0x100000 }).subarray(0, 50)));
  refused('KERNEL_MALFORMED', start(elfImage({ pvhEntry: 0x100000 }).subarray(0, 120)));
  refused(
    'MEMORY_TOO_SMALL',
    start(elfImage({ pvhEntry: 1, segments: [{ physical: 0x3ff000, data: new Uint8Array(4097) }] })),
  );
  refused(
    'MEMORY_TOO_SMALL',
    start(
      elfImage({
        pvhEntry: 1,
        segments: [{ physical: 0x100000, data: new Uint8Array(1), memorySize: 0xf0000000 }],
      }),
    ),
  );
  refused(
    'KERNEL_MALFORMED',
    start(elfImage({ pvhEntry: 1, segments: [{ physical: 0x9f000, data: new Uint8Array(8192) }] })),
  );
  refused(
    'KERNEL_MALFORMED',
    start(elfImage({ pvhEntry: 1, segments: [{ physical: 0x8000, data: new Uint8Array(8) }] })),
  );
  refused(
    'KERNEL_MALFORMED',
    start(
      elfImage({ pvhEntry: 1, segments: [{ physical: 0x100000, data: new Uint8Array(9), memorySize: 3 }] }),
    ),
  );
  refused('INITRD_TOO_BIG', start(elfImage({ pvhEntry: 0x100000 }), new Uint8Array(4 * MIB)));
  refused('KERNEL_NO_ENTRY', start(elfImage({ segments: [{ physical: 0x100000, data: headed(0x8) }] })));
  refused(
    'INITRD_TOO_BIG',
    start(elfImage({ segments: [{ physical: 0x100000, data: headed(0) }] }), new Uint8Array(4 * MIB)),
  );
  refused(
    'KERNEL_MALFORMED',
    start(elfImage({ entry: 5, segments: [{ physical: 0x100000, data: headed(0) }] })),
  );
  refused('KERNEL_NOT_RECOGNIZED', start(headed(0)));
  refused('KERNEL_MALFORMED', start(multibootHeader(0x10000)));
  refused(
    'KERNEL_MALFORMED',
    start(joined(multibootHeader(0x10000, [0x100000, 0x200000, 0, 0, 0]), new Uint8Array(99))),
  );
});

test('any bytes in headers, program headers and notes are refused or loaded, never anything else', () => {
  const memory = new FlatMemory(4 * MIB);
  const bases = [
    elfImage({ pvhEntry: 0x100000 }),
    elfImage({ bits: 64, pvhEntry: 0x100000 }),
    elfImage({ segments: [{ physical: 0x100000, data: joined(multibootHeader(0), new Uint8Array(64)) }] }),
    joined(multibootHeader(0x10000, [0x100000, 0x100000, 0, 0, 0x100000]), new Uint8Array(64)),
  ];
  const byte = fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));
  const damage = fc.array(fc.tuple(fc.nat(220), byte), { maxLength: 10 });
  fc.assert(
    fc.property(fc.nat(3), damage, fc.option(fc.nat(300)), (base, changes, cut) => {
      const kernel = bases[base].slice(0, cut ?? undefined);
      for (const [at, value] of changes) if (at < kernel.length) kernel[at] = value;
      try {
        loadKernel(memory, { kernel, cmdline: 'x' });
      } catch (error) {
        assert.ok(error instanceof BootError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
