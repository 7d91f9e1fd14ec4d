import { useState } from 'preact/hooks';
import { describe } from '../api/api-error.ts';
import { Dialog } from './dialog.tsx';
import { TextField } from './field.tsx';

export interface ConfirmNameProps {
  readonly title: string;
  /** What has to be typed. */
  readonly name: string;
  readonly warning: string;
  readonly action: string;
  readonly onConfirm: () => Promise<void>;
  readonly onClose: () => void;
}

/** Asks for the name of what will be gone. */
export function ConfirmName({ title, name, warning, action, onConfirm, onClose }: ConfirmNameProps) {
  const [typed, setTyped] = useState('');
  const [problem, setProblem] = useState('');
  const [busy, setBusy] = useState(false);
  const confirm = async (event: Event) => {
    event.preventDefault();
    if (typed !== name || busy) return;
    setBusy(true);
    try {
      await onConfirm();
      onClose();
    } catch (error) {
      setProblem(describe(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={confirm} class="stack">
        <p>{warning}</p>
        <TextField label={`Type ${name} to go on`} value={typed} onInput={setTyped} autofocus mono />
        <p class="problem" role="alert">
          {problem}
        </p>
        <footer>
          <button type="button" onClick={onClose}>
            Keep it
          </button>
          <button type="submit" class="danger" disabled={typed !== name || busy}>
            {action}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
