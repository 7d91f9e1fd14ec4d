import { installAcpi } from '../firmware/acpi/tables.ts';
import type { BootRequest, BootState } from '../firmware/boot-state.ts';
import { loadKernel } from '../firmware/detect.ts';
import { findWaking } from '../firmware/waking.ts';
import { applyBootState, applyWaking } from './boot.ts';
import type { Start, StartParts } from './start.ts';

const MTRR_DEF_TYPE = 0x2ff;
/** MTRRs on, write-back by default. */
const MTRR_WRITE_BACK = 0xc06n;

/** A kernel that is started directly: what firmware would have done is done by the machine. */
export class KernelStart implements Start {
  readonly #parts: StartParts;
  readonly #boot: BootState;
  readonly #facs: number;

  /** Loads the kernel. `request` lacks the address of the ACPI tables. @throws BootError */
  constructor(parts: StartParts, request: BootRequest) {
    this.#parts = parts;
    const { rsdp, facs } = installAcpi(parts.ram, parts.platform);
    this.#facs = facs;
    this.#boot = loadKernel(parts.ram, { ...request, rsdp });
  }

  begin(): void {
    const { engine } = this.#parts;
    applyBootState(engine.view, this.#boot);
    this.#firmwarePart();
  }

  wake(): boolean {
    const { engine, ram, log } = this.#parts;
    const waking = findWaking(ram, this.#facs);
    if (!waking) {
      log.guest('the guest woke up without a waking vector: it is reset');
      return false;
    }
    applyWaking(engine.view, waking);
    engine.context.msrs.clear();
    this.#firmwarePart();
    return true;
  }

  #firmwarePart(): void {
    const { engine, pc } = this.#parts;
    pc.assignResources();
    for (const { space, address, size, value } of this.#boot.chipset ?? [])
      (space === 'port' ? pc.pio : pc.mmio).write(address, size, value);
    engine.context.msrs.set(MTRR_DEF_TYPE, MTRR_WRITE_BACK);
    engine.stateChanged();
  }
}
