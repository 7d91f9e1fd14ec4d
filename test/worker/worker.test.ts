import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ECHO_BANNER, ECHO_KEYS } from '../guests/echo-guest.ts';
import { Reader, until, WorkerRig } from './worker-rig.ts';

let rig: WorkerRig;

before(async () => {
  rig = await WorkerRig.create();
  await rig.startWorker();
});
after(async () => rig.close());

/** A running VM and its console, past the banner. */
async function runningVm(data: Parameters<WorkerRig['createVm']>[0] = {}) {
  const { id, operationId } = await rig.createVm(data);
  await rig.untilOperation(operationId, 'succeeded');
  const attachment = await rig.attach(id);
  const reader = new Reader(attachment);
  await reader.until(ECHO_BANNER);
  return { id, attachment, reader };
}

test('a VM is created, answers on its console, and is deleted without a trace', async () => {
  const { id, attachment, reader } = await runningVm();
  const row = await rig.vm(id);
  assert.equal(row.state, 'running');
  assert.equal(row.observedGeneration, 1);
  assert.ok(row.startedAt instanceof Date);
  attachment.send(Buffer.from('hello'));
  await reader.until('hello');

  const environment = await readFile(`/proc/${row.pid}/environ`, 'latin1');
  const names = environment.split('\0').flatMap((variable) => variable.split('=').slice(0, 1));
  assert.deepEqual(names, ['NODE_COMPILE_CACHE', ''], 'a VM process has nothing of this one’s environment');

  const operation = await rig.ask(id, 'deleted', { desired: 'deleted' });
  await rig.untilOperation(operation, 'succeeded');
  assert.equal(await rig.database.vm.findUnique({ where: { id } }), null);
  assert.equal(existsSync(join(rig.home, 'run', 'vms', id)), false);
  assert.deepEqual(await attachment.ended, { kind: 'exited', exit: { kind: 'stop' } });
  const types = (await rig.database.event.findMany({ where: { vmId: id } })).map((event) => event.type);
  assert.ok(
    types.includes('vm.state') && types.includes('vm.deleted') && types.includes('operation.updated'),
  );
});

test('an operation tells how far it is', async () => {
  const { id } = await rig.createVm();
  await rig.untilVm(id, ({ state }) => state === 'running');
  const events = await rig.database.event.findMany({
    where: { vmId: id, type: 'operation.updated' },
    orderBy: { seq: 'asc' },
  });
  const told = events.map(
    ({ data }) => (data as { operation: { state: string; progress: number } }).operation,
  );
  assert.deepEqual(
    told.filter(({ state }) => state !== 'queued').map(({ progress }) => progress),
    [0, 30, 70, 100],
  );
  assert.equal(told.at(-1)?.state, 'succeeded');
});

test('several viewers see the same, and one that comes later gets the backlog first', async () => {
  const { id, attachment, reader } = await runningVm();
  attachment.send(Buffer.from('one'));
  await reader.until('one');
  const second = await rig.attach(id);
  const secondReader = new Reader(second);
  await secondReader.until(`${ECHO_BANNER}one`);
  second.send(Buffer.from('two'));
  await reader.until('onetwo');
  await secondReader.until('onetwo');
  const log = await rig.attach(id, 'log');
  const logReader = new Reader(log);
  assert.deepEqual(await log.ended, { kind: 'end' });
  assert.equal(logReader.text, `${ECHO_BANNER}onetwo`);
});

test('pause holds the guest, resume lets it go on', async () => {
  const { id, attachment, reader } = await runningVm();
  await rig.untilOperation(await rig.ask(id, 'paused', { desired: 'paused' }), 'succeeded');
  assert.equal((await rig.vm(id)).state, 'paused');
  const heldAt = reader.text.length;
  attachment.send(Buffer.from('later'));
  await rig.untilOperation(await rig.ask(id, 'running', { desired: 'running' }), 'succeeded');
  await reader.until('later');
  assert.equal(reader.text.indexOf('later'), heldAt);
});

test('a guest that powers off is stopped and stays so; its last words can be read', async () => {
  const { id, attachment, reader } = await runningVm();
  attachment.send(Buffer.from('bye'));
  await reader.until('bye');
  attachment.send(Buffer.from(ECHO_KEYS.powerOff));
  const row = await rig.untilVm(id, ({ state }) => state === 'stopped');
  assert.equal(row.desired, 'stopped');
  assert.equal(row.reserved, false);
  assert.equal(row.lastError, null);
  assert.deepEqual(await attachment.ended, { kind: 'exited', exit: { kind: 'power-off' } });
  const log = await rig.attach(id, 'log');
  const logReader = new Reader(log);
  assert.deepEqual(await log.ended, { kind: 'end' });
  assert.equal(logReader.text, `${ECHO_BANNER}bye`);
  await assert.rejects(rig.attach(id), { code: 'not-running' });
});

test('a guest that powers off is started again when its policy is always', async () => {
  const { id, attachment } = await runningVm({ restartPolicy: 'always' });
  const { pid } = await rig.vm(id);
  attachment.send(Buffer.from(ECHO_KEYS.powerOff));
  await rig.untilVm(id, (row) => row.state === 'running' && row.pid !== pid);
});

test('shutdown presses the power button, and the guest’s power-off completes it', async () => {
  const { id } = await runningVm();
  const operation = await rig.ask(id, 'stopped', { shutdownRequestedAt: new Date() });
  await rig.untilOperation(operation, 'succeeded');
  const row = await rig.vm(id);
  assert.equal(row.state, 'stopped');
  assert.equal(row.desired, 'stopped');
  assert.equal(row.shutdownRequestedAt, null);
});

test('a reset starts the guest anew in the same process, and viewers stay', async () => {
  const { id, reader } = await runningVm();
  const { pid } = await rig.vm(id);
  await rig.untilOperation(await rig.ask(id, 'running', { bootEpoch: { increment: 1 } }), 'succeeded');
  await reader.until(`${ECHO_BANNER}${ECHO_BANNER}`);
  assert.equal((await rig.vm(id)).pid, pid);
});

test('a guest that resets the machine boots again in the same process', async () => {
  const { id, attachment, reader } = await runningVm();
  attachment.send(Buffer.from(ECHO_KEYS.reset));
  await reader.until(`${ECHO_BANNER}${ECHO_BANNER}`);
  assert.equal((await rig.vm(id)).state, 'running');
});

test('a triple fault leaves the VM failed, with what happened, and no other VM notices', async () => {
  const bystander = await runningVm();
  const { id, attachment } = await runningVm();
  attachment.send(Buffer.from(ECHO_KEYS.tripleFault));
  const row = await rig.untilVm(id, ({ state, desired }) => state === 'failed' && desired === 'stopped');
  assert.equal((row.lastError as { code: string }).code, 'triple-fault');
  assert.equal(row.reserved, false);
  bystander.attachment.send(Buffer.from('still here'));
  await bystander.reader.until('still here');
  const operation = await rig.ask(id, 'running', { desired: 'running', reserved: false });
  await rig.untilOperation(operation, 'succeeded');
  assert.equal((await rig.vm(id)).lastError, null);
});

test('a kernel that is none fails the create, and says why', async () => {
  const path = join(rig.home, 'images', 'echo.elf.txt');
  await (await import('node:fs/promises')).writeFile(path, 'this is no kernel at all, only a line of text\n');
  const { id, operationId } = await rig.createVm({ imageId: null, kernelPath: path });
  await rig.untilOperation(operationId, 'failed');
  const row = await rig.vm(id);
  assert.equal(row.state, 'failed');
  assert.equal(row.desired, 'stopped');
  assert.equal((row.lastError as { code: string }).code, 'not-started');
});

test('a VM process killed by SIGKILL is seen within 2 s, recorded and started again', async () => {
  const { id } = await runningVm();
  const { pid } = await rig.vm(id);
  const killedAt = Date.now();
  process.kill(Number(pid), 'SIGKILL');
  const failed = await rig.untilVm(id, (row) => row.lastError !== null);
  assert.ok(Date.now() - killedAt < 2000, `seen after ${Date.now() - killedAt} ms`);
  assert.equal((failed.lastError as { code: string }).code, 'vm-process-died');
  const again = await rig.untilVm(id, (row) => row.state === 'running' && row.pid !== pid);
  assert.equal(again.restartCount, 1);
  const events = await rig.database.event.findMany({ where: { vmId: id, type: 'vm.failed' } });
  assert.equal(events.length, 1);
});

test('a VM process killed by SIGKILL stays failed when its policy is never', async () => {
  const { id } = await runningVm({ restartPolicy: 'never' });
  process.kill(Number((await rig.vm(id)).pid), 'SIGKILL');
  const row = await rig.untilVm(id, ({ state }) => state === 'failed');
  assert.equal(row.desired, 'stopped');
  assert.equal(row.reserved, false);
});

test('a VM whose job was lost is found by the sweep', async () => {
  const { id } = await runningVm();
  await rig.database.vm.update({ where: { id }, data: { desired: 'stopped', generation: { increment: 1 } } });
  await rig.untilVm(id, ({ state }) => state === 'stopped');
});

test('a VM whose row is gone leaves neither a process nor files', async () => {
  const { id } = await runningVm();
  const { pid } = await rig.vm(id);
  await rig.database.vm.delete({ where: { id } });
  await until(() => !existsSync(`/proc/${pid}`) || undefined);
  await until(() => !existsSync(join(rig.home, 'run', 'vms', id)) || undefined);
});

test('a shutdown that the guest ignores fails at its deadline, and the VM runs on', async () => {
  const { id, attachment, reader } = await runningVm();
  attachment.send(Buffer.from(ECHO_KEYS.spin));
  const operation = await rig.ask(id, 'stopped', { shutdownRequestedAt: new Date() });
  await rig.database.operation.update({
    where: { id: operation },
    data: { kind: 'shutdown', deadlineAt: new Date(Date.now() - 1000) },
  });
  await rig.untilOperation(operation, 'failed');
  const row = await rig.untilVm(id, ({ shutdownRequestedAt }) => shutdownRequestedAt === null);
  assert.equal(row.state, 'running');
  assert.equal(reader.text, ECHO_BANNER);
  await rig.untilOperation(await rig.ask(id, 'stopped', { desired: 'stopped' }), 'succeeded');
});

test('a second worker on the same home is refused', async () => {
  const second = rig.spawnWorker();
  const [code] = (await once(second, 'exit')) as [number];
  assert.equal(code, 3);
  assert.match(rig.output, /another worker serves/);
});

test('a wrong token, a used one and none open nothing', async () => {
  const { id } = await runningVm();
  const host = await rig.database.host.findFirstOrThrow();
  const { makeAttachToken } = await import('../../src/contracts/attach-token.ts');
  const { Attachment } = await import('../../src/gateway/attachment.ts');
  const endpoint = String(host.endpoint);
  const token = makeAttachToken({ vmId: id, purpose: 'serial' }, String(host.channelSecret));
  (await Attachment.open({ endpoint, token })).close();
  const expired = makeAttachToken(
    { vmId: id, purpose: 'serial' },
    String(host.channelSecret),
    Date.now() - 60_000,
  );
  const forged = makeAttachToken({ vmId: id, purpose: 'serial' }, 'guessed');
  for (const bad of [token, expired, forged, '', 'a.b', 'x'.repeat(4000)]) {
    await assert.rejects(Attachment.open({ endpoint, token: bad }), { code: 'denied' });
  }
});
