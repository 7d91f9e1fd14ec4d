import { useEffect, useRef, useState } from 'preact/hooks';
import { LAYOUTS } from '../../lib/keyboard-layouts.ts';
import { request } from '../api/api.ts';
import { describe } from '../api/api-error.ts';
import { firstPiece, keepLayout, lastLayout } from '../state/typing.ts';
import { Dialog, DialogEnd } from '../ui/dialog.tsx';
import { SelectField } from '../ui/field.tsx';

/** Types a text on a machine's keyboard. What could not be typed stays in its field. */
export function TypedPaste(props: {
  readonly vmId: string;
  readonly onClose: () => void;
  /** Puts the focus where one goes on. */
  readonly focusAfter: () => void;
}) {
  const { vmId, onClose, focusAfter } = props;
  const [text, setText] = useState('');
  const [layout, setLayout] = useState(() => lastLayout(localStorage));
  const [refusal, setRefusal] = useState('');
  /** Of the text, how much has been typed and how much there was; null while nothing is being typed. */
  const [typed, setTyped] = useState<{ readonly done: number; readonly of: number } | null>(null);
  const gone = useRef(new AbortController());
  // The guest gets no more of it once the dialog is closed.
  useEffect(() => () => gone.current.abort(), []);
  const type = async (event: Event) => {
    event.preventDefault();
    if (typed !== null || text === '') return;
    keepLayout(localStorage, layout);
    setRefusal('');
    let left = text;
    try {
      while (left !== '') {
        setTyped({ done: text.length - left.length, of: text.length });
        const piece = firstPiece(left);
        const { signal } = gone.current;
        await request('POST', `vms/${vmId}/input`, { body: { type: 'text', text: piece, layout }, signal });
        left = left.slice(piece.length);
      }
      onClose();
    } catch (error) {
      if (gone.current.signal.aborted) return;
      setRefusal(describe(error));
      setText(left);
      setTyped(null);
    }
  };
  return (
    <Dialog title="Type a text" onClose={onClose} focusAfter={focusAfter}>
      <form onSubmit={type} class="stack">
        <p class="muted">It is typed key by key, with the keys that the guest’s layout has for it.</p>
        <label class="field">
          <span class="visually-hidden">Text</span>
          <textarea
            rows={6}
            autofocus
            readOnly={typed !== null}
            value={text}
            onInput={(event) => {
              setText(event.currentTarget.value);
              setRefusal('');
            }}
          />
        </label>
        <SelectField
          label="The guest’s keyboard layout"
          value={layout}
          onInput={setLayout}
          disabled={typed !== null}
          options={LAYOUTS}
        />
        <DialogEnd
          refusal={refusal}
          onCancel={onClose}
          submit={typed === null ? 'Type' : 'Typing…'}
          disabled={text === '' || typed !== null}
        >
          {typed === null ? null : <progress max={typed.of} value={typed.done} aria-label="Typed" />}
        </DialogEnd>
      </form>
    </Dialog>
  );
}
