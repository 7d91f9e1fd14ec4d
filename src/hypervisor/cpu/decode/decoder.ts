import { CS, DS, FLAT, FS, GS, gpr, RECORD, S, SS, segment, xmm } from '../layout.ts';
import {
  type Encoding,
  FORM,
  type FormKind,
  handlerKey,
  hasCommonForms,
  immediateBytes,
  type OpcodeTable,
  type OperandSpec,
  operandBits,
} from './encoding.ts';

export const CODE16 = 0,
  CODE32 = 1,
  CODE64 = 2;
export type CodeMode = 0 | 1 | 2;

/** SDM vol. 2, 2.3.11: longer instructions raise #GP. */
export const MAX_INSTRUCTION_BYTES = 15;

export type DecodeResult = 'ok' | 'short' | 'invalid' | 'too-long';

/** The addresses of 16-bit ModRM forms (SDM vol. 2, table 2-1): base and index register, -1 for none. */
const MODRM16: readonly (readonly [number, number])[] = [
  [3, 6],
  [3, 7],
  [5, 6],
  [5, 7],
  [6, -1],
  [7, -1],
  [5, -1],
  [3, -1],
];

/**
 * Decodes one instruction at a time by the opcode table. The result stays in
 * its fields until the next call; `write` puts it into a record.
 */
export class Decoder {
  readonly #table: OpcodeTable;
  encoding: Encoding | undefined;
  length = 0;
  opsize: 16 | 32 | 64 = 32;
  addressSize: 16 | 32 | 64 = 32;
  form: FormKind = FORM.register;
  lock = false;
  rep = 0;
  #bytes: Uint8Array = new Uint8Array();
  #at = 0;
  #end = 0;
  #segment = -1;
  #operandOverride = false;
  #mandatory: 'none' | '66' | 'F3' | 'F2' = 'none';
  /** REX, or its bits as a VEX prefix gives them. */
  #rex = 0;
  #vex = false;
  #vexLength: 0 | 1 = 0;
  /** VEX.vvvv, upright. */
  #vexRegister = 0;
  /** VEX.vvvv is 1111b, as it must be where no operand uses it. */
  #vexUnused = true;
  #modrm = 0;
  #hasModrm = false;
  #base = -1;
  #index = -1;
  #shift = 0;
  /** Vector register of indices of a VSIB operand. */
  #vsib = 0;
  /** Register in the upper half of an immediate byte. */
  #is4 = 0;
  #displacement = 0;
  #ripRelative = false;
  #memorySegment = DS;
  /** The first immediate, sign-extended to 64 bits: its halves. */
  #immediateLow = 0;
  #immediateHigh = 0;
  #secondImmediate: number | undefined;

  constructor(table: OpcodeTable) {
    this.#table = table;
  }

  /**
   * Decodes at `bytes[at]`, reading no further than `end`. 'short' when the
   * instruction goes on past `end`; 'invalid' is #UD, 'too-long' #GP(0).
   */
  decode(bytes: Uint8Array, at: number, end: number, mode: CodeMode): DecodeResult {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = Math.min(end, at + MAX_INSTRUCTION_BYTES);
    const limited = this.#end < end;
    try {
      return this.#decode(mode, at);
    } catch (error) {
      if (error !== outOfBytes) throw error;
      return limited || end - at >= MAX_INSTRUCTION_BYTES ? 'too-long' : 'short';
    }
  }

  #byte(): number {
    if (this.#at >= this.#end) throw outOfBytes;
    return this.#bytes[this.#at++] ?? 0;
  }

  #decode(mode: CodeMode, start: number): DecodeResult {
    const opcode = this.#prefixes(mode);
    let map: 0 | 1 | 2 | 3 = 0;
    let byte = opcode;
    this.#vex = false;
    if ((byte === 0xc4 || byte === 0xc5) && this.#isVex(mode)) {
      map = this.#readVex(byte, mode);
      if (map === 0) return 'invalid';
      byte = this.#byte();
    } else if (byte === 0x0f) {
      byte = this.#byte();
      map = 1;
      if (byte === 0x38 || byte === 0x3a) {
        map = byte === 0x38 ? 2 : 3;
        byte = this.#byte();
      }
    }
    const encoding = this.#choose(this.#table.candidates(this.#vex, map, byte), mode);
    if (!encoding) return 'invalid';
    this.encoding = encoding;
    this.#sizes(encoding, mode);
    this.form = FORM.register;
    this.#base = byte & 7;
    if (encoding.hasModrm) {
      if (!this.#hasModrm) this.#readModrm();
      if (this.#modrm < 0xc0 && !encoding.anyMod) this.#memory(mode);
    } else {
      // In 64-bit mode only FS and GS have a base.
      this.#memorySegment = this.#segment >= 0 ? this.#segment : mode === CODE64 ? FLAT : DS;
    }
    if (encoding.vsib && !this.#isVsib(encoding, mode)) return 'invalid';
    this.#readImmediates(encoding);
    if (encoding.is4) this.#is4 = (this.#byte() >> 4) & (mode === CODE64 ? 15 : 7);
    this.length = this.#at - start;
    if (this.lock && !(encoding.lock && this.form !== FORM.register)) return 'invalid';
    return 'ok';
  }

  /**
   * Whether a VSIB operand is well formed: it has a SIB byte, whose index is
   * the vector, 100b too; where a mask is cleared element by element
   * (gathers), destination, mask and index are three registers (SDM vol. 2,
   * 2.4.12).
   */
  #isVsib(encoding: Encoding, mode: CodeMode): boolean {
    if (this.form === FORM.register || this.addressSize === 16 || (this.#modrm & 7) !== 4) return false;
    this.#vsib = this.#index < 0 ? 4 : this.#index;
    this.#index = -1;
    if (mode === CODE64 && this.form === FORM.indexed) this.form = FORM.base;
    const reg = this.#modrmRegister();
    const same = this.#vsib === reg || (encoding.vexRegister && this.#vexRegister === this.#vsib);
    return !same && reg !== this.#vexRegister;
  }

  #prefixes(mode: CodeMode): number {
    this.#segment = -1;
    this.#operandOverride = false;
    this.#rex = 0;
    this.lock = false;
    this.rep = 0;
    this.#hasModrm = false;
    let addressOverride = false;
    for (;;) {
      const byte = this.#byte();
      switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
          if (mode !== CODE64) this.#segment = (byte >> 3) & 3;
          break;
        case 0x64:
        case 0x65:
          this.#segment = byte === 0x64 ? FS : GS;
          break;
        case 0x66:
          this.#operandOverride = true;
          break;
        case 0x67:
          addressOverride = true;
          break;
        case 0xf0:
          this.lock = true;
          break;
        case 0xf2:
          this.rep = 1;
          break;
        case 0xf3:
          this.rep = 2;
          break;
        default:
          if (mode === CODE64 && (byte & 0xf0) === 0x40) {
            this.#rex = byte;
            const next = this.#byte();
            if (!isPrefix(next)) return this.#finishPrefixes(next, mode, addressOverride);
            // A REX that is not directly before the opcode has no effect (SDM vol. 2, 2.2.1).
            this.#rex = 0;
            this.#at -= 1;
            continue;
          }
          return this.#finishPrefixes(byte, mode, addressOverride);
      }
    }
  }

  #finishPrefixes(opcode: number, mode: CodeMode, addressOverride: boolean): number {
    this.#mandatory = this.rep === 2 ? 'F3' : this.rep === 1 ? 'F2' : this.#operandOverride ? '66' : 'none';
    if (mode === CODE64) this.addressSize = addressOverride ? 32 : 64;
    else this.addressSize = (mode === CODE32) !== addressOverride ? 32 : 16;
    return opcode;
  }

  /** Whether C4 or C5 begins a VEX prefix rather than LES or LDS, which have no register form (SDM vol. 2, 2.3.5). */
  #isVex(mode: CodeMode): boolean {
    if (mode === CODE64) return true;
    const next = this.#byte();
    this.#at -= 1;
    return next >= 0xc0;
  }

  /**
   * Reads the rest of a VEX prefix (SDM vol. 2, 2.3.5, figure 2-9): its map, or 0
   * when it is #UD, for a reserved map or after 66, F2, F3, LOCK or REX.
   */
  #readVex(first: number, mode: CodeMode): 0 | 1 | 2 | 3 {
    let map = 1;
    let last = this.#byte();
    let rex = (~last & 0x80) >> 5;
    if (first === 0xc4) {
      map = last & 0x1f;
      rex = (~last >> 5) & 7;
      last = this.#byte();
      rex |= (last & 0x80) >> 4;
    }
    if (this.rep !== 0 || this.#operandOverride || this.lock || this.#rex !== 0) return 0;
    // Outside 64-bit mode there are eight registers and no 64-bit operands; a set bit is ignored.
    this.#rex = mode === CODE64 ? rex : rex & 8;
    this.#vexRegister = (~last >> 3) & (mode === CODE64 ? 15 : 7);
    this.#vexLength = ((last >> 2) & 1) as 0 | 1;
    this.#mandatory = VEX_PREFIXES[last & 3] ?? 'none';
    this.#vex = true;
    this.#vexUnused = ((last >> 3) & 15) === 15;
    return map >= 1 && map <= 3 ? (map as 1 | 2 | 3) : 0;
  }

  #choose(candidates: readonly Encoding[] | undefined, mode: CodeMode): Encoding | undefined {
    if (!candidates) return undefined;
    for (const e of candidates) {
      if (e.mode !== undefined && (e.mode === 'o64') !== (mode === CODE64)) continue;
      if (e.prefix !== undefined && e.prefix !== this.#mandatory) continue;
      if (e.rexW !== undefined && e.rexW !== ((this.#rex >> 3) & 1)) continue;
      if (e.noRepeat && this.rep !== 0) continue;
      if (this.#vex && !this.#fitsVex(e)) continue;
      // 90 is NOP (with F3: PAUSE) only for register 0; with REX.B it exchanges R8 (SDM vol. 2, XCHG).
      if (e.map === 0 && e.opcode === 0x90 && !e.opcodeRegister && (this.#rex & 1) !== 0) continue;
      if (e.hasModrm) {
        if (!this.#hasModrm) this.#readModrm();
        if (e.modrm !== undefined && e.modrm !== (e.modrmRegister ? this.#modrm & 0xf8 : this.#modrm))
          continue;
        if (e.extension !== undefined && e.extension !== ((this.#modrm >> 3) & 7)) continue;
        if (e.mod !== undefined && (e.mod === 'reg') !== this.#modrm >= 0xc0 && !e.anyMod) continue;
      }
      if (e.onlySize !== undefined) {
        this.#sizes(e, mode);
        if (this.opsize !== e.onlySize) continue;
      }
      return e;
    }
    return undefined;
  }

  #fitsVex(e: Encoding): boolean {
    if (e.vex !== 'ignored' && e.vex !== this.#vexLength) return false;
    return this.#vexUnused || e.vexRegister;
  }

  #sizes(encoding: Encoding, mode: CodeMode): void {
    const override = this.#operandOverride && encoding.prefix !== '66';
    if (this.#vex) {
      this.opsize = mode === CODE64 && (this.#rex & 8) !== 0 ? 64 : 32;
      return;
    }
    if (mode === CODE64) {
      if (encoding.size64 === 'f64' || (this.#rex & 8) !== 0) this.opsize = 64;
      else if (override) this.opsize = 16;
      else this.opsize = encoding.size64 === 'd64' ? 64 : 32;
    } else {
      this.opsize = (mode === CODE32) !== override ? 32 : 16;
    }
  }

  #readModrm(): void {
    this.#modrm = this.#byte();
    this.#hasModrm = true;
  }

  #memory(mode: CodeMode): void {
    this.#index = -1;
    this.#shift = 0;
    this.#displacement = 0;
    this.#ripRelative = false;
    if (this.addressSize === 16) this.#memory16();
    else this.#memory32(mode);
    const stack = this.#base === 4 || this.#base === 5;
    const preset = stack && !this.#ripRelative && (this.addressSize !== 16 || this.#base === 5) ? SS : DS;
    this.#memorySegment = this.#segment >= 0 ? this.#segment : preset;
    const flat = mode === CODE64 ? this.addressSize === 64 && this.#segment < FS : this.#isCommon32();
    this.form = !flat ? FORM.general : this.#index >= 0 ? FORM.indexed : FORM.base;
    if (mode === CODE64 && this.#memorySegment < FS && !flat) this.#memorySegment = FLAT;
  }

  /** Outside of 64-bit mode: whether it is enough to know that the segments are flat. */
  #isCommon32(): boolean {
    const segment = this.#memorySegment;
    const form = this.encoding !== undefined && hasCommonForms(this.encoding, false, this.opsize);
    return form && this.addressSize === 32 && segment !== CS && segment < FS;
  }

  #memory16(): void {
    const mod = this.#modrm >> 6;
    const rm = this.#modrm & 7;
    const [base, index] = MODRM16[rm] ?? [-1, -1];
    this.#base = base;
    this.#index = index;
    if (mod === 0 && rm === 6) {
      this.#base = -1;
      this.#displacement = this.#signed(2);
    } else if (mod === 1) this.#displacement = this.#signed(1);
    else if (mod === 2) this.#displacement = this.#signed(2);
  }

  #memory32(mode: CodeMode): void {
    const mod = this.#modrm >> 6;
    const rm = this.#modrm & 7;
    if (rm === 4) {
      const sib = this.#byte();
      const index = ((sib >> 3) & 7) | ((this.#rex & 2) << 2);
      this.#index = index === 4 ? -1 : index;
      this.#shift = sib >> 6;
      this.#base = (sib & 7) | ((this.#rex & 1) << 3);
      if ((sib & 7) === 5 && mod === 0) {
        this.#base = -1;
        this.#displacement = this.#signed(4);
        return;
      }
    } else if (rm === 5 && mod === 0) {
      this.#base = -1;
      this.#displacement = this.#signed(4);
      this.#ripRelative = mode === CODE64;
      return;
    } else {
      this.#base = rm | ((this.#rex & 1) << 3);
    }
    if (mod === 1) this.#displacement = this.#signed(1);
    else if (mod === 2) this.#displacement = this.#signed(4);
  }

  #signed(bytes: 1 | 2 | 4): number {
    if (bytes === 1) return (this.#byte() << 24) >> 24;
    let value = this.#byte() | (this.#byte() << 8);
    if (bytes === 2) return (value << 16) >> 16;
    value |= this.#byte() << 16;
    return value | (this.#byte() << 24);
  }

  #readImmediates(encoding: Encoding): void {
    this.#immediateLow = 0;
    this.#immediateHigh = 0;
    this.#secondImmediate = undefined;
    const [first, second] = encoding.immediates;
    if (first === undefined) return;
    this.#readImmediate(encoding.operands[first] as OperandSpec);
    if (second === undefined) return;
    const bytes = this.#immediateBytes(encoding.operands[second] as OperandSpec);
    if (bytes === 8) throw new Error('a second immediate of 64 bits');
    this.#secondImmediate = this.#signed(bytes);
  }

  #immediateBytes(spec: OperandSpec): 1 | 2 | 4 | 8 {
    return immediateBytes(spec, this.opsize, this.addressSize);
  }

  #readImmediate(spec: OperandSpec): void {
    const bytes = this.#immediateBytes(spec);
    const low = this.#signed(bytes === 8 ? 4 : bytes);
    // Addresses in the instruction are not sign-extended, immediates are.
    const address = spec.what.kind === 'moffs';
    this.#immediateLow = address && bytes === 2 ? low & 0xffff : low;
    this.#immediateHigh = bytes === 8 ? this.#signed(4) : address ? 0 : low >> 31;
  }

  /** Element of the interpreter's table for what was decoded; 0 when the form has none. */
  handler(mode: CodeMode): number {
    return this.encoding?.handlers[handlerKey(mode === CODE64, this.opsize, this.form)] ?? 0;
  }

  /** Writes the record, but for its handler. `offset` is the instruction's offset in its page. */
  write(view: DataView, record: number, offset: number, ordinal: number): void {
    const encoding = this.encoding;
    if (!encoding) throw new Error('nothing decoded');
    view.setUint8(record + RECORD.length, this.length);
    view.setUint8(record + RECORD.ordinal, ordinal);
    view.setUint16(record + RECORD.offset, offset, true);
    view.setUint8(record + RECORD.segment, this.#memorySegment);
    view.setUint8(record + RECORD.addressSize, this.addressSize);
    view.setUint8(record + RECORD.rep, this.rep);
    view.setUint8(record + RECORD.shift, this.#shift);
    view.setInt32(record + RECORD.disp, 0, true);
    if (this.form !== FORM.register) this.#writeAddress(view, record, offset);
    view.setInt32(record + RECORD.imm, this.#immediateLow, true);
    view.setInt32(record + RECORD.imm + 4, this.#immediateHigh, true);
    // No instruction with two immediates has a memory operand, so the displacement's place is free.
    const second = this.#secondImmediate;
    if (second !== undefined) view.setInt32(record + RECORD.disp, second, true);
    // Behind the immediate: a fourth register lies in its upper bytes.
    this.#writeRegisters(encoding, view, record);
  }

  #writeAddress(view: DataView, record: number, offset: number): void {
    const base = this.#ripRelative ? S.pageBase : this.#base >= 0 ? gpr(this.#base) : S.zero;
    view.setUint16(record + RECORD.baseReg, base, true);
    view.setUint16(record + RECORD.indexReg, this.#index >= 0 ? gpr(this.#index) : S.zero, true);
    const displacement = this.#ripRelative ? this.#displacement + offset + this.length : this.#displacement;
    view.setInt32(record + RECORD.disp, displacement, true);
  }

  #writeRegisters(encoding: Encoding, view: DataView, record: number): void {
    let slot = 0;
    for (const spec of encoding.operands) {
      let number: number;
      if (spec.what.kind === 'modrm-reg') number = this.#modrmRegister();
      else if (spec.what.kind === 'opcode-reg') number = this.#opcodeRegister() | ((this.#rex & 1) << 3);
      else if (spec.what.kind === 'vex-reg') number = this.#vexRegister;
      else if (spec.what.kind === 'is4-reg') number = this.#is4;
      else if (spec.what.kind === 'vsib-index') number = this.#vsib;
      else if (spec.what.kind === 'fixed-reg') number = spec.what.number;
      else if (spec.what.kind === 'modrm-rm' && this.form === FORM.register)
        number = (this.#modrm & 7) | ((this.#rex & 1) << 3);
      else continue;
      const address = this.#registerAddress(spec.file, number, operandBits(spec, this.opsize));
      view.setUint16(record + (REGISTER_SLOTS[slot] ?? RECORD.r4), address, true);
      slot += 1;
    }
  }

  #modrmRegister(): number {
    return ((this.#modrm >> 3) & 7) | ((this.#rex & 4) << 1);
  }

  #opcodeRegister(): number {
    return this.#base & 7;
  }

  #registerAddress(file: string, number: number, bits: number): number {
    switch (file) {
      case 'gpr':
        if (bits === 8 && this.#rex === 0 && number >= 4 && number < 8) return gpr(number - 4) + 1;
        return gpr(number);
      case 'xmm':
        return xmm(number);
      case 'mmx':
        return S.fpr + (number & 7) * 16;
      case 'x87':
        return number & 7;
      case 'segment':
        return segment(number & 7);
      default:
        return number;
    }
  }
}

export const REGISTER_SLOTS = [RECORD.r1, RECORD.r2, RECORD.r3, RECORD.r4] as const;

/** The mandatory prefix by VEX.pp. */
const VEX_PREFIXES = ['none', '66', 'F3', 'F2'] as const;

const outOfBytes = new Error('out of bytes');

function isPrefix(byte: number): boolean {
  switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
      return true;
    default:
      return (byte & 0xf0) === 0x40;
  }
}
