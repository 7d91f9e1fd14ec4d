import { Assembler, at, mem } from '../../kernels/assembler.ts';
import { COMMAND_LENGTH, READY } from './commands.ts';
import { LINE, LINES, makeTexture, TEXTURE } from './texture.ts';

const LOAD_ADDRESS = 0x100000;
const TEXTURE_ADDRESS = 0x200000;
const STACK = 0x90000;
const COM1 = 0x3f8;
const PCI = { address: 0xcf8, data: 0xcfc } as const;
/** Where the frame buffer is put when no firmware has placed it. */
const FALLBACK_BAR = 0xe0000000;
/** The VBE interface of Bochs' adapter, which QEMU and Teremok have: ports, and indices of its registers. */
const DISPI = { index: 0x1ce, data: 0x1cf, width: 1, height: 2, bpp: 3, enable: 4 } as const;
/** Enabled, with a linear frame buffer. */
const DISPI_ON = 0x41;
const ATTRIBUTES = { index: 0x3c0, status: [0x3ba, 0x3da], shown: 0x20 } as const;
const PITCH = TEXTURE.width * 4;

/**
 * A kernel, booted by Multiboot, that draws into the linear frame buffer what it is told over COM1 (commands.ts) and
 * answers when it has.
 */
export function drawingKernel(): Buffer {
  const texture = makeTexture();
  const a = new Assembler(LOAD_ADDRESS);
  const cmd = (offset: number, size: 1 | 2 | 4 = 4) => mem(at('cmd', offset), { size });
  const word = (offset: number): void => {
    a.mov('eax', cmd(offset));
    a.alu('and', 'eax', 0xffff);
  };
  const repMovsd = (): void => a.db(0xf3, 0xa5);
  const repStosd = (): void => a.db(0xf3, 0xab);

  const header = { magic: 0x1badb002, flags: 0x10000 };
  a.dd(header.magic, header.flags, -(header.magic + header.flags) >>> 0);
  a.dd(
    LOAD_ADDRESS,
    LOAD_ADDRESS,
    TEXTURE_ADDRESS + texture.byteLength,
    TEXTURE_ADDRESS + texture.byteLength,
  );
  a.dd(at('start'));

  a.label('start');
  a.db(0xfa, 0xfc); // CLI, CLD
  a.mov('esp', STACK);
  findAdapter(a);
  a.mov('al', READY.charCodeAt(0));
  a.call('send');
  a.label('next');
  a.mov('edi', at('cmd'));
  a.mov('ecx', COMMAND_LENGTH);
  a.label('receive');
  a.in(COM1 + 5);
  a.alu('and', 'al', 1);
  a.j('e', 'receive');
  a.in(COM1);
  a.db(0xaa); // STOSB
  a.dec('ecx');
  a.j('ne', 'receive');
  for (const [op, routine] of [
    ['m', 'mode'],
    ['f', 'fill'],
    ['b', 'blit'],
    ['s', 'scroll'],
    ['r', 'run'],
  ] as const) {
    const other = a.fresh('other');
    a.mov('al', cmd(0, 1));
    a.alu('cmp', 'al', op.charCodeAt(0));
    a.j('ne', other);
    a.call(routine);
    a.mov('al', op.charCodeAt(0));
    a.call('send');
    a.jmp('next');
    a.label(other);
  }
  a.jmp('next');

  a.label('send');
  a.mov('ebx', 'eax');
  a.label('sending');
  a.in(COM1 + 5);
  a.alu('and', 'al', 0x20);
  a.j('e', 'sending');
  a.mov('eax', 'ebx');
  a.mov('edx', COM1);
  a.db(0xee, 0xc3);

  a.label('mode');
  const dispi = (index: number, value: () => void): void => {
    a.mov('edx', DISPI.index);
    a.mov('eax', index);
    a.db(0x66, 0xef); // OUT DX, AX
    value();
    a.mov('edx', DISPI.data);
    a.db(0x66, 0xef);
  };
  dispi(DISPI.enable, () => a.mov('eax', 0));
  dispi(DISPI.width, () => word(5));
  dispi(DISPI.height, () => word(7));
  dispi(DISPI.bpp, () => a.mov('eax', 32));
  dispi(DISPI.enable, () => a.mov('eax', DISPI_ON));
  // The attribute controller lets the picture through: reading input status 1, at either of its ports, has the next
  // byte taken for an index (IBM VGA Technical Reference, attribute controller).
  for (const port of ATTRIBUTES.status) a.in(port);
  a.mov('al', ATTRIBUTES.shown);
  a.mov('edx', ATTRIBUTES.index);
  a.db(0xee); // OUT DX, AL
  word(7);
  a.mov(mem(at('height')), 'eax');
  word(5);
  a.mov(mem(at('width')), 'eax');
  a.shift('shl', 'eax', 2);
  a.mov(mem(at('pitch')), 'eax');
  a.db(0xc3);

  // EDI: the frame buffer at x, y of the command; EBX: its rows.
  a.label('place');
  word(3);
  a.encode([0xf7], 4, mem(at('pitch')), 4); // MUL
  a.mov('edi', 'eax');
  word(1);
  a.shift('shl', 'eax', 2);
  a.alu('add', 'edi', 'eax');
  a.alu('add', 'edi', mem(at('lfb')));
  word(7);
  a.mov('ebx', 'eax');
  a.db(0xc3);

  a.label('fill');
  a.call('place');
  a.label('fill.row');
  a.push('edi');
  word(5);
  a.mov('ecx', 'eax');
  a.mov('eax', cmd(9));
  repStosd();
  a.pop('edi');
  a.alu('add', 'edi', mem(at('pitch')));
  a.dec('ebx');
  a.j('ne', 'fill.row');
  a.db(0xc3);

  a.label('blit');
  a.call('place');
  a.mov('esi', TEXTURE_ADDRESS);
  a.alu('add', 'esi', cmd(9));
  a.label('blit.row');
  a.push('edi');
  a.push('esi');
  word(5);
  a.mov('ecx', 'eax');
  repMovsd();
  a.pop('esi');
  a.pop('edi');
  a.alu('add', 'edi', mem(at('pitch')));
  a.alu('add', 'esi', PITCH);
  a.dec('ebx');
  a.j('ne', 'blit.row');
  a.db(0xc3);

  a.label('scroll');
  a.mov('eax', cmd(9));
  a.encode([0xf7], 4, mem(at('pitch')), 4);
  a.mov('esi', 'eax');
  a.alu('add', 'esi', mem(at('lfb')));
  a.mov('edi', mem(at('lfb')));
  a.mov('eax', mem(at('height')));
  a.alu('sub', 'eax', cmd(9));
  a.encode([0xf7], 4, mem(at('width')), 4);
  a.mov('ecx', 'eax');
  repMovsd();
  a.db(0xc3);

  a.label('run');
  a.mov('eax', cmd(9));
  a.mov(mem(at('count')), 'eax');
  a.label('run.line');
  a.mov(cmd(9), LINE);
  a.call('scroll');
  a.mov('eax', mem(at('height')));
  a.alu('sub', 'eax', LINE);
  a.mov(cmd(3, 2), 'ax');
  a.mov(cmd(7, 2), LINE);
  a.mov('eax', mem(at('count')));
  a.alu('and', 'eax', LINES - 1);
  a.shift('shl', 'eax', Math.log2(LINE * PITCH));
  a.mov(cmd(9), 'eax');
  a.call('blit');
  a.dec(mem(at('count')));
  a.j('ne', 'run.line');
  a.db(0xc3);

  a.align(4);
  for (const name of ['lfb', 'width', 'height', 'pitch', 'count']) {
    a.label(name);
    a.dd(0);
  }
  a.label('cmd');
  a.space(16);

  const code = a.finish();
  const image = Buffer.alloc(TEXTURE_ADDRESS - LOAD_ADDRESS + texture.byteLength);
  image.set(code, 0);
  image.set(new Uint8Array(texture.buffer), TEXTURE_ADDRESS - LOAD_ADDRESS);
  return image;
}

/** Puts the address of the frame buffer, BAR 0 of the display controller on bus 0, into `lfb`. */
function findAdapter(a: Assembler): void {
  const config = (register: number): void => {
    a.mov('eax', 'ebx');
    a.alu('or', 'eax', register);
    a.mov('edx', PCI.address);
    a.db(0xef); // OUT DX, EAX
    a.mov('edx', PCI.data);
  };
  a.mov('ebx', 0x8000_0000);
  a.label('find');
  config(8);
  a.db(0xed); // IN EAX, DX
  a.shift('shr', 'eax', 16);
  a.alu('cmp', 'eax', 0x0300);
  a.j('e', 'found');
  a.alu('add', 'ebx', 1 << 11);
  a.jmp('find');
  a.label('found');
  config(0x10);
  a.db(0xed);
  a.alu('and', 'eax', 0xffff_fff0);
  a.j('ne', 'placed');
  config(0x10);
  a.mov('eax', FALLBACK_BAR);
  a.db(0xef);
  a.label('placed');
  a.mov(mem(at('lfb')), 'eax');
  // Decodes I/O and memory.
  config(4);
  a.mov('eax', 3);
  a.db(0xef);
}
