import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import { GPR_NAMES } from '../../src/hypervisor/cpu/system/snapshot.ts';
import { type DataSegment, GuestMachine } from './guest-machine.ts';
import {
  createHostCpu,
  createHostState,
  type HostCpu,
  type HostFault,
  type HostState,
  hostHas,
} from './host-cpu.ts';
import { hostMemory, LDT_DATA, mapHostPages, PROT, setDataSegment } from './host-pages.ts';
import { CODE_AREA, CODE_AREA_BYTES, GS_BASE, HOST_CODE, SCRATCH, SCRATCH_BYTES } from './places.ts';
import { type Random, vectorValue } from './random.ts';
import { comparisonEnded, x87Differences } from './x87-compare.ts';

/** Code and state for both processors. */
export interface Program {
  readonly mode: 32 | 64;
  readonly at: number;
  readonly code: Uint8Array;
  readonly gpr: BigUint64Array;
  readonly rflags: number;
  readonly fx: Uint8Array;
  /** Upper halves of the YMM registers. */
  readonly upper: Uint8Array;
  readonly patches: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
}

/** What to leave out of a comparison. */
export interface Allowance {
  readonly undefinedFlags?: number;
  /** General registers that may differ. */
  readonly undefinedRegisters?: readonly number[];
  /** Compare XMM, MXCSR and the MMX registers as well. */
  readonly vectors?: boolean;
  /** Name of the x87 row that ran: its state is compared by the rules for it. */
  readonly x87?: string;
}

export type Outcome =
  | { readonly kind: 'equal'; readonly fault: HostFault | undefined }
  | { readonly kind: 'skipped'; readonly why: string }
  | {
      readonly kind: 'different';
      readonly what: string /** The interpreter did not come to the end, so the host was not tried. */;
      readonly unfinished?: true;
    };

const FLAGS = 0xcd5;
const hex = (value: bigint | number): string => value.toString(16);

/** Runs programs on the host's processor and on the interpreter, and compares all that they did. */
export class Differential {
  readonly guest: GuestMachine;
  readonly #host: HostCpu;
  readonly #hostCode: Uint8Array;
  readonly #guestCode: Uint8Array;
  readonly #guestMemory: Uint8Array;
  readonly #afterHost = createHostState();
  readonly #afterGuest = createHostState();

  /** Throws when the host cannot; `hostCpuUnavailable` says why. */
  constructor() {
    const host = createHostCpu({
      codeAddress: HOST_CODE,
      memoryAddress: SCRATCH,
      memoryBytes: SCRATCH_BYTES,
    });
    if (!host) throw new Error('the host processor is not available');
    this.#host = host;
    mapHostPages(CODE_AREA, CODE_AREA_BYTES, PROT.all);
    this.#hostCode = new Uint8Array(hostMemory(CODE_AREA, CODE_AREA_BYTES));
    this.guest = new GuestMachine({
      ramBytes: SCRATCH + SCRATCH_BYTES,
      user: [
        { address: CODE_AREA, bytes: CODE_AREA_BYTES },
        { address: SCRATCH, bytes: SCRATCH_BYTES },
      ],
    });
    this.#guestCode = this.guest.ram.subarray(CODE_AREA, CODE_AREA + CODE_AREA_BYTES);
    this.#guestMemory = this.guest.ram.subarray(SCRATCH, SCRATCH + SCRATCH_BYTES);
    this.#prepareHost();
  }

  /** DS and ES for 32-bit code, GS base for 64-bit code; both stay with the thread. */
  #prepareHost(): void {
    const state = createHostState();
    state.gpr[0] = 0x2bn;
    state.gpr[1] = BigInt(GS_BASE);
    // mov ds, eax; mov es, eax; wrgsbase rcx
    const result = this.#host.run(Uint8Array.of(0x8e, 0xd8, 0x8e, 0xc0, 0xf3, 0x48, 0x0f, 0xae, 0xd9), state);
    if (result.fault) throw new Error(`the host's segments cannot be set: exception ${result.fault.vector}`);
  }

  #data: DataSegment | undefined;

  /** DS and ES from now on: flat, or the scratch memory alone. Throws when the host's kernel cannot. */
  setBased(based: boolean): void {
    const state = createHostState();
    if (based) setDataSegment(SCRATCH, SCRATCH_BYTES - 1);
    state.gpr[0] = based ? BigInt(LDT_DATA) : 0x2bn;
    const result = this.#host.run(Uint8Array.of(0x8e, 0xd8, 0x8e, 0xc0), state);
    if (result.fault) throw new Error(`DS cannot be loaded: exception ${result.fault.vector}`);
    this.#data = based ? { selector: LDT_DATA, base: SCRATCH, limit: SCRATCH_BYTES - 1 } : undefined;
  }

  fillScratch(rng: Random): void {
    const view = new DataView(this.#guestMemory.buffer, this.#guestMemory.byteOffset, SCRATCH_BYTES);
    for (let at = 0; at < SCRATCH_BYTES; at += 8) view.setBigUint64(at, vectorValue(rng), true);
    this.#host.memory.set(this.#guestMemory);
  }

  #kept: Uint8Array | undefined;

  /** Remembers the scratch memory for `resetScratch`. */
  keepScratch(): void {
    this.#kept = this.#guestMemory.slice();
  }

  /** Puts the scratch memory back as it was when kept, so that a program can be run again alone. */
  resetScratch(): void {
    if (!this.#kept) throw new Error('no scratch memory was kept');
    this.#guestMemory.set(this.#kept);
    this.#host.memory.set(this.#kept);
  }

  /** Both states after the last run, a register a line, differing ones marked. */
  states(mode: 32 | 64): string {
    const line = (name: string, host: string, interpreter: string): string =>
      `${host === interpreter ? ' ' : '*'} ${name.padEnd(6)} ${host.padEnd(32)} ${interpreter}`;
    const [a, b] = [this.#afterHost, this.#afterGuest];
    const lines = [line('', 'host', 'interpreter').replace('*', ' ')];
    for (let n = 0; n < (mode === 64 ? 16 : 8); n++)
      lines.push(line(GPR_NAMES[n] ?? '', hex(a.gpr[n] ?? 0n), hex(b.gpr[n] ?? 0n)));
    lines.push(line('flags', flagText(a.rflags), flagText(b.rflags)));
    const bytes = (fx: Uint8Array, from: number, to: number): string =>
      Buffer.from(fx.subarray(from, to)).reverse().toString('hex');
    lines.push(
      line('fcw', bytes(a.fx, 0, 2), bytes(b.fx, 0, 2)),
      line('fsw', bytes(a.fx, 2, 4), bytes(b.fx, 2, 4)),
      line('tags', bytes(a.fx, 4, 5), bytes(b.fx, 4, 5)),
    );
    lines.push(line('mxcsr', bytes(a.fx, 24, 28), bytes(b.fx, 24, 28)));
    for (let n = 0; n < 8; n++)
      lines.push(
        line(`st${n}`, bytes(a.fx, 32 + n * 16, 42 + n * 16), bytes(b.fx, 32 + n * 16, 42 + n * 16)),
      );
    for (let n = 0; n < 16; n++) {
      const [from, to] = [160 + n * 16, 176 + n * 16];
      lines.push(line(`xmm${n}`, bytes(a.fx, from, to), bytes(b.fx, from, to)));
      if (a.upper && b.upper)
        lines.push(line('', bytes(a.upper, from - 160, to - 160), bytes(b.upper, from - 160, to - 160)));
    }
    return lines.join('\n');
  }

  run(program: Program, allowance: Allowance = {}): Outcome {
    const { guest } = this;
    const end = program.at + program.code.length;
    for (const { offset, bytes } of program.patches) {
      this.#guestMemory.set(bytes, offset);
      this.#host.memory.set(bytes, offset);
    }
    const inArea = program.at - CODE_AREA;
    this.#guestCode.set(program.code, inArea);
    this.#guestCode.set([0xeb, 0xfe], inArea + program.code.length);
    const before: HostState = program;
    const ran = guest.run(program.mode, program.at, end, before, this.#afterGuest, {
      gsBase: BigInt(GS_BASE),
      data: this.#data,
    });
    if (!ran.fault && !ran.ended) {
      this.#restore();
      return {
        kind: 'different',
        what: `the interpreter stands at ${hex(ran.rip)}, not at the end\n${describe(program)}`,
        unfinished: true,
      };
    }
    if (ran.fault && !this.#isHarmless(ran.fault)) {
      this.#restore();
      return { kind: 'skipped', why: `fault ${ran.fault.vector} at ${hex(ran.fault.address ?? 0n)}` };
    }
    const fault = this.#runHost(program, before);
    return this.#compare(program, ran.fault, fault, allowance);
  }

  /** Whether the host surely faults there as well: its own memory may lie where the machine has none. */
  #isHarmless(fault: HostFault): boolean {
    if (fault.vector !== 14) return true;
    const at = Number(BigInt.asIntN(64, fault.address ?? 0n));
    return at >= SCRATCH - 0x8000 && at < SCRATCH + SCRATCH_BYTES + 0x8000;
  }

  #restore(): void {
    this.#guestMemory.set(this.#host.memory);
    this.#hostCode.set(this.#guestCode);
  }

  #runHost(program: Program, before: HostState): HostFault | undefined {
    const code = this.#hostCode;
    const inArea = program.at - CODE_AREA;
    code.set(program.code, inArea);
    const end = inArea + program.code.length;
    const view = new DataView(code.buffer, code.byteOffset, code.length);
    if (program.mode === 64) {
      code[end] = 0xe9;
      view.setInt32(end + 1, HOST_CODE + 5 - (CODE_AREA + end + 5), true);
      const entry = new Uint8Array(5);
      entry[0] = 0xe9;
      new DataView(entry.buffer).setInt32(1, program.at - (HOST_CODE + 5), true);
      this.#host.load(entry);
    } else {
      // jmp far to the 32-bit code segment; back behind the pointer.
      const entry = new Uint8Array(12);
      entry.set([0xff, 0x2d]);
      const pointer = new DataView(entry.buffer);
      pointer.setUint32(6, program.at, true);
      pointer.setUint16(10, 0x23, true);
      this.#host.load(entry);
      code[end] = 0xea;
      view.setUint32(end + 1, HOST_CODE + 12, true);
      view.setUint16(end + 5, 0x33, true);
    }
    const fault = this.#host.runLoaded(before, this.#afterHost);
    this.#hostCode.subarray(end, end + 8).set(this.#guestCode.subarray(end, end + 8));
    return fault;
  }

  #compare(
    program: Program,
    guest: HostFault | undefined,
    host: HostFault | undefined,
    allowance: Allowance,
  ): Outcome {
    const found: string[] = [];
    const a = this.#afterHost;
    const b = this.#afterGuest;
    const faultText = (f: HostFault | undefined): string =>
      f
        ? `#${f.vector}(${hex(f.errorCode)}) at ${hex(f.rip)}${f.address === undefined ? '' : ` address ${hex(f.address)}`}`
        : 'none';
    const hostFault = faultText(host);
    const guestFault = faultText(guest);
    if (hostFault !== guestFault) found.push(`fault: host ${hostFault}, interpreter ${guestFault}`);
    const registers = program.mode === 64 ? 16 : 8;
    const mask = program.mode === 64 ? (1n << 64n) - 1n : 0xffff_ffffn;
    for (let n = 0; n < registers; n++) {
      const x = (a.gpr[n] ?? 0n) & mask;
      const y = (b.gpr[n] ?? 0n) & mask;
      if (x !== y && !allowance.undefinedRegisters?.includes(n))
        found.push(
          `${GPR_NAMES[n]}: host ${hex(x)}, interpreter ${hex(y)}, before ${hex(program.gpr[n] ?? 0n)}`,
        );
    }
    const free =
      allowance.x87 !== undefined && comparisonEnded(allowance.x87, b)
        ? FLAGS
        : (allowance.undefinedFlags ?? 0);
    const flags = FLAGS & ~free;
    if (((a.rflags ^ b.rflags) & flags) !== 0) {
      found.push(
        `flags: host ${flagText(a.rflags)}, interpreter ${flagText(b.rflags)}, before ${flagText(program.rflags)}`,
      );
    }
    if (allowance.x87 !== undefined) found.push(...x87Differences(allowance.x87, a, b));
    if (allowance.vectors) compareVectors(a, b, found);
    const memory = firstDifference(this.#host.memory, this.#guestMemory);
    if (memory !== undefined) {
      const show = (bytes: Uint8Array): string =>
        Buffer.from(bytes.subarray(memory, memory + 16)).toString('hex');
      found.push(
        `memory at ${hex(SCRATCH + memory)}: host ${show(this.#host.memory)}, interpreter ${show(this.#guestMemory)}`,
      );
      this.#restore();
    }
    const code = firstDifference(this.#hostCode, this.#guestCode);
    if (code !== undefined) {
      found.push(`code at ${hex(CODE_AREA + code)}`);
      this.#hostCode.set(this.#guestCode);
    }
    if (found.length > 0) return { kind: 'different', what: `${found.join('\n')}\n${describe(program)}` };
    return { kind: 'equal', fault: host };
  }
}

function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  if (Buffer.compare(a, b) === 0) return undefined;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return at;
  return undefined;
}

function compareVectors(host: HostState, guest: HostState, found: string[]): void {
  const compareBytes = (name: string, a: Uint8Array, b: Uint8Array, from: number, to: number): void => {
    const x = a.subarray(from, to);
    const y = b.subarray(from, to);
    if (Buffer.compare(x, y) === 0) return;
    const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    found.push(`${name}: host ${text(x)}, interpreter ${text(y)}`);
  };
  const compare = (name: string, from: number, to: number): void =>
    compareBytes(name, host.fx, guest.fx, from, to);
  compare('mxcsr', 24, 28);
  compare('fpu tags', 4, 5);
  for (let n = 0; n < 8; n++) compare(`st${n}`, 32 + n * 16, 42 + n * 16);
  for (let n = 0; n < 16; n++) compare(`xmm${n}`, 160 + n * 16, 176 + n * 16);
  const { upper } = host;
  if (!upper || !guest.upper || !hostHas('avx')) return;
  for (let n = 0; n < 16; n++) compareBytes(`ymm${n}'s upper half`, upper, guest.upper, n * 16, n * 16 + 16);
}

function flagText(flags: number): string {
  const bits: [number, string][] = [
    [0x800, 'O'],
    [0x400, 'D'],
    [0x80, 'S'],
    [0x40, 'Z'],
    [0x10, 'A'],
    [4, 'P'],
    [1, 'C'],
  ];
  return bits.map(([bit, letter]) => ((flags & bit) !== 0 ? letter : '-')).join('');
}

/** Machine code as assembly, one instruction a line. */
export function disassemble(code: Uint8Array, bits: 16 | 32 | 64, address: number): string {
  const decoder = new Decoder(bits, code, DecoderOptions.None);
  decoder.ip = BigInt(address);
  const formatter = new Formatter(FormatterSyntax.Intel);
  const lines: string[] = [];
  while (decoder.canDecode) {
    const instruction = decoder.decode();
    const from = Number(instruction.ip) - address;
    lines.push(
      `  ${instruction.ip.toString(16)}  ${Buffer.from(code.subarray(from, from + instruction.length))
        .toString('hex')
        .padEnd(22)} ${formatter.format(instruction)}`,
    );
    instruction.free();
  }
  formatter.free();
  decoder.free();
  return lines.join('\n');
}

export function describe(program: Program): string {
  const registers = [...program.gpr].map((value, n) => `${GPR_NAMES[n]}=${hex(value)}`).join(' ');
  const patches = program.patches.map(
    ({ offset, bytes }) => `  [${hex(SCRATCH + offset)}] = ${Buffer.from(bytes).toString('hex')}`,
  );
  return [
    `${program.mode}-bit at ${hex(program.at)}:`,
    disassemble(program.code, program.mode, program.at),
    registers,
    ...patches,
  ].join('\n');
}

/** A differential, or why the host cannot have one. */
export function makeDifferential(): Differential | string {
  try {
    return new Differential();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
