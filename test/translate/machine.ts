import { readRflags, writeRflags } from '../../src/hypervisor/cpu/flags.ts';
import type { Tier, TierHost } from '../../src/hypervisor/cpu/interpret/tier.ts';
import { S } from '../../src/hypervisor/cpu/layout.ts';
import { GuestMachine, type GuestRun } from '../native/guest-machine.ts';
import { createHostState, type HostState } from '../native/host-cpu.ts';
import { ProgramDevice } from './device.ts';
import { CODE, CODE_BYTES, D, DATA, DATA_AREAS, DATA_BYTES, DEVICE, DEVICE_BYTES } from './places.ts';
import { EXIT_BYTES, type Program } from './program.ts';

/** Where the test machine's exception handlers lie, one every 16 bytes (guest-machine.ts), and what stands behind them. */
const HANDLERS = 0xb000;
const COMMON = 0xc000;
/** Faults so far, the address of the program's end, where to go on after each, and what was seen: in supervisor memory. */
const FAULTS = 0xf000,
  END_AT = 0xf008,
  PADS = 0xf010,
  SEEN = 0xf100;
const MOST_FAULTS = 6;
const SEEN_BYTES = MOST_FAULTS * 64;
/** Vectors whose frames have an error code. */
const CODED = [8, 10, 11, 12, 13, 14, 17];

/** Architectural state, in the state block: up to the engine's own fields. */
const STATE_BYTES = S.budget - S.gpr;

/** Instructions after which a program is given up. */
export const MOST_INSTRUCTIONS = 60_000;

const HLT = 0xf4;
/** Paging, write protection, protected mode with native errors of the x87 unit; TS; AM. */
const CR0 = 0x8001_0033n;
const CR0_TS = 8n;
const CR0_AM = 0x4_0000n;
/** DR6 and DR7 at power-up (SDM vol. 3, table 10-1); breakpoint 0 on eight bytes read or written. */
const DEBUG_AT_RESET = [0n, 0n, 0n, 0n, 0n, 0n, 0xffff_0ff0n, 0x400n];
const DR7_WATCH = 0xb_0401n;
/** DS and ES that regions must not take to be flat: everything lies eight bytes on. */
const BASED = { selector: 0x2b, base: 8, limit: 0xffff_ffff } as const;
/** Operand and address size, REPNE and REP, REX.W. */
const PREFIXES = new Set([0x66, 0x67, 0xf2, 0xf3, 0x48]);

/** State of a machine after a run. */
export interface Ended {
  readonly run: GuestRun;
  readonly after: HostState;
  readonly retired: number;
  /** It came to the program's end, or to a fault in the way that was asked for. */
  readonly halted: boolean;
}

/** A machine for random programs: memory like the host's, and handlers that stop, or record the fault and go on elsewhere. */
export class ProgramMachine {
  readonly guest: GuestMachine;
  readonly after = createHostState();
  readonly device: ProgramDevice;
  readonly #code: Uint8Array;
  readonly #data: Uint8Array;
  #begun = 0;

  constructor(tier?: (host: TierHost) => Tier) {
    this.device = new ProgramDevice();
    this.guest = new GuestMachine({
      mmio: this.device,
      ramBytes: DATA + 0x10_0000,
      user: [
        { address: CODE, bytes: CODE_BYTES },
        { address: DEVICE, bytes: DEVICE_BYTES },
        ...DATA_AREAS.map(({ offset, bytes, readOnly }) => ({ address: DATA + offset, bytes, readOnly })),
      ],
      ...(tier ? { tier } : {}),
    });
    this.device.onAttention = () => this.guest.engine.interruptsChanged();
    this.#code = this.guest.ram.subarray(CODE, CODE + CODE_BYTES);
    this.#data = this.guest.ram.subarray(DATA, DATA + DATA_BYTES);
  }

  get code(): Uint8Array {
    return this.#code;
  }
  get data(): Uint8Array {
    return this.#data;
  }

  /** Puts a program and the data's first state in place. `resumes`: faults are recorded, and the program goes on at its next pad. */
  load(program: Program, data: Uint8Array, resumes: boolean): void {
    this.#code.fill(0);
    this.#code.set(program.code, program.at - CODE);
    this.#code[program.end - CODE] = HLT;
    this.#data.set(data);
    for (const { offset, bytes } of program.patches) this.#data.set(bytes, offset);
    this.#handlers(program, resumes);
    this.device.reset();
    const { state } = this.guest;
    // What is derived from the flags is derived before the program's are in place: of the last program's none may stay.
    writeRflags(state, 2);
    const { variant } = program;
    const cr0 = CR0 | (variant === 'task-switched' ? CR0_TS : variant === 'alignment' ? CR0_AM : 0n);
    state.setBigUint64(S.cr0, cr0, true);
    for (let n = 0; n < 8; n++) state.setBigUint64(S.dr + n * 8, DEBUG_AT_RESET[n] ?? 0n, true);
    if (variant === 'watched') {
      state.setBigUint64(S.dr, BigInt(DATA + D.numbers + 0x1020), true);
      state.setBigUint64(S.dr + 56, DR7_WATCH, true);
    }
    for (const at of [S.fpuIp, S.fpuDp]) state.setBigUint64(at, 0n, true);
    for (const at of [S.fpuOpcode, S.fpuCs, S.fpuDs, S.pendingDebug, S.nmiBlocked])
      state.setUint32(at, 0, true);
  }

  #handlers({ end, pads }: Program, resumes: boolean): void {
    const { ram, view } = this.guest;
    ram.fill(0, FAULTS, SEEN + SEEN_BYTES);
    view.setUint32(END_AT, end, true);
    for (let n = 0; n < MOST_FAULTS; n++)
      view.setUint32(PADS + n * 4, pads[Math.min(n, pads.length - 1)] ?? end, true);
    for (let vector = 0; vector < 256; vector++) {
      const at = HANDLERS + vector * 16;
      const coded = CODED.includes(vector) ? [] : [0x6a, 0];
      const jump = COMMON - (at + coded.length + 2 + 5);
      ram.set(
        resumes ? [...coded, 0x6a, vector & 0x7f, 0xe9, jump & 0xff, (jump >> 8) & 0xff, 0, 0] : [HLT],
        at,
      );
    }
    ram.set(COMMON_HANDLER, COMMON);
  }

  /** Where a loaded program begins, with nothing of it run. */
  begin(program: Program): void {
    this.run(program, 0);
    this.#begun = this.guest.engine.instructions;
  }
  /** Goes on from `begin` by about this many instructions: to the next branch behind them. */
  advance(instructions: number): void {
    this.guest.engine.run(instructions);
  }
  /** Instructions retired since `begin`. */
  get retired(): number {
    return this.guest.engine.instructions - this.#begun;
  }

  /** Runs a loaded program until it stops, or is given up. */
  run(program: Program, budget = MOST_INSTRUCTIONS): Ended {
    const { engine } = this.guest;
    const before = engine.instructions;
    const run = this.guest.run(program.mode, program.start, program.end, program, this.after, {
      budget,
      gsBase: BigInt(DATA + D.numbers + 0x300),
      data: program.variant === 'based' ? BASED : undefined,
    });
    return { run, after: this.after, retired: engine.instructions - before, halted: this.halted };
  }

  get halted(): boolean {
    return this.guest.state.getInt32(S.halted, true) !== 0;
  }
  get rip(): bigint {
    return this.guest.state.getBigUint64(S.rip, true);
  }

  /** Whether a string instruction comes next: it may have given way in the middle of its repetitions. */
  atString(): boolean {
    const { ram } = this.guest;
    let at = Number(this.rip);
    while (PREFIXES.has(ram[at] ?? 0)) at++;
    const opcode = ram[at] ?? 0;
    return opcode >= 0xa4 && opcode <= 0xaf;
  }

  /** The architectural state as bytes, flags as RFLAGS has them. */
  snapshot(): Uint8Array {
    const { state } = this.guest;
    const bytes = new Uint8Array(state.buffer, S.gpr, STATE_BYTES).slice();
    const view = new DataView(bytes.buffer);
    view.setBigUint64(S.flagResult - S.gpr, BigInt(readRflags(state)), true);
    view.setUint32(S.flagAux - S.gpr, 0, true);
    view.setUint32(S.eflags - S.gpr, 0, true);
    return bytes;
  }
  /** What the handlers recorded. */
  seen(): Uint8Array {
    return this.guest.ram.subarray(FAULTS, SEEN + SEEN_BYTES);
  }
}

/** Name of the field of the state block that a byte of a snapshot belongs to. */
export function fieldAt(offset: number): string {
  let best: readonly [string, number] = ['?', -1];
  for (const [name, at] of Object.entries(S)) if (at <= S.gpr + offset && at > best[1]) best = [name, at];
  return `${best[0]}+${(S.gpr + offset - best[1]).toString(16)}`;
}

/** What lies at the program's end, where machines and the host have different ways out. */
export function maskExit(code: Uint8Array, program: Program): void {
  code.fill(0, program.end - CODE, program.end - CODE + EXIT_BYTES);
}

const d32 = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >> 24) & 0xff];
/** An instruction with an absolute address. */
const at = (reg: number, address: number, ...opcode: number[]): number[] => [
  ...opcode,
  (reg << 3) | 4,
  0x25,
  ...d32(address),
];

/**
 * The stack has: vector, error code, RIP, CS, RFLAGS, RSP, SS. Records the
 * fault and goes on at the next pad; stops at the program's end, and when
 * there were enough.
 */
const COMMON_HANDLER: readonly number[] = (() => {
  const record = [
    0x50,
    0x51,
    0x52, // push rax, rcx, rdx
    ...at(1, FAULTS, 0x8b), // mov ecx, [faults]
    0x89,
    0xca,
    0xc1,
    0xe2,
    6, // mov edx, ecx; shl edx, 6
    0x81,
    0xc2,
    ...d32(SEEN), // add edx, seen
    ...[0, 1, 2, 4, 5].flatMap((n) => [
      0x48,
      0x8b,
      0x44,
      0x24,
      24 + n * 8, // mov rax, [rsp+24+n*8]
      0x48,
      0x89,
      0x42,
      n * 8, // mov [rdx+n*8], rax
    ]),
    0x0f,
    0x20,
    0xd0,
    0x48,
    0x89,
    0x42,
    56, // mov rax, cr2; mov [rdx+56], rax
    ...at(0, FAULTS, 0xff), // inc dword [faults]
    ...at(0, END_AT, 0x8b), // mov eax, [end]
    0x48,
    0x39,
    0x44,
    0x24,
    40, // cmp [rsp+40], rax
  ];
  const goOn = [
    0x83,
    0xf9,
    MOST_FAULTS - 1, // cmp ecx, most - 1
    0x73,
    4 + 3 + 5 + 3 + 4 + 2, // jae stop
    0x8b,
    0x04,
    0x8d,
    ...d32(PADS), // mov eax, [pads + rcx*4]
    0x48,
    0x89,
    0x44,
    0x24,
    40, // mov [rsp+40], rax
    0x5a,
    0x59,
    0x58, // pop rdx, rcx, rax
    0x48,
    0x83,
    0xc4,
    16, // add rsp, 16
    0x48,
    0xcf, // iretq
  ];
  const stop = [HLT];
  return [...record, 0x74, goOn.length, ...goOn, ...stop];
})();
