import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import { RAM, S, SEG, segment } from '../../src/hypervisor/cpu/layout.ts';

const CS = 1;
const PRESENT = 1n;
const LARGE = 0x80n;
const FRAME = 0xf_ffff_ffff_f000n;
const LONGEST = 15;

/** Physical address of a linear one by 4-level tables (SDM vol. 3, 4.5), or undefined. Without paging the same. */
function physical(view: DataView, linear: bigint): number | undefined {
  if ((view.getBigUint64(S.cr0, true) & 0x8000_0000n) === 0n) return Number(linear & 0xffff_ffffn);
  // Other modes of paging are those of a few instructions at the start.
  if ((view.getBigUint64(S.efer, true) & 0x400n) === 0n) return undefined;
  let table = view.getBigUint64(S.cr3, true) & FRAME;
  for (const shift of [39n, 30n, 21n, 12n]) {
    const at = RAM + Number(table) + Number((linear >> shift) & 0x1ffn) * 8;
    if (at + 8 > view.byteLength) return undefined;
    const entry = view.getBigUint64(at, true);
    if ((entry & PRESENT) === 0n) return undefined;
    const offset = (1n << shift) - 1n;
    if (shift === 12n || (shift < 39n && (entry & LARGE) !== 0n))
      return Number((entry & FRAME & ~offset) | (linear & offset));
    table = entry & FRAME;
  }
  return undefined;
}

/** The instruction that a paused machine stands at, as one line. */
export function currentInstruction(memory: WebAssembly.Memory): string {
  const view = new DataView(memory.buffer);
  const bits = ([16, 32, 64] as const)[view.getInt32(S.codeMode, true)] ?? 64;
  const rip = view.getBigUint64(S.rip, true);
  const linear = bits === 64 ? rip : rip + view.getBigUint64(segment(CS) + SEG.base, true);
  const bytes = new Uint8Array(LONGEST);
  let length = 0;
  for (; length < LONGEST; length++) {
    const at = physical(view, BigInt.asUintN(64, linear + BigInt(length)));
    if (at === undefined || RAM + at >= view.byteLength) break;
    bytes[length] = view.getUint8(RAM + at);
  }
  const decoder = new Decoder(bits, bytes.subarray(0, length), DecoderOptions.None);
  const formatter = new Formatter(FormatterSyntax.Nasm);
  decoder.ip = rip;
  const instruction = decoder.decode();
  const code = Buffer.from(bytes.subarray(0, instruction.length))
    .toString('hex')
    .padEnd(2 * LONGEST);
  const text = `${rip.toString(16).padStart(16)}  ${code}  ${formatter.format(instruction)}`;
  instruction.free();
  formatter.free();
  decoder.free();
  return text;
}
