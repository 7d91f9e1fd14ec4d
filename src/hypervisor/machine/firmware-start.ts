import { resetState } from '../cpu/system/reset.ts';
import { SHADOW, type ShadowRam } from './shadow-ram.ts';
import type { Start, StartParts } from './start.ts';

/** Firmware: the processor starts at the reset vector, in ROM, and all else is firmware's to do. */
export class FirmwareStart implements Start {
  readonly #parts: StartParts;

  constructor(parts: StartParts, shadow: ShadowRam) {
    this.#parts = parts;
    parts.pc.mmio.claim('shadow-ram', SHADOW.base, SHADOW.length, shadow);
  }

  begin(): void {
    const { engine } = this.#parts;
    resetState(engine.view);
    engine.stateChanged();
  }

  /** Firmware finds in CMOS that this is the end of a sleep, and goes on at the guest's waking vector. */
  wake(): boolean {
    this.#parts.engine.context.msrs.clear();
    this.begin();
    return true;
  }
}
