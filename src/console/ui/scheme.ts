import { signal } from '@preact/signals';

const KEY = 'teremok.scheme';

/** The scheme in use; `public/scheme.js` has set what was chosen before. */
export const scheme = signal<'light' | 'dark'>(current());

function current(): 'light' | 'dark' {
  const chosen = document.documentElement.dataset['scheme'];
  if (chosen === 'light' || chosen === 'dark') return chosen;
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  scheme.value = current();
});

export function switchScheme(): void {
  const next = current() === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset['scheme'] = next;
  scheme.value = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // Then it holds until the page is left.
  }
}
