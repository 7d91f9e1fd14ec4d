import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { hostMemory, mapHostPages, PROT } from './host-pages.ts';

/**
 * The host's own processor as an oracle: loads a register state, runs a few
 * bytes of machine code natively and gives back what came of it. Linux on
 * x86-64 only.
 *
 * A trampoline in executable memory does the whole switch, so a run is one
 * foreign call without arguments. Faults of the tested code are caught by
 * signal handlers, themselves machine code; signals of everything else (V8
 * takes SIGSEGV for WebAssembly's bounds checks) go on to the handler that was
 * there before.
 *
 * The tested code must come to its end or fault: nothing ends an endless loop.
 * It must leave FS and GS alone and make no system calls.
 */

/** Registers before or after a run. */
export interface HostState {
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8..R15. */
  gpr: BigUint64Array;
  /** OF DF SF ZF AF PF CF are loaded, the others are the host's; all are given back. */
  rflags: number;
  /** FXSAVE64 image (SDM vol. 1, table 10-3), 512 bytes: x87/MMX, MXCSR, XMM0-15. */
  fx: Uint8Array;
  /** Upper halves of YMM0-15, UPPER_BYTES; zeroes when not given. A host without AVX has none. */
  upper?: Uint8Array;
}

/** Bytes of the upper halves of YMM0-15. */
export const UPPER_BYTES = 256;

let features: ReadonlySet<string> | undefined;

/** Whether the host's processor has a feature, by its name in /proc/cpuinfo. */
export function hostHas(feature: string): boolean {
  if (!features) {
    const line = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'));
    features = new Set(line?.[1]?.trim().split(/\s+/));
  }
  return features.has(feature);
}

export interface HostFault {
  /** POSIX signal number, such as 11 for SIGSEGV. */
  signal: number;
  /** Exception vector of the processor. */
  vector: number;
  /** Error code as the kernel reports it. */
  errorCode: number;
  /** RIP at the fault. */
  rip: bigint;
  /** CR2, of a page fault. */
  address?: bigint;
}

export interface HostResult extends HostState {
  fault?: HostFault;
}

export interface HostCpuOptions {
  /** Where the tested code lies, page-aligned. Default 0x6ff00000. */
  codeAddress?: number;
  /** Where the scratch memory lies, page-aligned. Default 0x70000000. */
  memoryAddress?: number;
  /** Bytes of scratch memory, whole pages; nothing is mapped around them. Default 65536. */
  memoryBytes?: number;
}

export interface HostCpu {
  /** Address of the first tested instruction. */
  readonly codeAddress: number;
  /** Scratch memory that the tested code may use, at `memoryAddress` for it. */
  readonly memory: Uint8Array;
  readonly memoryAddress: number;
  /**
   * Runs `code` (at most MAX_CODE bytes) from `before` on. A fault leaves the
   * registers as they were at the faulting instruction.
   */
  run(code: Uint8Array, before: HostState): HostResult;
  /** Puts `code` in place for `runLoaded`. */
  load(code: Uint8Array): void;
  /** Runs the loaded code again; writes to `after` and gives the fault, if any. */
  runLoaded(before: HostState, after: HostState): HostFault | undefined;
}

/** Longest code of a run in bytes. */
export const MAX_CODE = 0x1000 - 16;

/** A state of zeroes with the x87 and MXCSR as FNINIT and reset leave them. */
export function createHostState(): HostState {
  const fx = new Uint8Array(512);
  const view = new DataView(fx.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint32(24, 0x1f80, true);
  return { gpr: new BigUint64Array(16), rflags: 2, fx, upper: new Uint8Array(UPPER_BYTES) };
}

const PAGE = 4096;
/** SA_SIGINFO | SA_ONSTACK | SA_NODEFER. */
const SA_FLAGS = 4 | 0x08000000 | 0x40000000;
const SIGILL = 4,
  SIGTRAP = 5,
  SIGBUS = 7,
  SIGFPE = 8,
  SIGSEGV = 11;
const SIGNALS = [SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV];
const SYS_RT_SIGACTION = 13;

/** Layout of the code mapping: tested code, trampoline and handler, control block, stack of the handlers. */
const TRAMPOLINE = PAGE;
const CONTROL = 2 * PAGE;
const STACK = 4 * PAGE;
const STACK_BYTES = 64 * 1024;
const MAPPING_BYTES = STACK + STACK_BYTES;

/** Fields of the control block. */
const C = {
  fx: CONTROL,
  /** Behind the FXSAVE image: XSAVE's header and component 2 (SDM vol. 1, 13.4). */
  header: CONTROL + 512,
  upper: CONTROL + 576,
  gpr: CONTROL + 832,
  rflags: CONTROL + 960,
  hostRsp: CONTROL + 968,
  /** Thread pointer of the thread that runs tested code, or 0. */
  running: CONTROL + 976,
  hostMxcsr: CONTROL + 984,
  hostFcw: CONTROL + 988,
  faultSignal: CONTROL + 992,
  /** The 23 general registers of the signal's context (sys/ucontext.h). */
  faultContext: CONTROL + 1000,
  /** Handlers that were there before, by signal number. */
  previous: CONTROL + 1280,
  /** A kernel sigaction of zeroes: SIG_DFL. */
  defaultAction: CONTROL + 2048,
} as const;

/** Offset of the general registers in ucontext_t, and indices there. */
const UC_GREGS = 40;
const REG_RIP = 16,
  REG_ERR = 19,
  REG_TRAPNO = 20,
  REG_CR2 = 22,
  GREGS = 23;
/** OF DF SF ZF AF PF CF. */
const LOADABLE_FLAGS = 0xcd5;

/** Machine code at a known offset of the mapping; memory operands are RIP-relative. */
class Assembler {
  readonly bytes: number[] = [];
  readonly #origin: number;
  constructor(origin: number) {
    this.#origin = origin;
  }
  get here(): number {
    return this.#origin + this.bytes.length;
  }
  emit(...bytes: number[]): void {
    this.bytes.push(...bytes);
  }
  /** An instruction whose displacement, at its end, refers to `target` in the mapping. */
  at(target: number, ...bytes: number[]): void {
    this.emit(...bytes);
    const displacement = target - (this.here + 4);
    this.emit(
      displacement & 0xff,
      (displacement >> 8) & 0xff,
      (displacement >> 16) & 0xff,
      (displacement >> 24) & 0xff,
    );
  }
  /** Leaves a byte for a short jump's displacement; the result closes it. */
  short(opcode: number): () => void {
    this.emit(opcode, 0);
    const from = this.bytes.length;
    return () => {
      this.bytes[from - 1] = this.bytes.length - from;
    };
  }
}

/** mov reg, [rip+..] (0x8b) or mov [rip+..], reg (0x89), 64 bits. */
function moveGpr(a: Assembler, opcode: 0x8b | 0x89, register: number): void {
  a.at(C.gpr + register * 8, register > 7 ? 0x4c : 0x48, opcode, ((register & 7) << 3) | 5);
}

/** State components x87, SSE and AVX. */
const COMPONENTS = 7;

/** XRSTOR64 (5) or XSAVE64 (4) of the control block; FXRSTOR64 or FXSAVE64 where there is no AVX. */
function moveVectors(a: Assembler, extension: 5 | 4, avx: boolean): void {
  if (!avx) {
    a.at(C.fx, 0x48, 0x0f, 0xae, ((extension - 4) << 3) | 5);
    return;
  }
  a.emit(0xb8, COMPONENTS, 0, 0, 0, 0x31, 0xd2); // mov eax, components; xor edx, edx
  a.at(C.fx, 0x48, 0x0f, 0xae, (extension << 3) | 5);
}

/** Saves the host's state, loads the tested one and jumps to the code; at `exit`, the way back. */
function emitTrampoline(a: Assembler, avx: boolean): { entry: number; exit: number } {
  const entry = a.here;
  a.emit(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); // push rbx rbp r12..r15
  a.emit(0x9c); // pushfq
  a.at(C.hostRsp, 0x48, 0x89, 0x25); // mov [hostRsp], rsp
  a.emit(0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0); // mov rax, fs:[0]
  a.at(C.running, 0x48, 0x89, 0x05); // mov [running], rax
  a.at(C.hostMxcsr, 0x0f, 0xae, 0x1d); // stmxcsr
  a.at(C.hostFcw, 0xd9, 0x3d); // fnstcw
  moveVectors(a, 5, avx);
  a.at(C.rflags, 0xff, 0x35); // push [rflags]
  a.emit(0x9d); // popfq
  for (let register = 0; register < 16; register++) if (register !== 4) moveGpr(a, 0x8b, register);
  moveGpr(a, 0x8b, 4);
  a.at(0, 0xe9); // jmp code

  const exit = a.here;
  for (let register = 0; register < 16; register++) moveGpr(a, 0x89, register);
  a.at(C.hostRsp, 0x48, 0x8b, 0x25); // mov rsp, [hostRsp]
  a.emit(0x9c); // pushfq
  a.at(C.rflags, 0x8f, 0x05); // pop [rflags]
  moveVectors(a, 4, avx);
  if (avx) a.emit(0xc5, 0xf8, 0x77); // vzeroupper
  a.emit(0x31, 0xc0); // xor eax, eax
  a.at(C.running, 0x48, 0x89, 0x05); // mov [running], rax
  a.emit(0xdb, 0xe3); // fninit
  a.at(C.hostFcw, 0xd9, 0x2d); // fldcw
  a.at(C.hostMxcsr, 0x0f, 0xae, 0x15); // ldmxcsr
  a.emit(0x9d); // popfq
  a.emit(0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3); // pop r15..r12 rbp rbx; ret
  return { entry, exit };
}

/** handler(edi signal, rsi info, rdx context). */
function emitHandler(a: Assembler, exit: number): number {
  const handler = a.here;
  a.emit(0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0); // mov rax, fs:[0]
  a.at(C.running, 0x48, 0x3b, 0x05); // cmp rax, [running]
  const other = a.short(0x75); // jne
  a.at(C.faultSignal, 0x89, 0x3d); // mov [faultSignal], edi
  a.emit(0x48, 0x8d, 0x72, UC_GREGS); // lea rsi, [rdx+40]
  a.at(C.faultContext, 0x48, 0x8d, 0x3d); // lea rdi, [faultContext]
  a.emit(0xb9, GREGS, 0, 0, 0, 0xfc, 0xf3, 0x48, 0xa5); // mov ecx, 23; cld; rep movsq
  a.at(exit, 0x48, 0x8d, 0x05); // lea rax, [exit]
  const rip = UC_GREGS + REG_RIP * 8;
  a.emit(0x48, 0x89, 0x82, rip & 0xff, rip >> 8, 0, 0); // mov [rdx+rip], rax
  // Tested code may have been in a 32-bit code segment; the way back is 64-bit code.
  a.emit(0x66, 0xc7, 0x82, (rip + 16) & 0xff, (rip + 16) >> 8, 0, 0, 0x33, 0); // mov word [rdx+cs], 0x33
  a.emit(0x81, 0xa2, (rip + 8) & 0xff, (rip + 8) >> 8, 0, 0, 0xff, 0xfe, 0xfe, 0xff); // and dword [rdx+efl], ~(TF|RF)
  a.emit(0xc3);
  other();
  a.emit(0x89, 0xf9); // mov ecx, edi
  a.at(C.previous, 0x48, 0x8d, 0x05); // lea rax, [previous]
  a.emit(0x48, 0x8b, 0x04, 0xc8); // mov rax, [rax+rcx*8]
  a.emit(0x48, 0x83, 0xf8, 0x01); // cmp rax, 1
  const none = a.short(0x76); // jbe
  a.emit(0xff, 0xe0); // jmp rax
  none();
  // No handler: the default comes back, and the instruction faults again with it.
  a.at(C.defaultAction, 0x48, 0x8d, 0x35); // lea rsi, [defaultAction]
  a.emit(0x31, 0xd2, 0x41, 0xba, 8, 0, 0, 0, 0xb8, SYS_RT_SIGACTION, 0, 0, 0, 0x0f, 0x05, 0xc3); // syscall; ret
  return handler;
}

interface Libc {
  sigaction(signal: number, action: Uint8Array, old: Uint8Array): number;
  sigaltstack(stack: Uint8Array, old: null): number;
}

function loadLibc(): Libc {
  const libc = koffi.load('libc.so.6');
  return {
    sigaction: libc.func('int sigaction(int signal, const uint8_t *action, _Out_ uint8_t *old)'),
    sigaltstack: libc.func('int sigaltstack(const uint8_t *stack, uint8_t *old)'),
  };
}

/** struct sigaction of glibc and musl: handler, mask (128 bytes), flags, restorer. */
function installHandlers(libc: Libc, handler: number, stack: number, control: DataView): void {
  const alternate = new DataView(new ArrayBuffer(24));
  alternate.setBigUint64(0, BigInt(stack), true);
  alternate.setBigUint64(16, BigInt(STACK_BYTES), true);
  if (libc.sigaltstack(new Uint8Array(alternate.buffer), null) !== 0) throw new Error('sigaltstack failed');
  for (const signal of SIGNALS) {
    const action = new DataView(new ArrayBuffer(152));
    action.setBigUint64(0, BigInt(handler), true);
    action.setInt32(136, SA_FLAGS, true);
    const old = new Uint8Array(152);
    if (libc.sigaction(signal, new Uint8Array(action.buffer), old) !== 0) throw new Error('sigaction failed');
    control.setBigUint64(C.previous + signal * 8, new DataView(old.buffer).getBigUint64(0, true), true);
  }
}

let unavailable: string | undefined;

/** Why `createHostCpu` last gave undefined. */
export function hostCpuUnavailable(): string | undefined {
  return unavailable;
}

/**
 * Prepares the host's processor for runs, once per address pair and thread; undefined
 * when the host is not Linux on x86-64 or refuses (`hostCpuUnavailable` says why).
 */
export function createHostCpu(options: HostCpuOptions = {}): HostCpu | undefined {
  unavailable = undefined;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    unavailable = `the host is ${process.platform} on ${process.arch}, not Linux on x86-64`;
    return undefined;
  }
  try {
    return build(options);
  } catch (error) {
    unavailable = error instanceof Error ? error.message : String(error);
    return undefined;
  }
}

function build(options: HostCpuOptions): HostCpu {
  const { codeAddress = 0x6ff00000, memoryAddress = 0x70000000, memoryBytes = 65536 } = options;
  const libc = loadLibc();
  mapHostPages(codeAddress, MAPPING_BYTES, PROT.all);
  mapHostPages(memoryAddress, memoryBytes, PROT.readWrite);
  const mapping = hostMemory(codeAddress, MAPPING_BYTES);
  const memory = new Uint8Array(hostMemory(memoryAddress, memoryBytes));
  const bytes = new Uint8Array(mapping);
  const view = new DataView(mapping);

  const assembler = new Assembler(TRAMPOLINE);
  const avx = hostHas('avx') && hostHas('xsave');
  const { entry, exit } = emitTrampoline(assembler, avx);
  const handler = emitHandler(assembler, exit);
  bytes.set(assembler.bytes, TRAMPOLINE);
  installHandlers(libc, codeAddress + handler, codeAddress + STACK, view);

  const type = koffi.proto('void ()');
  const enter: () => void = koffi.decode(BigInt(codeAddress + entry), type);
  const gpr = new BigUint64Array(mapping, C.gpr, 16);
  const fx = bytes.subarray(C.fx, C.fx + 512);
  const upper = bytes.subarray(C.upper, C.upper + UPPER_BYTES);

  const load = (code: Uint8Array): void => {
    if (code.length > MAX_CODE)
      throw new RangeError(`tested code of ${code.length} bytes; at most ${MAX_CODE}`);
    bytes.set(code, 0);
    bytes[code.length] = 0xe9;
    view.setInt32(code.length + 1, exit - (code.length + 5), true);
  };

  const runLoaded = (before: HostState, after: HostState): HostFault | undefined => {
    gpr.set(before.gpr);
    fx.set(before.fx);
    bytes.fill(0, C.header, C.upper);
    bytes[C.header] = COMPONENTS;
    if (before.upper) upper.set(before.upper);
    else upper.fill(0);
    // FXRSTOR faults on reserved bits of MXCSR.
    view.setUint32(C.fx + 24, view.getUint32(C.fx + 24, true) & 0xffff, true);
    view.setBigUint64(C.rflags, BigInt((before.rflags & LOADABLE_FLAGS) | 0x202), true);
    view.setInt32(C.faultSignal, 0, true);
    enter();
    after.gpr.set(gpr);
    after.fx.set(fx);
    if (avx) after.upper?.set(upper);
    after.rflags = view.getUint32(C.rflags, true);
    return view.getInt32(C.faultSignal, true) === 0 ? undefined : readFault(view);
  };

  return {
    codeAddress,
    memory,
    memoryAddress,
    load,
    runLoaded,
    run(code, before) {
      load(code);
      const after: HostResult = createHostState();
      const fault = runLoaded(before, after);
      if (fault) after.fault = fault;
      return after;
    },
  };
}

function readFault(view: DataView): HostFault {
  const context = (index: number): bigint => view.getBigUint64(C.faultContext + index * 8, true);
  const vector = Number(context(REG_TRAPNO));
  return {
    signal: view.getInt32(C.faultSignal, true),
    vector,
    errorCode: Number(context(REG_ERR)),
    rip: context(REG_RIP),
    ...(vector === 14 ? { address: context(REG_CR2) } : {}),
  };
}
