import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, beforeEach, test } from 'node:test';
import { startTicksOf } from '../../src/lib/process-identity.ts';
import { ECHO_BANNER } from '../guests/echo-guest.ts';
import { Reader, until, WorkerRig } from './worker-rig.ts';

let rig: WorkerRig;
/** Three VMs: two that run, one that is paused. */
let ids: string[] = [];

before(async () => {
  rig = await WorkerRig.create();
  await rig.startWorker();
  ids = await Promise.all(
    [0, 1, 2].map(async () => {
      const { id, operationId } = await rig.createVm();
      await rig.untilOperation(operationId, 'succeeded');
      return id;
    }),
  );
  await rig.untilOperation(await rig.ask(String(ids[2]), 'paused', { desired: 'paused' }), 'succeeded');
});
after(async () => rig.close());
beforeEach(() => settled());

/** Waits until each VM is what the database asks for, with one process each and nothing besides. */
async function settled(): Promise<number[]> {
  for (const id of ids) await rig.untilVm(id, (row) => row.state === row.desired && isRunning(row.pid));
  const pids = await Promise.all(ids.map(async (id) => Number((await rig.vm(id)).pid)));
  let live: number[] = [];
  await until(
    async () => {
      live = await rig.vmProcesses();
      return live.length === pids.length && pids.every((pid) => live.includes(pid)) ? true : undefined;
    },
    () => `${live.join(', ')} live, the rows say ${pids.join(', ')}\n${rig.output}`,
  );
  return pids;
}

/** A process that has ended may still be listed until its parent asks for it. */
function isRunning(pid: number | null): boolean {
  return pid !== null && startTicksOf(pid) !== undefined;
}

/** The guests of the two running VMs answer. */
async function answers(text: string): Promise<void> {
  for (const id of ids.slice(0, 2)) {
    const attachment = await rig.attach(id);
    attachment.send(Buffer.from(text));
    await new Reader(attachment).until(text);
    attachment.close();
  }
}

test('after kill -9 of the worker the next one takes over the same processes; guests do not notice', async () => {
  const before = await settled();
  await answers('before');
  await rig.endWorker('SIGKILL');
  assert.deepEqual(await rig.vmProcesses().then((pids) => pids.toSorted()), before.toSorted());
  await rig.startWorker();
  assert.deepEqual(await settled(), before);
  await answers('after');
  const rows = await Promise.all(ids.map((id) => rig.vm(id)));
  assert.deepEqual(
    rows.map((row) => row.restartCount),
    [0, 0, 0],
  );
});

test('a wish made while there was no worker is fulfilled by the next one', async () => {
  await rig.endWorker('SIGKILL');
  const id = String(ids[0]);
  const operation = await rig.ask(id, 'paused', { desired: 'paused' });
  await rig.startWorker();
  await rig.untilOperation(operation, 'succeeded');
  await rig.untilOperation(await rig.ask(id, 'running', { desired: 'running' }), 'succeeded');
});

test('a VM process that dies while there is no worker is recorded and started by the next one', async () => {
  const id = String(ids[1]);
  const { pid } = await rig.vm(id);
  await rig.endWorker('SIGKILL');
  process.kill(Number(pid), 'SIGKILL');
  await rig.startWorker();
  const row = await rig.untilVm(id, ({ state, pid: now }) => state === 'running' && now !== pid);
  assert.equal((row.lastError as { code: string }).code, 'vm-process-died');
  await answers('again');
});

test('a VM deleted while there was no worker leaves nothing behind', async () => {
  const { id, operationId } = await rig.createVm();
  await rig.untilOperation(operationId, 'succeeded');
  await rig.endWorker('SIGKILL');
  await rig.database.vm.delete({ where: { id } });
  await rig.startWorker();
  await settled();
});

test('Redis restarts: VMs run on, and what is asked for afterwards is done', async () => {
  const before = await settled();
  const pid = Number(rig.services.pid('redis'));
  process.kill(pid, 'SIGKILL');
  await until(() => {
    const now = rig.services.pid('redis');
    return now !== undefined && now !== pid && rig.redis.status === 'ready' ? true : undefined;
  });
  assert.deepEqual(await settled(), before);
  const id = String(ids[0]);
  await rig.untilOperation(await rig.ask(id, 'paused', { desired: 'paused' }), 'succeeded');
  await rig.untilOperation(await rig.ask(id, 'running', { desired: 'running' }), 'succeeded');
  await answers('redis');
});

test('a VM process dies while PostgreSQL is away: it is recorded and started once that is back', async () => {
  const id = String(ids[0]);
  const { pid } = await rig.vm(id);
  const server = Number(rig.services.pid('postgres'));
  process.kill(server, 'SIGINT');
  await until(() => !existsSync(`/proc/${server}`) || undefined);
  process.kill(Number(pid), 'SIGKILL');
  const row = await rig.untilVm(id, ({ state, pid: now }) => state === 'running' && now !== pid);
  assert.equal((row.lastError as { code: string }).code, 'vm-process-died');
  await settled();
  await answers('postgres');
});

test('kill -9 of the worker, then of a VM process, then Redis and PostgreSQL restart: all is as asked', async () => {
  const victim = await rig.vm(String(ids[1]));
  await rig.endWorker('SIGKILL');
  process.kill(Number(victim.pid), 'SIGKILL');
  process.kill(Number(rig.services.pid('redis')), 'SIGKILL');
  process.kill(Number(rig.services.pid('postgres')), 'SIGINT');
  await rig.startWorker();
  await rig.untilVm(victim.id, (row) => row.state === 'running' && row.pid !== victim.pid);
  await settled();
  await answers('all of it');
});

test('an ordered end stops the VMs, and the next worker starts what is asked for', async () => {
  const before = await settled();
  assert.equal(await rig.endWorker('SIGTERM'), 0);
  assert.deepEqual(await rig.vmProcesses(), []);
  const rows = await Promise.all(ids.map((id) => rig.vm(id)));
  assert.deepEqual(
    rows.map((row) => row.state),
    ['stopped', 'stopped', 'stopped'],
  );
  assert.deepEqual(
    rows.map((row) => row.desired),
    ['running', 'running', 'paused'],
  );
  assert.equal((await rig.database.host.findFirstOrThrow()).state, 'down');
  await rig.startWorker();
  const now = await settled();
  assert.equal(
    now.some((pid) => before.includes(pid)),
    false,
  );
  await answers('back');
});

test('an ordered end may leave the VMs to the next worker', async () => {
  const before = await settled();
  await rig.endWorker('SIGTERM');
  await rig.startWorker({ TEREMOK_ON_SHUTDOWN: 'leave' });
  const started = await settled();
  assert.notDeepEqual(started, before);
  assert.equal(await rig.endWorker('SIGTERM'), 0);
  assert.deepEqual((await rig.vmProcesses()).toSorted(), started.toSorted());
  await rig.startWorker();
  assert.deepEqual(await settled(), started);
});

test('VM processes whose worker does not come back end by themselves', async () => {
  await rig.endWorker('SIGTERM');
  await rig.startWorker({ TEREMOK_ORPHAN_SECONDS: '1' });
  await settled();
  await rig.endWorker('SIGKILL');
  await until(async () => ((await rig.vmProcesses()).length === 0 ? true : undefined));
  await rig.startWorker();
  await settled();
  const rows = await Promise.all(ids.map((id) => rig.vm(id)));
  assert.ok(rows.every((row) => row.state === row.desired));
  const reader = new Reader(await rig.attach(String(ids[0])));
  await reader.until(ECHO_BANNER);
});
