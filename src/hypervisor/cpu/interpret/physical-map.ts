import type { MappedRange } from '../../machine/mapping.ts';
import { MAP, S } from '../layout.ts';

const PAGE = 4096;
const LOW = 0x10_0000;
/** Where a PC's video adapter answers, and so no RAM. */
const VIDEO_HOLE = { base: 0xa_0000, end: 0xc_0000 } as const;

/** In the number of a page of code: it is a device's, not a frame. */
export const DEVICE_PAGE = 1;
export const isDevicePage = (page: number): boolean => (page & DEVICE_PAGE) !== 0;

/** In the address of a byte of code: a device's, not a frame's. Above every address of 32 bits. */
export const DEVICE_CODE = 0x1_0000_0000;

/** Where code at a guest-physical address is read from: a frame's byte, or DEVICE_CODE more than a device's. */
export function codeAt(view: DataView, gpa: number): number {
  const high = gpa - LOW;
  if (high >= 0 && high < view.getUint32(S.highRam, true)) return gpa;
  const entry = view.getUint32(MAP.base + (gpa >>> 12) * 4, true);
  return (entry & MAP.read) === 0 ? gpa + DEVICE_CODE : ((entry & -PAGE) | (gpa & (PAGE - 1))) >>> 0;
}

/**
 * The table MAP: what the processor finds behind guest-physical addresses. The
 * TLB holds copies of it, which whoever changes it drops.
 */
export class PhysicalMap {
  readonly #view: DataView;

  /** RAM from 0 on, but for the hole of the video adapter, and nothing else. `ramBytes` in whole pages. */
  constructor(view: DataView, ramBytes: number) {
    this.#view = view;
    this.setRam(ramBytes);
    this.map({ base: 0, length: Math.min(ramBytes, LOW), frame: 0, read: true, write: true });
    this.unmap(VIDEO_HOLE.base, VIDEO_HOLE.end - VIDEO_HOLE.base);
  }

  /** What of RAM is in the state block. */
  setRam(ramBytes: number): void {
    this.#view.setUint32(S.ramSize, ramBytes, true);
    this.#view.setUint32(S.highRam, Math.max(0, ramBytes - LOW), true);
  }

  /** Not for RAM above 1 MiB, which stays where it is. */
  map({ base, length, frame, read, write }: MappedRange): void {
    const access = (read ? MAP.read : 0) | (write ? MAP.write : 0);
    for (let at = 0; at < length; at += PAGE)
      this.#set(base + at, access === 0 ? 0 : ((frame + at) | access) >>> 0);
  }

  unmap(base: number, length: number): void {
    for (let at = 0; at < length; at += PAGE) this.#set(base + at, 0);
  }

  /** See `codeAt`. */
  code(gpa: number): number {
    return codeAt(this.#view, gpa);
  }

  /** Makes mapped pages clean, so that a first write to each is noticed; gives the numbers of those that were not. */
  clean(base: number, length: number): number[] {
    const written: number[] = [];
    for (let at = 0; at < length; at += PAGE) {
      const place = MAP.base + ((base + at) >>> 12) * 4;
      const entry = this.#view.getUint32(place, true);
      if ((entry & MAP.write) === 0 || (entry & MAP.clean) !== 0) continue;
      written.push(at / PAGE);
      this.#view.setUint32(place, entry | MAP.clean, true);
    }
    return written;
  }

  /** Ends that: writes are not noticed any more. */
  forget(base: number, length: number): void {
    for (let at = 0; at < length; at += PAGE) {
      const place = MAP.base + ((base + at) >>> 12) * 4;
      this.#view.setUint32(place, this.#view.getUint32(place, true) & ~MAP.clean, true);
    }
  }

  #set(gpa: number, entry: number): void {
    this.#view.setUint32(MAP.base + (gpa >>> 12) * 4, entry, true);
  }
}
