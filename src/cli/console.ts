import { WebSocket } from 'ws';
import { CONSOLE_CLOSE } from '../contracts/console.ts';
import type { Api } from './api.ts';
import { ApiError, parseProblem, unreachable } from './api.ts';
import { EXIT } from './command.ts';
import { print, printable } from './output.ts';
import { Terminal } from './terminal.ts';

/** Ctrl-] as a terminal in raw mode sends it. */
const DETACH = 0x1d;
/** How much may wait for a slow terminal or a slow service before the other side is held up. */
const HIGH_WATER_BYTES = 256 * 1024;

/**
 * Attaches this terminal to a VM's serial console until the user detaches
 * (Ctrl-]), the VM stops or the service goes away. Resolves with the exit
 * status.
 *
 * A serial line carries no window size, so a resize is not sent: the guest
 * learns of one by asking the terminal itself, which is what `resize` does.
 */
export async function attachConsole(api: Api, path: string, name: string): Promise<number> {
  const socket = await openSocket(api, `${path}/serial`);
  const terminal = new Terminal(process.stdin);
  const note = (text: string): void => void process.stderr.write(`\r\n[${text}]\r\n`);
  if (terminal.isTty) {
    process.stderr.write(
      `[console of ${printable(name)}; Ctrl-] detaches; after resizing the window run ‘resize’ in the guest]\r\n`,
    );
  }
  const done = Promise.withResolvers<number>();
  const leave = (status: number): void => {
    done.resolve(status);
    socket.close(1000);
  };
  terminal.start((bytes) => {
    const at = terminal.isTty ? bytes.indexOf(DETACH) : -1;
    const typed = at < 0 ? bytes : bytes.subarray(0, at);
    if (typed.length > 0 && socket.readyState === WebSocket.OPEN) {
      socket.send(typed, () => {
        if (socket.bufferedAmount < HIGH_WATER_BYTES) terminal.resume();
      });
      if (socket.bufferedAmount >= HIGH_WATER_BYTES) terminal.pause();
    }
    if (at >= 0) {
      note('detached; the VM runs on');
      leave(EXIT.ok);
    }
  });
  const onWindowChange = (): void => {
    if (terminal.isTty) note('window resized; run ‘resize’ in the guest to let it know');
  };
  process.on('SIGWINCH', onWindowChange);
  const onSignal = (signal: NodeJS.Signals): void => leave(signal === 'SIGINT' ? 130 : 143);
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  socket.on('message', (data: Buffer) => {
    if (!process.stdout.write(data)) {
      socket.pause();
      process.stdout.once('drain', () => socket.resume());
    }
  });
  process.stdout.on('error', () => leave(EXIT.ok));
  socket.on('error', () => socket.terminate());
  socket.once('close', (code: number, reason: Buffer) => {
    done.resolve(statusOf(code));
    if (code !== 1000) note(printable(reason.toString()) || 'the connection to the service was lost');
  });
  socket.resume();
  try {
    return await done.promise;
  } finally {
    terminal.stop();
    await print('');
    process.off('SIGWINCH', onWindowChange).off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

function statusOf(code: number): number {
  if (code === 1000 || code === CONSOLE_CLOSE.stopped || code === CONSOLE_CLOSE.deleted) return EXIT.ok;
  return code === CONSOLE_CLOSE.failed ? EXIT.failed : EXIT.unreachable;
}

async function openSocket(api: Api, path: string): Promise<WebSocket> {
  const address = api.address(path);
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(address, {
    headers: { authorization: `Bearer ${api.key}` },
    perMessageDeflate: false,
  });
  const opened = Promise.withResolvers<void>();
  socket.once('open', () => {
    // What comes at once waits until somebody listens.
    socket.pause();
    opened.resolve();
  });
  socket.once('error', (error) => opened.reject(unreachable(api.url, error)));
  socket.once('unexpected-response', (_request, response) => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      if (text.length < 65_536) text += chunk;
    });
    response.on('end', () => {
      opened.reject(new ApiError(response.statusCode ?? 0, parseProblem(text)));
      socket.terminate();
    });
  });
  await opened.promise;
  return socket;
}
