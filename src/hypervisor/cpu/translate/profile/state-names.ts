import { gpr, S, xmm } from '../../layout.ts';
import { GPR_NAMES } from '../../system/snapshot.ts';

/** Names of the state block's fields, by address. */
const names = new Map<number, string>();
for (const [name, at] of Object.entries(S)) if (name !== 'gpr' && name !== 'xmm') names.set(at, name);
for (let n = 0; n < 16; n++) {
  names.set(gpr(n), GPR_NAMES[n] ?? '');
  names.set(xmm(n), `xmm${n}`);
}
const addresses = [...names.keys()].sort((a, b) => a - b);
const LAST = Math.max(...addresses);

/** The field of the state block that an address of linear memory lies in, for moduleText: so that the text does not change when they move. */
export function stateName(address: number): string | undefined {
  if (address < S.gpr || address > LAST + 8) return undefined;
  const exact = names.get(address);
  if (exact !== undefined) return exact;
  const base = addresses.findLast((at) => at < address) ?? S.gpr;
  return `${names.get(base)}+${address - base}`;
}
