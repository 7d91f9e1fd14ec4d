import type { Decoder } from '../../src/hypervisor/cpu/decode/decoder.ts';
import type { addCore } from '../../src/hypervisor/cpu/interpret/core.ts';
import { S, TLB } from '../../src/hypervisor/cpu/layout.ts';
import type { FunctionRef } from '../../src/hypervisor/cpu/wasm/function.ts';
import type { ModuleBuilder } from '../../src/hypervisor/cpu/wasm/module.ts';
import { I32 } from '../../src/hypervisor/cpu/wasm/opcodes.ts';

/** What `run` gives when a handler recorded an exception. */
export const LEAVE_FAULT = 1;

/** What the interpreter's core asks of the outside, declared as imports: see `NOTHING_OUTSIDE`. */
export function importOutside(m: ModuleBuilder): Parameters<typeof addCore>[1] {
  const imported = (name: string, params: number, results: number): FunctionRef =>
    m.importFunction(
      'env',
      name,
      new Array<typeof I32>(params).fill(I32),
      new Array<typeof I32>(results).fill(I32),
    );
  return {
    mmioRead: imported('mmioRead', 2, 0),
    mmioWrite: imported('mmioWrite', 2, 0),
    invalidate: imported('invalidate', 2, 0),
    codePage: imported('codePage', 1, 1),
    decode: imported('decode', 0, 1),
    fault: imported('fault', 0, 1),
    system: imported('system', 0, 1),
  };
}

const ignore = (): number => 0;
/** The imports of a module whose handlers run one at a time, without an engine around them. */
export const NOTHING_OUTSIDE = {
  mmioRead: ignore,
  mmioWrite: ignore,
  invalidate: ignore,
  codePage: ignore,
  decode: ignore,
  fault: ignore,
  system: ignore,
} as const;

/** Empties the first view of the TLB and maps pages there, each `addend` bytes further on in the module's memory. */
export function mapPages(view: DataView, first: number, bytes: number, addend: number): void {
  new Uint8Array(view.buffer, TLB.base, TLB.entries * TLB.stride).fill(255);
  view.setUint32(S.tlbView, TLB.base, true);
  for (let page = first; page < first + bytes; page += 4096) {
    const entry = TLB.base + ((page >>> 12) % TLB.entries) * TLB.stride;
    view.setBigUint64(entry + TLB.readTag, BigInt(page), true);
    view.setBigUint64(entry + TLB.writeTag, BigInt(page), true);
    view.setInt32(entry + TLB.addend, addend, true);
  }
}

/** Decodes an instruction of exactly these bytes; gives its handler's number. Throws when there is none. */
export function decodeWhole(
  decoder: Decoder,
  code: Uint8Array,
  mode: Parameters<Decoder['decode']>[3],
): number {
  const decoded = decoder.decode(code, 0, code.length, mode);
  const name = Buffer.from(code).toString('hex');
  if (decoded !== 'ok' || decoder.length !== code.length) throw new Error(`${name} decodes as ${decoded}`);
  const handler = decoder.handler(mode);
  if (handler === 0) throw new Error(`no handler for ${name}: ${decoder.encoding?.text}`);
  return handler;
}

/** The x87 or MMX registers of an FXSAVE image (SDM vol. 1, table 10-3), with ST(0) in register `top`. */
export function loadStack(view: DataView, fx: DataView, top: number): void {
  for (let i = 0; i < 8; i++) {
    const at = S.fpr + ((top + i) & 7) * 16;
    view.setBigUint64(at, fx.getBigUint64(32 + i * 16, true), true);
    view.setUint16(at + 8, fx.getUint16(40 + i * 16, true), true);
  }
}

/** The other way round. */
export function storeStack(view: DataView, fx: DataView, top: number): void {
  for (let i = 0; i < 8; i++) {
    const at = S.fpr + ((top + i) & 7) * 16;
    fx.setBigUint64(32 + i * 16, view.getBigUint64(at, true), true);
    fx.setUint16(40 + i * 16, view.getUint16(at + 8, true), true);
  }
}
