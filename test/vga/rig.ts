import type { ScreenWatch } from '../../src/hypervisor/backends/screen.ts';
import { type DirtyPages, NO_DIRECT_WRITES } from '../../src/hypervisor/devices/vga/dirty-pages.ts';
import { Vga, VRAM_SIZE } from '../../src/hypervisor/devices/vga/vga.ts';
import { AddressSpace } from '../../src/hypervisor/machine/address-space.ts';
import type { AccessSize } from '../../src/hypervisor/machine/bus.ts';
import { HandDoor } from '../support/machine-parts.ts';
import type { Operation } from './program.ts';

/** Where the rig puts the BARs. */
export const FRAME_BASE = 0xe000_0000;
export const MMIO_BASE = 0xf000_0000;

/** A video adapter on buses of its own. */
export class VgaRig {
  readonly door = new HandDoor();
  readonly pio = new AddressSpace();
  readonly mmio = new AddressSpace();
  readonly vram = new Uint8Array(new SharedArrayBuffer(VRAM_SIZE));
  readonly vga: Vga;

  constructor(dirty: DirtyPages = NO_DIRECT_WRITES) {
    this.vga = new Vga({ door: this.door, vram: this.vram, dirty });
    this.vga.attach(this.pio, this.mmio);
    for (const { index, size, device } of this.vga.descriptor.bars)
      this.mmio.claim(`bar${index}`, index === 0 ? FRAME_BASE : MMIO_BASE, size, device);
  }

  run(operations: readonly Operation[]): void {
    for (const operation of operations) this.#do(operation);
  }

  #do(operation: Operation): void {
    switch (operation.kind) {
      case 'out8':
        return this.pio.write(operation.port, 1, operation.value);
      case 'out16':
        return this.pio.write(operation.port, 2, operation.value);
      case 'in8':
        return void this.pio.read(operation.port, 1);
      case 'load8':
        return void this.mmio.read(operation.address, 1);
      case 'store':
        operation.bytes.forEach((byte, i) => this.mmio.write(operation.address + i, 1, byte));
        return;
      case 'frame':
        operation.bytes.forEach((byte, i) => this.mmio.write(FRAME_BASE + operation.offset + i, 1, byte));
    }
  }

  in8(port: number): number {
    return this.pio.read(port, 1);
  }

  mem(address: number, size: AccessSize = 1): number {
    return this.mmio.read(address, size);
  }

  watch(): ScreenWatch {
    return this.vga.screen.watch();
  }
}
