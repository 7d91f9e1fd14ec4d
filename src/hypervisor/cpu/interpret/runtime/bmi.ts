import type { FunctionRef } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I64 } from '../../wasm/opcodes.ts';
import { i64, select } from '../../wasm/value.ts';

/**
 * Runtime functions of BMI2's bit deposit and extract (SDM vol. 2, PDEP and
 * PEXT): (source, mask) → result, one step for each bit of the mask. 32-bit
 * operands come zero-extended.
 */
export function addBmiRuntime(m: ModuleBuilder): Record<string, FunctionRef> {
  const define = (name: string, deposit: boolean): FunctionRef =>
    m.fn(name, [I64, I64], [I64], (f, source, mask) => {
      const result = f.local(I64, 0);
      // The bit of the packed side: of the source when depositing, of the result when extracting.
      const packed = f.local(I64, 1);
      f.block((done) => {
        f.loop((again) => {
          f.brIf(done, mask.eqz());
          const lowest = f.let(mask.and(i64(0).sub(mask)));
          const [from, to] = deposit ? [packed, lowest] : [lowest, packed];
          f.set(result, result.or(select(source.and(from).eqz(), i64(0), to)));
          f.set(packed, packed.shl(1n));
          f.set(mask, mask.xor(lowest));
          f.br(again);
        });
      });
      f.return(result);
    });
  return { bitDeposit: define('bitDeposit', true), bitExtract: define('bitExtract', false) };
}
