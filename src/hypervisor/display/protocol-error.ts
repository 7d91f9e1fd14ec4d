/** What a client sent is no RFB; its message is the reason that is logged. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}
