// Loaded when the first console is opened.
import { FitAddon } from '@xterm/addon-fit';
import { SearchAddon } from '@xterm/addon-search';
import { type ITheme, Terminal } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';
import { leaveByKey } from './leave-key.ts';

/** The colours of a console; it is dark under either scheme, as its programs expect. */
const THEME: ITheme = {
  background: '#141614',
  foreground: '#e6e4dc',
  cursor: '#8fd0b1',
  cursorAccent: '#141614',
  selectionBackground: '#3b5a4c',
  black: '#23261f',
  red: '#e0705f',
  green: '#7fc08f',
  yellow: '#d9b45c',
  blue: '#7ba7d9',
  magenta: '#c08fc9',
  cyan: '#74bfc0',
  white: '#d8d6cc',
  brightBlack: '#7d8079',
};

const SCROLLBACK_LINES = 10_000;

export interface SerialTerminal {
  write(data: Uint8Array): void;
  /** Empties it: a backlog follows. */
  reset(): void;
  setFontSize(pixels: number): void;
  /** Shows the next place, or the one before. @returns whether there is one */
  find(text: string, forwards: boolean): boolean;
  setReadAloud(on: boolean): void;
  focus(): void;
  /** What is selected; empty when nothing is. */
  selection(): string;
  /** Everything that it holds. */
  text(): string;
  readonly size: { readonly columns: number; readonly rows: number };
  dispose(): void;
}

export interface SerialTerminalOptions {
  readonly fontSize: number;
  readonly readOnly: boolean;
  readonly label: string;
  /** Screen readers get what is written, as a live region; it costs time when much is. */
  readonly readAloud: boolean;
  readonly onInput: (bytes: Uint8Array<ArrayBuffer>) => void;
}

const encoder = new TextEncoder();

/** Puts a terminal into an element, as large as that is. */
export function createTerminal(element: HTMLElement, options: SerialTerminalOptions): SerialTerminal {
  const terminal = new Terminal({
    theme: THEME,
    fontFamily: 'ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace',
    fontSize: options.fontSize,
    scrollback: SCROLLBACK_LINES,
    disableStdin: options.readOnly,
    cursorBlink: false,
    screenReaderMode: options.readAloud,
  });
  const fit = new FitAddon();
  const search = new SearchAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(search);
  terminal.open(element);
  terminal.textarea?.setAttribute('aria-label', options.label);
  terminal.onData((text) => options.onInput(encoder.encode(text)));
  terminal.onBinary((text) => options.onInput(Uint8Array.from(text, (char) => char.charCodeAt(0))));
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.ctrlKey && event.shiftKey && event.code === 'KeyC' && terminal.hasSelection()) {
      if (event.type === 'keydown') void navigator.clipboard?.writeText(terminal.getSelection());
      event.preventDefault();
      return false;
    }
    return true;
  });
  const watcher = new ResizeObserver(() => {
    if (element.clientWidth > 0) fit.fit();
  });
  watcher.observe(element);
  const stay = leaveByKey(element);
  fit.fit();
  return {
    write: (data) => terminal.write(data),
    reset: () => terminal.reset(),
    setFontSize(pixels) {
      terminal.options.fontSize = pixels;
      fit.fit();
    },
    find: (text, forwards) => {
      if (text !== '') return forwards ? search.findNext(text) : search.findPrevious(text);
      terminal.clearSelection();
      return true;
    },
    setReadAloud(on) {
      terminal.options.screenReaderMode = on;
    },
    focus: () => terminal.focus(),
    selection: () => terminal.getSelection(),
    text: () => allLines(terminal),
    get size() {
      return { columns: terminal.cols, rows: terminal.rows };
    },
    dispose() {
      watcher.disconnect();
      stay();
      terminal.dispose();
    },
  };
}

function allLines({ buffer }: Terminal): string {
  const lines: string[] = [];
  for (let n = 0; n < buffer.active.length; n++) {
    const line = buffer.active.getLine(n);
    if (line === undefined) continue;
    const text = line.translateToString(true);
    if (line.isWrapped && lines.length > 0) lines[lines.length - 1] += text;
    else lines.push(text);
  }
  return `${lines.join('\n').trimEnd()}\n`;
}
