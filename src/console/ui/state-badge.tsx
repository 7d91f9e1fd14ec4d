import type { VmState } from '../../contracts/states.ts';

/** A machine's state as a word with a dot of its colour. */
export function StateBadge({ state }: { readonly state: VmState }) {
  return (
    <span class={`state ${state}`}>
      <span class="dot" aria-hidden="true" />
      {state}
    </span>
  );
}
