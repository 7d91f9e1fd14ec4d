import { CODE32, CODE64, type CodeMode, Decoder } from '../../src/hypervisor/cpu/decode/decoder.ts';
import { FORM, type FormKind, handlerKey, OpcodeTable } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { readRflags, writeRflags } from '../../src/hypervisor/cpu/flags.ts';
import { type Form, InterpreterBuilder } from '../../src/hypervisor/cpu/interpret/builder.ts';
import { addCore } from '../../src/hypervisor/cpu/interpret/core.ts';
import { addSseRuntime } from '../../src/hypervisor/cpu/interpret/runtime/sse-runtime.ts';
import type { Val } from '../../src/hypervisor/cpu/isa/builder.ts';
import type { Instruction } from '../../src/hypervisor/cpu/isa/rows.ts';
import { CS, gpr, RAM, RECORD, RECORDS, S, SEG, segment, xmm } from '../../src/hypervisor/cpu/layout.ts';
import type { FunctionBuilder } from '../../src/hypervisor/cpu/wasm/function.ts';
import { ModuleBuilder } from '../../src/hypervisor/cpu/wasm/module.ts';
import { I32, I64, type ValType } from '../../src/hypervisor/cpu/wasm/opcodes.ts';
import { constant } from '../../src/hypervisor/cpu/wasm/value.ts';
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
 * Runs single instructions of a list of rows in 64-bit mode, without an engine around them: each row's handler is
 * called on a record of its own, over the same registers and memory that the host's processor gets.
 */
export interface Testbed {
  readonly table: OpcodeTable;
  /** Guest memory that lies at `memoryAddress` of the instructions. */
  readonly memory: Uint8Array;
  readonly view: DataView;
  /** The handlers, by the number in a record. */
  readonly functions: WebAssembly.Table;
  /** Decodes and runs one instruction from `before`; gives the state after it and the exception, if any. */
  run(code: Uint8Array, before: HostState): TestbedResult;
  /** The same in 32-bit protected mode, all segments flat. */
  run32(code: Uint8Array, before: HostState): TestbedResult;
}

export interface TestbedResult extends HostState {
  fault?: { vector: number; errorCode: number | undefined };
}

const LONG_KINDS: readonly FormKind[] = [FORM.register, FORM.base];
const LEGACY_KINDS: readonly FormKind[] = [FORM.register, FORM.base, FORM.general];

function generate(
  table: OpcodeTable,
  immediate: number | undefined,
): { bytes: Uint8Array<ArrayBuffer>; stop: number } {
  const m = new ModuleBuilder();
  m.importMemory('env', 'memory', 1, 65536);
  const core = addCore(m, importOutside(m));
  const runtime = new Map(Object.entries(addSseRuntime(m)));
  const builder = (f: FunctionBuilder, form: Form): InterpreterBuilder =>
    immediate === undefined
      ? new InterpreterBuilder(f, form, core, runtime, () => 0)
      : new ConstantBuilder(f, form, core, runtime, () => 0, immediate);
  runtime.set(
    'unitFault',
    m.fn('unitFault', [I32], [I32], (f) => f.return(1)),
  );
  for (const encoding of table.encodings) {
    for (const opsize of [16, 32, 64] as const) {
      for (const form of LONG_KINDS) generateForm(m, { encoding, long: true, opsize, form }, builder);
    }
    for (const form of encoding.mode === 'o64' || encoding.rexW === 1 ? [] : LEGACY_KINDS) {
      generateForm(m, { encoding, long: false, opsize: 32, form }, builder);
    }
  }
  return { bytes: m.finish(), stop: core.slots.stop };
}

/** Immediates are constants of the code that it emits. */
class ConstantBuilder extends InterpreterBuilder {
  readonly #immediate: number;
  constructor(...args: [...ConstructorParameters<typeof InterpreterBuilder>, number]) {
    const [f, form, core, runtime, routine, immediate] = args;
    super(f, form, core, runtime, routine);
    this.#immediate = immediate;
  }
  override immediate(_index: number, type: ValType = I64): Val {
    return constant(type, this.#immediate);
  }
}

function generateForm(
  m: ModuleBuilder,
  form: Form,
  builder: (f: FunctionBuilder, form: Form) => InterpreterBuilder,
): void {
  const { encoding } = form;
  const rm = encoding.operands.find((o) => o.what.kind === 'modrm-rm')?.what;
  const memory = rm?.kind === 'modrm-rm' ? rm.memory && encoding.mod !== 'reg' : encoding.mod === 'mem';
  const register = rm?.kind === 'modrm-rm' ? rm.register && encoding.mod !== 'mem' : encoding.mod !== 'mem';
  if (form.form === FORM.register ? !register : !memory) return;
  const ref = m.declare(encoding.text, [I32], [I32]);
  m.define(ref, (f) => builder(f, form).emit());
  encoding.handlers[handlerKey(form.long, form.opsize, form.form)] = m.element(ref);
}

/** FXSAVE64 image to the state block, and back (SDM vol. 1, table 10-3). */
function loadFx(view: DataView, fx: DataView): void {
  const status = fx.getUint16(2, true);
  const top = (status >> 11) & 7;
  view.setUint32(S.fpuControl, fx.getUint16(0, true), true);
  view.setUint32(S.fpuStatus, status & ~0x3800, true);
  view.setUint32(S.fpuTop, top, true);
  view.setUint32(S.fpuEmpty, fx.getUint8(4) ^ 255, true);
  view.setUint32(S.mxcsr, fx.getUint32(24, true), true);
  loadStack(view, fx, top);
  for (let i = 0; i < 16; i += 1) {
    view.setBigUint64(xmm(i), fx.getBigUint64(160 + i * 16, true), true);
    view.setBigUint64(xmm(i) + 8, fx.getBigUint64(168 + i * 16, true), true);
  }
}

function storeFx(view: DataView, fx: DataView): void {
  const top = view.getUint32(S.fpuTop, true);
  fx.setUint16(0, view.getUint32(S.fpuControl, true), true);
  fx.setUint16(2, view.getUint32(S.fpuStatus, true) | (top << 11), true);
  fx.setUint8(4, view.getUint32(S.fpuEmpty, true) ^ 255);
  fx.setUint32(24, view.getUint32(S.mxcsr, true), true);
  storeStack(view, fx, top);
  for (let i = 0; i < 16; i += 1) {
    fx.setBigUint64(160 + i * 16, view.getBigUint64(xmm(i), true), true);
    fx.setBigUint64(168 + i * 16, view.getBigUint64(xmm(i) + 8, true), true);
  }
}

/**
 * `memoryBytes` of guest memory appear at `memoryAddress`; anything else faults. With `immediate`, every immediate
 * is that constant when the handlers are generated, as it is for a translator.
 */
export function createTestbed(
  rows: readonly Instruction[],
  memoryAddress: number,
  memoryBytes: number,
  immediate?: number,
): Testbed {
  const table = new OpcodeTable(rows);
  const { bytes, stop } = generate(table, immediate);
  const memory = new WebAssembly.Memory({
    initial: RAM / 65536 + 16,
    maximum: RAM / 65536 + 16,
    shared: true,
  });
  const env = { memory, ...NOTHING_OUTSIDE };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env });
  const functions = instance.exports['table'] as WebAssembly.Table;
  const view = new DataView(memory.buffer);
  const record = RECORDS.base;
  const decoder = new Decoder(table);

  view.setUint32(S.codeMode, 2, true);
  view.setUint32(S.cr4, (1 << 9) | (1 << 10) | (1 << 18), true);
  view.setUint32(S.cr0, 1, true);
  view.setUint32(S.xcr0, 3, true);
  view.setUint32(segment(CS) + SEG.attributes, 0xa09b, true);
  mapPages(view, memoryAddress, memoryBytes, RAM - memoryAddress);

  const runIn = (mode: CodeMode, code: Uint8Array, before: HostState): TestbedResult => {
    const handler = decodeWhole(decoder, code, mode);
    decoder.write(view, record, 0, 0);
    view.setUint16(record + RECORD.handler, handler, true);
    view.setUint16(record + RECORDS.bytes + RECORD.handler, stop, true);
    for (let i = 0; i < 16; i += 1) view.setBigUint64(gpr(i), before.gpr[i] ?? 0n, true);
    loadFx(view, new DataView(before.fx.buffer, before.fx.byteOffset));
    writeRflags(view, before.rflags);
    view.setUint32(S.faultVector, 0, true);
    view.setUint32(S.faultHasCode, 0, true);
    const left = (functions.get(handler) as (record: number) => number)(record);
    const after: TestbedResult = {
      gpr: new BigUint64Array(16),
      rflags: readRflags(view),
      fx: before.fx.slice(),
    };
    for (let i = 0; i < 16; i += 1) after.gpr[i] = view.getBigUint64(gpr(i), true);
    storeFx(view, new DataView(after.fx.buffer));
    if (left === LEAVE_FAULT) {
      const code = view.getUint32(S.faultHasCode, true) ? view.getUint32(S.faultCode, true) : undefined;
      after.fault = { vector: view.getUint32(S.faultVector, true), errorCode: code };
    }
    return after;
  };
  return {
    table,
    functions,
    memory: new Uint8Array(memory.buffer, RAM, memoryBytes),
    view,
    run: (code, before) => runIn(CODE64, code, before),
    run32: (code, before) => runIn(CODE32, code, before),
  };
}
