import type { ChannelError, ChannelErrorCode } from '../contracts/channel.ts';
import type { Vm } from '../infra/prisma.ts';
import { Problem, type ProblemCode } from '../lib/errors.ts';

const CODES: Readonly<Partial<Record<ChannelErrorCode, readonly [ProblemCode, hint?: string]>>> = {
  'no-screen': [
    'no_screen',
    'a VM has one when it starts from its firmware: with `cdrom` or `disks` and without a kernel',
  ],
  'no-text': ['no_text', 'GET …/screenshot shows a screen in any mode'],
  'no-device': ['no_input_device'],
  invalid: ['invalid_request'],
  timeout: ['wait_timeout', 'wait again, or look at its screenshot and serial log'],
  'too-many': ['too_many_waiting'],
};

/** A refusal of a VM's process, as its user sees it. */
export function problemOf(error: ChannelError, vm: Pick<Vm, 'name'>): Problem {
  const [code, hint] = CODES[error.code] ?? ['unavailable'];
  return new Problem(code, `${vm.name}: ${error.message}`, {
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  });
}
