import type { ByteWriter } from './byte-writer.ts';
import { ProtocolError } from './protocol-error.ts';

const VERSION_LENGTH = 12;
const SERVER_VERSION = 'RFB 003.008\n';
const SECURITY_NONE = 1;

/**
 * The talk before the first picture: RFC 6143 §7.1 to §7.3.1, versions 3.3, 3.7 and 3.8. There is no authentication
 * here: who may connect is for the transport to say.
 */
export class Handshake {
  #awaits: 'version' | 'security' | 'client-init' = 'version';
  #minor = 8;

  /** What the server says unasked. */
  begin(out: ByteWriter): void {
    out.text(SERVER_VERSION);
  }

  /**
   * Reads the client's next message, if all of it is there, and answers.
   * @returns the bytes used, 0 when some are missing; with `shared`, from ClientInit, the handshake is at its end
   * @throws ProtocolError, with an answer to send first in `out` where the protocol has one
   */
  receive(bytes: Uint8Array, out: ByteWriter): { readonly used: number; readonly shared?: boolean } {
    if (this.#awaits === 'version') {
      if (bytes.length < VERSION_LENGTH) return { used: 0 };
      this.#version(Buffer.from(bytes.subarray(0, VERSION_LENGTH)).toString('latin1'), out);
      return { used: VERSION_LENGTH };
    }
    if (bytes.length === 0) return { used: 0 };
    if (this.#awaits === 'security') {
      this.#security(bytes[0], out);
      return { used: 1 };
    }
    return { used: 1, shared: bytes[0] !== 0 };
  }

  #version(version: string, out: ByteWriter): void {
    const match = /^RFB (\d{3})\.(\d{3})\n$/.exec(version);
    if (match === null) throw new ProtocolError('no RFB version');
    const [major, minor] = [Number(match[1]), Number(match[2])];
    if (major < 3) throw new ProtocolError(`RFB version ${major}.${minor}`);
    // Unpublished numbers below 3.7 are 3.3 (rfbproto, "ProtocolVersion"); what is above 3.8 knows 3.8.
    if (major > 3 || minor >= 8) this.#minor = 8;
    else this.#minor = minor === 7 ? 7 : 3;
    if (this.#minor === 3) {
      out.u32(SECURITY_NONE);
      this.#awaits = 'client-init';
    } else {
      out.bytes([1, SECURITY_NONE]);
      this.#awaits = 'security';
    }
  }

  #security(type: number, out: ByteWriter): void {
    if (type !== SECURITY_NONE) {
      if (this.#minor === 8) {
        const reason = 'only security type None is offered';
        out.u32(1);
        out.u32(reason.length);
        out.text(reason);
      }
      throw new ProtocolError(`security type ${type}`);
    }
    if (this.#minor === 8) out.u32(0);
    this.#awaits = 'client-init';
  }
}
