import * as aml from './aml.ts';
import type { AcpiPlatform } from './platform.ts';

type Aml = aml.Aml;

const SLOTS = 32;
const PINS = 4;
/** Address of all functions of a slot, ACPI 6.5, 6.1.1 and 6.2.13. */
const ALL_FUNCTIONS = 0xffff;
const LINKS = ['LNKA', 'LNKB', 'LNKC', 'LNKD'] as const;
/** Present, enabled, functioning; not shown in a user interface (6.3.7). */
const PRESENT = 0x0b;

/** Definition block of the DSDT: the PCI bus, what is on its ISA bridge, the processors, S5 and S3. */
export function dsdtBody(platform: AcpiPlatform): Uint8Array {
  const sleepState = (name: string, type: number): Aml =>
    aml.define(name, aml.pack(aml.integer(type), aml.integer(type), aml.integer(0), aml.integer(0)));
  const terms: Aml[] = [
    aml.scope(
      '\\_SB',
      ...platform.apicIds.map(processor),
      pciBus(platform),
      ...LINKS.map((_, i) => link(platform, i)),
      ...(platform.hpet === undefined ? [] : [hpet(platform.hpet.base)]),
    ),
    ...(platform.sleepTypeRam === undefined ? [] : [sleepState('\\_S3', platform.sleepTypeRam)]),
    sleepState('\\_S5', platform.sleepTypeOff),
  ];
  return Uint8Array.from(terms.flat());
}

function processor(_apicId: number, index: number): Aml {
  const id = index.toString(16).toUpperCase().padStart(3, '0');
  return aml.device(
    `C${id}`,
    aml.define('_HID', aml.string('ACPI0007')),
    // Equal to the processor UID in the MADT.
    aml.define('_UID', aml.integer(index)),
  );
}

function pciBus(platform: AcpiPlatform): Aml {
  return aml.device(
    'PCI0',
    aml.define('_HID', aml.eisaId('PNP0A03')),
    aml.define('_UID', aml.integer(0)),
    aml.define('_CRS', busWindows(platform)),
    aml.define('_PRT', routing()),
    isaBridge(platform),
  );
}

function busWindows(platform: AcpiPlatform): Aml {
  const { first, last } = platform.pciWindow;
  return aml.resources(
    aml.wordWindow('bus', 0, 255),
    aml.ioPorts(0xcf8, 8),
    aml.wordWindow('io', 0, 0x0cf7),
    aml.wordWindow('io', 0x0d00, 0xffff),
    aml.dwordMemoryWindow(0xa0000, 0xbffff),
    aml.dwordMemoryWindow(first, last),
  );
}

/** INTx of slot and pin (0 is INTA) to PIRQ: `(slot + pin - 1) & 3`. */
function routing(): Aml {
  const entries: Aml[] = [];
  for (let slot = 1; slot < SLOTS; slot++) {
    for (let pin = 0; pin < PINS; pin++) {
      const address = slot * 0x10000 + ALL_FUNCTIONS;
      const source = aml.name(LINKS[(slot + pin - 1) & 3]);
      entries.push(aml.pack(aml.integer(address), aml.integer(pin), source, aml.integer(0)));
    }
  }
  return aml.pack(...entries);
}

/**
 * A PCI interrupt link with one choice. A bare GSI in _PRT would mean active
 * low by PCI's rule; the chipset's lines are active high, and only a link's
 * resources can say so.
 */
function link(platform: AcpiPlatform, index: number): Aml {
  const choice = aml.resources(aml.levelInterrupt(platform.pirq[index]));
  return aml.device(
    LINKS[index],
    aml.define('_HID', aml.eisaId('PNP0C0F')),
    aml.define('_UID', aml.integer(index)),
    aml.define('_STA', aml.integer(PRESENT)),
    aml.define('_PRS', choice),
    aml.define('_CRS', choice),
    aml.method('_SRS', 1),
    aml.method('_DIS', 0),
  );
}

function hpet(base: number): Aml {
  return aml.device(
    'HPET',
    aml.define('_HID', aml.eisaId('PNP0103')),
    aml.define('_UID', aml.integer(0)),
    aml.define('_CRS', aml.resources(aml.fixedMemory(base, 0x400))),
  );
}

function isaBridge(platform: AcpiPlatform): Aml {
  return aml.device(
    'ISA0',
    aml.define('_ADR', aml.integer(0x00010000)),
    isaDevice('RTC0', 'PNP0B00', 0, aml.ioPorts(0x70, 2), aml.isaIrq(8)),
    isaDevice('PIC0', 'PNP0000', 0, aml.ioPorts(0x20, 2), aml.ioPorts(0xa0, 2), aml.isaIrq(2)),
    isaDevice('TMR0', 'PNP0100', 0, aml.ioPorts(0x40, 4), aml.isaIrq(0)),
    ...platform.serial.map(({ base, irq }, i) =>
      isaDevice(`COM${i + 1}`, 'PNP0501', i + 1, aml.ioPorts(base, 8), aml.isaIrq(irq)),
    ),
    ...(platform.keyboard
      ? [
          isaDevice('KBD0', 'PNP0303', 0, aml.ioPorts(0x60, 1), aml.ioPorts(0x64, 1), aml.isaIrq(1)),
          isaDevice('MOU0', 'PNP0F13', 0, aml.isaIrq(12)),
        ]
      : []),
    // Motherboard resources: the power management block and the interrupt edge/level registers.
    isaDevice(
      'MBRD',
      'PNP0C02',
      0,
      aml.ioPorts(platform.pm.base, platform.pm.length),
      aml.ioPorts(0xb2, 2),
      aml.ioPorts(0x4d0, 2),
    ),
  );
}

function isaDevice(name: string, id: string, uid: number, ...descriptors: readonly Aml[]): Aml {
  return aml.device(
    name,
    aml.define('_HID', aml.eisaId(id)),
    aml.define('_UID', aml.integer(uid)),
    aml.define('_STA', aml.integer(0x0f)),
    aml.define('_CRS', aml.resources(...descriptors)),
  );
}
