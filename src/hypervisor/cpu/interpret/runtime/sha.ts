import type { FunctionBuilder, FunctionRef, Local } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I32, V128 } from '../../wasm/opcodes.ts';
import { extractLane, i32, replaceLane, select, simd, type Value } from '../../wasm/value.ts';

/** Runtime functions of the SHA extensions (SDM vol. 2, SHA1… and SHA256…; FIPS 180-4 gives the functions' names). */

const lane = (v: Value, n: number): Value => extractLane('i32x4.extract_lane', v, n);

/** Words by lane, lowest first. */
function words(...values: readonly Value[]): Value {
  return values.reduce(
    (v, word, n) => replaceLane('i32x4.replace_lane', v, n, word),
    simd('i32x4.splat', [i32(0)]),
  );
}

const choose = (x: Value, y: Value, z: Value): Value => x.and(y).xor(x.not().and(z));
const parity = (x: Value, y: Value, z: Value): Value => x.xor(y).xor(z);
const majority = (x: Value, y: Value, z: Value): Value => x.and(y).xor(x.and(z)).xor(y.and(z));
const bigSigma0 = (x: Value): Value => x.rotr(2).xor(x.rotr(13)).xor(x.rotr(22));
const bigSigma1 = (x: Value): Value => x.rotr(6).xor(x.rotr(11)).xor(x.rotr(25));
const sigma0 = (x: Value): Value => x.rotr(7).xor(x.rotr(18)).xor(x.shrU(3));
const sigma1 = (x: Value): Value => x.rotr(17).xor(x.rotr(19)).xor(x.shrU(10));

const letLanes = (f: FunctionBuilder, v: Value): readonly [Local, Local, Local, Local] => [
  f.let(lane(v, 0)),
  f.let(lane(v, 1)),
  f.let(lane(v, 2)),
  f.let(lane(v, 3)),
];

const SHA1_K = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc | 0, 0xca62_c1d6 | 0] as const;

function defineSha1(m: ModuleBuilder): Record<string, FunctionRef> {
  const rounds = m.fn('sha1Rounds', [V128, V128, I32], [V128], (f, state, message, kind) => {
    let [d, c, b, a] = letLanes(f, state);
    const messages = [...letLanes(f, message)].reverse();
    const [k0, k1, k2, k3] = SHA1_K;
    const k = f.let(
      select(kind.and(2), select(kind.and(1), i32(k3), i32(k2)), select(kind.and(1), i32(k1), i32(k0))),
    );
    let e: Local | undefined;
    for (const word of messages) {
      const mixed = select(
        kind.and(1),
        parity(b, c, d),
        select(kind.and(2), majority(b, c, d), choose(b, c, d)),
      );
      // The first word has E added already, by SHA1NEXTE.
      const sum = mixed.add(a.rotl(5)).add(word).add(k);
      const next = f.let(e ? sum.add(e) : sum);
      e = d;
      d = c;
      c = f.let(b.rotl(30));
      b = a;
      a = next;
    }
    f.return(words(d, c, b, a));
  });
  const next = m.fn('sha1NextE', [V128, V128], [V128], (f, state, message) => {
    f.return(replaceLane('i32x4.replace_lane', message, 3, lane(message, 3).add(lane(state, 3).rotl(30))));
  });
  const message1 = m.fn('sha1Message1', [V128, V128], [V128], (f, x, y) => {
    const [w3, w2, w1, w0] = letLanes(f, x);
    const [, , w5, w4] = letLanes(f, y);
    f.return(words(w5.xor(w3), w4.xor(w2), w3.xor(w1), w2.xor(w0)));
  });
  const message2 = m.fn('sha1Message2', [V128, V128], [V128], (f, x, y) => {
    const w16 = f.let(lane(x, 3).xor(lane(y, 2)).rotl(1));
    const w17 = lane(x, 2).xor(lane(y, 1)).rotl(1);
    const w18 = lane(x, 1).xor(lane(y, 0)).rotl(1);
    f.return(words(lane(x, 0).xor(w16).rotl(1), w18, w17, w16));
  });
  return { sha1Rounds: rounds, sha1NextE: next, sha1Message1: message1, sha1Message2: message2 };
}

function defineSha256(m: ModuleBuilder): Record<string, FunctionRef> {
  const rounds = m.fn('sha256Rounds', [V128, V128, V128], [V128], (f, cdgh, abef, message) => {
    let [F, e, b, a] = letLanes(f, abef);
    let [h, g, d, c] = letLanes(f, cdgh);
    for (const n of [0, 1]) {
      const t1 = f.let(choose(e, F, g).add(bigSigma1(e)).add(lane(message, n)).add(h));
      const nextA = f.let(t1.add(majority(a, b, c)).add(bigSigma0(a)));
      const nextE = f.let(t1.add(d));
      [h, g, F, e] = [g, F, e, nextE];
      [d, c, b, a] = [c, b, a, nextA];
    }
    f.return(words(F, e, b, a));
  });
  const message1 = m.fn('sha256Message1', [V128, V128], [V128], (f, x, y) => {
    const [w0, w1, w2, w3] = letLanes(f, x);
    const w4 = f.let(lane(y, 0));
    f.return(words(w0.add(sigma0(w1)), w1.add(sigma0(w2)), w2.add(sigma0(w3)), w3.add(sigma0(w4))));
  });
  const message2 = m.fn('sha256Message2', [V128, V128], [V128], (f, x, y) => {
    const [x0, x1, x2, x3] = letLanes(f, x);
    const [, , w14, w15] = letLanes(f, y);
    const w16 = f.let(x0.add(sigma1(w14)));
    const w17 = f.let(x1.add(sigma1(w15)));
    f.return(words(w16, w17, x2.add(sigma1(w16)), x3.add(sigma1(w17))));
  });
  return { sha256Rounds: rounds, sha256Message1: message1, sha256Message2: message2 };
}

/** Defines the functions of SHA-1 and SHA-256. */
export function addShaRuntime(m: ModuleBuilder): Record<string, FunctionRef> {
  return { ...defineSha1(m), ...defineSha256(m) };
}
