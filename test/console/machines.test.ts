// The list of machines: many at once, and whatever others change.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Page } from 'playwright-core';
import { ConsoleRig, go } from './console-rig.ts';

/** For what waits for a guest on a machine that is busy with other tests. Milliseconds. */
const PATIENCE_MS = 90_000;

interface VmFacts {
  readonly id: string;
  readonly name: string;
  readonly state: string;
}

describe('the list of machines in the web console', { timeout: 600_000 }, () => {
  let rig: ConsoleRig;
  let key: string;
  let page: Page;
  const ids = new Map<string, string>();

  before(async () => {
    rig = await ConsoleRig.start();
    key = await rig.key('default');
    // They start from an empty disk: SeaBIOS finds nothing on it, and waits.
    for (const [name, team] of [
      ['alder', 'red'],
      ['birch', 'red'],
      ['cedar', 'blue'],
    ] as const) {
      const body = { name, memoryMiB: 32, disks: [{ sizeMiB: 1 }], labels: { team }, start: false };
      const { vm } = (await rig.call('POST', 'vms', key, body)) as { vm: VmFacts };
      ids.set(name, vm.id);
    }
    page = await rig.openAs(key);
    page.setDefaultTimeout(PATIENCE_MS);
  });
  after(async () => {
    await rig?.close();
  });

  const row = (name: string) =>
    page.getByRole('row').filter({ has: page.getByRole('link', { name, exact: true }) });
  const inState = (name: string, state: string) => row(name).getByText(state, { exact: true }).waitFor();
  const states = async () => {
    const { items } = (await rig.call('GET', 'vms', key)) as { items: VmFacts[] };
    return Object.fromEntries(
      items.filter(({ name }) => ids.has(name)).map(({ name, state }) => [name, state]),
    );
  };
  const bulk = () => page.getByRole('toolbar', { name: 'What to do with the chosen machines' });
  const names = () => page.getByRole('table', { name: 'Machines' }).locator('a.name').allTextContents();
  const search = () => page.getByRole('searchbox', { name: 'Search machines' });

  it('starts the machines that are chosen, and no other', async () => {
    assert.equal(await bulk().count(), 0);
    await page.getByRole('checkbox', { name: 'Choose alder' }).check();
    await page.getByRole('checkbox', { name: 'Choose birch' }).check();
    await bulk().getByText('2 chosen').waitFor();
    assert.equal(await bulk().getByRole('button', { name: 'Stop', exact: true }).isDisabled(), true);
    await bulk().getByRole('button', { name: 'Start', exact: true }).click();
    await page.getByText('start: asked for 2 of 2 machines').waitFor();
    await inState('alder', 'running');
    await inState('birch', 'running');
    await inState('cedar', 'stopped');
    assert.deepEqual(await states(), { alder: 'running', birch: 'running', cedar: 'stopped' });
    assert.equal(await row('alder').locator('.host').textContent(), 'console');
    assert.equal(await row('cedar').locator('.host').textContent(), '–');
  });

  it('stops all that a search by label has found', async () => {
    await page.getByRole('button', { name: 'Choose none' }).click();
    await bulk().waitFor({ state: 'detached' });
    await search().fill('team=red');
    await row('cedar').waitFor({ state: 'detached' });
    assert.deepEqual(await names(), ['alder', 'birch']);
    await page.getByRole('checkbox', { name: 'Choose all that are shown' }).check();
    await bulk().getByText('2 chosen').waitFor();
    await bulk().getByRole('button', { name: 'Stop', exact: true }).click();
    await inState('alder', 'stopped');
    await inState('birch', 'stopped');
    assert.deepEqual(await states(), { alder: 'stopped', birch: 'stopped', cedar: 'stopped' });
    await search().fill('');
  });

  it('shows what others change of a machine, without being loaded again', async () => {
    await page.evaluate('globalThis.sameDocument = true');
    await row('cedar').waitFor();
    const path = `vms/${ids.get('cedar')}`;
    await rig.call('PATCH', path, key, { labels: { team: 'green', floor: '3' } });
    await row('cedar').getByText('team=green').waitFor();
    await row('cedar').getByText('floor=3').waitFor();
    assert.equal(await row('cedar').getByText('team=blue').count(), 0);
    await rig.call('PATCH', path, key, { memoryMiB: 64 });
    await row('cedar').getByText('64 MiB').waitFor();
    // In its place by its new name.
    await rig.call('PATCH', path, key, { name: 'aspen' });
    await row('aspen').waitFor();
    assert.deepEqual((await names()).slice(0, 3), ['alder', 'aspen', 'birch']);
    assert.equal(await row('cedar').count(), 0);
    assert.equal(await page.evaluate('globalThis.sameDocument'), true);
  });

  it('shows on a machine’s page what its worker changes', async () => {
    await go(page, `/machines/${ids.get('alder')}`);
    const fact = (name: string) =>
      page
        .locator('dl.facts > div')
        .filter({ has: page.getByText(name, { exact: true }) })
        .locator('dd');
    await fact('Started').getByText('–').waitFor();
    await rig.call('POST', `vms/${ids.get('alder')}/start`, key, {});
    await fact('Started').getByText(/ago$/).waitFor();
    await fact('Engine').getByText('translate').waitFor();
    await rig.call('POST', `vms/${ids.get('alder')}/stop`, key, {});
    await fact('Started').getByText('–').waitFor();
    await go(page, '/machines');
  });

  it('shows why a machine failed', async () => {
    const { vm } = (await rig.call('POST', 'vms', key, {
      name: 'elder',
      memoryMiB: 16,
      image: 'debian-busybox',
      restartPolicy: 'never',
    })) as { vm: VmFacts };
    await inState('elder', 'failed');
    const { lastError } = (await rig.call('GET', `vms/${vm.id}`, key)) as { lastError: { message: string } };
    await row('elder').getByText(lastError.message).waitFor();
    await rig.call('DELETE', `vms/${vm.id}?force=true`, key);
    await row('elder').waitFor({ state: 'detached' });
  });

  it('draws what is seen of a long list, and the keyboard goes through all of it', async () => {
    const many = Array.from({ length: 80 }, (_, n) => `tree-${n}`);
    for (const name of many)
      await rig.call('POST', 'vms', key, { name, memoryMiB: 16, disks: [{ sizeMiB: 1 }], start: false });
    const table = page.getByRole('table', { name: 'Machines' });
    await page.getByRole('link', { name: 'tree-0', exact: true }).waitFor();
    await search().fill('tree-');
    await page.locator('table[aria-rowcount="81"]').waitFor();
    const drawn = await table.getByRole('row').count();
    assert.ok(drawn > 10 && drawn < 50, `${drawn} of 81 rows`);
    await page.getByRole('link', { name: 'tree-0', exact: true }).focus();
    for (let n = 1; n < many.length; n++) await page.keyboard.press('ArrowDown');
    const focused = () => page.evaluate<string>('document.activeElement.textContent');
    assert.equal(await focused(), 'tree-79');
    assert.equal(await row('tree-79').getAttribute('aria-rowindex'), '81');
    // Far away, the row with the focus is there still, and its neighbours come back.
    await page.evaluate('scrollTo(0, 0)');
    await row('tree-0').waitFor();
    assert.equal(await focused(), 'tree-79');
    assert.equal(await row('tree-40').count(), 0);
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('ArrowUp');
    assert.equal(await focused(), 'tree-77');
    await page.keyboard.press('Home');
    assert.equal(await focused(), 'tree-0');
    await search().fill('');
  });

  it('lets nothing be created before it knows the images', async () => {
    const images = Promise.withResolvers<void>();
    await page.route('**/v1/images?*', async (route) => {
      await images.promise;
      await route.continue();
    });
    await go(page, '/new');
    const create = page.getByRole('button', { name: 'Create and start' });
    await page.getByLabel('Name', { exact: true }).fill('hasty');
    await page.getByLabel('Name', { exact: true }).press('Enter');
    assert.equal(await create.isDisabled(), true);
    assert.equal(await page.getByText('Choose what to boot.').count(), 0);
    images.resolve();
    await page.getByText('"name":"hasty","memoryMiB":256,"image":"debian-busybox"').waitFor();
    assert.equal(await create.isDisabled(), false);
    const { items } = (await rig.call('GET', 'vms', key)) as { items: VmFacts[] };
    assert.ok(!items.some(({ name }) => name === 'hasty'), 'it was created by the Enter that came too early');
    await page.unroute('**/v1/images?*');
  });

  it('did nothing that its policy forbids, and asked no other server', () => {
    assert.deepEqual(rig.offences, []);
  });
});
