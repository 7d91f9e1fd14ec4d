import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { BACKLOG_BYTES } from '../../src/contracts/channel.ts';
import { CONSOLE_CLOSE } from '../../src/contracts/console.ts';
import type { VmMetrics } from '../../src/contracts/metrics.ts';
import { vmMetricsKey } from '../../src/contracts/metrics.ts';
import { ECHO_BANNER, ECHO_KEYS } from '../guests/echo-guest.ts';
import { until, WorkerRig } from '../worker/worker-rig.ts';
import { runCli, startCli } from './cli-process.ts';

let rig: WorkerRig;
let url: string;
let environment: Record<string, string>;
let key: string;

/** Runs the client against the rig's service. */
async function teremok(args: string, input = '') {
  const words = args.split(' ').filter((word) => word !== '');
  return runCli(words, { environment, input });
}

/** The same, for commands that must succeed; gives what they print. */
async function done(args: string): Promise<string> {
  const { status, stdout, stderr } = await teremok(args);
  assert.equal(status, 0, `${args}: ${stderr}`);
  return stdout;
}

async function vmId(name: string): Promise<string> {
  return (JSON.parse(await done(`vm show ${name} --json`)) as { id: string }).id;
}

/** A serial console as a browser would open it. */
class Console {
  readonly socket: WebSocket;
  readonly closed: Promise<{ code: number; reason: string }>;
  text = '';

  constructor(id: string, query = '', authorization: string | null = `Bearer ${key}`) {
    const headers = authorization === null ? {} : { authorization };
    this.socket = new WebSocket(`${url.replace('http', 'ws')}/v1/vms/${id}/serial${query}`, { headers });
    this.socket.on('message', (data: Buffer, isBinary) => {
      assert.equal(isBinary, true);
      this.text += data.toString('latin1');
    });
    this.closed = new Promise((resolve) => {
      this.socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }

  async until(text: string): Promise<void> {
    await until(
      () => this.text.includes(text) || undefined,
      () => `‘${text}’ did not come; there is ‘${this.text.slice(-500)}’`,
    );
  }

  /** The status and code with which the upgrade was refused. */
  async refusal(): Promise<[number | undefined, string]> {
    this.socket.on('error', () => {});
    const [, response] = await once(this.socket, 'unexpected-response');
    let body = '';
    for await (const chunk of response) body += String(chunk);
    return [response.statusCode, (JSON.parse(body) as { code: string }).code];
  }
}

/** Waits until a VM's figures, as its worker published them, say this of its serial line. */
async function untilSerial(id: string, test: (serial: Serial) => boolean): Promise<void> {
  let last: Serial | undefined;
  await until(
    async () => {
      const figures = await rig.redis.get(vmMetricsKey(id));
      last = figures === null ? undefined : (JSON.parse(figures) as VmMetrics).serial;
      return (last !== undefined && test(last)) || undefined;
    },
    () => `the serial line’s figures stayed ${JSON.stringify(last)}`,
  );
}
type Serial = NonNullable<VmMetrics['serial']>;

before(async () => {
  rig = await WorkerRig.create();
  url = await rig.startApi();
  await rig.startWorker();
  environment = { TEREMOK_HOME: rig.home, TEREMOK_URL: url };
  key = (await readFile(join(rig.home, 'default.key'), 'utf8')).trim();
  await done(`image create echo-kernel --kind kernel --file ${join(rig.home, 'images', 'echo.elf')}`);
  await done('image create echo --kernel echo-kernel');
});
after(async () => rig.close());

test('the life of a VM, by its commands', async () => {
  assert.match(
    await done('vm create one --image echo --memory 32 --label team=blue'),
    /^one \(vm_\S+\) is running\n$/,
  );
  assert.match(await done('vm list'), /NAME +STATE[\s\S]*one +running/);
  assert.match(await done('vm show one'), /labels +team=blue/);
  assert.match(await done('vm pause one'), /is paused/);
  assert.match(await done('vm resume one'), /is running/);
  assert.match(await done('vm reset one'), /is running/);
  assert.match(await done('vm shutdown one'), /is stopped/);
  assert.match(await done('vm start one'), /is running/);
  assert.match(await done('vm wait one --state running --timeout 5'), /is running/);
  assert.match(await done('vm stop one'), /is stopped/);
  const late = await teremok('vm wait one --state running --timeout 0.2');
  assert.equal(late.status, 124);
  assert.match(await done('vm rm one'), /one is deleted/);
  const gone = await teremok('vm show one');
  assert.equal(gone.status, 1);
  assert.match(gone.stderr, /^teremok: there is no VM named ‘one’ — [^\n]+\n$/);
});

test('vm create --console attaches to the guest, and ends when it powers off', async () => {
  const child = startCli(
    ['vm', 'create', 'two', '--image', 'echo', '--memory', '32', '--console'],
    environment,
  );
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  await until(() => output.includes(ECHO_BANNER) || undefined);
  child.stdin.write('hello');
  await until(() => output.includes('hello') || undefined);
  child.stdin.write(ECHO_KEYS.powerOff);
  const [status] = (await once(child, 'close')) as [number];
  assert.equal(status, 0);
  assert.equal(await done('vm log two'), `${ECHO_BANNER}hello`);
  const stopped = await teremok('vm console two');
  assert.equal(stopped.status, 1);
  assert.match(stopped.stderr, /vm_not_running/);
});

test('operators’ commands use the operator’s key', async () => {
  assert.match(await done('tenant create blue'), /^blue \(ten_/);
  assert.match(await done('tenant list'), /blue/);
  const made = (await done('key create ci --tenant blue')).trim();
  assert.match(await done('key list --tenant blue'), /ci/);
  assert.match(await done('host list'), /rig +up/);
  const theirs = await teremok(`vm list --key ${made} --json`);
  assert.deepEqual(JSON.parse(theirs.stdout), []);
});

test('what is wrong is one line, with a status of its own', async () => {
  for (const [args, status, says] of [
    ['vm create x', 2, /--image, --kernel, --cdrom or --disk/],
    ['vm create x --image a --kernel b', 2, /either --image or --kernel/],
    ['vm create x --disk a,bus=scsi', 2, /--disk takes/],
    ['vm create x --disk a --boot floppy', 2, /--boot takes/],
    ['image upload /none', 2, /--kind/],
    ['image upload /none.iso', 2, /cannot be read/],
    ['vm cdrom x', 2, /IMAGE or --eject/],
    ['vm expect x y --on tape', 2, /--on takes/],
    ['vm create x --image echo --memory 1', 2, /--memory/],
    ['vm create x --image nothing', 1, /nothing/],
    ['vm create x --image echo --console --no-start', 2, /--console/],
    ['vm list --key wrong', 1, /unauthenticated/],
    ['vm list --url ftp://here', 2, /neither http/],
    ['vm list --url http://127.0.0.1:9', 4, /no answer/],
    ['vm stop nobody', 1, /no VM named ‘nobody’/],
    ['tenant list --key wrong', 1, /unauthenticated/],
    ['image rm echo-none', 1, /no image named/],
    ['image create y --file /none --kind kernel', 2, /cannot be read/],
    ['operation show op_x', 1, /./],
    ['vm dance', 2, /vm has no ‘dance’/],
  ] as const) {
    const result = await teremok(args);
    assert.equal(result.status, status, `${args}: ${result.stderr}`);
    assert.match(result.stderr, says);
    assert.match(result.stderr, /^teremok: [^\n]+\n$/);
  }
});

test('the serial WebSocket: backlog, many viewers, text as input, a reason at the end', async () => {
  await done('vm create three --image echo --memory 32');
  const id = await vmId('three');
  const first = new Console(id);
  await first.until(ECHO_BANNER);
  first.socket.send(Buffer.from('bytes '));
  await first.until('bytes ');
  first.socket.send('text');
  await first.until('bytes text');
  const second = new Console(id);
  await second.until(`${ECHO_BANNER}bytes text`);
  second.socket.send('!');
  await first.until('text!');
  second.socket.close();
  await done('vm stop three');
  assert.deepEqual(await first.closed, { code: CONSOLE_CLOSE.stopped, reason: 'the VM has stopped' });
  assert.deepEqual(await new Console(id).refusal(), [409, 'vm_not_running']);
  const log = await fetch(`${url}/v1/vms/${id}/serial/log`, { headers: { authorization: `Bearer ${key}` } });
  assert.match(String(log.headers.get('content-type')), /^text\/plain/);
  assert.equal(await log.text(), `${ECHO_BANNER}bytes text!`);
});

test('who may not see a console is told so before the upgrade', async () => {
  await done('vm create four --image echo --memory 32');
  const id = await vmId('four');
  assert.deepEqual(await new Console(id, '', null).refusal(), [401, 'unauthenticated']);
  assert.deepEqual(await new Console(id, '?ticket=guess', null).refusal(), [401, 'invalid_ticket']);
  await done('tenant create green');
  const stranger = (await done('key create stranger --tenant green')).trim();
  assert.deepEqual(await new Console(id, '', `Bearer ${stranger}`).refusal(), [404, 'not_found']);
  const plain = await fetch(`${url}/v1/vms/${id}/serial`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal(plain.status, 426);
  await plain.body?.cancel();
  const answer = await fetch(`${url}/v1/vms/${id}/tickets`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ for: 'serial' }),
  });
  const { ticket } = (await answer.json()) as { ticket: string };
  const console = new Console(id, `?ticket=${ticket}`, null);
  await console.until(ECHO_BANNER);
  assert.deepEqual(await new Console(id, `?ticket=${ticket}`, null).refusal(), [401, 'invalid_ticket']);
  await done('vm rm four --force');
  assert.equal((await console.closed).code, CONSOLE_CLOSE.deleted);
});

test('a console that is opened before its VM runs waits for it', async () => {
  const response = await fetch(`${url}/v1/vms`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'early', image: 'echo', memoryMiB: 32 }),
  });
  assert.equal(response.status, 202);
  const { vm } = (await response.json()) as { vm: { id: string } };
  const console = new Console(vm.id);
  await console.until(ECHO_BANNER);
  console.socket.close();
  await done('vm rm early --force');
});

test('a viewer stays while the worker is killed and comes back, and loses no byte', async () => {
  await done('vm create five --image echo --memory 32');
  const console = new Console(await vmId('five'));
  await console.until(ECHO_BANNER);
  console.socket.send('before ');
  await console.until('before ');
  await rig.endWorker('SIGKILL');
  console.socket.send('meanwhile ');
  await rig.startWorker();
  await console.until('meanwhile ');
  console.socket.send('after');
  await console.until('after');
  assert.equal(console.text, `${ECHO_BANNER}before meanwhile after`);
  console.socket.close();
});

test('what is typed to a worker that hangs and is killed arrives once', async () => {
  await done('vm create eight --image echo --memory 32');
  const console = new Console(await vmId('eight'));
  await console.until(ECHO_BANNER);
  console.socket.send('before ');
  await console.until('before ');
  process.kill(rig.workerPid, 'SIGSTOP');
  console.socket.send('into the ');
  console.socket.send('dead socket ');
  // The service has passed on what came before the ping that it answers.
  console.socket.ping();
  await once(console.socket, 'pong');
  await rig.endWorker('SIGKILL');
  await rig.startWorker();
  await console.until('dead socket ');
  console.socket.send('after');
  await console.until('after');
  assert.equal(console.text, `${ECHO_BANNER}before into the dead socket after`);
  console.socket.close();
});

test('a long paste goes on where it was when the worker is killed in the middle of it', async () => {
  await done('vm create nine --image echo --memory 32');
  const id = await vmId('nine');
  const console = new Console(id);
  await console.until(ECHO_BANNER);
  await done('vm pause nine');
  const lines = Array.from({ length: 20_000 }, (_, number) => `line ${number} `);
  for (let at = 0; at < lines.length; at += 1000) console.socket.send(lines.slice(at, at + 1000).join(''));
  // The VM has taken what it has room for; the rest stands all along the way to it.
  await untilSerial(id, ({ receivedBytes }) => receivedBytes >= BACKLOG_BYTES);
  await rig.endWorker('SIGKILL');
  await rig.redis.del(vmMetricsKey(id));
  await rig.startWorker();
  // Only while the viewer is there may the guest say more than the backlog holds.
  await untilSerial(id, ({ viewers }) => viewers === 1);
  await done('vm resume nine');
  await console.until(String(lines.at(-1)));
  assert.ok(console.text === ECHO_BANNER + lines.join(''), 'the guest echoed something else than was typed');
  console.socket.close();
});

test('what a VM process may have had when it was killed is not typed into the next one', async () => {
  await done('vm create ten --image echo --memory 32');
  const id = await vmId('ten');
  const console = new Console(id);
  await console.until(ECHO_BANNER);
  const pid = Number((await rig.vm(id)).pid);
  process.kill(pid, 'SIGSTOP');
  console.socket.send('lost');
  console.socket.ping();
  await once(console.socket, 'pong');
  process.kill(pid, 'SIGKILL');
  await console.until(`${ECHO_BANNER}${ECHO_BANNER}`);
  console.socket.send('again');
  await console.until('again');
  assert.equal(console.text, `${ECHO_BANNER}${ECHO_BANNER}again`);
  console.socket.close();
});

test('a viewer stays while the VM process is killed and started again', async () => {
  await done('vm create six --image echo --memory 32');
  const id = await vmId('six');
  const console = new Console(id);
  await console.until(ECHO_BANNER);
  process.kill(Number((await rig.vm(id)).pid), 'SIGKILL');
  await console.until(`${ECHO_BANNER}${ECHO_BANNER}`);
  console.socket.send('again');
  await console.until('again');
  console.socket.send(ECHO_KEYS.tripleFault);
  const { code, reason } = await console.closed;
  assert.equal(code, CONSOLE_CLOSE.failed);
  assert.match(reason, /triple-faulted/);
});

test('a message over the limit closes its console alone', async () => {
  await done('vm create seven --image echo --memory 32');
  const id = await vmId('seven');
  const good = new Console(id);
  const bad = new Console(id);
  await Promise.all([good.until(ECHO_BANNER), bad.until(ECHO_BANNER)]);
  bad.socket.send(Buffer.alloc(1024 * 1024));
  assert.equal((await bad.closed).code, 1009);
  good.socket.send('fine');
  await good.until('fine');
  good.socket.close();
});

test('a viewer that does not read holds up neither its guest nor other viewers', async () => {
  await done('vm create eleven --image echo --memory 32');
  const id = await vmId('eleven');
  const good = new Console(id);
  const deaf = new Console(id);
  await Promise.all([good.until(ECHO_BANNER), deaf.until(ECHO_BANNER)]);
  deaf.socket.pause();
  // More than the two systems' buffers, the service's and the VM's hold.
  const message = 'all that is typed here comes back '.repeat(960);
  const total = 160 * message.length;
  for (let sent = 0; sent < total; sent += message.length) good.socket.send(message);
  await until(
    () => good.text.length >= ECHO_BANNER.length + total || undefined,
    () => `${good.text.length} of ${total} bytes came`,
    150_000,
  );
  assert.ok(
    good.text === ECHO_BANNER + message.repeat(160),
    'the guest echoed something else than was typed',
  );
  assert.ok(deaf.text.length < total / 2);
  // It goes on with what is still there, unless it answered no ping for so long that it was given up.
  deaf.socket.resume();
  good.socket.send('the end');
  await good.until('the end');
  await Promise.race([deaf.until('the end'), deaf.closed]);
  good.socket.close();
  deaf.socket.close();
});
