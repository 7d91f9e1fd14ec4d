import { Decoder, DecoderOptions } from 'iced-x86';
import { EXIT_BYTES, type Program } from './program.ts';

const NOP = 0x90;

interface Piece {
  readonly at: number;
  readonly bytes: number;
}

/** Where instructions of the code begin, NOPs left out; numbers in between are taken for instructions too. */
function piecesOf(program: Program): Piece[] {
  const decoder = new Decoder(program.mode, program.code, DecoderOptions.None);
  const found: Piece[] = [];
  const last = program.code.length - EXIT_BYTES;
  while (decoder.canDecode) {
    const instruction = decoder.decode();
    const at = Number(instruction.ip);
    const bytes = instruction.length;
    instruction.free();
    if (at + bytes <= last && !program.code.subarray(at, at + bytes).every((byte) => byte === NOP))
      found.push({ at, bytes });
  }
  decoder.free();
  return found;
}

/** Instructions of a program, NOPs not counted. */
export function countInstructions(program: Program): number {
  return piecesOf(program).length;
}

/**
 * The program with all that its failure does not need as NOPs, so that
 * everything stays where it is: first much at a time, then less, until no
 * single instruction can go. At most `tries` programs are run.
 */
export function shrinkProgram(program: Program, fails: (smaller: Program) => boolean, tries = 2500): Program {
  let best = program;
  let left = tries;
  const without = (pieces: readonly Piece[]): boolean => {
    if (pieces.length === 0 || left-- <= 0) return false;
    const code = best.code.slice();
    for (const { at, bytes } of pieces) code.fill(NOP, at, at + bytes);
    const smaller = { ...best, code };
    if (!fails(smaller)) return false;
    best = smaller;
    return true;
  };
  for (let size = Math.ceil(piecesOf(best).length / 2); ; ) {
    let again = false;
    const pieces = piecesOf(best);
    for (let from = 0; from < pieces.length; from += size)
      if (without(pieces.slice(from, from + size))) again = true;
    if (left <= 0 || (size === 1 && !again)) return best;
    if (size > 1) size = Math.ceil(size / 2);
  }
}
