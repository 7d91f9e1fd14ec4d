// `npm run bench -- interpreter [--runs N]`: small loops in 64-bit user mode on the interpreter, without a machine
// around it.

import { gpr } from '../../src/hypervisor/cpu/layout.ts';
import { Assembler } from '../guests/assembler.ts';
import { GuestMachine } from '../native/guest-machine.ts';
import { createHostState } from '../native/host-cpu.ts';
import { aboutThisMachine, median, printTable, readRuns } from './support/figures.ts';

const CODE = 0x40_0000;
const DATA = 0x80_0000;
/** More pages than the TLB has entries. */
const DATA_BYTES = 8 << 20;
const STACK_TOP = DATA + DATA_BYTES;
/** Instructions of one slice. */
const SLICE = 500_000;
/** V8 compiles what is hot anew, in the background: figures are taken after that. Milliseconds of processor time. */
const WARM_UP_MS = 700;
const SAMPLE_MS = 400;
const COPIED = 4096;

interface Loop {
  readonly name: string;
  readonly emit: (asm: Assembler) => void;
  /** Bytes that one turn of the loop moves; it counts its turns in R15. */
  readonly bytes?: number;
}

const JMP = [0xe9] as const;
const CALL = [0xe8] as const;
const JE = [0x0f, 0x84] as const;
const JNE = [0x0f, 0x85] as const;
const JB = [0x0f, 0x82] as const;

/** Before each: RSI = DATA, RDI = DATA + 64 KiB, R8 and R9 the same, R10 the data's end, RDX all ones. */
const LOOPS: readonly Loop[] = [
  {
    name: 'ALU, registers',
    emit: (asm) => {
      for (let i = 0; i < 4; i++) {
        asm.bytes(0x48, 0x01, 0xd8, 0x48, 0x31, 0xc1); // add rax, rbx; xor rcx, rax
        asm.bytes(0x48, 0x8d, 0x2c, 0x48, 0x49, 0x29, 0xeb); // lea rbp, [rax+rcx*2]; sub r11, rbp
        asm.bytes(0x49, 0xc1, 0xc4, 0x05, 0x48, 0xff, 0xc3); // rol r12, 5; inc rbx
      }
      asm.branch(JMP, 'loop');
    },
  },
  {
    name: 'loads and stores',
    emit: (asm) => {
      asm.bytes(0x48, 0x8b, 0x04, 0xce, 0x48, 0x01, 0xd8); // mov rax, [rsi+rcx*8]; add rax, rbx
      asm.bytes(0x48, 0x89, 0x84, 0xce).u32(0x2000); // mov [rsi+rcx*8+0x2000], rax
      asm.bytes(0xff, 0xc1, 0x81, 0xe1).u32(0x3ff); // inc ecx; and ecx, 0x3ff
      asm.branch(JMP, 'loop');
    },
  },
  {
    name: 'conditional branches',
    emit: (asm) => {
      asm.bytes(0xff, 0xc0, 0xa8, 0x01).branch(JE, 'even').bytes(0xff, 0xc3); // inc eax; test al, 1; je; inc ebx
      asm.label('even').bytes(0xa8, 0x02).branch(JNE, 'set').bytes(0xff, 0xc1); // test al, 2; jne; inc ecx
      asm.label('set').bytes(0x39, 0xd0).branch(JNE, 'loop').branch(JMP, 'loop'); // cmp eax, edx; jne
    },
  },
  {
    name: 'calls and returns',
    emit: (asm) => {
      asm.branch(CALL, 'outer').branch(JMP, 'loop');
      asm.label('outer').bytes(0x55, 0x48, 0x89, 0xe5).branch(CALL, 'inner').bytes(0x5d, 0xc3); // push rbp; mov; pop; ret
      asm.label('inner').bytes(0xff, 0xc0, 0xc3); // inc eax; ret
    },
  },
  {
    name: 'SSE, packed',
    emit: (asm) => {
      asm.bytes(0x0f, 0x58, 0xc1, 0x66, 0x0f, 0xfe, 0xd3); // addps xmm0, xmm1; paddd xmm2, xmm3
      asm.bytes(0x66, 0x0f, 0xef, 0xe5, 0x0f, 0x28, 0xf4); // pxor xmm4, xmm5; movaps xmm6, xmm4
      asm.branch(JMP, 'loop');
    },
  },
  {
    name: 'copy, a byte at a time',
    bytes: 1,
    emit: (asm) => {
      asm.bytes(0x8a, 0x06, 0x88, 0x07, 0x49, 0xff, 0xc7); // mov al, [rsi]; mov [rdi], al; inc r15
      asm.branch(JMP, 'loop');
    },
  },
  {
    name: 'copy, rep movsb of 4 KiB',
    bytes: COPIED,
    emit: (asm) => {
      asm.bytes(0x4c, 0x89, 0xc6, 0x4c, 0x89, 0xcf, 0xb9).u32(COPIED); // mov rsi, r8; mov rdi, r9; mov ecx, 4096
      asm.bytes(0xf3, 0xa4, 0x49, 0xff, 0xc7).branch(JMP, 'loop'); // rep movsb; inc r15
    },
  },
  {
    name: 'a TLB miss a turn',
    emit: (asm) => {
      asm.label('page').bytes(0x8b, 0x06, 0x48, 0x81, 0xc6).u32(0x1000); // mov eax, [rsi]; add rsi, 4096
      asm.bytes(0x4c, 0x39, 0xd6).branch(JB, 'page'); // cmp rsi, r10; jb
      asm.bytes(0x4c, 0x89, 0xc6).branch(JMP, 'loop'); // mov rsi, r8
    },
  },
  {
    name: 'CPUID, a system routine',
    emit: (asm) => {
      asm.bytes(0x31, 0xc0, 0x31, 0xc9, 0x0f, 0xa2).branch(JMP, 'loop'); // xor eax, eax; xor ecx, ecx; cpuid
    },
  },
];

/** A machine in the middle of a loop. */
function prepare(loop: Loop): GuestMachine {
  const asm = new Assembler(CODE);
  asm.label('loop');
  loop.emit(asm);
  const guest = new GuestMachine({
    ramBytes: 32 << 20,
    user: [
      { address: CODE, bytes: 4096 },
      { address: DATA, bytes: DATA_BYTES },
    ],
  });
  guest.ram.set(asm.assemble(), CODE);
  const state = createHostState();
  const registers: readonly (readonly [number, number])[] = [
    [4, STACK_TOP],
    [6, DATA],
    [7, DATA + 0x1_0000],
    [8, DATA],
    [9, DATA + 0x1_0000],
    [10, DATA + DATA_BYTES],
  ];
  for (const [n, value] of registers) state.gpr[n] = BigInt(value);
  state.gpr[2] = 0xffff_ffffn;
  const { fault } = guest.run(64, CODE, 0, state, createHostState(), { budget: 1000 });
  if (fault !== undefined) throw new Error(`${loop.name}: the loop raised exception ${fault.vector}`);
  return guest;
}

interface Sample {
  readonly instructions: number;
  readonly turns: number;
  readonly seconds: number;
}

/** Runs for so long, in processor time: other programs on this machine do not count. */
function sample({ engine, state }: GuestMachine, milliseconds: number): Sample {
  const turns = (): number => Number(state.getBigUint64(gpr(15), true));
  const before = { instructions: engine.instructions, turns: turns(), cpu: process.threadCpuUsage() };
  for (;;) {
    engine.run(SLICE);
    const { user, system } = process.threadCpuUsage(before.cpu);
    if (user + system < milliseconds * 1000) continue;
    return {
      instructions: engine.instructions - before.instructions,
      turns: turns() - before.turns,
      seconds: (user + system) / 1e6,
    };
  }
}

const runs = readRuns(3);
process.stdout.write(`${aboutThisMachine()}\n`);
const rows = LOOPS.map((loop) => {
  const guest = prepare(loop);
  sample(guest, WARM_UP_MS);
  const samples = Array.from({ length: runs }, () => sample(guest, SAMPLE_MS));
  const mips = median(samples.map(({ instructions, seconds }) => instructions / seconds / 1e6));
  const { bytes } = loop;
  const speeds =
    bytes === undefined ? [] : samples.map(({ turns, seconds }) => (turns * bytes) / seconds / 1e6);
  return [
    loop.name,
    mips.toFixed(1),
    (1000 / mips).toFixed(1),
    speeds.length === 0 ? '' : median(speeds).toFixed(0),
  ];
});
process.stdout.write(`loops on the interpreter, by processor time, medians of ${runs}:\n`);
printTable(['', 'MIPS', 'ns/instruction', 'MB/s'], rows);
