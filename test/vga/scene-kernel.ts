import { Assembler, at, mem } from '../kernels/assembler.ts';
import type { Operation } from './program.ts';
import type { Scene } from './scenes.ts';

const LOAD_ADDRESS = 0x10_0000;
const COM1 = 0x3f8;
const LINE_STATUS = 5;
const DATA_READY = 1;
/** Configuration address of the framebuffer's BAR: slot 2, where QEMU's i440FX machine has its VGA. */
const FRAMEBUFFER_BAR = 0x8000_1010;
/** Arguments of a call at a time. */
const PIECE = 4096;

/** What the kernel says when scene number `i` is drawn. */
export function sceneMark(_scene: Scene, i: number): string {
  return String.fromCharCode(0x41 + i);
}

/**
 * A multiboot kernel that shows scenes: it says its mark on COM1 when one is
 * drawn, and goes on with the next when it is sent any byte.
 */
export function sceneKernel(scenes: readonly Scene[]): Buffer {
  const asm = new Assembler(LOAD_ADDRESS);
  const magic = 0x1bad_b002;
  const flags = 0x10000;
  asm.dd(magic, flags, -(magic + flags));
  asm.dd(LOAD_ADDRESS, LOAD_ADDRESS, at('imageEnd'), at('imageEnd'), at('entry'));
  asm.label('entry');
  asm.db(0xfa, 0xfc); // cli; cld
  asm.mov('esp', at('stackTop'));
  asm.mov('edx', 0xcf8);
  asm.mov('eax', FRAMEBUFFER_BAR);
  asm.db(0xef); // out dx, eax
  asm.mov('edx', 0xcfc);
  asm.db(0xed); // in eax, dx
  asm.alu('and', 'eax', -16);
  asm.mov('ebp', 'eax');
  const data: { label: string; bytes: Uint8Array }[] = [];
  for (const [i, scene] of scenes.entries()) {
    for (const operation of scene.program.operations) emit(asm, operation, data);
    asm.out(COM1, sceneMark(scene, i).charCodeAt(0));
    const wait = asm.fresh('wait');
    asm.label(wait);
    asm.in(COM1 + LINE_STATUS);
    asm.alu('and', 'al', DATA_READY);
    asm.j('e', wait);
    asm.in(COM1);
  }
  asm.db(0xf4, 0xeb, 0xfd); // hlt, again and again
  for (const { label, bytes } of data) {
    asm.label(label);
    for (let from = 0; from < bytes.length; from += PIECE) asm.db(...bytes.subarray(from, from + PIECE));
  }
  asm.align(16);
  asm.space(4096);
  asm.label('stackTop');
  asm.label('imageEnd');
  return asm.finish();
}

function emit(asm: Assembler, operation: Operation, data: { label: string; bytes: Uint8Array }[]): void {
  switch (operation.kind) {
    case 'out8':
      return asm.out(operation.port, operation.value);
    case 'out16':
      asm.mov('edx', operation.port);
      asm.mov('eax', operation.value);
      return asm.db(0x66, 0xef);
    case 'in8':
      return asm.in(operation.port);
    case 'load8':
      return asm.mov('al', mem(operation.address));
    default: {
      const { bytes } = operation;
      const label = asm.fresh('data');
      data.push({ label, bytes });
      asm.mov('esi', at(label));
      if (operation.kind === 'store') {
        asm.mov('edi', operation.address);
      } else {
        asm.mov('edi', 'ebp');
        asm.alu('add', 'edi', operation.offset);
      }
      asm.mov('ecx', bytes.length);
      asm.db(0xf3, 0xa4); // rep movsb
    }
  }
}
