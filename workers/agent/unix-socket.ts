import { closeSync, openSync } from 'node:fs';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { basename, dirname } from 'node:path';

/** What a socket address holds: sun_path is 108 bytes with its final zero (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

/** Connects to a Unix socket whose path may be longer than an address can hold. */
export function connectUnix(path: string): Socket {
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return connect({ path });
  const directory = openSync(dirname(path), 'r');
  const socket = connect({ path: `/proc/self/fd/${directory}/${basename(path)}` });
  let open = true;
  const release = (): void => {
    if (open) closeSync(directory);
    open = false;
  };
  return socket.once('connect', release).once('close', release);
}
