import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { applyMigrations, MigrationError } from '../../src/infra/migrations.ts';
import { createLogger } from '../../src/lib/log.ts';
import { type Servers, startServers } from './support.ts';

/** What each Prisma type is in PostgreSQL. */
const TYPES: Readonly<Record<string, string>> = {
  String: 'text',
  'String[]': 'ARRAY',
  Int: 'integer',
  BigInt: 'bigint',
  Boolean: 'boolean',
  DateTime: 'timestamp with time zone',
  Json: 'jsonb',
  Bytes: 'bytea',
};

describe('the database schema', () => {
  const log = createLogger('test', 'silent');
  let servers: Servers;
  let client: pg.Client;

  before(async () => {
    servers = await startServers();
    client = new pg.Client({ connectionString: servers.databaseUrl });
    await client.connect();
  });
  after(async () => {
    await client?.end();
    await servers?.stop();
  });

  const apply = (directory?: string) =>
    applyMigrations({
      databaseUrl: servers.databaseUrl,
      log,
      ...(directory === undefined ? {} : { directory }),
    });

  it('is migrated once, also by many at the same time', async () => {
    const done = await Promise.all(Array.from({ length: 4 }, () => apply()));
    assert.equal(done.flat().length, new Set(done.flat()).size);
    assert.deepEqual(await apply(), []);
  });

  it('is the same in prisma/schema.prisma and in the migrations', async () => {
    const declared = parsePrisma(
      await readFile(new URL('../../prisma/schema.prisma', import.meta.url), 'utf8'),
    );
    const { rows } = await client.query<{ line: string }>(`
      SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable AS line
      FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migrations'`);
    assert.deepEqual(rows.map(({ line }) => line).sort(), declared.sort());
  });

  it('is not touched when a migration was changed, is unknown, or fails halfway', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'teremok-migrations-'));
    try {
      await assert.rejects(apply(directory), MigrationError); // knows less than the database has
      const folder = new URL('../../prisma/migrations/', import.meta.url);
      await cp(folder, directory, { recursive: true });
      const first = path.join(directory, '0001_control_plane.sql');
      const sql = await readFile(first, 'utf8');
      await writeFile(first, `${sql}\n-- changed`);
      await assert.rejects(apply(directory), /was changed after/);
      await writeFile(first, sql);
      await writeFile(path.join(directory, '9999_half.sql'), 'CREATE TABLE half (a int); SELECT nonsense;');
      await assert.rejects(apply(directory), /9999_half/);
      const { rows } = await client.query("SELECT to_regclass('half') AS half");
      assert.equal(rows[0].half, null);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it('refuses sums that cannot be', async () => {
    const insert =
      'INSERT INTO hosts (id, name, state, engines, memory_mib_total, memory_mib_reserved, vcpus_total)';
    await assert.rejects(
      client.query(`${insert} VALUES ('h', 'h', 'up', '{}', 10, -1, 1)`),
      /check constraint/,
    );
  });
});

/** The columns that the models declare, as `table.column type nullable`. */
function parsePrisma(text: string): string[] {
  const columns: string[] = [];
  for (const [, body = ''] of text.matchAll(/^model \w+ \{\n(.*?)^\}/gms)) {
    const table = /@@map\("(\w+)"\)/.exec(body)?.[1];
    assert.ok(table, 'a model without @@map');
    for (const line of body.split('\n')) {
      const field = /^ {2}(\w+) +(\w+(?:\[\])?)(\?)?/.exec(line);
      const type = TYPES[field?.[2] ?? ''];
      if (field === null || type === undefined) continue; // a relation, or an attribute of the model
      const column = / @map\("(\w+)"\)/.exec(line)?.[1] ?? field[1];
      columns.push(`${table}.${column} ${type} ${field[3] === '?' ? 'YES' : 'NO'}`);
    }
  }
  return columns;
}
