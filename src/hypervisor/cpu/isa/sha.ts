import { xmm } from '../layout.ts';
import type { Builder, Val } from './builder.ts';
import { type Instruction, instruction } from './rows.ts';
import { imm8 } from './sse-common.ts';

/** The SHA extensions (SDM vol. 1, 5.19; vol. 2). */

const SHA = { cpuid: 'SHA', unit: 'sse' } as const;

const sha = (name: string, encoding: string, target: string, third?: (b: Builder) => Val): Instruction =>
  instruction(
    name,
    encoding,
    (b) => {
      const y = b.read(1);
      b.write(0, b.call(target, b.read(0), y, ...(third ? [third(b)] : [])));
    },
    SHA,
  );

export const shaInstructions: readonly Instruction[] = [
  sha('sha1rnds4', 'NP 0F 3A CC Vx,Wx,Ib', 'sha1Rounds', (b) => imm8(b, 2)),
  sha('sha1nexte', 'NP 0F 38 C8 Vx,Wx', 'sha1NextE'),
  sha('sha1msg1', 'NP 0F 38 C9 Vx,Wx', 'sha1Message1'),
  sha('sha1msg2', 'NP 0F 38 CA Vx,Wx', 'sha1Message2'),
  sha('sha256rnds2', 'NP 0F 38 CB Vx,Wx', 'sha256Rounds', (b) => b.state('v128.load', xmm(0))),
  sha('sha256msg1', 'NP 0F 38 CC Vx,Wx', 'sha256Message1'),
  sha('sha256msg2', 'NP 0F 38 CD Vx,Wx', 'sha256Message2'),
];
