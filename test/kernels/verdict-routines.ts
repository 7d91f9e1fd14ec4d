import { type Assembler, at, mem } from './assembler.ts';

const COM1 = 0x3f8;

/** `putc`, `print` and `hex`, on COM1. */
export function emitPrintRoutines(asm: Assembler): void {
  asm.label('putc'); // AL; keeps all but EAX, EDX
  asm.mov('ah', 'al');
  asm.label('putc.wait');
  asm.in(COM1 + 5);
  asm.alu('and', 'al', 0x20);
  asm.j('e', 'putc.wait');
  asm.mov('edx', COM1);
  asm.mov('al', 'ah');
  asm.db(0xee, 0xc3);

  asm.label('print'); // zero-terminated, from EBP
  asm.mov('al', mem(0, { base: 'ebp', segment: 'ds' }));
  asm.alu('cmp', 'al', 0);
  asm.j('e', 'print.end');
  asm.call('putc');
  asm.inc('ebp');
  asm.jmp('print');
  asm.label('print.end');
  asm.db(0xc3);

  asm.label('hex'); // EBX
  asm.mov('ecx', 8);
  asm.label('hex.digit');
  asm.encode([0xc1], 0, 'ebx', 4); // rol ebx, 4
  asm.db(4);
  asm.mov('eax', 'ebx');
  asm.alu('and', 'eax', 15);
  asm.alu('add', 'eax', 0x30);
  asm.alu('cmp', 'eax', 0x3a);
  asm.j('b', 'hex.put');
  asm.alu('add', 'eax', 0x27);
  asm.label('hex.put');
  asm.call('putc');
  asm.dec('ecx');
  asm.j('ne', 'hex.digit');
  asm.db(0xc3);
}

/**
 * `check` and `skip`, which say a case's verdict as a line of TAP. ESI points to a table: name, number, then field,
 * address, mask and value as often as needed, and 0. The texts that they print are the kernel's, at `text.…`.
 */
export function emitCheckRoutines(asm: Assembler): void {
  const word = (plus: number) => mem(plus, { base: 'esi' });
  const say = (label: string): void => {
    asm.mov('ebp', at(label));
    asm.call('print');
  };
  const compare = (onDifference: string): void => {
    asm.mov('ecx', word(4));
    asm.mov('eax', mem(0, { base: 'ecx' }));
    asm.alu('xor', 'eax', word(12));
    asm.alu('and', 'eax', word(8));
    asm.j('ne', onDifference);
  };
  asm.label('check');
  asm.push('esi' as const);
  asm.alu('add', 'esi', 8);
  asm.label('check.next');
  asm.mov('eax', word(0));
  asm.alu('cmp', 'eax', 0);
  asm.j('e', 'check.ok');
  compare('check.bad');
  asm.alu('add', 'esi', 16);
  asm.jmp('check.next');
  asm.label('check.ok');
  say('text.ok');
  asm.pop('esi');
  asm.call('title');
  asm.label('check.line');
  say('text.line');
  asm.db(0xc3);

  asm.label('check.bad');
  asm.mov(mem(at('failed')), 1);
  say('text.notOk');
  asm.pop('esi');
  asm.push('esi');
  asm.call('title');
  asm.pop('esi');
  asm.alu('add', 'esi', 8);
  asm.label('check.show');
  asm.mov('eax', word(0));
  asm.alu('cmp', 'eax', 0);
  asm.j('e', 'check.line');
  compare('check.field');
  asm.label('check.shown');
  asm.alu('add', 'esi', 16);
  asm.jmp('check.show');
  asm.label('check.field');
  say('text.field');
  asm.mov('ebp', word(0));
  asm.call('print');
  say('text.is');
  asm.mov('ecx', word(4));
  asm.mov('ebx', mem(0, { base: 'ecx' }));
  asm.call('hex');
  say('text.not');
  asm.mov('ebx', word(12));
  asm.call('hex');
  asm.jmp('check.shown');

  asm.label('title'); // number and name of the case at ESI
  asm.mov('ebp', word(4));
  asm.call('print');
  asm.mov('ebp', word(0));
  asm.call('print');
  asm.db(0xc3);

  asm.label('skip');
  say('text.ok');
  asm.call('title');
  say('text.skip');
  asm.db(0xc3);
}
