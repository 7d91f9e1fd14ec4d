import { useState } from 'preact/hooks';
import { request } from '../api/api.ts';
import { describe } from '../api/api-error.ts';
import { Dialog, DialogEnd } from './dialog.tsx';
import { TextField } from './field.tsx';
import { toast } from './toast.tsx';

export interface DeleteDialogProps<T> {
  /** What has to be typed. */
  readonly name: string;
  /** What is deleted, below /v1. */
  readonly path: string;
  readonly warning: string;
  readonly verb?: 'Delete' | 'Revoke';
  /** What is told of it afterwards, behind its name. */
  readonly done?: string;
  /** Called with the answer once it was accepted. */
  readonly onGone: (answer: T) => unknown;
  readonly onClose: () => void;
}

/** Asks for the name of what will be gone, and deletes it. */
export function DeleteDialog<T = undefined>(props: DeleteDialogProps<T>) {
  const { name, path, warning, verb = 'Delete', done = 'is gone', onGone, onClose } = props;
  const [typed, setTyped] = useState('');
  const [problem, setProblem] = useState('');
  const [busy, setBusy] = useState(false);
  const remove = async (event: Event) => {
    event.preventDefault();
    if (typed !== name || busy) return;
    setBusy(true);
    try {
      const answer = await request<T>('DELETE', path);
      toast(`${name} ${done}`);
      await onGone(answer);
      onClose();
    } catch (error) {
      setProblem(describe(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title={`${verb} ${name}?`} onClose={onClose}>
      <form onSubmit={remove} class="stack">
        <p>{warning}</p>
        <TextField label={`Type ${name} to go on`} value={typed} onInput={setTyped} autofocus mono />
        <DialogEnd
          refusal={problem}
          cancel="Keep it"
          onCancel={onClose}
          submit={`${verb} it`}
          danger
          disabled={typed !== name || busy}
        />
      </form>
    </Dialog>
  );
}
