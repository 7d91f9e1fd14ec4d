import { at } from './assembler.ts';
import { TestKernel } from './kit.ts';

/**
 * What the keyboard controller and what hangs on it answer to a script. The
 * kernel writes each line's bytes, reads until nothing more comes, and prints
 * `name: status/byte …`. It judges nothing: `expected/ps2.txt` is what QEMU
 * printed.
 */
type Line = readonly [name: string, ...bytes: readonly string[]];

/** Polls of the status port without a byte that mean that no more will come: some milliseconds. */
const PATIENCE = 20_000;

/** A byte alone goes to port 60h, `>` to 64h, `m` to the mouse. Numbers are hexadecimal. */
const SCRIPT: readonly Line[] = [
  ['as firmware leaves the controller', '>20'],
  ['command byte: no interrupts, both on, no translation', '>60', '00', '>20'],
  ['controller self-test', '>aa'],
  ['keyboard wires', '>ab'],
  ['mouse wires', '>a9'],
  ['input port', '>c0'],
  ['output port', '>d0'],
  ['RAM keeps', '>65', '5a', '>25'],
  ['keyboard off shows in the command byte', '>ad', '>20'],
  ['keyboard on again', '>ae', '>20'],
  ['mouse off', '>a7', '>20'],
  ['mouse on', '>a8', '>20'],
  ['to write to the keyboard turns it on', '>ad', 'ee', '>20'],
  ['to write to the mouse turns it on', '>a7', 'mf2', '>20'],
  ['a byte as if from the keyboard', '>d2', '1c'],
  ['a byte as if from the mouse', '>d3', '2d'],
  ['a pulse of no line', '>ff'],

  ['keyboard: reset', 'ff'],
  ['keyboard: identity', 'f2'],
  ['keyboard: echo', 'ee'],
  ['keyboard: resend of the echo', 'fe'],
  ['keyboard: lights', 'ed', '07'],
  ['keyboard: lights, given up for another command', 'ed', 'ee'],
  ['keyboard: rate and delay', 'f3', '00'],
  ['keyboard: set asked for', 'f0', '00'],
  ['keyboard: set 1', 'f0', '01'],
  ['keyboard: set 1 asked for', 'f0', '00'],
  ['keyboard: set 3', 'f0', '03'],
  ['keyboard: set 3 asked for', 'f0', '00'],
  ['keyboard: no set 4', 'f0', '04'],
  ['keyboard: all typematic', 'f7'],
  ['keyboard: all make and break', 'f8'],
  ['keyboard: all make', 'f9'],
  ['keyboard: all of it', 'fa'],
  ['keyboard: one key typematic', 'fb', '1c'],
  ['keyboard: one key make and break', 'fc', '1c'],
  ['keyboard: one key make', 'fd', '1c'],
  ['keyboard: defaults bring back set 2', 'f6', 'f0', '00'],
  ['keyboard: disable', 'f5'],
  ['keyboard: enable', 'f4'],
  ['keyboard: no such command', 'ef'],
  ['keyboard: no such command either', 'f1'],
  ['translation on', '>60', '40', '>20'],
  ['translated: identity', 'f2'],
  ['translated: set asked for', 'f0', '00'],
  ['translated: reset', 'ff'],
  ['translation off', '>60', '00'],

  ['mouse: reset', 'mff'],
  ['mouse: identity', 'mf2'],
  ['mouse: status', 'me9'],
  ['mouse: scaling, resolution, rate, reporting', 'me7', 'me8', 'm03', 'mf3', 'm28', 'mf4'],
  ['mouse: status shows them', 'me9'],
  ['mouse: resend', 'mfe'],
  ['mouse: remote', 'mf0', 'me9'],
  ['mouse: read', 'meb'],
  ['mouse: stream, 1:1', 'mea', 'me6', 'me9'],
  ['mouse: wrap', 'mee', 'm12', 'mf2'],
  ['mouse: out of wrap', 'mec', 'mf2'],
  ['mouse: knock for a wheel', 'mf3', 'mc8', 'mf3', 'm64', 'mf3', 'm50', 'mf2'],
  ['mouse: its packet has four bytes', 'mf0', 'meb'],
  ['mouse: knock for five buttons', 'mf3', 'mc8', 'mf3', 'mc8', 'mf3', 'm50', 'mf2'],
  ['mouse: defaults keep the kind', 'mf6', 'mf2', 'me9'],
  ['mouse: disable', 'mf5'],
  ['mouse: no such command', 'me1'],
  ['mouse: nor this', 'me5'],
  ['mouse: reset makes it a plain one', 'mff', 'mf2'],
];

/** The kernel. */
export function ps2Kernel(): Buffer {
  const kernel = new TestKernel(32);
  const { asm } = kernel;
  asm.jmp('script');
  asm.label('digit'); // the low digit of AL
  asm.alu('and', 'eax', 15);
  asm.alu('add', 'eax', 0x30);
  asm.alu('cmp', 'eax', 0x3a);
  asm.j('b', 'digit.put');
  asm.alu('add', 'eax', 0x27);
  asm.label('digit.put');
  asm.call('putc');
  asm.db(0xc3);

  asm.label('byte'); // BL
  asm.mov('al', 'bl');
  asm.shift('shr', 'al', 4);
  asm.call('digit');
  asm.mov('al', 'bl');
  asm.call('digit');
  asm.db(0xc3);

  asm.label('answers');
  asm.mov('ecx', PATIENCE);
  asm.label('answers.poll');
  asm.in(0x64);
  asm.mov('bl', 'al');
  asm.alu('and', 'al', 1);
  asm.j('ne', 'answers.byte');
  asm.dec('ecx');
  asm.j('ne', 'answers.poll');
  asm.db(0xc3);
  asm.label('answers.byte');
  asm.mov('al', 0x20);
  asm.call('putc');
  asm.call('byte');
  asm.mov('al', 0x2f);
  asm.call('putc');
  asm.in(0x60);
  asm.mov('bl', 'al');
  asm.call('byte');
  asm.jmp('answers');

  asm.label('script');
  SCRIPT.forEach(([, ...bytes], i) => {
    asm.mov('ebp', at(`name.${i}`));
    asm.call('print');
    for (const byte of bytes) {
      const value = Number.parseInt(byte.replace(/^[>m]/, ''), 16);
      if (byte.startsWith('m')) asm.out(0x64, 0xd4);
      asm.out(byte.startsWith('>') ? 0x64 : 0x60, value);
      asm.call('answers');
    }
    asm.mov('al', 0x0a);
    asm.call('putc');
  });
  kernel.data(() => {
    SCRIPT.forEach(([name], i) => {
      asm.label(`name.${i}`);
      asm.text(`${name}:`);
    });
  });
  return kernel.finish();
}

/** An answer: the status that went with a byte, and the byte. */
const ANSWER = /^ ([0-9a-f]{2})\/([0-9a-f]{2})/;

/**
 * What the kernel printed: name and bytes of each line, those of the mouse
 * with an `m`. Of the status only that bit is kept: bits 2 and 3, system and
 * command, are always set under QEMU.
 */
export function ps2Transcript(output: string): string[] {
  const lines = output.replaceAll('\r', '').split('\n');
  return SCRIPT.flatMap(([name]) => {
    const line = lines.find((one) => one.startsWith(`${name}:`));
    if (line === undefined) return [];
    const bytes: string[] = [];
    let rest = line.slice(name.length + 1);
    for (let found = ANSWER.exec(rest); found; found = ANSWER.exec(rest)) {
      const [whole, status = '', byte = ''] = found;
      bytes.push((Number.parseInt(status, 16) & 0x20 ? 'm' : '') + byte);
      rest = rest.slice(whole.length);
    }
    return [`${name}: ${bytes.join(' ')}`.trimEnd()];
  });
}
