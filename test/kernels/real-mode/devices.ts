import { at } from '../assembler.ts';
import {
  CLOCK_VECTOR,
  COM1,
  CS,
  MILLISECOND,
  type RealModeProgram,
  SERIAL_VECTOR,
  TICK_VECTOR,
} from './program.ts';

export function devices(program: RealModeProgram): void {
  const { asm } = program;
  program.data(() => {
    asm.align(2);
    asm.label('ticks');
    asm.dw(0);
    asm.label('clocks');
    asm.dw(0);
    asm.label('sent');
    asm.dw(0);
  });
  const increment = (label: string): void => {
    asm.db(CS, 0xff, 0x06); // inc word cs:[…]
    asm.dw(at(label));
  };
  const load = (label: string): void => {
    asm.db(CS, 0xa1); // mov ax, cs:[…]
    asm.dw(at(label));
  };
  const clear = (label: string): void => {
    asm.db(CS, 0xc7, 0x06);
    asm.dw(at(label), 0);
  };
  const endOfInterrupt = (...ports: number[]): void => {
    for (const port of ports) asm.db(0xb0, 0x20, 0xe6, port); // mov al, 20h; out
  };
  program.aside('onTick', () => {
    asm.push('ax');
    increment('ticks');
    endOfInterrupt(0x20);
    asm.pop('ax');
    asm.db(0xcf);
  });
  program.aside('onSerial', () => {
    asm.push('ax');
    asm.push('dx');
    asm.mov('dx', COM1 + 2);
    asm.db(0xec); // in al, dx: which interrupt, and with that it is over
    increment('sent');
    endOfInterrupt(0x20);
    asm.pop('dx');
    asm.pop('ax');
    asm.db(0xcf);
  });
  program.aside('onClock', () => {
    asm.push('ax');
    asm.db(0xb0, 0x0c, 0xe6, 0x70, 0xe4, 0x71); // register C, read
    increment('clocks');
    endOfInterrupt(0xa0, 0x20);
    asm.pop('ax');
    asm.db(0xcf);
  });
  // Vectors as the PC/AT has them: 8 and 70h.
  for (const [port, value] of [
    [0x20, 0x11],
    [0x21, TICK_VECTOR],
    [0x21, 0x04],
    [0x21, 0x01],
    [0xa0, 0x11],
    [0xa1, CLOCK_VECTOR],
    [0xa1, 0x02],
    [0xa1, 0x01],
    [0x21, 0xff],
    [0xa1, 0xff],
  ] as const) {
    asm.out(port, value);
  }
  /** All lines of both controllers; keeps AX. */
  const mask = (): void => {
    asm.mov('cx', 'ax');
    asm.db(0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1);
    asm.mov('ax', 'cx');
  };
  /** HLT until the counter has reached `count`; every interrupt wakes the processor. AX is then `count`. */
  const sleepUntil = (label: string, count: number): void => {
    const top = asm.fresh('sleep');
    asm.label(top);
    asm.db(0xfb, 0xf4, 0xfa); // sti; hlt; cli
    load(label);
    asm.alu('cmp', 'ax', count);
    asm.j('b', top);
    asm.mov('ax', count);
  };
  program.test('the timer interrupts through vector 8, twenty times', 20, () => {
    program.vector(TICK_VECTOR, 'onTick');
    clear('ticks');
    asm.out(0x43, 0x34); // counter 0, both bytes, mode 2
    asm.out(0x40, MILLISECOND & 0xff);
    asm.out(0x40, MILLISECOND >> 8);
    asm.out(0x21, 0xfe);
    sleepUntil('ticks', 20);
    mask();
  });
  program.test('no tick comes while interrupts are off', 0, () => {
    program.vector(TICK_VECTOR, 'onTick');
    asm.out(0x21, 0xfe);
    clear('ticks');
    asm.mov('cx', 2000);
    const top = asm.here;
    asm.db(0xe4, 0x61, 0xe2); // in al, 61h; loop
    asm.db((top - asm.here - 1) & 0xff);
    load('ticks');
    mask();
  });
  program.test('the RTC interrupts through the second controller', 8, () => {
    program.vector(CLOCK_VECTOR, 'onClock');
    clear('clocks');
    asm.db(0xb0, 0x0a, 0xe6, 0x70, 0xb0, 0x26, 0xe6, 0x71); // register A: 1024 times a second
    asm.db(0xb0, 0x0b, 0xe6, 0x70, 0xb0, 0x42, 0xe6, 0x71); // register B: periodic interrupts, 24 hours
    asm.db(0xb0, 0x0c, 0xe6, 0x70, 0xe4, 0x71);
    asm.out(0xa1, 0xfe);
    asm.out(0x21, 0xfb);
    sleepUntil('clocks', 8);
    mask();
    asm.mov('cx', 'ax');
    asm.db(0xb0, 0x0b, 0xe6, 0x70, 0xb0, 0x02, 0xe6, 0x71);
    asm.mov('ax', 'cx');
  });
  program.test('the serial port says that it can take more', 1, () => {
    program.vector(SERIAL_VECTOR, 'onSerial');
    clear('sent');
    asm.out(COM1 + 4, 0x0b); // DTR, RTS, OUT2
    asm.out(0x21, 0xef);
    asm.out(COM1 + 1, 0x02);
    sleepUntil('sent', 1);
    mask();
    asm.mov('cx', 'ax');
    asm.out(COM1 + 1, 0);
    asm.mov('ax', 'cx');
  });
}
