const SECTOR = 512;

/** A boot sector in real mode that adds one to the first byte of the disk's second sector, and writes `count N`. */
export function countingSector(): Uint8Array {
  const sector = (operation: number): number[] => [
    ...[0x5a, 0x52], // pop dx; push dx
    ...[0xb8, 0x01, operation], // mov ax, operation:1
    ...[0xbb, 0x00, 0x80], // mov bx, 8000h
    ...[0xb9, 0x02, 0x00], // mov cx, 2
    ...[0xb6, 0x00], // mov dh, 0
    ...[0xcd, 0x13], // int 13h
  ];
  const code = [
    ...[0xfa, 0x31, 0xc0], // cli; xor ax, ax
    ...[0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0], // mov ds, es, ss
    ...[0xbc, 0x00, 0x7c, 0xfb, 0xfc, 0x52], // mov sp, 7c00h; sti; cld; push dx
    ...sector(0x02), // read
    ...[0xfe, 0x06, 0x00, 0x80], // inc byte [8000h]
    ...sector(0x03), // write
    ...[0x31, 0xdb, 0xbe, 0x00, 0x7d], // xor bx, bx; mov si, 7d00h
    ...[0xac, 0x84, 0xc0, 0x74, 0x06], // next: lodsb; test al, al; jz number
    ...[0xb4, 0x0e, 0xcd, 0x10, 0xeb, 0xf5], // mov ah, 0eh; int 10h; jmp next
    ...[0xa0, 0x00, 0x80, 0x04, 0x30], // number: mov al, [8000h]; add al, '0'
    ...[0xb4, 0x0e, 0xcd, 0x10], // mov ah, 0eh; int 10h
    ...[0xf4, 0xeb, 0xfd], // hlt; jmp $-1
  ];
  const bytes = new Uint8Array(SECTOR);
  bytes.set(code);
  bytes.set(new TextEncoder().encode('count '), 0x100);
  bytes.set([0x55, 0xaa], SECTOR - 2);
  return bytes;
}
