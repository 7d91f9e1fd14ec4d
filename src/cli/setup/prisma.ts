import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { projectRoot, SetupError, say, withLock } from './bootstrap.js';

/**
 * Generates the Prisma client from prisma/schema.prisma, when the schema or Prisma changed since the last time.
 * @throws SetupError with Prisma's own message when the schema is wrong
 */
export function generatePrismaClient(): void {
  const schema = join(projectRoot, 'prisma/schema.prisma');
  const text = readFileSync(schema, 'utf8');
  const output = /^\s*output\s*=\s*"([^"]+)"/m.exec(text)?.[1];
  if (output === undefined) throw new SetupError(`${schema}: the generator has no output folder`);
  const folder = resolve(dirname(schema), output);
  const version = readFileSync(join(projectRoot, 'node_modules/prisma/package.json'), 'utf8');
  const wanted = createHash('sha256').update(text).update(version).digest('hex');
  const stamp = join(folder, '.made-from');
  const isCurrent = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;
  if (isCurrent()) return;
  withLock(join(projectRoot, '.teremok/locks/prisma'), () => {
    if (isCurrent()) return;
    say('generating the Prisma client');
    generate(schema);
    mkdirSync(folder, { recursive: true });
    writeFileSync(stamp, wanted);
  });
}

function generate(schema: string): void {
  const result = spawnSync(
    process.execPath,
    [join(projectRoot, 'node_modules/prisma/build/index.js'), 'generate', '--schema', schema],
    {
      cwd: projectRoot,
      encoding: 'utf8',
      env: {
        ...process.env,
        // The schema engine is for migrations, which are applied without it; generating would download it.
        PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true',
        PRISMA_HIDE_UPDATE_MESSAGE: '1',
        CHECKPOINT_DISABLE: '1',
      },
    },
  );
  if (result.status !== 0) {
    throw new SetupError(`prisma generate failed:\n${result.stdout}${result.stderr}`.trim());
  }
}
