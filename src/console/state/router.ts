import { signal } from '@preact/signals';

/** Where in the console we are: the parts of `#/machines/ID`. */
export const route = signal<readonly string[]>(read());

function read(): string[] {
  return location.hash.replace(/^#\/?/, '').split('/').filter(Boolean).map(decodeURIComponent);
}

globalThis.addEventListener('hashchange', () => {
  route.value = read();
});

export function go(path: string): void {
  location.hash = path;
}
