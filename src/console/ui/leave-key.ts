/**
 * Lets the keyboard out of an element that takes every key for a machine: Ctrl+Shift+F6, or Ctrl+Shift+Escape where
 * the system leaves that to pages. The focus goes to the tools of the section that the element is in.
 * @returns ends it
 */
export function leaveByKey(element: HTMLElement): () => void {
  let leaving = false;
  const down = (event: KeyboardEvent): void => {
    if (!event.ctrlKey || !event.shiftKey || (event.key !== 'F6' && event.key !== 'Escape')) return;
    event.preventDefault();
    event.stopPropagation();
    leaving = true;
  };
  const up = (event: KeyboardEvent): void => {
    // The machine has seen Ctrl and Shift go down, and is to see them go up first.
    if (!leaving || event.ctrlKey || event.shiftKey) return;
    leaving = false;
    setTimeout(() => element.closest('section')?.querySelector<HTMLElement>('button, select')?.focus());
  };
  element.addEventListener('keydown', down, { capture: true });
  element.addEventListener('keyup', up, { capture: true });
  return () => {
    element.removeEventListener('keydown', down, { capture: true });
    element.removeEventListener('keyup', up, { capture: true });
  };
}
