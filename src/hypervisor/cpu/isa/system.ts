import { AC, DF, ID, IF, IOPL, NT, RF, TF, VM } from '../flags.ts';
import { CS, DS, ES, FS, GS, S, SEG, SS, segment } from '../layout.ts';
import { I32 } from '../wasm/opcodes.ts';
import { i32, type Value } from '../wasm/value.ts';
import type { Builder } from './builder.ts';
import { type Instruction, instruction } from './rows.ts';

/**
 * System instructions, segment registers, far transfers, port I/O. What is
 * rare is left to TypeScript (cpu/system); what a kernel does on every entry
 * and every lock is written here as far as its common case goes, and its rest
 * goes to the routine of the same name.
 */

const CR4_TSD = 4;
const RAX = 0,
  RCX = 1,
  RDX = 2;

/** The time-stamp counter into EDX:EAX. The routine does it where level 3 may not, or time is not to be had at once. */
function readTimeStamp(b: Builder, routine: string): void {
  const refused = b.state('i32.load', S.cr4).and(CR4_TSD).ne(0).and(b.state('i32.load', S.cpl).ne(0));
  b.unlikely(refused.or(b.state('i32.load', S.tscFast).eqz()), () => b.system(routine));
  b.outside();
  const ticks = b.call('tscNow');
  b.setGpr(RAX, 32, ticks.wrap());
  b.setGpr(RDX, 32, ticks.shrU(32n).wrap());
}

const leave =
  (name: string) =>
  (b: Builder): void =>
    b.system(name);

/** An instruction that is all TypeScript's. */
const system = (
  name: string,
  encodings: string | readonly string[],
  routine = name.replaceAll('-', '_'),
): Instruction => instruction(name, encodings, leave(routine));

const privileged = (name: string, encodings: string | readonly string[], cpuid?: string): Instruction =>
  instruction(name, encodings, leave(name), cpuid === undefined ? { privilege: 0 } : { privilege: 0, cpuid });

function pushSegment(b: Builder, index: number): void {
  const at = segment(index) + SEG.selector;
  b.push(b.opsize, b.opsize === 64 ? b.state('i64.load16_u', at) : b.state('i32.load16_u', at));
}

const pushOf = (name: string, encoding: string, index: number): Instruction =>
  instruction(`push-${name}`, encoding, (b) => pushSegment(b, index));

/** CPL > IOPL: CLI, STI need the routine's eye. */
const aboveIopl = (b: Builder, eflags: Value): Value =>
  b.state('i32.load', S.cpl).gtU(eflags.shrU(12).and(3));

function cli(b: Builder): void {
  const eflags = b.state('i32.load', S.eflags);
  b.if(
    aboveIopl(b, eflags),
    () => b.system('cli'),
    () => b.setState('i32.store', S.eflags, eflags.and(~IF)),
  );
}

/**
 * The shadow of one instruction is kept by the routine, for when an interrupt
 * waits. Else none is needed: interrupts are taken between runs, and a run
 * does not end here.
 */
function sti(b: Builder): void {
  const eflags = b.state('i32.load', S.eflags);
  const awaited = b.state('i32.load', S.interruptPending).ne(0).and(eflags.and(IF).eqz());
  b.if(
    aboveIopl(b, eflags).or(awaited),
    () => b.system('sti'),
    () => b.setState('i32.store', S.eflags, eflags.or(IF)),
  );
}

function pushFlags(b: Builder): void {
  const wide = b.opsize;
  b.if(
    b.state('i32.load', S.eflags).and(VM),
    () => b.system('pushf'),
    () => {
      const image = b.let(b.rflags().and(~(VM | RF)));
      b.push(wide, wide === 64 ? image.extendU() : image);
    },
  );
}

/**
 * POPF where nothing but the arithmetic flags, DF, ID and a permitted IF
 * changes, and no interrupt waits for that IF.
 */
function popFlags(b: Builder): void {
  const size = b.opsize;
  const old = b.state('i32.load', S.eflags);
  const image = b.let(b.top(size).wrap());
  const guarded = TF | IOPL | NT | (size === 16 ? 0 : AC);
  const plain = IF | DF | (size === 16 ? 0 : ID);
  const changed = b.let(old.xor(image));
  const ifChanges = changed.and(IF);
  const ifHeld = ifChanges.and(aboveIopl(b, old).shl(9));
  const awaited = ifChanges.and(image).and(b.state('i32.load', S.interruptPending).ne(0).shl(9));
  b.if(
    changed.and(guarded).or(old.and(VM)).or(ifHeld).or(awaited),
    () => b.system('popf'),
    () => {
      b.setState('i32.store', S.eflags, old.and(~(plain | RF)).or(image.and(plain)));
      b.setArithmeticFlags(image);
      b.adjustStack(size / 8);
    },
  );
}

function swapgs(b: Builder): void {
  const at = segment(GS) + SEG.base;
  const base = b.state('i64.load', at);
  const other = b.state('i64.load', S.kernelGsBase);
  b.setState('i64.store', at, other);
  b.setState('i64.store', S.kernelGsBase, base);
}

/** SYSCALL; what is traced goes to the routine, and so does that of compatibility mode. */
function syscall(b: Builder): void {
  if (!b.long) return b.system('syscall');
  b.if(b.call('enterSyscall', b.nextRip()).eqz(), () => b.system('syscall'));
  b.jump(b.state('i64.load', S.lstar));
}

/** SYSRET; the one to compatibility mode is the routine's. */
function sysret(b: Builder): void {
  if (b.opsize !== 64) return b.system('sysret');
  b.if(b.call('leaveSyscall').eqz(), () => b.system('sysret'));
  b.jump(b.gpr(1, 64));
}

/** IRET; within 64-bit or 32-bit code, and from there to such code of level 3, without leaving. */
function iret(b: Builder): void {
  if (b.opsize !== (b.long ? 64 : 32)) return b.system('iret');
  b.if(b.call(b.long ? 'returnLong' : 'returnProtected').eqz(), () => b.system('iret'));
  b.jump(b.state('i64.load', S.rip));
}

/** INT n; in 32-bit code without leaving. */
function softwareInterrupt(b: Builder): void {
  if (b.long) return b.system('int');
  const vector = b.immediate(0, I32).and(0xff);
  b.if(b.call('enterSoftware', vector, b.nextRip()).eqz(), () => b.system('int'));
  b.jump(b.state('i64.load', S.rip));
}

/** SYSENTER and SYSEXIT, in 32-bit code without leaving. */
const fastCall =
  (name: string, way: string) =>
  (b: Builder): void => {
    if (b.long) return b.system(name);
    b.if(b.call(way).eqz(), () => b.system(name));
    b.jump(b.state('i64.load', S.rip));
  };

/** MOV from a segment register: of a general register here, 16 bits of memory are the routine's. */
function movFromSegment(b: Builder): void {
  if (b.isMemory(0)) return b.system('mov_from_sreg');
  const selector = b.let(b.call('selectorOf', b.registerAddress(1)));
  b.if(selector.ltS(0), () => b.system('mov_from_sreg'));
  b.write(0, b.opsize === 64 ? selector.extendU() : selector);
}

/** MOV from CR0, CR2, CR3 and CR4 at level 0; CR8, which the local APIC has, is the routine's. */
function movFromControl(b: Builder): void {
  const number = b.registerAddress(1); // of control registers the record has the number
  const other = number.sub(2).gtU(2).and(number.ne(0));
  b.if(b.state('i32.load', S.cpl).ne(0).or(other), () => b.system('mov_from_cr'));
  const value = b.call('controlRegister', number);
  if (b.operandSize(0) === 32) b.write(0, value.wrap());
  else b.write(0, b.long ? value : value.and(0xffff_ffffn));
}

/** MOV to CR3 at level 0; the others are the routine's. */
function movToControl(b: Builder): void {
  const routine = (): void => b.system('mov_to_cr');
  b.if(b.state('i32.load', S.cpl).ne(0).or(b.registerAddress(0).ne(3)), routine);
  const value = b.read(1);
  const next = b.let(b.nextRip()); // which hangs off the page that is looked up anew
  b.if(b.call('loadCr3', value.extendU()).eqz(), routine);
  b.jump(next);
}

/** INVLPG of an address without a segment's base. */
function dropPage(b: Builder): void {
  const routine = (): void => b.system('invlpg');
  if (!b.flat) return routine();
  if (!b.long) b.if(b.state('i32.load', S.oddSegments), routine);
  const next = b.let(b.nextRip());
  b.if(b.call('dropPage', b.offset(0)).eqz(), routine);
  b.jump(next);
}

/** MOV to DS, ES, FS or GS, where the descriptor is an ordinary one; CS and SS are the routine's, which tells of them before memory is read. */
function movToSegment(b: Builder): void {
  const at = b.registerAddress(0);
  const routine = (): void => b.system('mov_to_sreg');
  if (b.isMemory(1))
    b.if(
      at
        .eq(segment(CS))
        .or(at.eq(segment(SS)))
        .or(at.gtU(segment(GS))),
      routine,
    );
  b.if(b.call('loadData', at, b.read(1).and(0xffff)).eqz(), routine);
}

const popOf = (name: string, encoding: string, index: number): Instruction =>
  instruction(`pop-${name}`, encoding, (b) => {
    const top = b.top(b.opsize);
    const selector = (b.opsize === 64 ? top.wrap() : top).and(0xffff);
    const loaded = b.call('loadData', i32(segment(index)), selector);
    b.if(loaded.eqz(), () => b.system(`pop_${name}`));
    b.adjustStack(b.opsize / 8);
  });

const setAc =
  (name: string, on: number) =>
  (b: Builder): void =>
    b.if(
      b.call('traced').or(b.state('i32.load', S.cpl)),
      () => b.system(name),
      () => b.run('setAc', i32(on)),
    );

const CR4_FSGSBASE = 1 << 16;

function requireFsgsbase(b: Builder): void {
  b.if(b.state('i32.load', S.cr4).and(CR4_FSGSBASE).eqz(), () => b.raise(6));
}

const readBase =
  (index: number) =>
  (b: Builder): void => {
    requireFsgsbase(b);
    const base = b.state('i64.load', segment(index) + SEG.base);
    b.write(0, b.opsize === 64 ? base : base.wrap());
  };

const writeBase =
  (index: number) =>
  (b: Builder): void => {
    requireFsgsbase(b);
    const base = b.let(b.read(0).extendU());
    if (b.opsize === 64) b.if(base.shl(16).shrS(16).ne(base), () => b.raise(13, 0));
    b.setState('i64.store', segment(index) + SEG.base, base);
  };

const FSGSBASE = { cpuid: 'FSGSBASE' } as const;

const segmentInstructions: readonly Instruction[] = [
  instruction('mov-to-sreg', '8E Sw:w,Ew', movToSegment),
  instruction('mov-from-sreg', '8C Ev:w,Sw', movFromSegment),
  pushOf('es', '06 i64', ES),
  pushOf('cs', '0E i64', CS),
  pushOf('ss', '16 i64', SS),
  pushOf('ds', '1E i64', DS),
  pushOf('fs', '0F A0 d64', FS),
  pushOf('gs', '0F A8 d64', GS),
  popOf('es', '07 i64', ES),
  system('pop-ss', '17 i64'),
  popOf('ds', '1F i64', DS),
  popOf('fs', '0F A1 d64', FS),
  popOf('gs', '0F A9 d64', GS),
  system('les', 'C4 /r Gv:w,M i64'),
  system('lds', 'C5 /r Gv:w,M i64'),
  system('lss', '0F B2 Gv:w,M'),
  system('lfs', '0F B4 Gv:w,M'),
  system('lgs', '0F B5 Gv:w,M'),
  system('sldt', '0F 00 /0 Ev:w'),
  system('str', '0F 00 /1 Ev:w'),
  system('lldt', '0F 00 /2 Ew:r'),
  system('ltr', '0F 00 /3 Ew:r'),
  system('verr', '0F 00 /4 Ew:r'),
  system('verw', '0F 00 /5 Ew:r'),
  system('sgdt', '0F 01 /0 M:w'),
  system('sidt', '0F 01 /1 M:w'),
  privileged('lgdt', '0F 01 /2 M:r'),
  privileged('lidt', '0F 01 /3 M:r'),
  system('smsw', '0F 01 /4 Ev:w'),
  privileged('lmsw', '0F 01 /6 Ew:r'),
  system('lar', '0F 02 Gv:w,Ew'),
  system('lsl', '0F 03 Gv:w,Ew'),
  system('arpl', '63 Ew,Gw i64'),
  instruction('rdfsbase', 'F3 0F AE /0 Ry:w o64', readBase(FS), FSGSBASE),
  instruction('rdgsbase', 'F3 0F AE /1 Ry:w o64', readBase(GS), FSGSBASE),
  instruction('wrfsbase', 'F3 0F AE /2 Ry:r o64', writeBase(FS), FSGSBASE),
  instruction('wrgsbase', 'F3 0F AE /3 Ry:r o64', writeBase(GS), FSGSBASE),
  instruction('swapgs', '0F 01 /m=F8 o64', swapgs, { privilege: 0 }),
];

const controlInstructions: readonly Instruction[] = [
  instruction('mov-from-cr', '0F 20 Rq:w,Cq', movFromControl),
  instruction('mov-to-cr', '0F 22 Cq:w,Rq', movToControl),
  system('mov-from-dr', '0F 21 Rq:w,Dq'),
  system('mov-to-dr', '0F 23 Dq:w,Rq'),
  privileged('clts', '0F 06'),
  privileged('invd', '0F 08'),
  privileged('wbinvd', '0F 09'),
  instruction('invlpg', '0F 01 /7 M', dropPage, { privilege: 0 }),
  instruction('invpcid', '66 0F 38 82 Gq:r,M', leave('invpcid'), { cpuid: 'INVPCID' }),
  instruction('xsetbv', 'NP 0F 01 /m=D1', leave('xsetbv'), { cpuid: 'XSAVE' }),
  instruction('clac', 'NP 0F 01 /m=CA', setAc('clac', 0), { cpuid: 'SMAP' }),
  instruction('stac', 'NP 0F 01 /m=CB', setAc('stac', 1), { cpuid: 'SMAP' }),
  instruction(
    'clflush',
    'NP 0F AE /7 M mem',
    (b) => {
      // Memory is coherent; what is left is the read access that CLFLUSH counts as.
      b.load('i32.load8_u', b.linear(0, 1, 'r'));
    },
    { cpuid: 'CLFSH' },
  ),
];

const generalInstructions: readonly Instruction[] = [
  system('cpuid', '0F A2'),
  // There is no VMX; the hypervisor that CPUID names takes its calls by it.
  instruction('vmcall', 'NP 0F 01 /m=C1', leave('vmcall'), { cpuid: 'HYPERVISOR' }),
  instruction('rdtsc', '0F 31', (b) => readTimeStamp(b, 'rdtsc'), { cpuid: 'TSC' }),
  instruction(
    'rdtscp',
    '0F 01 /m=F9',
    (b) => {
      readTimeStamp(b, 'rdtscp');
      b.setGpr(RCX, 32, b.state('i32.load', S.tscAux));
    },
    { cpuid: 'RDTSCP' },
  ),
  // There are no performance counters: every index is out of range.
  instruction('rdpmc', '0F 33', (b) => b.raise(13, 0)),
  privileged('rdmsr', '0F 32', 'MSR'),
  privileged('wrmsr', '0F 30', 'MSR'),
  privileged('hlt', 'F4'),
  instruction('rdrand', '0F C7 /6 Rv:w', leave('rdrand'), { cpuid: 'RDRAND' }),
  instruction('rdseed', '0F C7 /7 Rv:w', leave('rdseed'), { cpuid: 'RDSEED' }),
  // RDPID, which there is not: the F3 forms of the same opcode must not pass for RDSEED.
  instruction('rdpid', 'F3 0F C7 /7 Rq:w', (b) => b.raise(6)),
  instruction('syscall', '0F 05', syscall, { cpuid: 'SYSCALL' }),
  instruction('sysret', '0F 07 o64', sysret, { cpuid: 'SYSCALL' }),
  instruction('sysenter', '0F 34', fastCall('sysenter', 'enterSysenter'), { cpuid: 'SEP' }),
  instruction('sysexit', '0F 35', fastCall('sysexit', 'leaveSysexit'), { cpuid: 'SEP' }),
  instruction('cli', 'FA', cli),
  instruction('sti', 'FB', sti),
  instruction('pushf', '9C d64', pushFlags),
  instruction('popf', '9D d64', popFlags),
];

const transferInstructions: readonly Instruction[] = [
  instruction('int', 'CD Ib:r', softwareInterrupt),
  system('int3', 'CC'),
  system('int1', 'F1'),
  instruction('into', 'CE i64', (b) => b.if(b.of(), () => b.system('into'))),
  instruction('iret', 'CF', iret),
  system('jmp-far', 'EA Iz:r,Iw i64'),
  system('call-far', '9A Iz:r,Iw i64'),
  system('jmp-far-indirect', 'FF /5 M:r'),
  system('call-far-indirect', 'FF /3 M:r'),
  system('retf', 'CB'),
  system('retf-imm', 'CA Iw:r'),
  system('in', ['E4 AL:w,Ib', 'E5 rAX:w,Ib', 'EC AL:w,DX', 'ED rAX:w,DX']),
  system('out', ['E6 Ib:r,AL', 'E7 Ib:r,rAX', 'EE DX:r,AL', 'EF DX:r,rAX']),
  system('insb', '6C'),
  system('ins', '6D'),
  system('outsb', '6E'),
  system('outs', '6F'),
];

export const systemInstructions: readonly Instruction[] = [
  ...segmentInstructions,
  ...controlInstructions,
  ...generalInstructions,
  ...transferInstructions,
];
