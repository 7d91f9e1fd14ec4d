import type { Clock } from '../../machine/door.ts';
import { Dac, type DacState } from './dac.ts';
import { Dispi, type DispiState } from './dispi.ts';
import { RegisterFile, type RegisterFileState } from './register-file.ts';
import { type FrameTiming, frameTiming, retraceStatus, STANDARD_TIMING } from './retrace.ts';

/** The first port of the VGA; offsets count from it. */
export const VGA_PORTS = { base: 0x3b0, length: 0x30 } as const;

const SEQUENCER_MASKS: readonly number[] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];
const GRAPHICS_MASKS: readonly number[] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
const CRTC_MASKS: readonly number[] = [
  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0x3f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
  0xff, 0xff, 0x7f, 0xff, 0xff, 0xef, 0xff,
];
const ATTRIBUTE_MASKS: readonly number[] = [
  ...Array.from({ length: 16 }, () => 0x3f),
  0xef,
  0xff,
  0x3f,
  0x0f,
  0x0f,
];

/** CRT controller: the register that protects the first eight, and the bit that stays open in the last of these. */
const CRTC_RETRACE_END = 0x11;
const CRTC_PROTECT = 0x80;
const CRTC_OVERFLOW = 0x07;
const LINE_COMPARE_BIT = 0x10;
const MISC_COLOUR = 0x01;
/** Attribute index: the palette belongs to the screen, not to the guest. */
const PALETTE_SOURCE = 0x20;
const ATTRIBUTE_INDEX = 0x1f;
const PALETTE_REGISTERS = 16;
/** Input status register 0: a colour monitor is there. */
const SWITCH_SENSE = 0x10;
/** What a port that is not the VGA's reads as. */
const NOBODY = 0xff;

export type VgaRegistersState = {
  readonly sequencer: RegisterFileState;
  readonly graphics: RegisterFileState;
  readonly crtc: RegisterFileState;
  readonly attribute: RegisterFileState;
  readonly paletteSource: boolean;
  readonly attributeData: boolean;
  readonly misc: number;
  readonly feature: number;
  readonly subsystem: number;
  readonly dac: DacState;
  readonly dispi: DispiState;
};

export interface VgaRegistersOptions {
  readonly clock: Clock;
  /** Bytes of video memory. */
  readonly memory: number;
  /** After a register that the window at A0000h or the picture depends on has got another value. */
  readonly onChange: () => void;
  /** After a colour has changed. */
  readonly onColours: () => void;
  /** The guest wants this many bytes at the start of video memory zeroed. */
  readonly onClear: (bytes: number) => void;
}

/**
 * The registers of a VGA: ports 3B0h to 3DFh, byte by byte. Sources: IBM
 * PS/2 Hardware Interface Technical Reference, "Video Subsystem" (VGA);
 * J. Neal, "Hardware Level VGA and SVGA Video Programming Information" (FreeVGA).
 *
 * Deviations: no vertical retrace interrupt; no light pen; the test registers
 * of the CRT controller (retrace, CR03 bit 7) do nothing.
 */
export class VgaRegisters {
  readonly sequencer = new RegisterFile(0x07, SEQUENCER_MASKS);
  readonly graphics = new RegisterFile(0x0f, GRAPHICS_MASKS);
  readonly crtc = new RegisterFile(0x3f, CRTC_MASKS);
  readonly attribute = new RegisterFile(ATTRIBUTE_INDEX, ATTRIBUTE_MASKS);
  readonly dac = new Dac();
  readonly dispi: Dispi;
  readonly #options: VgaRegistersOptions;
  #paletteSource = false;
  /** The flip-flop: the next write to 3C0h is data. */
  #attributeData = false;
  #misc = 0;
  #feature = 0;
  #subsystem = 0;
  #timing: FrameTiming | undefined;

  constructor(options: VgaRegistersOptions) {
    this.#options = options;
    this.dispi = new Dispi(options.memory);
  }

  /** The screen shows the picture; otherwise it is dark. */
  get displaying(): boolean {
    return this.#paletteSource;
  }

  /** Frames since power-on at this instant, as blinking counts them. */
  get frame(): number {
    return Math.floor(this.#options.clock.now() / this.timing.frame);
  }

  get timing(): FrameTiming {
    this.#timing ??= this.dispi.picture
      ? STANDARD_TIMING
      : frameTiming(this.crtc.values, this.sequencer.values[1], this.#misc);
    return this.#timing;
  }

  /** `offset` from port 3B0h. */
  read(offset: number): number {
    switch (offset) {
      case 0x10:
        return this.attribute.index | (this.#paletteSource ? PALETTE_SOURCE : 0);
      case 0x11:
        return this.attribute.read();
      case 0x12:
        return SWITCH_SENSE;
      case 0x13:
        return this.#subsystem;
      case 0x14:
        return this.sequencer.index;
      case 0x15:
        return this.sequencer.read();
      case 0x16:
      case 0x17:
      case 0x18:
      case 0x19:
        return this.dac.read(offset - 0x16, this.dispi.wideDac);
      case 0x1a:
        return this.#feature;
      case 0x1c:
        return this.#misc;
      case 0x1e:
        return this.graphics.index;
      case 0x1f:
        return this.graphics.read();
      default:
        return this.#readCrtc(offset);
    }
  }

  write(offset: number, value: number): void {
    switch (offset) {
      case 0x10:
        this.#writeAttribute(value);
        break;
      case 0x12:
        if (this.#misc !== value) {
          this.#misc = value;
          this.#changed();
        }
        break;
      case 0x13:
        this.#subsystem = value & 1;
        break;
      case 0x14:
        this.sequencer.select(value);
        break;
      case 0x15:
        if (this.sequencer.write(value)) this.#changed();
        break;
      case 0x16:
      case 0x17:
      case 0x18:
      case 0x19:
        if (this.dac.write(offset - 0x16, value)) this.#options.onColours();
        break;
      case 0x1e:
        this.graphics.select(value);
        break;
      case 0x1f:
        if (this.graphics.write(value)) this.#changed();
        break;
      default:
        this.#writeCrtc(offset, value);
    }
  }

  /** A register of the VBE extensions, by its index. */
  readDispi(index: number): number {
    return this.dispi.read(index);
  }

  writeDispi(index: number, value: number): void {
    const wide = this.dispi.wideDac;
    const clear = this.dispi.write(index, value);
    if (clear > 0) this.#options.onClear(clear);
    if (wide !== this.dispi.wideDac) this.#options.onColours();
    this.#changed();
  }

  reset(): void {
    for (const file of [this.sequencer, this.graphics, this.crtc, this.attribute]) file.reset();
    this.dac.reset();
    this.dispi.reset();
    this.#paletteSource = false;
    this.#attributeData = false;
    this.#misc = 0;
    this.#feature = 0;
    this.#subsystem = 0;
    this.#changed();
    this.#options.onColours();
  }

  save(): VgaRegistersState {
    return {
      sequencer: this.sequencer.save(),
      graphics: this.graphics.save(),
      crtc: this.crtc.save(),
      attribute: this.attribute.save(),
      paletteSource: this.#paletteSource,
      attributeData: this.#attributeData,
      misc: this.#misc,
      feature: this.#feature,
      subsystem: this.#subsystem,
      dac: this.dac.save(),
      dispi: this.dispi.save(),
    };
  }

  restore(state: VgaRegistersState): void {
    this.sequencer.restore(state.sequencer);
    this.graphics.restore(state.graphics);
    this.crtc.restore(state.crtc);
    this.attribute.restore(state.attribute);
    this.#paletteSource = state.paletteSource;
    this.#attributeData = state.attributeData;
    this.#misc = state.misc & 0xff;
    this.#feature = state.feature & 0xff;
    this.#subsystem = state.subsystem & 1;
    this.dac.restore(state.dac);
    this.dispi.restore(state.dispi);
    this.#changed();
    this.#options.onColours();
  }

  #changed(): void {
    this.#timing = undefined;
    this.#options.onChange();
  }

  /** The register of the CRT controller's ports at `offset`: 4 and 5 its index and data, 10 status; they lie at 3Bxh or 3Dxh. */
  #crtcPort(offset: number): number {
    return offset >> 4 === (this.#misc & MISC_COLOUR ? 2 : 0) ? offset & 15 : -1;
  }

  #readCrtc(offset: number): number {
    switch (this.#crtcPort(offset)) {
      case 4:
        return this.crtc.index;
      case 5:
        return this.crtc.read();
      case 10:
        this.#attributeData = false;
        return retraceStatus(this.timing, this.#options.clock.now());
      default:
        return NOBODY;
    }
  }

  #writeCrtc(offset: number, value: number): void {
    switch (this.#crtcPort(offset)) {
      case 4:
        this.crtc.select(value);
        break;
      case 5:
        if (this.crtc.write(this.#unprotected(value))) this.#changed();
        break;
      case 10:
        this.#feature = value;
        break;
    }
  }

  /** `value` with the bits that the protection keeps as they are. */
  #unprotected(value: number): number {
    const { index, values } = this.crtc;
    if (index > CRTC_OVERFLOW || !(values[CRTC_RETRACE_END] & CRTC_PROTECT)) return value;
    const open = index === CRTC_OVERFLOW ? LINE_COMPARE_BIT : 0;
    return (values[index] & ~open) | (value & open);
  }

  #writeAttribute(value: number): void {
    const data = this.#attributeData;
    this.#attributeData = !data;
    if (!data) {
      this.attribute.select(value);
      const source = (value & PALETTE_SOURCE) !== 0;
      if (source === this.#paletteSource) return;
      this.#paletteSource = source;
      this.#changed();
      return;
    }
    // While the screen uses the palette the guest cannot write it.
    if (this.attribute.index < PALETTE_REGISTERS && this.#paletteSource) return;
    if (!this.attribute.write(value)) return;
    this.#changed();
    this.#options.onColours();
  }
}
