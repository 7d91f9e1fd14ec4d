import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AnsiStripper } from './ansi.ts';
import { ExpectTimeoutError, expectOnScreen, expectOnStream } from './expect.ts';
import { PatternError, PatternFinder } from './pattern.ts';
import { StreamTap } from './stream-tap.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const within = { timeoutMs: 5000 };

describe('control sequences', () => {
  for (const [what, raw, text] of [
    ['colours', '\x1b[1;31mred\x1b[0m', 'red'],
    ['the question of a terminal', '~ # \x1b[6n', '~ # '],
    ['a title', '\x1b]0;a title\x07text', 'text'],
    ['a title with its other end', '\x1b]0;a title\x1b\\text', 'text'],
    ['a character set', '\x1b(Btext\x1b=', 'text'],
    ['line ends', 'a\r\nb\rc\r\r\nd', 'a\nb\rc\r\nd'],
    ['bells', 'a\x07b\0c\td', 'abc\td'],
  ] as const) {
    test(`${what}, whole and in single characters`, () => {
      assert.equal(new AnsiStripper().push(raw), text);
      const stripper = new AnsiStripper();
      assert.equal([...raw].map((c) => stripper.push(c)).join(''), text);
    });
  }

  test('a string without an end swallows no more than some', () => {
    assert.match(new AnsiStripper().push(`\x1b]${'x'.repeat(10_000)}end`), /x{5000}end$/);
  });
});

describe('patterns', () => {
  test('a text is no regular expression', () => {
    assert.deepEqual(new PatternFinder({ text: 'a.c(' }).find('abc( a.c('), {
      start: 5,
      end: 9,
      text: 'a.c(',
      groups: [],
    });
  });

  test('groups, lines, and where to begin', () => {
    const finder = new PatternFinder({ regex: '^(\\w+)(x)? login: $' });
    assert.deepEqual(finder.find('Debian\nhost login: '), {
      start: 7,
      end: 19,
      text: 'host login: ',
      groups: ['host', null],
    });
    assert.equal(new PatternFinder({ regex: 'a' }).find('a b a', 1)?.start, 4);
  });

  test('what cannot be used is said to be so', () => {
    for (const pattern of [
      { text: '' },
      { regex: '' },
      { regex: '(' },
      { regex: '(?=a)' },
      { regex: '(a)\\1' },
      { regex: 'x{1000}' },
      { regex: '(x{1000}){1000}' },
      { regex: 'a'.repeat(1001) },
    ])
      assert.throws(() => new PatternFinder(pattern), PatternError, JSON.stringify(pattern).slice(0, 40));
  });

  test('one that would take others for ever takes its time and no more', () => {
    const before = performance.now();
    assert.equal(new PatternFinder({ regex: '(a*)*(a|a)*(.*.*.*)b$' }).find('a'.repeat(20_000)), undefined);
    assert.ok(performance.now() - before < 5000);
  });
});

describe('on a stream', () => {
  test('what came before counts, unless it must not', async () => {
    const tap = new StreamTap();
    tap.write(bytes('Debian GNU/Linux\r\nhost login: '));
    const { match, seen } = await expectOnStream(tap, { regex: '(\\w+) login: $' }, within);
    assert.deepEqual(match.groups, ['host']);
    assert.equal(seen, 'Debian GNU/Linux\nhost login: ');
    await assert.rejects(
      expectOnStream(tap, { text: 'login' }, { timeoutMs: 10, backlog: false }),
      ExpectTimeoutError,
    );
  });

  test('what comes in pieces, in the middle of characters and sequences', async () => {
    const tap = new StreamTap();
    const found = expectOnStream(tap, { text: 'größer' }, within);
    for (const byte of bytes('\x1b[1mgr\x1b[31mö\x1b[0mßer und mehr')) tap.write(Uint8Array.of(byte));
    assert.equal((await found).seen, 'größer');
    const raw = expectOnStream(tap, { text: '\x1b[31mö' }, { ...within, stripAnsi: false });
    assert.equal((await raw).match.text, '\x1b[31mö');
  });

  test('a match that lies across two looks', async () => {
    const tap = new StreamTap();
    const found = expectOnStream(tap, { text: 'Password:' }, within);
    tap.write(bytes(`${'x'.repeat(100_000)}Pass`));
    await new Promise((resolve) => setTimeout(resolve, 120));
    tap.write(bytes('word:'));
    const { match, seen } = await found;
    assert.equal(match.text, 'Password:');
    assert.ok(seen.length <= 32_768 && seen.endsWith('xPassword:'));
  });

  test('a guest that prints without end costs no memory', async () => {
    const tap = new StreamTap();
    const found = expectOnStream(tap, { text: 'never' }, { timeoutMs: 150 });
    for (let i = 0; i < 2000; i++) tap.write(new Uint8Array(4096).fill(0x78));
    await assert.rejects(
      found,
      (error: unknown) => error instanceof ExpectTimeoutError && (error.seen?.length ?? 0) <= 32_768,
    );
  });

  test('can be given up', async () => {
    const stop = new AbortController();
    const found = expectOnStream(new StreamTap(), { text: 'x' }, { ...within, signal: stop.signal });
    stop.abort(new Error('enough'));
    await assert.rejects(found, { message: 'enough' });
  });
});

describe('on a screen', () => {
  test('in its rows, as they change', async () => {
    let rows: readonly string[] | undefined;
    const screen = { text: () => rows };
    const found = expectOnScreen(screen, { regex: '^grub> *$' }, within);
    setTimeout(() => {
      rows = ['GNU GRUB', '', 'grub>'];
    }, 80);
    const { match, seen } = await found;
    assert.equal(match.text, 'grub>');
    assert.equal(seen, 'GNU GRUB\n\ngrub>');
  });

  test('in no text mode there is nothing', async () => {
    await assert.rejects(
      expectOnScreen({ text: () => undefined }, { text: 'x' }, { timeoutMs: 20 }),
      (error: unknown) => error instanceof ExpectTimeoutError && error.seen === undefined,
    );
  });
});
