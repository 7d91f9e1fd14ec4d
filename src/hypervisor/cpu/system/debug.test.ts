import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AC, RF, readRflags, TF, writeRflags } from '../flags.ts';
import { S, SS } from '../layout.ts';
import { Guest, KERNEL, KERNEL_TOP, SELECTOR, USER, USER_TOP } from './guestbed.ts';
import { CR0, CR4, readSegment } from './registers.ts';

const HANDLER = KERNEL + 0x800,
  LOG = 0x180000,
  DATA = 0x190000,
  R15 = 15;
/** Keeps RIP, DR6 and RFLAGS of every #DB, clears DR6 and sets RF. */
const LOGGER = `50 48 8B 44 24 08 49 89 07 0F 21 F0 49 89 47 08 48 8B 44 24 18 49 89 47 10 31 C0 0F 23 F0
  81 4C 24 18 00 00 01 00 49 83 C7 18 58 48 CF`;
const DR6_FIXED = 0xffff_0ff0;
const BS = 0x4000,
  BD = 0x2000;

interface Exception {
  readonly rip: number;
  readonly dr6: number;
  readonly flags: number;
}

/** A guest at a level with `code` at its start, the debug registers given and a #DB handler that keeps a log. */
function debugged(level: 0 | 3, code: string, dr7 = 0, addresses: readonly number[] = []): Guest {
  const rip = level === 0 ? KERNEL : USER;
  const guest = new Guest().long(level, rip);
  guest.code(rip, code);
  guest.code(HANDLER, LOGGER);
  guest.code(KERNEL + 0x700, 'F4');
  guest.gate(1, HANDLER);
  guest.gate(13, KERNEL + 0x700);
  guest.setReg(R15, LOG);
  guest.setReg(3, DATA);
  guest.set(S.cr4, CR4.PAE | CR4.DE | CR4.OSFXSR);
  addresses.forEach((address, n) => guest.set(S.dr + n * 8, address));
  guest.set(S.dr + 56, 0x400 | dr7);
  guest.cpu.stateChanged();
  return guest;
}

/** Runs to HLT; the exceptions, their RIPs counted from the code's start, DR6 without its fixed bits. */
function exceptions(guest: Guest, from = KERNEL): Exception[] {
  guest.untilHalt();
  const count = (Number(guest.reg(R15)) - LOG) / 24;
  return Array.from({ length: count }, (_, i) => ({
    rip: Number(guest.peek(LOG + i * 24)) - from,
    dr6: Number(guest.peek(LOG + i * 24 + 8) ^ BigInt(DR6_FIXED)),
    flags: Number(guest.peek(LOG + i * 24 + 16)),
  }));
}

const places = (found: readonly Exception[]): [number, number][] => found.map(({ rip, dr6 }) => [rip, dr6]);

describe('single-stepping', () => {
  // push 302h; popfq; …; push 2; popfq; hlt
  const stepped = (code: string): string => `68 02 03 00 00 9D ${code} 6A 02 9D F4`;

  it('traps behind each instruction but the one that sets TF, and behind the one that clears it', () => {
    const guest = debugged(0, stepped('90 FF C1'));
    const found = exceptions(guest);
    assert.deepEqual(
      places(found),
      [7, 9, 11, 12].map((rip) => [rip, BS]),
    );
    assert.ok(found.every(({ flags }) => (flags & RF) === 0));
  });

  it('traps behind STI, CPUID and port I/O', () => {
    // sti; cpuid; in al,61h; out 99h,al
    const guest = debugged(0, stepped('FB 0F A2 E4 61 E6 99'));
    guest.setReg(3, 0);
    assert.deepEqual(
      places(exceptions(guest)).map(([rip]) => rip),
      [7, 9, 11, 13, 15, 16],
    );
  });

  it('not behind MOV SS, but behind the instruction after it', () => {
    // mov ecx,18h is before; mov ss,ecx; nop; nop
    const guest = debugged(0, stepped('8E D1 90 90'));
    guest.setReg(1, SELECTOR.data0);
    assert.deepEqual(
      places(exceptions(guest)).map(([rip]) => rip),
      [9, 10, 12, 13],
    );
    assert.equal(readSegment(guest.cpu.context, SS).selector, SELECTOR.data0);
  });

  it('INT1 behind MOV SS is one #DB, without BS', () => {
    const guest = debugged(0, stepped('8E D1 F1 90'));
    guest.setReg(1, SELECTOR.data0);
    assert.deepEqual(places(exceptions(guest)), [
      [9, 0],
      [10, BS],
      [12, BS],
      [13, BS],
    ]);
  });

  it('MOV DR behind MOV SS under DR7.GD: BD first, then the step', () => {
    const guest = debugged(0, stepped('8E D1 0F 21 C0 90'), 0x2000);
    guest.setReg(1, SELECTOR.data0);
    assert.deepEqual(places(exceptions(guest)), [
      [8, BD],
      [11, BS],
      [12, BS],
      [14, BS],
      [15, BS],
    ]);
  });

  it('each iteration of a string instruction is a step, with RF set but behind the last', () => {
    // rep stosb
    const guest = debugged(0, stepped('F3 AA'));
    guest.setReg(7, DATA);
    guest.setReg(1, 3);
    const found = exceptions(guest);
    assert.deepEqual(
      places(found).map(([rip]) => rip),
      [6, 6, 8, 10, 11],
    );
    assert.deepEqual(
      found.map(({ flags }) => (flags & RF) !== 0),
      [true, true, false, false, false],
    );
    assert.deepEqual([guest.reg(1), guest.reg(7)], [0n, BigInt(DATA + 3)]);
  });

  it('an instruction that faults leaves no trap; its handler does not run under TF', () => {
    // ud2 at 6; the #UD handler adds 2 to RIP and returns
    const guest = debugged(0, stepped('0F 0B'));
    guest.code(KERNEL + 0x600, '48 83 04 24 02 41 FF C4 48 CF');
    guest.gate(6, KERNEL + 0x600);
    assert.deepEqual(
      places(exceptions(guest)).map(([rip]) => rip),
      [10, 11],
    );
    assert.equal(guest.reg(12), 1n);
  });

  it('INT n enters its handler without a trap; SYSCALL masks TF, SYSRET brings it back', () => {
    // int 80h (IRETQ); syscall; nop; pushfq; and [rsp],~TF; popfq; hlt
    const guest = debugged(3, '9C 81 0C 24 00 01 00 00 9D CD 80 0F 05 90 9C 81 24 24 FF FE FF FF 9D F4');
    guest.code(KERNEL, '48 0F 07');
    guest.code(KERNEL + 0x40, '48 CF');
    guest.gate(0x80, KERNEL + 0x40, 0xee);
    const found = exceptions(guest, USER);
    // IRETQ comes back with TF set, so the next trap is behind SYSCALL as if SYSRET had ended it.
    assert.deepEqual(
      places(found).map(([rip]) => rip),
      [13, 14, 15, 22, 23],
    );
    assert.ok(found.every(({ dr6 }) => dr6 === BS));
  });
});

describe('instruction breakpoints', () => {
  it('fault before the instruction, which runs under RF', () => {
    // inc ecx; inc ecx; inc ecx; hlt
    const guest = debugged(0, 'FF C1 FF C1 FF C1 F4', 0x0f, [KERNEL + 2, KERNEL + 4]);
    const found = exceptions(guest);
    assert.deepEqual(places(found), [
      [2, 1],
      [4, 2],
    ]);
    // The processor does not set RF for its own breakpoints: the handler does.
    assert.ok(found.every(({ flags }) => (flags & RF) === 0));
    assert.equal(guest.reg(1), 3n);
    assert.equal(readRflags(guest.view) & RF, 0);
  });

  it('RF lasts for one instruction', () => {
    // nop; loop -3
    const guest = debugged(0, '90 E2 FD F4', 1, [KERNEL]);
    guest.setReg(1, 4);
    assert.deepEqual(
      places(exceptions(guest)),
      [0, 0, 0, 0].map((rip) => [rip, 1]),
    );
  });

  it('B0-B3 tell of the exception alone, the rest of DR6 stays', () => {
    const guest = debugged(0, '90 F4', 2, [KERNEL]);
    guest.set(S.dr + 48, (DR6_FIXED | BS | 2) >>> 0);
    assert.deepEqual(places(exceptions(guest)), [[0, BS | 1]]);
  });

  it('a repeated string instruction meets its breakpoint once', () => {
    const guest = debugged(0, 'F3 AA F4', 1, [KERNEL]);
    guest.setReg(7, DATA);
    guest.setReg(1, 5);
    assert.deepEqual(places(exceptions(guest)), [[0, 1]]);
    assert.equal(guest.reg(1), 0n);
  });

  it('a fault pushes RF, and IRET brings it back for the instruction that faulted', () => {
    // mov [rbx+r12],al at a page that is not there at first
    const guest = debugged(0, '42 88 04 23 F4', 1, [KERNEL]);
    guest.poke(0x12008, 0);
    guest.setReg(3, USER);
    // #PF: mov qword [12008h],200087h; inc r13; add rsp,8; iretq
    guest.code(KERNEL + 0x600, '48 C7 04 25 08 20 01 00 87 00 20 00 49 FF C5 48 83 C4 08 48 CF');
    guest.gate(14, KERNEL + 0x600);
    guest.cpu.stateChanged();
    assert.deepEqual(places(exceptions(guest)), [[0, 1]]);
    assert.equal(guest.reg(13), 1n);
  });

  it('nothing happens without an enable bit', () => {
    assert.deepEqual(exceptions(debugged(0, '90 F4', 0, [KERNEL])), []);
  });
});

describe('data breakpoints', () => {
  const WRITE4 = 0xd,
    ANY1 = 0x3,
    ANY8 = 0xb,
    WRITE2 = 0x5;

  it('trap behind a write that touches them; reads do not count for R/W 01', () => {
    // mov eax,[rbx]; mov [rbx],eax; nop; mov [rbx+3],al; mov [rbx+4],eax; mov [rbx-3],eax; hlt
    const guest = debugged(0, '8B 03 89 03 90 88 43 03 89 43 04 89 43 FD F4', (WRITE4 << 16) | 1, [DATA]);
    assert.deepEqual(places(exceptions(guest)), [
      [4, 1],
      [8, 1],
      [14, 1],
    ]);
  });

  it('R/W 11 meets reads, writes and both at once; several report together', () => {
    // mov eax,[rbx]; inc dword [rbx]; push qword [rbx]; hlt
    const guest = debugged(0, '8B 03 FF 03 FF 33 F4', (ANY8 << 16) | (WRITE4 << 20) | 0xf, [DATA + 5, DATA]);
    assert.deepEqual(places(exceptions(guest)), [
      [2, 1],
      [4, 3],
      [6, 1],
    ]);
  });

  it('an address is cut to its length', () => {
    // mov [rbx+2],al
    const guest = debugged(0, '88 43 02 F4', (WRITE2 << 16) | 1, [DATA + 3]);
    assert.deepEqual(places(exceptions(guest)), [[3, 1]]);
  });

  it('accesses over a page end, of SSE and of CALL', () => {
    // movups xmm0,[rbx-8]; call +0; hlt
    const code = '0F 10 43 F8 E8 00 00 00 00 F4';
    const at = (dr7: number, address: number): [number, number][] =>
      places(exceptions(debugged(0, code, dr7, [address])));
    assert.deepEqual(at((ANY1 << 16) | 1, DATA + 7), [[4, 1]]);
    assert.deepEqual(at((ANY1 << 16) | 1, DATA - 8), [[4, 1]]);
    assert.deepEqual(at((ANY1 << 16) | 1, DATA + 8), []);
    assert.deepEqual(at((WRITE4 << 16) | 1, KERNEL_TOP - 0x808), [[9, 1]]);
  });

  it("the frame of an interrupt: the trap comes before the handler's first instruction", () => {
    // mov [rbx],eax, behind which the frame lies on the other breakpoint; hlt
    const guest = debugged(0, '89 03 F4', (WRITE4 << 16) | (WRITE4 << 20) | 5, [DATA, KERNEL_TOP - 0x810]);
    assert.deepEqual(places(exceptions(guest)), [
      [HANDLER - KERNEL, 2],
      [2, 0],
    ]);
  });

  it('repeated string instructions trap behind the iteration', () => {
    const guest = debugged(0, 'F3 AA F4', (ANY1 << 16) | 1, [DATA + 2]);
    guest.setReg(7, DATA);
    guest.setReg(1, 5);
    const found = exceptions(guest);
    assert.deepEqual(places(found), [[0, 1]]);
    assert.notEqual((found[0]?.flags ?? 0) & RF, 0);
    assert.equal(guest.reg(1), 0n);
  });

  it('an instruction that faults tells nothing', () => {
    // movs from the breakpoint to a page that is not there: #PF, whose handler halts
    const guest = debugged(0, 'A4', (ANY1 << 16) | 1, [DATA]);
    guest.poke(0x12008, 0);
    guest.setReg(6, DATA);
    guest.setReg(7, USER);
    guest.gate(14, KERNEL + 0x700);
    guest.cpu.stateChanged();
    assert.deepEqual(exceptions(guest), []);
    assert.equal(guest.view.getUint32(S.pendingDebug, true), 0);
  });

  it('MOV SS holds them back: with the step behind it, with INT1 once, with INT n twice', () => {
    const run = (code: string): Exception[] => {
      const guest = debugged(0, code, (ANY1 << 16) | 1, [DATA]);
      guest.poke(DATA, SELECTOR.data0);
      return exceptions(guest);
    };
    // mov ss,[rbx]; nop; nop; hlt
    assert.deepEqual(places(run('8E 13 90 90 F4')), [[3, 1]]);
    assert.deepEqual(places(run('8E 13 F1 90 F4')), [[3, 1]]);
    const twice = run('8E 13 CD 01 90 F4');
    assert.deepEqual(places(twice), [
      [HANDLER - KERNEL, 1],
      [4, 0],
    ]);
  });

  it('at level 3, with an interrupt frame pushed on another stack', () => {
    // mov [rbx],eax; int 80h; hlt
    const guest = debugged(3, '89 03 CD 80 F4', (WRITE4 << 16) | 1, [DATA]);
    guest.code(KERNEL + 0x40, '48 CF');
    guest.gate(0x80, KERNEL + 0x40, 0xee);
    assert.deepEqual(places(exceptions(guest, USER)), [[2, 1]]);
  });

  it('memory is written and read as ever, and runs at full speed once they are off', () => {
    // mov [rbx],eax; xor ecx,ecx; mov dr7,rcx; mov [rbx],eax; hlt
    const guest = debugged(0, '89 03 31 C9 0F 23 F9 89 03 F4', (WRITE4 << 16) | 1, [DATA]);
    guest.setReg(0, 0x1234);
    assert.deepEqual(places(exceptions(guest)), [[2, 1]]);
    assert.equal(guest.peek(DATA), 0x1234n);
    assert.equal(guest.view.getUint32(S.watch, true), 0);
  });
});

describe('I/O breakpoints and DR7.GD', () => {
  it('trap behind an access to one of the ports', () => {
    // in al,61h; out 99h,al; out 98h,ax; hlt
    const guest = debugged(0, 'E4 61 E6 99 66 E7 98 F4', (0x2 << 16) | 1, [0x99]);
    assert.deepEqual(places(exceptions(guest)), [
      [4, 1],
      [7, 1],
    ]);
  });

  it('GD faults before MOV DR and is cleared on the way', () => {
    // mov rax,dr0; hlt
    const guest = debugged(0, '0F 21 C0 F4', 0x2000, [0x1234]);
    const found = exceptions(guest);
    assert.deepEqual(places(found), [[0, BD]]);
    assert.notEqual((found[0]?.flags ?? 0) & RF, 0);
    assert.equal(guest.reg(0), 0x1234n);
    assert.equal(guest.view.getUint32(S.dr + 56, true), 0x400);
  });

  it('INT1 is a #DB that touches no bit of DR6', () => {
    assert.deepEqual(places(exceptions(debugged(0, 'F1 F4'))), [[1, 0]]);
  });
});

describe('alignment checks', () => {
  function aligned(code: string, flags = AC | 0x202, level: 0 | 3 = 3): Guest {
    const guest = debugged(level, code);
    guest.set(S.cr0, guest.view.getBigUint64(S.cr0, true) | BigInt(CR0.AM));
    writeRflags(guest.view, flags);
    guest.code(KERNEL + 0x700, 'F4');
    guest.gate(17, KERNEL + 0x740);
    // inc r12; hlt
    guest.code(KERNEL + 0x740, '41 FF C4 F4');
    guest.cpu.stateChanged();
    return guest;
  }
  const faults = (code: string, flags?: number, level?: 0 | 3): boolean => {
    const guest = aligned(`${code} F4`, flags, level);
    guest.untilHalt();
    if (guest.reg(12) === 0n) return false;
    const frame = Number(guest.reg(4));
    assert.equal(guest.peek(frame), 0n, 'the error code');
    assert.equal(guest.peek(frame + 8), BigInt(level === 0 ? KERNEL : USER), 'RIP');
    return true;
  };

  it('words, doublewords and quadwords at addresses that are no multiple of their size', () => {
    assert.equal(faults('66 8B 43 01'), true);
    assert.equal(faults('8B 43 02'), true);
    assert.equal(faults('89 43 02'), true);
    assert.equal(faults('48 8B 43 04'), true);
    assert.equal(faults('48 01 43 04'), true);
    assert.equal(faults('8A 43 03'), false);
    assert.equal(faults('8B 43 04'), false);
    assert.equal(faults('48 8B 43 08'), false);
  });

  it('SSE operands of 8 bytes and less, x87 operands, unaligned 16 bytes not', () => {
    assert.equal(faults('F3 0F 7E 43 04'), true, 'movq');
    assert.equal(faults('F3 0F 10 43 02'), true, 'movss');
    assert.equal(faults('0F 10 43 04'), false, 'movups');
    assert.equal(faults('DD 43 04'), true, 'fld m64');
    assert.equal(faults('DD 43 08'), false);
  });

  it('the stack, and over a page end', () => {
    // push rax behind: lea rsp,[rsp-4] would come first; rsp is set instead
    const guest = aligned('50 F4');
    guest.setReg(4, USER_TOP - 4);
    guest.untilHalt();
    assert.equal(guest.reg(12), 1n);
    assert.equal(faults('8B 43 FE'), true);
  });

  it('need EFLAGS.AC, CR0.AM and level 3', () => {
    assert.equal(faults('8B 43 02', 0x202), false);
    assert.equal(faults('8B 43 02', AC | 0x202, 0), false);
    const guest = aligned('8B 43 02 F4');
    guest.set(S.cr0, guest.view.getBigUint64(S.cr0, true) & ~BigInt(CR0.AM));
    guest.cpu.stateChanged();
    guest.untilHalt();
    assert.equal(guest.reg(12), 0n);
  });

  it('a page fault comes first; the frame that an exception pushes is exempt; IRET brings checks back', () => {
    // int 80h; mov eax,[rbx+2]
    const guest = aligned('CD 80 8B 43 02');
    guest.poke(0x3000 + 4, KERNEL_TOP);
    guest.code(KERNEL + 0x40, '8B 43 01 48 CF');
    guest.gate(0x80, KERNEL + 0x40, 0xee);
    guest.untilHalt();
    assert.equal(guest.reg(12), 1n);
    assert.equal(guest.peek(Number(guest.reg(4)) + 8), BigInt(USER + 2));
    // AC set by POPF takes effect at once.
    assert.equal(readRflags(guest.view) & TF, 0);
  });

  it('POPF that sets AC takes effect at once', () => {
    // push 40202h; popfq; mov eax,[rbx+2]
    const guest = aligned('68 02 02 04 00 9D 8B 43 02 F4', 0x202);
    guest.untilHalt();
    assert.equal(guest.reg(12), 1n);
  });
});

describe('exceptions that feed themselves', () => {
  it('use up the slice', () => {
    // ud2, whose handler is the same UD2, on a stack of its own each time
    const guest = debugged(0, '0F 0B');
    guest.gate(6, KERNEL);
    guest.poke(0x2000 + 6 * 16, guest.peek(0x2000 + 6 * 16) | (1n << 32n));
    guest.poke(0x3000 + 0x24, KERNEL_TOP);
    guest.cpu.stateChanged();
    assert.equal(guest.cpu.run(10_000), 'budget');
    assert.equal(guest.cpu.instructions, 0);
  });

  it('an instruction breakpoint on its own handler too', () => {
    const guest = debugged(0, '90', 1, [KERNEL]);
    guest.gate(1, KERNEL);
    guest.poke(0x2000 + 16, guest.peek(0x2000 + 16) | (1n << 32n));
    guest.poke(0x3000 + 0x24, KERNEL_TOP);
    assert.equal(guest.cpu.run(10_000), 'budget');
  });
});
