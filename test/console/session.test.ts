// How a page ends when its key or session does, and how a break that is none looks: without a false word.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page, WebSocketRoute } from 'playwright-core';
import { ConsoleRig, go } from './console-rig.ts';
import { within } from './screen-view.ts';

/** For what waits for others on a machine that is busy with other tests. Milliseconds. */
const PATIENCE_MS = 60_000;

describe('a session of the web console that ends', { timeout: 300_000 }, () => {
  let rig: ConsoleRig;
  let operator: string;
  let tenantId: string;

  before(async () => {
    rig = await ConsoleRig.start();
    operator = await rig.key('operator');
    const { items } = (await rig.call('GET', 'tenants', operator)) as {
      items: { id: string; name: string }[];
    };
    tenantId = items.find(({ name }) => name === 'default')?.id ?? '';
  });
  after(async () => {
    await rig?.close();
  });

  const makeKey = async () =>
    (await rig.call('POST', `tenants/${tenantId}/keys`, operator, {})) as { id: string; key: string };
  const revoke = (id: string) => rig.call('DELETE', `tenants/${tenantId}/keys/${id}`, operator);
  const patient = (page: Page): Page => {
    page.setDefaultTimeout(PATIENCE_MS);
    return page;
  };
  /** From here on the page keeps what it says of a lost server, and whether it loads anew. */
  const listen = (page: Page) =>
    page.evaluate(`globalThis.said = []; globalThis.sameDocument = true;
      new MutationObserver(() => {
        for (const seen of document.querySelectorAll('.lost p, .loading, .waiting'))
          globalThis.said.push(seen.className + ': ' + seen.textContent);
      }).observe(document.body, { childList: true, subtree: true, characterData: true });`);
  const said = (page: Page) => page.evaluate<string[]>('globalThis.said');

  it('leads to the door and says why, when the key is revoked, wherever one is', async () => {
    const { id, key } = await makeKey();
    const body = { name: 'watched', memoryMiB: 32, disks: [{ sizeMiB: 1 }] };
    const { vm } = (await rig.call('POST', 'vms', key, body)) as { vm: { id: string } };
    const list = patient(await rig.openAs(key));
    const machine = patient(await rig.openAs(key));
    await go(machine, `/machines/${vm.id}`);
    await machine.getByRole('radio', { name: 'Both' }).check();
    for (const name of ['Screen', 'Serial console'])
      await machine.getByRole('region', { name, exact: true }).getByText('live', { exact: true }).waitFor();
    await Promise.all([list, machine].map(listen));
    await revoke(id);
    for (const page of [list, machine]) {
      await page.getByText('The key was revoked or has expired. Sign in again.').waitFor();
      await page.getByLabel('API key').waitFor();
      assert.deepEqual(await said(page), []);
      assert.equal(await page.evaluate('globalThis.sameDocument'), true);
    }
    // One goes on from there, on the same page.
    await machine.getByLabel('API key').fill(await rig.key('default'));
    await machine.getByRole('button', { name: 'Sign in' }).click();
    await machine.getByRole('heading', { name: 'watched', exact: true }).waitFor();
    for (const page of [list, machine]) await page.context().close();
    await rig.call('DELETE', `vms/${vm.id}?force=true`, await rig.key('default'));
  });

  it('leads to the door when one signs out in another tab', async () => {
    const one = patient(await rig.openAs(await rig.key('default')));
    const other = await one.context().newPage();
    await other.goto(rig.origin);
    await other.getByRole('heading', { name: 'Machines', exact: true }).waitFor();
    await listen(one);
    await other.getByRole('button', { name: 'Sign out' }).click();
    await one.getByText('The session is over. Sign in again.').waitFor();
    assert.deepEqual(await said(one), []);
    await one.context().close();
  });

  it('leads to the door when the page comes back too late', async () => {
    const { id, key } = await makeKey();
    const page = await rig.open();
    const sockets = await heldSockets(page);
    await signIn(page, key);
    await listen(page);
    await revoke(id);
    await sockets.cut();
    await page.getByText('Your session is over. Sign in again.').waitFor();
    assert.deepEqual(await said(page), []);
    await page.context().close();
  });

  it('says nothing of a break that is over at once, and loses nothing by it', async () => {
    const page = await rig.open();
    const sockets = await heldSockets(page);
    await signIn(page, await rig.key('default'));
    await listen(page);
    const before = sockets.count();
    await sockets.cut();
    assert.ok(await within(PATIENCE_MS, async () => sockets.count() > before), 'it did not come back');
    const key = await rig.key('default');
    const body = { name: 'later', memoryMiB: 32, disks: [{ sizeMiB: 1 }], start: false };
    const { vm } = (await rig.call('POST', 'vms', key, body)) as { vm: { id: string } };
    await page.getByRole('link', { name: 'later', exact: true }).waitFor();
    assert.deepEqual(await said(page), []);
    await rig.call('DELETE', `vms/${vm.id}?force=true`, key);
    await page.context().close();
  });

  it('did nothing that its policy forbids, and asked no other server', () => {
    assert.deepEqual(rig.offences, []);
  });

  const signIn = async (page: Page, key: string): Promise<void> => {
    patient(page);
    await page.goto(rig.origin);
    await page.getByLabel('API key').fill(key);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('heading', { name: 'Machines', exact: true }).waitFor();
    await page.locator('.loading').waitFor({ state: 'detached' });
  };
});

/** The page's event streams go through here, so that they can be cut as a network would. */
async function heldSockets(page: Page): Promise<{ cut: () => Promise<void>; count: () => number }> {
  const open: WebSocketRoute[] = [];
  await page.routeWebSocket('**/v1/events*', (socket) => {
    open.push(socket);
    const server = socket.connectToServer();
    // What the service says as it closes is lost with the way to it.
    server.onClose(() => {});
  });
  return {
    cut: async () => open.at(-1)?.close({ code: 1012, reason: 'cut' }),
    count: () => open.length,
  };
}
