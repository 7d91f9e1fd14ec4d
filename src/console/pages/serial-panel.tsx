import { useEffect, useRef, useState } from 'preact/hooks';
import { CONSOLE_CLOSE } from '../../contracts/console.ts';
import type { Vm } from '../../contracts/vms.ts';
import { requestBlob, socketUrl } from '../api/api.ts';
import { describe } from '../api/api-error.ts';
import { LiveSocket, type SocketState } from '../api/live-socket.ts';
import { mayWrite } from '../state/session.ts';
import { copy, download } from '../ui/copy.ts';
import { Icon } from '../ui/icon.tsx';
import { readsAloud, setReadsAloud } from '../ui/read-aloud.ts';
import type { SerialTerminal } from '../ui/terminal.ts';
import { hasProcess, REFUSED } from './vm-facts.ts';

/** Closes that are the end of what a console shows. */
const ENDS: ReadonlySet<number> = new Set([
  CONSOLE_CLOSE.stopped,
  CONSOLE_CLOSE.failed,
  CONSOLE_CLOSE.deleted,
]);
const FONT = { least: 9, most: 24, first: 14 } as const;

/** The serial console: what the machine says, and what is typed to it. */
export function SerialPanel({ vm }: { readonly vm: Vm }) {
  const place = useRef<HTMLDivElement>(null);
  const terminal = useRef<SerialTerminal>(undefined);
  const socket = useRef<LiveSocket>(undefined);
  const [ready, setReady] = useState(false);
  const [state, setState] = useState<SocketState>('connecting');
  const [problem, setProblem] = useState('');
  const [fontSize, setFontSize] = useState<number>(FONT.first);
  const [search, setSearch] = useState<string | null>(null);
  const [found, setFound] = useState(true);
  const [aloud, setAloud] = useState(readsAloud);
  const writes = mayWrite();
  const { id, name } = vm;
  const runs = hasProcess(vm);

  useEffect(() => {
    let gone = false;
    import('../ui/terminal.ts').then(
      ({ createTerminal }) => {
        if (gone || place.current === null) return;
        terminal.current = createTerminal(place.current, {
          fontSize: FONT.first,
          readOnly: !writes,
          label: `Serial console of ${name}`,
          readAloud: readsAloud(),
          onInput: (bytes) => socket.current?.send(bytes),
        });
        setReady(true);
      },
      () => setProblem('The console could not be loaded; reload the page.'),
    );
    return () => {
      gone = true;
      terminal.current?.dispose();
    };
  }, [name, writes]);

  useEffect(() => {
    if (!ready) return;
    const shown = terminal.current;
    if (!runs) {
      // What it said in its last run.
      requestBlob(`vms/${id}/serial/log`)
        .then((log) => log.bytes())
        .then((bytes) => {
          shown?.reset();
          shown?.write(bytes);
          setProblem('');
        })
        .catch((error) => setProblem(describe(error)));
      return;
    }
    const live = new LiveSocket({
      url: () => socketUrl(`vms/${id}/serial`),
      onState: (next) => {
        setState(next);
        // The backlog comes first, each time.
        if (next === 'open') shown?.reset();
      },
      onMessage: (data) =>
        shown?.write(typeof data === 'string' ? new TextEncoder().encode(data) : new Uint8Array(data)),
      isEnd: (code) => ENDS.has(code),
    });
    socket.current = live;
    return () => {
      live.close();
      socket.current = undefined;
    };
  }, [ready, id, runs]);

  const zoom = (by: number) => {
    const size = Math.min(FONT.most, Math.max(FONT.least, fontSize + by));
    setFontSize(size);
    terminal.current?.setFontSize(size);
  };
  const find = (text: string, forwards: boolean) => setFound(terminal.current?.find(text, forwards) ?? true);
  const readAloud = () => {
    setReadsAloud(!aloud);
    setAloud(!aloud);
    terminal.current?.setReadAloud(!aloud);
  };
  const tellSize = () => {
    const size = terminal.current?.size;
    if (size !== undefined)
      socket.current?.send(new TextEncoder().encode(` stty rows ${size.rows} cols ${size.columns}\n`));
    terminal.current?.focus();
  };

  return (
    <section class="panel serial" aria-label="Serial console">
      <header>
        <h2>Serial console</h2>
        <span class="link-state" role="status">
          {problem || serialState(state, runs)}
        </span>
        <div class="tools" role="toolbar" aria-label="Of the serial console">
          <button
            type="button"
            class="quiet icon"
            title="Search"
            aria-label="Search"
            aria-expanded={search !== null}
            onClick={() => setSearch(search === null ? '' : null)}
          >
            <Icon name="search" />
          </button>
          <button
            type="button"
            class="quiet icon"
            title="Copy the selection, or all"
            aria-label="Copy the selection, or all"
            onClick={() =>
              void copy(terminal.current?.selection() || terminal.current?.text() || '', 'The text')
            }
          >
            <Icon name="copy" />
          </button>
          <button
            type="button"
            class="quiet icon"
            title="Download as text"
            aria-label="Download as text"
            onClick={() =>
              download(
                new Blob([terminal.current?.text() ?? ''], { type: 'text/plain' }),
                `${name}-serial.txt`,
              )
            }
          >
            <Icon name="download" />
          </button>
          <button
            type="button"
            class="quiet icon"
            title="Smaller"
            aria-label="Smaller text"
            disabled={fontSize <= FONT.least}
            onClick={() => zoom(-1)}
          >
            <small>A</small>
          </button>
          <button
            type="button"
            class="quiet icon"
            title="Larger"
            aria-label="Larger text"
            disabled={fontSize >= FONT.most}
            onClick={() => zoom(1)}
          >
            <span class="large">A</span>
          </button>
          <button
            type="button"
            class="quiet icon"
            title="Tell screen readers what it shows"
            aria-label="Tell screen readers what it shows"
            aria-pressed={aloud}
            onClick={readAloud}
          >
            <Icon name="voice" />
          </button>
          {writes && runs ? (
            <button
              type="button"
              class="quiet"
              title="Types stty, so that the guest knows how large this terminal is"
              onClick={tellSize}
            >
              Fit
            </button>
          ) : null}
        </div>
      </header>
      {search === null ? null : (
        <form
          class="find"
          onSubmit={(event) => {
            event.preventDefault();
            find(search, false);
          }}
          onKeyDown={(event) => {
            if (event.key !== 'Escape') return;
            setSearch(null);
            terminal.current?.focus();
          }}
        >
          <input
            type="search"
            aria-label="Search the console"
            placeholder="Search the console"
            autofocus
            ref={(input) => {
              if (input !== null && search === '') input.focus();
            }}
            value={search}
            onInput={(event) => {
              setSearch(event.currentTarget.value);
              find(event.currentTarget.value, false);
            }}
          />
          <button type="submit" class="quiet icon" aria-label="Before" title="Before">
            <Icon name="up" />
          </button>
          <button
            type="button"
            class="quiet icon"
            aria-label="After"
            title="After"
            onClick={() => find(search, true)}
          >
            <Icon name="down" />
          </button>
          <span class="missing" role="status">
            {found ? '' : 'not found'}
          </span>
        </form>
      )}
      <div class="terminal" ref={place} />
    </section>
  );
}

function serialState(state: SocketState, runs: boolean): string {
  if (!runs) return 'not running: what it said last';
  return {
    connecting: 'connecting…',
    open: 'live',
    lost: 'cut off; connecting again…',
    refused: REFUSED,
    ended: 'the machine has ended',
  }[state];
}
