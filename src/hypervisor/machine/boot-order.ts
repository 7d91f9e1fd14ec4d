/** Where firmware looks for a system. */
export type BootDevice = 'disk' | 'cdrom';

/** Where a device that can be booted from is. */
export type BootPlace =
  | { readonly bus: 'virtio'; readonly slot: number }
  | { readonly bus: 'ide'; readonly channel: 0 | 1; readonly unit: 0 | 1 };

/** Slot and function of the PCI IDE controller. */
const IDE = '1,1';

/** A device as firmware's `bootorder` names it (Open Firmware's device paths, as SeaBIOS's src/boot.c reads them). */
export function bootPath(place: BootPlace): string {
  if (place.bus === 'virtio') return `/pci@i0cf8/scsi@${place.slot.toString(16)}/disk@0,0`;
  return `/pci@i0cf8/ide@${IDE}/drive@${place.channel}/disk@${place.unit}`;
}

/** All that can be booted from: the kinds in the order asked for, those not asked for behind them. */
export function bootOrder(
  places: { readonly disk: readonly BootPlace[]; readonly cdrom: readonly BootPlace[] },
  wanted: readonly BootDevice[] = [],
): string[] {
  const kinds = new Set<BootDevice>([...wanted, 'disk', 'cdrom']);
  return [...kinds].flatMap((kind) => places[kind].map(bootPath));
}
