// Stands in for a machine with a video adapter: draws what it is told on standard input (commands.ts), on a screen
// whose display listens at the port given, and keeps its thread as busy as a guest that never halts does.
import { serveDisplay } from '../../../src/hypervisor/display/display-server.ts';
import { PaintedScreen } from '../../support/rfb/painted-screen.ts';
import { COMMAND_LENGTH, type Command, decodeCommand, READY } from './commands.ts';
import { LINE, LINES, makeTexture, TEXTURE } from './texture.ts';

/** Between two turns of the event loop, as in machine.ts. Milliseconds. */
const TURN_MS = 4;

const screen = new PaintedScreen(640, 480);
const texture = makeTexture();
const devices = {
  leds: { scroll: false, num: false, caps: false },
  absolute: false,
  waiting: 0,
  key: (): void => {},
  onLeds: (): void => {},
  onDrained: (): void => {},
  move: (): void => {},
  place: (): void => {},
};
await serveDisplay({
  screen,
  keyboard: devices,
  pointer: devices,
  listen: { port: Number(process.argv[2]) },
});

let input = Buffer.alloc(0);
process.stdin.on('data', (bytes: Buffer) => {
  input = Buffer.concat([input, bytes]);
});
process.stdin.on('end', () => process.exit());
process.stdout.write(READY);

/** Lines of an `r` that are still to be drawn. */
let lines: Required<Command> | undefined;
let left = 0;

for (;;) {
  const turn = performance.now();
  while (performance.now() - turn < TURN_MS) work();
  await new Promise((resolve) => setImmediate(resolve));
}

function work(): void {
  if (lines !== undefined) {
    consoleLine(lines.width, left);
    if (--left > 0) return;
    lines = undefined;
    process.stdout.write('r');
  } else if (input.length >= COMMAND_LENGTH) {
    const command = decodeCommand(input.subarray(0, COMMAND_LENGTH));
    input = input.subarray(COMMAND_LENGTH);
    if (command.op === 'r') {
      lines = command;
      left = command.argument;
      return;
    }
    draw(command);
    process.stdout.write(command.op);
  }
}

function draw({ op, x, y, width, height, argument }: Required<Command>): void {
  const rect = { x, y, width, height };
  if (op === 'm') screen.resize(width, height);
  else if (op === 'f') screen.paint(rect, () => argument);
  else if (op === 's') screen.scroll(argument);
  else copy(x, y, width, height, argument / 4);
}

function consoleLine(width: number, count: number): void {
  screen.scroll(LINE);
  copy(0, screen.surface.height - LINE, width, LINE, (count % LINES) * LINE * TEXTURE.width);
}

function copy(x: number, y: number, width: number, height: number, from: number): void {
  const { pixels } = screen;
  const pitch = screen.surface.stride / 4;
  for (let row = 0; row < height; row++) {
    const start = from + row * TEXTURE.width;
    pixels.set(texture.subarray(start, start + width), (y + row) * pitch + x);
  }
  screen.touch({ x, y, width, height });
}
