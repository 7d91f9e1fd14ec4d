import { randomUUID } from 'node:crypto';
import type { Api, Json } from '../api.ts';
import { connectApi } from '../api.ts';
import type { Command, Invocation, OptionSpecs, Options } from '../command.ts';
import { EXIT, UsageError } from '../command.ts';
import { age, bytes, fields, print, printJson, table } from '../output.ts';
import { findByName, objectOf, pathOf, textOf, waitForOperation, waitForVm } from '../resources.ts';
import { screenCommands } from './vm-screen.ts';

const DEFAULT_MEMORY_MIB = 256;
const VM_STATES = ['stopped', 'starting', 'running', 'paused', 'stopping', 'failed'] as const;
const OPERATION_WAIT_SECONDS = 300;

const waiting: OptionSpecs = {
  'no-wait': { description: 'do not wait until it is done' },
};

function describe(vm: Json): string {
  const engine = objectOf(vm, 'engine');
  const error = objectOf(vm, 'lastError');
  return fields([
    ['id', textOf(vm, 'id')],
    ['name', textOf(vm, 'name')],
    ['state', textOf(vm, 'state')],
    ['desired', textOf(vm, 'desired')],
    ['image', textOf(vm, 'image')],
    ['cdrom', vm.cdrom === null ? '-' : textOf(objectOf(vm, 'cdrom'), 'image', 'empty')],
    ['disks', describeDisks(vm)],
    ['memory', `${textOf(vm, 'memoryMiB')} MiB`],
    ['vcpus', textOf(vm, 'vcpus')],
    ['engine', `${textOf(engine, 'requested')} (runs on: ${textOf(engine, 'actual')})`],
    ['restart', `${textOf(vm, 'restartPolicy')} (${textOf(vm, 'restartCount', '0')} in a row)`],
    ['host', textOf(vm, 'host')],
    [
      'labels',
      Object.entries(objectOf(vm, 'labels'))
        .map(([key, value]) => `${key}=${String(value)}`)
        .join(' ') || '-',
    ],
    ['created', textOf(vm, 'createdAt')],
    ['started', textOf(vm, 'startedAt')],
    ['last error', vm.lastError === null ? '-' : textOf(error, 'message')],
  ]);
}

function describeDisks(vm: Json): string {
  const disks = Array.isArray(vm.disks) ? (vm.disks as Json[]) : [];
  const shown = disks.map((disk) => {
    const size = bytes(Number(disk.sizeBytes ?? 0));
    return `${textOf(disk, 'image', 'empty')} (${textOf(disk, 'mode')}, ${textOf(disk, 'bus')}, ${size})`;
  });
  return shown.join(', ') || '-';
}

/** Shows a VM after something was done to it. */
async function showChanged(vm: Json, options: Options): Promise<number> {
  if (options.has('json')) await printJson(vm);
  else await print(`${textOf(vm, 'name')} (${textOf(vm, 'id')}) is ${textOf(vm, 'state')}\n`);
  return EXIT.ok;
}

/** Waits for the operation that a request began, unless told not to, and shows its VM. */
async function follow(
  api: Api,
  answer: Json,
  options: Options,
  seconds = OPERATION_WAIT_SECONDS,
): Promise<number> {
  const vm = objectOf(answer, 'vm');
  const operation = objectOf(answer, 'operation');
  if (options.has('no-wait')) {
    if (options.has('json')) await printJson(answer);
    else
      await print(
        `${textOf(vm, 'name')} (${textOf(vm, 'id')}): ${textOf(operation, 'kind')} is ${textOf(operation, 'id')}\n`,
      );
    return EXIT.ok;
  }
  await waitForOperation(api, textOf(operation, 'id'), seconds);
  return showChanged(await api.request('GET', `vms/${textOf(vm, 'id')}`), options);
}

function parseLabels(labels: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    labels.map((label) => {
      const at = label.indexOf('=');
      if (at < 1) throw new UsageError(`--label takes NAME=VALUE, not ‘${label}’`);
      return [label.slice(0, at), label.slice(at + 1)];
    }),
  );
}

/** Where firmware looks, as `--boot cdrom,disk` says. */
function bootOrder(options: Options): string[] | undefined {
  const text = options.text('boot');
  if (text === undefined) return undefined;
  const order = text.split(',');
  const known = order.every((device) => device === 'cdrom' || device === 'disk');
  if (!known || new Set(order).size < order.length) {
    throw new UsageError(`--boot takes cdrom, disk or both, with a comma, not ‘${text}’`);
  }
  return order;
}

/** A disk as `--disk` names it: an image, and what is to be different. */
function parseDisk(text: string): Json {
  const disk: Record<string, unknown> = {};
  for (const part of text.split(',')) {
    const at = part.indexOf('=');
    const name = at < 0 ? part : part.slice(0, at);
    const value = at < 0 ? undefined : part.slice(at + 1);
    if (value === undefined && name === 'readonly') disk.readonly = true;
    else if (value === undefined && disk.image === undefined && name !== '') disk.image = name;
    else if (name === 'size' && value !== undefined && /^\d+$/.test(value)) disk.sizeMiB = Number(value);
    else if (name === 'mode' && (value === 'overlay' || value === 'throw-away')) disk.mode = value;
    else if (name === 'bus' && (value === 'virtio' || value === 'ide')) disk.bus = value;
    else
      throw new UsageError(
        `--disk takes IMAGE, size=MIB, mode=, bus= and readonly, not ‘${part}’ in ‘${text}’`,
      );
  }
  return disk;
}

function createBody({ positionals, options }: Invocation): Json {
  const image = options.text('image');
  const kernel = options.text('kernel');
  const initrd = options.text('initrd');
  const cmdline = options.text('append');
  const cdrom = options.text('cdrom');
  const disks = options.list('disk').map(parseDisk);
  if (image !== undefined && kernel !== undefined) {
    throw new UsageError('vm create takes either --image or --kernel');
  }
  if (image === undefined && kernel === undefined && cdrom === undefined && disks.length === 0) {
    throw new UsageError('vm create needs --image, --kernel, --cdrom or --disk: something to boot');
  }
  if (kernel === undefined && (initrd !== undefined || cmdline !== undefined)) {
    throw new UsageError('--initrd and --append go with --kernel');
  }
  const order = bootOrder(options);
  const boot = {
    ...(kernel === undefined ? {} : { kernel }),
    ...(initrd === undefined ? {} : { initrd }),
    ...(cmdline === undefined ? {} : { cmdline }),
    ...(order === undefined ? {} : { order }),
  };
  const optional = {
    vcpus: options.number('vcpus', 1, 256),
    engine: options.oneOf('engine', ['auto', 'interpret', 'translate', 'kvm'] as const),
    cpu: options.text('cpu'),
    restartPolicy: options.oneOf('restart', ['never', 'on-failure', 'always'] as const),
  };
  const labels = options.list('label');
  return {
    name: positionals[0] ?? `vm-${randomUUID().slice(0, 8)}`,
    memoryMiB: options.number('memory', 16, 3072) ?? DEFAULT_MEMORY_MIB,
    ...(image === undefined ? {} : { image }),
    ...(Object.keys(boot).length === 0 ? {} : { boot }),
    ...(cdrom === undefined ? {} : { cdrom: cdrom === 'none' ? {} : { image: cdrom } }),
    ...(disks.length === 0 ? {} : { disks }),
    ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
    ...(labels.length === 0 ? {} : { labels: parseLabels(labels) }),
    start: !options.has('no-start'),
  };
}

const create: Command = {
  name: 'vm create',
  summary: 'Create a VM, and start it.',
  arguments: '[NAME]',
  arity: [0, 1],
  options: {
    image: { value: 'IMAGE', description: 'the image to boot, by name or id' },
    kernel: { value: 'IMAGE', description: 'a kernel image to boot instead' },
    initrd: { value: 'IMAGE', description: 'an initrd image to go with --kernel' },
    append: { value: 'STRING', description: 'the command line of --kernel' },
    cdrom: { value: 'IMAGE', description: 'a disc in its CD-ROM drive; none for an empty drive' },
    disk: {
      value: 'DISK',
      multiple: true,
      description:
        'IMAGE or size=MIB, with mode=throw-away, readonly, bus=ide, size=MIB; several times for several',
    },
    boot: { value: 'ORDER', description: 'where firmware looks: cdrom, disk or both (cdrom,disk)' },
    memory: { value: 'MIB', description: `memory, 16 to 3072 MiB (${DEFAULT_MEMORY_MIB})` },
    vcpus: { value: 'COUNT', description: 'virtual processors (1)' },
    engine: { value: 'ENGINE', description: 'auto, interpret, translate or kvm (auto)' },
    cpu: { value: 'PROFILE', description: 'processor profile (portable)' },
    label: { value: 'NAME=VALUE', multiple: true, description: 'a label; may be given several times' },
    restart: { value: 'POLICY', description: 'never, on-failure or always (on-failure)' },
    'no-start': { description: 'leave it stopped' },
    console: { description: 'attach this terminal to its serial console' },
    ...waiting,
  },
  async run(invocation) {
    const { options } = invocation;
    if (options.has('console') && options.has('no-start')) {
      throw new UsageError('--console needs a VM that runs: leave out --no-start');
    }
    const body = createBody(invocation);
    const api = connectApi(invocation);
    const answer = await api.request('POST', 'vms', { body });
    if (!options.has('console')) return follow(api, answer, options);
    await waitForOperation(api, textOf(objectOf(answer, 'operation'), 'id'), OPERATION_WAIT_SECONDS);
    const vm = objectOf(answer, 'vm');
    return attach(api, `vms/${textOf(vm, 'id')}`, textOf(vm, 'name'));
  },
};

/** What a console takes is loaded when there is one: it brings half of Node's network library with it. */
async function attach(api: Api, path: string, name: string): Promise<number> {
  const { attachConsole } = await import('../console.ts');
  return attachConsole(api, path, name);
}

const list: Command = {
  name: 'vm list',
  summary: 'List the VMs.',
  arguments: '',
  arity: [0, 0],
  options: { state: { value: 'STATE', description: `only those that are ${VM_STATES.join(', ')}` } },
  async run(invocation) {
    const { options } = invocation;
    const vms = await connectApi(invocation).list('vms', { state: options.oneOf('state', VM_STATES) });
    if (options.has('json')) await printJson(vms);
    else {
      const rows = vms.map((vm) => [
        textOf(vm, 'name'),
        textOf(vm, 'state'),
        textOf(vm, 'image'),
        textOf(vm, 'memoryMiB'),
        textOf(vm, 'host'),
        age(typeof vm.createdAt === 'string' ? vm.createdAt : null),
        textOf(vm, 'id'),
      ]);
      await print(table(['NAME', 'STATE', 'IMAGE', 'MIB', 'HOST', 'AGE', 'ID'], rows));
    }
    return EXIT.ok;
  },
};

const show: Command = {
  name: 'vm show',
  summary: 'Show a VM.',
  arguments: 'VM',
  arity: [1, 1],
  options: {},
  async run(invocation) {
    const vm = await findByName(connectApi(invocation), 'vms', invocation.positionals[0] ?? '');
    if (invocation.options.has('json')) await printJson(vm);
    else await print(describe(vm));
    return EXIT.ok;
  },
};

function action(verb: string, summary: string, seconds = OPERATION_WAIT_SECONDS): Command {
  return {
    name: `vm ${verb}`,
    summary,
    arguments: 'VM',
    arity: [1, 1],
    options: waiting,
    async run(invocation) {
      const api = connectApi(invocation);
      const path = await pathOf(api, 'vms', invocation.positionals[0] ?? '');
      return follow(api, await api.request('POST', `${path}/${verb}`), invocation.options, seconds);
    },
  };
}

const remove: Command = {
  name: 'vm rm',
  summary: 'Delete VMs.',
  arguments: 'VM…',
  arity: [1, 100],
  options: { force: { description: 'pull the plug of a VM that is not stopped' }, ...waiting },
  async run(invocation) {
    const { options } = invocation;
    const api = connectApi(invocation);
    const answers: Json[] = [];
    for (const ref of invocation.positionals) {
      const path = await pathOf(api, 'vms', ref);
      const answer = await api.request('DELETE', path, {
        query: { force: options.has('force') || undefined },
      });
      if (!options.has('no-wait')) {
        await waitForOperation(api, textOf(objectOf(answer, 'operation'), 'id'), OPERATION_WAIT_SECONDS);
      }
      answers.push(answer);
      if (!options.has('json'))
        await print(`${ref} ${options.has('no-wait') ? 'is being deleted' : 'is deleted'}\n`);
    }
    if (options.has('json')) await printJson(answers);
    return EXIT.ok;
  },
};

const wait: Command = {
  name: 'vm wait',
  summary: 'Wait until a VM is in a state.',
  arguments: 'VM',
  arity: [1, 1],
  options: {
    state: { value: 'STATE', description: `${VM_STATES.join(', ')} (running)` },
    timeout: { value: 'SECONDS', description: 'how long to wait (60); then the exit status is 124' },
  },
  async run(invocation) {
    const { options } = invocation;
    const state = options.oneOf('state', VM_STATES) ?? 'running';
    const seconds = options.number('timeout', 0, 86_400, { integer: false }) ?? 60;
    const api = connectApi(invocation);
    const path = await pathOf(api, 'vms', invocation.positionals[0] ?? '');
    return showChanged(await waitForVm(api, path, state, seconds), options);
  },
};

const console: Command = {
  name: 'vm console',
  summary: 'Attach this terminal to the serial console of a VM.',
  arguments: 'VM',
  arity: [1, 1],
  options: {},
  notes:
    'Ctrl-] detaches; the VM runs on. Input that is not a terminal is sent as it is, and the console stays\n' +
    'attached until the VM stops. A serial line knows no window size: after resizing the window run\n' +
    '‘resize’ in the guest, which asks the terminal for it.',
  async run(invocation) {
    const api = connectApi(invocation);
    const vm = await findByName(api, 'vms', invocation.positionals[0] ?? '');
    return attach(api, `vms/${textOf(vm, 'id')}`, textOf(vm, 'name'));
  },
};

const log: Command = {
  name: 'vm log',
  summary: 'Print the last 64 KiB of the serial line of a VM.',
  arguments: 'VM',
  arity: [1, 1],
  options: {},
  async run(invocation) {
    const api = connectApi(invocation);
    const path = await pathOf(api, 'vms', invocation.positionals[0] ?? '');
    const text = await (await api.fetch('GET', `${path}/serial/log`)).text();
    if (invocation.options.has('json')) await printJson({ log: text });
    else await print(text);
    return EXIT.ok;
  },
};

export const vmCommands: readonly Command[] = [
  create,
  list,
  show,
  action('start', 'Start a VM.'),
  action('shutdown', 'Ask the guest to shut down, by its ACPI power button.'),
  action('stop', 'Stop a VM at once, as if the plug were pulled.'),
  action('reset', 'Reset a VM, as by its reset button.'),
  action('pause', 'Hold a VM where it is.'),
  action('resume', 'Let a paused VM go on.'),
  remove,
  wait,
  console,
  log,
  ...screenCommands,
];
