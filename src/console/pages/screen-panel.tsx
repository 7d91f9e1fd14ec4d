import { useEffect, useRef, useState } from 'preact/hooks';
import { CONSOLE_CLOSE } from '../../contracts/console.ts';
import type { VmInput } from '../../contracts/screen.ts';
import type { Vm } from '../../contracts/vms.ts';
import { request, requestBlob, socketUrl } from '../api/api.ts';
import { describe } from '../api/api-error.ts';
import { BackOff } from '../api/back-off.ts';
import { mayWrite } from '../state/session.ts';
import { download } from '../ui/copy.ts';
import { Icon } from '../ui/icon.tsx';
import type { RemoteScreen } from '../ui/remote-screen.ts';
import { toast } from '../ui/toast.tsx';
import { TypedPaste } from './typed-paste.tsx';
import { hasProcess, REFUSED } from './vm-facts.ts';

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

/** Not on phones, for one. */
const CAN_CAPTURE = 'requestPointerLock' in Element.prototype;

/** The screen of a machine that starts from its firmware, with keyboard and mouse. */
export function ScreenPanel({ vm }: { readonly vm: Vm }) {
  const place = useRef<HTMLDivElement>(null);
  const screen = useRef<RemoteScreen>(undefined);
  const [state, setState] = useState<'connecting' | 'open' | 'lost' | 'refused'>('connecting');
  const [scaled, setScaled] = useState(true);
  const [pasting, setPasting] = useState(false);
  const [captured, setCaptured] = useState(false);
  const wantScaled = useRef(true);
  const writes = mayWrite();
  const runs = hasProcess(vm);
  const { id } = vm;

  useEffect(() => {
    if (!runs) return;
    const backOff = new BackOff();
    let timer: ReturnType<typeof setTimeout>;
    let gone = false;
    const again = (code?: number) => {
      if (gone) return;
      setState(code === CONSOLE_CLOSE.unauthorized ? 'refused' : 'lost');
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
          onPointerLock: setCaptured,
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
  const capture = () =>
    screen.current
      ?.lockPointer()
      .catch(() => toast('The browser does not give the mouse away now', 'problem'));
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
            : {
                connecting: 'connecting…',
                open: 'live',
                lost: 'cut off; connecting again…',
                refused: REFUSED,
              }[state]}
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
          {writes && CAN_CAPTURE ? (
            <button
              type="button"
              class="quiet icon"
              title="Give the mouse to the machine; Esc takes it back"
              aria-label="Give the mouse to the machine"
              aria-pressed={captured}
              disabled={!runs || state !== 'open'}
              onClick={capture}
            >
              <Icon name="mouse" />
            </button>
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
      <p class="captured" role="status">
        {captured ? 'The mouse is the machine’s now. Esc takes it back.' : ''}
      </p>
      {pasting ? (
        <TypedPaste vmId={id} onClose={() => setPasting(false)} focusAfter={() => screen.current?.focus()} />
      ) : null}
    </section>
  );
}
