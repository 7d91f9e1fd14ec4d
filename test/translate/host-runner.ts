import {
  createHostCpu,
  createHostState,
  type HostCpu,
  type HostFault,
  type HostState,
  hostCpuUnavailable,
} from '../native/host-cpu.ts';
import { hostMemory, mapHostPages, PROT, protectHostPages } from '../native/host-pages.ts';
import {
  CODE,
  CODE_BYTES,
  DATA,
  DATA_AREAS,
  DATA_BYTES,
  HOST_CODE,
  HOST_SCRATCH,
  RESERVE,
} from './places.ts';
import type { Program } from './program.ts';

/** Runs whole programs on the host's own processor. One a process. */
export class HostRunner {
  readonly after: HostState = createHostState();
  readonly #host: HostCpu;
  readonly #code: Uint8Array;
  readonly #areas: readonly Uint8Array[];

  /** `data` is the first state of the data; what is only to be read stays so. Throws when the host cannot. */
  constructor(data: Uint8Array) {
    const host = createHostCpu({ codeAddress: HOST_CODE, memoryAddress: HOST_SCRATCH, memoryBytes: 4096 });
    if (!host) throw new Error(hostCpuUnavailable() ?? 'the host processor is not available');
    this.#host = host;
    mapHostPages(CODE, CODE_BYTES, PROT.all);
    this.#code = new Uint8Array(hostMemory(CODE, CODE_BYTES));
    mapHostPages(DATA - RESERVE, RESERVE * 2 + DATA_BYTES, PROT.none);
    this.#areas = DATA_AREAS.map(({ offset, bytes, readOnly }) => {
      const address = DATA + offset;
      protectHostPages(address, bytes, PROT.readWrite);
      const view = new Uint8Array(hostMemory(address, bytes));
      view.set(data.subarray(offset, offset + bytes));
      if (readOnly) protectHostPages(address, bytes, PROT.read);
      return view;
    });
    // DS and ES as Linux gives them to 32-bit programs: mov ds, eax; mov es, eax.
    const state = createHostState();
    state.gpr[0] = 0x2bn;
    const result = this.#host.run(Uint8Array.of(0x8e, 0xd8, 0x8e, 0xc0), state);
    if (result.fault) throw new Error(`the host's segments cannot be set: exception ${result.fault.vector}`);
  }

  /** Whether an exception at an address comes on the host, too. */
  static isShared(address: bigint): boolean {
    const at = Number(BigInt.asUintN(64, address));
    return at >= DATA - RESERVE && at < DATA + DATA_BYTES + RESERVE;
  }

  /** Runs a program that is known to end, or to fault. */
  run(program: Program, data: Uint8Array): HostFault | undefined {
    const code = this.#code;
    code.fill(0);
    code.set(program.code, program.at - CODE);
    for (const [n, { offset, bytes, readOnly }] of DATA_AREAS.entries())
      if (!readOnly) this.#areas[n]?.set(data.subarray(offset, offset + bytes));
    for (const { offset, bytes } of program.patches) this.#areas[0]?.set(bytes, offset);
    const end = program.end - CODE;
    const view = new DataView(code.buffer, code.byteOffset, code.length);
    if (program.mode === 64) {
      code[end] = 0xe9;
      view.setInt32(end + 1, HOST_CODE + 5 - (program.end + 5), true);
      const entry = new DataView(new ArrayBuffer(5));
      entry.setUint8(0, 0xe9);
      entry.setInt32(1, program.start - (HOST_CODE + 5), true);
      this.#host.load(new Uint8Array(entry.buffer));
    } else {
      // jmp far to the 32-bit code segment, and back behind the pointer.
      const entry = new DataView(new ArrayBuffer(12));
      entry.setUint16(0, 0x2dff, true);
      entry.setUint32(6, program.start, true);
      entry.setUint16(10, 0x23, true);
      this.#host.load(new Uint8Array(entry.buffer));
      code[end] = 0xea;
      view.setUint32(end + 1, HOST_CODE + 12, true);
      view.setUint16(end + 5, 0x33, true);
    }
    return this.#host.runLoaded(program, this.after);
  }

  get code(): Uint8Array {
    return this.#code;
  }
  area(n: number): Uint8Array {
    const area = this.#areas[n];
    if (!area) throw new RangeError(`no area ${n}`);
    return area;
  }
}
