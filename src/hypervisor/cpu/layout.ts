/**
 * Where everything of the processor lies in the machine's linear memory.
 * Byte offsets; the same for every engine, so that state moves between them as it is.
 */

/** The architectural state block. GPRs are in the SDM's register-number order. */
export const STATE = 0x1000;

let next = STATE;
function field(bytes: number, align = Math.min(bytes, 8)): number {
  next = Math.ceil(next / align) * align;
  const at = next;
  next += bytes;
  return at;
}

export const S = {
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8..R15, i64 each. Outside of 64-bit mode the high halves of the first eight are 0. */
  gpr: field(16 * 8),
  /** Always zero: the base or index register of an address that has none, and the base of a flat segment. */
  zero: field(8),
  rip: field(8),
  /** Lazy arithmetic flags: see `cpu/flags.ts`. */
  flagResult: field(8),
  flagAux: field(4),
  /** The rest of RFLAGS (TF IF DF IOPL NT RF VM AC VIF VIP ID), in place; bit 1 is set. */
  eflags: field(4),
  /** ES CS SS DS FS GS LDTR TR, then one flat segment for 64-bit mode, 32 bytes each: see SEG. */
  segments: field(9 * 32, 32),
  gdtrBase: field(8),
  idtrBase: field(8),
  gdtrLimit: field(4),
  idtrLimit: field(4),
  cr0: field(8),
  cr2: field(8),
  cr3: field(8),
  cr4: field(8),
  cr8: field(8),
  efer: field(8),
  /** PAE page-directory-pointer registers, loaded with CR3 (SDM vol. 3, 4.4.1). */
  pdpte: field(4 * 8),
  dr: field(8 * 8),
  cpl: field(4),
  /** 0: 16-bit code, 1: 32-bit code, 2: 64-bit code. */
  codeMode: field(4),
  /** Interrupts are held off for one instruction: 1 after STI; 2 after MOV SS or POP SS, debug exceptions too. */
  shadow: field(4),
  halted: field(4),
  /** 1 from the delivery of an NMI until the next IRET. */
  nmiBlocked: field(4),
  /** DR6's B0-B3 of data and I/O breakpoints that were met and are not delivered yet. */
  pendingDebug: field(4),
  star: field(8),
  lstar: field(8),
  cstar: field(8),
  sfmask: field(8),
  kernelGsBase: field(8),
  tscAux: field(8),
  sysenterCs: field(8),
  sysenterEsp: field(8),
  sysenterEip: field(8),
  xcr0: field(8),
  /** 16 XMM registers of 16 bytes (room for YMM and ZMM behind, at a stride of 64). */
  xmm: field(16 * 64, 64),
  mxcsr: field(4),
  /** x87: physical registers R0..R7, 16 bytes each: mantissa (8), sign and exponent (2). MMn is the mantissa of Rn. */
  fpr: field(8 * 16, 16),
  fpuTop: field(4),
  /** Status word without TOP. */
  fpuStatus: field(4),
  fpuControl: field(4),
  /** Tag word reduced to one bit a physical register, 1 = empty (as FXSAVE's, inverted). */
  fpuEmpty: field(4),
  fpuOpcode: field(4),
  fpuIp: field(8),
  fpuDp: field(8),
  fpuCs: field(4),
  fpuDs: field(4),

  // From here on: of the engine, not architectural.
  /** Instructions that may still run in this slice; counts down at taken branches. */
  budget: field(4),
  /** Record of the instruction that faulted or left the run. */
  record: field(4),
  /** Linear address of the page that code runs in, and its slot table. */
  pageBase: field(8),
  pageSlots: field(4),
  /** Pending exception: vector, whether it has an error code, the code. CR2 goes to `faultAddress` first. */
  faultVector: field(4),
  faultHasCode: field(4),
  faultCode: field(4),
  faultAddress: field(8),
  /** Base of the TLB view for data at the current privilege: see TLB. */
  tlbView: field(4),
  /** The same for fetches. */
  fetchView: field(4),
  /** Generation of the fetch TLB, in the low 12 bits of its tags: entries of another one are void. */
  fetchGeneration: field(8),
  /** Access bits of the current view for the page walk: see interpret/paging.ts. */
  accessBits: field(4),
  /** Number of entries in TLB_FILLED, and how many of them are at its beginning that only global pages are left of. */
  tlbFilled: field(4),
  tlbGlobal: field(4),
  /** 1 when there may be fragments of pages of 1 GiB in the TLB. */
  tlbHuge: field(4),
  /** By segment register, a byte: 0 where 32-bit code may take it to be flat; see isFlat in system/registers.ts. */
  oddSegments: field(8, 8),
  /** Bytes of RAM, and how many of them lie above 1 MiB: what needs no look into MAP. */
  ramSize: field(4),
  highRam: field(4),
  /** A record whose handler was replaced by a break, and the handler. 0 when there is none. */
  patchedRecord: field(4),
  patchedHandler: field(4),
  /** A slow store in flight: how to finish it (see interpret/memory.ts). */
  commitKind: field(4),
  commitPhysical: field(4),
  commitPhysical2: field(4),
  /** Which of the two is a device's address and not that of a frame: bits 0 and 1. */
  commitDevice: field(4),
  commitSize: field(4),
  /** Of the last page walk: bit 0 global, bit 1 a write would pass too (dirty and permitted), bit 2 a large page, bit 3 one of 1 GiB. */
  walkFlags: field(4),
  /** Which TypeScript routine a handler asks for. */
  systemRoutine: field(4),
  /** Units whose instructions trap: bit 0 x87, bit 1 MMX, bit 2 SSE, bit 3 AVX; bit 4: AVX's are undefined. */
  unitTrap: field(4),
  /** Set when the last page walk failed on a non-canonical address, so that a stack access is told #SS. */
  faultCanonical: field(4),
  /** 1 when an interrupt is deliverable as far as the interrupt controllers know. */
  interruptPending: field(4),
  /** Which accesses the slow path watches: see WATCH. 0 almost always. */
  watch: field(4),
  /** 1 while instructions are run one at a time: string instructions then repeat once. */
  stepping: field(4),
  /** Physical address lines that are driven: all ones, or without bit 20 while the A20 gate is closed. */
  a20Mask: field(8),
  /** Counters for statistics. */
  tlbMisses: field(8),
  mmioExits: field(8),
  decodedInstructions: field(8),
  codeInvalidations: field(8),
  /** Taken from the budget for work that is no instruction retired: long repetitions. */
  charge: field(4),
  /** What the time-stamp counter is ahead of the ticks that `elapsed` gives; and whether it may be read that way. */
  tscOffset: field(8),
  tscFast: field(4),
  /** How often a region looked for bytes that lie on two pages, where each of its accesses may lie on one; and the record of the last such region. */
  crossings: field(4),
  crossedRecord: field(4),
  /** How often a region of the first size was left for want of an entry in the TLB, and the record of the last such region. */
  misses: field(4),
  missedRecord: field(4),
  /** Record of the region that used up the budget, 0 where it was none. */
  spendingRecord: field(4),
  /** Counters of translated regions, i64 each: see REGION_COUNTERS. */
  regionCounters: field(8 * 8),
} as const;

/** Offsets in S.regionCounters: how often regions were entered, what they retired, and how they were left. */
export const REGION_COUNTERS = {
  entries: 0,
  instructions: 8,
  branches: 16,
  indirect: 24,
  interpreted: 32,
  budget: 40,
  handlers: 48,
} as const;

/** One segment register. */
export const SEG = {
  stride: 32,
  base: 0,
  limit: 8,
  selector: 12,
  /** Descriptor bytes 5-6: type, S, DPL, P, AVL, L, D/B, G as in the high dword >> 8, masked 0xF0FF. */
  attributes: 16,
  /** 0 when an access needs no check but paging's (flat, writable, present); else the slow check decides. */
  checked: 20,
} as const;
export const ES = 0,
  CS = 1,
  SS = 2,
  DS = 3,
  FS = 4,
  GS = 5,
  LDTR = 6,
  TR = 7,
  FLAT = 8;

export const segment = (index: number): number => S.segments + index * SEG.stride;
export const gpr = (index: number): number => S.gpr + index * 8;
export const xmm = (index: number): number => S.xmm + index * 64;

/** 256 bytes where slow accesses assemble data that lies on two pages or in a device. */
export const SCRATCH = 0x3000;
/** Results of a division of 128 bits, between the runtime and the instruction. */
export const DIVISION = { quotient: SCRATCH + 0x400, remainder: SCRATCH + 0x408 } as const;
if (next > SCRATCH) throw new Error('the state block reaches into the scratch area');

/**
 * The data TLB: three views of 16384 entries of 32 bytes. A boot of Debian's kernel misses 16 times as often with 1024:
 * stacks and data that lie at the same place of 4 MiB drive each other out. With 4096 a process that touches 16 MiB
 * overflows the list of what is filled, and each flush clears all.
 * View 0: supervisor with SMAP in force; 1: supervisor that may touch user pages; 2: user.
 * An entry: read tag (i64), write tag (i64), addend (i32: linear memory address = low 32 bits of the
 * guest-linear address + addend), frame (u32). A tag is the page's linear address, or -1.
 */
export const TLB = {
  base: 0x10000,
  entries: 16384,
  stride: 32,
  views: 3,
  readTag: 0,
  writeTag: 8,
  addend: 16,
  physical: 20,
} as const;
export const TLB_VIEW_BYTES = TLB.entries * TLB.stride;

/** A view whose entries never match and are never filled: every access takes the slow path, which S.watch then looks at. */
export const WATCH_VIEW = TLB.base + TLB.views * TLB_VIEW_BYTES;
/** Bits of S.watch: alignment checks of level 3, data breakpoints, I/O breakpoints. */
export const WATCH = { alignment: 1, data: 2, io: 4 } as const;

/** The fetch TLB: two views (supervisor, user) of 1024 entries of 16 bytes: tag (i64; linear page and generation), slot table (u32), frame (u32; odd: a device's page). */
export const FETCH = {
  base: WATCH_VIEW + TLB_VIEW_BYTES,
  entries: 1024,
  stride: 16,
  /** Generations before the entries have to be cleared; 4095 in a tag is that of an empty one. */
  generations: 4095,
  views: 2,
} as const;
export const FETCH_VIEW_BYTES = FETCH.entries * FETCH.stride;

/** Indices of filled TLB entries, so that a flush costs what the fills did: u32 each; bit 31 set for a global page. */
export const TLB_FILLED = { base: FETCH.base + FETCH.views * FETCH_VIEW_BYTES, capacity: 16384 } as const;

/**
 * Memory is numbered in frames of 4 KiB, written as addresses: RAM's are its
 * guest-physical addresses, and what else can be read without asking a device
 * has the last ones. The frame at F is at RAM + F, modulo 4 GiB, in linear
 * memory. What guest-physical pages lead to is told by MAP.
 */
export const FRAMES = {
  /** Of a video adapter's memory. */
  video: { base: 0xfec0_0000, bytes: 16 << 20 },
  /** Of firmware's ROM, which ends at 4 GiB as ROMs do. */
  rom: { base: 0xffc0_0000, bytes: 4 << 20 },
} as const;
const PAGES = 0x10_0000;
const EXTRA_BYTES = 0x1_0000_0000 - FRAMES.video.base;

/** Bytes of code that are watched together. */
export const GRANULE = 64;
/** Per frame: an i64 mask of the granules that hold pre-decoded code. */
export const CODE_MASK = TLB_FILLED.base + TLB_FILLED.capacity * 4;

/** A bit for every 4 MiB, by linear address modulo 4 GiB: there may be fragments of large pages of it in the TLB. */
export const TLB_LARGE = { base: CODE_MASK + PAGES * 8, bytes: 128 } as const;

/** Per frame a u16: one more than the number of the TLB's entry that lets it be written, 0 where there is none; else `several`. */
export const TLB_WRITERS = { base: TLB_LARGE.base + TLB_LARGE.bytes, several: 0xffff } as const;

/** Where nothing answers: what addresses above 4 GiB are taken for. */
export const NOWHERE = 0xfed8_f000;

/** Per code page: 4096 slots (u32), the record decoded at each byte offset, or 0. */
export const CODE_PAGES = { base: TLB_WRITERS.base + PAGES * 2, count: 2048, bytes: 4096 * 4 } as const;

/** Per frame and mode of 32 or 64 bits: the slot table of its code (u32), or 0. Who translates beside the processor finds it there. */
export const CODE_DIRECTORY = {
  base: CODE_PAGES.base + CODE_PAGES.count * CODE_PAGES.bytes,
  bytes: 2 * PAGES * 4,
  of: (mode: number): number => CODE_DIRECTORY.base + (mode === 2 ? PAGES * 4 : 0),
} as const;

/** Pre-decoded instructions, 32 bytes each: see RECORD. */
export const RECORDS = {
  base: CODE_DIRECTORY.base + CODE_DIRECTORY.bytes,
  count: 1 << 20,
  bytes: 32,
} as const;

export const RECORD = {
  /** u16: element of the interpreter's table. */
  handler: 0,
  /** u8: instruction length. */
  length: 2,
  /** u8: position in its run, for instruction counts. */
  ordinal: 3,
  /** u16: offset in the page. */
  offset: 4,
  /** u8: segment register of the memory operand. */
  segment: 6,
  /** u8: scale as a shift count. */
  shift: 7,
  /** u16: addresses in the state block of the first to third register operand. */
  r1: 8,
  r2: 10,
  /** u16: addresses of base and index register. */
  baseReg: 12,
  indexReg: 14,
  /** i32: displacement. For a direct branch: record of the target, once known. */
  disp: 16,
  link: 16,
  /** u16: third register operand. */
  r3: 20,
  /** u8: address size, 16, 32 or 64 bits. */
  addressSize: 22,
  /** u8: REP prefix: 0 none, 1 REPNE (F2), 2 REP (F3). */
  rep: 23,
  /** i64: immediate, or second byte displacement: sign-extended. */
  imm: 24,
  /** u16: fourth register operand, of instructions whose immediate, if any, is one byte. */
  r4: 30,
} as const;

/**
 * Per guest-physical page that is not RAM above 1 MiB, a u32: its frame and how
 * it may be accessed there. What is not allowed goes to the bus; 0 is a device.
 */
export const MAP = {
  base: RECORDS.base + RECORDS.count * RECORDS.bytes,
  read: 1,
  write: 2,
  /** Writes are followed, and there was none since the last look. */
  clean: 4,
} as const;

/**
 * What the TLB has of the first 4 GiB, for translated 32-bit code: by page two u32, for reading and for writing, that
 * are one less than the entry's addend, or 0; a table for each view and one for WATCH_VIEW. The view of the TLB at V
 * has its table at base + (V - TLB.base) * scale. Only what is written to takes up memory.
 */
export const FLAT_TLB = {
  base: MAP.base + PAGES * 4,
  stride: 8,
  read: 0,
  write: 4,
  scale: (PAGES * 8) / TLB_VIEW_BYTES,
  bytes: (TLB.views + 1) * PAGES * 8,
} as const;

/** Guest RAM; the other frames lie before it. */
export const RAM = Math.ceil((FLAT_TLB.base + FLAT_TLB.bytes + EXTRA_BYTES) / 0x10000) * 0x10000;
