import { useEffect, useRef, useState } from 'preact/hooks';
import type { VmInput } from '../../contracts/screen.ts';
import type { Vm } from '../../contracts/vms.ts';
import { request, requestBlob, socketUrl } from '../api/api.ts';
import { describe } from '../api/api-error.ts';
import { BackOff } from '../api/back-off.ts';
import { mayWrite } from '../state/session.ts';
import { download } from '../ui/copy.ts';
import { Dialog } from '../ui/dialog.tsx';
import { SelectField } from '../ui/field.tsx';
import { Icon } from '../ui/icon.tsx';
import type { RemoteScreen } from '../ui/remote-screen.ts';
import { toast } from '../ui/toast.tsx';
import { hasProcess } from './vm-facts.ts';

const COMBINATIONS: readonly (readonly [text: string, keys: readonly string[]])[] = [
  ['Ctrl + Alt + Delete', ['ctrl', 'alt', 'delete']],
  ['Ctrl + Alt + F1', ['ctrl', 'alt', 'f1']],
  ['Ctrl + Alt + F2', ['ctrl', 'alt', 'f2']],
  ['Alt + Tab', ['alt', 'tab']],
  ['Alt + F4', ['alt', 'f4']],
  ['Windows', ['meta']],
  ['Escape', ['escape']],
  ['F2', ['f2']],
  ['F12', ['f12']],
  ['Print Screen', ['print-screen']],
];

/** The screen of a machine that starts from its firmware, with keyboard and mouse. */
export function ScreenPanel({ vm }: { readonly vm: Vm }) {
  const place = useRef<HTMLDivElement>(null);
  const screen = useRef<RemoteScreen>(undefined);
  const [state, setState] = useState<'connecting' | 'open' | 'lost'>('connecting');
  const [scaled, setScaled] = useState(true);
  const [pasting, setPasting] = useState(false);
  const wantScaled = useRef(true);
  const writes = mayWrite();
  const runs = hasProcess(vm);
  const { id } = vm;

  useEffect(() => {
    if (!runs) return;
    const backOff = new BackOff();
    let timer: ReturnType<typeof setTimeout>;
    let gone = false;
    const again = () => {
      if (gone) return;
      setState('lost');
      timer = setTimeout(() => void connect(), backOff.next());
    };
    const connect = async () => {
      try {
        const { openScreen } = await import('../ui/remote-screen.ts');
        if (gone || place.current === null) return;
        place.current.replaceChildren();
        screen.current = openScreen(place.current, {
          url: socketUrl(`vms/${id}/display`),
          viewOnly: !writes,
          scaled: wantScaled.current,
          onOpen: () => {
            backOff.reset();
            setState('open');
          },
          onClose: again,
        });
      } catch {
        again();
      }
    };
    void connect();
    return () => {
      gone = true;
      clearTimeout(timer);
      screen.current?.close();
      screen.current = undefined;
    };
  }, [id, runs, writes]);

  const input = async (body: VmInput) => {
    try {
      await request('POST', `vms/${id}/input`, { body });
      screen.current?.focus();
    } catch (error) {
      toast(describe(error), 'problem');
    }
  };
  const photograph = async () => {
    try {
      download(await requestBlob(`vms/${id}/screenshot`), `${vm.name}.png`);
    } catch (error) {
      toast(describe(error), 'problem');
    }
  };
  const scale = (next: boolean) => {
    wantScaled.current = next;
    setScaled(next);
    screen.current?.setScaled(next);
  };

  return (
    <section class="panel screen" aria-label="Screen">
      <header>
        <h2>Screen</h2>
        <span class="link-state" role="status">
          {!runs
            ? 'not running'
            : { connecting: 'connecting…', open: 'live', lost: 'cut off; connecting again…' }[state]}
        </span>
        <div class="tools" role="toolbar" aria-label="Of the screen">
          {writes ? (
            <select
              aria-label="Press keys"
              disabled={!runs}
              value=""
              onChange={(event) => {
                const keys = COMBINATIONS[Number(event.currentTarget.value)]?.[1];
                event.currentTarget.value = '';
                if (keys !== undefined) void input({ type: 'keys', keys: [...keys] });
              }}
            >
              <option value="">Keys…</option>
              {COMBINATIONS.map(([text], at) => (
                <option key={text} value={at}>
                  {text}
                </option>
              ))}
            </select>
          ) : null}
          {writes ? (
            <button
              type="button"
              class="quiet icon"
              title="Type a text"
              aria-label="Type a text"
              disabled={!runs}
              onClick={() => setPasting(true)}
            >
              <Icon name="paste" />
            </button>
          ) : null}
          <button
            type="button"
            class="quiet icon"
            title="Screenshot"
            aria-label="Screenshot"
            disabled={!runs}
            onClick={() => void photograph()}
          >
            <Icon name="camera" />
          </button>
          <button type="button" class="quiet" aria-pressed={scaled} onClick={() => scale(!scaled)}>
            {scaled ? 'Fitted' : '1 : 1'}
          </button>
        </div>
      </header>
      <div class={`display${scaled ? '' : ' true-size'}`} ref={place} />
      {pasting ? (
        <Paste
          onClose={() => setPasting(false)}
          onText={(text, layout) => input({ type: 'text', text, layout })}
        />
      ) : null}
    </section>
  );
}

/** What one request types at most: contracts/screen.ts. */
const MOST = 4096;
/** The layouts that the service knows, as `POST /v1/vms/{id}/input` names them. */
const LAYOUTS = 'us us-intl gb be br ch ch-fr cz de dk es fi fr hu it jp latam no pl pt ru se tr ua'.split(
  ' ',
);

function Paste(props: {
  readonly onClose: () => void;
  readonly onText: (text: string, layout: string) => Promise<void>;
}) {
  const [text, setText] = useState('');
  const [layout, setLayout] = useState('us');
  const [busy, setBusy] = useState(false);
  const type = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    for (let at = 0; at < text.length; at += MOST) await props.onText(text.slice(at, at + MOST), layout);
    props.onClose();
  };
  return (
    <Dialog title="Type a text" onClose={props.onClose}>
      <form onSubmit={type} class="stack">
        <p class="muted">It is typed key by key, with the keys that the guest’s layout has for it.</p>
        <label class="field">
          <span class="visually-hidden">Text</span>
          <textarea rows={6} autofocus value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <SelectField
          label="The guest’s keyboard layout"
          value={layout}
          onInput={setLayout}
          options={LAYOUTS.map((name) => [name, name] as const)}
        />
        <footer>
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={text === '' || busy}>
            {busy ? 'Typing…' : 'Type'}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
