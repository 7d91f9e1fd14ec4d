/** A mode's timing: pixels a second, then for both directions what is shown, front porch, sync and all of the blanking. */
interface DetailedTiming {
  readonly hz: number;
  readonly horizontal: readonly [number, number, number, number];
  readonly vertical: readonly [number, number, number, number];
}

/** 1280 by 800 at 60 Hz with reduced blanking (VESA CVT 1.2): what a guest chooses that asks nobody. */
const PREFERRED: DetailedTiming = {
  hz: 71_000_000,
  horizontal: [1280, 48, 32, 160],
  vertical: [800, 3, 6, 23],
};
/** Others at 60 Hz: width, and height by the code of its proportion (0 16:10, 1 4:3, 2 5:4, 3 16:9). */
const STANDARD: readonly (readonly [number, number])[] = [
  [1920, 3],
  [1920, 0],
  [1680, 0],
  [1600, 1],
  [1440, 0],
  [1280, 2],
  [1280, 3],
  [1152, 1],
];
/** 640x480, 800x600 and 1024x768 at 60 Hz. */
const ESTABLISHED: readonly number[] = [0x21, 0x08, 0x00];
/** Of sRGB: red, green, blue and white, x and y, in 1024ths. */
const PRIMARIES: readonly number[] = [655, 338, 307, 614, 154, 61, 320, 337];
const LENGTH = 128;

/** What the monitor says of itself: the base block of VESA E-EDID 1.4. */
export function edid(): Uint8Array {
  const bytes = new Uint8Array(LENGTH);
  bytes.set([0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]);
  // Manufacturer TRM, five bits a letter, big-endian; product 1; year 2026; version 1.4.
  const [t, r, m] = [...'TRM'].map((letter) => letter.charCodeAt(0) - 64);
  bytes.set([(t << 2) | (r >> 3), ((r << 5) | m) & 0xff, 1, 0], 8);
  bytes.set([0, 2026 - 1990, 1, 4], 16);
  // Digital, 8 bits a colour; 34 by 21 cm; gamma 2.2; RGB, sRGB, the first timing is the preferred one.
  bytes.set([0xa0, 34, 21, 120, 0x06], 20);
  bytes.set(primaries(), 25);
  bytes.set(ESTABLISHED, 35);
  STANDARD.forEach(([width, proportion], i) => {
    bytes.set([width / 8 - 31, proportion << 6], 38 + 2 * i);
  });
  bytes.set(detailed(PREFERRED), 54);
  bytes.set([0, 0, 0, 0xfc, 0, ...ascii('Teremok')], 72);
  // Ranges: 50 to 75 Hz, 30 to 160 kHz, at most 300 MHz, no formula for timings.
  bytes.set([0, 0, 0, 0xfd, 0, 50, 75, 30, 160, 30, 1, 0x0a, 32, 32, 32, 32, 32, 32], 90);
  bytes.set([0, 0, 0, 0x10, 0], 108);
  let sum = 0;
  for (const byte of bytes) sum += byte;
  bytes[LENGTH - 1] = -sum & 0xff;
  return bytes;
}

/** Thirteen bytes: a line feed behind the text, then blanks. */
function ascii(text: string): number[] {
  return [...Buffer.from(`${text}\n`.padEnd(13), 'latin1')];
}

function primaries(): number[] {
  const low = [0, 0];
  PRIMARIES.forEach((value, i) => {
    low[i >> 2] |= (value & 3) << (6 - 2 * (i & 3));
  });
  return [...low, ...PRIMARIES.map((value) => value >> 2)];
}

/** The 18 bytes of a detailed timing descriptor (E-EDID 1.4, 3.10.2): digital separate sync, horizontal positive. */
function detailed({ hz, horizontal, vertical }: DetailedTiming): number[] {
  const [width, hFront, hSync, hBlank] = horizontal;
  const [height, vFront, vSync, vBlank] = vertical;
  const clock = hz / 10_000;
  const millimetres = [340, 210];
  return [
    clock & 0xff,
    clock >> 8,
    width & 0xff,
    hBlank & 0xff,
    ((width >> 8) << 4) | (hBlank >> 8),
    height & 0xff,
    vBlank & 0xff,
    ((height >> 8) << 4) | (vBlank >> 8),
    hFront,
    hSync,
    ((vFront & 15) << 4) | (vSync & 15),
    0,
    millimetres[0] & 0xff,
    millimetres[1] & 0xff,
    ((millimetres[0] >> 8) << 4) | (millimetres[1] >> 8),
    0,
    0,
    0x1a,
  ];
}
