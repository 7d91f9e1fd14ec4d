// The display's thread: viewers' sockets, the protocol and the encoders, so that none of it takes time of the guest's.
import { chmod, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { DisplayCore } from './display-core.ts';
import { loadJpeg } from './encode/jpeg.ts';
import { InputBatch } from './input-batch.ts';
import { PortWire } from './port-wire.ts';
import { SocketWire } from './socket-wire.ts';
import type { Viewer } from './viewer.ts';
import type { DisplaySettings, FromDisplay, ListenAddress, ToDisplay } from './worker-messages.ts';

const TICK_MS = 100;
/** More connections at once than this are refused. */
const MOST_VIEWERS = 32;

if (parentPort === null) throw new Error('the display runs in a thread of its own');
const port = parentPort;
const settings = workerData as DisplaySettings;
const post = (message: FromDisplay, transfer: ArrayBuffer[] = []): void =>
  port.postMessage(message, transfer);
const log = (message: string, details?: Record<string, unknown>): void =>
  post({ kind: 'log', message, details });

const input = new InputBatch((events) => post({ kind: 'input', events }));
const core = new DisplayCore({
  ...settings,
  now: () => performance.now(),
  key: (code, down) => input.key(code, down),
  move: (move) => input.move(move),
  want: (afterMs, asks) => post({ kind: 'want', afterMs, asks }),
  log,
});
const attached = new Map<number, { readonly wire: PortWire; readonly viewer: Viewer }>();
let server: Server | undefined;
let ticking: NodeJS.Timeout | undefined;
let counted = 0;
let jpegAsked = false;

/** After anything that may have brought or ended a viewer, or given one something to do. */
function settle(): void {
  core.serve();
  if (core.viewers > 0 && !jpegAsked) {
    jpegAsked = true;
    loadJpeg().then(
      (encoder) => core.useJpeg(encoder),
      (error: Error) => log('no JPEG for viewers', { error: error.message }),
    );
  }
  if (core.viewers === counted) return;
  counted = core.viewers;
  post({ kind: 'viewers', count: counted });
  if (counted === 0) clearInterval(ticking);
  else if (ticking === undefined || counted === 1) {
    clearInterval(ticking);
    ticking = setInterval(() => {
      core.tick();
      settle();
    }, TICK_MS);
  }
}

function accept(socket: Socket): void {
  socket.on('error', () => socket.destroy());
  if (core.viewers >= MOST_VIEWERS) {
    log('too many viewers of the screen', { most: MOST_VIEWERS });
    socket.destroy();
    return;
  }
  const viewer = core.attach(new SocketWire(socket, settle), false);
  socket.on('data', (bytes: Buffer) => {
    viewer.receive(bytes);
    settle();
  });
  socket.on('close', () => {
    viewer.close('the connection ended');
    settle();
  });
  settle();
}

async function listen(address: ListenAddress): Promise<void> {
  if ('path' in address) await removeLeftover(address.path);
  const listening = createServer(accept);
  server = listening;
  await new Promise<void>((resolve, reject) => {
    listening.once('error', reject);
    listening.listen(
      'path' in address ? address : { port: address.port, host: address.host ?? '127.0.0.1' },
      resolve,
    );
  });
  // Whoever may open it may watch.
  if ('path' in address) await chmod(address.path, 0o600);
  const bound = listening.address();
  post({ kind: 'listening', ...(typeof bound === 'object' && bound !== null ? { port: bound.port } : {}) });
}

/** Removes a socket file at which nobody listens any more. */
async function removeLeftover(path: string): Promise<void> {
  const left = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(false);
    });
    probe.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
  if (left) await rm(path);
}

function close(): void {
  core.close();
  server?.close();
  clearInterval(ticking);
  post({ kind: 'closed' });
}

port.on('message', (message: ToDisplay) => {
  switch (message.kind) {
    case 'change':
      core.change(message.change, message.answers);
      break;
    case 'guest':
      core.guest(message.absolute, message.leds);
      break;
    case 'attach': {
      const wire = new PortWire(message.id, post);
      attached.set(message.id, { wire, viewer: core.attach(wire, message.viewOnly) });
      break;
    }
    case 'bytes': {
      const from = attached.get(message.id);
      from?.viewer.receive(message.bytes);
      from?.wire.handled(message.bytes.length);
      break;
    }
    case 'taken':
      attached.get(message.id)?.wire.take(message.count);
      break;
    case 'ended':
      attached.get(message.id)?.viewer.close('the connection ended');
      attached.delete(message.id);
      break;
    case 'close':
      close();
      return;
  }
  settle();
});

if (settings.listen === undefined) post({ kind: 'listening' });
else listen(settings.listen).catch((error: Error) => post({ kind: 'failed', message: error.message }));
