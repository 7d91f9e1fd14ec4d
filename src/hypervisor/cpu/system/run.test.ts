import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { IF, readRflags } from '../flags.ts';
import { GS, RAM, S, SEG, segment } from '../layout.ts';
import { GDT, Guest, KERNEL, SELECTOR, USER } from './guestbed.ts';
import { readSegment } from './registers.ts';

describe('system code run by the interpreter', () => {
  it('SYSCALL, SWAPGS and SYSRET; HLT at level 3 is #GP', () => {
    const guest = new Guest().long(3, USER);
    // syscall; dec rbx; jnz -7; hlt
    guest.code(USER, '0F 05 48 FF CB 75 F9 F4');
    // swapgs; rdgsbase rax; swapgs; inc r12; sysretq
    guest.code(KERNEL, '0F 01 F8 F3 48 0F AE C8 0F 01 F8 49 FF C4 48 0F 07');
    guest.code(KERNEL + 0x100, 'F4');
    guest.gate(13, KERNEL + 0x100);
    guest.set(S.kernelGsBase, 0xffff_8880_1234_5000n);
    guest.setReg(3, 50);
    guest.untilHalt();
    assert.equal(guest.reg(12), 50n);
    assert.equal(guest.reg(0), 0xffff_8880_1234_5000n);
    assert.equal(readSegment(guest.cpu.context, GS).base, 0n);
    assert.deepEqual(
      [0, 8, 16].map((at) => guest.peek(Number(guest.reg(4)) + at)),
      [0n, BigInt(USER + 7), BigInt(SELECTOR.code3)],
    );
  });

  it('INT and IRETQ between levels, through compatibility mode too', () => {
    const guest = new Guest().long(3, USER);
    // int 80h; push 23h; push rax -> 32-bit code; retfq
    guest.code(USER, 'CD 80 6A 23 50 48 CB');
    // inc ebx; int 80h; hlt
    guest.code(USER + 0x100, '43 CD 80 F4');
    guest.code(KERNEL + 0x40, '49 FF C4 48 CF');
    guest.code(KERNEL + 0x100, 'F4');
    guest.gate(0x80, KERNEL + 0x40, 0xee);
    guest.gate(13, KERNEL + 0x100);
    guest.setReg(0, USER + 0x100);
    guest.untilHalt();
    assert.equal(guest.reg(12), 2n);
    assert.equal(guest.reg(3), 1n);
    assert.equal(guest.peek(Number(guest.reg(4)) + 16), BigInt(SELECTOR.code32));
    assert.equal(guest.view.getInt32(S.codeMode, true), 2);
  });

  it('interrupts wait for IF and for the instruction behind STI', () => {
    const guest = new Guest().long(0, KERNEL);
    // cli; mov al,30h; out 80h,al; nop; sti; inc ebx; inc ebx; hlt
    guest.code(KERNEL, 'FA B0 30 E6 80 90 FB FF C3 FF C3 F4');
    // mov r12d, ebx; iretq
    guest.code(KERNEL + 0x40, '41 89 DC 48 CF');
    guest.gate(0x30, KERNEL + 0x40);
    guest.untilHalt();
    assert.equal(guest.reg(12), 1n);
    assert.equal(guest.reg(3), 2n);
  });

  it('POPF opens and closes interrupts; PUSHF shows it', () => {
    const guest = new Guest().long(0, KERNEL);
    // cli; pushfq; pop rbx; mov al,30h; out 80h,al; push 202h; popfq; nop; pushfq; pop rdx; push 2; popfq; pushfq; pop rsi; hlt
    guest.code(KERNEL, 'FA 9C 5B B0 30 E6 80 68 02 02 00 00 9D 90 9C 5A 6A 02 9D 9C 5E F4');
    guest.code(KERNEL + 0x40, '41 FF C4 48 CF');
    guest.gate(0x30, KERNEL + 0x40);
    guest.untilHalt();
    assert.deepEqual(
      [3, 2, 6].map((n) => guest.reg(n)),
      [2n, 0x202n, 2n],
    );
    assert.equal(guest.reg(12), 1n);
    assert.equal(readRflags(guest.view) & IF, 0);
  });

  it('at level 3 POPF leaves IF alone and CLI is #GP', () => {
    const guest = new Guest().long(3, USER);
    // push 2; popfq; pushfq; pop rbx; cli
    guest.code(USER, '6A 02 9D 9C 5B FA');
    guest.code(KERNEL + 0x100, 'F4');
    guest.gate(13, KERNEL + 0x100);
    guest.untilHalt();
    assert.equal(guest.reg(3), 0x202n);
    assert.equal(guest.peek(Number(guest.reg(4)) + 8), BigInt(USER + 5));
  });

  it('the way down to real mode and up again', () => {
    const guest = new Guest().long(0, 0x8000);
    // push 58h; push 8010h; retfq
    guest.code(0x8000, '6A 58 68 10 80 00 00 48 CB');
    // mov eax,11h; mov cr0,eax (paging off); mov ecx,EFER; xor eax,eax; xor edx,edx; wrmsr; jmp 50h:8040h
    guest.code(0x8010, 'B8 11 00 00 00 0F 22 C0 B9 80 00 00 C0 31 C0 31 D2 0F 30 EA 40 80 00 00 50 00');
    // 16-bit: mov ax,10h; mov cr0,eax; jmp 0:8060h
    guest.code(0x8040, '66 B8 10 00 00 00 0F 22 C0 EA 60 80 00 00');
    // real mode: mov ax,1234h; mov ds,ax; mov ax,ds; mov bx,ax; xor ax,ax; mov ss,ax; mov sp,7000h; lidt [cs:80a0h];
    // int 21h; hlt
    guest.code(0x8060, 'B8 34 12 8E D8 8C D8 89 C3 31 C0 8E D0 BC 00 70 2E 0F 01 1E A0 80 CD 21 F4');
    // iret handler: inc cx; iret
    guest.code(0x8090, '41 CF');
    guest.code(0x80a0, 'FF 03 00 00 00 00');
    guest.code(0x21 * 4, '90 80 00 00');
    guest.setReg(3, 0);
    guest.untilHalt();
    assert.equal(guest.reg(3) & 0xffffn, 0x1234n);
    assert.equal(guest.reg(1) & 0xffffn, 0x81n);
    assert.deepEqual(
      [guest.view.getBigUint64(S.cr0, true), guest.view.getBigUint64(S.efer, true)],
      [0x10n, 0n],
    );
    assert.equal(guest.view.getBigUint64(segment(3) + SEG.base, true), 0x12340n);
  });

  it('the high halves of registers are gone once 64-bit mode is left', () => {
    const guest = new Guest().long(0, 0x8000);
    // push 58h; push 8010h; retfq — mov al,1; hlt
    guest.code(0x8000, '6A 58 68 10 80 00 00 48 CB');
    guest.code(0x8010, 'B0 01 F4');
    guest.setReg(0, 0x1234_5678_9abc_def0n);
    guest.setReg(3, -1n & 0xffff_ffff_ffff_ffffn);
    guest.untilHalt();
    assert.deepEqual([guest.reg(0), guest.reg(3)], [0x9abc_de01n, 0xffff_ffffn]);
  });

  it('the encodings of system registers and of string I/O reach their routines', () => {
    const guest = new Guest().long(0, KERNEL);
    guest.code(
      KERNEL,
      `
      B9 B8 0B 00 00 BE 00 00 20 00 66 BA 99 00 F3 6E
      44 0F 20 C3 41 BC 78 56 34 12 41 0F 23 DC 0F 21 DD
      0F 00 CF 0F 02 C7 0F 01 04 25 00 50 00 00 0F A0 0F A9
      8C D2 E5 61 F4`,
    );
    // mov ecx,3000; mov esi,200000h; mov dx,99h; rep outsb
    // mov rbx,cr8; mov r12d,12345678h; mov dr3,r12; mov rbp,dr3
    // str edi; lar eax,di; sgdt [5000h]; push fs; pop gs; mov edx,ss; in eax,61h; hlt
    guest.view.setUint8(RAM + USER + 2999, 0x77);
    guest.untilHalt();
    assert.equal(guest.ports.length, 3000);
    assert.equal(guest.ports[2999], 0x77);
    assert.deepEqual([guest.reg(1), guest.reg(6)], [0n, BigInt(USER + 3000)]);
    assert.equal(guest.view.getBigUint64(S.dr + 24, true), 0x12345678n);
    assert.equal(guest.reg(5), 0x12345678n);
    assert.deepEqual(
      [guest.reg(7), guest.reg(2), guest.reg(0)],
      [BigInt(SELECTOR.tss), BigInt(SELECTOR.data0), 0x5an],
    );
    assert.equal(guest.peek(0x5000) & 0xffff_ffff_ffffn, (BigInt(GDT) << 16n) | 0xffffn);
  });

  it('a fault without a handler, and none for the double fault, stops the processor', () => {
    const guest = new Guest().long(0, KERNEL);
    guest.code(KERNEL, '0F 0B');
    guest.view.setUint32(S.idtrLimit, 0, true);
    assert.equal(guest.cpu.run(1000), 'triple-fault');
  });
});
