import { CPU_SIGNATURE, type CpuidTable } from '../cpu/system/cpuid.ts';
import type { FwCfgFile } from '../devices/fw-cfg.ts';
import { acpiFiles } from '../firmware/acpi/loader.ts';
import type { AcpiPlatform } from '../firmware/acpi/platform.ts';
import { E820_RAM } from '../firmware/memory-map.ts';
import { smbiosFiles } from '../firmware/smbios.ts';

/** What firmware is told of the machine it runs in. */
export interface FirmwareSettings {
  readonly ramBytes: number;
  readonly tscHz: number;
  readonly cpuid: CpuidTable;
  /** What differs from the platform's defaults. */
  readonly platform: Partial<AcpiPlatform>;
  /** Devices to boot from, the first first, as Open Firmware names them: `/pci@i0cf8/ide@1,1/drive@0/disk@0`. */
  readonly bootOrder: readonly string[];
  /** Milliseconds that the boot menu's prompt stays; absent: firmware's own, 2500. */
  readonly bootMenuWait?: number | undefined;
}

/** The files that SeaBIOS reads through fw_cfg (its docs/Runtime_config.md). */
export function firmwareFiles(settings: FirmwareSettings): FwCfgFile[] {
  const { ramBytes, tscHz, cpuid, platform, bootOrder, bootMenuWait } = settings;
  const text = (lines: readonly string[]): Uint8Array => new TextEncoder().encode(`${lines.join('\n')}\0`);
  return [
    { name: 'etc/e820', data: memoryMap(ramBytes) },
    ...acpiFiles(platform),
    ...smbiosFiles({
      memoryMiB: Math.floor(ramBytes / 2 ** 20),
      vcpus: 1,
      signature: CPU_SIGNATURE,
      features: cpuid.query(1, 0, { osxsave: false }).edx,
      mhz: Math.min(Math.round(tscHz / 1e6), 0xffff),
    }),
    ...(bootOrder.length === 0 ? [] : [{ name: 'bootorder', data: text(bootOrder) }]),
    // Menu and its wait are numbers of any size, little-endian.
    ...(bootMenuWait === undefined ? [] : [{ name: 'etc/boot-menu-wait', data: u16(bootMenuWait) }]),
  ];
}

/** What RAM there is; what of it firmware keeps to itself it adds. Base, length, type: 20 bytes an entry. */
function memoryMap(ramBytes: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(20));
  view.setBigUint64(8, BigInt(ramBytes), true);
  view.setUint32(16, E820_RAM, true);
  return new Uint8Array(view.buffer);
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8);
}
