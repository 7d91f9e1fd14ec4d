/**
 * How `GET /v1/vms/{id}/serial`, `…/display` and `/v1/events` are closed by the service. Each comes with a
 * reason in words. Codes from 4000 on are an application's own (RFC 6455 §7.4.2).
 */
export const CONSOLE_CLOSE = {
  /** The VM has stopped: by its guest, or as its owner asked. */
  stopped: 4001,
  /** The VM has failed and is not started again by itself. */
  failed: 4002,
  /** The key, or the session, that opened it was revoked, has expired or was signed out. */
  unauthorized: 4003,
  /** The VM was deleted. */
  deleted: 4004,
  /** The service, or the host's worker, went away; come back soon. */
  restart: 1012,
  /** A text message came to a display. */
  notBinary: 1003,
} as const;

/** The WebSocket subprotocol of displays, for viewers that offer it: noVNC once did. */
export const DISPLAY_SUBPROTOCOL = 'binary';

/** The most that one message to a console or a display may hold, in bytes; a larger one closes it with 1009. */
export const MAX_CONSOLE_MESSAGE_BYTES = 64 * 1024;
