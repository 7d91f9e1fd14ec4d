import { CODE64, Decoder } from '../../src/hypervisor/cpu/decode/decoder.ts';
import {
  type Encoding,
  FORM,
  type FormKind,
  handlerKey,
  OpcodeTable,
} from '../../src/hypervisor/cpu/decode/encoding.ts';
import { readRflags, writeRflags } from '../../src/hypervisor/cpu/flags.ts';
import { InterpreterBuilder } from '../../src/hypervisor/cpu/interpret/builder.ts';
import { addCore } from '../../src/hypervisor/cpu/interpret/core.ts';
import { addX87Runtime } from '../../src/hypervisor/cpu/interpret/runtime/x87.ts';
import { X87_INSTRUCTIONS } from '../../src/hypervisor/cpu/isa/x87.ts';
import { CS, gpr, RAM, RECORD, RECORDS, S, SEG, segment } from '../../src/hypervisor/cpu/layout.ts';
import type { FunctionRef } from '../../src/hypervisor/cpu/wasm/function.ts';
import { ModuleBuilder } from '../../src/hypervisor/cpu/wasm/module.ts';
import { I32, I64 } from '../../src/hypervisor/cpu/wasm/opcodes.ts';
import {
  decodeWhole,
  importOutside,
  LEAVE_FAULT,
  loadStack,
  mapPages,
  NOTHING_OUTSIDE,
  storeStack,
} from './handler-bed.ts';
import type { HostState } from './host-cpu.ts';

/**
 * The x87 rows' own handlers, one instruction at a time in 64-bit mode, over
 * memory at the addresses that the host's processor is given.
 */
export interface X87Testbed {
  readonly table: OpcodeTable;
  readonly view: DataView;
  /** Guest memory at `memoryAddress`. */
  readonly memory: Uint8Array;
  /** Runs the instruction; `after` gets the state, the result is the vector of an exception. */
  run(code: Uint8Array, before: HostState, after: HostState): number | undefined;
  /** Runs a loaded handler `times` times over one state, for timing. */
  repeat(code: Uint8Array, before: HostState, times: number): void;
}

function generate(table: OpcodeTable): { bytes: Uint8Array<ArrayBuffer>; stop: number } {
  const m = new ModuleBuilder();
  m.importMemory('env', 'memory', 1, 65536);
  const core = addCore(m, importOutside(m));
  // Guest memory is flat here: an address is translated by subtraction.
  const readable = m.fn('flatReadable', [I64, I32], [I32], (f) =>
    f.return(f.params[0]!.wrap().add(RAM - BASE)),
  );
  const writable = m.fn('flatWritable', [I64, I32, I32], [I32], (f) =>
    f.return(f.params[0]!.wrap().add(RAM - BASE)),
  );
  const commit = m.fn('flatCommit', [], [], () => undefined);
  const runtime = new Map(Object.entries(addX87Runtime(m, { readable, writable, commit })));
  runtime.set(
    'unitFault',
    m.fn('unitFault', [I32], [I32], (f) => f.return(1)),
  );
  runtime.set(
    'probeWrite',
    m.fn('probeWrite', [I64, I32], [I32], (f) => f.return(0)),
  );
  for (const encoding of table.encodings) {
    for (const opsize of [16, 32, 64] as const) {
      for (const form of [FORM.register, FORM.base] as const)
        generateForm(m, encoding, opsize, form, core, runtime);
    }
  }
  return { bytes: m.finish({ names: true }), stop: core.slots.stop };
}

/** Lowest address that tested code and data have. */
const BASE = 0x6ff0_0000;

function generateForm(
  m: ModuleBuilder,
  encoding: Encoding,
  opsize: 16 | 32 | 64,
  form: FormKind,
  core: ReturnType<typeof addCore>,
  runtime: ReadonlyMap<string, FunctionRef>,
): void {
  const memory = encoding.mod === 'mem';
  if (memory !== (form === FORM.base)) return;
  const ref = m.declare(encoding.text, [I32], [I32]);
  m.define(ref, (f) =>
    new InterpreterBuilder(f, { encoding, long: true, opsize, form }, core, runtime, () => 0).emit(),
  );
  encoding.handlers[handlerKey(true, opsize, form)] = m.element(ref);
}

/** FXSAVE64 image to the state block (SDM vol. 1, table 10-3). */
function loadFx(view: DataView, fx: DataView): void {
  const status = fx.getUint16(2, true);
  const top = (status >> 11) & 7;
  const control = fx.getUint16(0, true);
  const pending = (status & ~control & 0x3f) !== 0;
  view.setUint32(S.fpuControl, control, true);
  view.setUint32(S.fpuStatus, (status & 0x477f) | (pending ? 0x8080 : 0), true);
  view.setUint32(S.fpuTop, top, true);
  view.setUint32(S.fpuEmpty, fx.getUint8(4) ^ 255, true);
  view.setUint32(S.fpuOpcode, fx.getUint16(6, true), true);
  view.setBigUint64(S.fpuIp, fx.getBigUint64(8, true), true);
  view.setBigUint64(S.fpuDp, fx.getBigUint64(16, true), true);
  loadStack(view, fx, top);
}

function storeFx(view: DataView, fx: DataView): void {
  const top = view.getUint32(S.fpuTop, true);
  fx.setUint16(0, view.getUint32(S.fpuControl, true), true);
  fx.setUint16(2, view.getUint32(S.fpuStatus, true) | (top << 11), true);
  fx.setUint8(4, view.getUint32(S.fpuEmpty, true) ^ 255);
  fx.setUint16(6, view.getUint32(S.fpuOpcode, true), true);
  fx.setBigUint64(8, view.getBigUint64(S.fpuIp, true), true);
  fx.setBigUint64(16, view.getBigUint64(S.fpuDp, true), true);
  storeStack(view, fx, top);
}

/** `memoryBytes` of guest memory appear at `memoryAddress`, the tested code at `codeAddress`. */
export function createX87Testbed(
  codeAddress: number,
  memoryAddress: number,
  memoryBytes: number,
): X87Testbed {
  if (codeAddress < BASE || memoryAddress < BASE) throw new RangeError('tested addresses start at BASE');
  const table = new OpcodeTable(X87_INSTRUCTIONS);
  const { bytes, stop } = generate(table);
  const pages = (RAM + (memoryAddress - BASE) + memoryBytes) / 65536 + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: 65536, shared: true });
  const env = { memory, ...NOTHING_OUTSIDE };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env });
  const functions = instance.exports['table'] as WebAssembly.Table;
  const view = new DataView(memory.buffer);
  const record = RECORDS.base;
  const decoder = new Decoder(table);
  const codeBytes = new Uint8Array(memory.buffer, RAM + codeAddress - BASE, 64);

  view.setUint32(S.codeMode, 2, true);
  view.setUint32(S.cr0, 0x23, true);
  view.setUint32(segment(CS) + SEG.attributes, 0xa09b, true);
  view.setBigUint64(S.pageBase, BigInt(codeAddress), true);
  mapPages(view, memoryAddress, memoryBytes, RAM - BASE);

  const prepare = (code: Uint8Array, before: HostState): ((record: number) => number) => {
    const handler = decodeWhole(decoder, code, CODE64);
    codeBytes.set(code);
    decoder.write(view, record, 0, 0);
    view.setUint16(record + RECORD.handler, handler, true);
    view.setUint16(record + RECORDS.bytes + RECORD.handler, stop, true);
    for (let i = 0; i < 16; i++) view.setBigUint64(gpr(i), before.gpr[i] ?? 0n, true);
    loadFx(view, new DataView(before.fx.buffer, before.fx.byteOffset));
    writeRflags(view, before.rflags);
    return functions.get(handler) as (record: number) => number;
  };
  return {
    table,
    view,
    memory: new Uint8Array(memory.buffer, RAM + memoryAddress - BASE, memoryBytes),
    run(code, before, after) {
      const handler = prepare(code, before);
      const left = handler(record);
      for (let i = 0; i < 16; i++) after.gpr[i] = view.getBigUint64(gpr(i), true);
      after.rflags = readRflags(view);
      after.fx.set(before.fx);
      storeFx(view, new DataView(after.fx.buffer, after.fx.byteOffset));
      return left === LEAVE_FAULT ? view.getUint32(S.faultVector, true) : undefined;
    },
    repeat(code, before, times) {
      const handler = prepare(code, before);
      for (let i = 0; i < times; i++) handler(record);
    },
  };
}
