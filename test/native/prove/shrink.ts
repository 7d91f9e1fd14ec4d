import { Decoder, DecoderOptions } from 'iced-x86';
import type { Program } from '../differential.ts';

const NOP = 0x90;

/** Where each instruction of a program begins, and its bytes. */
function instructionsOf(program: Program): { at: number; bytes: number }[] {
  const decoder = new Decoder(program.mode, program.code, DecoderOptions.None);
  const found: { at: number; bytes: number }[] = [];
  while (decoder.canDecode) {
    const instruction = decoder.decode();
    found.push({ at: Number(instruction.ip), bytes: instruction.length });
    instruction.free();
  }
  decoder.free();
  return found;
}

/**
 * The program without the instructions that its failure does not need: each
 * becomes NOPs of its length, so that branches and pages stay, as long as
 * `fails` says that it still fails; until none can go. What is behind the last
 * one left is cut off.
 */
export function shrinkProgram(program: Program, fails: (smaller: Program) => boolean): Program {
  let best = program;
  for (let again = true; again; ) {
    again = false;
    for (const { at, bytes } of instructionsOf(best).reverse()) {
      if (best.code.subarray(at, at + bytes).every((byte) => byte === NOP)) continue;
      const code = best.code.slice();
      code.fill(NOP, at, at + bytes);
      const smaller = { ...best, code };
      if (!fails(smaller)) continue;
      best = smaller;
      again = true;
    }
  }
  const used = best.code.findLastIndex((byte) => byte !== NOP) + 1;
  if (used === best.code.length) return best;
  const cut = { ...best, code: best.code.slice(0, Math.max(used, 1)) };
  return fails(cut) ? cut : best;
}

/** Instructions of a program, NOPs not counted. */
export function countInstructions(program: Program): number {
  return instructionsOf(program).filter(
    ({ at, bytes }) => !program.code.subarray(at, at + bytes).every((byte) => byte === NOP),
  ).length;
}
