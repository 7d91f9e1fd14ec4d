const SECTOR = 512;
const ORIGIN = 0x7c00;
const HANDLER = 0x7c60;
const HEX = 0x7ca0;
const PUT = HEX + 15;
const TEXT = 0x7d00;

/** A near call from `at`, which is where the instruction begins. */
const call = (at: number, to: number): number[] => {
  const distance = (to - (at + 3)) & 0xffff;
  return [0xe8, distance & 0xff, distance >> 8];
};

/**
 * A boot sector in real mode that turns the PS/2 mouse on by the BIOS (INT 15h, C2h), writes `mouse` and then each
 * packet as `[SSXXYY]`: status, movement to the right and up, in hexadecimal.
 */
export function mouseSector(): Uint8Array {
  const sector = new Uint8Array(SECTOR);
  const put = (at: number, ...code: readonly (readonly number[])[]): void =>
    sector.set(code.flat(), at - ORIGIN);
  put(
    ORIGIN,
    [0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0], // cli; xor ax, ax; mov ds, es, ss, ax
    [0xbc, 0x00, 0x7c, 0xea, 0x11, 0x7c, 0x00, 0x00], // mov sp, 7c00h; jmp 0:7c11h
    [0xfb, 0xfc], // sti; cld
    [0xb8, 0x05, 0xc2, 0xb7, 0x03, 0xcd, 0x15], // mov ax, c205h; mov bh, 3; int 15h: packets of three bytes
    [0xb8, 0x07, 0xc2, 0xbb, HANDLER & 0xff, HANDLER >> 8, 0xcd, 0x15], // mov ax, c207h; mov bx, handler; int 15h
    [0xb8, 0x00, 0xc2, 0xb7, 0x01, 0xcd, 0x15], // mov ax, c200h; mov bh, 1; int 15h: on
    [0xbe, TEXT & 0xff, TEXT >> 8], // mov si, text
    [0xac, 0x84, 0xc0, 0x74, 0x06], // next: lodsb; test al, al; jz idle
    [0xb4, 0x0e, 0xcd, 0x10, 0xeb, 0xf5], // mov ah, 0eh; int 10h; jmp next
    [0xf4, 0xeb, 0xfd], // idle: hlt; jmp idle
  );
  // The BIOS calls it far, with status, X, Y and Z as words on the stack.
  put(
    HANDLER,
    [0x55, 0x89, 0xe5, 0x60], // push bp; mov bp, sp; pusha
    [0xb0, 0x5b, ...call(HANDLER + 6, PUT)], // mov al, '['
    [0x8a, 0x46, 0x0c, ...call(HANDLER + 12, HEX)], // mov al, [bp+12]
    [0x8a, 0x46, 0x0a, ...call(HANDLER + 18, HEX)], // mov al, [bp+10]
    [0x8a, 0x46, 0x08, ...call(HANDLER + 24, HEX)], // mov al, [bp+8]
    [0xb0, 0x5d, ...call(HANDLER + 29, PUT)], // mov al, ']'
    [0x61, 0x5d, 0xcb], // popa; pop bp; retf
  );
  put(
    HEX,
    [0x50, 0xc0, 0xe8, 0x04, ...call(HEX + 4, HEX + 10)], // push ax; shr al, 4; call digit
    [0x58, 0x24, 0x0f], // pop ax; and al, 0fh
    [0x3c, 0x0a, 0x1c, 0x69, 0x2f], // digit: cmp al, 10; sbb al, 69h; das
    [0xb4, 0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10, 0xc3], // put: mov ah, 0eh; mov bx, 7; int 10h; ret
  );
  put(TEXT, [...new TextEncoder().encode('mouse'), 0]);
  sector.set([0x55, 0xaa], SECTOR - 2);
  return sector;
}
