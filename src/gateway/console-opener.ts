import { setTimeout as delay } from 'node:timers/promises';
import type { AttachGrant } from '../contracts/attach-token.ts';
import { ATTACH_TOKEN_SECONDS, makeAttachToken } from '../contracts/attach-token.ts';
import { ChannelError } from '../contracts/channel.ts';
import { CONSOLE_CLOSE } from '../contracts/console.ts';
import type { Database, Vm } from '../infra/prisma.ts';
import { Problem } from '../lib/errors.ts';
import type { ViewerPosition } from './attachment.ts';
import { Attachment } from './attachment.ts';
import { problemOf } from './channel-problems.ts';

/** How long a console waits for a VM that should run but cannot be reached: its worker or itself is being restarted. */
const REOPEN_MS = 20_000;
const REOPEN_POLL_MS = 250;
/** What waiting may help against. */
const COMES_BACK: ReadonlySet<string> = new Set(['vm_not_running', 'unavailable']);

export interface ConsoleClose {
  readonly code: number;
  readonly reason: string;
}

/** What is opened of a VM. */
export type Wanted = Omit<AttachGrant, 'vmId'>;

/** Finds the worker that runs a VM and opens its console or screen there. */
export class ConsoleOpener {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** @throws {Problem} `vm_not_running`, `no_screen`, or `unavailable` when the worker cannot be reached. */
  async open(vm: Vm, wanted: Wanted, viewer: ViewerPosition = {}): Promise<Attachment> {
    const host =
      vm.hostId === null ? null : await this.#database.host.findUnique({ where: { id: vm.hostId } });
    if (host === null || host.endpoint === null || host.channelSecret === null) {
      throw new Problem('unavailable', `the host of ${vm.id} has no worker at present`, {
        headers: { 'retry-after': '5' },
      });
    }
    const token = makeAttachToken({ vmId: vm.id, ...wanted }, host.channelSecret);
    try {
      return await Attachment.open({ endpoint: host.endpoint, token, ...viewer });
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code === 'not-running') throw notRunning(vm);
      if (error instanceof ChannelError && code !== 'denied') throw problemOf(error, vm);
      const why =
        code === 'denied'
          ? `it refused the token: are the two clocks more than ${ATTACH_TOKEN_SECONDS} s apart?`
          : String(code ?? error);
      throw new Problem('unavailable', `the console of ${vm.id} cannot be reached at its worker (${why})`, {
        headers: { 'retry-after': '5' },
        cause: error,
      });
    }
  }

  /**
   * Opens what a user asks for of a VM that runs, or should: being started, or started again, is waited for.
   * @throws {Problem} as `open` does
   */
  async openSoon(
    vm: Vm,
    wanted: Wanted,
    viewer: ViewerPosition,
    gone: AbortSignal,
    waitMs = REOPEN_MS,
  ): Promise<Attachment> {
    if (restOf(vm) !== undefined) throw notRunning(vm);
    let reason = notRunning(vm);
    if (vm.state === 'running' || vm.state === 'paused') {
      try {
        return await this.open(vm, wanted, viewer);
      } catch (error) {
        if (!(error instanceof Problem) || !COMES_BACK.has(error.code)) throw error;
        reason = error;
      }
    }
    const attachment = await this.reopen(vm.id, wanted, viewer, gone, waitMs);
    if ('code' in attachment) throw reason;
    return attachment;
  }

  /**
   * Opens the console again after it was lost, or says how it is to be closed:
   * waits until the VM is there again or the database says that it rests.
   */
  async reopen(
    vmId: string,
    wanted: Wanted,
    viewer: ViewerPosition,
    signal: AbortSignal,
    waitMs = REOPEN_MS,
  ): Promise<Attachment | ConsoleClose> {
    const deadline = Date.now() + waitMs;
    while (Date.now() < deadline && !signal.aborted) {
      try {
        const vm = await this.#database.vm.findUnique({ where: { id: vmId } });
        const rest = restOf(vm);
        if (rest !== undefined) return rest;
        if (vm !== null) return await this.open(vm, wanted, viewer);
      } catch (error) {
        if (error instanceof Problem && !COMES_BACK.has(error.code)) throw error;
        // The database, the worker or the VM is away: all of them are expected back.
      }
      await delay(REOPEN_POLL_MS, undefined, { signal }).catch(() => {});
    }
    return { code: CONSOLE_CLOSE.restart, reason: 'the VM is being restarted; connect again' };
  }
}

/** How long a VM whose process has ended may take to come to rest in the database. Milliseconds. */
const REST_MS = 5_000;
const REST_POLL_MS = 100;

/** Why a VM whose process has ended did so; undefined when it goes on, or that is not known soon. */
export async function restSoon(database: Database, vmId: string): Promise<ConsoleClose | undefined> {
  for (const deadline = Date.now() + REST_MS; Date.now() < deadline; ) {
    const vm = await database.vm.findUnique({ where: { id: vmId } });
    const rest = restOf(vm);
    if (rest !== undefined || vm?.desired === 'running') return rest;
    await delay(REST_POLL_MS);
  }
  return undefined;
}

/** Whether a VM has come to rest, and what that means to its viewers. */
export function restOf(vm: Vm | null): ConsoleClose | undefined {
  if (vm === null || vm.desired === 'deleted')
    return { code: CONSOLE_CLOSE.deleted, reason: 'the VM was deleted' };
  if (vm.state === 'failed' && vm.nextRestartAt === null) {
    const error = vm.lastError;
    const hasMessage = typeof error === 'object' && error !== null && 'message' in error;
    const message = hasMessage ? String(error.message) : '';
    return {
      code: CONSOLE_CLOSE.failed,
      reason: message === '' ? 'the VM has failed' : `the VM has failed: ${message}`,
    };
  }
  if (vm.state === 'stopped' && vm.desired === 'stopped') {
    return { code: CONSOLE_CLOSE.stopped, reason: 'the VM has stopped' };
  }
  return undefined;
}

export function notRunning(vm: Vm): Problem {
  return new Problem(
    'vm_not_running',
    `${vm.name} is ${vm.state}: only a running VM has a console and a screen`,
    {
      hint: `start it with POST /v1/vms/${vm.id}/start; what it said last is at /v1/vms/${vm.id}/serial/log`,
    },
  );
}
