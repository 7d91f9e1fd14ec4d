import type { Api, Json } from './api.ts';
import { CommandError, EXIT } from './command.ts';

/** Reads fields of the service's answers, which are only known to be JSON. */
export function textOf(item: Json, name: string, absent = '-'): string {
  const value = item[name];
  return value === null || value === undefined
    ? absent
    : typeof value === 'object'
      ? JSON.stringify(value)
      : String(value);
}

export function objectOf(item: Json, name: string): Json {
  const value = item[name];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

const KINDS = {
  vms: { prefix: 'vm_', what: 'VM' },
  images: { prefix: 'img_', what: 'image' },
  tenants: { prefix: 'ten_', what: 'tenant' },
} as const;

/** The object that a user named by its id or its name. Rejects with a CommandError when there is none. */
export async function findByName(api: Api, kind: keyof typeof KINDS, ref: string): Promise<Json> {
  const { prefix, what } = KINDS[kind];
  if (ref.startsWith(prefix)) return api.request('GET', `${kind}/${encodeURIComponent(ref)}`);
  const items = await api.list(kind, kind === 'tenants' ? {} : { name: ref });
  const [found, ...others] = items.filter((item) => item.name === ref);
  if (found === undefined) {
    throw new CommandError(`there is no ${what} named ‘${ref}’`, {
      hint: `teremok ${what.toLowerCase()} list shows what there is`,
    });
  }
  if (others.length > 0) {
    const ids = [found, ...others].map((item) => textOf(item, 'id')).join(', ');
    throw new CommandError(`several are named ‘${ref}’: ${ids}`, {
      hint: 'give the id of the one you mean',
      status: EXIT.usage,
    });
  }
  return found;
}

/** The path of an object that a user named by its id or its name. */
export async function pathOf(api: Api, kind: keyof typeof KINDS, ref: string): Promise<string> {
  const id = ref.startsWith(KINDS[kind].prefix) ? ref : textOf(await findByName(api, kind, ref), 'id');
  return `${kind}/${encodeURIComponent(id)}`;
}

/** The most seconds that one request may wait; a longer wait asks again. */
const WAIT_SLICE_SECONDS = 60;

/**
 * Waits until an operation is over and answers it. Rejects with a CommandError
 * when it failed, was cancelled, or is not over after `seconds`.
 */
export async function waitForOperation(api: Api, id: string, seconds: number): Promise<Json> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const left = Math.max(0, (deadline - Date.now()) / 1000);
    const timeout = Math.min(WAIT_SLICE_SECONDS, Math.ceil(left));
    const operation = await waitOnce(api, `operations/${encodeURIComponent(id)}/wait`, { timeout });
    if (operation !== undefined) return checkOperation(operation);
    if (Date.now() >= deadline) {
      throw new CommandError(`operation ${id} is not over after ${seconds} s`, {
        hint: `it goes on; teremok operation wait ${id} waits longer`,
        status: EXIT.timeout,
      });
    }
  }
}

function checkOperation(operation: Json): Json {
  const state = textOf(operation, 'state');
  if (state === 'succeeded') return operation;
  const error = objectOf(operation, 'error');
  const reason =
    state === 'failed' ? textOf(error, 'message', 'no reason was given') : 'a later request took its place';
  throw new CommandError(`${textOf(operation, 'kind')} ${state}: ${reason}`);
}

/** Waits until a VM is in `state`. Rejects with a CommandError when it is not there after `seconds`. */
export async function waitForVm(api: Api, path: string, state: string, seconds: number): Promise<Json> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const left = Math.max(0, (deadline - Date.now()) / 1000);
    const vm = await waitOnce(api, `${path}/wait`, {
      state,
      timeout: Math.min(WAIT_SLICE_SECONDS, Math.ceil(left)),
    });
    if (vm !== undefined) return vm;
    if (Date.now() >= deadline) {
      const now = await api.request('GET', path);
      throw new CommandError(
        `${textOf(now, 'name')} is ${textOf(now, 'state')}, not ${state}, after ${seconds} s`,
        {
          status: EXIT.timeout,
        },
      );
    }
  }
}

async function waitOnce(
  api: Api,
  path: string,
  query: Record<string, string | number>,
): Promise<Json | undefined> {
  try {
    return await api.request('GET', path, { query });
  } catch (error) {
    if (error instanceof CommandError && error.status === EXIT.timeout) return undefined;
    throw error;
  }
}
