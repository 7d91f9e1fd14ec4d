import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static, type TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { ChannelError, type ToolOperation } from '../contracts/channel.ts';
import { IdParams, NoQuery } from '../contracts/common.ts';
import { Expect, Expected, InputDone, ScreenText, VmInput } from '../contracts/screen.ts';
import type { Vm } from '../infra/prisma.ts';
import { Problem } from '../lib/errors.ts';
import { type App, problems } from '../modules/http.ts';
import type { Waiting } from '../modules/waiting.ts';
import type { ToolAnswer } from './attachment.ts';
import { problemOf } from './channel-problems.ts';
import type { ConsoleOpener } from './console-opener.ts';

/** The most that a picture may take: 2560×1600 pixels that do not compress are 12 MB. */
const MOST_BYTES = 32 * 1024 * 1024;
/** How long a VM that is being started is waited for; the time of a pattern begins when it is there. Milliseconds. */
const START_MS = 20_000;

type VmRequest = FastifyRequest<{ Params: { id: string } }>;

export interface ScreenDeps {
  readonly opener: ConsoleOpener;
  readonly waiting: Waiting;
  readonly findVm: (request: VmRequest) => Promise<Vm>;
}

const params = IdParams('vm');
const tags = ['vms'];
const PNG = Type.Unsafe<Buffer>(Type.String({ contentMediaType: 'image/png' }));

/** Enough to drive an installer without anything of ours in the guest: look, type, wait for what is said. */
export function screenRoutes(app: App, { opener, waiting, findVm }: ScreenDeps): void {
  const use = async (
    request: VmRequest,
    reply: FastifyReply,
    operation: ToolOperation,
    args?: unknown,
    startMs = START_MS,
  ): Promise<ToolAnswer> => {
    const vm = await findVm(request);
    try {
      return await waiting.run(request, reply, async (ended) => {
        const attachment = await opener.openSoon(vm, { purpose: 'tool' }, {}, ended, startMs);
        if (ended.aborted) attachment.close();
        ended.addEventListener('abort', () => attachment.close());
        return attachment.useTool(operation, args, MOST_BYTES);
      });
    } catch (error) {
      if (error instanceof Problem) throw error;
      if (error instanceof ChannelError) throw problemOf(error, vm);
      throw new Problem('unavailable', `${vm.name} ended, or its worker did, before it had answered`, {
        hint: 'try again',
        cause: error,
      });
    }
  };

  app.get(
    '/vms/:id/screenshot',
    {
      schema: {
        tags,
        summary: 'A picture of the screen',
        params,
        querystring: NoQuery,
        response: {
          200: { description: 'A PNG.', content: { 'image/png': { schema: PNG } } },
          ...problems(400, 401, 404, 409, 429, 503),
        },
      },
    },
    async (request, reply) => {
      const { bytes } = await use(request, reply, 'screenshot');
      return reply.type('image/png').send(bytes);
    },
  );

  const readText = checked(ScreenText);
  app.get(
    '/vms/:id/screen/text',
    {
      schema: {
        tags,
        summary: 'The text on the screen, in a text mode',
        params,
        querystring: NoQuery,
        response: { 200: ScreenText, ...problems(400, 401, 404, 409, 429, 503) },
      },
    },
    async (request, reply) => readText(await use(request, reply, 'screenText')),
  );

  const readDone = checked(InputDone);
  app.post(
    '/vms/:id/input',
    {
      schema: {
        tags,
        summary: 'Types text, presses keys, or moves the pointer',
        description: 'Answers when the guest has taken it all.',
        params,
        querystring: NoQuery,
        body: VmInput,
        response: { 200: InputDone, ...problems(400, 401, 403, 404, 408, 409, 429, 503) },
      },
    },
    async (request, reply) => readDone(await use(request, reply, 'input', request.body)),
  );

  const readExpected = checked(Expected);
  app.post(
    '/vms/:id/expect',
    {
      schema: {
        tags,
        summary: 'Waits until the guest says something, on its serial line or its screen',
        description:
          'What is there already counts. On the serial line that is the backlog (64 KiB): give the `position` of one ' +
          'answer as `after` of the next to go on from there. 408 when the pattern does not come in time, 401 within ' +
          'two seconds when the key or session that asked ends meanwhile.',
        params,
        querystring: NoQuery,
        body: Expect,
        response: { 200: Expected, ...problems(400, 401, 403, 404, 408, 409, 429, 503) },
      },
    },
    async (request, reply) => {
      const { timeoutSeconds = 60 } = request.body;
      const startMs = Math.max(START_MS, timeoutSeconds * 1000);
      return readExpected(await use(request, reply, 'expect', request.body, startMs));
    },
  );
}

/** Checks what a VM's process answered: it runs next to a guest, and is not believed. */
function checked<T extends TSchema>(schema: T): (answer: ToolAnswer) => Static<T> {
  const validator = Compile(schema);
  return ({ value }) => {
    if (validator.Check(value)) return value as Static<T>;
    throw new Problem('unavailable', 'the VM’s process gave an answer that is none');
  };
}
