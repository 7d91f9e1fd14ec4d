import { IdParams, NoQuery, Page } from '../../contracts/common.ts';
import { VmMetricsHistory } from '../../contracts/metrics.ts';
import {
  ChangeCdrom,
  CreateTicket,
  CreateVm,
  DeleteVmQuery,
  ListVmsQuery,
  PatchVm,
  Ticket,
  Vm,
  VmAndOperation,
  VmMetricsAnswer,
  WaitVmQuery,
} from '../../contracts/vms.ts';
import { Problem } from '../../lib/errors.ts';
import { type App, principalOf, problems, refuseBody, scopeOf, sealOf } from '../http.ts';
import type { TicketsService } from '../tickets/tickets.service.ts';
import type { Waiting } from '../waiting.ts';
import type { VmMetricsService } from './vm-metrics.service.ts';
import { operationPath, type VmsService } from './vms.service.ts';
import type { VmAction } from './vms.transitions.ts';

const params = IdParams('vm');
const tags = ['vms'];

const ACTIONS: Readonly<Record<VmAction, string>> = {
  start: 'Starts a stopped or failed VM',
  shutdown: 'Presses the ACPI power button: the guest decides',
  stop: 'Pulls the plug',
  reset: 'Presses the reset button',
  pause: 'Holds the VM; its memory stays',
  resume: 'Lets a paused VM go on',
};

export interface VmRoutesDeps {
  readonly vms: VmsService;
  readonly metrics: VmMetricsService;
  readonly tickets: TicketsService;
  readonly waiting: Waiting;
}

export function vmRoutes(app: App, deps: VmRoutesDeps): void {
  collectionRoutes(app, deps.vms);
  objectRoutes(app, deps.vms, deps.waiting);
  actionRoutes(app, deps.vms);
  cdromRoute(app, deps.vms);
  consoleRoutes(app, deps);
}

function collectionRoutes(app: App, vms: VmsService): void {
  app.post(
    '/vms',
    {
      schema: {
        tags,
        summary: 'Creates a VM and, unless `start` is false, starts it',
        body: CreateVm,
        response: { 202: VmAndOperation, ...problems(400, 401, 403, 404, 409, 422) },
      },
    },
    async (request, reply) => {
      const answer = await vms.create(scopeOf(request), request.body, sealOf(request));
      return reply.code(202).header('location', operationPath(answer.operation.id)).send(answer);
    },
  );

  app.get(
    '/vms',
    {
      schema: {
        tags,
        summary: 'VMs, oldest first',
        querystring: ListVmsQuery,
        response: { 200: Page(Vm), ...problems(400, 401) },
      },
    },
    async (request) => vms.list(scopeOf(request), request.query),
  );
}

function objectRoutes(app: App, vms: VmsService, waiting: Waiting): void {
  app.get(
    '/vms/:id',
    { schema: { tags, summary: 'One VM', params, response: { 200: Vm, ...problems(401, 404) } } },
    async (request) => vms.get(scopeOf(request), request.params.id),
  );

  app.patch(
    '/vms/:id',
    {
      schema: {
        tags,
        summary: 'Changes what a VM is called or, while it is stopped, what it has',
        params,
        body: PatchVm,
        response: { 200: Vm, ...problems(400, 401, 403, 404, 409, 422) },
      },
    },
    async (request) => vms.patch(scopeOf(request), request.params.id, request.body),
  );

  app.delete(
    '/vms/:id',
    {
      schema: {
        tags,
        summary: 'Deletes a stopped VM or, with `force`, any',
        params,
        querystring: DeleteVmQuery,
        response: { 202: VmAndOperation, ...problems(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) => {
      const { force } = request.query;
      const forced = force === 'true' || force === '1' || force === '';
      const answer = await vms.remove(scopeOf(request), request.params.id, forced);
      return reply.code(202).header('location', operationPath(answer.operation.id)).send(answer);
    },
  );

  app.get(
    '/vms/:id/wait',
    {
      schema: {
        tags,
        summary: 'Waits until the VM is in a state',
        description: 'Answers 401 within two seconds when the key or session that asked ends meanwhile.',
        params,
        querystring: WaitVmQuery,
        response: { 200: Vm, ...problems(400, 401, 404, 408) },
      },
    },
    async (request, reply) => {
      const { state, timeout = 60 } = request.query;
      return waiting.run(request, reply, (ended) =>
        vms.wait(scopeOf(request), request.params.id, state, timeout * 1000, ended),
      );
    },
  );
}

function actionRoutes(app: App, vms: VmsService): void {
  for (const action of Object.keys(ACTIONS) as VmAction[]) {
    app.post(
      `/vms/:id/${action}`,
      {
        schema: {
          tags,
          summary: ACTIONS[action],
          params,
          querystring: NoQuery,
          response: { 202: VmAndOperation, ...problems(400, 401, 403, 404, 409) },
        },
        preValidation: refuseBody,
      },
      async (request, reply) => {
        const answer = await vms.act(scopeOf(request), request.params.id, action, sealOf(request));
        return reply.code(202).header('location', operationPath(answer.operation.id)).send(answer);
      },
    );
  }
}

function cdromRoute(app: App, vms: VmsService): void {
  app.post(
    '/vms/:id/cdrom',
    {
      schema: {
        tags,
        summary: 'Puts a disc into the CD-ROM drive, or takes it out',
        description:
          'While the VM runs its guest sees the medium change. A guest that ejects the disc by itself leaves the ' +
          'drive empty. The operation fails when the guest has locked the tray and `force` is not given.',
        params,
        body: ChangeCdrom,
        response: { 202: VmAndOperation, ...problems(400, 401, 403, 404, 409) },
      },
    },
    async (request, reply) => {
      const answer = await vms.changeDisc(scopeOf(request), request.params.id, request.body, sealOf(request));
      return reply.code(202).header('location', operationPath(answer.operation.id)).send(answer);
    },
  );
}

function consoleRoutes(app: App, deps: VmRoutesDeps): void {
  app.post(
    '/vms/:id/tickets',
    {
      schema: {
        tags,
        summary: 'A ticket for a browser’s WebSocket, which cannot send a key',
        params,
        body: CreateTicket,
        response: { 201: Ticket, ...problems(400, 401, 403, 404, 503) },
      },
      config: { secretAnswer: true },
    },
    async (request, reply) => {
      const vm = await deps.vms.get(scopeOf(request), request.params.id);
      const { for: purpose, viewOnly = false } = request.body;
      if (viewOnly && purpose !== 'display') {
        throw new Problem('invalid_request', '`viewOnly` is for a `display`');
      }
      const ticket = await deps.tickets.issue(principalOf(request), vm, purpose, viewOnly);
      return reply.code(201).send(ticket);
    },
  );

  app.get(
    '/vms/:id/metrics',
    {
      schema: {
        tags,
        summary: 'CPU, memory, disk and network of one VM',
        params,
        response: { 200: VmMetricsAnswer, ...problems(401, 404, 503) },
      },
    },
    async (request) => deps.metrics.of(await deps.vms.get(scopeOf(request), request.params.id)),
  );

  app.get(
    '/vms/:id/metrics/history',
    {
      schema: {
        tags,
        summary: 'The same over the last hour, as rates',
        params,
        response: { 200: VmMetricsHistory, ...problems(401, 404, 503) },
      },
    },
    async (request) => deps.metrics.history(await deps.vms.get(scopeOf(request), request.params.id)),
  );
}
