/**
 * The power management function of the PIIX4 (8086:7113) with its ACPI
 * registers. Sources: Intel 82371AB (PIIX4) data sheet, chapter 7; ACPI 6.4,
 * section 4.8 (fixed hardware).
 *
 * I/O block at PMBASE, 64 bytes: PM1_STS 0, PM1_EN 2, PM1_CNT 4, PM_TMR 8, and
 * a general-purpose event block GPE0_STS 20h, GPE0_EN 22h.
 *
 * Sleeping: SLP_EN with S3 stops the machine until an event of PM1 or GPE0
 * that is enabled, or the power button, enabled or not (4.8.3.1.1.1). The
 * status and enable registers are on standby power: they and SCI_EN outlast
 * the reset that every other register sees meanwhile. PM_TMR goes on counting,
 * but its overflow wakes nobody.
 *
 * Deviations:
 * - GPE0 lies at PMBASE + 20h with 16 status and 16 enable bits; the PIIX4's
 *   GPSTS and GPEN at 0Ch and 0Eh, device monitors and SMBus do not exist.
 * - Outside ACPI mode (SCI_EN clear) events set their status and raise nothing:
 *   there is no SMI handler that could take them.
 * - At reset PMBASE, PMREGMISC and DEVACTB are as firmware would leave them.
 */
import type { AccessSize, BusDevice, BusRange } from '../machine/bus.ts';
import type { Clock, Timer } from '../machine/door.ts';
import type { IrqLine } from '../machine/irq.ts';
import { byteWide } from './bytewide.ts';
import type { PciFunctionState, PciSlotWires } from './pci-function.ts';
import { PciFunction } from './pci-function.ts';
import { tickScale } from './ticks.ts';

/** Frequency of the PM timer. */
export const PM_TIMER_HZ = 3_579_545;

/** PM1_STS and PM1_EN bits. */
export const Pm1 = {
  timer: 0x0001,
  global: 0x0020,
  powerButton: 0x0100,
  sleepButton: 0x0200,
  rtc: 0x0400,
  wake: 0x8000,
} as const;

const STS_MASK = Pm1.timer | 0x10 | Pm1.global | Pm1.powerButton | Pm1.sleepButton | Pm1.rtc | Pm1.wake;
const EN_MASK = Pm1.timer | Pm1.global | Pm1.powerButton | Pm1.sleepButton | Pm1.rtc;
const SCI_EN = 0x0001;
const SLP_EN = 0x2000;
/** Writable and kept: SCI_EN, BM_RLD, SLP_TYP. GBL_RLS and SLP_EN are write-only. */
const CNT_MASK = 0x1c03;

/** Commands for port B2h, as the FADT names them. */
export const ACPI_ENABLE = 0xf1;
export const ACPI_DISABLE = 0xf0;

/** PM1 events that wake the machine when they are enabled. */
const WAKE_EVENTS = Pm1.powerButton | Pm1.sleepButton | Pm1.rtc;

/** SLP_TYP values, as the DSDT's \_S5 and \_S3 packages name them. */
export const SleepType = { s5: 0, s3: 1 } as const;

export interface AcpiPmOptions {
  readonly clock: Clock;
  /** IRQ 9, level. */
  readonly sci: IrqLine;
  /** SLP_EN with S5: the machine is to be switched off. */
  readonly onPowerOff: () => void;
  /** SLP_EN with S3: the processor stops behind this access. Without it, and for other types, the write has no effect. */
  readonly onSuspend?: () => void;
  /** Something wakes the sleeping machine; may come while `onSuspend` has only just returned. */
  readonly onWake?: () => void;
  /** A byte other than ACPI_ENABLE and ACPI_DISABLE at port B2h. */
  readonly onSmi?: (command: number) => void;
  /** SCI_EN after reset; for a machine whose FADT names no SMI command port. False by default. */
  readonly acpiMode?: boolean;
  /** 24 (default) or 32, as the FADT's TMR_VAL_EXT says. */
  readonly timerBits?: 24 | 32;
  /** I/O base after reset; 600h by default. */
  readonly pmBase?: number;
}

export type AcpiPmState = PciFunctionState & {
  readonly pm: {
    readonly status: number;
    readonly enable: number;
    readonly control: number;
    readonly gpeStatus: number;
    readonly gpeEnable: number;
    readonly halves: number;
    readonly command: number;
    readonly commandData: number;
    readonly asleep: boolean;
    readonly standby: boolean;
  };
};

export class AcpiPm extends PciFunction {
  override readonly stateVersion = 2;
  /** The 64-byte block at PMBASE. */
  readonly registers: BusDevice;
  /** Ports B2h (command) and B3h (status). */
  readonly smiPorts: BusDevice;
  readonly #pm: AcpiPmOptions;
  readonly #timer: Timer;
  readonly #scale = tickScale(PM_TIMER_HZ);
  readonly #timerSpan: number;
  #range: BusRange | undefined;
  #status = 0;
  #enable = 0;
  #control: number;
  #gpeStatus = 0;
  #gpeEnable = 0;
  /** How often the timer's highest bit had changed when TMR_STS was last considered. */
  #halves = 0;
  #command = 0;
  #commandData = 0;
  #asleep = false;
  /** The next reset is the one that comes with falling asleep. */
  #standby = false;

  constructor(options: AcpiPmOptions) {
    super({
      name: 'acpi-pm',
      vendorId: 0x8086,
      deviceId: 0x7113,
      revision: 3,
      classCode: 0x068000,
      interruptPin: 1,
    });
    this.#pm = options;
    this.#timerSpan = 2 ** (options.timerBits ?? 24);
    this.#timer = options.clock.timer('acpi-pm', () => this.#drive());
    this.#control = options.acpiMode ? SCI_EN : 0;
    this.registers = byteWide(
      0x40,
      (offset) => this.#readByte(offset),
      (offset, value) => this.#writeByte(offset, value),
    );
    this.smiPorts = byteWide(
      2,
      (port) => (port === 0 ? this.#command : this.#commandData),
      (port, value) => this.#writeSmi(port, value),
    );
    this.setConfigMask(0x40, [0xc0, 0xff]);
    this.setConfigMask(0x58, [0xff, 0xff, 0xff, 0xff]);
    this.setConfigMask(0x80, [0x01]);
    this.setConfigMask(0x90, [0xf0, 0xff]);
    this.#resetConfig();
  }

  override connect(wires: PciSlotWires): void {
    super.connect(wires);
    // PM_TMR is read in one piece, so this block is not byte-wide on the bus.
    const device: BusDevice = {
      read: (offset, size) =>
        (offset & ~3) === 8 ? this.#readTimer(offset, size) : this.registers.read(offset, size),
      write: (offset, size, value) => this.registers.write(offset, size, value),
    };
    this.#range = wires.io.claim('acpi-pm', undefined, 0x40, device);
    wires.io.claim('apm', 0xb2, 2, this.smiPorts);
    this.#place();
  }

  /** The power button: PWRBTN_STS, and an SCI when the guest enabled it; wakes a sleeping machine in any case. */
  pressPowerButton(): void {
    this.#raise(Pm1.powerButton);
    if (this.#asleep) this.#wake();
  }

  pressSleepButton(): void {
    this.#raise(Pm1.sleepButton);
  }

  /** The RTC's alarm interrupt: RTC_STS. */
  rtcAlarm(): void {
    this.#raise(Pm1.rtc);
  }

  /** In S3, until something wakes the machine. */
  get asleep(): boolean {
    return this.#asleep;
  }

  /** Sets bit `event`, 0-15, of GPE0_STS. */
  raiseGpe(event: number): void {
    this.#gpeStatus |= (1 << event) & 0xffff;
    this.#drive();
  }

  get acpiMode(): boolean {
    return (this.#control & SCI_EN) !== 0;
  }

  /** Reset of the platform. The one that comes with falling asleep leaves alone what is on standby power. */
  override reset(): void {
    super.reset();
    if (!this.#standby) {
      this.#status = 0;
      this.#enable = 0;
      this.#control = this.#pm.acpiMode ? SCI_EN : 0;
      this.#gpeStatus = 0;
      this.#gpeEnable = 0;
    }
    this.#standby = false;
    this.#halves = this.#halvesNow();
    this.#command = 0;
    this.#commandData = 0;
    this.#resetConfig();
    this.#place();
    this.#drive();
  }

  override save(): AcpiPmState {
    this.#settle();
    return {
      ...super.save(),
      pm: {
        status: this.#status,
        enable: this.#enable,
        control: this.#control,
        gpeStatus: this.#gpeStatus,
        gpeEnable: this.#gpeEnable,
        halves: this.#halves,
        command: this.#command,
        commandData: this.#commandData,
        asleep: this.#asleep,
        standby: this.#standby,
      },
    };
  }

  override restore(state: AcpiPmState): void {
    super.restore(state);
    this.#status = state.pm.status;
    this.#enable = state.pm.enable;
    this.#control = state.pm.control;
    this.#gpeStatus = state.pm.gpeStatus;
    this.#gpeEnable = state.pm.gpeEnable;
    this.#halves = state.pm.halves;
    this.#command = state.pm.command;
    this.#commandData = state.pm.commandData;
    this.#asleep = state.pm.asleep;
    this.#standby = state.pm.standby;
    this.#place();
    this.#drive();
  }

  protected override configWritten(offset: number, size: AccessSize): void {
    super.configWritten(offset, size);
    this.#place();
  }

  #resetConfig(): void {
    this.config.setUint32(0x40, ((this.#pm.pmBase ?? 0x600) & 0xffc0) | 1, true);
    // DEVACTB with APMC_EN set: firmware takes it that SMM is set up already and leaves it alone.
    this.config.setUint32(0x58, 0x02000000, true);
    this.config.setUint8(0x80, 1);
    this.config.setUint32(0x90, 1, true);
    // Interrupt line: the SCI is wired to IRQ 9.
    this.config.setUint8(0x3c, 9);
  }

  /** The block answers where PMBASE says while PMREGMISC bit 0 is set. */
  #place(): void {
    const base = this.config.getUint16(0x40, true) & 0xffc0;
    if (!(this.config.getUint8(0x80) & 1) || base === 0) this.#range?.disable();
    else if (this.#range && this.#range.base !== base) this.#range.move(base);
  }

  // Timer.

  #ticks(): number {
    return this.#scale.toTicks(this.#pm.clock.now());
  }

  #halvesNow(): number {
    return Math.floor(this.#ticks() / (this.#timerSpan / 2));
  }

  #readTimer(offset: number, size: AccessSize): number {
    const value = this.#ticks() % this.#timerSpan;
    const shifted = Math.floor(value / 2 ** (8 * (offset & 3)));
    return size === 4 ? shifted : shifted % 2 ** (8 * size);
  }

  /** TMR_STS is set whenever the timer's highest bit changes. */
  #settle(): void {
    const halves = this.#halvesNow();
    if (halves !== this.#halves) this.#status |= Pm1.timer;
    this.#halves = halves;
  }

  #raise(bit: number): void {
    this.#status |= bit;
    this.#drive();
  }

  /** Drives the SCI and arms the timer for the next overflow that somebody waits for; asleep, looks whether to wake. */
  #drive(): void {
    const general = (this.#gpeStatus & this.#gpeEnable) !== 0;
    if (this.#asleep) {
      this.#timer.cancel();
      if (general || (this.#status & this.#enable & WAKE_EVENTS) !== 0) this.#wake();
      return;
    }
    this.#settle();
    const events = (this.#status & this.#enable & EN_MASK) !== 0 || general;
    this.#pm.sci.set(events && this.acpiMode);
    if (this.#enable & Pm1.timer && !(this.#status & Pm1.timer)) {
      this.#timer.arm(this.#scale.toNs((this.#halves + 1) * (this.#timerSpan / 2)));
    } else {
      this.#timer.cancel();
    }
  }

  // Registers, a byte at a time.

  #readByte(offset: number): number {
    const byte = (value: number): number => (value >> (8 * (offset & 1))) & 0xff;
    switch (offset & ~1) {
      case 0x00:
        this.#settle();
        return byte(this.#status);
      case 0x02:
        return byte(this.#enable);
      case 0x04:
        return byte(this.#control);
      case 0x08:
      case 0x0a:
        return this.#readTimer(offset, 1);
      case 0x20:
        return byte(this.#gpeStatus);
      case 0x22:
        return byte(this.#gpeEnable);
      default:
        return 0;
    }
  }

  #writeByte(offset: number, value: number): void {
    const shift = 8 * (offset & 1);
    const replace = (old: number, mask: number): number =>
      (old & ~(0xff << shift)) | ((value << shift) & mask);
    switch (offset & ~1) {
      case 0x00:
        this.#settle();
        this.#status &= ~((value << shift) & STS_MASK);
        break;
      case 0x02:
        this.#enable = replace(this.#enable, EN_MASK);
        break;
      case 0x04:
        this.#control = replace(this.#control, CNT_MASK);
        if ((value << shift) & SLP_EN) this.#sleep();
        break;
      case 0x20:
        this.#gpeStatus &= ~(value << shift);
        break;
      case 0x22:
        this.#gpeEnable = replace(this.#gpeEnable, 0xffff);
        break;
      default:
        return;
    }
    this.#drive();
  }

  #sleep(): void {
    const type = (this.#control >> 10) & 7;
    if (type === SleepType.s5) this.#pm.onPowerOff();
    if (type !== SleepType.s3 || !this.#pm.onSuspend || this.#asleep) return;
    this.#settle();
    this.#asleep = true;
    this.#standby = true;
    this.#pm.onSuspend();
  }

  #wake(): void {
    this.#asleep = false;
    this.#status |= Pm1.wake;
    this.#control &= SCI_EN;
    this.#halves = this.#halvesNow();
    this.#drive();
    this.#pm.onWake?.();
  }

  #writeSmi(port: number, value: number): void {
    if (port === 1) {
      this.#commandData = value;
      return;
    }
    this.#command = value;
    if (value === ACPI_ENABLE) this.#control |= SCI_EN;
    else if (value === ACPI_DISABLE) this.#control &= ~SCI_EN;
    else this.#pm.onSmi?.(value);
    this.#drive();
  }
}
