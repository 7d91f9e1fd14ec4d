import { signal } from '@preact/signals';
import { Icon } from './icon.tsx';

interface Toast {
  readonly id: number;
  readonly text: string;
  readonly kind: 'note' | 'problem';
}

/** How long a note, and how long a problem, stays. Milliseconds. */
const STAYS_MS = { note: 4_000, problem: 12_000 } as const;
const MOST = 4;

const toasts = signal<readonly Toast[]>([]);
let last = 0;

/** Tells something in the corner, and to screen readers. */
export function toast(text: string, kind: Toast['kind'] = 'note'): void {
  const id = ++last;
  toasts.value = [...toasts.value.filter((other) => other.text !== text), { id, text, kind }].slice(-MOST);
  setTimeout(() => dismiss(id), STAYS_MS[kind]);
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((other) => other.id !== id);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map(({ id, text, kind }) => (
        <div key={id} class={`toast ${kind}`}>
          <span>{text}</span>
          <button type="button" class="quiet icon" aria-label="Dismiss" onClick={() => dismiss(id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
