import type { KeyboardLeds, KeyCode } from '../backends/input.ts';
import type { Rect } from '../backends/screen.ts';
import { ByteWriter } from './byte-writer.ts';
import { type Capabilities, capabilitiesOf, NO_CAPABILITIES, PSEUDO } from './capabilities.ts';
import { HextileEncoder } from './encode/hextile.ts';
import type { JpegEncoder } from './encode/jpeg.ts';
import { RawEncoder } from './encode/raw.ts';
import { ENCODING, type RectEncoder, writeRectHeader } from './encode/rect-encoder.ts';
import { newTightStreams, TightEncoder } from './encode/tight.ts';
import { ZlibStream } from './encode/zlib-stream.ts';
import { ZrleEncoder } from './encode/zrle.ts';
import { Handshake } from './handshake.ts';
import type { Keymap } from './keymaps/keymap.ts';
import { type ClientMessage, LONGEST_MESSAGE, parseMessage } from './messages.ts';
import { Missing } from './missing.ts';
import type { Picture } from './picture.ts';
import { COLOUR_MAP, type PixelFormat, SERVER_FORMAT, writePixelFormat } from './pixel-format.ts';
import { ProtocolError } from './protocol-error.ts';
import type { Difference } from './shadow.ts';
import { ViewerKeyboard } from './viewer-keyboard.ts';
import { type PointerMove, ViewerPointer } from './viewer-pointer.ts';
import type { Wire } from './wire.ts';

/** Numbers of server messages: RFC 6143 §7.6, rfbproto "Server to Client Messages". */
const MESSAGE = { update: 0, colourMap: 1, endOfContinuous: 150, fence: 248 } as const;
/** Bits of a fence: those that this server keeps, since it handles messages one after the other. */
const FENCE = { blockBefore: 1, blockAfter: 2, request: 0x8000_0000 } as const;
const FENCE_KEPT = FENCE.blockBefore | FENCE.blockAfter;
/** Of ExtendedDesktopSize: why it is sent, and how a client's wish was answered. */
const SIZE = { byServer: 0, byClient: 1, done: 0, prohibited: 1 } as const;

/** A viewer that has come so far must say what it wants within this time. Milliseconds. */
const HANDSHAKE_MS = 20_000;
/** One that takes no byte for so long while there are some for it is dropped. Milliseconds. */
const STALLED_MS = 30_000;
/** So many bytes of short answers may wait behind a picture that is not taken. */
const MOST_ANSWERS = 65_536;
/** Bytes kept of a client that sends faster than it may. */
const MOST_PENDING = 1 << 20;
/** Frames sent in continuous mode that the client has not yet acknowledged. */
const MOST_FRAMES_AHEAD = 3;
/** Messages a second, and how many may come at once; some cost more than one. */
const BUDGET = { perSecond: 1000, most: 1000, settings: 20 } as const;

/** What a viewer stands on: the screen as it is, and the way to the guest. */
export interface ViewerHost {
  /** Undefined until the screen was looked at for the first time. */
  readonly picture: () => Picture | undefined;
  /** Somebody has to see the screen as it is from now on. Gives the look's number. */
  readonly askForLook: () => number;
  readonly name: string;
  readonly keymap: Keymap;
  readonly leds: () => KeyboardLeds;
  /** Whether the guest's pointer takes positions. */
  readonly absolute: () => boolean;
  readonly jpeg: () => JpegEncoder | undefined;
  /** Milliseconds, on a clock that never goes back. */
  readonly now: () => number;
  readonly key: (code: KeyCode, down: boolean, viewer: Viewer) => void;
  readonly move: (move: PointerMove) => void;
  /** The viewer wants the screen for itself. */
  readonly alone: (viewer: Viewer) => void;
  /** The viewer is no more. */
  readonly closed: (viewer: Viewer, reason: string) => void;
}

/** One viewer: its side of the protocol, from the handshake on. Nothing that it sends throws. */
export class Viewer {
  readonly keyboard: ViewerKeyboard;
  readonly viewOnly: boolean;
  readonly #host: ViewerHost;
  readonly #wire: Wire;
  readonly #pointer = new ViewerPointer();
  readonly #handshake = new Handshake();
  readonly #out = new ByteWriter();
  readonly #tightStreams = newTightStreams();
  readonly #zrleStream = new ZlibStream();
  readonly #since: number;

  #state: 'handshake' | 'init' | 'open' | 'closed' = 'handshake';
  #pending = new Uint8Array(0);
  #skip = 0;
  #budget: number = BUDGET.most;
  #budgetAt: number;
  #throttled = false;
  #taken = 0;
  #takenAt: number;
  /** Bytes of answers since the client last had taken everything. */
  #answered = 0;

  #format: PixelFormat = SERVER_FORMAT;
  #capabilities: Capabilities = NO_CAPABILITIES;
  #encoder: { readonly with: JpegEncoder | undefined; readonly encoder: RectEncoder } | undefined;
  #missing: Missing | undefined;
  /** Of the picture that the client has. */
  #size = { width: 0, height: 0 };
  /** What it asked for and has not got. */
  #requested: Rect | undefined;
  /** The look at the screen without which it is sent nothing: what there is may be old. */
  #look: number | undefined;
  #continuous: Rect | undefined;
  #framesAhead = 0;
  /** Pseudo-rectangles to send. */
  #announceKeys = false;
  #announceButtons = false;
  #announceSize = false;
  #extendedButtons = false;
  #fenceOffered = false;
  #continuousOffered = false;
  #ledsSent: number | undefined;
  #absoluteSent: boolean | undefined;

  constructor(wire: Wire, host: ViewerHost, viewOnly: boolean) {
    this.#wire = wire;
    this.#host = host;
    this.viewOnly = viewOnly;
    this.#since = host.now();
    this.#budgetAt = this.#since;
    this.#takenAt = this.#since;
    this.keyboard = new ViewerKeyboard({
      keymap: host.keymap,
      leds: host.leds,
      press: (code, down) => host.key(code, down, this),
    });
    this.#handshake.begin(this.#out);
    this.#send();
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Whether a change of the screen would be sent to it now. */
  get waiting(): boolean {
    if (this.#state === 'init') return true;
    return this.#area() !== undefined;
  }

  /** Bytes from the client. */
  receive(bytes: Uint8Array): void {
    if (this.isClosed) return;
    this.#pending = concat(this.#pending, bytes);
    this.#work();
    if (this.#pending.length > MOST_PENDING) this.close('sends faster than it may');
  }

  /**
   * The shadow is as the screen is.
   * @param answers number of the last look that was asked for when this one was made
   */
  changed(difference: Difference, answers: number): void {
    if (this.#look !== undefined && answers >= this.#look) this.#look = undefined;
    if (this.#state === 'init') this.#init();
    if (this.#missing === undefined) return;
    if (difference.resized) this.#lose();
    else this.#missing.add(difference, this.#capabilities.copyRect && this.#isSized(this.#host.picture()));
  }

  /** Sends what there is for it, if it wants that and takes it. */
  serve(): void {
    const picture = this.#host.picture();
    if (this.#area() === undefined || picture === undefined || this.#look !== undefined) return;
    const announced = this.#announce(picture);
    const area = this.#area();
    if (area === undefined || !this.#missing?.in(area)) {
      if (announced) this.#requested = undefined;
      this.#send();
      return;
    }
    this.#sendPicture(picture, area);
  }

  /** To be called several times a second. */
  tick(): void {
    const now = this.#host.now();
    if (this.#state === 'handshake' && now - this.#since > HANDSHAKE_MS) this.close('no handshake');
    if (this.#wire.taken !== this.#taken || this.#wire.backlog === 0) {
      this.#taken = this.#wire.taken;
      this.#takenAt = now;
    } else if (now - this.#takenAt > STALLED_MS) {
      this.close('does not read');
    }
    if (!this.#throttled || this.isClosed) return;
    this.#throttled = false;
    this.#work();
    if (!this.#throttled) this.#wire.resume();
  }

  /** Ends it; the reason is for the log. What the viewer held down is let go. */
  close(reason: string): void {
    if (this.isClosed) return;
    this.#state = 'closed';
    this.keyboard.releaseAll();
    const release = this.#pointer.release(this.#size);
    if (release !== undefined) this.#host.move(release);
    this.#pending = new Uint8Array(0);
    this.#wire.close();
    this.#host.closed(this, reason);
  }

  // What comes in

  /** Handles what has come, as far as the budget goes. */
  #work(): void {
    try {
      while (!this.isClosed && !this.#throttled && this.#step());
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#send();
      this.close(error.message);
    }
  }

  /** @returns whether there may be more to do */
  #step(): boolean {
    if (this.#skip > 0) {
      const skipped = Math.min(this.#skip, this.#pending.length);
      this.#skip -= skipped;
      this.#pending = this.#pending.subarray(skipped);
    }
    if (this.#pending.length === 0) return false;
    if (this.#state === 'handshake') return this.#shakeHands();
    // Whoever speaks before its ServerInit waits.
    if (this.#state !== 'open') return false;
    const parsed = parseMessage(this.#pending.subarray(0, LONGEST_MESSAGE), this.#extendedButtons);
    if (parsed === undefined) return false;
    if (!this.#pay(parsed.message)) return false;
    this.#pending = this.#pending.subarray(parsed.length);
    this.#skip = parsed.skip;
    this.#handle(parsed.message);
    return true;
  }

  #shakeHands(): boolean {
    const { used, shared } = this.#handshake.receive(this.#pending, this.#out);
    this.#pending = this.#pending.subarray(used);
    this.#send();
    if (shared === undefined) return used > 0;
    this.#state = 'init';
    this.#look = this.#host.askForLook();
    if (!shared && !this.viewOnly) this.#host.alone(this);
    return true;
  }

  /** ServerInit, as soon as it is known how large the picture is now: RFC 6143 §7.3.2. */
  #init(): void {
    const picture = this.#host.picture();
    if (picture === undefined || this.#look !== undefined) return;
    const out = this.#out;
    const name = Buffer.from(this.#host.name, 'utf8');
    out.u16(picture.width);
    out.u16(picture.height);
    writePixelFormat(out, SERVER_FORMAT);
    out.u32(name.length);
    out.bytes(name);
    this.#send();
    this.#size = { width: picture.width, height: picture.height };
    this.#missing = new Missing(picture.width, picture.height);
    this.#state = 'open';
    this.#work();
  }

  /** Takes the message's price; without the means the client waits. */
  #pay(message: ClientMessage): boolean {
    const now = this.#host.now();
    this.#budget = Math.min(BUDGET.most, this.#budget + ((now - this.#budgetAt) * BUDGET.perSecond) / 1000);
    this.#budgetAt = now;
    const settings = message.kind === 'encodings' || message.kind === 'pixel-format';
    const price = settings ? BUDGET.settings : 1;
    if (this.#budget < price) {
      this.#throttled = true;
      this.#wire.pause();
      return false;
    }
    this.#budget -= price;
    return true;
  }

  #handle(message: ClientMessage): void {
    switch (message.kind) {
      case 'pixel-format':
        this.#setFormat(message.format);
        break;
      case 'encodings':
        this.#setEncodings(message.encodings);
        break;
      case 'update-request':
        this.#request(message.area, message.incremental);
        break;
      case 'key':
        if (!this.viewOnly) this.keyboard.event(message.down, message.keysym, message.code ?? 0);
        break;
      case 'pointer':
        if (!this.viewOnly) this.#move(message);
        break;
      case 'continuous':
        this.#setContinuous(message.on, message.area);
        break;
      case 'fence':
        this.#fence(message.flags, message.payload);
        break;
      case 'desktop-size':
        this.#refuseSize();
        break;
      case 'cut-text':
        // A PC has no clipboard.
        break;
    }
  }

  #setFormat(format: PixelFormat): void {
    this.#format = format;
    this.#encoder = undefined;
    if (format.trueColour) return;
    this.#out.bytes([MESSAGE.colourMap, 0]);
    this.#out.u16(0);
    this.#out.u16(COLOUR_MAP.length);
    for (const intensities of COLOUR_MAP) for (const value of intensities) this.#out.u16(value);
    this.#answer();
  }

  #setEncodings(encodings: readonly number[]): void {
    const capabilities = capabilitiesOf(encodings);
    this.#capabilities = capabilities;
    this.#encoder = undefined;
    const { has } = capabilities;
    this.#announceKeys ||= has(PSEUDO.qemuKeys);
    this.#announceButtons ||= has(PSEUDO.extendedButtons) && !this.#extendedButtons;
    if (!has(PSEUDO.qemuLeds)) this.#ledsSent = undefined;
    if (!has(PSEUDO.pointerMotion)) this.#absoluteSent = undefined;
    // Both are agreed to by sending one (rfbproto, "Fence Pseudo-encoding", "ContinuousUpdates Pseudo-encoding").
    if (has(PSEUDO.fence) && !this.#fenceOffered) {
      this.#fenceOffered = true;
      this.#putFence(FENCE.request, new Uint8Array(0));
    }
    if (has(PSEUDO.fence) && has(PSEUDO.continuousUpdates) && !this.#continuousOffered) {
      this.#continuousOffered = true;
      this.#out.u8(MESSAGE.endOfContinuous);
    }
    this.#answer();
  }

  #request(area: Rect, incremental: boolean): void {
    if (!incremental) {
      this.#missing?.forget(area);
      this.#look ??= this.#host.askForLook();
      this.#announceSize ||= this.#capabilities.has(PSEUDO.extendedDesktopSize);
    }
    this.#requested = this.#requested === undefined ? area : union(this.#requested, area);
  }

  #setContinuous(on: boolean, area: Rect): void {
    if (!this.#continuousOffered) throw new ProtocolError('continuous updates that were not offered');
    if (!on && this.#continuous !== undefined) {
      this.#out.u8(MESSAGE.endOfContinuous);
      this.#answer();
    }
    this.#continuous = on ? area : undefined;
    this.#framesAhead = 0;
  }

  #fence(flags: number, payload: Uint8Array): void {
    if (!this.#fenceOffered) throw new ProtocolError('a fence that was not offered');
    if ((flags & FENCE.request) !== 0) {
      this.#putFence(flags & FENCE_KEPT, payload);
      this.#answer();
    } else if (payload.length > 0 && this.#framesAhead > 0) {
      this.#framesAhead--;
    }
  }

  #move(event: { readonly x: number; readonly y: number; readonly buttons: number }): void {
    this.#host.move(this.#pointer.event(event, this.#absoluteSent === false, this.#size));
  }

  /** SetDesktopSize: the guest alone sets its mode. */
  #refuseSize(): void {
    if (!this.#capabilities.has(PSEUDO.extendedDesktopSize))
      throw new ProtocolError('a size that was not asked for');
    this.#beginUpdate(1);
    this.#putExtendedSize(SIZE.byClient, SIZE.prohibited);
    this.#answer();
  }

  // What goes out

  /** Where the client wants changes at once, if it takes more bytes now. */
  #area(): Rect | undefined {
    if (this.#state !== 'open' || this.#wire.backlog > 0) return undefined;
    if (this.#continuous !== undefined && this.#framesAhead < MOST_FRAMES_AHEAD) {
      return this.#requested === undefined ? this.#continuous : union(this.#requested, this.#continuous);
    }
    return this.#requested;
  }

  /** The picture has another size, and nothing of what the client has is worth anything. */
  #lose(): void {
    const picture = this.#host.picture();
    if (picture === undefined) return;
    this.#missing = new Missing(picture.width, picture.height);
    this.#announceSize ||= !this.#isSized(picture);
  }

  /** Whether the client's picture has this one's size. */
  #isSized(picture: Picture | undefined): boolean {
    return picture?.width === this.#size.width && picture.height === this.#size.height;
  }

  /** An update of pseudo-rectangles alone, if there are any to send: some may not be in one with pixels. */
  #announce(picture: Picture): boolean {
    const { has } = this.#capabilities;
    const resizes = has(PSEUDO.extendedDesktopSize) || has(PSEUDO.desktopSize);
    const resized = !this.#isSized(picture);
    const leds = ledBits(this.#host.leds());
    const absolute = this.#host.absolute();
    const none = { x: 0, y: 0, width: 0, height: 0 };
    const rects: (() => void)[] = [];
    if (this.#announceKeys) rects.push(() => writeRectHeader(this.#out, none, PSEUDO.qemuKeys));
    if (this.#announceButtons) rects.push(() => writeRectHeader(this.#out, none, PSEUDO.extendedButtons));
    if (has(PSEUDO.pointerMotion) && absolute !== this.#absoluteSent) {
      const rect = { ...none, x: absolute ? 1 : 0, width: picture.width, height: picture.height };
      rects.push(() => writeRectHeader(this.#out, rect, PSEUDO.pointerMotion));
      this.#absoluteSent = absolute;
    }
    if (has(PSEUDO.qemuLeds) && leds !== this.#ledsSent) {
      rects.push(() => {
        writeRectHeader(this.#out, none, PSEUDO.qemuLeds);
        this.#out.u8(leds);
      });
      this.#ledsSent = leds;
    }
    // The size comes last: old clients throw away what follows it.
    if (resizes && (resized || this.#announceSize)) {
      this.#size = { width: picture.width, height: picture.height };
      if (has(PSEUDO.extendedDesktopSize)) rects.push(() => this.#putExtendedSize(SIZE.byServer, SIZE.done));
      else if (resized)
        rects.push(() => writeRectHeader(this.#out, { ...none, ...this.#size }, PSEUDO.desktopSize));
    }
    if (this.#announceButtons) this.#extendedButtons = true;
    this.#announceKeys = false;
    this.#announceButtons = false;
    this.#announceSize = false;
    if (rects.length === 0) return false;
    this.#beginUpdate(rects.length);
    for (const put of rects) put();
    return true;
  }

  #sendPicture(picture: Picture, area: Rect): void {
    const visible = {
      width: Math.min(this.#size.width, picture.width),
      height: Math.min(this.#size.height, picture.height),
    };
    const { copies, rects } = (this.#missing as Missing).take(crop(area, visible), visible);
    if (copies.length > 0 || rects.length > 0) {
      const out = this.#out;
      const countAt = this.#beginUpdate(0);
      let count = copies.length;
      for (const { to, dy } of copies) {
        writeRectHeader(out, to, ENCODING.copyRect);
        out.u16(to.x);
        out.u16(to.y + dy);
      }
      const encoder = this.#encoderNow();
      for (const rect of rects) count += encoder.encode(picture, rect, out);
      out.patchU16(countAt, count);
      if (this.#continuous !== undefined) {
        this.#framesAhead++;
        this.#putFence(FENCE.request | FENCE.blockBefore, Uint8Array.of(1));
      }
      this.#requested = undefined;
    }
    this.#send();
  }

  #encoderNow(): RectEncoder {
    const jpeg = this.#capabilities.jpeg === undefined ? undefined : this.#host.jpeg();
    if (this.#encoder === undefined || this.#encoder.with !== jpeg) {
      this.#encoder = { with: jpeg, encoder: this.#makeEncoder(jpeg) };
    }
    return this.#encoder.encoder;
  }

  #makeEncoder(jpeg: JpegEncoder | undefined): RectEncoder {
    const format = this.#format;
    const { encoding, level, jpeg: quality } = this.#capabilities;
    switch (encoding) {
      case 'tight': {
        const lossy = jpeg === undefined || quality === undefined ? undefined : { encoder: jpeg, quality };
        return new TightEncoder({ format, level, streams: this.#tightStreams, jpeg: lossy });
      }
      case 'zrle':
        return new ZrleEncoder(format, level, this.#zrleStream);
      case 'hextile':
        return new HextileEncoder(format);
      case 'raw':
        return new RawEncoder(format);
    }
  }

  /** @returns where the number of rectangles stands */
  #beginUpdate(rects: number): number {
    this.#out.bytes([MESSAGE.update, 0]);
    this.#out.u16(rects);
    return this.#out.length - 2;
  }

  #putExtendedSize(reason: number, status: number): void {
    const { width, height } = this.#size;
    writeRectHeader(this.#out, { x: reason, y: status, width, height }, PSEUDO.extendedDesktopSize);
    // One screen, number 0, which is all of it.
    this.#out.bytes([1, 0, 0, 0]);
    this.#out.u32(0);
    this.#out.u32(0);
    this.#out.u16(width);
    this.#out.u16(height);
    this.#out.u32(0);
  }

  #putFence(flags: number, payload: Uint8Array): void {
    this.#out.bytes([MESSAGE.fence, 0, 0, 0]);
    this.#out.u32(flags);
    this.#out.u8(payload.length);
    this.#out.bytes(payload);
  }

  /** Sends something short that a client provokes; too much of it without reading is the end. */
  #answer(): void {
    this.#answered = (this.#wire.backlog === 0 ? 0 : this.#answered) + this.#out.length;
    this.#send();
    if (this.#answered > MOST_ANSWERS) this.close('asks and does not read');
  }

  #send(): void {
    if (this.#out.length > 0) this.#wire.write(this.#out.take());
  }
}

function ledBits({ scroll, num, caps }: KeyboardLeds): number {
  return (scroll ? 1 : 0) | (num ? 2 : 0) | (caps ? 4 : 0);
}

function union(a: Rect, b: Rect): Rect {
  const x = Math.min(a.x, b.x);
  const y = Math.min(a.y, b.y);
  return {
    x,
    y,
    width: Math.max(a.x + a.width, b.x + b.width) - x,
    height: Math.max(a.y + a.height, b.y + b.height) - y,
  };
}

function crop(area: Rect, { width, height }: { readonly width: number; readonly height: number }): Rect {
  const x = Math.min(area.x, width);
  const y = Math.min(area.y, height);
  return { x, y, width: Math.min(area.width, width - x), height: Math.min(area.height, height - y) };
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(a.length + b.length);
  out.set(a, 0);
  out.set(b, a.length);
  return out;
}
