import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createInflate, type Inflate } from 'node:zlib';
import type { PixelFormat } from '../../../src/hypervisor/display/pixel-format.ts';

/** A rectangle as it came, without its pixels. */
export interface ReceivedRect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly encoding: number;
  /** On the wire, header included. */
  readonly bytes: number;
}

/** Numbers on the wire, written down once more so that a slip in the server's does not hide. */
export const ENC = {
  raw: 0,
  copyRect: 1,
  hextile: 5,
  tight: 7,
  zrle: 16,
  quality0: -32,
  compress0: -256,
  desktopSize: -223,
  lastRect: -224,
  pointerMotion: -257,
  qemuKeys: -258,
  leds: -261,
  extendedDesktopSize: -308,
  fence: -312,
  continuous: -313,
  extendedButtons: -316,
} as const;

export const BGRX: PixelFormat = {
  bitsPerPixel: 32,
  depth: 24,
  bigEndian: false,
  trueColour: true,
  red: { max: 255, shift: 16 },
  green: { max: 255, shift: 8 },
  blue: { max: 255, shift: 0 },
};

/**
 * A client for tests, written from the specification and not from the server: it keeps a picture of pixel values in
 * its own format, and everything else that it was told. It awaits bytes, so it can be fed by a socket or by hand.
 */
export class RfbClient {
  width = 0;
  height = 0;
  name = '';
  /** Values in the client's format. */
  pixels = new Uint32Array(0);
  format: PixelFormat = BGRX;
  colourMap: number[][] = [];
  leds: number | undefined;
  absolute: boolean | undefined;
  extendedKeys = false;
  extendedButtons = false;
  continuousEnds = 0;
  /** Payloads of fences that the server asked for; answered unless `mute`. */
  fences: Uint8Array[] = [];
  fenceAnswers: { readonly flags: number; readonly payload: Uint8Array }[] = [];
  sizes: {
    readonly reason: number;
    readonly status: number;
    readonly width: number;
    readonly height: number;
  }[] = [];
  /** Answers no fence. */
  mute = false;
  /** Reads over pixels, without decoding them: for measuring what a server does. */
  skim = false;
  bytesRead = 0;
  /** Pixels that came by JPEG, and so may differ. */
  jpegRects = 0;

  readonly #send: (bytes: Uint8Array) => void;
  readonly #chunks: Uint8Array[] = [];
  #available = 0;
  #wake: (() => void) | undefined;
  #ended = false;
  readonly #inflaters = new Map<string, Inflate>();

  constructor(send: (bytes: Uint8Array) => void) {
    this.#send = send;
  }

  feed(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#available += bytes.length;
    this.#wake?.();
  }

  /** The connection is over: who waits for bytes gets an error. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** Bytes that have come and nobody read. */
  get unread(): number {
    return this.#available;
  }

  /** @param speaks the minor version that the server understands by that */
  async handshake({ version = '003.008', speaks = 8, shared = true } = {}): Promise<void> {
    const banner = (await this.read(12)).toString('latin1');
    if (banner !== 'RFB 003.008\n') throw new Error(`banner ${banner}`);
    this.#send(Buffer.from(`RFB ${version}\n`, 'latin1'));
    if (speaks === 3) {
      const type = (await this.read(4)).readUInt32BE();
      if (type !== 1) throw new Error(`security ${type}`);
    } else {
      const count = (await this.read(1))[0];
      const types = await this.read(count);
      if (!types.includes(1)) throw new Error('no security type None');
      this.#send(Uint8Array.of(1));
      if (speaks === 8 && (await this.read(4)).readUInt32BE() !== 0) throw new Error('refused');
    }
    this.#send(Uint8Array.of(shared ? 1 : 0));
    const init = await this.read(24);
    this.#resize(init.readUInt16BE(0), init.readUInt16BE(2));
    this.name = (await this.read(init.readUInt32BE(20))).toString('utf8');
  }

  setFormat(format: PixelFormat): void {
    this.format = format;
    const m = Buffer.alloc(20);
    m[4] = format.bitsPerPixel;
    m[5] = format.depth;
    m[6] = format.bigEndian ? 1 : 0;
    m[7] = format.trueColour ? 1 : 0;
    [format.red, format.green, format.blue].forEach(({ max, shift }, i) => {
      m.writeUInt16BE(max, 8 + 2 * i);
      m[14 + i] = shift;
    });
    this.#send(m);
  }

  setEncodings(...encodings: readonly number[]): void {
    const m = Buffer.alloc(4 + 4 * encodings.length);
    m[0] = 2;
    m.writeUInt16BE(encodings.length, 2);
    encodings.forEach((encoding, i) => void m.writeInt32BE(encoding, 4 + 4 * i));
    this.#send(m);
  }

  request(incremental: boolean, x = 0, y = 0, width = this.width, height = this.height): void {
    this.#send(area(3, incremental ? 1 : 0, x, y, width, height));
  }

  continuous(on: boolean): void {
    this.#send(area(150, on ? 1 : 0, 0, 0, this.width, this.height));
  }

  key(down: boolean, keysym: number): void {
    const m = Buffer.from([4, down ? 1 : 0, 0, 0, 0, 0, 0, 0]);
    m.writeUInt32BE(keysym, 4);
    this.#send(m);
  }

  extendedKey(down: boolean, keysym: number, code: number): void {
    const m = Buffer.alloc(12);
    m[0] = 255;
    m.writeUInt16BE(down ? 1 : 0, 2);
    m.writeUInt32BE(keysym, 4);
    m.writeUInt32BE(code, 8);
    this.#send(m);
  }

  /** Buttons 1 to 9 as bits. */
  pointer(x: number, y: number, buttons: number): void {
    const extended = buttons > 0x7f;
    const m = Buffer.from([5, extended ? (buttons & 0x7f) | 0x80 : buttons, 0, 0, 0, 0, buttons >> 7]);
    m.writeUInt16BE(x, 2);
    m.writeUInt16BE(y, 4);
    this.#send(extended ? m : m.subarray(0, 6));
  }

  fence(flags: number, payload: Uint8Array): void {
    const m = Buffer.alloc(9 + payload.length);
    m[0] = 248;
    m.writeUInt32BE(flags, 4);
    m[8] = payload.length;
    m.set(payload, 9);
    this.#send(m);
  }

  setDesktopSize(width: number, height: number): void {
    const m = Buffer.alloc(24);
    m[0] = 251;
    m.writeUInt16BE(width, 2);
    m.writeUInt16BE(height, 4);
    m[6] = 1;
    this.#send(m);
  }

  cutText(text: string): void {
    const m = Buffer.alloc(8 + text.length, text, 'latin1');
    m.fill(0, 0, 8);
    m[0] = 6;
    m.writeUInt32BE(text.length, 4);
    m.write(text, 8, 'latin1');
    this.#send(m);
  }

  /** Handles messages up to and including the next update of the picture; says what was in it. */
  async update(): Promise<ReceivedRect[]> {
    for (;;) {
      const type = (await this.read(1))[0];
      if (type === 0) return this.#update();
      await this.#other(type);
    }
  }

  /** Handles exactly one message. */
  async message(): Promise<void> {
    const type = (await this.read(1))[0];
    if (type === 0) await this.#update();
    else await this.#other(type);
  }

  async read(count: number): Promise<Buffer> {
    while (this.#available < count) {
      if (this.#ended) throw new Error('the connection ended');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const out = Buffer.alloc(count);
    for (let at = 0; at < count; ) {
      const head = this.#chunks[0];
      const taken = head.subarray(0, count - at);
      out.set(taken, at);
      at += taken.length;
      if (taken.length === head.length) this.#chunks.shift();
      else this.#chunks[0] = head.subarray(taken.length);
    }
    this.#available -= count;
    this.bytesRead += count;
    return out;
  }

  async #other(type: number): Promise<void> {
    switch (type) {
      case 1: {
        const head = await this.read(5);
        const colours = await this.read(6 * head.readUInt16BE(3));
        for (let i = 0; i < colours.length; i += 6) {
          this.colourMap.push([0, 2, 4].map((k) => colours.readUInt16BE(i + k)));
        }
        return;
      }
      case 150:
        this.continuousEnds++;
        return;
      case 248: {
        const head = await this.read(8);
        const flags = head.readUInt32BE(3);
        const payload = await this.read(head[7]);
        if ((flags & 0x8000_0000) === 0) this.fenceAnswers.push({ flags, payload });
        else {
          this.fences.push(payload);
          if (!this.mute) this.fence(flags & 3, payload);
        }
        return;
      }
      default:
        throw new Error(`server message ${type}`);
    }
  }

  async #update(): Promise<ReceivedRect[]> {
    const count = (await this.read(3)).readUInt16BE(1);
    const rects: ReceivedRect[] = [];
    for (let i = 0; i < count; i++) {
      const from = this.bytesRead;
      const head = await this.read(12);
      const [x, y, width, height] = [0, 2, 4, 6].map((at) => head.readUInt16BE(at));
      const encoding = head.readInt32BE(8);
      await this.#rect(encoding, x, y, width, height);
      rects.push({ x, y, width, height, encoding, bytes: this.bytesRead - from });
    }
    return rects;
  }

  async #rect(encoding: number, x: number, y: number, width: number, height: number): Promise<void> {
    const inside = x + width <= this.width && y + height <= this.height;
    if (encoding >= 0 && !inside) throw new Error(`rectangle ${x},${y} ${width}x${height} is outside`);
    switch (encoding) {
      case ENC.raw: {
        const data = await this.read(width * height * this.#pixelBytes);
        if (!this.skim) this.#put(x, y, width, height, this.#values(data));
        return;
      }
      case ENC.copyRect: {
        const from = await this.read(4);
        if (!this.skim) this.#copy(from.readUInt16BE(0), from.readUInt16BE(2), x, y, width, height);
        return;
      }
      case ENC.hextile:
        return this.#hextile(x, y, width, height);
      case ENC.tight:
        return this.#tight(x, y, width, height);
      case ENC.zrle: {
        const data = await this.read((await this.read(4)).readUInt32BE());
        if (!this.skim) this.#zrle(await this.#inflate('zrle', data), x, y, width, height);
        return;
      }
      case ENC.desktopSize:
        return this.#resize(width, height);
      case ENC.extendedDesktopSize:
        await this.read(16 * (await this.read(4))[0]);
        this.sizes.push({ reason: x, status: y, width, height });
        if (width !== this.width || height !== this.height) this.#resize(width, height);
        return;
      case ENC.qemuKeys:
        this.extendedKeys = true;
        return;
      case ENC.extendedButtons:
        this.extendedButtons = true;
        return;
      case ENC.pointerMotion:
        this.absolute = x === 1;
        return;
      case ENC.leds:
        this.leds = (await this.read(1))[0];
        return;
      default:
        throw new Error(`encoding ${encoding}`);
    }
  }

  #resize(width: number, height: number): void {
    this.width = width;
    this.height = height;
    // What was there is worth nothing.
    this.pixels = new Uint32Array(width * height).fill(0xdead_beef);
  }

  get #pixelBytes(): number {
    return this.format.bitsPerPixel / 8;
  }

  #put(x: number, y: number, width: number, height: number, values: ArrayLike<number>): void {
    for (let row = 0; row < height; row++) {
      for (let i = 0; i < width; i++) this.pixels[(y + row) * this.width + x + i] = values[row * width + i];
    }
  }

  #copy(fromX: number, fromY: number, x: number, y: number, width: number, height: number): void {
    const values = new Uint32Array(width * height);
    for (let row = 0; row < height; row++) {
      const at = (fromY + row) * this.width + fromX;
      values.set(this.pixels.subarray(at, at + width), row * width);
    }
    this.#put(x, y, width, height, values);
  }

  #values(bytes: Buffer): number[] {
    const size = this.#pixelBytes;
    return Array.from({ length: bytes.length / size }, (_, i) =>
      this.format.bigEndian ? bytes.readUIntBE(i * size, size) : bytes.readUIntLE(i * size, size),
    );
  }

  async #hextile(x0: number, y0: number, width: number, height: number): Promise<void> {
    let background = 0;
    let foreground = 0;
    const pixel = async (): Promise<number> => this.#values(await this.read(this.#pixelBytes))[0];
    for (let y = y0; y < y0 + height; y += 16) {
      for (let x = x0; x < x0 + width; x += 16) {
        const w = Math.min(16, x0 + width - x);
        const h = Math.min(16, y0 + height - y);
        const mask = (await this.read(1))[0];
        if (mask & 1) {
          this.#put(x, y, w, h, this.#values(await this.read(w * h * this.#pixelBytes)));
          continue;
        }
        if (mask & 2) background = await pixel();
        if (mask & 4) foreground = await pixel();
        this.#put(x, y, w, h, new Array(w * h).fill(background));
        if ((mask & 8) === 0) continue;
        const count = (await this.read(1))[0];
        for (let i = 0; i < count; i++) {
          const colour = mask & 16 ? await pixel() : foreground;
          const [place, size] = await this.read(2);
          const [sw, sh] = [(size >> 4) + 1, (size & 15) + 1];
          if ((place >> 4) + sw > w || (place & 15) + sh > h)
            throw new Error('subrectangle outside its tile');
          this.#put(x + (place >> 4), y + (place & 15), sw, sh, new Array(sw * sh).fill(colour));
        }
      }
    }
  }

  #zrle(data: Buffer, x0: number, y0: number, width: number, height: number): void {
    const { red, green, blue, bitsPerPixel, depth, bigEndian } = this.format;
    const top = Math.max(...[red, green, blue].map(({ max, shift }) => max * 2 ** shift));
    const bottom = Math.min(red.shift, green.shift, blue.shift);
    const small = bitsPerPixel === 32 && depth <= 24 && (top < 2 ** 24 || bottom >= 8);
    let at = 0;
    const byte = (): number => {
      if (at >= data.length) throw new Error('ZRLE data end early');
      return data[at++];
    };
    const pixel = (): number => {
      if (!small) {
        at += this.#pixelBytes;
        return this.#values(data.subarray(at - this.#pixelBytes, at))[0];
      }
      at += 3;
      const value = bigEndian ? data.readUIntBE(at - 3, 3) : data.readUIntLE(at - 3, 3);
      return top < 2 ** 24 ? value : value * 256;
    };
    const runLength = (): number => {
      let length = 1;
      for (;;) {
        const more = byte();
        length += more;
        if (more !== 255) return length;
      }
    };
    for (let y = y0; y < y0 + height; y += 64) {
      for (let x = x0; x < x0 + width; x += 64) {
        const w = Math.min(64, x0 + width - x);
        const h = Math.min(64, y0 + height - y);
        const kind = byte();
        const values: number[] = [];
        if (kind === 0) {
          for (let i = 0; i < w * h; i++) values.push(pixel());
        } else if (kind === 1) {
          values.push(...new Array(w * h).fill(pixel()));
        } else if (kind <= 16) {
          const palette = Array.from({ length: kind }, pixel);
          const bits = kind === 2 ? 1 : kind <= 4 ? 2 : 4;
          for (let row = 0; row < h; row++) {
            let left = 0;
            let packed = 0;
            for (let i = 0; i < w; i++) {
              if (left === 0) {
                packed = byte();
                left = 8;
              }
              left -= bits;
              values.push(palette[(packed >> left) & ((1 << bits) - 1)]);
            }
          }
        } else if (kind === 128) {
          while (values.length < w * h) {
            const value = pixel();
            values.push(...new Array(runLength()).fill(value));
          }
        } else if (kind >= 130) {
          const palette = Array.from({ length: kind - 128 }, pixel);
          while (values.length < w * h) {
            const index = byte();
            const value = palette[index & 0x7f];
            if (value === undefined) throw new Error('index outside the palette');
            values.push(...new Array(index & 0x80 ? runLength() : 1).fill(value));
          }
        } else {
          throw new Error(`ZRLE tile of kind ${kind}`);
        }
        if (values.length !== w * h) throw new Error('a run beyond its tile');
        this.#put(x, y, w, h, values);
      }
    }
    if (at !== data.length) throw new Error('more ZRLE data than tiles');
  }

  async #tight(x: number, y: number, width: number, height: number): Promise<void> {
    if (width > 2048) throw new Error('a Tight rectangle wider than 2048');
    const { red, green, blue, depth, bitsPerPixel, bigEndian } = this.format;
    const channels = [red, green, blue];
    const small = bitsPerPixel === 32 && depth === 24 && channels.every(({ max }) => max === 255);
    const size = small ? 3 : this.#pixelBytes;
    const values = (bytes: Buffer): number[] =>
      Array.from({ length: bytes.length / size }, (_, i) => {
        if (small) return channels.reduce((sum, { shift }, k) => sum + bytes[3 * i + k] * 2 ** shift, 0);
        return bigEndian ? bytes.readUIntBE(i * size, size) : bytes.readUIntLE(i * size, size);
      });
    const control = (await this.read(1))[0];
    if (this.skim) return this.#skimTight(control, width, height, size);
    for (let stream = 0; stream < 4; stream++) {
      if (control & (1 << stream)) this.#inflaters.delete(`tight ${stream}`);
    }
    const kind = control >> 4;
    if (kind === 8) {
      this.#put(x, y, width, height, new Array(width * height).fill(values(await this.read(size))[0]));
      return;
    }
    if (kind === 9) {
      const rgb = await decodeJpeg(await this.read(await this.#compactLength()), width, height);
      this.jpegRects++;
      const scaled = (i: number, { max, shift }: { max: number; shift: number }): number =>
        Math.round((rgb[i] * max) / 255) * 2 ** shift;
      const put = Array.from({ length: width * height }, (_, i) =>
        channels.reduce((sum, channel, k) => sum + scaled(3 * i + k, channel), 0),
      );
      this.#put(x, y, width, height, put);
      return;
    }
    if (kind > 7) throw new Error(`Tight rectangle of kind ${kind}`);
    const filter = kind & 4 ? (await this.read(1))[0] : 0;
    const stream = `tight ${kind & 3}`;
    if (filter === 0) {
      const data = await this.#tightData(stream, width * height * size);
      this.#put(x, y, width, height, values(data));
      return;
    }
    if (filter !== 1) throw new Error(`Tight filter ${filter}`);
    const count = (await this.read(1))[0] + 1;
    const palette = values(await this.read(count * size));
    if (count === 2) {
      const pitch = Math.ceil(width / 8);
      const data = await this.#tightData(stream, pitch * height);
      const bit = (i: number): number => {
        const column = i % width;
        return (data[Math.floor(i / width) * pitch + (column >> 3)] >> (7 - (column & 7))) & 1;
      };
      this.#put(
        x,
        y,
        width,
        height,
        Array.from({ length: width * height }, (_, i) => palette[bit(i)]),
      );
      return;
    }
    const data = await this.#tightData(stream, width * height);
    this.#put(
      x,
      y,
      width,
      height,
      Array.from(data, (index) => palette[index]),
    );
  }

  async #skimTight(control: number, width: number, height: number, size: number): Promise<void> {
    const kind = control >> 4;
    if (kind === 8) return void (await this.read(size));
    let length = width * height * size;
    if (kind !== 9 && (kind & 4) !== 0 && (await this.read(1))[0] === 1) {
      const colours = (await this.read(1))[0] + 1;
      await this.read(colours * size);
      length = (colours === 2 ? Math.ceil(width / 8) : width) * height;
    }
    await this.read(kind !== 9 && length < 12 ? length : await this.#compactLength());
  }

  async #tightData(stream: string, length: number): Promise<Buffer> {
    if (length < 12) return this.read(length);
    const data = await this.#inflate(stream, await this.read(await this.#compactLength()));
    if (data.length !== length) throw new Error(`${data.length} bytes of Tight data where ${length} belong`);
    return data;
  }

  async #compactLength(): Promise<number> {
    let length = 0;
    for (let shift = 0; shift < 21; shift += 7) {
      const byte = (await this.read(1))[0];
      if (shift === 14) return length | (byte << 14);
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) return length;
    }
    return length;
  }

  async #inflate(name: string, data: Buffer): Promise<Buffer> {
    let inflater = this.#inflaters.get(name);
    if (inflater === undefined) {
      inflater = createInflate();
      this.#inflaters.set(name, inflater);
    }
    const stop = new AbortController();
    const failed = once(inflater, 'error', { signal: stop.signal }).then(([error]) => {
      throw error;
    });
    failed.catch(() => {});
    const parts: Buffer[] = [];
    const take = (): void => {
      for (let part = inflater.read(); part !== null; part = inflater.read()) parts.push(part);
    };
    inflater.on('readable', take);
    await Promise.race([new Promise<void>((resolve) => void inflater.write(data, () => resolve())), failed]);
    take();
    stop.abort();
    inflater.off('readable', take);
    return Buffer.concat(parts);
  }
}

function area(type: number, flag: number, x: number, y: number, width: number, height: number): Buffer {
  const m = Buffer.alloc(10);
  m[0] = type;
  m[1] = flag;
  [x, y, width, height].forEach((value, i) => void m.writeUInt16BE(value, 2 + 2 * i));
  return m;
}

async function decodeJpeg(file: Buffer, width: number, height: number): Promise<Uint8Array> {
  const load = createRequire(import.meta.url)('@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs');
  const decoder = new (await load()).JPEGDecoder();
  decoder.getEncodedBuffer(file.length).set(file);
  decoder.decode();
  const frame = decoder.getFrameInfo();
  if (frame.width !== width || frame.height !== height) throw new Error('a JPEG of another size');
  return Uint8Array.from(decoder.getDecodedBuffer());
}
