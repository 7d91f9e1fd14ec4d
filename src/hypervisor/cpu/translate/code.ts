import { type CodeMode, Decoder, REGISTER_SLOTS } from '../decode/decoder.ts';
import { type Encoding, FORM, type FormKind, type OpcodeTable } from '../decode/encoding.ts';
import { RAM, RECORD, S } from '../layout.ts';
import { type AddressEffects, addressEffectsOf } from './address-effects.ts';
import { type Effects, effectsOf, registerAt } from './effects.ts';

/** A decoded instruction of a region, with what the table says of it. */
export interface GuestInstruction {
  /** Offset from the linear address of the page that the region is entered in; may lie outside of that page. */
  readonly at: number;
  readonly length: number;
  readonly encoding: Encoding;
  readonly opsize: 16 | 32 | 64;
  readonly form: FormKind;
  /** Element of the interpreter's table. */
  readonly handler: number;
  readonly effects: Effects;
  /** By operand: address in the state block of a register, its number for files that have none; undefined for others. */
  readonly registers: readonly (number | undefined)[];
  /** General registers of the memory operand, -1 for none. */
  readonly base: number;
  readonly index: number;
  readonly ripRelative: boolean;
  readonly displacement: number;
  readonly shift: number;
  readonly segment: number;
  readonly addressSize: 16 | 32 | 64;
  readonly rep: number;
  readonly immediates: readonly [bigint, number];
  /** General and vector registers that it touches, and writes: bits by number. */
  readonly gprs: number;
  readonly gprWrites: number;
  readonly xmms: number;
  readonly xmmWrites: number;
  readonly addressEffects: AddressEffects;
}

/** A page that a region may have code in. */
export interface CodePageInfo {
  readonly physical: number;
  /** Slot table of the interpreter. */
  readonly slots: number;
}

/** Decodes instructions of a region: by offset from its page, through the pages that are mapped around it, from a copy of them. */
export class RegionCode {
  readonly #decoder: Decoder;
  readonly #memory: Uint8Array;
  /** The pages as they were when they were first looked at, by frame: the processor may write to them meanwhile. */
  readonly #copies = new Map<number, Uint8Array>();
  readonly #mode: CodeMode;
  readonly #page: (index: number) => CodePageInfo | undefined;
  readonly #record = new DataView(new ArrayBuffer(32));
  readonly #handlerOf: (decoder: Decoder) => number;
  readonly #known = new Map<number, GuestInstruction | undefined>();

  /** `page` gives the page `index` pages on from the entry's, when the fetch TLB knows it. */
  constructor(
    table: OpcodeTable,
    memory: Uint8Array,
    mode: CodeMode,
    page: (index: number) => CodePageInfo | undefined,
    handlerOf: (decoder: Decoder) => number,
  ) {
    this.#decoder = new Decoder(table);
    this.#memory = memory;
    this.#mode = mode;
    this.#page = page;
    this.#handlerOf = handlerOf;
  }

  /** The instruction at an offset; undefined when it cannot be part of a region. */
  instruction(at: number): GuestInstruction | undefined {
    if (this.#known.has(at)) return this.#known.get(at);
    const decoded = this.#decode(at);
    this.#known.set(at, decoded);
    return decoded;
  }

  /** Writes the interpreter's record of an instruction that was decoded before, with ordinal 0. */
  writeRecord(i: GuestInstruction, view: DataView, record: number): void {
    const page = this.#page(i.at >> 12);
    if (!page) throw new Error('the page of an instruction is not known any more');
    this.#decoder.decode(this.#copy(page.physical), i.at & 0xfff, 4096, this.#mode);
    this.#decoder.write(view, record, i.at & 0xfff, 0);
    view.setUint16(record + RECORD.handler, i.handler, true);
  }

  /** The 64 bytes at a multiple of 64 in a frame, as they were when they were decoded. */
  granule(physical: number): Uint8Array {
    const at = physical & 0xfff;
    return this.#copy(physical - at).subarray(at, at + 64);
  }

  #copy(physical: number): Uint8Array {
    let copy = this.#copies.get(physical);
    if (!copy) {
      const at = (RAM + physical) >>> 0;
      copy = this.#memory.slice(at, at + 4096);
      this.#copies.set(physical, copy);
    }
    return copy;
  }

  #decode(at: number): GuestInstruction | undefined {
    const page = this.#page(at >> 12);
    if (!page) return undefined;
    const decoder = this.#decoder;
    const result = decoder.decode(this.#copy(page.physical), at & 0xfff, 4096, this.#mode);
    const { encoding } = decoder;
    if (result !== 'ok' || !encoding) return undefined;
    const handler = this.#handlerOf(decoder);
    if (handler === 0) return undefined;
    const view = this.#record;
    decoder.write(view, 0, 0, 0);
    const effects = effectsOf(encoding, this.#mode === 2, decoder.opsize, decoder.form, decoder.rep !== 0);
    const baseReg = view.getUint16(RECORD.baseReg, true);
    const memory = decoder.form !== FORM.register;
    const general = (address: number): number => {
      const register = memory ? registerAt(address) : undefined;
      return register?.file === 'gpr' ? register.number : -1;
    };
    const known = {
      at,
      length: decoder.length,
      encoding,
      opsize: decoder.opsize,
      form: decoder.form,
      handler,
      effects,
      registers: this.#registers(encoding, decoder.form),
      base: general(baseReg),
      index: general(view.getUint16(RECORD.indexReg, true)),
      ripRelative: memory && baseReg === S.pageBase,
      displacement: view.getInt32(RECORD.disp, true),
      shift: view.getUint8(RECORD.shift),
      segment: view.getUint8(RECORD.segment),
      addressSize: decoder.addressSize,
      rep: decoder.rep,
      immediates: [view.getBigInt64(RECORD.imm, true), view.getInt32(RECORD.disp, true)] as const,
    };
    return { ...known, ...touched(known), addressEffects: addressEffectsOf(known, this.#mode === 2) };
  }

  #registers(encoding: Encoding, form: FormKind): (number | undefined)[] {
    let slot = 0;
    return encoding.operands.map((spec) => {
      const { kind } = spec.what;
      const register =
        kind === 'modrm-reg' ||
        kind === 'opcode-reg' ||
        kind === 'vex-reg' ||
        kind === 'fixed-reg' ||
        (kind === 'modrm-rm' && form === FORM.register);
      if (!register) return undefined;
      return this.#record.getUint16(REGISTER_SLOTS[slot++] ?? RECORD.r3, true);
    });
  }
}

/** The registers that operands and effects name. */
function touched(
  i: Pick<GuestInstruction, 'encoding' | 'effects' | 'registers' | 'base' | 'index'>,
): Pick<GuestInstruction, 'gprs' | 'gprWrites' | 'xmms' | 'xmmWrites'> {
  const { effects } = i;
  let gprs = effects.gprReads | effects.gprWrites;
  let { gprWrites, xmmWrites } = effects;
  let xmms = effects.xmmReads | effects.xmmWrites;
  if (i.base >= 0) gprs |= 1 << i.base;
  if (i.index >= 0) gprs |= 1 << i.index;
  i.registers.forEach((address, n) => {
    const spec = i.encoding.operands[n];
    const register = address === undefined ? undefined : registerAt(address);
    if (!register || !spec || (spec.file !== 'gpr' && spec.file !== 'xmm')) return;
    const bit = 1 << register.number;
    if (register.file === 'gpr') {
      gprs |= bit;
      if (spec.access !== 'r') gprWrites |= bit;
    } else {
      xmms |= bit;
      if (spec.access !== 'r') xmmWrites |= bit;
    }
  });
  return { gprs, gprWrites, xmms, xmmWrites };
}

/** Where a direct branch goes: its offset, from the entry's page. */
export function branchTarget(i: GuestInstruction): number {
  return i.at + i.length + Number(i.immediates[0]);
}
