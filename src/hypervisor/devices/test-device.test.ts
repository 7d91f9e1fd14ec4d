import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlatMemory, ProbeLine } from '../../../test/support/machine-parts.ts';
import type { AccessSize, Bus, BusDevice, BusRange } from '../machine/bus.ts';
import { DebugExit, debugExitStatus } from './debug-exit.ts';
import { TestDevice } from './test-device.ts';

/** An address space of fixed claims. */
class FixedBus implements Bus {
  readonly #claims: { base: number; length: number; device: BusDevice }[] = [];

  claim(name: string, base: number | undefined, length: number, device: BusDevice): BusRange {
    assert.ok(base !== undefined);
    this.#claims.push({ base, length, device });
    return { name, base, length, move() {}, disable() {} };
  }

  read(address: number, size: AccessSize): number {
    const hit = this.#claims.find((c) => address >= c.base && address < c.base + c.length);
    return hit ? hit.device.read(address - hit.base, size) : 2 ** (8 * size) - 1;
  }

  write(address: number, size: AccessSize, value: number): void {
    const hit = this.#claims.find((c) => address >= c.base && address < c.base + c.length);
    hit?.device.write(address - hit.base, size, value);
  }
}

function build() {
  const pio = new FixedBus();
  const mmio = new FixedBus();
  const memory = new FlatMemory(1 << 20);
  const lines = Array.from({ length: 24 }, () => new ProbeLine());
  const device = new TestDevice({ pio, mmio, memory, lines });
  return { pio, mmio, memory, lines, device };
}

test('data ports keep what is written at any width, and show it byte by byte at 0xE8', () => {
  const { pio } = build();
  pio.write(0xe0, 4, 0x12345678);
  assert.equal(pio.read(0xe0, 4), 0x12345678);
  pio.write(0xe1, 1, 0xaa);
  assert.equal(pio.read(0xe0, 2), 0xaa78);
  assert.equal(pio.read(0xeb, 1), 0x12);
  pio.write(0xe2, 2, 0xbeef);
  assert.equal(pio.read(0xe0, 4), 0xbeefaa78);
});

test('interrupt lines follow their ports', () => {
  const { pio, lines } = build();
  pio.write(0x2000 + 11, 1, 1);
  assert.deepEqual(lines.map((l) => l.level).indexOf(true), 11);
  pio.write(0x2000 + 11, 1, 0);
  assert.equal(lines[11].level, false);
  pio.write(0x2017, 1, 1);
  assert.equal(lines[23].level, true);
});

test('scratch memory-mapped I/O, to its end', () => {
  const { mmio } = build();
  mmio.write(0xff000000, 4, 0xdeadbeef);
  assert.equal(mmio.read(0xff000001, 2), 0xadbe);
  mmio.write(0xff00ffff, 4, 0x11223344);
  assert.equal(mmio.read(0xff00ffff, 1), 0x44);
  assert.equal(mmio.read(0xff00fffe, 4) >>> 0, 0xffff4400);
});

test('the flush port drops the page that holds an address', () => {
  const { pio, memory } = build();
  pio.write(0xe4, 4, 0x12345);
  assert.deepEqual(memory.told, [{ gpa: 0x12000, length: 4096 }]);
});

test('state goes over, lines included', () => {
  const a = build();
  a.pio.write(0xe0, 4, 7);
  a.pio.write(0x2005, 1, 1);
  a.mmio.write(0xff000010, 1, 9);
  const b = build();
  b.device.restore(structuredClone(a.device.save()));
  assert.deepEqual(b.device.save(), a.device.save());
  assert.equal(b.lines[5].level, true);
});

test('debug exit hands over the value and has the exit status of QEMU', () => {
  const values: number[] = [];
  const port = new DebugExit((value) => values.push(value));
  port.write(0, 4, 5);
  assert.deepEqual(values, [5]);
  assert.equal(port.read(0, 1), 0);
  assert.deepEqual([0, 5, 0x7f, 0xffffffff].map(debugExitStatus), [1, 11, 255, 255]);
});
