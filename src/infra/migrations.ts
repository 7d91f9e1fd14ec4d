import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import type { Logger } from '../lib/log.ts';

/** The migrations of this checkout. */
export const MIGRATIONS_DIR = path.resolve(import.meta.dirname, '../../prisma/migrations');

/** Any number, the same in every process of this project: the advisory lock that migrating holds. */
const MIGRATION_LOCK = 7_314_206_558;

/** A migration cannot be applied, or one that was applied has changed since. */
export class MigrationError extends Error {
  override name = 'MigrationError';
}

export interface MigrationOptions {
  readonly databaseUrl: string;
  readonly log: Logger;
  readonly directory?: string;
}

/**
 * Applies the SQL files of prisma/migrations (`0001_name.sql`, …) in order, each once, each in a transaction of
 * its own with the row that records it. Several processes may call this at once: an advisory lock lets one work
 * and the others find it done.
 * @returns the names of the files applied now.
 * @throws {MigrationError} when a file applied earlier is missing or differs, or SQL fails.
 */
export async function applyMigrations(options: MigrationOptions): Promise<string[]> {
  const directory = options.directory ?? MIGRATIONS_DIR;
  const files = (await readdir(directory)).filter((name) => /^\d{4}_[\w-]+\.sql$/.test(name)).sort();
  const client = new pg.Client({ connectionString: options.databaseUrl, connectionTimeoutMillis: 10_000 });
  client.on('error', (err) => options.log.warn({ err: err.message }, 'PostgreSQL: lost while migrating'));
  await client.connect();
  try {
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await client.query(`CREATE TABLE IF NOT EXISTS schema_migrations (
      name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`);
    const { rows } = await client.query<{ name: string; sha256: string }>(
      'SELECT name, sha256 FROM schema_migrations',
    );
    const applied = new Map(rows.map((row) => [row.name, row.sha256]));
    for (const name of applied.keys()) {
      if (!files.includes(name)) {
        throw new MigrationError(
          `the database has migration ${name}, which this version does not know: use a newer one`,
        );
      }
    }
    const done: string[] = [];
    for (const name of files) {
      const sql = await readFile(path.join(directory, name), 'utf8');
      const sha256 = createHash('sha256').update(sql).digest('hex');
      const before = applied.get(name);
      if (before === sha256) continue;
      if (before !== undefined)
        throw new MigrationError(`migration ${name} was changed after it had been applied`);
      await applyOne(client, name, sql, sha256);
      options.log.info({ migration: name }, 'migration applied');
      done.push(name);
    }
    return done;
  } finally {
    await client.end(); // also gives the lock back
  }
}

async function applyOne(client: pg.Client, name: string, sql: string, sha256: string): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query(sql);
    await client.query('INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)', [name, sha256]);
    await client.query('COMMIT');
  } catch (err) {
    await client.query('ROLLBACK');
    throw new MigrationError(`migration ${name}: ${err instanceof Error ? err.message : String(err)}`, {
      cause: err,
    });
  }
}
