const KEY = 'teremok.readAloud';

/** Whether consoles tell screen readers what they show: chosen once for this browser. Never throws. */
export function readsAloud(): boolean {
  try {
    return localStorage.getItem(KEY) === 'yes';
  } catch {
    return false;
  }
}

export function setReadsAloud(on: boolean): void {
  try {
    localStorage.setItem(KEY, on ? 'yes' : 'no');
  } catch {
    // Then it holds until the page is left.
  }
}
