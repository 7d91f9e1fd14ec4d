import { createHash } from 'node:crypto';
import { createReadStream, openAsBlob } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { Json } from '../api.ts';
import { connectApi } from '../api.ts';
import type { Command, Invocation, OptionSpecs } from '../command.ts';
import { CommandError, EXIT, UsageError } from '../command.ts';
import { age, bytes, fields, print, printJson, table } from '../output.ts';
import { findByName, objectOf, pathOf, textOf, waitForOperation } from '../resources.ts';
import { imageUpload } from './image-upload.ts';

type Row = (item: Json) => string[];

/** A command that shows a list: JSON, or a table. */
function lister(
  name: string,
  summary: string,
  role: 'tenant' | 'operator',
  source: (invocation: Invocation) => Promise<string> | string,
  headings: readonly string[],
  row: Row,
  options: OptionSpecs = {},
): Command {
  return {
    name,
    summary,
    arguments: '',
    arity: [0, 0],
    options,
    async run(invocation) {
      const items = await connectApi(invocation, role).list(await source(invocation));
      if (invocation.options.has('json')) await printJson(items);
      else await print(table(headings, items.map(row)));
      return EXIT.ok;
    },
  };
}

function ageOf(item: Json, name: string): string {
  const value = item[name];
  return age(typeof value === 'string' ? value : null);
}

/** Prints an object as JSON, or all its plain fields. */
async function showObject(item: Json, { options }: Invocation): Promise<number> {
  if (options.has('json')) await printJson(item);
  else await print(fields(Object.keys(item).map((name) => [name, textOf(item, name)] as const)));
  return EXIT.ok;
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

async function uploadImage(invocation: Invocation, name: string, file: string): Promise<Json> {
  const { options } = invocation;
  const kind = options.oneOf('kind', ['kernel', 'initrd'] as const);
  if (kind === undefined) throw new UsageError('--file needs --kind kernel or --kind initrd');
  const api = connectApi(invocation);
  let content: Blob;
  let sha256: string;
  try {
    sha256 = await sha256Of(file);
    content = await openAsBlob(file);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new CommandError(`${file} cannot be read (${reason})`, { status: EXIT.usage });
  }
  return api.request('POST', 'images', {
    query: { name, kind, sha256 },
    raw: { type: 'application/octet-stream', content },
  });
}

async function composeImage(invocation: Invocation, name: string): Promise<Json> {
  const { options } = invocation;
  const kernel = options.text('kernel');
  if (kernel === undefined) throw new UsageError('image create needs --file, or --kernel with an image');
  const initrd = options.text('initrd');
  const cmdline = options.text('append');
  const body = {
    name,
    kind: 'system',
    kernel,
    ...(initrd === undefined ? {} : { initrd }),
    ...(cmdline === undefined ? {} : { cmdline }),
  };
  return connectApi(invocation).request('POST', 'images', { body });
}

const imageCommands: readonly Command[] = [
  imageUpload,
  {
    name: 'image create',
    summary: 'Upload a kernel or an initrd, or make a bootable image out of two that are there.',
    arguments: 'NAME',
    arity: [1, 1],
    options: {
      file: { value: 'FILE', description: 'upload this file' },
      kind: { value: 'KIND', description: 'what the file is: kernel or initrd' },
      kernel: { value: 'IMAGE', description: 'make a bootable image with this kernel' },
      initrd: { value: 'IMAGE', description: '… and this initrd' },
      append: { value: 'STRING', description: '… and this kernel command line' },
    },
    async run(invocation) {
      const { options, positionals } = invocation;
      const [name = ''] = positionals;
      const file = options.text('file');
      if (file !== undefined && options.text('kernel') !== undefined) {
        throw new UsageError('--file and --kernel are two ways to make an image: give one');
      }
      const image =
        file === undefined ? await composeImage(invocation, name) : await uploadImage(invocation, name, file);
      if (options.has('json')) await printJson(image);
      else await print(`${textOf(image, 'name')} (${textOf(image, 'id')}) is there\n`);
      return EXIT.ok;
    },
  },
  lister(
    'image list',
    'List the images.',
    'tenant',
    () => 'images',
    ['NAME', 'KIND', 'STATE', 'SIZE', 'BUILT IN', 'AGE', 'ID'],
    (image) => [
      textOf(image, 'name'),
      textOf(image, 'kind'),
      textOf(image, 'state'),
      bytes(Number(image.sizeBytes ?? 0)),
      image.builtin === true ? 'yes' : 'no',
      ageOf(image, 'createdAt'),
      textOf(image, 'id'),
    ],
  ),
  {
    name: 'image show',
    summary: 'Show an image.',
    arguments: 'IMAGE',
    arity: [1, 1],
    options: {},
    async run(invocation) {
      return showObject(
        await findByName(connectApi(invocation), 'images', invocation.positionals[0] ?? ''),
        invocation,
      );
    },
  },
  {
    name: 'image rm',
    summary: 'Delete an image.',
    arguments: 'IMAGE',
    arity: [1, 1],
    options: {},
    async run(invocation) {
      const api = connectApi(invocation);
      const [ref = ''] = invocation.positionals;
      const answer = await api.request('DELETE', await pathOf(api, 'images', ref));
      if (invocation.options.has('json')) await printJson(answer);
      else await print(`${ref} is deleted\n`);
      return EXIT.ok;
    },
  },
];

const tenantCommands: readonly Command[] = [
  {
    name: 'tenant create',
    summary: 'Create a tenant (operator).',
    arguments: 'NAME',
    arity: [1, 1],
    options: {
      vms: { value: 'COUNT', description: 'the most VMs it may have' },
      memory: { value: 'MIB', description: 'the most memory its VMs may have together' },
      images: { value: 'MIB', description: 'the most that its images may take' },
      disks: { value: 'MIB', description: 'the most that the disks of its VMs may have together' },
    },
    async run(invocation) {
      const { options } = invocation;
      const quotas = Object.entries({
        vms: options.number('vms', 0, 2e9),
        memoryMiB: options.number('memory', 0, 2e9),
        imageMiB: options.number('images', 0, 2e9),
        diskMiB: options.number('disks', 0, 2e9),
      }).filter(([, value]) => value !== undefined);
      const body = {
        name: invocation.positionals[0],
        ...(quotas.length === 0 ? {} : { quotas: Object.fromEntries(quotas) }),
      };
      const tenant = await connectApi(invocation, 'operator').request('POST', 'tenants', { body });
      if (options.has('json')) await printJson(tenant);
      else
        await print(
          `${textOf(tenant, 'name')} (${textOf(tenant, 'id')}) is there; teremok key create --tenant gives it a key\n`,
        );
      return EXIT.ok;
    },
  },
  lister(
    'tenant list',
    'List the tenants (operator).',
    'operator',
    () => 'tenants',
    ['NAME', 'MAX VMS', 'MAX MIB', 'AGE', 'ID'],
    (tenant) => {
      const quotas = objectOf(tenant, 'quotas');
      return [
        textOf(tenant, 'name'),
        textOf(quotas, 'vms'),
        textOf(quotas, 'memoryMiB'),
        ageOf(tenant, 'createdAt'),
        textOf(tenant, 'id'),
      ];
    },
  ),
  {
    name: 'tenant show',
    summary: 'Show a tenant (operator).',
    arguments: 'TENANT',
    arity: [1, 1],
    options: {},
    async run(invocation) {
      const api = connectApi(invocation, 'operator');
      return showObject(await findByName(api, 'tenants', invocation.positionals[0] ?? ''), invocation);
    },
  },
  {
    name: 'tenant rm',
    summary: 'Delete a tenant that has no VMs (operator).',
    arguments: 'TENANT',
    arity: [1, 1],
    options: {},
    async run(invocation) {
      const api = connectApi(invocation, 'operator');
      const [ref = ''] = invocation.positionals;
      const answer = await api.request('DELETE', await pathOf(api, 'tenants', ref));
      if (invocation.options.has('json')) await printJson(answer);
      else await print(`${ref} is deleted\n`);
      return EXIT.ok;
    },
  },
];

const ofTenant: OptionSpecs = {
  tenant: { value: 'TENANT', description: 'whose key, by name or id (default)' },
};

async function keysPath(invocation: Invocation): Promise<string> {
  const api = connectApi(invocation, 'operator');
  return `${await pathOf(api, 'tenants', invocation.options.text('tenant') ?? 'default')}/keys`;
}

const keyCommands: readonly Command[] = [
  {
    name: 'key create',
    summary: 'Create an API key of a tenant (operator). It is shown once.',
    arguments: '[NAME]',
    arity: [0, 1],
    options: {
      ...ofTenant,
      'read-only': { description: 'a key that can look but not change' },
      expires: { value: 'DAYS', description: 'how long it is good (for ever)' },
    },
    async run(invocation) {
      const { options, positionals } = invocation;
      const days = options.number('expires', 0.001, 36_500, { integer: false });
      const body = {
        ...(positionals[0] === undefined ? {} : { name: positionals[0] }),
        ...(options.has('read-only') ? { scopes: ['read'] } : {}),
        ...(days === undefined ? {} : { expiresAt: new Date(Date.now() + days * 86_400_000).toISOString() }),
      };
      const path = await keysPath(invocation);
      const key = await connectApi(invocation, 'operator').request('POST', path, { body });
      if (options.has('json')) await printJson(key);
      else await print(`${textOf(key, 'key')}\n`);
      return EXIT.ok;
    },
  },
  lister(
    'key list',
    'List the API keys of a tenant (operator).',
    'operator',
    keysPath,
    ['NAME', 'SCOPES', 'AGE', 'EXPIRES', 'REVOKED', 'ID'],
    (key) => [
      textOf(key, 'name'),
      Array.isArray(key.scopes) ? key.scopes.join(',') : '-',
      ageOf(key, 'createdAt'),
      textOf(key, 'expiresAt', 'never'),
      textOf(key, 'revokedAt', 'no'),
      textOf(key, 'id'),
    ],
    ofTenant,
  ),
  {
    name: 'key rm',
    summary: 'Revoke an API key of a tenant (operator).',
    arguments: 'KEY-ID',
    arity: [1, 1],
    options: ofTenant,
    async run(invocation) {
      const [id = ''] = invocation.positionals;
      const path = `${await keysPath(invocation)}/${encodeURIComponent(id)}`;
      const answer = await connectApi(invocation, 'operator').request('DELETE', path);
      if (invocation.options.has('json')) await printJson(answer);
      else await print(`${id} is revoked\n`);
      return EXIT.ok;
    },
  },
];

const hostCommands: readonly Command[] = [
  lister(
    'host list',
    'List the hosts (operator).',
    'operator',
    () => 'hosts',
    ['NAME', 'STATE', 'MIB USED', 'MIB', 'VCPUS USED', 'VCPUS', 'ENGINES', 'SEEN', 'ID'],
    (host) => {
      const memory = objectOf(host, 'memoryMiB');
      const vcpus = objectOf(host, 'vcpus');
      return [
        textOf(host, 'name'),
        textOf(host, 'state'),
        textOf(memory, 'reserved'),
        textOf(memory, 'total'),
        textOf(vcpus, 'reserved'),
        textOf(vcpus, 'total'),
        Array.isArray(host.engines) ? host.engines.join(',') : '-',
        ageOf(host, 'lastHeartbeatAt'),
        textOf(host, 'id'),
      ];
    },
  ),
];

const operationCommands: readonly Command[] = [
  {
    name: 'operation show',
    summary: 'Show an operation.',
    arguments: 'OPERATION-ID',
    arity: [1, 1],
    options: {},
    async run(invocation) {
      const path = `operations/${encodeURIComponent(invocation.positionals[0] ?? '')}`;
      return showObject(await connectApi(invocation).request('GET', path), invocation);
    },
  },
  {
    name: 'operation wait',
    summary: 'Wait until an operation is over.',
    arguments: 'OPERATION-ID',
    arity: [1, 1],
    options: {
      timeout: { value: 'SECONDS', description: 'how long to wait (60); then the exit status is 124' },
    },
    async run(invocation) {
      const seconds = invocation.options.number('timeout', 0, 86_400, { integer: false }) ?? 60;
      const operation = await waitForOperation(
        connectApi(invocation),
        invocation.positionals[0] ?? '',
        seconds,
      );
      return showObject(operation, invocation);
    },
  },
];

export const otherCommands: readonly Command[] = [
  ...imageCommands,
  ...tenantCommands,
  ...keyCommands,
  ...hostCommands,
  ...operationCommands,
];
