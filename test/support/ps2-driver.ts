import { Ps2 } from '../../src/hypervisor/devices/ps2/ps2.ts';
import type { BackdoorRegisters } from '../../src/hypervisor/devices/ps2/vmmouse.ts';
import { AddressSpace } from '../../src/hypervisor/machine/address-space.ts';
import { HandDoor, ProbeLine } from './machine-parts.ts';

/** Longer than a byte takes. */
const A_BYTE = 1_000_000;

/** Registers as a guest would fill them for the backdoor. */
export class KeptRegisters implements BackdoorRegisters {
  readonly values: Record<string, number> = {};

  read(name: string): number {
    return this.values[name] ?? 0;
  }

  write(name: string, value: number): void {
    this.values[name] = value;
  }
}

/** Keyboard, mouse and controller on a bus of their own, and a driver that polls. */
export class Ps2Rig {
  readonly door = new HandDoor();
  readonly pio = new AddressSpace();
  readonly irq1 = new ProbeLine();
  readonly irq12 = new ProbeLine();
  readonly registers = new KeptRegisters();
  readonly a20: boolean[] = [];
  resets = 0;
  readonly ps2: Ps2;

  constructor() {
    let open = true;
    this.ps2 = new Ps2({
      door: this.door,
      keyboardIrq: this.irq1,
      mouseIrq: this.irq12,
      onReset: () => {
        this.resets += 1;
      },
      a20: {
        open: () => open,
        set: (now) => {
          open = now;
          this.a20.push(now);
        },
      },
      registers: this.registers,
    });
    this.ps2.attach(this.pio);
  }

  status(): number {
    return this.pio.read(0x64, 1);
  }

  /** A command of the controller, and bytes for it. */
  command(command: number, ...bytes: readonly number[]): void {
    this.pio.write(0x64, 1, command);
    for (const byte of bytes) this.pio.write(0x60, 1, byte);
  }

  /** Sets the command byte. */
  configure(byte: number): void {
    this.command(0x60, byte);
  }

  /** What comes, up to so many bytes; those of the mouse with 0x100. */
  read(most = 1000): number[] {
    const bytes: number[] = [];
    while (bytes.length < most) {
      if ((this.status() & 1) === 0) this.door.advance(A_BYTE);
      const status = this.status();
      if ((status & 1) === 0) break;
      bytes.push(this.pio.read(0x60, 1) | (status & 0x20 ? 0x100 : 0));
    }
    return bytes;
  }

  /** Sends bytes to the keyboard, each when the one before was answered; the answers. */
  keyboard(...bytes: readonly number[]): number[] {
    return bytes.flatMap((byte) => {
      this.pio.write(0x60, 1, byte);
      return this.read();
    });
  }

  /** The same for the mouse, whose answers are given without their mark. */
  mouse(...bytes: readonly number[]): number[] {
    return bytes.flatMap((byte) => {
      this.command(0xd4, byte);
      return this.packets();
    });
  }

  /** What the mouse sends. */
  packets(): number[] {
    return this.read().map((byte) => {
      if ((byte & 0x100) === 0) throw new Error(`${byte.toString(16)} is no byte of the mouse`);
      return byte & 0xff;
    });
  }

  /** Keys go down (KeyCode) or up (negative); what is read then. */
  keys(...codes: readonly number[]): number[] {
    for (const code of codes) this.ps2.keyboard.key(Math.abs(code), code > 0);
    this.door.pump();
    return this.read();
  }

  /** A call of the backdoor; EAX. */
  backdoor(command: number, argument = 0): number {
    Object.assign(this.registers.values, { eax: 0x564d5868, ebx: argument, ecx: command, edx: 0x5658 });
    return this.pio.read(0x5658, 4);
  }
}

/** Bytes as text, for comparisons that can be read. */
export const hex = (bytes: readonly number[]): string =>
  bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
