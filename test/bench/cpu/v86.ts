// A process that is a machine of v86's: `node v86.ts SETTINGS`, SETTINGS in JSON. COM1 is its standard output. It ends
// when it is told to, as the other machines do.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { V86, type V86Options } from 'v86';

/** What to start. */
export interface V86Settings {
  readonly memoryMiB: number;
  readonly cmdline: string;
  /** A multiboot kernel, or a bzImage with what it needs. */
  readonly kernel: string;
  readonly linux?: { readonly initrd: string; readonly bios: string; readonly vgaBios: string };
}

const { memoryMiB, cmdline, kernel, linux } = JSON.parse(process.argv[2] ?? '{}') as V86Settings;

/** A file's bytes in a buffer that holds nothing else. */
function file(path: string): { buffer: ArrayBuffer } {
  const bytes = new Uint8Array(readFileSync(path));
  return { buffer: bytes.buffer };
}

const boot: V86Options =
  linux === undefined
    ? { multiboot: file(kernel) }
    : {
        bzimage: file(kernel),
        initrd: file(linux.initrd),
        bios: file(linux.bios),
        vga_bios: file(linux.vgaBios),
      };
const machine = new V86({
  wasm_path: fileURLToPath(new URL('v86.wasm', import.meta.resolve('v86'))),
  memory_size: memoryMiB << 20,
  vga_memory_size: 2 << 20,
  cmdline,
  autostart: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  ...boot,
});
const line: number[] = [];
machine.add_listener('serial0-output-byte', (byte: number) => {
  line.push(byte);
  if (byte === 10) process.stdout.write(Buffer.from(line.splice(0)));
});
