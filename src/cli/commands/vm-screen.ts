import { open } from 'node:fs/promises';
import type { Api } from '../api.ts';
import { connectApi } from '../api.ts';
import type { Command, Invocation } from '../command.ts';
import { CommandError, EXIT, UsageError } from '../command.ts';
import { print, printJson } from '../output.ts';
import { pathOf, textOf, waitForOperation } from '../resources.ts';

const OPERATION_WAIT_SECONDS = 300;

async function vmOf(invocation: Invocation): Promise<{ api: Api; path: string }> {
  const api = connectApi(invocation);
  return { api, path: await pathOf(api, 'vms', invocation.positionals[0] ?? '') };
}

const screenshot: Command = {
  name: 'vm screenshot',
  summary: 'Save a picture of the screen of a VM, as PNG.',
  arguments: 'VM FILE',
  arity: [2, 2],
  options: {},
  notes: 'FILE - is the standard output.',
  async run(invocation) {
    const { api, path } = await vmOf(invocation);
    const picture = Buffer.from(await (await api.fetch('GET', `${path}/screenshot`)).arrayBuffer());
    const [, file = '-'] = invocation.positionals;
    if (file === '-') {
      await new Promise<void>((resolve) => process.stdout.write(picture, () => resolve()));
      return EXIT.ok;
    }
    try {
      const handle = await open(file, 'w');
      await handle.writeFile(picture).finally(() => handle.close());
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code ?? String(error);
      throw new CommandError(`${file} cannot be written (${reason})`, { status: EXIT.usage });
    }
    if (invocation.options.has('json')) await printJson({ file, bytes: picture.length });
    return EXIT.ok;
  },
};

const text: Command = {
  name: 'vm text',
  summary: 'Print the text on the screen of a VM.',
  arguments: 'VM',
  arity: [1, 1],
  options: {},
  async run(invocation) {
    const { api, path } = await vmOf(invocation);
    const screen = await api.request('GET', `${path}/screen/text`);
    if (invocation.options.has('json')) await printJson(screen);
    else
      await print(`${(Array.isArray(screen.lines) ? screen.lines.map(String) : []).join('\n').trimEnd()}\n`);
    return EXIT.ok;
  },
};

const layout = {
  layout: { value: 'LAYOUT', description: 'the keyboard layout that the guest is set to (us)' },
} as const;

function layoutOf({ options }: Invocation): { layout?: string } {
  const name = options.text('layout');
  return name === undefined ? {} : { layout: name };
}

async function input(invocation: Invocation, body: Record<string, unknown>): Promise<number> {
  const { api, path } = await vmOf(invocation);
  const done = await api.request('POST', `${path}/input`, { body: { ...body, ...layoutOf(invocation) } });
  if (invocation.options.has('json')) await printJson(done);
  return EXIT.ok;
}

const type: Command = {
  name: 'vm type',
  summary: 'Type a text on the keyboard of a VM.',
  arguments: 'VM TEXT',
  arity: [2, 2],
  options: { ...layout, enter: { description: 'press Enter after it' } },
  async run(invocation) {
    const [, words = ''] = invocation.positionals;
    const typed = invocation.options.has('enter') ? `${words}\n` : words;
    return input(invocation, { type: 'text', text: typed });
  },
};

const key: Command = {
  name: 'vm key',
  summary: 'Press keys of a VM together, and let them go.',
  arguments: 'VM KEY…',
  arity: [2, 9],
  options: layout,
  notes:
    'As in: teremok vm key web ctrl alt delete. Keys are single characters and names such as enter, f12, up.',
  async run(invocation) {
    return input(invocation, { type: 'keys', keys: invocation.positionals.slice(1) });
  },
};

const expect: Command = {
  name: 'vm expect',
  summary: 'Wait until a VM says something, on its serial line or its screen.',
  arguments: 'VM PATTERN',
  arity: [2, 2],
  options: {
    on: { value: 'WHERE', description: 'serial or screen (serial)' },
    after: { value: 'BYTE', description: 'only what was said on the serial line from this byte on' },
    timeout: {
      value: 'SECONDS',
      description: 'how long to wait, up to 300 (60); then the exit status is 124',
    },
  },
  notes: 'PATTERN is a regular expression (RE2). Prints what matched.',
  async run(invocation) {
    const { options, positionals } = invocation;
    const after = options.number('after', 0, Number.MAX_SAFE_INTEGER);
    const body = {
      on: options.oneOf('on', ['serial', 'screen'] as const) ?? 'serial',
      pattern: positionals[1],
      timeoutSeconds: options.number('timeout', 0, 300, { integer: false }) ?? 60,
      ...(after === undefined ? {} : { after }),
    };
    const { api, path } = await vmOf(invocation);
    const found = await api.request('POST', `${path}/expect`, { body });
    if (options.has('json')) await printJson(found);
    else await print(`${textOf(found, 'text', '')}\n`);
    return EXIT.ok;
  },
};

const cdrom: Command = {
  name: 'vm cdrom',
  summary: 'Put a disc into the CD-ROM drive of a VM, or take it out.',
  arguments: 'VM [IMAGE]',
  arity: [1, 2],
  options: {
    eject: { description: 'take out what is there' },
    force: { description: 'even when the guest has locked the tray' },
    'no-wait': { description: 'do not wait until it is done' },
  },
  async run(invocation) {
    const { options, positionals } = invocation;
    const [, image] = positionals;
    if ((image === undefined) !== options.has('eject'))
      throw new UsageError('vm cdrom needs an IMAGE or --eject');
    const { api, path } = await vmOf(invocation);
    const body = { image: image ?? null, ...(options.has('force') ? { force: true } : {}) };
    const answer = await api.request('POST', `${path}/cdrom`, { body });
    const operation = answer.operation as { readonly id?: unknown } | undefined;
    if (!options.has('no-wait')) await waitForOperation(api, String(operation?.id), OPERATION_WAIT_SECONDS);
    if (options.has('json')) await printJson(answer);
    else await print(image === undefined ? 'the drive is empty\n' : `${image} is in the drive\n`);
    return EXIT.ok;
  },
};

export const screenCommands: readonly Command[] = [screenshot, text, type, key, expect, cdrom];
