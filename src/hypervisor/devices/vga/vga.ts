import type { Screen } from '../../backends/screen.ts';
import type { AccessSize, Bus, BusDevice } from '../../machine/bus.ts';
import type { Door } from '../../machine/door.ts';
import type { Stateful } from '../../machine/state.ts';
import type { PciDescriptor } from '../pci.ts';
import { type DirtyPages, VRAM_PAGE } from './dirty-pages.ts';
import { DISPI } from './dispi.ts';
import { edid } from './edid.ts';
import type { VideoMemory } from './pixels.ts';
import { VGA_PORTS, VgaRegisters, type VgaRegistersState } from './registers.ts';
import { VgaScreen } from './screen.ts';
import { MemoryWindow, VGA_WINDOW } from './window.ts';

/** Bytes of video memory. */
export const VRAM_SIZE = 16 << 20;
const DISPI_PORTS = { base: 0x1ce, length: 4 } as const;

/** Layout of BAR 2 (QEMU, docs/specs/standard-vga.rst). */
const MMIO = {
  length: 0x1000,
  ports: 0x400,
  portsLength: 0x20,
  dispi: 0x500,
  dispiLength: 2 * (DISPI.memory64K + 1),
  /** How many bytes of registers there are from here on: two registers of 32 bits. */
  extended: 0x600,
  extendedLength: 8,
  byteOrder: 0x604,
} as const;
/** The first port that BAR 2 has. */
const MMIO_FIRST_PORT = 0x3c0 - VGA_PORTS.base;
const BYTE_ORDER = { little: 0x1e1e1e1e, big: 0xbebebebe } as const;

export interface VgaOptions {
  readonly door: Door;
  /** 16 MiB of zeroes, from a multiple of 4 KiB of its buffer on. */
  readonly vram: Uint8Array<SharedArrayBuffer>;
  /** What the processor writes to `vram` by itself; `NO_DIRECT_WRITES` where it does not. */
  readonly dirty: DirtyPages;
  /** The video BIOS as it stands in the expansion ROM: a power of two of bytes, at least 2 KiB. */
  readonly rom?: Uint8Array;
  /** Told where the linear framebuffer answers now, on each change; undefined: nowhere. */
  readonly onFramebuffer?: (base: number | undefined) => void;
}

export type VgaState = {
  readonly registers: VgaRegistersState;
  readonly latches: number;
  readonly bigEndian: boolean;
};

/**
 * A VGA with the VBE extensions of Bochs, as PCI function 1234:1111: QEMU's
 * "std VGA", which vgabios-stdvga and Linux's bochs-drm, vga16fb, efifb and
 * simplefb know. Source: QEMU, docs/specs/standard-vga.rst; for the parts see
 * registers.ts, dispi.ts, window.ts and mode.ts.
 *
 * The first 256 KiB of video memory are the VGA's planes, four bytes an
 * address. Video memory is not part of the state: whoever owns it saves it.
 */
export class Vga implements Stateful<VgaState> {
  readonly stateVersion = 1;
  readonly screen: Screen;
  readonly descriptor: PciDescriptor;
  readonly #registers: VgaRegisters;
  readonly #window: MemoryWindow;
  readonly #screen: VgaScreen;
  readonly #memory: VideoMemory;
  readonly #edid = edid();

  constructor(options: VgaOptions) {
    const { vram } = options;
    if (vram.length !== VRAM_SIZE || vram.byteOffset % VRAM_PAGE !== 0)
      throw new RangeError(`video memory is ${VRAM_SIZE} bytes on a page boundary, not ${vram.length}`);
    this.#memory = {
      bytes: vram,
      words: new Uint32Array(vram.buffer, vram.byteOffset, vram.length / 4),
      pages: new Uint8Array(vram.length / VRAM_PAGE),
    };
    this.#registers = new VgaRegisters({
      clock: options.door.clock,
      memory: vram.length,
      onChange: () => {
        this.#window.configure();
        this.#screen.modeChanged();
      },
      onColours: () => this.#screen.coloursChanged(),
      onClear: (bytes) => {
        vram.fill(0, 0, bytes);
        this.#memory.pages.fill(1, 0, Math.ceil(bytes / VRAM_PAGE));
      },
    });
    this.#window = new MemoryWindow(this.#registers, this.#memory);
    this.#screen = new VgaScreen({
      registers: this.#registers,
      memory: this.#memory,
      shared: vram.buffer,
      dirty: options.dirty,
    });
    this.screen = this.#screen;
    this.descriptor = this.#describe(options);
  }

  /** Claims the ports and the window that a VGA has apart from PCI. */
  attach(pio: Bus, mmio: Bus): void {
    pio.claim('vga', VGA_PORTS.base, VGA_PORTS.length, {
      read: (offset, size) => this.#readPorts(offset, size),
      write: (offset, size, value) => this.#writePorts(offset, size, value),
    });
    pio.claim('vbe', DISPI_PORTS.base, DISPI_PORTS.length, {
      read: (offset, size) => this.#readDispiPorts(offset, size),
      write: (offset, size, value) => this.#writeDispiPorts(offset, size, value),
    });
    mmio.claim('vga window', VGA_WINDOW.base, VGA_WINDOW.length, this.#window);
  }

  /** Hardware reset; video memory keeps what it has. */
  reset(): void {
    this.#screen.bigEndian = false;
    this.#registers.reset();
  }

  save(): VgaState {
    return {
      registers: this.#registers.save(),
      latches: this.#window.latches,
      bigEndian: this.#screen.bigEndian,
    };
  }

  restore(state: VgaState): void {
    this.#registers.restore(state.registers);
    this.#window.latches = state.latches;
    this.#screen.bigEndian = state.bigEndian;
    this.#screen.forget();
  }

  #describe({ rom, onFramebuffer }: VgaOptions): PciDescriptor {
    return {
      name: 'vga',
      vendorId: 0x1234,
      deviceId: 0x1111,
      revision: 2,
      classCode: 0x030000,
      subsystemVendorId: 0x1af4,
      subsystemId: 0x1100,
      bars: [
        {
          index: 0,
          size: this.#memory.bytes.length,
          prefetchable: true,
          device: linearMemory(this.#memory),
          ...(onFramebuffer && { onMove: onFramebuffer }),
        },
        {
          index: 2,
          size: MMIO.length,
          device: {
            read: (offset, size) => this.#readMmio(offset, size),
            write: (offset, size, value) => this.#writeMmio(offset, size, value),
          },
        },
      ],
      ...(rom && { rom: { size: rom.length, device: readOnlyMemory(rom) } }),
      capabilities: [],
    };
  }

  // Ports: a wider access is as many byte accesses, lowest first, so that an
  // index and its data can be written at once.

  #readPorts(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#registers.read(offset + i) << (8 * i);
    return value >>> 0;
  }

  #writePorts(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) this.#registers.write(offset + i, (value >>> (8 * i)) & 0xff);
  }

  /** 1CEh is the index, 1CFh and 1D0h are the data, 16 bits each. */
  #readDispiPorts(offset: number, size: AccessSize): number {
    const { dispi } = this.#registers;
    if (size === 1) return 0xff;
    const data = this.#registers.readDispi(dispi.index);
    if (offset > 0) return size === 2 ? data : ((0xffff << 16) | data) >>> 0;
    return size === 2 ? dispi.index : (dispi.index | (data << 16)) >>> 0;
  }

  #writeDispiPorts(offset: number, size: AccessSize, value: number): void {
    const { dispi } = this.#registers;
    if (size === 1) return;
    if (offset > 0) {
      if (offset < 3) this.#registers.writeDispi(dispi.index, value & 0xffff);
      return;
    }
    dispi.index = value & 0xffff;
    if (size === 4) this.#registers.writeDispi(dispi.index, value >>> 16);
  }

  #readMmio(offset: number, size: AccessSize): number {
    if (offset < MMIO.ports) {
      let value = 0;
      for (let i = 0; i < size; i++) value |= (this.#edid[offset + i] ?? 0) << (8 * i);
      return value >>> 0;
    }
    if (offset < MMIO.ports + MMIO.portsLength)
      return this.#readPorts(MMIO_FIRST_PORT + offset - MMIO.ports, size);
    if (offset >= MMIO.dispi && offset < MMIO.dispi + MMIO.dispiLength) {
      const index = (offset - MMIO.dispi) >> 1;
      const value = this.#registers.readDispi(index);
      if (size === 1) return offset & 1 ? value >> 8 : value & 0xff;
      return size === 2 ? value : (value | (this.#registers.readDispi(index + 1) << 16)) >>> 0;
    }
    if (offset >= MMIO.extended && offset < MMIO.extended + MMIO.extendedLength) {
      const order = this.#screen.bigEndian ? BYTE_ORDER.big : BYTE_ORDER.little;
      const register = offset < MMIO.byteOrder ? MMIO.extendedLength : order;
      const value = register >>> (8 * (offset & 3));
      return size === 4 ? value : value & (size === 2 ? 0xffff : 0xff);
    }
    return 0;
  }

  #writeMmio(offset: number, size: AccessSize, value: number): void {
    if (offset >= MMIO.ports && offset < MMIO.ports + MMIO.portsLength) {
      this.#writePorts(MMIO_FIRST_PORT + offset - MMIO.ports, size, value);
    } else if (offset >= MMIO.dispi && offset < MMIO.dispi + MMIO.dispiLength) {
      if (size === 1 || offset & 1) return;
      const index = (offset - MMIO.dispi) >> 1;
      this.#registers.writeDispi(index, value & 0xffff);
      if (size === 4) this.#registers.writeDispi(index + 1, value >>> 16);
    } else if (offset === MMIO.byteOrder && size === 4) {
      if (value === BYTE_ORDER.big) this.#screen.bigEndian = true;
      else if (value === BYTE_ORDER.little) this.#screen.bigEndian = false;
    }
  }
}

/** Video memory as a device: for whoever does not map it. */
function linearMemory({ bytes, pages }: VideoMemory): BusDevice {
  return {
    read(offset, size) {
      let value = 0;
      for (let i = 0; i < size; i++) value |= (bytes[offset + i] ?? 0xff) << (8 * i);
      return value >>> 0;
    },
    write(offset, size, value) {
      for (let i = 0; i < size; i++) bytes[offset + i] = value >>> (8 * i);
      pages[offset >>> 12] = 1;
      pages[(offset + size - 1) >>> 12] = 1;
    },
  };
}

function readOnlyMemory(bytes: Uint8Array): BusDevice {
  return {
    read(offset, size) {
      let value = 0;
      for (let i = 0; i < size; i++) value |= (bytes[offset + i] ?? 0xff) << (8 * i);
      return value >>> 0;
    },
    write() {},
  };
}
