import { S } from '../../layout.ts';
import { I32, type LoadName, type StoreName } from '../../wasm/opcodes.ts';
import { i32, i64 } from '../../wasm/value.ts';
import type { Builder, Size, Val } from '../builder.ts';
import { type Instruction, instruction } from '../rows.ts';
import { maskAddress, setAddressRegister } from './move.ts';
import { opcodeHex } from './names.ts';

const RCX = 1,
  RSI = 6,
  RDI = 7;
const DIRECTION = 0x400;

/**
 * Repetitions before the instruction gives way to interrupts and starts again
 * where it was: as many one by one as in bulk, for which of the two it is
 * depends on the TLB, and the count of instructions must not.
 */
const REPETITIONS = 16384;
/** What giving way costs the slice, in instructions. */
const CHARGE = 2500;

interface StringOperation {
  readonly source: boolean;
  readonly destination: boolean;
  /** One repetition; addresses are linear. `finished` for SCAS and CMPS: what ends a REPE or REPNE. */
  readonly body: (b: Builder, size: Size, from: () => Val, to: () => Val) => void;
  readonly compares: boolean;
  /** Moves many elements at once: bytes done, i32; 0 when it has to go one by one. */
  readonly bulk?: (b: Builder, size: Size, from: () => Val, to: () => Val, bytes: Val) => Val;
}

const LOAD: Partial<Record<Size, LoadName>> = {
  8: 'i32.load8_u',
  16: 'i32.load16_u',
  32: 'i32.load',
  64: 'i64.load',
};
const STORE: Partial<Record<Size, StoreName>> = {
  8: 'i32.store8',
  16: 'i32.store16',
  32: 'i32.store',
  64: 'i64.store',
};
const load = (size: Size): LoadName => LOAD[size] ?? 'i64.load';
const store = (size: Size): StoreName => STORE[size] ?? 'i64.store';

/** The whole of a string instruction: repetition, index registers, restart after a fault or a pause. */
function stringInstruction(b: Builder, size: Size, operation: StringOperation): void {
  const bytes = size / 8;
  const prefix = b.repPrefix();
  const forward = b.let(b.state('i32.load', S.eflags).and(DIRECTION).eqz());
  const step = b.let(b.select(forward, i64(BigInt(bytes)), i64(BigInt(-bytes))));
  const from = (): Val => b.segmented('record', maskAddress(b, b.gpr(RSI, 64)), bytes, 'r');
  const to = (): Val =>
    b.segmented(
      'es',
      maskAddress(b, b.gpr(RDI, 64)),
      bytes,
      operation.body === scan || operation.body === compare ? 'r' : 'w',
    );
  const advance = (by: Val): void => {
    if (operation.source) setAddressRegister(b, RSI, b.let(b.gpr(RSI, 64).add(by)));
    if (operation.destination) setAddressRegister(b, RDI, b.let(b.gpr(RDI, 64).add(by)));
  };
  // Known beforehand where it is translated.
  if (prefix.known === 0) {
    operation.body(b, size, from, to);
    return advance(step);
  }
  const rep = b.let(prefix);
  // While single-stepping, every repetition is a step of its own.
  const single = b.let(b.state('i32.load', S.stepping));
  const left = b.local(I32, b.select(single, i32(1), i32(REPETITIONS)));
  // Else a slice of so many instructions could last for seconds.
  const giveWay = (): void => {
    b.setState('i32.store', S.budget, b.state('i32.load', S.budget).sub(CHARGE));
    b.setState('i32.store', S.charge, b.state('i32.load', S.charge).add(CHARGE));
    // Not by a jump: a region that has this instruction called would be entered within itself.
    b.again();
  };
  b.block((done) => {
    b.if(rep.ne(0).and(maskAddress(b, b.gpr(RCX, 64)).eqz()), () => b.br(done));
    b.loop((again) => {
      if (operation.bulk) {
        const bulk = operation.bulk;
        b.if(rep.ne(0).and(forward).and(single.eqz()), () => {
          const count = maskAddress(b, b.gpr(RCX, 64));
          const most = b.let(left.extendU());
          const few = b.let(b.select(count.gtU(most), most, count));
          b.if(few.geU(BigInt(8 / bytes)), () => {
            const moved = b.let(bulk(b, size, from, to, few.wrap().mul(bytes)));
            b.if(moved, () => {
              advance(b.let(moved.extendU()));
              const rest = b.let(count.sub(moved.divU(bytes).extendU()));
              setAddressRegister(b, RCX, rest);
              b.if(rest.eqz(), () => b.br(done));
              b.set(left, left.sub(moved.divU(bytes)));
              b.if(left.leS(0), () => giveWay());
              b.br(again);
            });
          });
        });
      }
      operation.body(b, size, from, to);
      advance(step);
      b.if(rep.eqz(), () => b.br(done));
      const count = b.let(maskAddress(b, b.gpr(RCX, 64).sub(1n)));
      setAddressRegister(b, RCX, count);
      b.if(count.eqz(), () => b.br(done));
      // REPE (2) ends at inequality, REPNE (1) at equality.
      if (operation.compares) b.if(b.condition(4).eq(rep.shrU(1)).eqz(), () => b.br(done));
      b.set(left, left.sub(1));
      b.brIf(again, left.gtS(0));
      b.if(single, () => b.jump(b.thisRip()));
      giveWay();
    });
  });
}

function compare(b: Builder, size: Size, from: () => Val, to: () => Val): void {
  const x = b.load(load(size), from());
  const y = b.load(load(size), to());
  b.flagsSub(size, b.let(x.sub(y)), x, y);
}

function scan(b: Builder, size: Size, _from: () => Val, to: () => Val): void {
  const x = b.gpr(0, size);
  const y = b.load(load(size), to());
  b.flagsSub(size, b.let(x.sub(y)), x, y);
}

const MOVS: StringOperation = {
  source: true,
  destination: true,
  compares: false,
  body: (b, size, from, to) => b.store(store(size), to(), b.load(load(size), from())),
  bulk: (b, size, from, to, bytes) => b.call('bulkCopy', to(), from(), i32(size / 8), bytes),
};
const STOS: StringOperation = {
  source: false,
  destination: true,
  compares: false,
  body: (b, size, _from, to) => b.store(store(size), to(), b.gpr(0, size)),
  bulk: (b, size, _from, to, bytes) => b.call('bulkFill', to(), b.gpr(0, 64), i32(size / 8), bytes),
};
const LODS: StringOperation = {
  source: true,
  destination: false,
  compares: false,
  body: (b, size, from) => b.setGpr(0, size, b.load(load(size), from())),
};
const SCAS: StringOperation = { source: false, destination: true, compares: true, body: scan };
const CMPS: StringOperation = { source: true, destination: true, compares: true, body: compare };

function pair(name: string, opcode: number, operation: StringOperation): Instruction[] {
  return [
    instruction(`${name}b`, opcodeHex(opcode), (b) => stringInstruction(b, 8, operation)),
    instruction(name, opcodeHex(opcode + 1), (b) => stringInstruction(b, b.opsize, operation)),
  ];
}

export const stringInstructions: readonly Instruction[] = [
  ...pair('movs', 0xa4, MOVS),
  ...pair('cmps', 0xa6, CMPS),
  ...pair('stos', 0xaa, STOS),
  ...pair('lods', 0xac, LODS),
  ...pair('scas', 0xae, SCAS),
];
