import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer } from 'node:net';
import { AttachTokenVerifier } from '../../src/contracts/attach-token.ts';
import type { ClientMessage, Frame } from '../../src/contracts/channel.ts';
import {
  CHANNEL_VERSION,
  ChannelError,
  encodeBytes,
  encodeControl,
  FRAME_TYPES,
  FrameDecoder,
  parseClientMessage,
} from '../../src/contracts/channel.ts';
import { connectUnix } from './unix-socket.ts';
import { VmDirectory } from './vm-directory.ts';

const ATTACH_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 4096;

type Attach = ClientMessage & { readonly type: 'attach' };

/** Where the API reaches the consoles and screens of this host's VMs: a token opens one, and the bytes are handed through. */
export class AttachServer {
  readonly #runDir: string;
  readonly #verifier: AttachTokenVerifier;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(runDir: string, channelSecret: string) {
    this.#runDir = runDir;
    this.#verifier = new AttachTokenVerifier(channelSecret);
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Listens on a free port. Resolves with `host:port`. */
  async listen(host: string): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(0, host, resolve);
    });
    const { address, port, family } = this.#server.address() as AddressInfo;
    return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.setTimeout(ATTACH_TIMEOUT_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    const decoder = new FrameDecoder();
    const frames: Frame[] = [];
    const onData = (chunk: Buffer): void => {
      try {
        decoder.push(chunk, (frame) => frames.push(frame));
        const [first] = frames;
        if (first === undefined) return;
        socket.off('data', onData);
        socket.pause();
        const message = first.type === FRAME_TYPES.control ? parseClientMessage(first.payload) : undefined;
        // What follows waits for the hello, so nothing can be left over to hand through.
        if (message?.type !== 'attach' || frames.length > 1 || !decoder.idle) {
          throw new ChannelError('malformed', 'one attach message was expected first');
        }
        this.#attach(socket, message);
      } catch (error) {
        socket.off('data', onData);
        refuse(socket, error);
      }
    };
    socket.on('data', onData);
  }

  #attach(socket: Socket, message: Attach): void {
    if (message.version !== CHANNEL_VERSION) {
      throw new ChannelError('version', `this worker speaks version ${CHANNEL_VERSION} of the channel`);
    }
    const grant = this.#verifier.verify(message.token);
    if (grant === undefined) throw new ChannelError('denied', 'the token is not valid');
    const directory = new VmDirectory(this.#runDir, grant.vmId);
    const role = grant.purpose === 'serial' ? 'console' : grant.purpose;
    const vm = connectUnix(directory.socketPath);
    let connected = false;
    vm.once('connect', () => {
      connected = true;
      const resume = message.resume === undefined ? {} : { resume: message.resume };
      const input = message.input === undefined ? {} : { input: message.input };
      const view = grant.viewOnly === undefined ? {} : { viewOnly: true };
      vm.write(
        encodeControl({ type: 'hello', version: CHANNEL_VERSION, role, ...resume, ...input, ...view }),
      );
      socket.setTimeout(0);
      socket.pipe(vm);
      vm.pipe(socket);
    });
    vm.on('error', () => vm.destroy());
    vm.once('close', () => {
      if (connected) socket.end();
      else if (role === 'log') void sendSaved(socket, directory);
      else refuse(socket, new ChannelError('not-running', 'the VM is not running'));
    });
    socket.once('close', () => vm.destroy());
  }
}

/** The last bytes of a VM that does not run, as its process saved them. */
async function sendSaved(socket: Socket, directory: VmDirectory): Promise<void> {
  for (const frame of encodeBytes(FRAME_TYPES.output, await directory.readConsole())) socket.write(frame);
  socket.end(encodeControl({ type: 'end' }));
}

function refuse(socket: Socket, error: unknown): void {
  const { code, message } =
    error instanceof ChannelError ? error : new ChannelError('internal', 'the console could not be opened');
  socket.resume();
  socket.end(encodeControl({ type: 'error', code, message }));
}
