/**
 * Reference counts in the bytes of a refcount block: entries of 1 to 64 bits;
 * narrow ones begin at a byte's low bits (the specification, "Host cluster
 * management").
 */
export function getRefcount(view: DataView, index: number, order: number): number {
  if (order === 4) return view.getUint16(index * 2);
  if (order < 3) {
    const bits = 1 << order;
    const at = index * bits;
    return (view.getUint8(at >>> 3) >>> (at & 7)) & ((1 << bits) - 1);
  }
  if (order === 3) return view.getUint8(index);
  if (order === 5) return view.getUint32(index * 4);
  return view.getUint32(index * 8) * 2 ** 32 + view.getUint32(index * 8 + 4);
}

/** @returns the byte range that was written: its first and the one behind its last */
export function setRefcount(view: DataView, index: number, order: number, value: number): [number, number] {
  if (order < 3) {
    const bits = 1 << order;
    const at = (index * bits) >>> 3;
    const shift = (index * bits) & 7;
    const mask = ((1 << bits) - 1) << shift;
    view.setUint8(at, (view.getUint8(at) & ~mask) | (value << shift));
    return [at, at + 1];
  }
  const bytes = 1 << (order - 3);
  const at = index * bytes;
  if (bytes === 1) view.setUint8(at, value);
  else if (bytes === 2) view.setUint16(at, value);
  else {
    if (bytes === 8) view.setUint32(at, Math.floor(value / 2 ** 32));
    view.setUint32(at + bytes - 4, value >>> 0);
  }
  return [at, at + bytes];
}
