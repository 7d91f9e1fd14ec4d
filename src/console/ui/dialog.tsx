import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';
import { Icon } from './icon.tsx';

export interface DialogProps {
  readonly title: string;
  readonly wide?: boolean;
  readonly onClose: () => void;
  /** Puts the focus where it belongs afterwards; without it, it returns to where it was. */
  readonly focusAfter?: (() => void) | undefined;
  readonly children: ComponentChildren;
}

/** A modal dialog while it is mounted: Escape and its cross close it. */
export function Dialog({ title, wide = false, onClose, focusAfter, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const leave = useRef(focusAfter);
  leave.current = focusAfter;
  useEffect(() => {
    const before = document.activeElement;
    const dialog = element.current;
    dialog?.showModal();
    return () => {
      // While it is open, nothing outside of it takes the focus.
      dialog?.close();
      if (leave.current !== undefined) leave.current();
      else if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={wide ? 'wide' : ''}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2 id={heading}>{title}</h2>
        <button type="button" class="quiet icon" aria-label="Close" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      <div class="body">{children}</div>
    </dialog>
  );
}

/** The end of a form in a dialog: why it was refused, if it was, and the two ways out. */
export function DialogEnd(props: {
  readonly refusal: string;
  readonly cancel?: string;
  readonly onCancel: () => void;
  readonly submit: string;
  readonly danger?: boolean;
  readonly disabled?: boolean;
  /** What stands before the buttons. */
  readonly children?: ComponentChildren;
}) {
  const { refusal, cancel = 'Cancel', onCancel, submit, danger = false, disabled = false, children } = props;
  return (
    <>
      <p class="problem" role="alert">
        {refusal}
      </p>
      <footer>
        {children}
        <button type="button" onClick={onCancel}>
          {cancel}
        </button>
        <button type="submit" class={danger ? 'danger' : 'primary'} disabled={disabled}>
          {submit}
        </button>
      </footer>
    </>
  );
}
