/**
 * The packet commands of a CD-ROM and DVD-ROM drive that need nothing but its
 * state: MMC-3 (T10/1363-D), SPC-2 (T10/1236-D) and, for the mode pages of old
 * hosts, SFF-8020i.
 *
 * Deviations:
 * - No audio: discs have one data track, and play commands are unknown.
 * - READ CD gives user data or whole sectors (with EDC and ECC at zero), no
 *   other choice of fields and no sub-channels.
 * - MODE SELECT is not there, so nothing in the mode pages can be changed.
 */
import type { DiskBackend } from '../../backends/disk.ts';
import {
  BLOCK_BYTES,
  blocksOf,
  discInformation,
  dvdCopyright,
  dvdPhysical,
  isDvd,
  rawTableOfContents,
  sessionInformation,
  tableOfContents,
  trackInformation,
  withLength,
} from './disc.ts';
import { configuration } from './mmc-features.ts';
import { modeSense } from './mode-pages.ts';
import { SENSE, type Sense, senseBytes } from './sense.ts';
import { MEDIA_EVENT, type Tray } from './tray.ts';

/** What a packet leads to. */
export type Outcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  /** `blocks` ≥ 1 blocks of the disc, which has them. */
  | { readonly kind: 'read'; readonly lba: number; readonly blocks: number; readonly raw: boolean }
  | { readonly kind: 'check'; readonly sense: Sense };

/** The drive as packet commands see it. */
export interface Unit {
  readonly tray: Tray;
  readonly model: string;
  /** Of the last command that failed; REQUEST SENSE takes it. */
  sense: Sense;
  /** The power came or RST#, and the host has not been told. */
  poweredOn: boolean;
}

const DONE: Outcome = { kind: 'done' };
const check = (sense: Sense): Outcome => ({ kind: 'check', sense });
/** A reply cut to the allocation length. */
const data = (bytes: Uint8Array, allocated: number): Outcome =>
  allocated === 0 ? DONE : { kind: 'data', bytes: bytes.subarray(0, allocated) };
const orInvalid = (bytes: Uint8Array | undefined, allocated: number): Outcome =>
  bytes === undefined ? check(SENSE.invalidField) : data(bytes, allocated);

/** What a command needs before it is looked at. */
type Handler = (packet: DataView, unit: Unit) => Outcome;
type MediumHandler = (packet: DataView, medium: DiskBackend, unit: Unit) => Outcome;

/** Commands that are carried out whatever there is to be told first: MMC-3 § 4.1.6.1. */
const ALWAYS: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [0x03, requestSense],
  [0x12, inquiry],
  [0x46, getConfiguration],
  [0x4a, getEvents],
]);

/** Commands that do without a disc. */
const WITHOUT_DISC: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [0x1a, (p, unit) => modeSenseReply(unit, p.getUint8(2), p.getUint8(4), true)],
  [0x5a, (p, unit) => modeSenseReply(unit, p.getUint8(2), p.getUint16(7), false)],
  [0x1b, startStop],
  [0x1e, preventRemoval],
  [0xbb, () => DONE], // SET CD SPEED
  [0xbd, mechanismStatus],
]);

const WITH_DISC: ReadonlyMap<number, MediumHandler> = new Map<number, MediumHandler>([
  [0x00, () => DONE], // TEST UNIT READY
  [0x25, readCapacity],
  [0x28, (p, medium) => read(medium, p.getUint32(2), p.getUint16(7))],
  [0xa8, (p, medium) => read(medium, p.getUint32(2), p.getUint32(6))],
  [0x2b, seek],
  [0x42, readSubChannel],
  [0x43, readToc],
  [0x51, (p) => data(discInformation(), p.getUint16(7))],
  [0x52, readTrackInformation],
  [0xad, readDvdStructure],
  [0xbe, readCd],
]);

/** Carries out a packet of 12 bytes, or says what else is to be done. */
export function executePacket(packet: DataView, unit: Unit): Outcome {
  const code = packet.getUint8(0);
  const always = ALWAYS.get(code);
  if (always) return always(packet, unit);
  if (unit.poweredOn) {
    unit.poweredOn = false;
    return check(SENSE.poweredOn);
  }
  if (unit.tray.takeChange()) return check(SENSE.mediumChanged);
  const handler = WITHOUT_DISC.get(code);
  if (handler) return handler(packet, unit);
  const withDisc = WITH_DISC.get(code);
  if (!withDisc) return check(SENSE.unknownCommand);
  const { medium } = unit.tray;
  if (!medium) return check(unit.tray.open ? SENSE.trayOpen : SENSE.noMedium);
  return withDisc(packet, medium, unit);
}

// The drive.

/** SPC-2 § 7.20: what is to be told is gone then. */
function requestSense(packet: DataView, unit: Unit): Outcome {
  let { sense } = unit;
  if (sense === SENSE.none && unit.poweredOn) {
    unit.poweredOn = false;
    sense = SENSE.poweredOn;
  } else if (sense === SENSE.none && unit.tray.takeChange()) {
    sense = SENSE.mediumChanged;
  }
  unit.sense = SENSE.none;
  return data(senseBytes(sense), packet.getUint8(4));
}

/** SPC-2 § 7.3; no vital product data. */
function inquiry(packet: DataView, unit: Unit): Outcome {
  if (packet.getUint8(1) & 1 || packet.getUint8(2) !== 0) return check(SENSE.invalidField);
  const bytes = new Uint8Array(36);
  // A CD-ROM device, removable, ATAPI: SFF-8020i § 10.8.1.
  bytes.set([0x05, 0x80, 0x00, 0x21, bytes.length - 5]);
  const text = `TEREMOK ${unit.model.padEnd(16).slice(0, 16)}1.0 `;
  new TextEncoder().encodeInto(text, bytes.subarray(8));
  return data(bytes, packet.getUint8(4));
}

function getConfiguration(packet: DataView, unit: Unit): Outcome {
  const { medium } = unit.tray;
  const profile = medium === undefined ? 0 : isDvd(medium) ? 0x10 : 0x08;
  const which = packet.getUint8(1) & 3;
  if (which === 3) return check(SENSE.invalidField);
  return data(configuration(profile, packet.getUint16(2), which), packet.getUint16(7));
}

/** MMC-3 § 6.7: by polling alone. Of the classes asked for, media is the one there is. */
function getEvents(packet: DataView, unit: Unit): Outcome {
  if (!(packet.getUint8(1) & 1)) return check(SENSE.invalidField);
  const MEDIA = 4;
  const supported = 1 << MEDIA;
  const { tray } = unit;
  if (!(packet.getUint8(4) & supported))
    return data(Uint8Array.of(0, 2, 0x80, supported), packet.getUint16(7));
  // An event that does not fit the allocation is told the next time.
  const event = packet.getUint16(7) > 4 ? tray.takeEvent() : MEDIA_EVENT.none;
  const state = (tray.open ? 1 : 0) | (tray.medium ? 2 : 0);
  return data(Uint8Array.of(0, 6, MEDIA, supported, event, state, 0, 0), packet.getUint16(7));
}

function modeSenseReply({ tray }: Unit, page: number, allocated: number, short: boolean): Outcome {
  if (page >> 6 === 3) return check(SENSE.savingNotSupported);
  const { locked } = tray;
  return orInvalid(modeSense({ page: page & 0x3f, changeable: page >> 6 === 1, short, locked }), allocated);
}

/** MMC-3 § 6.44 (START STOP UNIT). */
function startStop(packet: DataView, { tray }: Unit): Outcome {
  const bits = packet.getUint8(4);
  // A power condition, or spinning up and down: nothing to do.
  if (bits & 0xf0 || !(bits & 2)) return DONE;
  if (bits & 1) tray.load();
  else if (!tray.eject()) return check(SENSE.removalPrevented);
  return DONE;
}

function preventRemoval(packet: DataView, { tray }: Unit): Outcome {
  tray.locked = (packet.getUint8(4) & 1) !== 0;
  return DONE;
}

function mechanismStatus(packet: DataView, { tray }: Unit): Outcome {
  return data(Uint8Array.of(0, tray.open ? 0x10 : 0, 0, 0, 0, 1, 0, 0), packet.getUint16(8));
}

// The disc.

function read(medium: DiskBackend, lba: number, blocks: number, raw = false): Outcome {
  if (lba + blocks > blocksOf(medium)) return check(SENSE.outOfRange);
  return blocks === 0 ? DONE : { kind: 'read', lba, blocks, raw };
}

function seek(packet: DataView, medium: DiskBackend): Outcome {
  return packet.getUint32(2) < blocksOf(medium) ? DONE : check(SENSE.outOfRange);
}

/** The last block, and its size. */
function readCapacity(_packet: DataView, medium: DiskBackend): Outcome {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.min(blocksOf(medium) - 1, 0xffff_ffff));
  view.setUint32(4, BLOCK_BYTES);
  return data(bytes, bytes.length);
}

/** Audio status alone: none. */
function readSubChannel(packet: DataView): Outcome {
  if (packet.getUint8(2) & 0x40) return check(SENSE.invalidField);
  return data(Uint8Array.of(0, 0x15, 0, 0), packet.getUint16(7));
}

/** Format in byte 2, or where SFF-8020i had it, in the control byte. */
function readToc(packet: DataView, medium: DiskBackend): Outcome {
  const asMsf = (packet.getUint8(1) & 2) !== 0;
  const format = packet.getUint8(2) & 0x0f || packet.getUint8(9) >> 6;
  const first = packet.getUint8(6);
  const allocated = packet.getUint16(7);
  switch (format) {
    case 0:
      return orInvalid(tableOfContents(blocksOf(medium), first, asMsf), allocated);
    case 1:
      return data(sessionInformation(asMsf), allocated);
    case 2:
      return first > 1 ? check(SENSE.invalidField) : data(rawTableOfContents(blocksOf(medium)), allocated);
    default:
      return check(SENSE.invalidField);
  }
}

/** By address, by track (1, or FFh for what is left to write: none), or by session. */
function readTrackInformation(packet: DataView, medium: DiskBackend): Outcome {
  const type = packet.getUint8(1) & 3;
  const where = packet.getUint32(2);
  const found = type === 0 ? where < blocksOf(medium) : type < 3 && where === 1;
  return orInvalid(found ? trackInformation(blocksOf(medium)) : undefined, packet.getUint16(7));
}

function readDvdStructure(packet: DataView, medium: DiskBackend): Outcome {
  const allocated = packet.getUint16(8);
  if (!isDvd(medium)) return check(SENSE.invalidField);
  switch (packet.getUint8(7)) {
    case 0:
      // One layer.
      return packet.getUint8(6) === 0
        ? data(dvdPhysical(blocksOf(medium)), allocated)
        : check(SENSE.invalidField);
    case 1:
      return data(dvdCopyright(), allocated);
    case 4:
      return data(withLength(Array<number>(2050).fill(0)), allocated);
    default:
      return check(SENSE.invalidField);
  }
}

/** MMC-3 § 6.15: any type of sector, or mode 1; fields in byte 9, sub-channels in byte 10. */
function readCd(packet: DataView, medium: DiskBackend): Outcome {
  const type = (packet.getUint8(1) >> 2) & 7;
  if (type !== 0 && type !== 2) return check(SENSE.wrongTrackMode);
  if (packet.getUint8(10) & 7) return check(SENSE.invalidField);
  const lba = packet.getUint32(2);
  const blocks = packet.getUint32(5) & 0xff_ffff;
  switch (packet.getUint8(9) & 0xf8) {
    case 0x00:
      return lba + blocks > blocksOf(medium) ? check(SENSE.outOfRange) : DONE;
    case 0x10:
      return read(medium, lba, blocks);
    case 0xf8:
      return read(medium, lba, blocks, true);
    default:
      return check(SENSE.invalidField);
  }
}
