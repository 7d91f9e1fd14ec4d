import type { DiskBackend } from '../../backends/disk.ts';
import type { Door, DoorPort } from '../../machine/door.ts';

/** What became of the host's wish to change the disc. */
export interface TrayChange {
  /** False when the guest has locked the tray: it was told of the wish, and may eject the disc itself. */
  readonly done: boolean;
  /** What was in the tray before, for the host to close. */
  readonly removed: DiskBackend | undefined;
}

/** Media events that GET EVENT STATUS NOTIFICATION tells: MMC-3 § 6.4.2, media class. */
export const MEDIA_EVENT = { none: 0, ejectRequest: 1, newMedia: 2, removal: 3 } as const;

export type TrayState = {
  readonly open: boolean;
  readonly locked: boolean;
  /** A disc was there; which one is up to whoever restores. */
  readonly loaded: boolean;
  readonly event: number;
  readonly changed: boolean;
};

interface Wish {
  readonly medium: DiskBackend | undefined;
  readonly force: boolean;
  readonly resolve: (change: TrayChange) => void;
}

export interface TrayOptions {
  /** Names the way in through the door: `<name>.tray`. */
  readonly name: string;
  readonly door: Door;
  /** What is in it at power-on. */
  readonly medium?: DiskBackend | undefined;
}

/**
 * A CD-ROM drive's tray: the disc in it, and the two who may move it. The
 * guest locks, opens and closes it; the host changes the disc through the
 * door. A disc in an open tray comes back when the guest closes it.
 */
export class Tray {
  open = false;
  locked = false;
  /** The latest media event that the guest has not asked for. */
  event: number = MEDIA_EVENT.none;
  /** The guest has not heard yet that there is another disc (a unit attention). */
  changed = false;
  #medium: DiskBackend | undefined;
  readonly #port: DoorPort<number>;
  readonly #wishes = new Map<number, Wish>();
  #lastWish = 0;
  #settled: () => Promise<void> = () => Promise.resolve();

  constructor(options: TrayOptions) {
    this.#medium = options.medium;
    this.#port = options.door.port<number>(`${options.name}.tray`, (id) => this.#grant(id));
  }

  /** When nothing reads from the disc that was taken out any more. */
  onRemoval(settled: () => Promise<void>): void {
    this.#settled = settled;
  }

  /** What can be read. */
  get medium(): DiskBackend | undefined {
    return this.open ? undefined : this.#medium;
  }

  // The host's side.

  /** The disc, whether the tray is open or not. */
  get disc(): DiskBackend | undefined {
    return this.#medium;
  }

  /**
   * Puts `medium` into the tray and closes it, or takes out what is there.
   * `force` does not ask whether the guest has locked the tray (the pin hole).
   * Resolves once the guest's side has it, which takes a machine that runs.
   */
  change(medium: DiskBackend | undefined, force = false): Promise<TrayChange> {
    return new Promise((resolve) => {
      const id = ++this.#lastWish;
      this.#wishes.set(id, { medium, force, resolve });
      this.#port.post(id);
    });
  }

  // The guest's side.

  /** LoEj with Start 0; false when the tray is locked. */
  eject(): boolean {
    if (this.locked) return false;
    if (!this.open && this.#medium) this.event = MEDIA_EVENT.removal;
    this.open = true;
    return true;
  }

  load(): void {
    if (this.open && this.#medium) this.#arrived();
    this.open = false;
  }

  /** The pending event; it is told once. */
  takeEvent(): number {
    const { event } = this;
    this.event = MEDIA_EVENT.none;
    return event;
  }

  /** Whether the disc is another one; it is told once. */
  takeChange(): boolean {
    const { changed } = this;
    this.changed = false;
    return changed;
  }

  /** Power or RST#: the lock is off. */
  reset(): void {
    this.locked = false;
    this.event = MEDIA_EVENT.none;
  }

  save(): TrayState {
    return {
      open: this.open,
      locked: this.locked,
      loaded: this.#medium !== undefined,
      event: this.event,
      changed: this.changed,
    };
  }

  /** The disc is what it is now; one that is there or missing beyond the state is a change for the guest. */
  restore(state: TrayState): void {
    this.open = state.open;
    this.locked = state.locked;
    this.event = state.event & 0x0f;
    this.changed = state.changed;
    const loaded = this.#medium !== undefined;
    if (loaded === state.loaded) return;
    if (loaded) this.#arrived();
    else this.event = MEDIA_EVENT.removal;
  }

  #grant(id: number): void {
    const wish = this.#wishes.get(id);
    if (!wish) return;
    this.#wishes.delete(id);
    if (this.locked && !wish.force && this.#medium) {
      this.event = MEDIA_EVENT.ejectRequest;
      wish.resolve({ done: false, removed: undefined });
      return;
    }
    const removed = this.#medium;
    this.#medium = wish.medium;
    this.open = false;
    if (wish.medium) this.#arrived();
    else {
      this.event = MEDIA_EVENT.removal;
      this.changed = false;
    }
    this.#settled().then(() => wish.resolve({ done: true, removed }));
  }

  #arrived(): void {
    this.event = MEDIA_EVENT.newMedia;
    this.changed = true;
  }
}
