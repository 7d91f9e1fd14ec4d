import { writeFile } from 'node:fs/promises';
import { Assembler } from './assembler.ts';

/**
 * A guest that is up in milliseconds: it prints ECHO_BANNER on COM1, sleeps
 * (HLT) and sends back what it is sent, except for the letters of ECHO_KEYS.
 * It also powers itself off when its ACPI power button is pressed.
 */
export const ECHO_BANNER = 'echo guest ready\r\n';

export const ECHO_KEYS = {
  /** ACPI S5. */
  powerOff: 'Q',
  /** An exception without a descriptor table. */
  tripleFault: 'T',
  /** The PIIX reset register. */
  reset: 'R',
  /** Writes 1 to isa-debug-exit. */
  debugExit: 'X',
  /** Runs in circles, deaf. */
  spin: 'S',
} as const;

const LOAD_ADDRESS = 0x100000;
const COM1 = 0x3f8;
const PM1_EVENT = 0x600;
const PM1_CONTROL = 0x604;
/** PM1_STS and PM1_EN bit 8: the power button (ACPI 6.5 §4.8.3.1). */
const POWER_BUTTON = 0x100;
const SMI_COMMAND = 0xb2;
const ACPI_ENABLE = 0xf1;

const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;

/** MOV DX, port; MOV AL, value; OUT DX, AL. */
function out8(asm: Assembler, port: number, value: number): void {
  asm.bytes(0x66, 0xba).u16(port).bytes(0xb0, value, 0xee);
}

function out16(asm: Assembler, port: number, value: number): void {
  asm.bytes(0x66, 0xba).u16(port).bytes(0x66, 0xb8).u16(value).bytes(0x66, 0xef);
}

/** MOV DX, port; IN AL, DX. */
function in8(asm: Assembler, port: number): void {
  asm.bytes(0x66, 0xba).u16(port).bytes(0xec);
}

function emitStart(asm: Assembler): void {
  asm.label('entry').bytes(0xfa); // cli
  asm.bytes(0xbc).abs32('stackTop'); // mov esp, stackTop
  asm.bytes(0x0f, 0x01, 0x15).abs32('gdtr'); // lgdt
  asm.bytes(0xea).abs32('flat').u16(CODE_SELECTOR); // jmp far
  asm.label('flat').bytes(0x66, 0xb8).u16(DATA_SELECTOR); // mov ax
  asm.bytes(0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0); // mov ds, es, ss
  asm.bytes(0x0f, 0x01, 0x1d).abs32('idtr'); // lidt
  // 8259 pair: vectors 0x20 and 0x28; IRQ 2, 4 and 9 open.
  for (const [port, value] of [
    [0x20, 0x11],
    [0x21, 0x20],
    [0x21, 0x04],
    [0x21, 0x01],
    [0x21, 0xeb],
    [0xa0, 0x11],
    [0xa1, 0x28],
    [0xa1, 0x02],
    [0xa1, 0x01],
    [0xa1, 0xfd],
  ] as const) {
    out8(asm, port, value);
  }
  out8(asm, COM1 + 2, 0x01); // FIFO on
  out8(asm, COM1 + 4, 0x0b); // DTR, RTS, OUT2
  out8(asm, COM1 + 1, 0x01); // received data interrupts
  out8(asm, SMI_COMMAND, ACPI_ENABLE);
  out16(asm, PM1_EVENT + 2, POWER_BUTTON);
  asm.bytes(0xbe).abs32('banner'); // mov esi, banner
  asm.label('print').bytes(0xac, 0x84, 0xc0); // lodsb; test al, al
  asm.branch([0x0f, 0x84], 'printed').branch([0xe8], 'putc').branch([0xe9], 'print');
  asm.label('printed').bytes(0xfb); // sti
  asm.label('idle').bytes(0xf4).branch([0xe9], 'idle'); // hlt
}

function emitPutc(asm: Assembler): void {
  asm.label('putc').bytes(0x88, 0xc4); // mov ah, al
  asm.label('full');
  in8(asm, COM1 + 5);
  asm.bytes(0xa8, 0x20).branch([0x0f, 0x84], 'full'); // test al, THRE; jz
  asm.bytes(0x66, 0xba).u16(COM1).bytes(0x88, 0xe0, 0xee, 0xc3); // mov al, ah; out; ret
}

function emitSerialHandler(asm: Assembler): void {
  asm.label('onSerial').bytes(0x60); // pusha
  asm.label('receive');
  in8(asm, COM1 + 5);
  asm.bytes(0xa8, 0x01).branch([0x0f, 0x84], 'received'); // test al, DR; jz
  in8(asm, COM1);
  for (const [key, label] of [
    [ECHO_KEYS.powerOff, 'powerOff'],
    [ECHO_KEYS.tripleFault, 'tripleFault'],
    [ECHO_KEYS.reset, 'reset'],
    [ECHO_KEYS.debugExit, 'debugExit'],
    [ECHO_KEYS.spin, 'spin'],
  ] as const) {
    asm.bytes(0x3c, key.charCodeAt(0)).branch([0x0f, 0x84], label); // cmp al, key; je
  }
  asm.branch([0xe8], 'putc').branch([0xe9], 'receive');
  asm.label('received');
  out8(asm, 0x20, 0x20);
  asm.bytes(0x61, 0xcf); // popa; iretd
}

function emitPowerHandler(asm: Assembler): void {
  asm.label('onPower').bytes(0x60);
  asm.bytes(0x66, 0xba).u16(PM1_EVENT).bytes(0x66, 0xed); // in ax, dx
  asm.bytes(0x66, 0xa9).u16(POWER_BUTTON).branch([0x0f, 0x85], 'powerOff'); // test ax; jnz
  out8(asm, 0xa0, 0x20);
  out8(asm, 0x20, 0x20);
  asm.bytes(0x61, 0xcf);
}

function emitEndings(asm: Assembler): void {
  asm.label('powerOff');
  out16(asm, PM1_CONTROL, 0x2000); // SLP_EN with SLP_TYP 0, which is S5
  asm.branch([0xe9], 'spin');
  asm.label('tripleFault').bytes(0x0f, 0x01, 0x1d).abs32('noIdtr').bytes(0xcc); // lidt; int3
  asm.label('reset');
  out8(asm, 0xcf9, 0x06);
  asm.branch([0xe9], 'spin');
  asm.label('debugExit');
  out8(asm, 0xf4, 1);
  asm.label('spin').branch([0xe9], 'spin');
}

/** A 32-bit interrupt gate (SDM vol. 3, 6.11). */
function emitGate(asm: Assembler, handler: number): void {
  asm
    .u16(handler & 0xffff)
    .u16(CODE_SELECTOR)
    .bytes(0, 0x8e)
    .u16(handler >>> 16);
}

function emitTables(asm: Assembler): void {
  asm.align(8).label('gdt').u32(0).u32(0);
  asm.u32(0x0000ffff).u32(0x00cf9a00); // flat code
  asm.u32(0x0000ffff).u32(0x00cf9200); // flat data
  asm.label('gdtr').u16(23).abs32('gdt');
  asm.align(8).label('idt');
  const gates = new Map([
    [0x24, asm.address('onSerial')],
    [0x29, asm.address('onPower')],
  ]);
  for (let vector = 0; vector < 0x30; vector++)
    emitGate(asm, gates.get(vector) ?? asm.address('tripleFault'));
  asm
    .label('idtr')
    .u16(0x30 * 8 - 1)
    .abs32('idt');
  asm.label('noIdtr').u16(0).u32(0);
  asm.label('banner').bytes(...Buffer.from(`${ECHO_BANNER}\0`));
  asm
    .align(16)
    .bytes(...new Uint8Array(4096))
    .label('stackTop')
    .u32(0);
}

/** The guest as an ELF file with a PVH entry note (Xen's PHYS32_ENTRY, type 18). */
export function buildEchoGuest(): Buffer {
  const asm = new Assembler(LOAD_ADDRESS);
  emitStart(asm);
  emitPutc(asm);
  emitSerialHandler(asm);
  emitPowerHandler(asm);
  emitEndings(asm);
  emitTables(asm);
  return wrapInElf(asm.assemble(), asm.address('entry'));
}

/** Writes the guest to a file for a machine to boot. */
export async function writeEchoGuest(path: string): Promise<void> {
  await writeFile(path, buildEchoGuest());
}

const ELF_HEADER_BYTES = 52;
const PROGRAM_HEADER_BYTES = 32;

/** ELF32 (System V ABI, i386): one loaded segment and one note. */
export function wrapInElf(image: Buffer, entry: number): Buffer {
  const note = Buffer.alloc(20);
  note.writeUInt32LE(4, 0); // name size
  note.writeUInt32LE(4, 4); // descriptor size
  note.writeUInt32LE(18, 8);
  note.write('Xen\0', 12, 'latin1');
  note.writeUInt32LE(entry, 16);
  const noteOffset = ELF_HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES;
  const imageOffset = 4096;

  const header = Buffer.alloc(imageOffset);
  header.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  header.writeUInt16LE(2, 16); // executable
  header.writeUInt16LE(3, 18); // i386
  header.writeUInt32LE(1, 20);
  header.writeUInt32LE(entry, 24);
  header.writeUInt32LE(ELF_HEADER_BYTES, 28); // program headers
  header.writeUInt16LE(ELF_HEADER_BYTES, 40);
  header.writeUInt16LE(PROGRAM_HEADER_BYTES, 42);
  header.writeUInt16LE(2, 44);
  const segment = (at: number, fields: readonly number[]): void => {
    fields.forEach((value, index) => header.writeUInt32LE(value, at + index * 4));
  };
  const size = image.length;
  segment(ELF_HEADER_BYTES, [1, imageOffset, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 7, 4096]);
  segment(ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES, [4, noteOffset, 0, 0, note.length, note.length, 4, 4]);
  header.set(note, noteOffset);
  return Buffer.concat([header, image]);
}
