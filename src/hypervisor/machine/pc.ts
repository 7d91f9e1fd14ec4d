import type { DiskBackend } from '../backends/disk.ts';
import type { DriveTraffic } from '../backends/drive-traffic.ts';
import type { KeyboardInput, PointerInput } from '../backends/input.ts';
import type { Screen } from '../backends/screen.ts';
import type { ByteInput, ByteSink } from '../backends/streams.ts';
import { AcpiPm } from '../chipset/acpi.ts';
import { InterruptBus } from '../chipset/apicbus.ts';
import { Hpet } from '../chipset/hpet.ts';
import { IoApic } from '../chipset/ioapic.ts';
import { LocalApic } from '../chipset/lapic.ts';
import { fanOut, SwitchedLine, WiredOr } from '../chipset/lines.ts';
import { assignResources, HostBridge, IsaBridge, PciRoot } from '../chipset/pci.ts';
import { DescribedFunction } from '../chipset/pci-described.ts';
import { PicPair } from '../chipset/pic.ts';
import { Pit } from '../chipset/pit.ts';
import { Rtc } from '../chipset/rtc.ts';
import { SystemControl } from '../chipset/sysctl.ts';
import { PHYSICAL_ADDRESS_BITS } from '../cpu/system/cpuid.ts';
import { DEBUG_CONSOLE_BASE, DEBUG_CONSOLE_LENGTH, DebugConsole } from '../devices/debug-console.ts';
import { DEBUG_EXIT_BASE, DEBUG_EXIT_LENGTH, DebugExit } from '../devices/debug-exit.ts';
import { FwCfg, type FwCfgFile } from '../devices/fw-cfg.ts';
import type { AtaDisk } from '../devices/ide/ata-disk.ts';
import type { Tray } from '../devices/ide/tray.ts';
import { Ps2 } from '../devices/ps2/ps2.ts';
import type { BackdoorRegisters } from '../devices/ps2/vmmouse.ts';
import { SERIAL_IO_LENGTH, Serial16550 } from '../devices/serial.ts';
import { TestDevice } from '../devices/test-device.ts';
import { Vga, type VgaOptions } from '../devices/vga/vga.ts';
import { VirtioBlock } from '../devices/virtio/block.ts';
import { VirtioConsole } from '../devices/virtio/console.ts';
import type { VirtioDevice } from '../devices/virtio/device.ts';
import { VirtioEntropy } from '../devices/virtio/entropy.ts';
import { VirtioPci } from '../devices/virtio/transport.ts';
import { AddressSpace } from './address-space.ts';
import { type BootDevice, type BootPlace, bootOrder } from './boot-order.ts';
import type { Door, DoorPort } from './door.ts';
import { buildIde, IDE_PLACES, type IdeDevices } from './ide.ts';
import type { IrqLine } from './irq.ts';
import type { GuestLog } from './log.ts';
import type { GuestMemory } from './memory.ts';
import type { ShadowSegment } from './shadow-ram.ts';
import type { Tsc } from './tsc.ts';

/** What a guest does to its machine as a whole. */
export interface PcEvents {
  powerOff(): void;
  /** Of the processor alone, or of everything: here both begin the machine anew. */
  reset(): void;
  /** To RAM (S3): the processor stops behind the access that asks for it. */
  suspend(): void;
  /** What ends that. */
  resume(): void;
  debugExit(value: number): void;
  /** The local APIC has something for the processor. */
  wake(): void;
  a20(open: boolean): void;
  /** The guest waits for the host by asking again and again: the event loop may have its turn. */
  polls(): void;
}

export interface PcDisk {
  readonly backend: DiskBackend;
  readonly bus: 'virtio' | 'ide';
}

/** What a VGA stands on. */
export interface PcVideo extends Pick<VgaOptions, 'vram' | 'dirty' | 'onFramebuffer'> {
  /** Its BIOS, for firmware to find in its expansion ROM; of any length. */
  readonly bios: Uint8Array | undefined;
}

/** What a PC has that starts from firmware. */
export interface PcFirmware {
  /** By fw_cfg; `order` are the devices to boot from, as firmware names them. */
  readonly files: (order: readonly string[]) => readonly FwCfgFile[];
  readonly bootFrom: readonly BootDevice[] | undefined;
  readonly bootMenu: boolean;
  readonly serialConsole: boolean;
  /** Lines that firmware writes for whoever looks after the machine. */
  readonly message: (line: string) => void;
  /** The host bridge routes C0000h-FFFFFh anew. */
  readonly onShadow: (segments: readonly ShadowSegment[]) => void;
}

export interface PcOptions {
  readonly door: Door;
  readonly memory: GuestMemory;
  readonly tsc: Tsc;
  readonly log: GuestLog;
  readonly events: PcEvents;
  readonly serial: ByteSink;
  readonly disks: readonly PcDisk[];
  /** A CD-ROM drive, with this disc in it or none. */
  readonly cdrom?: IdeDevices['cdrom'];
  /** A virtio console beside the serial port. */
  readonly console?: ByteSink | undefined;
  readonly debugExit: boolean;
  readonly testDevice: boolean;
  /** With it, a VGA. */
  readonly video?: PcVideo | undefined;
  /** Without it the PC comes up as firmware leaves it, for a kernel that is started directly. */
  readonly firmware?: PcFirmware | undefined;
  /** Of the processor that accesses a port, for the backdoor of the absolute pointer. */
  readonly registers: BackdoorRegisters;
}

/** The chipset and devices of the PC, wired. */
export interface Pc {
  readonly pio: AddressSpace;
  readonly mmio: AddressSpace;
  readonly lapic: LocalApic;
  readonly powerButton: DoorPort<null>;
  readonly serial: Serial16550;
  readonly consoleInput: ByteInput | undefined;
  /** Does what firmware does: gives PCI functions their addresses and interrupts, and turns them on. */
  assignResources(): void;
  /** The CD-ROM drive's, for the host to change the disc. */
  readonly tray: Tray | undefined;
  /** Of the disks, in the order in which they were given. */
  readonly disks: readonly { readonly traffic: DriveTraffic }[];
  readonly cdrom: { readonly traffic: DriveTraffic } | undefined;
  readonly screen: Screen | undefined;
  readonly keyboard: KeyboardInput;
  readonly pointer: PointerInput;
  /** Takes the power from all that a sleep in S3 takes it from: everything is reset but RAM, clock and wake logic. */
  sleep(): void;
  /** Power comes back. */
  wake(): void;
  /** What devices hold back for a batch goes out: called between slices. */
  flush(): void;
  /** Resolves when no disk request is under way; the door must go on delivering until then. */
  quiesce(): Promise<void>;
}

const COM1 = { base: 0x3f8, irq: 4 } as const;
const PCI_IO = { base: 0xc000, limit: 0x1_0000 } as const;
const PCI_MEMORY = { base: 0xc000_0000, limit: 0xfec0_0000 } as const;
const FIRST_SLOT = 2;
/** The CMOS byte that tells firmware why the processor was reset, and what it says after S3. */
const CMOS_SHUTDOWN = 0x0f;
const SHUTDOWN_S3 = 0xfe;
/** I/O APIC inputs that HPET timers may be routed to: those of the 8254 and the RTC, and what nobody else has. */
const HPET_ROUTES = [2, 8, 16, 17, 18, 19, 20, 21, 22, 23] as const;

/** Builds the PC of the platform map (docs/architecture.md): i440FX and PIIX, as guests know it. */
export function buildPc(options: PcOptions): Pc {
  const { door, events, tsc, firmware } = options;
  const pio = new AddressSpace();
  const mmio = new AddressSpace();
  const bus = new InterruptBus();
  const lapic = new LocalApic({
    id: 0,
    bootstrap: true,
    bus,
    clock: door.clock,
    tsc,
    onWake: events.wake,
    physicalBits: PHYSICAL_ADDRESS_BITS,
  });
  lapic.attach(mmio);
  bus.addLocalApic(lapic);
  const ioapic = new IoApic({ bus });
  ioapic.attach(mmio);
  bus.addIoApic(ioapic);
  const pic = new PicPair({ output: lapic.lint0, levelIrqs: [9, 10, 11] });
  pic.attach(pio);
  bus.connectPic(pic);
  const pins = Array.from({ length: 24 }, (_, pin) => new WiredOr(ioapic.line(pin)));
  const pin = (n: number): IrqLine => {
    const wire = pins[n];
    if (!wire) throw new RangeError(`no I/O APIC input ${n}`);
    return wire.input();
  };
  const wires = Array.from(
    { length: 16 },
    (_, irq) => new WiredOr(fanOut(pic.line(irq), pin(irq === 0 ? 2 : irq))),
  );
  const isaIrq = (irq: number): IrqLine => {
    const wire = wires[irq];
    if (!wire) throw new RangeError(`no ISA interrupt ${irq}`);
    return wire.input();
  };
  const pitLine = new SwitchedLine(isaIrq(0));
  const pit = new Pit({ clock: door.clock, irq0: pitLine });
  pit.attach(pio);
  const rtcLine = new SwitchedLine(isaIrq(8));
  const rtc = new Rtc({
    door,
    irq: rtcLine,
    ramBytes: options.memory.size,
    onAlarm: () => acpi.rtcAlarm(),
  });
  rtc.attach(pio);
  const hpet = new Hpet({
    clock: door.clock,
    routes: new Map(HPET_ROUTES.map((route) => [route, pin(route)])),
    legacy: [isaIrq(0), isaIrq(8)],
    onLegacy: (active) => {
      pitLine.switch(!active);
      rtcLine.switch(!active);
    },
  });
  hpet.attach(mmio);
  const control = new SystemControl({ onReset: () => events.reset(), onA20: (open) => events.a20(open) });
  control.attach(pio);

  const isa = new IsaBridge({ isaLine: isaIrq });
  const pci = new PciRoot({
    io: pio,
    memory: mmio,
    pirq: (i) => isa.pirq(i),
    resetControl: control.resetControl,
  });
  const acpi = new AcpiPm({
    clock: door.clock,
    sci: isaIrq(9),
    onPowerOff: () => events.powerOff(),
    onSuspend: () => events.suspend(),
    onWake: () => events.resume(),
  });
  const powerButton = door.port<null>('power-button', () => acpi.pressPowerButton());
  const bridge = new HostBridge(firmware && { onPam: firmware.onShadow });
  pci.add(0, 0, bridge);
  pci.add(1, 0, isa);
  pci.add(1, 3, acpi);
  const ideDisks = options.disks.filter(({ bus }) => bus === 'ide');
  const ide =
    ideDisks.length > 0 || options.cdrom
      ? buildIde({
          disks: ideDisks.map(({ backend }) => backend),
          cdrom: options.cdrom,
          door,
          memory: options.memory,
          log: options.log,
          irqs: [isaIrq(14), isaIrq(15)],
          onPoll: () => events.polls(),
        })
      : undefined;
  if (ide) pci.add(1, 1, ide.fn);

  const serial = new Serial16550({ name: 'serial0', door, irq: isaIrq(COM1.irq), sink: options.serial });
  pio.claim('serial0', COM1.base, SERIAL_IO_LENGTH, serial);

  const ps2 = new Ps2({
    door,
    keyboardIrq: isaIrq(1),
    mouseIrq: isaIrq(12),
    onReset: () => events.reset(),
    a20: { open: () => control.a20, set: (open) => control.setA20(open) },
    registers: options.registers,
  });
  ps2.attach(pio);

  let slot = FIRST_SLOT;
  let screen: Screen | undefined;
  if (options.video) {
    const { bios, ...video } = options.video;
    const vga = new Vga({ ...video, door, ...(bios && { rom: expansionRom(bios) }) });
    vga.attach(pio, mmio);
    pci.add(slot++, 0, new DescribedFunction(vga.descriptor, bus, () => vga.reset()));
    screen = vga.screen;
  }
  /** Gives the slot. */
  const plug = (name: string, device: VirtioDevice): number => {
    const virtio = new VirtioPci({ name, device, memory: options.memory, log: options.log });
    const fn = new DescribedFunction(virtio.descriptor, bus, () => virtio.pciReset());
    virtio.attach(fn.slot);
    pci.add(slot, 0, fn);
    return slot++;
  };
  plug('virtio-rng0', new VirtioEntropy(door));
  const blocks: VirtioBlock[] = [];
  const ideFree = [...IDE_PLACES.disks];
  const idePlugged = [...(ide?.disks ?? [])];
  const drives: (VirtioBlock | AtaDisk)[] = [];
  const places = options.disks.flatMap(({ backend, bus }): readonly BootPlace[] => {
    if (bus === 'ide') {
      drives.push(...idePlugged.splice(0, 1));
      return ideFree.splice(0, 1);
    }
    const name = `virtio-blk${blocks.length}`;
    const block = new VirtioBlock({ name, door, disk: backend });
    blocks.push(block);
    drives.push(block);
    return [{ bus, slot: plug(name, block) }];
  });
  let console: VirtioConsole | undefined;
  if (options.console) {
    console = new VirtioConsole({ name: 'virtio-console0', door, sink: options.console });
    plug('virtio-console0', console);
  }
  const cdrom = options.cdrom ? [IDE_PLACES.cdrom] : [];
  const files = firmware?.files(bootOrder({ disk: places, cdrom }, firmware.bootFrom)) ?? [];
  new FwCfg({
    memory: options.memory,
    vcpus: 1,
    files,
    bootMenu: firmware?.bootMenu ?? false,
    graphic: firmware !== undefined && !firmware.serialConsole,
  }).attach(pio);
  if (firmware) {
    const console = new DebugConsole(firmware.message);
    pio.claim('debug-console', DEBUG_CONSOLE_BASE, DEBUG_CONSOLE_LENGTH, console);
  }
  if (options.debugExit) {
    pio.claim(
      'debug-exit',
      DEBUG_EXIT_BASE,
      DEBUG_EXIT_LENGTH,
      new DebugExit((value) => events.debugExit(value)),
    );
  }
  if (options.testDevice) {
    const lines = Array.from({ length: 24 }, (_, i) => (i < 16 ? isaIrq(i) : pin(i)));
    new TestDevice({ pio, mmio, memory: options.memory, lines });
  }
  return {
    pio,
    mmio,
    lapic,
    powerButton,
    serial,
    consoleInput: console?.input,
    assignResources: () => assignResources(pci, { io: PCI_IO, memory: PCI_MEMORY }),
    tray: ide?.tray,
    disks: drives,
    cdrom: ide?.cdrom,
    screen,
    keyboard: ps2.keyboard,
    pointer: ps2.pointer,
    sleep: () => {
      const shadow = bridge.save();
      // Devices first, so that the controllers behind them see their wires released.
      pci.reset();
      // Firmware goes on from its shadow, by what it finds in CMOS: see SHUTDOWN_S3.
      if (firmware) bridge.restore(shadow);
      for (const device of [ps2, serial, hpet, pit, control, pic, ioapic, lapic]) device.reset();
      rtc.onBattery = true;
      if (firmware) rtc.setByte(CMOS_SHUTDOWN, SHUTDOWN_S3);
    },
    wake: () => {
      rtc.reset();
      rtc.onBattery = false;
    },
    flush: () => {
      serial.flush();
      console?.flush();
    },
    quiesce: async () => {
      await Promise.all([...blocks.map((block) => block.quiesce()), ide?.controller.quiesce()]);
    },
  };
}

/** What is put into an expansion ROM, which has a power of two of bytes, at least 2 KiB. */
function expansionRom(image: Uint8Array): Uint8Array {
  const rom = new Uint8Array(2 ** Math.ceil(Math.log2(Math.max(image.length, 2048))));
  rom.set(image);
  return rom;
}
