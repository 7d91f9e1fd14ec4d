import { writeFileSync } from 'node:fs';
import type { TranslationProfile } from '../../hypervisor/index.ts';
import { type Disassemble, type DisassembledInstruction, formatProfile } from '../../hypervisor/index.ts';
import type { RunProfile } from './options.ts';
import type { RunStats } from './stats.ts';

/** Writes the report on a run's translated code; what goes wrong is told, and does not end the run in another way. */
export async function saveProfile(
  { path, regions }: RunProfile,
  profile: TranslationProfile,
  stats: RunStats,
): Promise<void> {
  try {
    const disassemble = await loadDisassembler();
    writeFileSync(path, formatProfile(profile, { stats, most: regions, disassemble }));
  } catch (error) {
    process.stderr.write(`teremok: the profile was not written to ${path}: ${String(error)}\n`);
  }
}

/** Loaded only when there is something to disassemble: it is large. */
async function loadDisassembler(): Promise<Disassemble> {
  const { Decoder, DecoderOptions, Formatter, FormatterSyntax } = await import('iced-x86');
  return (code, bits, address) => {
    const decoder = new Decoder(bits, code, DecoderOptions.None);
    const formatter = new Formatter(FormatterSyntax.Intel);
    const instructions: DisassembledInstruction[] = [];
    decoder.ip = BigInt.asUintN(64, address);
    while (decoder.canDecode) {
      const instruction = decoder.decode();
      instructions.push({ length: instruction.length, text: formatter.format(instruction) });
      instruction.free();
    }
    formatter.free();
    decoder.free();
    return instructions;
  };
}
